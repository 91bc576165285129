// Compare: two answers to a test instruction, seen blind; which one is better?
import { latest, post } from "/api.js";
import { choice, element, errorLine, field, isBrowsers, statusLine } from "/elements.js";
import { voteTables } from "/vote_tables.js";

export const title = "Compare";

const MIXED = "all pairs, mixed";
const CHOICES = [
  { key: "1", better: "first", text: "Answer 1 is better" },
  { key: "2", better: "second", text: "Answer 2 is better" },
  { key: "3", better: "same", text: "Both are equally good" },
];

export async function mount(section) {
  const { pairs } = await post("/page/compare/results", {});
  let asked = null; // the question that waits for a vote
  let askedOf = null; // the pair that it was asked of, null for all
  let loading = false; // while another question is on its way
  let voting = false; // while a vote is sent or taken back, so that a held key votes once

  const pair = choice([MIXED, ...pairs.map(({ name }) => name)], { onchange: next });
  const progress = element("progress", { "aria-label": "Questions with your vote" });
  const counted = element("p", { class: "note" });
  const undoButton = element("button", { type: "button", class: "button quiet", onclick: undo }, "Undo the last vote");
  const error = errorLine();
  const question = element("div", { class: "stack" });
  const status = statusLine(); // to be seen after a vote
  const actions = element("div", { class: "row" });
  const found = element("div", { class: "stack" });
  const results = element(
    "details",
    { class: "card", ontoggle: () => results.open && showResults() },
    element("summary", {}, "What your votes say"),
    found,
  );
  section.append(
    element(
      "p",
      { class: "lead" },
      "Two answers to one instruction. Which is better? You see whose they are once you have voted.",
    ),
    element(
      "div",
      { class: "card stack" },
      element("div", { class: "row between" }, field("Whose answers", pair), undoButton),
      progress,
      counted,
    ),
    error,
    question,
    status,
    actions,
    results,
  );
  const ask = latest((body) => post("/page/compare", body), showQuestion, fail);
  next();
  document.addEventListener("keydown", (event) => {
    if (section.hidden || event.repeat || isBrowsers(event) || event.target.closest("input, select, textarea")) return;
    const chosen = CHOICES.find(({ key }) => key === event.key);
    if (chosen) vote(chosen.better);
  });

  function chosenPair() {
    return pair.value === MIXED ? null : pair.value;
  }

  function next() {
    loading = true;
    ask({ pair: chosenPair() });
  }

  function undo() {
    const body = { pair: chosenPair() };
    ask.drop();
    send("/page/compare/undo", body, (answer) => showQuestion(answer, body));
  }

  function vote(better) {
    if (!asked || loading) return;
    send("/page/compare/vote", { pair: askedOf, question: asked.question, better }, (answer) => reveal(answer, better));
  }

  /** Send a vote, or take one back; show what comes of it, unless another question was asked for meanwhile. */
  async function send(path, body, show) {
    if (voting) return;
    voting = true;
    const before = asked;
    try {
      const answer = await post(path, body);
      error.textContent = "";
      if (asked === before) show(answer);
    } catch (problem) {
      fail(problem);
    } finally {
      voting = false;
    }
    if (results.open) showResults();
  }

  function fail(problem) {
    loading = false;
    error.textContent = problem.message;
  }

  function showQuestion(answer, body) {
    const focused = document.activeElement; // what has it may go now
    const within = question.contains(focused) || actions.contains(focused);
    loading = false;
    error.textContent = "";
    showProgress(answer);
    asked = answer.asked;
    askedOf = body.pair;
    status.classList.toggle("hidden-text", Boolean(asked));
    if (!asked) {
      question.replaceChildren();
      actions.replaceChildren();
      status.textContent = answer.n_questions
        ? "You have voted on every question here."
        : "There is nothing to compare: all answers are the same.";
      results.open = true;
      if (within) results.firstElementChild.focus();
      return;
    }
    const task = element("p", { class: "task", tabindex: "-1" }, asked.instruction);
    question.replaceChildren(
      element(
        "div",
        { class: "card stack" },
        task,
        ...(asked.input ? [element("p", { class: "given" }, asked.input)] : []),
        element("details", {}, element("summary", {}, "The reference answer"), element("p", { class: "given" }, asked.reference)),
      ),
      element("div", { class: "columns even" }, answerCard("Answer 1", asked.first), answerCard("Answer 2", asked.second)),
    );
    actions.replaceChildren(
      ...CHOICES.map(({ key, better, text }) =>
        element(
          "button",
          { type: "button", class: "button quiet", "aria-keyshortcuts": key, onclick: () => vote(better) },
          element("kbd", { "aria-hidden": "true" }, key),
          text,
        ),
      ),
    );
    status.textContent = `Question ${answer.n + 1} of ${answer.n_questions}.`;
    if (within || (focused === undoButton && undoButton.disabled)) task.focus();
  }

  function reveal(answer, better) {
    asked = null;
    showProgress(answer);
    const names = [answer.first, answer.second];
    question.querySelectorAll(".answer").forEach((card, place) => {
      card.classList.toggle("chosen", better === ["first", "second"][place]);
      card.querySelector(".who").textContent = names[place];
    });
    const chosen = { first: `You chose ${names[0]}.`, second: `You chose ${names[1]}.`, same: "You chose neither." }[better];
    status.classList.remove("hidden-text");
    status.textContent = `${chosen} Answer 1 is by ${names[0]}, answer 2 by ${names[1]}.`;
    const enter = element("kbd", { "aria-hidden": "true" }, "Enter");
    const button = element("button", { type: "button", class: "button", onclick: next }, enter, "Next question");
    actions.replaceChildren(button);
    button.focus();
  }

  function showProgress({ n, n_questions, n_damaged }) {
    progress.max = Math.max(1, n_questions);
    progress.value = n;
    undoButton.disabled = n === 0;
    const damaged = n_damaged
      ? ` ${n_damaged} ${n_damaged === 1 ? "line" : "lines"} of data/votes.jsonl cannot be read: not counted, and left as found.`
      : "";
    counted.textContent = `${n} of ${n_questions} questions have your vote.${damaged}`;
  }

  async function showResults() {
    try {
      found.replaceChildren(...voteTables(await post("/page/compare/results", {})));
    } catch (problem) {
      found.replaceChildren(element("p", { class: "note" }, problem.message));
    }
  }
}

function answerCard(name, words) {
  return element(
    "article",
    { class: "card answer", "aria-label": name },
    element("div", { class: "row between" }, element("h3", {}, name), element("span", { class: "who" })),
    words
      ? element("p", { class: "words" }, words)
      : element("p", { class: "words none" }, "No answer: the model ended at once."),
  );
}
