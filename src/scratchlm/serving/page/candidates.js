// The tokens that may come next: a row each with its bar, to choose by pointer or keyboard.
import { element, isBrowsers, percent } from "/elements.js";

const N_ROWS = 12;

/**
 * Returns the list, `show(tokens)`, and `focus()`, which goes to the row where the keyboard was last. `onTake(token)`
 * is called for a row that was chosen, `onUndo()` and `onLeave()` for Backspace and Escape.
 */
export function candidateList({ onTake, onUndo, onLeave }) {
  const rows = Array.from({ length: N_ROWS }, (_, place) => newRow(place, onTake));
  const list = element("ol", { class: "candidates", "aria-label": "Next tokens", onkeydown: onKey }, ...rows.map((row) => row.item));

  function show(tokens) {
    rows.forEach((row, place) => {
      row.item.hidden = place >= tokens.length;
      if (place < tokens.length) row.fill(tokens[place]);
    });
  }

  function focusRow(place) {
    const shown = rows.filter((row) => !row.item.hidden);
    const row = shown[Math.max(0, Math.min(place, shown.length - 1))];
    for (const other of rows) other.button.tabIndex = other === row ? 0 : -1;
    row?.button.focus();
  }

  function onKey(event) {
    if (isBrowsers(event)) return;
    const place = rows.findIndex((row) => row.button === event.target);
    if (event.key === "ArrowDown") focusRow(place + 1);
    else if (event.key === "ArrowUp") focusRow(place - 1);
    else if (event.key === "Home") focusRow(0);
    else if (event.key === "End") focusRow(N_ROWS);
    else if (event.key === "Backspace") onUndo();
    else if (event.key === "Escape") onLeave();
    else if (/^[1-9]$/.test(event.key)) {
      if (!rows[event.key - 1].item.hidden) rows[event.key - 1].button.click();
    } else return;
    event.preventDefault();
  }

  return { list, show, focus: () => focusRow(rows.findIndex((row) => row.button.tabIndex === 0)) };
}

function newRow(place, onTake) {
  let token = null;
  const label = element("span", { class: "piece" });
  const bar = element("span", { class: "fill" });
  const own = element("span", { class: "own" });
  const share = element("span", { class: "percent" });
  const button = element("button", { type: "button", tabindex: place ? "-1" : "0", onclick: () => onTake(token) },
    label, element("span", { class: "track", "aria-hidden": "true" }, bar, own), share);
  const item = element("li", {}, button);

  function fill(found) {
    token = found;
    label.textContent = token.label;
    label.classList.toggle("special", token.special);
    label.classList.toggle("partial", token.partial);
    share.textContent = percent(token.probability, 2);
    bar.style.setProperty("--part", token.probability);
    own.style.setProperty("--part", token.at_1);
    item.classList.toggle("out", token.probability === 0);
    button.title = `id ${token.id}, bytes ${token.bytes}`;
    button.dataset.probability = token.probability;
    button.dataset.id = token.id;
  }

  return { item, button, fill };
}
