// Compare: two answers to a test instruction, seen blind; which one is better?
import { post } from "/api.js";
import { element, errorLine, field, newId } from "/elements.js";

export const title = "Compare";

const MIXED = "all pairs, mixed";
const CHOICES = [
  { key: "1", better: "first", text: "Answer 1 is better" },
  { key: "2", better: "second", text: "Answer 2 is better" },
  { key: "3", better: "same", text: "Both are equally good" },
];

export function mount(section) {
  let asked = null; // the question that waits for a vote
  let busy = false; // while the server is asked, so that a held key votes once

  const pair = element("select", { onchange: next }, element("option", { value: "" }, MIXED));
  const progress = element("progress", { "aria-label": "Questions with your vote" });
  const counted = element("p", { class: "note" });
  const undoButton = element("button", { type: "button", class: "button quiet", onclick: undo }, "Undo the last vote");
  const error = errorLine();
  const question = element("div", { class: "stack" });
  const status = element("p", { role: "status", class: "told" });
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
  document.addEventListener("keydown", (event) => {
    const other = event.repeat || event.ctrlKey || event.metaKey || event.altKey;
    if (section.hidden || other || event.target.closest("input, select, textarea")) return;
    const choice = CHOICES.find(({ key }) => key === event.key);
    if (choice && asked) vote(choice.better);
  });
  readPairs().then(next);

  async function readPairs() {
    try {
      const { pairs } = await post("/page/compare/results", {});
      pair.append(...pairs.map(({ name }) => element("option", { value: name }, name)));
    } catch {
      // the question that follows says what is missing
    }
  }

  /** Ask the server, one question at a time; show its answer, or why there is none. */
  async function ask(path, body, show) {
    if (busy) return;
    busy = true;
    error.textContent = "";
    try {
      show(await post(path, { pair: pair.value || null, ...body }));
    } catch (problem) {
      error.textContent = problem.message;
    } finally {
      busy = false;
    }
    if (results.open) showResults();
  }

  function next() {
    ask("/page/compare", {}, showQuestion);
  }

  function undo() {
    ask("/page/compare/undo", {}, showQuestion);
  }

  function vote(better) {
    ask("/page/compare/vote", { question: asked.question, better }, (answer) => reveal(answer, better));
  }

  function showQuestion(answer) {
    showProgress(answer);
    asked = answer.asked;
    status.textContent = "";
    if (!asked) {
      question.replaceChildren();
      actions.replaceChildren();
      status.textContent = answer.n_questions
        ? "You have voted on every question here."
        : "There is nothing to compare: all answers are the same.";
      results.open = true;
      return;
    }
    question.replaceChildren(
      element(
        "div",
        { class: "card stack" },
        element("p", { class: "task" }, asked.instruction),
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
      const { pairs, is_judged } = await post("/page/compare/results", {});
      const missing = "No judge has scored these answers: `dvc repro judge_responses` has them scored.";
      found.replaceChildren(
        winTable(pairs),
        ...(is_judged ? [judgeTable(pairs)] : [element("p", { class: "note" }, missing)]),
        ...pairs.flatMap(leftOut).map((words) => element("p", { class: "note" }, words)),
      );
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

const figure = (value, digits = 1) => (value === null ? "–" : value.toFixed(digits).replace("-", "\u2212"));

function winTable(pairs) {
  return table(
    "How often the first of the two is better, in percent; a tie is half a win",
    ["Pair", "Win rate", "95 % interval", "Wins", "Ties", "Losses", "Votes"],
    pairs.map((one) => [
      `${one.pair[1]} over ${one.pair[0]}`,
      figure(one.win_rate),
      one.ci95_low === null ? "–" : `${figure(one.ci95_low)} to ${figure(one.ci95_high)}`,
      ...[one.wins, one.ties, one.losses, one.n],
    ]),
  );
}

function judgeTable(pairs) {
  return table(
    "How far the judges agree with you: the same winner, and Cohen's kappa (0 is chance, 1 is always)",
    ["Pair and judge", "Same, %", "Kappa", "Questions"],
    pairs.flatMap(({ pair, judges }) =>
      judges.map(({ judge, by, agreement, kappa, n }) => [
        `${pair[1]} over ${pair[0]}, ${judge} (${by === "scores" ? "its scores" : "asked which is better"})`,
        figure(agreement),
        figure(kappa, 2),
        n,
      ]),
    ),
  );
}

function leftOut({ pair, n_equal, n_earlier }) {
  const names = pair.join(" and ");
  const said = [];
  if (n_equal) said.push(`${n_equal} answers of ${names} are the same text; they are not asked.`);
  if (n_earlier) said.push(`${n_earlier} votes on ${names} are of answers from an earlier run; they are kept, and not counted here.`);
  return said;
}

function table(heading, heads, rows) {
  const id = newId("table");
  const head = element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name))));
  const lines = rows.map(([name, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, String(cell)))),
  );
  return element(
    "div",
    { class: "stack" },
    element("h3", { id }, heading),
    element(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": id },
      element("table", { "aria-labelledby": id }, head, element("tbody", {}, ...lines)),
    ),
  );
}
