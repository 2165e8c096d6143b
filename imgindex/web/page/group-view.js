/** One group: what it is called, its parts, and its members. */

import { get } from "./api.js";
import { usualActions, usualButtons } from "./actions.js";
import { chooseCover, groupName, merge, putInto, rename, splitOff, takeOut } from "./deciding.js";
import { button, complain, counted, empty, failure, h, toast } from "./dom.js";
import { chooseGroup, showDecisions } from "./group-panels.js";
import { groupTile } from "./group-tile.js";
import { Grid } from "./grid.js";
import { live } from "./live.js";
import { go, href } from "./router.js";
import { view } from "./viewer.js";

const NOISE = -1;
const CLOSENESS = [
  [0.9, "much alike"],
  [0.75, "alike"],
  [0.6, "loosely alike"],
  [-1, "only distantly alike"],
];

/**
 * The groups that a group lies in, the outermost first.
 * @param {Map<number, object>} groups by id
 * @param {number|null} parent
 * @returns {object[]}
 */
export function lineage(groups, parent) {
  const found = [];
  for (let group = groups.get(parent); group && !found.includes(group); group = groups.get(group.parent)) found.unshift(group);
  return found;
}

const closeness = (tightness) => CLOSENESS.find(([least]) => tightness >= least)[1];

const ids = (items) => items.map((item) => item.id);

class GroupView {
  constructor(main, { params, signal }) {
    Object.assign(this, { main, signal, id: Number(params.id) });
    this.crumbs = h("ol");
    this.title = h("div", { class: "group-title" });
    this.told = h("div", { class: "bar told" });
    this.hint = h("p", { class: "hint" });
    this.tools = h("div", { class: "bar push" });
    this.parts = h("ul", { class: "wall" });
    this.partsSection = h("section", { class: "group-section", "aria-labelledby": "parts-title" }, h("h2", { id: "parts-title" }, "Parts"), this.parts);
    this.membersTitle = h("h2", null, "Pictures");
    this.host = h("div");
  }

  get path() {
    return `/v1/groups/${this.id}`;
  }

  async begin() {
    const controls = h("div", { class: "push" });
    this.title.append(h("h1", { class: "unnamed" }, groupName({ id: this.id, name: null })));
    this.partsSection.hidden = true;
    this.main.append(
      h("nav", { class: "crumbs", "aria-label": "Where you are" }, this.crumbs),
      h("div", { class: "head" }, this.title, this.told, this.hint, this.tools),
      this.partsSection,
      h("section", { class: "members", "aria-label": "Pictures" }, h("div", { class: "head" }, this.membersTitle, controls), this.host),
    );
    try {
      await this.refresh();
    } catch (error) {
      if (error.status !== 404) throw error;
      this.main.replaceChildren(empty({ icon: "groups", title: "There is no such group", text: "It was merged with another one, or the pictures were grouped anew.", actions: [h("a", { class: "button primary", href: href("/groups") }, "All groups")] }));
      return;
    }
    this.grid = new Grid(this.host, {
      label: `Pictures of ${groupName(this.group)}`,
      load: (offset, limit, signal) => this.#load(offset, limit, signal),
      name: (item) => `${(item.paths[0] ?? item.id).split(/[\\/]/).at(-1)}${item.exemplar ? ", typical of the group" : ""}`,
      note: (item) => (item.id === this.group.cover ? "cover" : ""),
      buttons: [...(this.id === NOISE ? [] : [{ label: "Use as cover", icon: "library", key: "c", act: (item) => chooseCover(this.group, item.id) }]), usualButtons[0]],
      actions: this.#actions(),
      onopen: (index) => view(this.grid, index),
      onfail: (error) => this.host.replaceChildren(failure(error, () => this.grid.reset())),
      signal: this.signal,
    });
    controls.append(this.grid.controls());
    live.addEventListener("library", () => this.#again(), { signal: this.signal });
  }

  async refresh() {
    const [group, found] = await Promise.all([
      get(this.path, { query: { limit: 1 }, signal: this.signal }),
      get("/v1/groups", { query: { parts: true }, signal: this.signal }),
    ]);
    const text = JSON.stringify([group, found]);
    if (text === this.shown) return false;
    Object.assign(this, { group, shown: text, found, byId: new Map([...found.groups, ...found.parts].map((one) => [one.id, one])) });
    this.#draw();
    return true;
  }

  async #again() {
    try {
      if (await this.refresh()) this.grid.reload();
    } catch (error) {
      if (error.status === 404) go("/groups", null, { replace: true });
      else complain(error);
    }
  }

  async #load(offset, limit, signal) {
    const { members, size } = await get(this.path, { query: { offset, limit }, signal });
    return { items: members.sort((a, b) => b.exemplar - a.exemplar), total: size };
  }

  #actions() {
    const done = (decision) => decision !== null;
    return [
      { label: "New group…", icon: "plus", act: async (items) => done(await splitOff(ids(items))) },
      ...(this.id === NOISE ? [] : [{ label: "Take out", icon: "minus", act: async (items) => done(await this.#takeOut(ids(items))) }]),
      { label: "Put into…", icon: "right", act: async (items) => done(await this.#putInto(ids(items))) },
      usualActions[0],
    ];
  }

  #takeOut(pictures) {
    const out = new Set(pictures);
    const stays = [this.group.medoid, ...this.group.exemplars, ...ids(this.grid.loaded)].find((id) => id && !out.has(id));
    if (stays) return takeOut(this.group, stays, pictures);
    toast("One picture at least has to stay", { bad: true });
    return null;
  }

  async #putInto(pictures) {
    const top = lineage(this.byId, this.group.parent)[0]?.id ?? this.id;
    const into = await chooseGroup(`Put ${counted(pictures.length, "picture")} into`, this.found.groups.filter((one) => one.id !== top));
    return into && putInto(into, pictures);
  }

  async #merge() {
    const other = await chooseGroup(`Merge ${groupName(this.group)} with`, this.found.groups.filter((one) => one.id !== this.id));
    const decision = other && (await merge([this.group, other]));
    if (decision?.group != null && decision.group !== this.id) go(`/groups/${decision.group}`);
  }

  #draw() {
    const { group } = this;
    const above = lineage(this.byId, group.parent);
    document.title = `${groupName(group)} · imgindex`;
    this.crumbs.replaceChildren(
      h("li", null, h("a", { href: href("/groups") }, "Groups")),
      ...above.map((one) => h("li", null, h("a", { href: href(`/groups/${one.id}`) }, groupName(one)))),
      h("li", { "aria-current": "page" }, groupName(group)),
    );
    if (!this.editing) this.#heading();
    const noise = group.id === NOISE;
    this.told.replaceChildren(
      h("span", { class: "count" }, counted(group.size, "picture")),
      !noise && Number.isFinite(group.tightness) ? h("span", { class: "count tightness", title: `Mean cosine to their mean direction: ${group.tightness.toFixed(3)}` }, h("span", { class: "meter", role: "meter", "aria-label": "How tight", "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": Math.max(0, group.tightness).toFixed(3) }, h("span", { style: { width: `${100 * Math.max(0, group.tightness)}%` } })), closeness(group.tightness)) : "",
      group.duplicates?.length ? h("a", { class: "count", href: href("/duplicates") }, `${counted(group.duplicates.length, "set")} of copies inside`) : "",
    );
    this.tools.replaceChildren(
      ...(noise || group.parent !== null ? [] : [button("Merge with…", () => this.#merge(), { icon: "groups" })]),
      button("Decisions", () => showDecisions([...this.byId.values()]), { icon: "undo" }),
    );
    this.partsSection.hidden = group.parts.length === 0;
    this.parts.replaceChildren(...group.parts.map((part) => h("li", { class: "span-1" }, groupTile(part))));
    this.membersTitle.textContent = noise ? "Like no others" : group.parts.length ? "All pictures" : "Pictures";
    this.hint.hidden = !noise;
    this.hint.textContent = group.size ? "These are not enough like any others. Select some to make a group of them, or to put them into one." : "Every picture has a group.";
  }

  #heading() {
    const heading = h("h1", { class: this.group.name ? "" : "unnamed" }, groupName(this.group));
    if (this.group.id === NOISE) {
      this.title.replaceChildren(heading);
      return;
    }
    const edit = button(`Rename ${groupName(this.group)}`, () => this.#edit(), { icon: "edit", bare: true, class: "quiet round" });
    heading.addEventListener("dblclick", () => this.#edit());
    const held = this.title.contains(document.activeElement);
    this.title.replaceChildren(heading, edit);
    if (held) edit.focus();
  }

  #edit() {
    const input = h("input", { type: "text", value: this.group.name ?? "", placeholder: groupName(this.group), "aria-label": "Name of the group. Enter keeps it, Escape leaves it as it was.", maxlength: 200 });
    this.editing = true;
    const leave = () => {
      this.editing = false;
      this.#heading();
    };
    const keep = async () => {
      if (input.readOnly) return;
      const name = input.value.trim();
      input.readOnly = true;
      if (name && name !== this.group.name) await rename(this.group, name);
      leave();
    };
    input.addEventListener("keydown", (event) => {
      const does = { Enter: keep, Escape: leave }[event.key];
      if (!does) return;
      // Else the key would press the button that takes the field's place.
      event.preventDefault();
      does();
    });
    this.title.replaceChildren(input, button("Keep", keep, { icon: "check", bare: true, class: "quiet round" }), button("Leave it", leave, { icon: "close", bare: true, class: "quiet round" }));
    input.focus();
    input.select();
  }
}

/** See groups.js. */
export async function show(main, context) {
  main.classList.add("group");
  await new GroupView(main, context).begin();
}
