// Attention: which tokens of a sentence each head of a layer looks at.
import { debounced, latest, modelNames, offeredExamples, post } from "/api.js";
import { choice, element, errorLine, examples, field } from "/elements.js";
import { tokenLine } from "/token_line.js";

export const title = "Attention";

const SHOWN = 6; // tokens that get a bar
const LABELLED = 36; // with more tokens, the names beside the map would be too small to read

export async function mount(section) {
  const names = await modelNames();
  let maps = null; // {tokens, n_layers, heads}
  let head = 0;
  let place = -1; // the token whose row is shown

  const text = element("input", { type: "text", maxlength: "2000", spellcheck: "false", oninput: debounced(ask, 250) });
  const model = choice(names, { onchange: () => { layer.value = "1"; ask(); } }); // another one may have fewer layers
  const layer = element("input", { type: "range", min: "1", max: "1", value: "1", oninput: ask });
  const layerName = element("output", { class: "note" });
  const tries = element("div");
  const error = errorLine();
  const thumbnails = element("div", { class: "heads", role: "radiogroup", "aria-label": "Head", onkeydown: moveHead });
  const map = element("div", { class: "map" });
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
      sentence,
      element("div", { class: "columns looks" }, map, looks),
      element(
        "p",
        { class: "note" },
        "Point at a token, or walk with the arrow keys: the more colour another one has, the more this head takes from it. A row " +
          "of the map is one token; it spreads 100 % over itself and the tokens before it, and never sees what comes " +
          "later. Colour grows with the square root, so that small shares show.",
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
    (signal, asked) => post("/page/attention", asked, signal),
    (answer, asked) => {
      error.textContent = "";
      const same = maps?.tokens.join() === answer.tokens.join(); // only the layer or the model is another one
      maps = answer;
      layer.max = String(maps.n_layers);
      layerName.textContent = `layer ${asked.layer + 1} of ${maps.n_layers}`;
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
  let rowNames = [];
  let columnNames = [];

  function ask() {
    if (text.value) read({ model: model.value, text: text.value, layer: Number(layer.value) - 1 });
  }

  function showTokens() {
    const { tokens } = maps;
    const named = tokens.map((name) => ({ text: name.replaceAll("␣", " "), name }));
    line = tokenLine("Tokens of the sentence", named, (number) => {
      place = number;
      showRow();
    });
    sentence.replaceChildren(line.line);
    const labels = (kind) => element("div", { class: `labels ${kind}`, "aria-hidden": "true", hidden: tokens.length > LABELLED },
      ...tokens.map((name) => element("span", {}, name)));
    const rows = labels("rows");
    const columns = labels("columns-of");
    [rowNames, columnNames] = [[...rows.children], [...columns.children]];
    const canvas = element("canvas", { role: "img", "aria-label": "Map of this head: a row for each token", onpointermove: point, onpointerdown: point });
    map.style.maxWidth = `${Math.min(40, 5 + 3.5 * tokens.length)}rem`; // squares of a few tokens need not be huge
    map.replaceChildren(rows, canvas, columns);
  }

  function point(event) {
    const { top, height } = event.currentTarget.getBoundingClientRect();
    const n = maps.tokens.length;
    line.choose(Math.max(0, Math.min(n - 1, Math.floor(((event.clientY - top) / height) * n))));
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
    if (step === undefined) return;
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
    rowNames.forEach((name, other) => name.classList.toggle("chosen", other === place));
    columnNames.forEach((name, other) => name.classList.toggle("chosen", other === place));
    const canvas = map.querySelector("canvas");
    draw(canvas, heads[head], Math.max(1, Math.floor(1280 / tokens.length)), place);
    const most = row.map((weight, other) => [weight, other]).sort(([one], [two]) => two - one).slice(0, SHOWN);
    looks.replaceChildren(
      element("ol", { class: "bars", "aria-label": heading.textContent }, ...most.map(([weight, other]) => bar(tokens[other], weight))),
    );
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
  const share = `${(100 * weight).toFixed(1)} %`;
  return element(
    "li",
    {},
    element("span", { class: "mono" }, name),
    element("meter", { min: "0", max: "1", value: String(weight), "aria-label": `${name}: ${share}` }),
    element("span", {}, share),
  );
}

/** Draw a head's weights as squares of `cell` pixels, and a frame around the row of the chosen token. */
function draw(canvas, rows, cell, chosen) {
  const colours = getComputedStyle(document.documentElement);
  const side = rows.length * cell;
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = colours.getPropertyValue("--accent");
  rows.forEach((row, y) =>
    row.forEach((weight, x) => {
      context.globalAlpha = Math.sqrt(weight);
      context.fillRect(x * cell, y * cell, cell, cell);
    }),
  );
  if (chosen === undefined) return;
  context.globalAlpha = 1;
  context.strokeStyle = colours.getPropertyValue("--ink");
  context.lineWidth = side / 320;
  context.strokeRect(context.lineWidth / 2, chosen * cell, (chosen + 1) * cell - context.lineWidth / 2, cell - context.lineWidth / 2);
}
