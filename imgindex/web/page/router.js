/** Views by address: `#/path?query`. */

import { unanswered } from "./api.js";
import { failure } from "./dom.js";

const routes = [];
const places = new Map(); // where a view was scrolled to, by history entry
let current = null;
let entry = null;
let kept = 0;

/**
 * Register a view.
 * @param {string} path `/groups/:id`; parts behind a colon arrive in `params`
 * @param {() => Promise<{show: Function}>} view imports its module, whose
 *   `show(main, {params, query, signal})` fills `main`. `signal` aborts when the view is left. What
 *   `show` answers, if it is a function, is called with `{query}` where only the query changes;
 *   else the view is shown anew.
 * @param {string} title
 */
export function route(path, view, title) {
  routes.push({ pattern: new RegExp(`^${path.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`), path, view, title });
}

/**
 * The address of a view.
 * @param {string} path
 * @param {object|URLSearchParams} [query] null and empty values are left out, lists are repeated
 */
export function href(path, query) {
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query ?? {}).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => [name, one]));
  const given = new URLSearchParams(pairs.filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return `#${path}${given.size ? `?${given}` : ""}`;
}

/**
 * Go to a view.
 * @param {string} path
 * @param {object|URLSearchParams} [query]
 * @param {{replace?: boolean}} [options] `replace` takes the place of this entry of the history
 */
export const go = (path, query, options) => follow(href(path, query), options);

/**
 * Go to an address, as `href` makes them. Over a dialog that has an entry of its own in the history
 * it takes that one's place.
 * @param {string} address
 * @param {{replace?: boolean}} [options]
 */
export function follow(address, { replace = false } = {}) {
  if (address === location.hash && !history.state?.over) return;
  history[replace || history.state?.over ? "replaceState" : "pushState"]({ entry: crypto.randomUUID?.() ?? String(Math.random()) }, "", address);
  arrive();
}

/** The path and the query of the address. */
export function here() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { path: path || "/search", query: new URLSearchParams(query) };
}

const keepPlace = () => entry && places.set(entry, scrollY);

/**
 * Where this entry of the history was scrolled to: for views that can restore it only later.
 * @returns {number}
 */
export const keptPlace = () => kept;

async function arrive() {
  const { path, query } = here();
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  if (!history.state?.entry) history.replaceState({ entry: String(Math.random()) }, "");
  entry = history.state.entry;
  kept = places.get(entry) ?? 0;
  if (current?.path === path && current.again) {
    current.again({ query });
    return;
  }
  current?.leaving.abort();
  const leaving = new AbortController();
  const mine = { path, leaving };
  current = mine;
  const found = routes.find(({ pattern }) => pattern.test(path)) ?? routes[0];
  const main = document.getElementById("main");
  for (const link of document.querySelectorAll(".places a")) {
    const on = found.path.startsWith(new URL(link.href).hash.slice(1));
    if (on) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${found.title} · imgindex`;
  try {
    const { show } = await found.view().catch((error) => {
      throw error instanceof TypeError ? unanswered() : error;
    });
    if (leaving.signal.aborted) return;
    main.replaceChildren();
    main.className = "";
    scrollTo(0, 0);
    const again = await show(main, { params: found.pattern.exec(path)?.groups ?? {}, query, signal: leaving.signal });
    if (typeof again === "function") mine.again = again;
  } catch (error) {
    if (leaving.signal.aborted) return;
    main.replaceChildren(failure(error, () => { current = null; arrive(); }));
  }
}

/** Show the view of the address, now and whenever it changes. */
export function start() {
  history.scrollRestoration = "manual";
  addEventListener("scroll", keepPlace, { passive: true });
  addEventListener("popstate", () => {
    if (history.state?.entry && history.state.entry === entry) return;
    arrive();
  });
  arrive();
  // The other views are at hand before they are asked for.
  (window.requestIdleCallback ?? setTimeout)(() => routes.forEach(({ view }) => view().catch(() => {})));
}
