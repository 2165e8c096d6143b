/** The pictures that are selected on the map, and what becomes of them. */

import { del, get, post, takeBack, thumbnail } from "./api.js";
import { decide } from "./deciding.js";
import { announce, ask, button, counted, dialog, h, toast } from "./dom.js";
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
    if (ids.length < 2) return void toast("A group has two pictures or more", { bad: true });
    const name = await ask(`A group of ${counted(ids.length, "picture")}`, { label: "Name", yes: "Make the group", optional: true });
    if (name === null) return;
    // Its name is a decision of its own, and goes with it.
    const undo = async ({ group }) => {
      const made = await get("/v1/decisions");
      for (const one of made.filter((other) => other.group === group)) await del(`/v1/decisions/${one.number}`);
      toast("Taken back");
    };
    await this.#decide(() => post("/v1/groups", { pictures: ids, name: name || null }), `${counted(ids.length, "picture")} form ${name || "a group of their own"}`, ({ group }) => ({ id: group, name: name || null }), undo);
  }

  async #join() {
    const ids = this.#ids();
    const asked = dialog({ title: `Where do ${counted(ids.length, "picture")} belong?`, body: choices(this.groups, (group) => asked.close(group)), class: "map-join" });
    const group = await asked.result;
    if (!group) return;
    // They go where the firmest of them sits: an exemplar.
    const send = async () => {
      const { exemplars, medoid } = await get(`/v1/groups/${group.id}`, { query: { limit: 1 } });
      const first = exemplars[0] ?? medoid;
      return post("/v1/decisions", { kind: "together", pictures: [first, ...ids.filter((id) => id !== first)] });
    };
    await this.#decide(send, `${counted(ids.length, "picture")} put into ${nameOf(group)}`, () => group, ({ number }) => takeBack(number));
  }

  async #decide(send, said, where, undo) {
    const pictures = [...this.pictures];
    let back;
    const decision = await decide(send, said, async (made) => {
      await undo(made);
      back();
    });
    if (decision) back = this.on.moved(pictures, where(decision));
  }
}
