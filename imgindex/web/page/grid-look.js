/** How large the cells of all grids are, and whether pictures fill them: kept in this browser. */

import { button, h } from "./dom.js";

const SMALLEST = 72;
const LARGEST = 420;

const usual = () => (innerWidth < 600 ? 116 : innerWidth > 2200 ? 240 : 184);

/** The size that cells should have about, in pixels, and whether pictures are shown whole. */
export const look = {
  get size() {
    return Number(localStorage.getItem("cell-size")) || usual();
  },
  set size(value) {
    localStorage.setItem("cell-size", value);
  },
  get whole() {
    return localStorage.getItem("cell-whole") === "yes";
  },
  set whole(value) {
    localStorage.setItem("cell-whole", value ? "yes" : "no");
  },
};

/** Which thumbnails do for cells of this side: their shorter side fills it, the longer one is named. */
export function sizeFor(side) {
  const needed = side * Math.min(devicePixelRatio, 2);
  return needed <= 124 ? "small" : needed <= 380 ? "medium" : "large";
}

/**
 * A slider for the size and a switch for whole pictures.
 * @param {HTMLElement} host the grid
 * @param {() => void} onsize
 */
export function lookControls(host, onsize) {
  const slider = h("input", {
    type: "range", min: SMALLEST, max: LARGEST, step: 4, value: look.size, "aria-label": "Size of the pictures", title: "Size of the pictures",
    oninput: () => {
      look.size = slider.value;
      onsize();
    },
  });
  const whole = button("Show whole pictures", () => {
    look.whole = !look.whole;
    show();
  }, { icon: "fit", bare: true, class: "quiet round" });
  const show = () => {
    host.classList.toggle("whole", look.whole);
    whole.setAttribute("aria-pressed", look.whole);
  };
  show();
  return h("div", { class: "grid-controls" }, slider, whole);
}
