/** The map as it is drawn: dots, thumbnails where they fit, frame after frame when something moves. */

import { Drawing } from "./map-gl.js";
import { Tiles, holds, tierFor } from "./map-tiles.js";

const LARGEST = 340; // side of a thumbnail, in CSS pixels
const FADE = 180; // ms
const ASKING = 110; // ms between looks at what is to be fetched
const DIM = 0.1; // opacity of groups out of focus
const FAINT = 0.3; // how much is left of what is not selected
const FEW = 3000; // pictures that are looked through one by one

/**
 * How large things are at a scale, in CSS pixels.
 * @param {import("./map-camera.js").Camera} camera
 * @param {{own: number}} map the room that most pictures have
 * @returns {{side: number, need: number, dot: number, opacity: number}} a thumbnail's longer side,
 *   the room it needs on the map, a dot's diameter, and how opaque one is
 */
export function sizes({ scale, width, height }, { own }) {
  const least = clamp(Math.min(width, height) / 18, 34, 56);
  const side = clamp(own * scale * 1.07, least, Math.max(least, Math.min(LARGEST, 0.42 * Math.min(width, height))));
  // Seen from afar thumbnails stand apart, so that the dots remain the map; near, corners may meet.
  const apart = 0.92 + 0.3 * clamp(1 - (own * scale) / side, 0, 1);
  // Dots that lie on one another are fainter, so that no heap is a blot.
  const dot = clamp(own * scale * 0.6, 2.2, 12), deep = (dot / (own * scale)) ** 2;
  return { side, need: (side * apart) / scale, dot, opacity: deep < 1 ? 0.92 : 1 - 0.08 ** (1 / deep) };
}

/** Draws the map on a canvas whenever something changed. */
export class Scene {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./map-camera.js").Camera} camera
   * @param {{signal: AbortSignal, drawn: () => void, still: () => boolean}} options `drawn` is
   *   called after each frame
   */
  constructor(canvas, camera, { signal, drawn, still }) {
    Object.assign(this, { canvas, camera, drawn, still, points: null, selected: null, rest: 1, focus: null, asked: 0, last: 0, looked: 0 });
    this.opacity = new Map();
    this.seen = new Int32Array(0);
    this.visible = [];
    this.shown = 0;
    this.frame = 0;
    this.drawing = new Drawing(canvas);
    this.tiles = new Tiles(this.drawing, { signal, arrived: () => this.redraw() });
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault(), { signal });
    canvas.addEventListener("webglcontextrestored", () => this.#begin(), { signal });
    document.addEventListener("themechange", () => this.#dress(), { signal });
    this.#dress();
    signal.addEventListener("abort", () => {
      cancelAnimationFrame(this.asked);
      this.drawing.end();
    });
  }

  /** Draw the next frame. */
  redraw() {
    this.asked ||= requestAnimationFrame((now) => this.#draw(now));
  }

  /**
   * The pictures and their groups.
   * @param {import("./map-points.js").Points} points
   * @param {Array<object>} groups
   */
  setPoints(points, groups) {
    Object.assign(this, { points, groups, selected: null, rest: 1, focus: null, own: Math.max(points.roomOf(0.1), points.roomOf(0.35) / 2) || 1 / Math.sqrt(points.count) });
    this.opacity.clear();
    this.seen = new Int32Array(points.count);
    this.drawing.setPoints(points, this.none);
    this.tiles.setPoints(points);
    this.#colour();
  }

  /** The same pictures in other groups. */
  setGroups(groups) {
    Object.assign(this, { groups, focus: null });
    this.drawing.setPoints(this.points, this.none);
    this.setSelected(null);
    this.#colour();
  }

  /** The place of "no group" among the groups. */
  get none() {
    const place = this.groups.findIndex(({ id }) => id === -1);
    return place < 0 ? this.groups.length : place;
  }

  // The theme's colours, as CSS gives them to the canvas.
  #dress() {
    const style = getComputedStyle(this.canvas), paper = rgb(style.backgroundColor);
    const parts = (colour) => colour.map((value) => value / 255);
    this.theme = { paper: parts(paper), accent: parts(rgb(style.color)), dark: paper[0] + paper[1] + paper[2] < 384 };
    this.#colour();
  }

  /** The place of the group that stands out, or null. */
  setFocus(place) {
    this.focus = place;
    this.#colour();
  }

  /** The pictures that are marked, or null; with `alone` all others step back. */
  setSelected(pictures, alone = true) {
    this.selected = pictures?.size ? pictures : null;
    this.rest = this.selected && alone ? FAINT : 1;
    const marks = new Uint8Array(this.points.count);
    for (const at of pictures ?? []) marks[at] = 1;
    this.drawing.setMarks(marks);
    this.redraw();
  }

  /** Whether a picture stands out as the others do. */
  lit(at) {
    return this.focus === null || this.points.group[at] === this.focus;
  }

  /** Whether a picture is seen as a thumbnail. */
  pictured(at) {
    return this.opacity.get(at) > 0.4;
  }

  /** What of the map is where on the screen: see `sizes`. */
  get sizes() {
    return sizes(this.camera, this);
  }

  /** The picture at a place of the screen; -1 where there is none. */
  at(left, top, reach) {
    const { camera, points } = this, { side, dot } = this.sizes, [x, y] = camera.place(left, top);
    const half = side / 2 / camera.scale;
    let best = -1, least = Infinity;
    points.within({ left: x - half, top: y - half, right: x + half, bottom: y + half }, (at) => {
      const far = Math.max(Math.abs(points.x[at] - x), Math.abs(points.y[at] - y));
      if (far > half || far >= least || !this.pictured(at)) return;
      best = at;
      least = far;
    });
    return best >= 0 ? best : points.nearest(x, y, Math.max(reach, dot) / camera.scale, (at) => this.lit(at));
  }

  #begin() {
    this.drawing.begin();
    this.tiles.begin();
    if (!this.points) return;
    this.drawing.setPoints(this.points, this.none);
    this.setSelected(this.selected, this.rest < 1);
    this.#colour();
  }

  #colour() {
    if (!this.groups) return;
    const palette = new Uint8Array(4 * (this.groups.length + 1)).fill(140);
    this.colours = this.groups.map((group) => rgb(this.theme.dark ? group.dark : group.light));
    this.colours.push([140, 140, 140]);
    this.colours.forEach((colour, place) => {
      palette.set(colour, 4 * place);
      palette[4 * place + 3] = 255 * (this.focus === null || this.focus === place ? 1 : DIM);
    });
    this.frames = this.colours.map(packed);
    this.drawing.setPalette(palette);
    this.redraw();
  }

  #draw(now) {
    this.asked = 0;
    const gone = Math.min(64, now - this.last || 16);
    this.last = now;
    if (this.drawing.gl.isContextLost() || !this.points) return;
    this.frame++;
    this.tiles.frame = this.frame;
    this.camera.step(now, gone);
    const pasting = this.tiles.paste();
    const { side, need, dot, opacity } = this.sizes, ratio = this.canvas.width / this.camera.width;
    this.drawing.clear(this.theme.paper);
    this.drawing.drawDots(this.camera, { size: dot * ratio, opacity, ring: Math.min(2, 0.35 * dot) * ratio, rest: this.rest, accent: this.theme.accent });
    this.#choose(side, need);
    const fading = this.#pictures(side, ratio, gone);
    this.#ask(now, side * ratio);
    this.drawn();
    if (pasting || fading || this.camera.moving) this.redraw();
    else if (!this.settling) this.settling = setTimeout(() => { this.settling = 0; this.#ask(Infinity, this.sizes.side * ratio); }, ASKING);
  }

  /** Whether no picture is in view. */
  get empty() {
    if (this.visible.length) return false;
    const box = this.camera.box(), { x, y } = this.points;
    let none = true;
    this.points.within(box, (at) => {
      if (x[at] > box.left && x[at] < box.right && y[at] > box.top && y[at] < box.bottom) none = false;
    });
    return none;
  }

  // Which pictures are in view and have room for a thumbnail.
  #choose(side, need) {
    const { points, visible } = this, { x, y, room, byRoom } = points;
    const { left, top, right, bottom } = this.camera.box(side / 2);
    visible.length = 0;
    const look = (at) => {
      if (room[at] >= need && x[at] >= left && x[at] <= right && y[at] >= top && y[at] <= bottom && this.lit(at)) visible.push(at);
    };
    if (points.roomOf(1 - Math.min(1, FEW / points.count)) < need) {
      for (let place = 0; place < byRoom.length && room[byRoom[place]] >= need; place++) look(byRoom[place]);
    } else points.within({ left, top, right, bottom }, look);
    for (const at of visible) this.seen[at] = this.frame;
  }

  // True as long as some come or go.
  #pictures(side, ratio, gone) {
    const { camera, tiles, opacity, points, selected } = this, { scale, x, y } = camera;
    const tier = tierFor(side * ratio), step = this.still() ? 1 : gone / FADE;
    const border = clamp(side / 48, 1.25, 2.5) * ratio, accent = packed(this.theme.accent.map((part) => Math.round(255 * part)));
    const used = new Set(), rest = !camera.moving;
    // What rests has its edges between pixels, and is sharp.
    const place = (middle, half) => (rest ? Math.round(middle - half) + half : middle);
    let fading = false;
    this.shown = 0;
    const put = (at, goal) => {
      const tile = tiles.find(at, tier);
      if (!tile) return opacity.delete(at);
      const before = opacity.get(at) ?? 0, now = goal > before ? Math.min(goal, before + step) : Math.max(goal, before - step);
      if (now !== goal) fading = true;
      if (now <= 0) return opacity.delete(at);
      opacity.set(at, now);
      this.shown++;
      const { sheet } = tile, { boxes } = sheet, marked = selected?.has(at);
      if (!used.has(sheet)) {
        used.add(sheet);
        sheet.count = 0;
      }
      const grown = now * (2 - now), edge = marked ? 2 * border : border;
      const half = (side * ratio * (0.9 + 0.1 * grown)) / Math.max(tile.wide, tile.high) / 2;
      const start = 12 * sheet.count++;
      const wide = rest ? Math.round(tile.wide * half * 2) / 2 : tile.wide * half, high = rest ? Math.round(tile.high * half * 2) / 2 : tile.high * half;
      boxes[start] = place((scale * points.x[at] + x) * ratio, wide);
      boxes[start + 1] = place((scale * points.y[at] + y) * ratio, high);
      boxes[start + 2] = wide;
      boxes[start + 3] = high;
      boxes[start + 4] = tile.x;
      boxes[start + 5] = tile.y;
      boxes[start + 6] = tile.wide;
      boxes[start + 7] = tile.high;
      boxes[start + 8] = marked ? accent : this.frames[points.group[at]];
      boxes[start + 9] = grown;
      boxes[start + 10] = edge;
      boxes[start + 11] = marked ? 1 : this.rest;
    };
    for (const at of opacity.keys()) if (this.seen[at] !== this.frame) put(at, 0);
    for (const at of this.visible) put(at, 1);
    const look = { round: clamp(side / 22, 2, 7) * ratio, shadow: clamp(side / 22, 2, 8) * ratio, dark: this.theme.dark ? 0.45 : 0.14, paper: this.theme.paper };
    for (const sheet of used) this.drawing.drawPictures(sheet.texture, sheet.boxes, sheet.count, look);
    return fading;
  }

  // Fetch what is in view, from the middle outwards.
  #ask(now, side) {
    if (now - this.looked < ASKING) return;
    this.looked = now === Infinity ? performance.now() : now;
    const { points, camera } = this, tier = tierFor(side);
    const [x, y] = camera.place(...camera.middle());
    const far = (at) => (points.x[at] - x) ** 2 + (points.y[at] - y) ** 2;
    const missing = this.visible.filter((at) => !this.tiles.tiles[tier].has(at)).slice(0, 4 * holds(tier));
    this.tiles.want(missing.sort((one, other) => far(one) - far(other)), tier);
  }
}

/** A number no lower than `low` and no higher than `high`. */
export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

const packed = ([red, green, blue]) => 65536 * red + 256 * green + blue;

let pixel;

/** The red, green and blue (0 to 255) of any CSS colour. */
export function rgb(colour) {
  pixel ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  pixel.fillStyle = colour;
  pixel.fillRect(0, 0, 1, 1);
  return [...pixel.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}
