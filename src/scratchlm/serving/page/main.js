// The tabs: one view each, made when it is first shown. The address keeps which one (#complete).
import * as attention from "/views/attention.js";
import * as chat from "/views/chat.js";
import * as compare from "/views/compare.js";
import * as complete from "/views/complete.js";
import * as spam from "/views/spam.js";
import * as tokens from "/views/tokens.js";
import { element, isBrowsers } from "/elements.js";

const views = { complete, spam, chat, compare, tokens, attention };
const names = Object.keys(views);
const tabs = {};
const panels = {};
const mounted = new Set();

/** Show a view and hide the others; only the shown view's tab can be reached with the Tab key (WAI-ARIA: tabs). */
function show(name) {
  for (const other of names) {
    const chosen = other === name;
    tabs[other].setAttribute("aria-selected", chosen);
    tabs[other].tabIndex = chosen ? 0 : -1;
    panels[other].hidden = !chosen;
  }
  document.title = `${views[name].title} · scratchlm`;
  document.querySelector(".skip").href = `#view-${name}`;
  if (!mounted.has(name)) mount(name);
}

/** Fill a view; if that fails, say why, and try again when it is shown again. */
async function mount(name) {
  const [view, panel] = [views[name], panels[name]];
  const heading = element("h2", {}, view.title);
  mounted.add(name);
  panel.replaceChildren(heading);
  try {
    await view.mount(panel);
  } catch (error) {
    mounted.delete(name);
    panel.replaceChildren(
      heading,
      element("p", { class: "error", role: "alert" }, error.message),
      element("div", {}, element("button", { type: "button", class: "button", onclick: () => mount(name) }, "Try again")),
    );
  }
}

function showAddress() {
  const name = location.hash.slice(1).replace(/^view-/, "");
  show(names.includes(name) ? name : names[0]);
}

function moveFocus(event) {
  const place = names.indexOf(event.target.id.replace(/^tab-/, ""));
  const wanted = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: names.length - 1 }[event.key];
  if (wanted === undefined || isBrowsers(event)) return;
  event.preventDefault();
  const name = names.at(wanted % names.length);
  show(name);
  history.replaceState(null, "", `#${name}`); // one step back leaves what was walked over
  tabs[name].focus();
}

function choose(name) {
  show(name);
  // Not by location.hash, whose event would show it once more, and fill a view twice that had just failed.
  if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
}

for (const name of names) {
  tabs[name] = element(
    "button",
    { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}`, onkeydown: moveFocus,
      onclick: () => choose(name) },
    views[name].title,
  );
  panels[name] = element("section", { role: "tabpanel", id: `view-${name}`, "aria-labelledby": `tab-${name}`, tabindex: "-1" });
}
document.getElementById("tabs").append(...Object.values(tabs));
document.getElementById("views").replaceChildren(...Object.values(panels));
addEventListener("hashchange", showAddress);
showAddress();
