/** One set of copies: beside each other, over each other, and what tells them apart. */

import { thumbnail } from "./api.js";
import { basename, button, h, icon } from "./dom.js";
import { facts } from "./facts.js";
import { view } from "./viewer.js";

const KINDS = { exact: "same bytes", pixels: "same pixels", near: "near" };

/** What a file is of the best copy: `near 0.987`. */
const kindWords = (file) => (file.kind === "near" ? `near, ${file.score.toFixed(3)}` : KINDS[file.kind]);

const large = (file) => h("img", { src: thumbnail(file.id, "large"), alt: basename(file.path), draggable: "false", decoding: "async" });

function factList(rows, at) {
  return h(
    "dl",
    { class: "copy-facts" },
    rows.map(({ label, values, differs, best }) => {
      const value = values[at];
      const path = label === "Folder" || label === "Name";
      return h("div", { class: differs ? "differs" : "" }, h("dt", null, label), h("dd", { class: path ? "path" : "" }, value, best[at] && icon("check")));
    }),
  );
}

function card(set, at, { state, items, rows, onchoose, onkeep }) {
  const file = set.files[at];
  const chosen = state.chosen === at;
  const keeps = state.also.has(file.path);
  const best = file.path === set.best;
  const also = !chosen && h("label", { class: "choice push" }, h("input", { type: "checkbox", checked: keeps, onchange: () => onkeep(file.path) }), h("span", null, "Keep, too"));
  return h(
    "div",
    { class: `copy${chosen ? " chosen" : keeps ? "" : " going"}` },
    h(
      "div",
      { class: "copy-picture" },
      h("button", { type: "button", class: "copy-choose", role: "radio", "aria-checked": String(chosen), tabindex: chosen ? 0 : -1, "aria-label": `Keep ${basename(file.path)}${best ? ", the best" : ""}`, onclick: () => onchoose(at) }, large(file)),
      button("See it large", () => view(set.files.map((one) => one.id), at), { icon: "fit", bare: true, class: "round small copy-open" }),
    ),
    h(
      "div",
      { class: "bar copy-state" },
      best ? h("span", { class: "tag good" }, "Best") : h("span", { class: "tag" }, kindWords(file)),
      h("span", { class: "count" }, chosen ? "stays" : keeps ? "stays, too" : "goes"),
      also,
    ),
    items.size > 0 && factList(rows, at),
    best && h("p", { class: "hint" }, `The best: ${set.why.replace(/(\d) x (\d)/, "$1 × $2")}.`),
    set.stays.includes(file.path) && h("p", { class: "hint" }, "It shows more than the best one, or is larger."),
  );
}

/**
 * The copies of a set beside each other.
 * @param {object} set
 * @param {{state: {chosen: number, also: Set<string>}, items: Map<string, object>, onchoose: (at: number) => void, onkeep: (path: string) => void}} options
 */
export function sideBySide(set, options) {
  const rows = facts(set.files, options.items);
  const best = options.items.get(set.files[0].id);
  return h("div", { class: "copies", role: "radiogroup", "aria-label": "Which copy to keep", style: { "--copies": set.files.length, ...(best && { "--shape": Math.min(1.5, Math.max(0.75, best.width / best.height)) }) } }, set.files.map((_, at) => card(set, at, { ...options, rows })));
}

/** The copy that a chosen one is compared with: the best, or the one most like it. */
const partner = (chosen) => (chosen === 0 ? 1 : 0);

function pair(set, chosen) {
  return [set.files[chosen], set.files[partner(chosen)]];
}

/**
 * Two copies at the same place; holding the picture or the button shows the other one.
 * @returns {{element: HTMLElement, flip: (other: boolean) => void}}
 */
export function flicker(set, chosen) {
  const both = pair(set, chosen);
  const said = h("p", { class: "over-said", role: "status" });
  const layers = both.map(large);
  const flip = (other) => {
    layers[1].classList.toggle("shown", other);
    hold.setAttribute("aria-pressed", other);
    const file = both[other ? 1 : 0];
    said.replaceChildren(h("strong", null, basename(file.path)), ` ${file.path === set.best ? "the best" : kindWords(file)}`);
  };
  const down = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    flip(true);
  };
  const up = () => flip(false);
  const held = { onpointerdown: down, onpointerup: up, onpointercancel: up };
  const hold = h("button", { type: "button", class: "hold", "aria-pressed": "false", ...held, onkeydown: (event) => (event.key === " " || event.key === "Enter") && flip(true), onkeyup: up }, icon("duplicates"), h("span", null, "Hold to see the other"));
  const element = h("div", { class: "over" }, h("div", { class: "over-frame", ...held }, layers), h("div", { class: "bar over-bar" }, said, hold));
  flip(false);
  return { element, flip };
}

/** Two copies at the same place, the one left and the other right of an edge that can be moved. */
export function slider(set, chosen) {
  const both = pair(set, chosen);
  const frame = h("div", { class: "over-frame slid" }, both.map(large), h("div", { class: "edge" }));
  const range = h("input", { type: "range", min: 0, max: 100, value: 50, step: 0.5, "aria-label": "Where the one picture ends and the other begins", oninput: () => cut(range.value) });
  const cut = (percent) => frame.style.setProperty("--cut", `${percent}%`);
  const drag = (event) => {
    if (event.type === "pointerdown") frame.setPointerCapture(event.pointerId);
    else if (!event.buttons) return;
    const box = frame.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    cut(range.value);
  };
  frame.addEventListener("pointerdown", drag);
  frame.addEventListener("pointermove", drag);
  cut(50);
  const name = (file) => h("span", { class: "count" }, basename(file.path));
  return h("div", { class: "over" }, frame, h("div", { class: "slid-bar" }, name(both[1]), range, name(both[0])));
}
