/** Which pictures of a grid are chosen, and the bar of what can be done with them. */

import { announce, button, complain, counted, h } from "./dom.js";

/** Items by id; tells whoever shows them. */
export class Selection {
  /**
   * @param {Array<{label: string, icon: string, act: (items: object[]) => any, keep?: boolean}>} actions
   *   `keep`: the selection stays when it is done
   * @param {() => void} onchange
   */
  constructor(actions, onchange) {
    Object.assign(this, { actions, onchange });
    this.items = new Map();
    this.anchor = null; // the place that a range goes out from
    this.count = h("strong", { class: "selected-count" });
    this.bar = h(
      "div",
      { class: "selection", role: "toolbar", "aria-label": "Selected pictures", hidden: true },
      button("Clear the selection", () => this.clear(), { icon: "close", bare: true, class: "quiet round" }),
      this.count,
      actions.map((action) => button(action.label, () => this.#do(action), { icon: action.icon, class: "quiet", title: action.label })),
    );
  }

  get size() {
    return this.items.size;
  }

  has(item) {
    return this.items.has(item.id);
  }

  /** Choose, or no longer choose; `on` undefined turns it round. */
  toggle(item, on = !this.has(item)) {
    if (on) this.items.set(item.id, item);
    else this.items.delete(item.id);
    this.#changed();
  }

  /** Choose several. */
  add(items) {
    for (const item of items) this.items.set(item.id, item);
    this.#changed();
  }

  /** No longer choose these ids. */
  drop(ids) {
    for (const id of ids) this.items.delete(id);
    this.#changed();
  }

  clear() {
    this.items.clear();
    this.anchor = null;
    this.#changed();
  }

  #changed() {
    this.bar.hidden = this.size === 0;
    this.count.textContent = `${counted(this.size, "selected", "selected")}`;
    announce(this.size ? this.count.textContent : "Nothing selected");
    this.onchange();
  }

  async #do(action) {
    try {
      const done = await action.act([...this.items.values()]);
      if (!action.keep && done !== false) this.clear();
    } catch (error) {
      complain(error);
    }
  }
}
