/** The groups of the map as a list, which also stands for the map where it cannot be seen. */

import { button, counted, h, number } from "./dom.js";
import { nameOf } from "./map-names.js";
import { href } from "./router.js";

const fold = (text) => text.normalize("NFC").toLowerCase();

/** A panel beside the map; on narrow screens a sheet below it. */
export class Legend {
  /**
   * @param {HTMLElement} host
   * @param {{pick: (place: number|null) => void, take: (place: number) => void, folded: () => void}} on
   *   `pick`: a group is to stand out, or none; `take`: its pictures are to be selected; `folded`:
   *   the panel changed its size
   */
  constructor(host, on) {
    this.on = on;
    this.told = h("p", { class: "count" });
    this.turn = button("Groups", () => this.fold(!this.folded), { icon: "down", bare: true, class: "quiet round small map-fold", "aria-expanded": "true", "aria-controls": "map-groups" });
    this.search = h("input", { type: "search", placeholder: "Find a group", "aria-label": "Find a group", autocomplete: "off", spellcheck: "false", oninput: () => this.#sift() });
    this.list = h("ul", { class: "map-list" });
    this.none = h("p", { class: "hint", hidden: true }, "No group has this name.");
    this.body = h("div", { class: "map-legend-body", id: "map-groups" }, this.search, h("div", { class: "map-scroll", tabindex: "-1" }, this.list, this.none));
    this.element = h("aside", { class: "map-legend", "aria-label": "Groups on the map" }, h("header", null, h("div", null, h("h1", null, "Map"), this.told), this.turn), this.body);
    host.append(this.element);
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      const first = this.rows.find(({ row }) => row.isConnected && !row.hidden);
      if (first && this.search.value) on.pick(first.place);
    });
    this.list.addEventListener("click", ({ target }) => {
      const place = Number(target.closest("[data-place]")?.dataset.place);
      if (target.closest(".map-row")) on.pick(this.chosen === place ? null : place);
      else if (target.closest("button")) on.take(place);
    });
    this.rows = [];
    this.chosen = null;
    this.fold(matchMedia("(max-width: 1000px)").matches);
  }

  /** Show the header alone, or all. */
  fold(folded) {
    this.folded = folded;
    this.element.classList.toggle("folded", folded);
    this.turn.setAttribute("aria-expanded", String(!folded));
    this.turn.title = folded ? "Show the groups" : "Hide the groups";
    this.turn.setAttribute("aria-label", this.turn.title);
    this.on.folded();
  }

  /**
   * @param {{count: number, grouped: boolean}} map
   * @param {Array<object>} groups of the map
   */
  setGroups({ count, grouped }, groups) {
    const real = groups.filter(({ id, size }) => id !== -1 && size > 0).length;
    this.told.textContent = `${counted(count, "picture")}${grouped ? ` · ${counted(real, "group")}` : ""}`;
    this.chosen = null;
    this.rows = groups.map((group, place) => {
      const label = h("span", { class: "map-row-name" }, nameOf(group));
      const swatch = h("span", { class: "map-swatch", style: { background: `light-dark(${group.light}, ${group.dark})` } });
      const turner = h("button", { type: "button", class: "map-row quiet", "aria-pressed": "false" }, swatch, label, h("span", { class: "count" }, number(group.size)));
      const row = h("li", { dataset: { place } }, turner);
      return { place, group, row, turner, text: fold(nameOf(group)) };
    });
    const listed = this.rows.filter(({ group }) => group.size > 0).sort(({ group: one }, { group: other }) => (one.id === -1) - (other.id === -1) || other.size - one.size);
    this.list.replaceChildren(...(grouped ? listed.map(({ row }) => row) : [h("li", { class: "hint" }, "There are no groups yet. ", h("a", { href: href("/groups") }, "Find groups"))]));
    this.search.hidden = real < 8;
    this.#sift();
  }

  /** The group that stands out; null for none. */
  choose(place) {
    if (this.chosen !== null) {
      const { row, turner } = this.rows[this.chosen];
      turner.setAttribute("aria-pressed", "false");
      row.querySelector(".map-acts")?.remove();
    }
    this.chosen = place;
    if (place === null) return;
    const { row, turner, group } = this.rows[place];
    turner.setAttribute("aria-pressed", "true");
    row.append(
      h("div", { class: "map-acts" }, h("a", { class: "button small", href: href(`/groups/${group.id}`) }, "Open"), h("button", { type: "button", class: "small" }, "Select its pictures")),
    );
    if (!this.folded) row.scrollIntoView({ block: "nearest" });
  }

  #sift() {
    const word = this.search.hidden ? "" : fold(this.search.value.trim());
    let some = false;
    for (const { row, text } of this.rows) {
      row.hidden = !text.includes(word);
      some ||= !row.hidden;
    }
    this.none.hidden = some || !word;
  }
}

/** The buttons on the map. */
export function tools({ closer, farther, whole, lasso }) {
  const drawing = button("Select pictures: draw around them (L)", lasso, { icon: "lasso", bare: true, class: "map-tool", "aria-pressed": "false" });
  const zoom = h(
    "div",
    { class: "map-zoom" },
    button("Zoom in (+)", closer, { icon: "plus", bare: true, class: "map-tool" }),
    button("Zoom out (-)", farther, { icon: "minus", bare: true, class: "map-tool" }),
    button("Show everything (0)", whole, { icon: "fit", bare: true, class: "map-tool" }),
  );
  return { drawing, element: h("div", { class: "map-tools", role: "group", "aria-label": "Map tools" }, h("div", { class: "map-zoom" }, drawing), zoom) };
}

/** A swatch, a name and a size: a group to choose from in a dialog. */
export function choices(groups, choose) {
  const rows = groups
    .filter(({ id, size }) => id !== -1 && size > 0)
    .sort((one, other) => other.size - one.size)
    .map((group) => {
      const swatch = h("span", { class: "map-swatch", style: { background: `light-dark(${group.light}, ${group.dark})` } });
      return { text: fold(nameOf(group)), element: h("li", null, h("button", { type: "button", class: "map-row quiet", onclick: () => choose(group) }, swatch, h("span", { class: "map-row-name" }, nameOf(group)), h("span", { class: "count" }, number(group.size)))) };
    });
  const search = h("input", { type: "search", placeholder: "Find a group", "aria-label": "Find a group", autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => {
    const word = fold(search.value.trim());
    for (const { text, element } of rows) element.hidden = !text.includes(word);
  });
  return h("div", { class: "stack" }, search, h("ul", { class: "map-list map-choices" }, rows.map(({ element }) => element)));
}

/** A line above the map, with what can be done about it. */
export function note(text, actions = [], { work = false } = {}) {
  return h("div", { class: "map-note", role: "status" }, work && h("span", { class: "spinner", "aria-hidden": "true" }), h("span", null, text), actions);
}

