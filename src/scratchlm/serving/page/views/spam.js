// Spam: the label of a message, what each of its tokens adds to it, and the probability while reading.
import { latest, offeredExamples, post } from "/api.js";
import { element, errorLine, examples, field, hint, percent, statusLine } from "/elements.js";
import { tokenLine } from "/token_line.js";

export const title = "Spam";

const WEAK = 0.2; // nats: in a message whose strongest token has less, no colour is at its strongest
const MINUS = "\u2212";

const signed = (part) => `${part < 0 ? MINUS : "+"}${Math.abs(part).toFixed(2)}`;

export async function mount(section) {
  const text = element("textarea", { rows: "4", maxlength: "2000", spellcheck: "false", placeholder: "Write a message" });
  const button = element("button", { class: "button" }, "Classify");
  const error = errorLine();
  const result = element("div", { class: "stack" });
  const status = statusLine();
  const tries = element("div");
  const form = element(
    "form",
    { class: "card stack", onsubmit: submit },
    field("Message", text),
    element("div", { class: "row between" }, button, hint(["Enter", "classifies"], ["Shift+Enter", "new line"])),
    tries,
    error,
  );
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  });
  section.append(
    element("p", { class: "lead" }, "How sure the classifier is of a message, which tokens make it so, and when it knew."),
    form,
    status,
    result,
  );

  const classify = latest(
    (message) => post("/page/spam", { text: message }),
    (answer) => {
      show("", ...answerCards(answer));
      status.textContent = `${answer.label}, ${percent(answer.probabilities[answer.label])}`;
    },
    (problem) => show(problem.message),
  );

  function show(problem, ...cards) {
    form.removeAttribute("aria-busy");
    error.textContent = problem;
    status.textContent = "";
    result.replaceChildren(...cards);
  }

  function submit(event) {
    event.preventDefault();
    form.setAttribute("aria-busy", "true");
    classify(text.value);
  }

  function take(message) {
    text.value = message;
    form.requestSubmit();
  }

  const { messages } = await offeredExamples();
  if (messages.length) tries.append(examples("Try", messages, take, shortened));
  if (messages.length && !text.value) take(messages.at(-1));
}

function shortened(message) {
  return message.length > 42 ? `${message.slice(0, 40).trimEnd()}…` : message;
}

function answerCards({ label, probabilities, tokens, unread }) {
  const chart = readingChart(label, tokens, (place) => line.choose(place));
  const detail = element("p", { class: "detail" });
  const strongest = Math.max(WEAK, ...tokens.map(({ part }) => Math.abs(part)));
  const line = tokenLine(
    `Tokens, and what each adds to ${label}`,
    tokens.map(({ text, part, probability }) => ({ text: visible(text), name: said(text, part, probability, label) })),
    (place) => {
      const { text, part, probability } = tokens[place];
      detail.replaceChildren(
        element("strong", { class: "mono" }, visible(text).trim() || "␣"),
        element("span", { class: part < 0 ? "against" : "for" }, `${signed(part)} ${speaks(part, label)}`),
        element("span", {}, `after it ${label} ${percent(probability)}`),
      );
      chart.mark(place);
    },
  );
  line.items.forEach((item, place) => {
    const { part } = tokens[place];
    item.classList.add(part < 0 ? "against" : "for");
    item.style.setProperty("--strength", Math.abs(part) / strongest);
  });
  if (unread) line.line.append(element("span", { class: "unread", title: "not read" }, unread));
  line.choose(tokens.reduce((best, { part }, place) => (Math.abs(part) > Math.abs(tokens[best].part) ? place : best), 0));
  const others = Object.entries(probabilities).filter(([name]) => name !== label);
  return [
    element(
      "div",
      { class: "card verdict" },
      element("p", { class: "label" }, label),
      element("p", { class: "share" }, percent(probabilities[label])),
      element("meter", { min: "0", max: "1", value: String(probabilities[label]), "aria-label": `Probability of ${label}` }),
      element("p", { class: "note" }, others.map(([name, probability]) => `${name} ${percent(probability)}`).join(" · ")),
    ),
    element(
      "div",
      { class: "card stack" },
      element("div", { class: "row between" }, element("h3", {}, "What each token adds"), legend(label)),
      line.line,
      detail,
      element(
        "p",
        { class: "note" },
        `The message is classified once more without each token. The number is by how much the log-odds of ${label} ` +
          `are higher with the token. Odds are how many times more likely ${label} is than not, log-odds their ` +
          `logarithm: +0.69 doubles the odds, ${MINUS}0.69 halves them. The numbers do not add up to ` +
          "the whole: of two tokens that say the same, either can go without a loss." +
          (tokens.some(({ text }) => /\\x/.test(text)) ? " A token with \\x holds only some bytes of a character." : "") +
          (unread ? " What is grey at the end is more than the classifier reads, and counts for nothing." : ""),
      ),
    ),
    element(
      "div",
      { class: "card stack" },
      element("h3", {}, `Probability of ${label} while reading`),
      chart.figure,
      element("p", { class: "note" }, "Each point is what the classifier says of the message up to that token."),
    ),
  ];
}

function legend(label) {
  return element(
    "p",
    { class: "legend" },
    element("span", { class: "for" }, `for ${label}`),
    element("span", { class: "against" }, `against ${label}`),
  );
}

function speaks(part, label) {
  return `${part < 0 ? "against" : "for"} ${label}`;
}

function said(text, part, probability, label) {
  return `${text.trim() || "blank"}: ${signed(part)} ${speaks(part, label)}, after it ${label} ${percent(probability)}`;
}

/** A token's text; characters that cannot be seen, or turn the line around, are escaped as the server does. */
function visible(text) {
  const escaped = (character) => {
    const code = character.codePointAt(0).toString(16);
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
  };
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => (character === "\n" ? "↵\n" : escaped(character)));
}

/** The probability after each token. `mark(place)` shows where one is; a pointer over the chart chooses the nearest. */
function readingChart(label, tokens, choose) {
  const x = (place) => (tokens.length > 1 ? (100 * place) / (tokens.length - 1) : 50);
  const y = (probability) => 100 * (1 - probability);
  const points = tokens.map(({ probability }, place) => `${x(place)},${y(probability)}`);
  const values = tokens.map(({ probability }) => probability);
  const name =
    `Line: probability of ${label} from ${percent(values[0])} after the first token to ${percent(values.at(-1))} ` +
    `after the last; lowest ${percent(Math.min(...values))}, highest ${percent(Math.max(...values))}`;
  const marker = drawn("line", { class: "marker", y1: 0, y2: 100 });
  const picture = drawn("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": name });
  picture.append(
    ...[0, 50, 100].map((height) => drawn("line", { class: "grid", x1: 0, x2: 100, y1: height, y2: height })),
    drawn("polygon", { class: "area", points: `${x(0)},100 ${points.join(" ")} ${x(tokens.length - 1)},100` }),
    marker,
    drawn("polyline", { class: "curve", points: points.join(" ") }),
  );
  const dot = element("span", { class: "dot" });
  const plot = element(
    "div",
    { class: "plot", onpointermove: (event) => choose(nearest(event)), onpointerdown: (event) => choose(nearest(event)) },
    picture,
    dot,
  );

  function nearest(event) {
    const { left, width } = plot.getBoundingClientRect();
    const place = Math.round(((event.clientX - left) / width) * (tokens.length - 1));
    return Math.max(0, Math.min(tokens.length - 1, place));
  }

  function mark(place) {
    marker.setAttribute("x1", x(place));
    marker.setAttribute("x2", x(place));
    dot.style.left = `${x(place)}%`;
    dot.style.top = `${y(tokens[place].probability)}%`;
  }

  const scale = element("div", { class: "scale", "aria-hidden": "true" }, ...["100 %", "50 %", "0 %"].map((tick) => element("span", {}, tick)));
  const ends = element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, "first token"), element("span", {}, "last token"));
  return { figure: element("div", { class: "chart" }, scale, plot, ends), mark };
}

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
