/** The library: all its pictures. */

import { get, post, status } from "./api.js";
import { usualActions, usualButtons } from "./actions.js";
import { announce, button, complain, counted, dialog, empty, failure, h, toast } from "./dom.js";
import { countFilters, readFilters, withFilters } from "./filters.js";
import { Grid } from "./grid.js";
import { Listing } from "./listing.js";
import { live } from "./live.js";
import { go, here, href } from "./router.js";
import { searchFor } from "./terms.js";
import { takeFiles, uploaded } from "./uploads.js";
import { view } from "./viewer.js";

const ORDERS = [["path", "By path"], ["newest", "Newest first"], ["taken", "Oldest first"]];

/** Show the view. */
export async function show(main, { query: first, signal }) {
  let query = first;
  const listing = new Listing({ title: "Library", onfilters: (filters) => go("/library", withFilters(here().query, filters)) });
  const order = h("select", { "aria-label": "Order", onchange: () => {
    const next = new URLSearchParams(here().query);
    next.set("order", order.value);
    go("/library", next);
  } }, ORDERS.map(([value, label]) => h("option", { value }, label)));
  main.replaceChildren(listing.element);

  const load = async (offset, limit, stop) => {
    const { total, pictures } = await get("/v1/pictures", { query: { ...readFilters(query), order: query.get("order") ?? "path", offset, limit }, signal: stop });
    return { items: pictures, total };
  };
  let said = null;
  const count = () => {
    const text = counted(grid.length, "picture");
    listing.count.textContent = text;
    if (said !== text) announce((said = text));
    listing.say(grid.length ? null : nothing(query));
  };
  let grid;
  const draw = () => {
    order.value = query.get("order") ?? "path";
    listing.draw(readFilters(query));
    listing.say(null);
  };
  draw();
  grid = new Grid(listing.host, {
    load,
    label: "Pictures of the library",
    buttons: usualButtons,
    actions: usualActions,
    onopen: (index) => view(grid, index),
    onload: count,
    onfail: (error) => (grid.length ? complain(error) : listing.say(failure(error, () => grid.reset()))),
    signal,
  });
  listing.tools.prepend(order, grid.controls());
  live.addEventListener("library", () => grid.reload(), { signal });
  takeFiles((files) => received(files, grid), signal);
  return (next) => {
    query = next.query;
    draw();
    grid.reset(load);
  };
}

function nothing(query) {
  if (countFilters(readFilters(query))) {
    return empty({ icon: "filter", title: "Nothing passes the filters", actions: [button("Clear the filters", () => go("/library"), { class: "primary" })] });
  }
  return empty({
    icon: "library",
    title: "The library is empty",
    text: "Add a folder of pictures to begin.",
    actions: [h("a", { class: "button primary", href: href("/jobs") }, "Add a folder")],
  });
}

async function received(files, grid) {
  try {
    const { service } = await status();
    if (service.adding) {
      const asked = dialog({
        title: counted(files.length, "picture"),
        body: h("p", null, "Search the library with it, or add it to the library?"),
        actions: [{ label: "Search", value: "search" }, { label: "Add to the library", value: "add", kind: "primary" }],
      });
      const chosen = await asked.result;
      if (!chosen) return;
      if (chosen === "add") {
        await add(files, grid);
        return;
      }
    }
    const terms = await uploaded(files);
    if (terms.length) searchFor(terms);
  } catch (error) {
    complain(error);
  }
}

async function add(files, grid) {
  const body = new FormData();
  for (const file of files) body.append("files", file, file.name || "pasted");
  const away = toast(`Adding ${counted(files.length, "picture")}…`, { seconds: 600 });
  try {
    const { pictures } = await post("/v1/pictures", body);
    const refused = pictures.filter(({ reason }) => reason);
    for (const { name, reason } of refused.slice(0, 2)) toast(`${name}: ${reason}`, { bad: true });
    const taken = pictures.length - refused.length;
    if (taken) toast(`${counted(taken, "picture")} added`);
    grid.reload();
  } finally {
    away();
  }
}
