/** What the keys do, view by view. */

import { dialog, h } from "./dom.js";

const GRID = [
  ["← → ↑ ↓", "go from picture to picture"],
  ["Enter", "open it"],
  ["Space", "select it"],
  ["Shift ← →", "select a range"],
  ["Ctrl A", "select all that are loaded"],
  ["Esc", "select none"],
];
const SEARCHED = [
  ["S", "find what looks like it"],
  ["+", "add it to the search"],
  ["−", "steer away from it"],
];
const VIEWS = [
  [/^\/groups$/, [["Tab", "go from group to group"], ["Enter", "open it"], ["Space", "select it, on its box"], ["M", "merge those selected"]]],
  [/^\/groups\//, [...GRID, ["C", "use it as the group's cover"], ["S", "find what looks like it"]]],
  [/^\/duplicates/, [
    ["← →", "choose the copy that stays"],
    ["K", "keep it: the others go"],
    ["N", "not duplicates"],
    ["↓ or J", "next set"],
    ["↑", "previous set"],
    ["F", "flicker; hold it to see the other copy"],
    ["S", "slider"],
    ["Esc", "side by side"],
  ]],
  [/^\/map/, [
    ["+ −", "nearer, farther"],
    ["← → ↑ ↓", "move"],
    ["0", "show everything"],
    ["Enter", "open the picture in the middle"],
    ["L", "draw around pictures"],
    ["R", "a rectangle: arrows move it, Shift and arrows stretch it, Enter keeps it"],
    ["Esc", "give up what is drawn or selected"],
  ]],
  [/^\/(search|library)/, [...GRID, ...SEARCHED]],
];

const written = (keys) => keys.split(" ").map((one) => (one === "or" ? " or " : h("kbd", null, one)));

/**
 * Show the keys of a view.
 * @param {string} path of its address
 */
export function showKeys(path) {
  const rows = VIEWS.find(([pattern]) => pattern.test(path))?.[1] ?? [["Tab", "go from one thing to the next"], ["Enter", "do it"]];
  const all = [...rows, ["?", "these keys"]];
  dialog({ title: "Keys", body: h("dl", { class: "keys" }, all.map(([keys, does]) => h("div", null, h("dt", null, written(keys)), h("dd", null, does)))) });
}
