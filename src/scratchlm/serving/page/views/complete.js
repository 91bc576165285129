// Complete: what may come next, how temperature and top-k change that, and the text that grows token by token.
//
// The text is what was typed, and after it tokens that were taken or written. The server gets these as ids, so that a
// token stays the one that was chosen, until the text is edited by hand: then all of it is typed text.
import { debounced, latest, modelNames, offeredExamples, post, stream } from "/api.js";
import { candidateList } from "/candidates.js";
import { choice, element, errorLine, examples, field, hint, newId, percent, statusLine } from "/elements.js";

export const title = "Complete";

const N_WRITTEN = 200; // tokens at most, until "Let it write" stops by itself
const N_SAID = 3; // of the next tokens, to screen readers
const TOP_K = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 75, 100, 200, null];

export async function mount(section) {
  const names = await modelNames();
  let typed = "";
  let confirmed = []; // ids that the text ends with
  let takenText = ""; // what they read
  let taken = confirmed; // the ids that are asked for: one more or one less while the server is asked
  let n_typed = 0; // tokens
  let context = 0; // the most tokens that the model sees
  let fresh = false; // whether the bars belong to the text that is shown
  let writing = null; // an AbortController
  let written = ""; // since it was let write

  const text = element("textarea", {
    rows: 9, class: "writing", spellcheck: "false", placeholder: "Type the beginning of a text.", oninput: onInput,
    onkeydown: onTextKey,
  });
  const write = element("button", { type: "button", class: "button", onclick: startOrStop }, "Let it write");
  const undo = element("button", { type: "button", class: "button quiet", onclick: undoOne }, "Undo");
  const clear = element("button", { type: "button", class: "button quiet", onclick: () => setText("") }, "Clear");
  const count = element("p", { class: "note count" });
  const status = statusLine();
  const ended = element("p", { class: "note" });
  const error = errorLine();
  // Another model may have another vocabulary: what was taken becomes text.
  const model = choice(names, { onchange: () => setText(text.value) });
  const updateSoon = debounced(refresh);
  const temperature = slider(0, 40, 20, (place) => (place / 20).toFixed(2), updateSoon); // 0 to 2
  const topK = slider(0, TOP_K.length - 1, TOP_K.length - 1, (place) => TOP_K[place] ?? "all", updateSoon);
  const candidates = candidateList({ onTake: take, onUndo: undoOne, onLeave: () => writing || text.focus() });
  const others = element("p", { class: "note" });
  const empty = element("p", { class: "empty" },
    "Type a word, or choose an example. Here you will see which tokens the model expects next, and how sure it is. " +
    "Take one with a click, and it is appended.");
  const update = latest((ids) => post("/page/next_token", { ...question(ids), ...drawing() }), show, fail);

  section.append(
    element("p", { class: "lead" },
      "A language model only ever answers one question: which token comes next? Watch it decide, choose for it, " +
      "or let it draw."),
    element("div", { class: "columns" },
      element("div", { class: "card stack" },
        field("Text", text),
        element("div", { class: "row between" }, element("div", { class: "row" }, write, undo, clear), count),
        hint(["Ctrl+Enter", "lets it write"], ["Esc", "stops"]),
        ended, error, status,
      ),
      element("div", { class: "card stack" },
        element("div", { class: "knobs" },
          field("Model", model),
          field("Temperature", temperature.control, temperature.value),
          field("Top-k", topK.control, topK.value)),
        element("p", { class: "note" },
          "A low temperature favours the likeliest tokens, 0 takes the first; a high one evens them out. Top-k draws " +
          "from the k likeliest alone."),
        element("h3", {}, "Next token"),
        empty,
        element("div", { class: "stack", hidden: true },
          candidates.list, others,
          hint(["↑ ↓", "move"], ["Enter", "takes the token"], ["1–9", "take by place"], ["⌫", "undoes"],
            ["Esc", "to the text and back"]),
          element("p", { class: "note" },
            "The bar is the probability from which the next token is drawn. The thin mark is the model's own: " +
            "temperature 1, all tokens. ␣ is a blank.")),
      ),
    ),
  );
  refresh();
  const { texts } = await offeredExamples();
  if (texts.length) text.closest(".card").append(examples("Try", texts, (value) => { setText(value); text.focus(); }));
  section.addEventListener("keydown", (event) => { if (event.key === "Escape") writing?.abort(); });

  function question(ids) {
    return { model: model.value, text: typed, taken: ids };
  }

  function drawing() {
    return { temperature: temperature.get() / 20, top_k: TOP_K[topK.get()] };
  }

  function setText(value) {
    typed = text.value = value;
    keep([], "");
    setFresh(false);
    refresh();
  }

  function keep(ids, words) {
    taken = confirmed = ids;
    takenText = words;
    undo.disabled = Boolean(writing) || !ids.length;
  }

  function setFresh(value) {
    fresh = value;
    candidates.list.setAttribute("aria-busy", String(!fresh));
  }

  function onInput() {
    if (text.value === typed + takenText) return;
    typed = text.value;
    keep([], "");
    setFresh(false);
    update.drop(); // what is asked is of an earlier text
    updateSoon();
  }

  function refresh() {
    if (writing) return null; // what is written is shown already
    error.textContent = ended.textContent = "";
    if (typed || taken.length) return update(taken);
    clearRows();
    return null;
  }

  function take(token) {
    if (text.readOnly) return;
    if (!fresh) return refresh(); // the bars are of an earlier text
    taken = [...confirmed, token.id];
    text.readOnly = true; // until the server has said how the tokens read
    refresh();
  }

  function undoOne() {
    if (writing || !taken.length) return;
    taken = taken.slice(0, -1);
    refresh();
  }

  function show(answer, ids) {
    const [n_before, textBefore, focused] = [confirmed.length, takenText, document.activeElement];
    text.readOnly = false;
    n_typed = answer.ids.length - ids.length;
    context = answer.context;
    keep(ids, answer.taken_text);
    showText();
    empty.hidden = true;
    candidates.list.parentElement.hidden = false;
    // What had the focus may be gone; the keyboard goes on beside it.
    if (!answer.tokens.length && candidates.list.contains(focused)) undo.focus();
    if (undo.disabled && focused === undo) text.focus();
    candidates.show(answer.tokens);
    setFresh(true);
    others.textContent = answer.tokens.length
      ? answer.n_others ? `${percent(answer.others, 2)} for ${answer.n_others.toLocaleString("en")} others` : "No other token can be drawn."
      : "The text fills what the model can see. Undo a token, or shorten the text.";
    if (ids.length !== n_before) status.textContent = said(textBefore, takenText, answer.tokens) || others.textContent;
  }

  function showText() {
    count.textContent = `${n_typed + taken.length} of ${context} tokens`;
    if (text.value === typed + takenText) return; // else it would scroll away from where someone writes
    text.value = typed + takenText;
    text.scrollTop = text.scrollHeight;
  }

  function clearRows() {
    update.drop();
    text.readOnly = false;
    candidates.list.parentElement.hidden = true;
    empty.hidden = false;
    count.textContent = "";
  }

  function fail(problem) {
    text.readOnly = false;
    taken = confirmed; // a token that was not confirmed can be taken again
    error.textContent = problem.message;
  }

  function onTextKey(event) {
    if (event.key === "Escape" && !writing && fresh) candidates.focus();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) startOrStop();
    else return;
    event.preventDefault();
  }

  async function startOrStop() {
    if (writing) return writing.abort();
    error.textContent = ended.textContent = "";
    update.drop();
    setWriting(new AbortController());
    status.textContent = "Writing.";
    written = "";
    const finish = await writeOn(writing.signal).catch((problem) => {
      if (problem.name !== "AbortError") error.textContent = problem.message;
    });
    setWriting(null);
    status.textContent = `Wrote: ${written}`;
    const problem = error.textContent;
    await refresh();
    error.textContent ||= problem;
    if (finish === "stop") ended.textContent = "The model ended its text here.";
  }

  function setWriting(controller) {
    writing = controller;
    text.readOnly = clear.disabled = model.disabled = Boolean(writing);
    undo.disabled = Boolean(writing) || !taken.length;
    write.textContent = writing ? "Stop" : "Let it write";
    setFresh(false);
  }

  /** Append what the model writes, as it comes; return why it ended, such as "stop". */
  async function writeOn(signal) {
    let finish = null;
    try {
      const { ids, taken_text } = await post("/page/next_token", question(taken), signal);
      keep(taken, taken_text);
      showText();
      const asked = { model: model.value, prompt: ids, max_tokens: N_WRITTEN, ...drawing(), return_token_ids: true };
      for await (const { choices: [found] } of stream("/v1/completions", asked, signal)) {
        keep([...taken, ...(found.token_ids ?? [])], takenText + found.text);
        written += found.text;
        showText();
        finish = found.finish_reason;
      }
    } finally {
      taken = confirmed;
    }
    return finish;
  }
}

/** A slider with an output of what its place says. */
function slider(min, max, value, say, onChange) {
  const shown = element("output", {}, String(say(value)));
  const control = element("input", { type: "range", id: newId("slider"), min, max, value, "aria-valuetext": say(value), oninput: () => {
    shown.textContent = say(control.valueAsNumber);
    control.setAttribute("aria-valuetext", say(control.valueAsNumber));
    onChange();
  } });
  return { control, value: shown, get: () => control.valueAsNumber };
}

/** What screen readers say when a token was taken or undone, with what may come next; nothing if nothing may. */
function said(before, after, tokens) {
  if (!tokens.length) return "";
  const next = tokens.slice(0, N_SAID).map((token) => `${token.label} ${percent(token.probability)}`).join(", ");
  return `${after.length > before.length ? `Taken: ${after.slice(before.length)}.` : "Undone."} Next: ${next}.`;
}
