/** What drew two pictures together: places that match, numbered in both. */

import { get, thumbnail, withQuery } from "./api.js";
import { basename, failure, h } from "./dom.js";

const PLACES = 6;

const percent = (value, of) => `${(100 * value) / of}%`;

function marks(places, side, frame) {
  return places.map((place, at) => {
    const [left, top, right, bottom] = place[side];
    const style = { left: percent(left, frame.width), top: percent(top, frame.height), width: percent(right - left, frame.width), height: percent(bottom - top, frame.height) };
    return h("span", { class: `place hue-${at % PLACES}`, dataset: { at }, style, "aria-hidden": "true" }, h("span", null, at + 1));
  });
}

const figure = (id, path, frame, boxes) =>
  h("figure", null, h("div", { class: "placed", style: { aspectRatio: `${frame.width} / ${frame.height}` } }, h("img", { src: thumbnail(id, "large"), alt: basename(path) }), boxes), h("figcaption", { class: "count" }, basename(path)));

function row(place, at) {
  const share = place.share === null ? "" : `${(100 * place.share).toFixed(2)}%`;
  return h("tr", { dataset: { at }, tabindex: 0 }, h("td", null, h("span", { class: `number hue-${at % PLACES}` }, at + 1)), h("td", { class: "numbers" }, place.similarity.toFixed(3)), h("td", { class: "numbers" }, share));
}

/**
 * Fill an element with an explanation.
 * @param {HTMLElement} host
 * @param {{a: string, b: string, signal: AbortSignal}} pair ids
 */
export async function explain(host, { a, b, signal }) {
  host.replaceChildren(h("p", { class: "hint" }, "Comparing all places of both pictures…"));
  let told;
  try {
    told = await get("/v1/explain", { query: { a, b, k: PLACES }, signal });
  } catch (error) {
    if (!signal.aborted) host.replaceChildren(failure(error, () => explain(host, { a, b, signal })));
    return;
  }
  const { places } = told;
  const shares = places.length > 0 && places[0].share !== null;
  const drawn = h("div", { class: "explained" }, figure(a, told.a, told.frame_a, marks(places, "a", told.frame_a)), figure(b, told.b, told.frame_b, marks(places, "b", told.frame_b)));
  const table = h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Place"), h("th", { scope: "col", class: "numbers" }, "Cosine"), shares && h("th", { scope: "col", class: "numbers" }, "Share"))), h("tbody", null, places.map(row)));
  const light = (target) => {
    const at = target?.closest?.("[data-at]")?.dataset.at;
    for (const one of host.querySelectorAll("[data-at]")) one.classList.toggle("lit", one.dataset.at === at);
    drawn.classList.toggle("lighting", at !== undefined);
  };
  host.onpointerover = host.onfocusin = ({ target }) => light(target);
  host.onpointerleave = host.onfocusout = () => light(null);
  host.replaceChildren(
    h("p", null, "Cosine ", h("strong", null, told.score.toFixed(4)), ` by ${told.model}. `, told.exact ? "Each number marks a place here and the place there that it is most like; the share is what the pair adds to the cosine." : "Each number marks a place here and the place there that it is most like. With this pooling nothing adds up to the cosine."),
    h("div", { class: "explanation" }, drawn, table),
    h("details", null, h("summary", null, "All that each place adds, as one sheet"), h("img", { class: "sheet", loading: "lazy", src: withQuery("/v1/explain/sheet", { a, b, k: PLACES }), alt: "Both pictures with their matching places, and below what each place adds to the cosine" })),
  );
}
