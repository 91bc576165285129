// How the page asks the server: JSON in; out comes JSON, or a stream of events. An error has the server's sentence.

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Does `scratchlm serve` still run?");
  }
  if (response.ok) return response;
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

/** What this project's data offers to try: {texts, instructions, messages}. Asked once. */
let offered;
export function offeredExamples() {
  offered ??= post("/page/examples", {});
  return offered;
}

/** Each event of an answer that is streamed (server-sent events), as JSON; ends with the stream. */
export async function* stream(path, body, signal) {
  const response = await ask(path, posted({ ...body, stream: true }, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (held + value).split(/\r?\n\r?\n/);
    held = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (!data.length || data[0] === "[DONE]") continue;
      const parsed = JSON.parse(data.join("\n"));
      if (parsed.error) throw new Error(parsed.error.message);
      yield parsed;
    }
  }
}

/**
 * One question at a time: returns a function that asks, and drops the question before if that still runs.
 * `ask(signal, ...values)` returns a promise; `show` gets the newest answer alone, `fail` its error. `drop` forgets
 * the question that runs.
 */
export function latest(ask, show, fail) {
  let running;
  const update = async (...values) => {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      const answer = await ask(mine.signal, ...values);
      if (mine === running) show(answer, ...values);
    } catch (error) {
      if (mine === running && error.name !== "AbortError") fail(error);
    }
  };
  update.drop = () => {
    running?.abort();
    running = undefined;
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
