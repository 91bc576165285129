// Complete: what may come next, how temperature and top-k change that, and the text that grows token by token.
//
// The text is what was typed, and after it tokens that were taken or written. The server gets these as ids, so that a
// token stays the one that was chosen, until the text is edited by hand: then all of it is typed text.
import { debounced, latest, modelNames, offeredExamples, post, stream } from "/api.js";
import { choice, element, errorLine, examples, field, hint } from "/elements.js";

export const title = "Complete";

const N_ROWS = 12;
const N_WRITTEN = 200; // tokens at most, until "Let it write" stops by itself
const TOP_K = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 75, 100, 200, null];

export async function mount(section) {
  const names = await modelNames();
  let typed = "";
  let taken = []; // ids
  let takenText = "";
  let fresh = false; // whether the bars belong to the text that is shown
  let writing = null; // an AbortController

  const text = element("textarea", {
    rows: 9, class: "writing", spellcheck: "false", placeholder: "Type the beginning of a text.", oninput: onInput,
    onkeydown: onTextKey,
  });
  const write = element("button", { type: "button", class: "button", onclick: startOrStop }, "Let it write");
  const undo = element("button", { type: "button", class: "button quiet", onclick: undoOne }, "Undo");
  const clear = element("button", { type: "button", class: "button quiet", onclick: () => setText("") }, "Clear");
  const count = element("p", { class: "note count" });
  const status = element("p", { class: "hidden-text", role: "status" });
  const ended = element("p", { class: "note" });
  const error = errorLine();
  // Another model may have another vocabulary: what was taken becomes text.
  const model = choice(names, { onchange: () => setText(text.value) });
  const temperature = slider(0, 40, 20, (place) => (place / 20).toFixed(2)); // 0 to 2
  const topK = slider(0, TOP_K.length - 1, TOP_K.length - 1, (place) => TOP_K[place] ?? "all");
  const rows = Array.from({ length: N_ROWS }, (_, place) => newRow(place));
  const others = element("p", { class: "note" });
  const list = element("ol", { class: "candidates", "aria-label": "Next tokens", onkeydown: onListKey },
    ...rows.map((row) => row.item));
  const empty = element("p", { class: "empty" },
    "Type a word, or choose an example. Here you will see which tokens the model expects next, and how sure it is. " +
    "Take one with a click, and it is appended.");

  const update = latest(
    (signal) => post("/page/next_token", {
      model: model.value, text: typed, taken, temperature: temperature.get() / 20, top_k: TOP_K[topK.get()],
    }, signal),
    show,
    fail,
  );
  const updateSoon = debounced(refresh);

  section.append(
    element("p", { class: "lead" },
      "A language model only ever answers one question: which token comes next? Watch it decide, choose for it, " +
      "or let it draw."),
    element("div", { class: "columns" },
      element("div", { class: "card stack" },
        field("Text", text),
        element("div", { class: "row between" }, element("div", { class: "row" }, write, undo, clear), count),
        ended, error, status,
      ),
      element("div", { class: "card stack" },
        element("div", { class: "knobs" },
          field("Model", model),
          field("Temperature", temperature.control, temperature.value),
          field("Top-k", topK.control, topK.value)),
        element("h3", {}, "Next token"),
        empty,
        element("div", { class: "stack", hidden: true },
          list, others,
          hint(["↑ ↓", "move"], ["Enter", "takes the token"], ["1–9", "take by place"], ["⌫", "undoes"],
            ["Esc", "to the text and back"]),
          element("p", { class: "note" },
            "The bar is the probability from which the next token is drawn. The thin mark is the model's own: " +
            "temperature 1, all tokens.")),
      ),
    ),
  );
  refresh();
  const { texts } = await offeredExamples();
  if (texts.length) text.closest(".card").append(examples("Try", texts, (value) => { setText(value); text.focus(); }));

  function slider(min, max, value, say) {
    const shown = element("output", {}, String(say(value)));
    const control = element("input", { type: "range", min, max, value, "aria-valuetext": say(value), oninput: () => {
      shown.textContent = say(control.valueAsNumber);
      control.setAttribute("aria-valuetext", say(control.valueAsNumber));
      refresh();
    } });
    return { control, value: shown, get: () => control.valueAsNumber };
  }

  function newRow(place) {
    const label = element("span", { class: "piece" });
    const fill = element("span", { class: "fill" });
    const own = element("span", { class: "own" });
    const percent = element("span", { class: "percent" });
    const button = element("button", { type: "button", tabindex: place ? "-1" : "0", onclick: () => take(row) },
      label, element("span", { class: "track", "aria-hidden": "true" }, fill, own), percent);
    const row = { item: element("li", {}, button), button, label, fill, own, percent, id: null };
    return row;
  }

  function setText(value) {
    typed = value;
    taken = [];
    takenText = "";
    text.value = value;
    refresh();
  }

  function onInput() {
    if (text.value === typed + takenText) return;
    typed = text.value;
    taken = [];
    takenText = "";
    fresh = false;
    update.drop(); // what is asked is of an earlier text
    updateSoon();
  }

  function refresh() {
    if (writing) return null; // what is written is shown already
    fresh = false;
    error.textContent = ended.textContent = "";
    undo.disabled = !taken.length;
    if (typed || taken.length) return update();
    return clearRows();
  }

  function take(row) {
    if (!fresh || writing) return; // the bars are of an earlier text
    taken.push(row.id);
    text.readOnly = true; // until the server has said how the tokens read
    refresh();
  }

  function undoOne() {
    if (writing || !taken.length) return;
    taken.pop();
    refresh();
  }

  function show(answer) {
    text.readOnly = false;
    takenText = answer.taken_text;
    showText();
    fresh = true;
    empty.hidden = true;
    list.parentElement.hidden = false;
    answer.tokens.forEach((token, place) => fillRow(rows[place], token));
    rows.forEach((row, place) => { row.item.hidden = place >= answer.tokens.length; });
    count.textContent = `${answer.ids.length} of ${answer.context} tokens`;
    others.textContent = answer.tokens.length
      ? answer.n_others ? `${percent(answer.others)} for ${answer.n_others.toLocaleString("en")} others` : "No other token can be drawn."
      : "The text fills what the model can see. Undo a token, or shorten the text.";
  }

  function showText() {
    if (text.value === typed + takenText) return; // else it would scroll away from where someone writes
    text.value = typed + takenText;
    text.scrollTop = text.scrollHeight;
  }

  function fillRow(row, token) {
    row.id = token.id;
    row.label.textContent = token.label;
    row.label.classList.toggle("special", token.special);
    row.label.classList.toggle("partial", token.partial);
    row.percent.textContent = percent(token.probability);
    row.fill.style.setProperty("--part", token.probability);
    row.own.style.setProperty("--part", token.at_1);
    row.item.classList.toggle("out", token.probability === 0);
    row.button.title = `id ${token.id}, bytes ${token.bytes}`;
    row.button.dataset.probability = token.probability;
    row.button.dataset.id = token.id;
  }

  function clearRows() {
    update.drop();
    fresh = false;
    text.readOnly = false;
    text.value = typed;
    list.parentElement.hidden = true;
    empty.hidden = false;
    count.textContent = "";
  }

  function fail(problem) {
    text.readOnly = false;
    error.textContent = problem.message;
  }

  function focusRow(place) {
    const shown = rows.filter((row) => !row.item.hidden);
    const row = shown[Math.max(0, Math.min(place, shown.length - 1))];
    for (const other of rows) other.button.tabIndex = other === row ? 0 : -1;
    row.button.focus();
  }

  function onListKey(event) {
    const place = rows.findIndex((row) => row.button === event.target);
    if (event.key === "ArrowDown") focusRow(place + 1);
    else if (event.key === "ArrowUp") focusRow(place - 1);
    else if (event.key === "Home") focusRow(0);
    else if (event.key === "End") focusRow(N_ROWS);
    else if (event.key === "Backspace") undoOne();
    else if (event.key === "Escape") text.focus();
    else if (/^[1-9]$/.test(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey) {
      const row = rows[event.key - 1];
      if (!row.item.hidden) take(row);
    } else return;
    event.preventDefault();
  }

  function onTextKey(event) {
    if (event.key === "Escape") {
      if (writing) writing.abort();
      else if (fresh) focusRow(rows.findIndex((row) => row.button.tabIndex === 0));
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) startOrStop();
    else return;
    event.preventDefault();
  }

  async function startOrStop() {
    if (writing) return writing.abort();
    error.textContent = ended.textContent = "";
    update.drop();
    writing = new AbortController();
    write.textContent = "Stop";
    status.textContent = "Writing.";
    text.readOnly = undo.disabled = clear.disabled = model.disabled = true;
    list.setAttribute("aria-busy", "true");
    const before = takenText.length;
    let finish = null;
    try {
      const { ids } = await post("/page/next_token", { model: model.value, text: typed, taken }, writing.signal);
      const asked = {
        model: model.value, prompt: ids, max_tokens: N_WRITTEN, temperature: temperature.get() / 20,
        top_k: TOP_K[topK.get()], return_token_ids: true,
      };
      for await (const { choices: [found] } of stream("/v1/completions", asked, writing.signal)) {
        taken.push(...(found.token_ids ?? []));
        takenText += found.text;
        showText();
        finish = found.finish_reason;
      }
    } catch (problem) {
      if (problem.name !== "AbortError") error.textContent = problem.message;
    }
    status.textContent = `Wrote: ${takenText.slice(before)}`;
    write.textContent = "Let it write";
    clear.disabled = model.disabled = text.readOnly = false;
    list.removeAttribute("aria-busy");
    writing = null;
    const problem = error.textContent;
    await refresh();
    error.textContent ||= problem;
    if (finish === "stop") ended.textContent = "The model ended its text here.";
  }
}

function percent(probability) {
  return probability ? `${(100 * probability).toFixed(2)} %` : "0 %";
}
