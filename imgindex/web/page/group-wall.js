/** All groups as a wall of covers, the large ones large. */

import { forgetStatus, get, status } from "./api.js";
import { askForGrouping } from "./cluster-dialog.js";
import { groupName, merge } from "./deciding.js";
import { announce, button, complain, counted, empty, h, icon, number } from "./dom.js";
import { showDecisions, showHistory } from "./group-panels.js";
import { groupTile } from "./group-tile.js";
import { isActive } from "./job-words.js";
import { live } from "./live.js";
import { go, href } from "./router.js";
import { Selection } from "./selection.js";
import { activeJob, jobProgress, startJob } from "./work.js";

const LARGE = 1.5; // times the median size
const LARGE_SHARE = 0.25; // of all groups, at most
const WAITING = [3, 2, 2, 1, 1, 1, 1, 1, 1]; // columns of the tiles that stand until the groups come
const ORDERS = {
  size: ["By size", (a, b) => b.size - a.size || a.id - b.id],
  name: ["By name", (a, b) => groupName(a).localeCompare(groupName(b), "en-GB", { numeric: true })],
};

/**
 * Which groups are shown large: id -> columns that its cover takes.
 * @param {{id: number, size: number}[]} groups
 * @returns {Map<number, number>}
 */
export function spans(groups) {
  const falling = [...groups].sort(ORDERS.size[1]);
  const median = falling[Math.floor(falling.length / 2)]?.size ?? 0;
  const large = falling.slice(0, Math.ceil(falling.length * LARGE_SHARE)).filter((group) => group.size >= LARGE * median);
  return new Map(large.map((group, rank) => [group.id, rank === 0 ? 3 : 2]));
}

/** The wall, while it is shown. */
class Wall {
  constructor(main, { query, signal }) {
    Object.assign(this, { main, signal, query });
    this.tiles = new Map();
    this.list = h("ul", { class: "wall" });
    this.selection = new Selection([{ label: "Merge", icon: "groups", act: (groups) => this.#merge(groups) }], () => this.#mark());
    this.selection.bar.setAttribute("aria-label", "Selected groups");
    this.count = h("span", { class: "count" });
    this.find = h("input", { type: "search", placeholder: "Find a group", "aria-label": "Find a group by name or number", value: query.get("find") ?? "", oninput: () => this.#go() });
    this.order = h("select", { "aria-label": "Order", onchange: () => this.#go() }, Object.entries(ORDERS).map(([value, [label]]) => h("option", { value, selected: query.get("sort") === value }, label)));
    this.notices = h("div", { class: "stack notices" });
    this.body = h("div");
    this.again = button("Group again…", () => this.#ask());
    this.tools = h(
      "div",
      { class: "bar wall-tools" },
      this.find,
      this.order,
      button("Decisions", () => showDecisions(this.groups), { icon: "undo", class: "slim", title: "Decisions" }),
      button("History", () => showHistory(this.groups), { icon: "history", class: "slim", title: "History" }),
      this.again,
    );
  }

  async begin() {
    this.main.append(h("div", { class: "head" }, h("h1", null, "Groups"), this.count, this.tools), this.notices, this.body);
    this.body.append(h("ul", { class: "wall waiting", "aria-hidden": "true" }, WAITING.map((span) => h("li", { class: `span-${span}` }, h("span", { class: "collage" })))));
    await this.refresh();
    const job = await activeJob("cluster", this.signal).catch(() => null);
    if (job) this.#follow(job);
    live.addEventListener("library", () => this.refresh().catch(complain), { signal: this.signal });
    live.addEventListener("job", ({ detail }) => detail.kind === "cluster" && this.#follow(detail), { signal: this.signal });
    this.list.addEventListener("keydown", (event) => event.key === "m" && this.selection.size > 1 && this.#merge([...this.selection.items.values()]).then(() => this.selection.clear()));
  }

  /** The query of the address has changed. */
  turn(query) {
    this.query = query;
    this.#draw();
  }

  async refresh() {
    forgetStatus();
    const { groups, pictures } = await status();
    if (groups === null) {
      this.#nothing(pictures);
      return;
    }
    const found = await get("/v1/groups", { query: { parts: true }, signal: this.signal });
    const noise = found.noise ? (await get("/v1/groups/-1", { query: { limit: 4 }, signal: this.signal })).members.map((one) => one.id) : [];
    const text = JSON.stringify([found, noise]);
    if (text === this.shown) return;
    this.shown = text;
    this.found = found;
    this.noise = noise;
    this.groups = [...found.groups, ...found.parts];
    this.#draw();
  }

  #nothing(pictures) {
    this.shown = null;
    this.tools.hidden = true;
    this.count.textContent = "";
    this.body.replaceChildren(
      pictures
        ? empty({ icon: "groups", title: "Nothing is grouped yet", text: `imgindex can find what belongs together among your ${counted(pictures, "picture")}. You need not say how many groups there are.`, actions: [button("Group the pictures", () => this.#start({}), { class: "primary" }), button("With settings…", () => this.#ask())] })
        : empty({ icon: "library", title: "The library is empty", text: "Add a folder of pictures first; then there is something to group.", actions: [h("a", { class: "button primary", href: href("/jobs") }, "Add a folder")] }),
    );
  }

  #draw() {
    const { found } = this;
    if (!found) return;
    this.tools.hidden = false;
    const sought = (this.query.get("find") ?? "").trim().toLowerCase();
    const fits = (group) => groupName(group).toLowerCase().includes(sought) || String(group.id) === sought;
    const order = ORDERS[this.query.get("sort")] ?? ORDERS.size;
    const groups = found.groups.filter(fits).sort(order[1]);
    const parts = sought ? found.parts.filter((part) => part.name && fits(part)) : [];
    const noise = found.noise && fits({ id: -1 }) ? [{ id: -1, size: found.noise, exemplars: [], pictures: this.noise }] : [];
    const large = spans(found.groups);
    this.count.textContent = sought ? counted(groups.length + parts.length, "match", "matches") : `${counted(found.groups.length, "group")} of ${counted(found.pictures, "picture")}`;
    this.notices.querySelector(".stale")?.remove();
    if (found.stale) this.notices.prepend(h("div", { class: "notice stale" }, icon("info"), h("p", null, `${found.stale.charAt(0).toUpperCase()}${found.stale.slice(1)}.`), button("Group again", () => this.#start({}), { class: "small" })));
    const held = document.activeElement?.closest?.(".wall > li")?.dataset.id;
    const tiles = [...groups, ...parts, ...noise].map((group) => this.#tile(group, large.get(group.id) ?? 1));
    this.list.replaceChildren(...tiles);
    if (held !== undefined) this.list.querySelector(`li[data-id="${held}"] a`)?.focus({ preventScroll: true });
    this.selection.drop([...this.selection.items.keys()].filter((id) => !found.groups.some((group) => group.id === id)));
    if (tiles.length) this.body.replaceChildren(this.list, this.selection.bar);
    else this.body.replaceChildren(sought ? empty({ icon: "search", title: "No group of that name", text: `Nothing is called “${sought}”. Groups without a name are found by their number.` }) : empty({ icon: "groups", title: "No groups", text: "Every picture is like no other. Try smaller groups.", actions: [button("Group again…", () => this.#ask())] }));
  }

  #tile(group, span) {
    const key = JSON.stringify([group, span]);
    const kept = this.tiles.get(group.id);
    if (kept?.key === key) return kept.element;
    const top = group.id !== -1 && group.parent == null;
    const pick = top && h("input", { type: "checkbox", class: "pick", "aria-label": `Select ${groupName(group)}`, checked: this.selection.has(group), onchange: () => this.selection.toggle(group, pick.checked) });
    const element = h("li", { class: `span-${span}${group.id === -1 ? " noise" : ""}`, dataset: { id: group.id }, draggable: top ? "true" : "false" }, groupTile(group, { large: span > 1 }), pick);
    if (top) this.#draggable(element, group);
    this.tiles.set(group.id, { key, element });
    return element;
  }

  #draggable(element, group) {
    element.addEventListener("dragstart", (event) => {
      this.dragged = group;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", groupName(group));
      element.classList.add("dragged");
    });
    element.addEventListener("dragend", () => {
      this.dragged = null;
      element.classList.remove("dragged");
    });
    element.addEventListener("dragover", (event) => {
      if (!this.dragged || this.dragged === group) return;
      event.preventDefault();
      element.classList.add("target");
    });
    element.addEventListener("dragleave", (event) => element.contains(event.relatedTarget) || element.classList.remove("target"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      element.classList.remove("target");
      if (this.dragged && this.dragged !== group) merge([group, this.dragged]);
    });
  }

  async #merge(groups) {
    if (groups.length < 2) {
      announce("Select two groups or more to merge");
      return false;
    }
    return merge(groups);
  }

  #mark() {
    this.list.classList.toggle("choosing", this.selection.size > 0);
    for (const { element } of this.tiles.values()) {
      const pick = element.querySelector(".pick");
      if (!pick) continue;
      pick.checked = this.selection.items.has(Number(element.dataset.id));
      element.classList.toggle("chosen", pick.checked);
    }
    const act = this.selection.bar.querySelectorAll("button")[1];
    act.disabled = this.selection.size < 2;
  }

  #go() {
    go("/groups", { find: this.find.value, sort: this.order.value === "size" ? null : this.order.value }, { replace: true });
  }

  async #ask() {
    const settings = await askForGrouping(this.found ? { before: this.found.settings, groups: this.found.groups.length } : {});
    if (settings) await this.#start(settings);
  }

  async #start(settings) {
    try {
      await startJob("cluster", settings);
    } catch (error) {
      complain(error);
    }
  }

  #follow(job) {
    if (this.followed === job.id || !isActive(job)) return;
    this.followed = job.id;
    this.again.disabled = true;
    this.body.hidden = !this.found;
    const shown = jobProgress(job, {
      signal: this.signal,
      ended: async (now) => {
        shown.remove();
        this.again.disabled = false;
        this.body.hidden = false;
        if (now.state === "failed") complain(now.problem ?? new Error("Grouping failed"));
        await this.refresh().catch(complain);
        if (now.state === "done" && this.found) announce(`${number(this.found.groups.length)} groups`);
      },
    });
    this.notices.append(shown);
  }
}

/** See groups.js. */
export async function show(main, context) {
  main.classList.add("groups");
  const wall = new Wall(main, context);
  await wall.begin();
  return ({ query }) => wall.turn(query);
}
