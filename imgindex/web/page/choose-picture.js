/** Choosing a picture of the library: the most alike, or some others. */

import { get, status, thumbnail } from "./api.js";
import { basename, button, complain, dialog, h } from "./dom.js";

const ALIKE = 18;
const OTHERS = 12;
const DRAWS = 6; // neighbours in the list are often alike

const choices = (pictures, pick) =>
  h(
    "ul",
    { class: "choices" },
    pictures.map((one) => h("li", null, h("button", { type: "button", "aria-label": basename(one.path ?? one.paths?.[0] ?? one.id), onclick: () => pick(one.id) }, h("img", { class: "picture", src: thumbnail(one.id), alt: "", loading: "lazy" })))),
  );

/**
 * Pictures from anywhere in the library.
 * @param {number} count
 * @param {AbortSignal} [signal]
 * @returns {Promise<object[]>}
 */
export async function someOthers(count, signal) {
  const { pictures: total } = await status();
  const each = Math.ceil(count / DRAWS);
  const pages = await Promise.all(
    Array.from({ length: DRAWS }, () => get("/v1/pictures", { query: { offset: Math.floor(Math.random() * Math.max(1, total - each)), limit: each }, signal })),
  );
  return [...new Map(pages.flatMap((page) => page.pictures).map((one) => [one.id, one])).values()];
}

/**
 * Ask for a picture.
 * @param {string} title
 * @param {string} id of the picture that it is for; it is not among the choices
 * @returns {Promise<string|null>} its id
 */
export async function choosePicture(title, id) {
  const alike = h("div");
  const others = h("div");
  const asked = dialog({
    title,
    class: "wide",
    body: h("div", { class: "stack" }, h("h3", null, "Most alike"), alike, h("div", { class: "bar" }, h("h3", null, "Any other"), button("Show others", () => draw().catch(complain), { icon: "refresh", class: "quiet small push" })), others),
  });
  const draw = async () => {
    const pictures = await someOthers(OTHERS);
    others.replaceChildren(choices(pictures.filter((one) => one.id !== id), asked.close));
  };
  const near = async () => {
    const { matches } = await get(`/v1/pictures/${id}/similar`, { query: { k: ALIKE + 1 } });
    alike.replaceChildren(choices(matches.filter((one) => one.id !== id).slice(0, ALIKE), asked.close));
  };
  for (const part of [near(), draw()]) part.catch(complain);
  return (await asked.result) ?? null;
}
