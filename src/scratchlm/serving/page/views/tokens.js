// Tokens: how a text is cut, with the id and the bytes of each piece.
import { debounced, latest, modelNames, offeredExamples, post } from "/api.js";
import { choice, element, errorLine, examples, field } from "/elements.js";

export const title = "Tokens";

const STRANGE = "Unbelievable! 3.14159 naïve cafés in Αθήνα ☂"; // pieces of words, of numbers and of characters

export async function mount(section) {
  const names = await modelNames();
  const text = element("textarea", {
    rows: 5, spellcheck: "false", placeholder: "Type or paste a text.", oninput: debounced(() => refresh()),
  });
  const model = choice(names, { onchange: () => refresh() });
  const counts = element("dl", { class: "counts" });
  const pieces = element("ol", { class: "pieces", "aria-label": "Tokens" });
  const more = element("p", { class: "note" });
  const error = errorLine();
  const empty = element("p", { class: "empty" },
    "Models do not see letters. A tokenizer cuts the text into pieces that were frequent in its training, and each " +
    "piece becomes a number. Rare words fall apart, and rare characters into single bytes.");

  const update = latest(
    () => post("/page/tokens", { model: model.value, text: text.value }), show,
    (problem) => { error.textContent = problem.message; },
  );

  section.append(
    element("p", { class: "lead" }, "How a text is cut before a model reads it: each piece with its id and its bytes."),
    element("div", { class: "card stack" },
      element("div", { class: "row" }, field("Tokenizer of", model)),
      field("Text", text), error),
    element("div", { class: "card stack" }, empty, counts, pieces, more),
  );
  const { texts, instructions } = await offeredExamples();
  const offered = [...texts.slice(0, 2), ...instructions.slice(0, 1).map((entry) => entry.instruction), STRANGE];
  text.closest(".card").append(examples("Try", offered, (value) => { text.value = value; refresh(); }));

  function refresh() {
    error.textContent = "";
    update();
  }

  function show(answer) {
    empty.hidden = answer.n_tokens > 0;
    const said = {
      characters: answer.n_characters, bytes: answer.n_bytes, tokens: answer.n_tokens,
      "characters per token": answer.n_tokens ? (answer.n_characters / answer.n_tokens).toFixed(2) : "",
      "tokens in the vocabulary": answer.n_vocab,
    };
    counts.replaceChildren(...(answer.n_tokens ? Object.entries(said) : []).map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value.toLocaleString("en")))));
    pieces.replaceChildren(...answer.tokens.map((token) =>
      element("li", { class: token.special ? "special" : "" },
        element("span", { class: token.partial ? "piece partial" : "piece" }, token.label),
        element("span", { class: "id" }, String(token.id)),
        element("span", { class: "bytes" }, token.bytes))));
    const n_left = answer.n_tokens - answer.tokens.length;
    more.textContent = [
      n_left ? `… and ${n_left.toLocaleString("en")} more tokens.` : "",
      answer.tokens.some((token) => token.partial) ? "A piece with \\x holds only some bytes of a character." : "",
    ].filter(Boolean).join(" ");
  }
}
