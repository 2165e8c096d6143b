/** What can be done with selected pictures. */

import { post, takeBack } from "./api.js";
import { ask, copyText, counted, toast } from "./dom.js";
import { addToSearch, AWAY, searchFor, term } from "./terms.js";

const MOST_TERMS = 24; // more say little, and an address holds only so many
const ids = (items) => items.map((item) => item.id);

function few(items) {
  if (items.length > MOST_TERMS) toast(`The first ${MOST_TERMS} of them are used`);
  return ids(items).slice(0, MOST_TERMS);
}

async function group(items) {
  const name = await ask("New group", {
    label: "Name (may be left empty)",
    optional: true,
    yes: "Make the group",
    hint: `${counted(items.length, "picture")} will form a group of their own.`,
  });
  if (name === null) return false;
  const made = await post("/v1/groups", { pictures: ids(items), name: name || null });
  toast(`Group of ${counted(items.length, "picture")} made`, { undo: () => takeBack(made.number) });
  return true;
}

/** For the `actions` of a grid. */
export const usualActions = [
  { label: "Search with these", icon: "search", act: (items) => searchFor(few(items).map((id) => term(id))) },
  { label: "Add to search", icon: "plus", act: (items) => addToSearch(few(items)) },
  { label: "Steer away", icon: "minus", act: (items) => addToSearch(few(items), AWAY) },
  { label: "New group", icon: "groups", act: group },
  {
    label: "Copy paths",
    icon: "copy",
    keep: true,
    act: (items) => copyText(items.flatMap((item) => item.paths ?? [item.path]).join("\n"), `${counted(items.length, "path")} copied`),
  },
];

/** For the `buttons` of a grid's cells. */
export const usualButtons = [
  { label: "Find similar", icon: "search", key: "s", act: (item) => searchFor([term(item.id)]) },
  { label: "Add to the search", icon: "plus", key: "+", act: (item) => addToSearch([item.id]) },
  { label: "Steer away from it", icon: "minus", key: "-", act: (item) => addToSearch([item.id], AWAY) },
];
