/** The picture beside the pointer. */

import { get, thumbnail } from "./api.js";
import { basename, h } from "./dom.js";
import { nameOf } from "./map-names.js";

const PAUSE = 140; // ms of rest before the service is asked
const KEPT = 400; // pictures whose names are known
const GAP = 18; // px from the pointer

/** Shows one picture with its file's name and its group. */
export class Card {
  /**
   * @param {HTMLElement} host
   * @param {AbortSignal} signal
   */
  constructor(host, signal) {
    this.image = h("img", { alt: "", decoding: "async" });
    this.name = h("p", { class: "map-card-name" });
    this.swatch = h("span", { class: "map-swatch" });
    this.group = h("span");
    this.element = h("div", { class: "map-card", hidden: true }, this.image, this.name, h("p", { class: "map-card-group" }, this.swatch, this.group));
    host.append(this.element);
    Object.assign(this, { signal, id: null, known: new Map() });
    this.image.addEventListener("error", () => (this.image.hidden = true));
    signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** Take it away. */
  hide() {
    this.element.hidden = true;
    this.id = null;
    clearTimeout(this.timer);
  }

  /**
   * Show a picture.
   * @param {string} id
   * @param {object|undefined} group of the map
   * @param {{large: boolean, told?: (text: string) => void}} options `large`: it is seen large
   *   already; `told` is called with what to tell
   */
  show(id, group, { large, told }) {
    if (this.id === id) return;
    this.id = id;
    clearTimeout(this.timer);
    this.element.hidden = false;
    this.element.classList.toggle("bare", large);
    this.image.hidden = large;
    if (!large) this.image.src = thumbnail(id, "medium");
    this.group.textContent = group ? nameOf(group) : "Not grouped yet";
    this.swatch.hidden = !group;
    if (group) this.swatch.style.background = `light-dark(${group.light}, ${group.dark})`;
    const item = this.known.get(id);
    this.name.textContent = item ? named(item) : "\u00a0";
    if (item) told?.(`${named(item)}, ${this.group.textContent}`);
    else this.timer = setTimeout(() => this.#ask(id, told), PAUSE);
  }

  /** Put it beside a place of the screen. */
  place(left, top, { width, height }) {
    const { offsetWidth: wide, offsetHeight: high } = this.element;
    const right = left + GAP + wide + 8 <= width ? left + GAP : left - GAP - wide;
    const x = Math.max(8, Math.min(width - wide - 8, right)), y = Math.max(8, Math.min(height - high - 8, top - high / 2));
    this.element.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  async #ask(id, told) {
    try {
      const item = await get(`/v1/pictures/${id}`, { signal: this.signal });
      this.known.set(id, item);
      if (this.known.size > KEPT) this.known.delete(this.known.keys().next().value);
      if (this.id !== id) return;
      this.name.textContent = named(item);
      told?.(`${named(item)}, ${this.group.textContent}`);
    } catch {
      if (this.id === id) this.name.textContent = "";
    }
  }
}

const named = ({ paths }) => (paths.length ? basename(paths[0]) : "File is missing");
