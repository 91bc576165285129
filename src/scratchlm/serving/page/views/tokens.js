import { element } from "/elements.js";

export const title = "Tokens";

export function mount(section) {
  section.append(element("p", { class: "lead" }, "This view is not there yet."));
}
