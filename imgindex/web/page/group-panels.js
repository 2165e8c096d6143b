/** What was decided and what became of groups, in panels at the side; and choosing a group. */

import { get, takeBack, thumbnail } from "./api.js";
import { changed, groupName } from "./deciding.js";
import { button, complain, counted, dialog, empty, h, number } from "./dom.js";
import { groupTile } from "./group-tile.js";
import { moment } from "./words.js";

const SHOWN = 6; // pictures of a decision
const CHANGES = { new: "New", gone: "Gone", split: "Split", merged: "Merged", kept: "Kept" };

const byId = (groups) => new Map(groups.map((group) => [group.id, group]));

function said({ kind, group, name, pictures }, groups) {
  const known = groups.get(group);
  const which = known ? groupName({ ...known, name: kind === "name" ? null : known.name }) : group === null ? "" : `Group ${group}`;
  const many = counted(pictures.length, "picture");
  return {
    name: `${which} is called ${name}`,
    cover: `${which} shows this picture`,
    together: `${many} belong together`,
    form: `${many} are a group of their own`,
    apart: `${counted(pictures.length - 1, "picture")} taken out: not like the first`,
    distinct: `${many} are not copies`,
  }[kind] ?? kind;
}

/**
 * All decisions, each with a way to take it back.
 * @param {object[]} groups those that are known, for their names
 */
export async function showDecisions(groups = []) {
  const names = byId(groups);
  const list = h("ul", { class: "decisions" });
  const opened = dialog({ title: "Decisions", body: list, class: "drawer" });
  const draw = async () => {
    const made = await get("/v1/decisions");
    if (!made.length) {
      list.replaceWith(empty({ icon: "check", title: "Nothing decided yet", text: "Names, covers, merged and split groups stand here. They hold in every later run, until you take them back." }));
      return;
    }
    list.replaceChildren(
      ...made.reverse().map((one) =>
        h(
          "li",
          null,
          h("p", null, said(one, names)),
          button("Take back", async (event) => {
            event.currentTarget.disabled = true;
            try {
              await takeBack(one.number);
              changed();
              await draw();
            } catch (error) {
              complain(error);
            }
          }, { icon: "undo", class: "small" }),
          one.pictures.length > 0 && h("div", { class: "little" }, one.pictures.slice(0, SHOWN).map((id) => h("img", { class: "picture", src: thumbnail(id, "small"), alt: "", loading: "lazy" })), one.pictures.length > SHOWN && h("span", { class: "count" }, `+${number(one.pictures.length - SHOWN)}`)),
        ),
      ),
    );
  };
  try {
    await draw();
  } catch (error) {
    opened.close();
    complain(error);
  }
}

function change({ kind, before, after }, names) {
  const one = ({ id, size }) => h("span", { class: "sized" }, groupName(names.get(id) ?? { id, name: null }), h("span", { class: "count" }, ` ${number(size)}`));
  const side = (some) => some.flatMap((group, at) => (at ? [" + ", one(group)] : [one(group)]));
  return h("li", null, h("span", { class: "tag" }, CHANGES[kind] ?? kind), h("span", null, side(before), before.length > 0 && after.length > 0 && " → ", side(after)));
}

function run(created, changes, names, open) {
  const counts = Map.groupBy ? Map.groupBy(changes, (one) => one.kind) : new Map();
  const told = Object.keys(CHANGES).filter((kind) => counts.has(kind)).map((kind) => `${number(counts.get(kind).length)} ${CHANGES[kind].toLowerCase()}`);
  const moved = changes.filter((one) => one.kind !== "kept");
  return h("details", { open }, h("summary", null, h("strong", null, moment(created)), h("span", { class: "count" }, ` ${told.join(", ")}`)), moved.length ? h("ul", { class: "changes" }, moved.map((one) => change(one, names))) : h("p", { class: "hint" }, "All groups stayed as they were."));
}

/**
 * What became of groups, run by run.
 * @param {object[]} groups those that are known, for their names
 */
export async function showHistory(groups = []) {
  try {
    const changes = await get("/v1/groups/history");
    const runs = [...new Set(changes.map((one) => one.created))].sort().reverse();
    const names = byId(groups);
    const body = runs.length
      ? h("div", { class: "history" }, runs.map((created, at) => run(created, changes.filter((one) => one.created === created), names, at === 0)))
      : empty({ icon: "groups", title: "No runs yet", text: "Each time the pictures are grouped, what became of the groups stands here." });
    dialog({ title: "History", body, class: "drawer" });
  } catch (error) {
    complain(error);
  }
}

/**
 * Ask for a group.
 * @param {string} title
 * @param {object[]} groups to choose from
 * @returns {Promise<object|null>}
 */
export async function chooseGroup(title, groups) {
  const grid = h("ul", { class: "wall choosable" });
  const find = h("input", { type: "search", placeholder: "Find a group", "aria-label": "Find a group by name or number", oninput: () => draw() });
  const asked = dialog({ title, body: h("div", { class: "stack" }, find, grid), class: "wide" });
  const draw = () => {
    const sought = find.value.trim().toLowerCase();
    grid.replaceChildren(
      ...groups.filter((group) => groupName(group).toLowerCase().includes(sought)).map((group) => {
        const tile = groupTile(group);
        tile.addEventListener("click", (event) => {
          event.preventDefault();
          asked.close(group);
        });
        return h("li", { class: "span-1" }, tile);
      }),
    );
  };
  draw();
  find.focus();
  return (await asked.result) ?? null;
}
