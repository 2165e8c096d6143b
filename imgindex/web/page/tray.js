/** The query: a chip for each of its pictures. */

import { button, h, icon } from "./dom.js";
import { chooseBox } from "./box.js";
import { AWAY, face } from "./terms.js";
import { pickFiles } from "./uploads.js";

const HEAVIEST = 3;

function chip(term, at, change, remove, open) {
  const called = `picture ${at + 1}`;
  const source = face(term);
  const away = term.weight < 0;
  const amount = h("output", { class: "count" }, Math.abs(term.weight));
  const weight = h("input", {
    type: "range", min: 0.05, max: HEAVIEST, step: 0.05, value: Math.abs(term.weight), "aria-label": `Weight of ${called}`, title: "Weight",
    oninput: () => (amount.textContent = weight.value),
    onchange: () => change({ weight: (away ? -1 : 1) * Number(weight.value) }),
  });
  const sign = (label, name, on, to) => button(label, () => on || change({ weight: to }), { icon: name, bare: true, class: "small", "aria-pressed": String(on) });
  const part = async () => {
    const box = await chooseBox({ source: face(term, "large"), name: called, box: term.box });
    if (box !== undefined) change({ box });
  };
  const picture = source ? h("img", { src: source, alt: "" }) : h("span", { class: "term-address" }, icon("external"));
  if (source) picture.addEventListener("error", () => picture.classList.add("lost"));
  return h(
    "li",
    { class: away ? "term away" : "term" },
    h("button", { type: "button", class: "term-face", "aria-label": `Open ${called}`, onclick: () => (term.picture ? open(term) : source && part()) }, picture, term.box && boxed(term.box)),
    h(
      "div",
      { class: "term-tools" },
      h("div", { class: "bar tight" },
        h("span", { class: "split" }, sign(`Come near to ${called}`, "plus", !away, away ? 1 : term.weight), sign(`Steer away from ${called}`, "minus", away, away ? term.weight : AWAY)),
        source && button(term.box ? `Change the part of ${called}` : `Search a part of ${called}`, part, { icon: "crop", bare: true, class: "quiet small round", "aria-pressed": String(Boolean(term.box)) }),
        button(`Remove ${called}`, remove, { icon: "close", bare: true, class: "quiet small round" }),
      ),
      h("div", { class: "term-weight" }, weight, amount),
    ),
  );
}

function boxed([x, y, width, height]) {
  return h("span", { class: "term-box", style: { left: `${x}%`, top: `${y}%`, width: `${width}%`, height: `${height}%` } });
}

/**
 * The tray of a query's pictures.
 * @param {import("./terms.js").Term[]} terms
 * @param {{onchange: (terms: import("./terms.js").Term[]) => void, onopen: (term) => void, onfiles: (files: File[]) => void}} does
 */
export function tray(terms, { onchange, onopen, onfiles }) {
  const chips = terms.map((term, at) =>
    chip(term, at, (news) => onchange(terms.with(at, { ...term, ...news })), () => onchange(terms.toSpliced(at, 1)), onopen));
  return h(
    "section",
    { class: "tray", "aria-label": "Pictures searched with" },
    h(
      "ul",
      { class: "terms" },
      chips,
      h("li", null, button("Add a picture", () => pickFiles(onfiles), { icon: "plus", class: "quiet term-add" })),
      h("li", { class: "push" }, button("New search", () => onchange([]), { class: "quiet", icon: "close" })),
    ),
  );
}
