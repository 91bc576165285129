// Elements of the page. Text is always set as text: what a model or a user wrote never becomes HTML.

let n_ids = 0;

/** A new element. Properties are attributes, but for `class`, `on...` (listeners) and properties that are no text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean" && name in made) made[name] = value;
    else if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** An id that no other element has. */
export function newId(name) {
  n_ids += 1;
  return `${name}-${n_ids}`;
}

/** A control below its label; what follows may be an output that says the control's value. */
export function field(label, control, ...more) {
  control.id ||= newId("field");
  for (const one of more) if (one instanceof HTMLOutputElement) one.htmlFor = control.id;
  return element("div", { class: "field" }, element("label", { for: control.id }, label), control, ...more);
}

/** A choice between texts, the first of them chosen. */
export function choice(names, properties = {}) {
  return element("select", properties, ...names.map((name) => element("option", { value: name }, name)));
}

/** Buttons with examples, such as texts; a click hands one over. `show` says what is written on a button. */
export function examples(label, values, take, show = (value) => value) {
  const buttons = values.map((value) =>
    element("button", { type: "button", class: "example", onclick: () => take(value) }, show(value)),
  );
  return element("div", { class: "examples", role: "group", "aria-label": label }, element("span", {}, label), ...buttons);
}

/** A line for what went wrong, which screen readers read at once; empty until `textContent` is set. */
export function errorLine() {
  return element("p", { class: "error", role: "alert" });
}

/** A line that is not seen, and which screen readers read when its text changes. */
export function statusLine() {
  return element("p", { class: "hidden-text", role: "status" });
}

/** A line that says which keys do what: pairs of a key and its meaning. */
export function hint(...keys) {
  const parts = keys.map(([key, meaning]) => element("span", {}, element("kbd", {}, key), ` ${meaning}`));
  return element("p", { class: "note keys" }, ...parts);
}

/** Whether a key belongs to the browser, such as Alt and an arrow to go back. */
export function isBrowsers(event) {
  return event.altKey || event.ctrlKey || event.metaKey;
}

/** A part of one, such as a probability, in percent. */
export function percent(part, digits = 1) {
  return part ? `${(100 * part).toFixed(digits)} %` : "0 %";
}
