// A line of tokens, one of which is chosen: with the pointer, or with the arrow keys, Home and End.
import { element, isBrowsers } from "/elements.js";

/**
 * Returns the line, an array of its tokens, and `choose(place)`. `tokens` are {text, name}: what is shown, and what
 * screen readers say. `onChoose(place)` is called for each new choice.
 */
export function tokenLine(label, tokens, onChoose) {
  let chosen = -1;
  const items = tokens.map(({ text, name }, place) =>
    element(
      "span",
      { role: "option", class: "token", "aria-label": name, "aria-selected": "false", tabindex: place ? "-1" : "0",
        onpointerenter: () => choose(place), onclick: () => items[place].focus(), onfocus: () => choose(place) },
      text,
    ),
  );
  const line = element(
    "p",
    { role: "listbox", class: "token-line", dir: "ltr", "aria-label": label, "aria-orientation": "horizontal", onkeydown: move },
    ...items,
  );

  function choose(place) {
    if (place === chosen) return;
    if (chosen >= 0) {
      items[chosen].setAttribute("aria-selected", "false");
      items[chosen].tabIndex = -1;
    }
    chosen = place;
    items[0].tabIndex = -1;
    items[place].setAttribute("aria-selected", "true");
    items[place].tabIndex = 0;
    onChoose(place);
  }

  function move(event) {
    const last = items.length - 1;
    const place = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: last }[event.key];
    if (place === undefined || isBrowsers(event)) return;
    event.preventDefault();
    items[Math.max(0, Math.min(last, place))].focus();
  }

  return { line, items, choose };
}
