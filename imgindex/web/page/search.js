/** Search: pictures that look like those of the query. */

import { post } from "./api.js";
import { usualActions, usualButtons } from "./actions.js";
import { announce, button, complain, counted, empty, failure, h, toast } from "./dom.js";
import { readFilters, where, withFilters } from "./filters.js";
import { Grid } from "./grid.js";
import { Listing } from "./listing.js";
import { go, here } from "./router.js";
import { begin } from "./starting.js";
import { asked, keepTerms, readTerms, searchFor, writeTerms } from "./terms.js";
import { tray } from "./tray.js";
import { renewed, takeFiles, uploaded } from "./uploads.js";
import { view } from "./viewer.js";

const PAGE = 100;

class Search {
  constructor(main, signal) {
    this.signal = signal;
    this.start = h("div");
    this.tray = h("div", { class: "tray-place" });
    this.listing = new Listing({ title: "Results", onfilters: (filters) => go("/search", withFilters(here().query, filters)) });
    main.replaceChildren(this.tray, this.listing.element, this.start);
    takeFiles((files) => this.#take(files), signal);
  }

  // Pictures from outside begin a new search; those picked with the tray's button join this one.
  async #take(files, joined = false) {
    try {
      const terms = await uploaded(files);
      if (terms.length) searchFor(joined ? [...this.terms, ...terms] : terms);
    } catch (error) {
      complain(error);
    }
  }

  apply({ query }) {
    this.query = query;
    this.terms = readTerms(query);
    keepTerms(this.terms);
    const searching = this.terms.length > 0;
    this.listing.element.hidden = this.tray.hidden = !searching;
    this.start.hidden = searching;
    if (!searching) {
      this.listing.say(null);
      begin(this.start, this.signal).catch((error) => !this.signal.aborted && this.start.replaceChildren(failure(error, () => this.apply({ query }))));
      return;
    }
    this.#drawTray();
    this.listing.draw(readFilters(query), this.#refining());
    this.listing.say(null);
    this.listing.count.textContent = "Searching…";
    const load = (offset, limit, signal) => this.#load(offset, limit, signal);
    if (this.grid) this.grid.reset(load);
    else this.#makeGrid(load);
  }

  #drawTray() {
    const focused = this.tray.contains(document.activeElement) && [...this.tray.querySelectorAll("button, input")].indexOf(document.activeElement);
    this.tray.replaceChildren(tray(this.terms, {
      onchange: (terms) => searchFor(terms),
      onopen: (term) => view([term.picture], 0),
      onfiles: (files) => this.#take(files, true),
    }));
    if (focused !== false) [...this.tray.querySelectorAll("button, input")].at(focused)?.focus();
  }

  #makeGrid(load) {
    const { listing } = this;
    this.grid = new Grid(listing.host, {
      load,
      label: "Pictures found, most alike first",
      size: PAGE,
      note: ({ score }) => score.toFixed(score > 0.99 ? 3 : 2), // copies differ by little
      buttons: usualButtons,
      actions: usualActions,
      onopen: (index) => view(this.grid, index),
      onload: () => this.#count(),
      onfail: (error) => this.#failed(error),
      signal: this.signal,
    });
    listing.tools.prepend(this.grid.controls());
  }

  async #load(offset, k, signal) {
    const { query } = this;
    const on = (name) => query.get(name) === "true";
    const least = Number(query.get("min_score"));
    const { matches } = await post("/v1/search", {
      terms: asked(this.terms),
      k,
      offset,
      ...(least && { min_score: least }),
      ...(on("rerank") && { rerank: true }),
      ...(on("diverse") && { diverse: true }),
      where: where(readFilters(query)),
    }, { signal });
    return { items: matches, last: matches.length < k };
  }

  #count() {
    const { length, growing } = this.grid;
    const said = growing ? `the nearest ${length}` : counted(length, "picture");
    this.listing.count.textContent = said;
    if (length <= PAGE) announce(`Results: ${said}`);
    if (length) return;
    const filtered = Object.keys(readFilters(this.query)).length > 0 || this.query.has("min_score");
    this.listing.say(empty({
      icon: "search",
      title: "Nothing found",
      text: filtered ? "No picture passes the filters." : "No other picture is in the library.",
      actions: filtered ? [button("Search without filters", () => go("/search", { like: writeTerms(this.terms) }), { class: "primary" })] : [],
    }));
  }

  async #failed(error) {
    if ([404, 422].includes(error.status) && this.terms.some((term) => term.upload)) {
      const terms = await renewed(this.terms).catch(() => this.terms.filter((term) => !term.upload));
      if (terms.length < this.terms.length) toast("A picture that was uploaded is no longer kept. Drop it again.");
      const next = new URLSearchParams(this.query);
      next.delete("like");
      for (const one of writeTerms(terms)) next.append("like", one);
      go("/search", next, { replace: true });
    } else if (this.grid.length) complain(error);
    else {
      this.listing.count.textContent = "";
      this.listing.say(failure(error, () => this.apply({ query: this.query })));
    }
  }

  // How the nearest are chosen: fields for the panel.
  #refining() {
    const change = (name, value) => {
      const next = new URLSearchParams(here().query);
      if (value) next.set(name, value);
      else next.delete(name);
      this.listing.byPanel(() => go("/search", next));
    };
    const least = this.query.get("min_score") ?? "0";
    const shown = h("output", { class: "count" }, least === "0" ? "any" : least);
    const slider = h("input", {
      type: "range", min: 0, max: 0.99, step: 0.01, value: least, "aria-label": "Least score",
      oninput: () => (shown.textContent = slider.value === "0" ? "any" : slider.value),
      onchange: () => change("min_score", slider.value === "0" ? null : slider.value),
    });
    const turn = (name, label, hint) => h("div", null,
      h("label", { class: "choice switch" }, h("input", { type: "checkbox", role: "switch", checked: this.query.get(name) === "true", "aria-describedby": `${name}-hint`, onchange: (event) => change(name, event.target.checked ? "true" : null) }), h("span", null, label)),
      h("p", { class: "hint", id: `${name}-hint` }, hint));
    return [
      h("div", { class: "field" }, h("span", null, "Least score ", shown), slider),
      turn("rerank", "Weigh shared neighbours", "Puts the 200 nearest in a better order; a little slower."),
      turn("diverse", "One of each", "Of copies of one picture, only the best match."),
    ];
  }
}

/** Show the view. */
export async function show(main, { query, signal }) {
  const search = new Search(main, signal);
  search.apply({ query });
  return (next) => search.apply(next);
}
