/** Rows of a grid: made once, filled again and again. */

import { h } from "./dom.js";

/**
 * A row of empty cells.
 * @param {number} columns
 * @returns {{element: HTMLElement, cells: object[], full: boolean}} `full`: all its pictures are asked for
 */
export function newRow(columns) {
  const cells = Array.from({ length: columns }, (_, column) => {
    const picture = h("img", { alt: "", decoding: "async", draggable: "false" });
    picture.addEventListener("load", () => picture.classList.add("here"));
    picture.addEventListener("error", () => picture.parentElement?.classList.add("lost"));
    const note = h("span", { class: "cell-note", "aria-hidden": "true" });
    const element = h("div", { class: "cell", role: "gridcell", tabindex: -1, "aria-colindex": column + 1 }, picture, note);
    return { element, picture, note, source: null };
  });
  return { element: h("div", { class: "row", role: "row" }, cells.map((cell) => cell.element)), cells, full: false };
}

/** Give a cell its name, its note, and whether it is chosen; only what is new is written. */
export function say(cell, name, note, chosen) {
  if (cell.name !== name) cell.element.setAttribute("aria-label", (cell.name = name));
  if (cell.chosen !== chosen) cell.element.setAttribute("aria-selected", (cell.chosen = chosen));
  if (cell.note.textContent !== note) cell.note.textContent = note;
}

/** Show a picture in a cell; where it is not to be fetched yet, only take the old one away. */
export function paint(cell, source, fetching) {
  if (source === cell.source) return;
  if (cell.source !== null || !source) {
    cell.picture.classList.remove("here");
    cell.picture.removeAttribute("src");
    cell.element.classList.remove("lost");
    cell.source = null;
  }
  if (source && fetching) cell.picture.src = cell.source = source;
}

/**
 * Where a key leads to; null where it leads nowhere.
 * @param {string} key
 * @param {{active: number, columns: number, length: number}} grid
 * @param {number} rows that a page holds
 */
export function reached(key, { active, columns, length }, rows) {
  const last = length - 1;
  const inLast = active >= last - (last % columns);
  switch (key) {
    case "ArrowLeft": return Math.max(0, active - 1);
    case "ArrowRight": return Math.min(last, active + 1);
    case "ArrowUp": return active < columns ? active : active - columns;
    case "ArrowDown": return inLast ? active : Math.min(last, active + columns);
    case "PageUp": return Math.max(active % columns, active - rows * columns);
    case "PageDown": return Math.min(last, active + rows * columns);
    case "Home": return 0;
    case "End": return last;
    default: return null;
  }
}
