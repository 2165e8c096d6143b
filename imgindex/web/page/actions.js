/** What can be done with selected pictures. */

import { splitOff } from "./deciding.js";
import { copyText, counted, toast } from "./dom.js";
import { addToSearch, AWAY, searchFor, term } from "./terms.js";

const MOST_TERMS = 24; // more say little, and an address holds only so many
const ids = (items) => items.map((item) => item.id);

function few(items) {
  if (items.length > MOST_TERMS) toast(`The first ${MOST_TERMS} of them are used`);
  return ids(items).slice(0, MOST_TERMS);
}

/** For the `actions` of a grid. */
export const usualActions = [
  { label: "Search with these", icon: "search", act: (items) => searchFor(few(items).map((id) => term(id))) },
  { label: "Add to search", icon: "plus", act: (items) => addToSearch(few(items)) },
  { label: "Steer away", icon: "minus", act: (items) => addToSearch(few(items), AWAY) },
  { label: "New group", icon: "groups", act: async (items) => (await splitOff(ids(items))) !== null },
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
