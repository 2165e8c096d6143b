/** Names of groups on the map, at their covers, thinned out so that none lies on another. */

import { h } from "./dom.js";

const FONT = "600 13px";
const WIDEST = 190; // px, of a name
const HIGH = 22; // px
const CELL = 64; // px, of the grid in which names look for others
const STEPS = 5; // a doubling of the scale
const MOST = 60; // names in view

/** What a group is called. */
export const nameOf = (group) => (group.id === -1 ? "In no group" : (group.name ?? `Group ${group.id}`));

/** The names in a layer above the map. */
export class Names {
  /** @param {HTMLElement} layer lets pointers through: drags and wheels are the map's */
  constructor(layer) {
    this.layer = layer;
    this.shown = new Map();
  }

  /** The group whose name is at a place of the screen; null where there is none. */
  at(left, top) {
    for (const [place, { x, y, wide }] of this.shown) if (left >= x && left <= x + wide && top >= y && top <= y + HIGH) return place;
    return null;
  }

  /**
   * @param {Array<object>} groups
   * @param {number[]} covers the picture of each group's cover; -1 where it is not on the map
   */
  setGroups(groups, covers) {
    this.layer.replaceChildren();
    this.shown.clear();
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `${FONT} ${getComputedStyle(this.layer).fontFamily}`;
    const names = groups.map((group, place) => ({ place, x: group.x, y: group.y, cover: covers[place], own: Boolean(group.name), size: group.size, text: nameOf(group) }));
    this.names = names.filter(({ place, size }) => groups[place].id !== -1 && size > 0);
    for (const name of this.names) name.wide = Math.min(pen.measureText(name.text).width, WIDEST) + 16;
    // Names that somebody gave come before numbers.
    this.names.sort((one, other) => other.own - one.own || other.size - one.size);
    this.level = null;
  }

  /**
   * Put them where they belong now.
   * @param {import("./map-scene.js").Scene} scene
   */
  place(scene) {
    const { camera, focus } = scene, { side } = scene.sizes;
    // What fits at a scale fits at larger ones: the choice lasts while the map is dragged.
    const level = Math.floor(Math.log2(camera.scale) * STEPS);
    if (level !== this.level) this.#thin(level);
    const keep = new Set();
    for (const name of this.thinned) {
      if (focus !== null && focus !== name.place) continue;
      const left = camera.scale * name.x + camera.x, top = camera.scale * name.y + camera.y;
      if (left < -name.wide / 2 || left > camera.width + name.wide / 2 || top < -side || top > camera.height + side) continue;
      if (keep.size === MOST) break;
      keep.add(name.place);
      const down = name.cover >= 0 && scene.pictured(name.cover) ? side / 2 - 6 : 6;
      this.#put(name, left - name.wide / 2, top + down);
    }
    for (const [place, { element }] of this.shown) {
      if (keep.has(place)) continue;
      element.remove();
      this.shown.delete(place);
    }
  }

  #put({ place, text, own, wide }, x, y) {
    const element = this.shown.get(place)?.element ?? h("span", { class: own ? "map-name own" : "map-name", style: { width: `${Math.ceil(wide)}px` } }, text);
    if (!element.isConnected) this.layer.append(element);
    this.shown.set(place, { element, x, y, wide });
    element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
  }

  #thin(level) {
    this.level = level;
    const scale = 2 ** (level / STEPS), taken = new Map();
    this.thinned = this.names.filter((name) => {
      const x = name.x * scale, y = name.y * scale, air = name.own ? 8 : 26;
      const box = { left: x - name.wide / 2 - air, right: x + name.wide / 2 + air, top: y - air / 2, bottom: y + HIGH + 4 + air / 2 };
      const cells = [];
      for (let column = Math.floor(box.left / CELL); column <= box.right / CELL; column++) for (let row = Math.floor(box.top / CELL); row <= box.bottom / CELL; row++) cells.push(`${column} ${row}`);
      const meets = (other) => other.left < box.right && other.right > box.left && other.top < box.bottom && other.bottom > box.top;
      if (cells.some((cell) => taken.get(cell)?.some(meets))) return false;
      for (const cell of cells) taken.set(cell, [...(taken.get(cell) ?? []), box]);
      return true;
    });
  }
}
