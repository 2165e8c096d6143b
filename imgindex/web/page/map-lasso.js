/** An outline around pictures: drawn by hand, or a rectangle that keys move and stretch. */

import { around } from "./map-points.js";

const STEP = 3; // px between corners of a drawn outline
const KEYED = 24; // px that a key moves or stretches a rectangle

/** Draws the outline above the map; its corners are in the map's unit. */
export class Lasso {
  /**
   * @param {SVGSVGElement} layer
   * @param {import("./map-camera.js").Camera} camera
   */
  constructor(layer, camera) {
    this.path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    this.path.setAttribute("vector-effect", "non-scaling-stroke");
    layer.append(this.path);
    this.camera = camera;
    this.clear();
  }

  /** Whether there is an outline. */
  get drawn() {
    return this.corners.length > 0;
  }

  /** Take it away. */
  clear() {
    this.corners = [];
    this.rectangle = null;
    this.#write(false);
  }

  /** Begin at a place of the screen. */
  begin(left, top) {
    this.rectangle = null;
    this.corners = [this.camera.place(left, top)];
    this.last = [left, top];
  }

  /** Go on to a place of the screen. */
  extend(left, top) {
    if (Math.hypot(left - this.last[0], top - this.last[1]) < STEP) return;
    this.last = [left, top];
    this.corners.push(this.camera.place(left, top));
    this.#write(false);
  }

  /** Close it: the outline, or null where it is too small to be meant. */
  close() {
    const { left, top, right, bottom } = around(this.corners);
    if (this.corners.length < 3 || Math.max(right - left, bottom - top) * this.camera.scale < 8) {
      this.clear();
      return null;
    }
    this.#write(true);
    return this.corners;
  }

  /** A rectangle in the middle of the window, for keys. */
  frame() {
    const { camera } = this, [left, top] = camera.middle(), half = Math.min(camera.width, camera.height) / 5;
    this.rectangle = { left: left - half, top: top - half * 0.75, right: left + half, bottom: top + half * 0.75 };
    return this.#framed();
  }

  /** Move the rectangle by keys, or stretch it; answers the outline. */
  key(right, down, stretch) {
    const box = this.rectangle, least = 2 * KEYED;
    box.right += right * KEYED;
    box.bottom += down * KEYED;
    if (stretch) {
      box.right = Math.max(box.right, box.left + least);
      box.bottom = Math.max(box.bottom, box.top + least);
    } else {
      box.left += right * KEYED;
      box.top += down * KEYED;
    }
    return this.#framed();
  }

  /** Follow the camera. */
  follow() {
    const { scale, x, y } = this.camera;
    if (this.drawn) this.path.setAttribute("transform", `matrix(${scale} 0 0 ${scale} ${x} ${y})`);
  }

  #framed() {
    const { left, top, right, bottom } = this.rectangle;
    this.corners = [[left, top], [right, top], [right, bottom], [left, bottom]].map((corner) => this.camera.place(...corner));
    this.#write(true);
    return this.corners;
  }

  #write(closed) {
    const text = this.corners.map(([x, y]) => `${x.toFixed(6)} ${y.toFixed(6)}`).join("L");
    this.path.setAttribute("d", text ? `M${text}${closed ? "Z" : ""}` : "");
    this.follow();
  }
}
