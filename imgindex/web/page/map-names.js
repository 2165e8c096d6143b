/** Names of groups on the map, at their covers, thinned out so that none lies on another. */

import { h } from "./dom.js";

const FONT = "600 13px";
const WIDEST = 190; // px, of a name
const HIGH = 22; // px
const CELL = 64; // px, of the grid in which names look for others
const ROWS = 2 ** 22; // more than there are
const STEPS = 4; // a doubling of the scale
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

  #put(name, x, y) {
    name.element ??= h("span", { class: name.own ? "map-name own" : "map-name", style: { width: `${Math.ceil(name.wide)}px` } }, name.text);
    if (!this.shown.has(name.place)) this.layer.append(name.element);
    this.shown.set(name.place, { element: name.element, x, y, wide: name.wide });
    name.element.style.transform = `translate(${Math.round(4 * x) / 4}px, ${Math.round(4 * y) / 4}px)`;
  }

  #thin(level) {
    this.level = level;
    const scale = 2 ** (level / STEPS), taken = new Map();
    this.thinned = this.names.filter((name) => {
      const x = name.x * scale, y = name.y * scale, air = name.own ? 8 : 26;
      const box = { left: x - name.wide / 2 - air, right: x + name.wide / 2 + air, top: y - air / 2, bottom: y + HIGH + 4 + air / 2 };
      const cells = [];
      for (let column = Math.floor(box.left / CELL); column <= box.right / CELL; column++) {
        for (let row = Math.floor(box.top / CELL); row <= box.bottom / CELL; row++) {
          const cell = column * ROWS + row;
          for (const other of taken.get(cell) ?? []) if (other.left < box.right && other.right > box.left && other.top < box.bottom && other.bottom > box.top) return false;
          cells.push(cell);
        }
      }
      for (const cell of cells) {
        const boxes = taken.get(cell);
        if (boxes) boxes.push(box);
        else taken.set(cell, [box]);
      }
      return true;
    });
  }
}
