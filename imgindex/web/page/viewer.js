/** One picture large, with what is known of it and what can be done with it. */

import { del, get, status, thumbnail } from "./api.js";
import { announce, basename, button, complain, confirm, copyText, counted, dialog, h, icon, toast } from "./dom.js";
import { chooseBox } from "./box.js";
import { follow, href } from "./router.js";
import { addToSearch, AWAY, searchFor, similar } from "./terms.js";

const SWIPE = 60; // pixels
const SHOWABLE = new Set(["JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF"]);
const LARGE = 1600; // longer side of the large thumbnail
const MOST_ENLARGED = 3;

const MONTHS = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" });
/** `2024-05-01T10:20:30` as people write it; the camera's own clock. */
export const shownDate = (taken) => MONTHS.format(new Date(`${taken}Z`));

const asList = (list) => (Array.isArray(list) ? { length: list.length, id: async (index) => list[index] } : list);

class Viewer {
  constructor(list, at, { onclose, onremoved }) {
    Object.assign(this, { list: asList(list), at, onclose, onremoved });
    this.picture = h("img", { alt: "", class: "viewer-picture", draggable: "false" });
    this.place = h("span", { class: "count" });
    this.title = h("h2", { class: "viewer-name" });
    this.previous = button("Previous picture", () => this.go(-1), { icon: "left", bare: true, class: "viewer-turn previous" });
    this.next = button("Next picture", () => this.go(1), { icon: "right", bare: true, class: "viewer-turn next" });
    this.facts = h("dl", { class: "facts" });
    this.doing = h("div", { class: "viewer-actions" });
    this.stage = h("div", { class: "viewer-stage" }, this.picture, this.previous, this.next);
    const body = h(
      "div",
      { class: "viewer-body" },
      this.stage,
      h(
        "aside",
        { class: "viewer-side", "aria-label": "About the picture", tabindex: 0 },
        h("header", null, h("div", null, this.title, this.place), button("Close", () => this.opened.close(), { icon: "close", bare: true, class: "quiet round" })),
        this.doing,
        this.facts,
      ),
    );
    this.opened = dialog({ title: "Picture", body, bare: true, class: "viewer" });
    // The back button of a phone closes the picture, not the page.
    history.pushState({ ...history.state, over: true }, "");
    this.gone = new AbortController();
    const { signal } = this.gone;
    addEventListener("popstate", () => this.opened.close(), { signal });
    this.opened.element.addEventListener("keydown", (event) => this.#key(event));
    this.opened.element.addEventListener("click", (event) => {
      const link = event.target.closest('a[href^="#"]');
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      follow(link.getAttribute("href"));
    });
    this.#swiping();
    this.opened.result.then(() => {
      this.gone.abort();
      if (history.state?.over) history.back();
      this.list.focus?.(this.at);
      this.onclose?.(this.at);
    });
    this.next.focus();
    this.show();
  }

  async go(by) {
    const to = this.at + by;
    if (to < 0) return;
    if (to >= this.list.length && !(await this.list.id(to))) return;
    this.at = to;
    await this.show();
  }

  async show() {
    const at = this.at;
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    try {
      const id = await this.list.id(at);
      if (signal.aborted || !id) return;
      this.id = id;
      // Not `disabled`: a button that loses the focus would take the keys along.
      this.previous.setAttribute("aria-disabled", at === 0);
      this.next.setAttribute("aria-disabled", at >= this.list.length - 1 && !this.list.growing);
      this.place.textContent = this.list.growing ? `No. ${at + 1}` : `${at + 1} of ${this.list.length.toLocaleString("en-GB")}`;
      this.picture.style.transform = "";
      this.picture.src = thumbnail(id, "medium");
      const [item, { service }] = await Promise.all([get(`/v1/pictures/${id}`, { signal }), status()]);
      if (signal.aborted) return;
      this.#describe(item, service);
      this.#enlarge(item, service, signal);
      for (const by of [1, -1]) {
        if (at + by >= 0 && at + by < this.list.length) this.list.id(at + by).then((near) => near && (new Image().src = thumbnail(near, "large")));
      }
    } catch (error) {
      complain(error);
    }
  }

  // The large picture takes the place of the small one when it is there and decoded.
  async #enlarge(item, service, signal) {
    const needed = Math.max(this.stage.clientWidth, this.stage.clientHeight) * devicePixelRatio;
    const beyond = Math.max(item.width, item.height) > LARGE && needed > LARGE;
    const large = new Image();
    large.src = beyond && service.originals && SHOWABLE.has(item.format) ? `/v1/pictures/${item.id}/original` : thumbnail(item.id, "large");
    // A small picture is not blown up to the size of the window.
    this.picture.style.width = `min(100cqw, ${item.width * MOST_ENLARGED}px)`;
    this.picture.style.height = `min(100cqh, ${item.height * MOST_ENLARGED}px)`;
    try {
      await large.decode();
      if (!signal.aborted) this.picture.src = large.src;
    } catch {
      // The smaller one stays.
    }
  }

  #describe(item, service) {
    const name = basename(item.paths[0] ?? item.id);
    this.title.textContent = name;
    this.picture.alt = name;
    this.opened.element.setAttribute("aria-label", name);
    announce(`${name}, ${this.place.textContent}`);
    this.doing.replaceChildren(
      h("a", { class: "button primary", href: similar([item.id]) }, icon("search"), h("span", null, "Find similar")),
      button("Search a part", () => this.#part(item), { icon: "crop" }),
      button("Add to search", () => addToSearch([item.id]), { icon: "plus" }),
      button("Steer away", () => addToSearch([item.id], AWAY), { icon: "minus" }),
      h("a", { class: "button", href: href(`/layers/${item.id}`) }, icon("layers"), h("span", null, "Layers")),
      ...(service.originals ? [h("a", { class: "button", href: `/v1/pictures/${item.id}/original`, target: "_blank", rel: "noopener" }, icon("external"), h("span", null, "Original"))] : []),
      button("Remove", () => this.#remove(item), { icon: "trash", class: "danger" }),
    );
    const fact = (term, ...said) => [h("dt", null, term), h("dd", null, said)];
    this.facts.replaceChildren(
      ...fact("Size", `${item.width} × ${item.height}, ${item.format}`),
      ...fact("Taken", item.taken ? shownDate(item.taken) : "not known"),
      ...(item.group === null ? [] : fact("Group", h("a", { href: href(`/groups/${item.group}`) }, item.group === -1 ? "in no group" : item.group_name ?? `Group ${item.group}`))),
      ...fact(
        item.paths.length === 1 ? "File" : counted(item.paths.length, "file"),
        item.paths.map((path) => h("div", { class: "path-line" }, h("span", { class: "path" }, path), button("Copy the path", () => copyText(path, "Path copied"), { icon: "copy", bare: true, class: "quiet round small" }))),
      ),
    );
    if (item.group >= 0) this.#nameGroup(item.group);
  }

  async #nameGroup(id) {
    const link = this.facts.querySelector("dd a");
    const { groups, parts } = await groupNames();
    const found = [...groups, ...parts].find((group) => group.id === id);
    if (found?.name) link.textContent = found.name;
  }

  async #part(item) {
    const box = await chooseBox({ source: thumbnail(item.id, "large"), name: basename(item.paths[0]) });
    if (box) searchFor([{ picture: item.id, weight: 1, box }]);
  }

  async #remove(item) {
    const sure = await confirm(`Remove ${basename(item.paths[0])} from the library?`, {
      text: "It leaves the library and its groups; this cannot be undone. The file itself stays where it is.",
      yes: "Remove",
      danger: true,
    });
    if (!sure) return;
    try {
      await del(`/v1/pictures/${item.id}`);
      toast("Removed from the library; the file is still there");
      this.opened.close();
      this.list.remove?.([item.id]);
      this.onremoved?.(item.id);
    } catch (error) {
      complain(error);
    }
  }

  #key(event) {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.target !== event.currentTarget && event.target.matches("input, textarea")) return;
    const does = {
      ArrowLeft: () => this.go(-1),
      ArrowRight: () => this.go(1),
      Home: () => this.go(-this.at),
      "+": () => addToSearch([this.id]),
      "-": () => addToSearch([this.id], AWAY),
      s: () => follow(similar([this.id])),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  #swiping() {
    let from = null;
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" && event.isPrimary && !event.target.closest("button")) from = event.clientX;
    });
    this.stage.addEventListener("pointermove", (event) => {
      if (from !== null && event.isPrimary) this.picture.style.transform = `translateX(${event.clientX - from}px)`;
    });
    const over = (event) => {
      if (from === null || !event.isPrimary) return;
      const moved = event.clientX - from;
      from = null;
      this.picture.style.transform = "";
      if (event.type === "pointerup" && Math.abs(moved) > SWIPE) this.go(moved < 0 ? 1 : -1);
    };
    this.stage.addEventListener("pointerup", over);
    this.stage.addEventListener("pointercancel", over);
  }
}

let names = null;

/** The groups, for their names; none where nothing was grouped. Asked once a minute at most. */
export function groupNames() {
  if (!names) {
    names = get("/v1/groups", { query: { parts: true } }).catch(() => ({ groups: [], parts: [] }));
    setTimeout(() => (names = null), 60_000);
  }
  return names;
}

/**
 * Show a picture large.
 * @param {string[]|import("./grid.js").Grid} list ids, or what has `length` and `id(index)`, and
 *   may have `growing`, `focus(index)` and `remove(ids)`
 * @param {number} at
 * @param {{onclose?: (at: number) => void, onremoved?: (id: string) => void}} [options]
 */
export function view(list, at, options = {}) {
  return new Viewer(list, at, options);
}
