// Chat: one instruction, and the answers of several models beside each other, as they are written.
import { modelNames, offeredExamples, post, stream } from "/api.js";
import { element, errorLine, examples, field, hint, newId, statusLine } from "/elements.js";

export const title = "Chat";

const ANSWERING = { // which models answer instructions, and what each has learned
  base: "before it was taught to answer",
  assistant: "fine-tuned on instructions",
  preferred: "then tuned on preferences",
};
const N_NEW = 256; // tokens at most, as `scratchlm ask` gives

export async function mount(section) {
  const names = (await modelNames()).filter((name) => name in ANSWERING);
  if (!names.length) throw new Error("No model that answers instructions was built: run `make repro` to build them.");
  let running = null; // an AbortController for all answers of a question

  const asked = names.map((name) => element("input", { type: "checkbox", id: newId("asked"), value: name, checked: true }));
  const instruction = element("textarea", {
    rows: 2, placeholder: "What is the opposite of hot?", onkeydown: onKey, class: "short",
  });
  const input = element("textarea", { rows: 2, placeholder: "A text to work on, such as a sentence to rewrite.",
    onkeydown: onKey, class: "short" });
  const ask = element("button", { type: "submit", class: "button" }, "Ask");
  const stop = element("button", { type: "button", class: "button quiet", disabled: true, onclick: () => running?.abort() }, "Stop");
  const error = errorLine();
  const status = statusLine(); // gets each answer once it is whole, with the model's name
  status.setAttribute("aria-atomic", "false");
  const exchanges = element("div", { class: "stack", "aria-label": "Questions and answers", role: "region" });
  const form = element("form", { class: "card stack", onsubmit: (event) => { event.preventDefault(); send(); } },
    element("fieldset", {}, element("legend", {}, "Who answers"),
      ...asked.map((box) => element("span", { class: "check" }, box, element("label", { for: box.id }, box.value)))),
    element("div", { class: "columns" }, field("Instruction", instruction), field("Input (optional)", input)),
    element("div", { class: "row between" }, element("div", { class: "row" }, ask, stop),
      hint(["Enter", "asks"], ["Shift+Enter", "new line"], ["Esc", "stops"])),
    error, status,
  );
  section.append(
    element("p", { class: "lead" },
      "Ask once, and compare what each training step has changed. Every question stands alone: the models were trained " +
      "on single questions, so nothing of an earlier one is sent."),
    form, exchanges,
  );
  section.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
  const { instructions } = await offeredExamples();
  if (instructions.length) {
    form.append(examples("Try", instructions, (entry) => {
      instruction.value = entry.instruction;
      input.value = entry.input;
      send();
    }, (entry) => [entry.instruction, entry.input].filter(Boolean).join(" — ")));
  }

  function onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  async function send() {
    const chosen = asked.filter((box) => box.checked).map((box) => box.value);
    const question = { instruction: instruction.value.trim(), input: input.value.trim() };
    error.textContent = "";
    if (!question.instruction) error.textContent = "Write an instruction first.";
    else if (!chosen.length) error.textContent = "Choose at least one model.";
    if (error.textContent || running) return;
    setRunning(new AbortController());
    status.replaceChildren();
    const answers = chosen.map((name) => newAnswer(name, (words) => status.append(element("p", {}, words))));
    const exchange = element("article", { class: "exchange stack" },
      element("div", { class: "question" },
        element("h3", {}, question.instruction),
        ...(question.input ? [element("p", {}, question.input)] : [])),
      element("div", { class: "replies" }, ...answers.map((answer) => answer.card)));
    exchanges.prepend(exchange);
    exchange.scrollIntoView({ block: "nearest" });
    await Promise.all(answers.map((answer) => answer.write(question, running.signal)));
    setRunning(null);
  }

  /** Ask or Stop can be used, never both; the focus goes from the one to the other. */
  function setRunning(controller) {
    running = controller;
    const [usable, other] = running ? [stop, ask] : [ask, stop];
    const focused = document.activeElement === other;
    usable.disabled = false;
    if (focused) usable.focus();
    other.disabled = true;
  }
}

/** The place of one model's answer: a card, and how it is filled. `tell` gets what screen readers say of it. */
function newAnswer(name, tell) {
  const text = element("p", { class: "reply", "aria-busy": "true" });
  const end = element("p", { class: "note" }, "reads the prompt …");
  const prompt = element("pre", { class: "mono prompt", tabindex: "0" });
  const seen = element("details", { hidden: true }, element("summary", {}, "The prompt as the model sees it"), prompt);
  const error = errorLine();
  const card = element("section", { class: "card stack", "aria-label": name, "data-model": name },
    element("div", {}, element("h4", {}, name), element("p", { class: "note" }, ANSWERING[name])),
    text, error, end, seen);

  async function write(question, signal) {
    let n_tokens = 0;
    let finish = null;
    try {
      const sent = await post("/page/prompt", { model: name, ...question }, signal);
      prompt.textContent = sent.prompt;
      seen.hidden = false;
      const body = { model: name, prompt: sent.ids, max_tokens: N_NEW, return_token_ids: true };
      for await (const { choices: [found] } of stream("/v1/completions", body, signal)) {
        n_tokens += found.token_ids?.length ?? 0;
        text.append(found.text);
        finish = found.finish_reason ?? finish;
        if (n_tokens) end.textContent = counted(n_tokens);
      }
      if (!text.textContent.trim()) text.append(element("em", {}, "(an empty answer)"));
    } catch (problem) {
      if (problem.name === "AbortError") finish = "stopped";
      else error.textContent = problem.message;
    }
    const why = { stop: "ended by itself", length: "cut at the limit", stopped: "stopped by you" }[finish];
    end.textContent = [n_tokens ? counted(n_tokens) : "", why].filter(Boolean).join(", ");
    text.setAttribute("aria-busy", "false");
    if (finish) tell(`${name}: ${text.textContent} (${end.textContent})`); // an error is an alert already
  }
  return { card, write };
}

function counted(n_tokens) {
  return n_tokens === 1 ? "1 token" : `${n_tokens} tokens`;
}
