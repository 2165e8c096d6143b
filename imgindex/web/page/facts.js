/** What tells the copies of one picture from each other. */

import { basename, number } from "./dom.js";
import { bytes, folderOf, taken } from "./words.js";

const pixels = (item) => (item ? item.width * item.height : 0);

const most = (values) => {
  const largest = Math.max(...values);
  return values.map((value) => value > 0 && value === largest);
};

const row = (label, values, best = []) => ({
  label,
  values,
  differs: new Set(values).size > 1,
  best: new Set(best).size > 1 ? best : [],
});

/**
 * Rows of facts, each with one value a file.
 *
 * @param {{path: string, id: string, kind: string, score: number}[]} files of one set, best first.
 * @param {Map<string, object>} items pictures by id, as far as they are known.
 * @returns {{label: string, values: string[], differs: boolean, best: boolean[]}[]}
 */
export const facts = (files, items) => {
  const known = files.map((file) => items.get(file.id));
  const rows = [
    row(
      "Size",
      known.map((item) => (item ? `${number(item.width)} × ${number(item.height)}` : "…")),
      most(known.map(pixels)),
    ),
    row("Format", known.map((item) => item?.format ?? "…")),
    row("Taken", known.map((item) => (item ? (item.taken ? taken(item.taken) : "not known") : "…"))),
    row("Name", files.map((file) => basename(file.path))),
    row("Folder", files.map((file) => folderOf(file.path))),
  ];
  if (known.some((item) => item?.bytes)) {
    rows.splice(
      1,
      0,
      row(
        "Bytes",
        known.map((item) => (item?.bytes ? bytes(item.bytes) : "not known")),
        most(known.map((item) => item?.bytes ?? 0)),
      ),
    );
  }
  return rows;
};
