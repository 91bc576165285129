// How the page asks the server: JSON in; out comes JSON, or a stream of events. An error has the server's sentence.

const SILENT = "The server does not answer. Does `scratchlm serve` still run?";
const CUT = "The answer was cut off: the server has stopped. Does `scratchlm serve` still run?";

/** Wait for the network; an error of it becomes `sentence`, which says what to do. */
async function reached(waiting, sentence) {
  try {
    return await waiting;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(sentence);
  }
}

async function ask(path, options) {
  const response = await reached(fetch(path, options), SILENT);
  if (response.ok) return response;
  if (response.status === 413) throw new Error("This text is longer than the server takes. Shorten it.");
  const answer = await response.json().catch(() => null);
  throw new Error(answer?.error?.message ?? `The server says ${response.status} ${response.statusText}.`);
}

function posted(body, signal) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
}

/** Ask for JSON with JSON. */
export async function post(path, body, signal) {
  return (await ask(path, posted(body, signal))).json();
}

/** The names of the language models that were built, in the order of the pipeline. */
export async function modelNames() {
  const { data } = await (await ask("/v1/models")).json();
  return data.map((model) => model.id);
}

/** What this project's data offers to try: {texts, instructions, messages}. Asked until it is answered once. */
let offered;
export function offeredExamples() {
  offered ??= post("/page/examples", {}).catch((error) => {
    offered = undefined;
    throw error;
  });
  return offered;
}

/** Each event of an answer that is streamed (server-sent events), as JSON; an answer without an end is an error. */
export async function* stream(path, body, signal) {
  const response = await ask(path, posted({ ...body, stream: true }, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reached(reader.read(), CUT);
    if (done) throw new Error(CUT);
    const events = (held + value).split(/\r?\n\r?\n/);
    held = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (!data.length) continue;
      if (data[0] === "[DONE]") return;
      const parsed = JSON.parse(data.join("\n"));
      if (parsed.error) throw new Error(parsed.error.message);
      yield parsed;
    }
  }
}

/**
 * One question at a time: returns a function that asks. While a question runs, only the newest of those that follow is
 * kept, and asked next: the server would work on each to its end. `ask(...values)` returns a promise; `show` gets the
 * answer to the newest question alone, `fail` its error. `drop` forgets what is asked and kept.
 */
export function latest(ask, show, fail) {
  let newest; // the values of the newest question, until it is answered
  let running; // a promise while the server is asked
  async function askAll() {
    while (newest) {
      const values = newest;
      const [tell, found] = await ask(...values).then((answer) => [show, answer], (error) => [fail, error]);
      if (newest !== values) continue;
      newest = undefined;
      tell(found, ...values);
    }
    running = undefined;
  }
  const update = (...values) => {
    newest = values;
    running ??= askAll();
    return running;
  };
  update.drop = () => {
    newest = undefined;
  };
  return update;
}

/** Call `act` once `delay_ms` have passed without another call. */
export function debounced(act, delay_ms = 150) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, delay_ms);
  };
}
