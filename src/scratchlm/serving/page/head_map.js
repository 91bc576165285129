// The map of a head: a square for each token and each earlier one, the more colour the more it looks at it.
import { element } from "/elements.js";

const LABELLED = 36; // with more tokens, the names beside the map would be too small to read
const SIDE = 1280; // pixels, so that it is sharp on any screen

/** Returns the map of these tokens and `show(rows, chosen)`; `choose(place)` is called where the pointer is. */
export function headMap(tokens, choose) {
  const labels = (kind) => element("div", { class: `labels ${kind}`, "aria-hidden": "true", hidden: tokens.length > LABELLED },
    ...tokens.map((name) => element("span", {}, name)));
  const [rowNames, columnNames] = [labels("rows"), labels("columns-of")];
  const canvas = element("canvas", { role: "img", "aria-label": "Map of this head: a row for each token", onpointermove: point, onpointerdown: point });
  const map = element("div", { class: "map" }, rowNames, canvas, columnNames);
  map.style.maxWidth = `${Math.min(40, 5 + 3.5 * tokens.length)}rem`; // squares of a few tokens need not be huge

  function point(event) {
    const { top, height } = canvas.getBoundingClientRect();
    const n = tokens.length;
    choose(Math.max(0, Math.min(n - 1, Math.floor(((event.clientY - top) / height) * n))));
  }

  function show(rows, chosen) {
    for (const names of [rowNames, columnNames]) {
      [...names.children].forEach((name, other) => name.classList.toggle("chosen", other === chosen));
    }
    draw(canvas, rows, Math.max(1, Math.floor(SIDE / tokens.length)), chosen);
  }

  return { map, show };
}

/** Draw a head's weights as squares of `cell` pixels, and a frame around the row of the chosen token. */
export function draw(canvas, rows, cell, chosen) {
  const colours = getComputedStyle(document.documentElement);
  const side = rows.length * cell;
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = colours.getPropertyValue("--accent");
  rows.forEach((row, y) =>
    row.forEach((weight, x) => {
      context.globalAlpha = Math.sqrt(weight);
      context.fillRect(x * cell, y * cell, cell, cell);
    }),
  );
  if (chosen === undefined) return;
  context.globalAlpha = 1;
  context.strokeStyle = colours.getPropertyValue("--ink");
  context.lineWidth = side / 320;
  context.strokeRect(context.lineWidth / 2, chosen * cell, (chosen + 1) * cell - context.lineWidth / 2, cell - context.lineWidth / 2);
}
