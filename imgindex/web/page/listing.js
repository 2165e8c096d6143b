/** The frame that search and library share: a head, a grid, and filters beside it. */

import { button, h } from "./dom.js";
import { countFilters, filterChips, filterPanel } from "./filters.js";

const NARROW = matchMedia("(max-width: 900px)");

/** A grid's place with its head and its panel of filters. */
export class Listing {
  /**
   * @param {{title: string, onfilters: (filters: object) => void}} options
   */
  constructor({ title, onfilters }) {
    this.onfilters = onfilters;
    this.title = h("h1", null, title);
    this.count = h("span", { class: "count" });
    this.chips = h("div", { class: "chips-place" });
    this.opener = button("Filters", () => this.#open(this.aside.hidden), { icon: "filter", "aria-expanded": "false", "aria-controls": "filters" });
    this.tools = h("div", { class: "bar push listing-tools" }, this.opener);
    this.head = h("div", { class: "head" }, this.title, this.count, this.chips, this.tools);
    this.panel = h("div");
    this.aside = h(
      "aside",
      { class: "filters", id: "filters", "aria-label": "Filters", hidden: true },
      h("header", { class: "bar" }, h("h2", null, "Filters"), this.clear = button("Clear", () => onfilters({}), { class: "quiet small" }), button("Close the filters", () => this.#open(false), { icon: "close", bare: true, class: "quiet round small" })),
      this.panel,
    );
    this.aside.addEventListener("keydown", (event) => event.key === "Escape" && this.#open(false));
    this.host = h("div");
    this.message = h("div", { class: "listing-message" });
    this.body = h("div", { class: "listing-body" }, this.host, this.message);
    this.element = h("div", { class: "listing-whole" }, this.head, h("div", { class: "listing" }, this.body, this.aside));
    if (!NARROW.matches && localStorage.getItem("filters") === "open") this.#show(true);
  }

  #show(open) {
    this.aside.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
  }

  #open(open) {
    this.#show(open);
    if (!NARROW.matches) localStorage.setItem("filters", open ? "open" : "closed");
    (open ? this.aside.querySelector("input, button") : this.opener).focus({ preventScroll: true });
  }

  /**
   * Show which filters are set.
   * @param {object} filters
   * @param {Node[]} [more] fields of the view's own
   */
  draw(filters, more = []) {
    const set = countFilters(filters);
    this.opener.querySelector("span").textContent = set ? `Filters (${set})` : "Filters";
    this.clear.hidden = !set;
    this.chips.replaceChildren(...(set ? [filterChips(filters, this.onfilters)] : []));
    if (!this.own) this.panel.replaceChildren(filterPanel(filters, (news) => this.byPanel(() => this.onfilters(news)), more));
  }

  /** Make a change that the panel shows already: drawn anew it would lose the focus. */
  byPanel(change) {
    this.own = true;
    change();
    this.own = false;
  }

  /** Say something in place of pictures; nothing takes it away. */
  say(node) {
    this.host.hidden = Boolean(node);
    this.message.replaceChildren(...(node ? [node] : []));
  }
}
