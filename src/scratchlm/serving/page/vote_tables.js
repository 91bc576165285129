// What votes say: how often each model's answers are better, and how far the judges agree.
import { element, newId } from "/elements.js";

/** Returns the tables and notes of the votes' results. */
export function voteTables({ pairs, is_judged }) {
  const missing = "No judge has scored these answers: `dvc repro judge_responses` has them scored.";
  return [
    winTable(pairs),
    ...(is_judged ? [judgeTable(pairs)] : [element("p", { class: "note" }, missing)]),
    ...pairs.flatMap(leftOut).map((words) => element("p", { class: "note" }, words)),
  ];
}

const figure = (value, digits = 1) => (value === null ? "–" : value.toFixed(digits).replace("-", "\u2212"));

function winTable(pairs) {
  return table(
    "How often you found the one better than the other, in percent; a tie is half a win",
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
