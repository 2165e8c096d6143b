/** Choosing a part of a picture: a rectangle drawn, moved and resized by pointer or keys. */

import { dialog, h } from "./dom.js";

const LEAST = 4; // percent
const STEP = 2;
const FINE = 0.5;
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const round = (value) => Math.round(value * 10) / 10;

/**
 * Let a part of a picture be chosen.
 * @param {{source: string, name: string, box?: number[]|null}} options
 * @returns {Promise<number[]|null|undefined>} x, y, width, height in percent; null for the whole
 *   picture, undefined where it was dismissed
 */
export async function chooseBox({ source, name, box }) {
  let [x, y, width, height] = box ?? [25, 25, 50, 50];
  const said = h("output", { class: "count" });
  const handles = HANDLES.map((side) => h("span", { class: `box-handle ${side}`, dataset: { side } }));
  const frame = h("div", { class: "box-frame", tabindex: 0, role: "group", "aria-label": "The part to search for", "aria-describedby": "box-help box-size" }, handles);
  const picture = h("img", { src: source, alt: name, draggable: "false" });
  await picture.decode().catch(() => {}); // a lost one leaves a square
  const field = h("div", { class: "box-field", style: { "--ratio": picture.naturalWidth / picture.naturalHeight || 1 } }, picture, frame);
  said.id = "box-size";

  const draw = () => {
    Object.assign(frame.style, { left: `${x}%`, top: `${y}%`, width: `${width}%`, height: `${height}%` });
    said.textContent = `${Math.round(width)}% × ${Math.round(height)}% of the picture, from ${Math.round(x)}% left, ${Math.round(y)}% top`;
  };
  const place = (left, top, right, bottom) => {
    [x, y] = [round(left), round(top)];
    [width, height] = [round(right - left), round(bottom - top)];
    draw();
  };

  // Where the pointer is, in percent of the picture.
  const at = (event) => {
    const { left, top, width: wide, height: high } = picture.getBoundingClientRect();
    return [clamp(((event.clientX - left) / wide) * 100, 0, 100), clamp(((event.clientY - top) / high) * 100, 0, 100)];
  };
  let drag = null;
  field.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    field.setPointerCapture(event.pointerId);
    const [px, py] = at(event);
    const side = event.target.dataset.side ?? (event.target === frame ? "move" : "new");
    drag = { side, px, py, x, y, right: x + width, bottom: y + height };
    frame.focus();
  });
  field.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [px, py] = at(event);
    if (drag.side === "move") {
      const left = clamp(drag.x + px - drag.px, 0, 100 - width);
      const top = clamp(drag.y + py - drag.py, 0, 100 - height);
      place(left, top, left + width, top + height);
    } else if (drag.side === "new") {
      if (Math.abs(px - drag.px) < LEAST || Math.abs(py - drag.py) < LEAST) return;
      place(Math.min(px, drag.px), Math.min(py, drag.py), Math.max(px, drag.px), Math.max(py, drag.py));
    } else {
      const { side } = drag;
      place(
        side.includes("w") ? Math.min(px, drag.right - LEAST) : drag.x,
        side.includes("n") ? Math.min(py, drag.bottom - LEAST) : drag.y,
        side.includes("e") ? Math.max(px, drag.x + LEAST) : drag.right,
        side.includes("s") ? Math.max(py, drag.y + LEAST) : drag.bottom,
      );
    }
  });
  for (const over of ["pointerup", "pointercancel"]) field.addEventListener(over, () => (drag = null));

  frame.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (dx === undefined) {
      if (event.key === "Enter") {
        event.preventDefault();
        opened.close([x, y, width, height]);
      }
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const step = event.altKey ? FINE : STEP;
    if (event.shiftKey) place(x, y, clamp(x + width + dx * step, x + LEAST, 100), clamp(y + height + dy * step, y + LEAST, 100));
    else {
      const left = clamp(x + dx * step, 0, 100 - width);
      const top = clamp(y + dy * step, 0, 100 - height);
      place(left, top, left + width, top + height);
    }
  });

  const opened = dialog({
    title: "Search for a part",
    class: "wide boxing",
    body: h(
      "div",
      { class: "stack" },
      h("div", { class: "box-stage" }, field),
      h("p", { class: "hint", id: "box-help" }, "Draw a rectangle around what you look for. Arrow keys move it, Shift and arrow keys change its size, Enter searches."),
      said,
    ),
    actions: [
      ...(box ? [{ label: "Whole picture", value: null }] : []),
      { label: "Cancel" },
      { label: "Search this part", kind: "primary", act: () => [x, y, width, height] },
    ],
  });
  draw();
  frame.focus();
  return opened.result;
}
