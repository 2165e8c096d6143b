/** Where a search begins: an invitation, and a few pictures to begin with. */

import { get, status, thumbnail } from "./api.js";
import { basename, button, empty, h, icon, number } from "./dom.js";
import { href } from "./router.js";
import { similar } from "./terms.js";
import { invitation, pickFiles } from "./uploads.js";

const SHOWN = 12;

// Neighbours by path are often of one kind, so each is drawn on its own.
async function some(total, signal) {
  const places = new Set();
  while (places.size < Math.min(SHOWN, total)) places.add(Math.floor(Math.random() * total));
  const pages = await Promise.all([...places].map((offset) => get("/v1/pictures", { query: { offset, limit: 1 }, signal })));
  return pages.flatMap((page) => page.pictures);
}

/**
 * Fill an element with the start of a search.
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 */
export async function begin(place, signal) {
  const { pictures } = await status();
  if (signal.aborted) return;
  if (!pictures) {
    place.replaceChildren(empty({
      icon: "library",
      title: "The library is empty",
      text: "Add a folder of pictures and it can be searched.",
      actions: [h("a", { class: "button primary", href: href("/jobs") }, "Add a folder")],
    }));
    return;
  }
  const samples = h("ul", { class: "samples" });
  const draw = async () => {
    const drawn = await some(pictures, signal);
    samples.replaceChildren(...drawn.map((picture) => h("li", null,
      h("a", { href: similar([picture.id]), "aria-label": `Search with ${basename(picture.paths[0])}` }, h("img", { src: thumbnail(picture.id), alt: "", class: "picture", decoding: "async" })))));
  };
  place.replaceChildren(h(
    "div",
    { class: "begin" },
    h("h1", null, "Find pictures that look alike"),
    h("button", { type: "button", class: "drop", onclick: () => pickFiles() }, icon("upload"), h("strong", null, invitation), h("span", null, "Pasting works, too")),
    h("div", { class: "bar begin-with" }, h("h2", null, `Or begin with one of ${number(pictures)}`), button("Show others", draw, { icon: "refresh", class: "quiet push" })),
    samples,
  ));
  await draw();
}
