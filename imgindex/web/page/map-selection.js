/** The pictures that are selected on the map, and what becomes of them. */

import { get, post, takeBack, thumbnail } from "./api.js";
import { announce, ask, button, complain, counted, dialog, h, toast } from "./dom.js";
import { choices } from "./map-legend.js";
import { nameOf } from "./map-names.js";

const SEEN = 5; // pictures in the bar

/** A bar below the map, there as long as something is selected. */
export class Selection {
  /**
   * @param {HTMLElement} host
   * @param {{changed: (pictures: Set<number>) => void, moved: (pictures: number[], group: object) => () => void, open: (pictures: number[]) => void, ended: () => void}} on
   *   `moved`: the pictures are in this group now; answers what takes that back. `ended`: the
   *   selection was given up here
   */
  constructor(host, on) {
    this.on = on;
    this.pictures = new Set();
    this.count = h("strong");
    this.strip = h("div", { class: "map-taken", "aria-hidden": "true" });
    this.element = h(
      "section",
      { class: "map-bar", "aria-label": "Selected pictures", hidden: true },
      this.strip,
      this.count,
      h(
        "div",
        { class: "bar" },
        button("New group", () => this.#form(), { class: "primary" }),
        button("Add to a group", () => this.#join()),
        button("View", () => on.open([...this.pictures])),
      ),
      button("Clear the selection (Esc)", on.ended, { icon: "close", bare: true, class: "quiet round small" }),
    );
    host.append(this.element);
  }

  /** What can be selected from, from now on. */
  setPoints(points, groups) {
    Object.assign(this, { points, groups });
    this.set([]);
  }

  /**
   * Select pictures.
   * @param {Iterable<number>} pictures
   * @param {"anew"|"more"|"less"} [how]
   */
  set(pictures, how = "anew") {
    const before = this.pictures;
    this.pictures = new Set(how === "anew" ? pictures : before);
    if (how === "more") for (const at of pictures) this.pictures.add(at);
    if (how === "less") for (const at of pictures) this.pictures.delete(at);
    const { size } = this.pictures;
    this.element.hidden = !size;
    this.count.textContent = `${counted(size, "picture")} selected`;
    if (size || before.size) announce(size ? this.count.textContent : "Nothing selected");
    const first = [...this.pictures].sort((one, other) => one - other).slice(0, SEEN);
    this.strip.replaceChildren(...first.map((at) => h("img", { src: thumbnail(this.points.id(at), "small"), alt: "", draggable: "false" })));
    this.on.changed(this.pictures);
  }

  #ids() {
    return [...this.pictures].sort((one, other) => one - other).map((at) => this.points.id(at));
  }

  async #form() {
    const ids = this.#ids();
    const name = await ask(`A group of ${counted(ids.length, "picture")}`, { label: "Name", yes: "Make the group", optional: true });
    if (name === null) return;
    await this.#decide(() => post("/v1/groups", { pictures: ids, name: name || null }), (made) => ({ id: made.group, name: name || null }), "form");
  }

  async #join() {
    const ids = this.#ids();
    const asked = dialog({ title: `Where do ${counted(ids.length, "picture")} belong?`, body: choices(this.groups, (group) => asked.close(group)), class: "map-join" });
    const group = await asked.result;
    if (!group) return;
    const decide = async () => {
      const { medoid } = await get(`/v1/groups/${group.id}`, { query: { limit: 1 } });
      return post("/v1/decisions", { kind: "together", pictures: [medoid, ...ids.filter((id) => id !== medoid)] });
    };
    await this.#decide(decide, () => group, "went to");
  }

  async #decide(decide, where, verb) {
    const pictures = [...this.pictures];
    try {
      const decision = await decide(), group = where(decision), back = this.on.moved(pictures, group);
      toast(`${counted(pictures.length, "picture")} ${verb} ${nameOf(group)}`, {
        undo: async () => {
          await takeBack(decision.number);
          back();
        },
      });
    } catch (error) {
      complain(error);
    }
  }
}
