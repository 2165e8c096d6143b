/** Thumbnails: fetched a few at a time, kept on sheets of bounded size. */

import { request, thumbnail } from "./api.js";

const SIDE = 2048; // of a sheet, in pixels
const AT_ONCE = 4; // requests
const AGAIN = 5000; // ms until what failed is tried again
const PASTING = 3; // ms a frame

/** Cells for thumbnails seen from afar, from nearer, and large; `sheets` at most. */
const TIERS = [
  { cell: 64, sheets: 3, size: "small" },
  { cell: 160, sheets: 6, size: "small" },
  { cell: 400, sheets: 4, size: "medium" },
];
const ENOUGH = 1.15; // so far a thumbnail may be enlarged

/** Which tier serves a thumbnail whose longer side has so many of the canvas's pixels. */
export const tierFor = (side) => {
  const at = TIERS.findIndex(({ cell }) => side <= cell * ENOUGH);
  return at < 0 ? TIERS.length - 1 : at;
};

/** How many thumbnails a tier can hold. */
export const holds = (tier) => TIERS[tier].sheets * Math.floor(SIDE / TIERS[tier].cell) ** 2;

/** The thumbnails that are in the graphics card or on their way there. */
export class Tiles {
  /**
   * @param {import("./map-gl.js").Drawing} drawing
   * @param {{signal: AbortSignal, arrived: () => void}} options `arrived`: something can be drawn
   */
  constructor(drawing, { signal, arrived }) {
    Object.assign(this, { drawing, signal, arrived, frame: 0, wanted: [], loading: new Map(), ready: [], failed: new Map() });
    this.begin();
    signal.addEventListener("abort", () => this.#abandon(() => true));
  }

  /** Forget all thumbnails; the pictures are those of `points` from now on. */
  setPoints(points) {
    this.#abandon(() => true);
    this.points = points;
    for (const { texture } of this.sheets.flat()) this.drawing.gl.deleteTexture(texture);
    this.begin();
  }

  /** Empty sheets, made as they are needed. */
  begin() {
    for (const { bitmap } of this.ready ?? []) bitmap.close();
    this.ready = [];
    this.sheets = TIERS.map(() => []);
    this.tiles = TIERS.map(() => new Map());
    this.failed.clear();
  }

  /** How many are on their way. */
  get waiting() {
    return this.loading.size + this.wanted.length + this.ready.length;
  }

  /** The best thumbnail of a picture for a tier, if there is any yet. */
  find(at, tier) {
    for (const one of [tier, tier + 1, tier + 2, tier - 1, tier - 2]) {
      const tile = this.tiles[one]?.get(at);
      if (tile) {
        tile.used = this.frame;
        return tile;
      }
    }
    return null;
  }

  /**
   * Say what is in view, the most wanted first; all else is given up.
   * @param {number[]} pictures
   * @param {number} tier
   */
  want(pictures, tier) {
    const now = performance.now();
    const wanted = new Map();
    for (const at of pictures.slice(0, holds(tier))) {
      if (this.tiles[tier].has(at) || this.failed.get(at) > now) continue;
      // Large ones come later: something small is there sooner.
      const first = tier === 2 && !this.tiles.some((tiles) => tiles.has(at)) ? 1 : tier;
      wanted.set(key(at, first), { at, tier: first });
    }
    this.#abandon((name) => !wanted.has(name));
    for (const name of [...this.loading.keys(), ...this.ready.map(({ at, tier: one }) => key(at, one))]) wanted.delete(name);
    this.wanted = [...wanted.values()].sort((one, other) => one.tier - other.tier).reverse();
    this.#pump();
  }

  /** Put what arrived on the sheets, for a few milliseconds; true where some is left. */
  paste() {
    const begun = performance.now();
    let pasted = false;
    while (this.ready.length && (!pasted || performance.now() - begun < PASTING)) {
      const { at, tier, bitmap } = this.ready.shift();
      const cell = this.#cell(tier);
      if (cell) {
        const { sheet, x, y } = cell;
        this.drawing.paste(sheet.texture, x, y, bitmap);
        this.tiles[tier].set(at, { sheet, x: x / SIDE, y: y / SIDE, wide: bitmap.width / SIDE, high: bitmap.height / SIDE, used: this.frame });
      } else this.failed.set(at, performance.now() + AGAIN);
      bitmap.close();
      pasted = true;
    }
    return this.ready.length > 0;
  }

  #abandon(unwanted) {
    for (const [name, controller] of this.loading) {
      if (!unwanted(name)) continue;
      controller.abort();
      this.loading.delete(name);
    }
    this.wanted = [];
  }

  #pump() {
    while (this.loading.size < AT_ONCE && this.wanted.length && !this.signal.aborted) this.#load(this.wanted.pop());
  }

  async #load({ at, tier }) {
    const name = key(at, tier), controller = new AbortController();
    this.loading.set(name, controller);
    try {
      const answer = await request("GET", thumbnail(this.points.id(at), TIERS[tier].size), { signal: controller.signal });
      const bitmap = await fitted(await answer.blob(), TIERS[tier].cell);
      if (controller.signal.aborted) return bitmap.close();
      this.ready.push({ at, tier, bitmap });
      this.arrived();
    } catch (error) {
      if (controller.signal.aborted) return;
      const lasting = error.status >= 400 && error.status < 500 && error.status !== 429;
      this.failed.set(at, lasting || error.name === "InvalidStateError" ? Infinity : performance.now() + AGAIN);
    } finally {
      if (this.loading.get(name) === controller) this.loading.delete(name);
    }
    this.#pump();
  }

  // A free cell, or that of the thumbnail not seen for longest.
  #cell(tier) {
    const { cell, sheets } = TIERS[tier], own = this.sheets[tier], across = Math.floor(SIDE / cell);
    let sheet = own.at(-1);
    if (!sheet || sheet.filled === across ** 2) {
      if (own.length === sheets) return this.#oldest(tier);
      sheet = { texture: this.drawing.sheet(SIDE), filled: 0, boxes: new Float32Array(12 * across ** 2), count: 0 };
      own.push(sheet);
    }
    const place = sheet.filled++;
    return { sheet, x: (place % across) * cell, y: Math.floor(place / across) * cell };
  }

  #oldest(tier) {
    let oldest = null, who = -1;
    for (const [at, tile] of this.tiles[tier]) {
      if (oldest && tile.used >= oldest.used) continue;
      oldest = tile;
      who = at;
    }
    if (oldest.used >= this.frame - 1) return null; // all of them are in view
    this.tiles[tier].delete(who);
    return { sheet: oldest.sheet, x: Math.round(oldest.x * SIDE), y: Math.round(oldest.y * SIDE) };
  }
}

const key = (at, tier) => at * TIERS.length + tier;

// A picture no larger than its cell.
async function fitted(blob, cell) {
  const whole = await createImageBitmap(blob);
  const fit = cell / Math.max(whole.width, whole.height);
  if (fit >= 1) return whole;
  const size = { resizeWidth: Math.max(1, Math.round(whole.width * fit)), resizeHeight: Math.max(1, Math.round(whole.height * fit)), resizeQuality: "high" };
  const small = await createImageBitmap(whole, size);
  whole.close();
  return small;
}
