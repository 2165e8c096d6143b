/** The pictures that a search is made of, and how they stand in an address. */

import { thumbnail } from "./api.js";
import { go, here, href } from "./router.js";

/** The weight of a picture to steer away from where none is chosen. */
export const AWAY = -0.25;

/**
 * @typedef {{picture?: string, upload?: string, address?: string, weight: number, box: number[]|null}} Term
 *   one of the first three; `box`: x, y, width, height in percent of the picture's sides
 */

let last = []; // of the latest search, so that other views can add to it

const KINDS = { u: "upload", a: "address" };

/** `ID*weight*x_y_w_h`; `u.` before an upload's id, `a.` before an address. */
function write({ picture, upload, address, weight, box }) {
  const name = upload ? `u.${upload}` : address ? `a.${encodeURIComponent(address)}` : picture;
  return [name, ...(weight !== 1 || box ? [weight] : []), ...(box ? [box.join("_")] : [])].join("*");
}

function read(text) {
  const [name, weight = "1", box] = text.split("*");
  const [, letter, rest] = /^(?:([ua])\.)?(.+)$/.exec(name) ?? [];
  const sides = box?.split("_").map(Number);
  if (!rest || !Number(weight) || (sides && !(sides.length === 4 && sides.every(Number.isFinite)))) return null;
  const value = letter === "a" ? decodeURIComponent(rest) : rest;
  return { [KINDS[letter] ?? "picture"]: value, weight: Number(weight), box: sides ?? null };
}

/**
 * The terms in the query of an address; what is none is left out.
 * @param {URLSearchParams} query
 * @returns {Term[]}
 */
export const readTerms = (query) => query.getAll("like").map(read).filter(Boolean);

/** Terms as the values of `like`. */
export const writeTerms = (terms) => terms.map(write);

/** Terms as POST /v1/search takes them. */
export const asked = (terms) =>
  terms.map(({ picture, upload, address, weight, box }) => ({
    ...(upload ? { upload } : address ? { address } : { picture }),
    weight,
    ...(box && { box: box.map((side) => `${side}%`).join(",") }),
  }));

/** A term of a whole picture. */
export const term = (picture, weight = 1) => ({ picture, weight, box: null });

/** Whether two terms are of one picture. */
export const alike = (one, other) =>
  one.picture === other.picture && one.upload === other.upload && one.address === other.address;

/** The address of a term's thumbnail; null where it has none. */
export const face = ({ picture, upload, address }, size = "medium") =>
  upload ? `/v1/uploads/${upload}/thumbnail/${size}` : address ? null : thumbnail(picture, size);

/** Keep these as what other views add to. */
export const keepTerms = (terms) => (last = terms);

/**
 * The address of a search for what looks like these pictures.
 * @param {string[]} ids
 */
export const similar = (ids) => href("/search", { like: ids });

/**
 * Search with these terms; filters stay where one is searching already.
 * @param {Term[]} terms
 */
export function searchFor(terms) {
  const { path, query } = here();
  const next = path === "/search" ? query : new URLSearchParams();
  next.delete("like");
  for (const one of writeTerms(terms)) next.append("like", one);
  go("/search", next);
}

/**
 * Add pictures to the latest search, or steer it away from them.
 * @param {string[]} ids
 * @param {number} [weight] below 0 steers away
 */
export function addToSearch(ids, weight = 1) {
  const added = ids.map((id) => term(id, weight));
  const terms = [...last.filter((one) => one.box || !added.some((other) => alike(one, other))), ...added];
  // What is steered away from alone has nothing to come near to, and that is a search, too.
  searchFor(terms);
}
