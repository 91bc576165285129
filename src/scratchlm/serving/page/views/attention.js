// Attention: which tokens of a sentence each head of a layer looks at.
import { debounced, latest, modelNames, offeredExamples, post } from "/api.js";
import { choice, element, errorLine, examples, field, isBrowsers, percent, statusLine } from "/elements.js";
import { draw, headMap } from "/head_map.js";
import { tokenLine } from "/token_line.js";

export const title = "Attention";

const SHOWN = 6; // tokens that get a bar
const SAID = 3; // of these, to screen readers

export async function mount(section) {
  const names = await modelNames();
  let maps = null; // {tokens, n_layers, heads}
  let head = 0;
  let place = -1; // the token whose row is shown

  const askSoon = debounced(ask, 250);
  const text = element("input", { type: "text", maxlength: "2000", spellcheck: "false", oninput: askSoon });
  const model = choice(names, { onchange: ask });
  const layer = element("input", { type: "range", min: "1", max: "1", value: "1", oninput: () => { sayLayer(); askSoon(); } });
  const layerName = element("output", { class: "note" });
  const tries = element("div");
  const error = errorLine();
  const thumbnails = element("div", { class: "heads", role: "radiogroup", "aria-label": "Head", onkeydown: moveHead });
  const map = element("div");
  const status = statusLine(); // what the chosen token looks at
  const sentence = element("div");
  const looks = element("div", { class: "stack" });
  const heading = element("h3", {});
  const body = element(
    "div",
    { class: "stack", hidden: true },
    element("div", { class: "card stack" }, element("h3", {}, "The heads of this layer"), thumbnails),
    element(
      "div",
      { class: "card stack" },
      heading,
      status,
      sentence,
      element("div", { class: "columns looks" }, map, looks),
      element(
        "p",
        { class: "note" },
        "Point at a token, or walk with the arrow keys: the more colour another one has, the more this head takes from it. A row " +
          "of the map is one token; it spreads 100 % over itself and the tokens before it, and never sees what comes " +
          "later. Colour grows with the square root, so that small shares show. ␣ is a blank, and \\x some bytes of a character.",
      ),
    ),
  );
  section.append(
    element("p", { class: "lead" }, "Every head of every layer decides anew which earlier tokens matter to the one it is at."),
    element(
      "div",
      { class: "card stack" },
      field("Sentence, of up to 64 tokens", text),
      tries,
      element("div", { class: "columns" }, field("Model", model), field("Layer", layer, layerName)),
      error,
    ),
    body,
  );

  const read = latest(
    (asked) => post("/page/attention", asked),
    (answer) => {
      error.textContent = "";
      const same = maps?.tokens.join() === answer.tokens.join(); // only the layer or the model is another one
      maps = answer;
      layer.max = String(maps.n_layers);
      layer.value = String(maps.layer + 1); // another model may have fewer
      sayLayer();
      head = Math.min(head, maps.heads.length - 1);
      body.hidden = false;
      showTokens();
      showHeads();
      const last = maps.tokens.length - 1;
      line.choose(same ? place : last);
    },
    (problem) => {
      error.textContent = problem.message;
      body.hidden = true;
    },
  );

  let line; // of the sentence's tokens
  let picture; // of the head

  function ask() {
    if (text.value) return read({ model: model.value, text: text.value, layer: layer.valueAsNumber - 1 });
    read.drop();
    error.textContent = "";
    body.hidden = true;
    return null;
  }

  function sayLayer() {
    layerName.textContent = `layer ${layer.value} of ${layer.max}`;
    layer.setAttribute("aria-valuetext", layerName.textContent);
  }

  function showTokens() {
    const named = maps.tokens.map((name) => ({ text: name.replaceAll("␣", " "), name }));
    line = tokenLine("Tokens of the sentence", named, (number) => {
      place = number;
      showRow();
    });
    sentence.replaceChildren(line.line);
    picture = headMap(maps.tokens, line.choose);
    map.replaceChildren(picture.map);
  }

  function showHeads() {
    const buttons = maps.heads.map((rows, number) => {
      const picture = element("canvas", { "aria-hidden": "true" });
      draw(picture, rows, 1);
      return element(
        "button",
        { type: "button", class: "head", role: "radio", "aria-checked": String(number === head), "aria-label": `Head ${number + 1}`,
          tabindex: number === head ? "0" : "-1", onclick: () => chooseHead(number) },
        picture,
        `head ${number + 1}`,
      );
    });
    thumbnails.replaceChildren(...buttons);
  }

  function chooseHead(number) {
    head = number;
    [...thumbnails.children].forEach((button, other) => {
      button.setAttribute("aria-checked", String(other === head));
      button.tabIndex = other === head ? 0 : -1;
    });
    showRow();
  }

  function moveHead(event) {
    const n = maps.heads.length;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined || isBrowsers(event)) return;
    event.preventDefault();
    chooseHead((head + step + n) % n);
    thumbnails.children[head].focus();
  }

  /** Show what the chosen token looks at: in the sentence, in the map, and as bars. */
  function showRow() {
    const { tokens, heads } = maps;
    const row = heads[head][place];
    heading.textContent = `Head ${head + 1}: what ${tokens[place]} looks at`;
    line.items.forEach((item, other) => {
      item.classList.toggle("seen", other <= place);
      item.classList.toggle("hidden-token", other > place);
      item.style.setProperty("--strength", Math.sqrt(row[other] ?? 0));
    });
    picture.show(heads[head], place);
    const most = row.map((weight, other) => [weight, other]).sort(([one], [two]) => two - one).slice(0, SHOWN);
    looks.replaceChildren(
      element("ol", { class: "bars", "aria-label": heading.textContent }, ...most.map(([weight, other]) => bar(tokens[other], weight))),
    );
    const shares = most.slice(0, SAID).map(([weight, other]) => `${tokens[other]} ${percent(weight)}`);
    status.textContent = `${heading.textContent}: ${shares.join(", ")}`;
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (!maps) return;
    showHeads();
    showRow();
  });

  function take(words) {
    text.value = words;
    ask();
  }

  const { texts } = await offeredExamples();
  if (texts.length) tries.append(examples("Try", texts, take));
  if (texts.length && !text.value) take(texts[0]);
}

function bar(name, weight) {
  const share = percent(weight);
  return element(
    "li",
    {},
    element("span", { class: "mono" }, name),
    element("meter", { min: "0", max: "1", value: String(weight), "aria-label": `${name}: ${share}` }),
    element("span", {}, share),
  );
}
