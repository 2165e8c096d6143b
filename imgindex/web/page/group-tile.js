/** A group as a cover: its picture, a few of its exemplars, its name and size. */

import { thumbnail } from "./api.js";
import { counted, h, number } from "./dom.js";
import { groupName } from "./deciding.js";
import { href } from "./router.js";

const FEW = 3;

/** Up to three exemplars beside the cover, from all over the list: neighbours in it are alike. */
export function few(group) {
  const others = group.exemplars.filter((id) => id !== (group.cover ?? group.medoid));
  if (others.length < FEW) return [];
  return Array.from({ length: FEW }, (_, at) => others[Math.floor(((at + 0.5) * others.length) / FEW)]);
}

const picture = (id, size) => h("img", { class: "picture", src: thumbnail(id, size), alt: "", loading: "lazy", decoding: "async", draggable: "false" });

/**
 * A link to a group that shows its cover.
 * @param {object} group a Group record; `pictures` in place of a cover for what is no group
 * @param {{large?: boolean}} [options]
 * @returns {HTMLAnchorElement}
 */
export function groupTile(group, { large = false } = {}) {
  const cover = group.cover ?? group.medoid;
  const strip = group.pictures ? group.pictures.slice(1, 1 + FEW) : few(group);
  const first = cover ?? group.pictures?.[0];
  return h(
    "a",
    { class: "group-tile", href: href(`/groups/${group.id}`), draggable: "false", title: `${groupName(group)}, ${counted(group.size, "picture")}` },
    h(
      "span",
      { class: "collage" },
      h("span", { class: "cover" }, first && picture(first, large ? "large" : "medium")),
      strip.length > 0 && h("span", { class: "few" }, strip.map((id) => picture(id, large ? "medium" : "small"))),
    ),
    h("span", { class: "caption" }, h("span", { class: group.name ? "name" : "name unnamed" }, groupName(group)), h("span", { class: "count" }, number(group.size), h("span", { class: "unseen" }, " pictures"))),
  );
}
