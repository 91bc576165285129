import { element } from "/elements.js";

export const title = "Chat";

export function mount(section) {
  section.append(element("p", { class: "lead" }, "This view is not there yet."));
}
