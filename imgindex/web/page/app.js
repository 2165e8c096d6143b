/** The page's frame: the places one can go to, the theme, and what is at work. */

import { button, h, icon } from "./dom.js";
import { listen } from "./live.js";
import { showKeys } from "./keys.js";
import { href, here, route, start } from "./router.js";
import { listenForFiles } from "./uploads.js";
import { progressChip } from "./work.js";

const PLACES = [
  ["/search", "Search", "search"],
  ["/library", "Library", "library"],
  ["/groups", "Groups", "groups"],
  ["/duplicates", "Duplicates", "duplicates"],
  ["/map", "Map", "map"],
  ["/jobs", "Jobs", "jobs"],
];

route("/search", () => import("./search.js"), "Search");
route("/library", () => import("./browse.js"), "Library");
route("/groups", () => import("./groups.js"), "Groups");
route("/groups/:id", () => import("./groups.js"), "Group");
route("/duplicates", () => import("./duplicates.js"), "Duplicates");
route("/map", () => import("./map.js"), "Map");
route("/jobs", () => import("./jobs.js"), "Jobs");
route("/layers", () => import("./layers.js"), "Layers");
route("/layers/:id", () => import("./layers.js"), "Layers");

const THEMES = { auto: ["half", "Theme: as the system"], light: ["sun", "Theme: light"], dark: ["moon", "Theme: dark"] };

function turnTheme(to) {
  const root = document.documentElement;
  if (to === "auto") {
    delete root.dataset.theme;
    localStorage.removeItem("theme");
  } else {
    root.dataset.theme = to;
    localStorage.setItem("theme", to);
  }
  const [name, label] = THEMES[to];
  const turner = document.getElementById("theme");
  turner.replaceChildren(icon(name));
  turner.setAttribute("aria-label", label);
  turner.title = label;
  // Canvases cannot see CSS change: they listen for this.
  document.dispatchEvent(new Event("themechange"));
}

function setUpTheme() {
  const names = Object.keys(THEMES);
  const now = () => document.documentElement.dataset.theme ?? "auto";
  document.getElementById("theme").addEventListener("click", () => turnTheme(names[(names.indexOf(now()) + 1) % names.length]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => turnTheme(now()));
  turnTheme(now());
}

document.querySelector(".places").append(...PLACES.map(([path, label, name]) => h("a", { href: href(path) }, icon(name), h("span", null, label))));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
setUpTheme();
document.getElementById("theme").before(button("Keys", () => showKeys(here().path), { icon: "keys", bare: true, class: "quiet round keys-opener", title: "Keys (?)" }));
addEventListener("keydown", (event) => {
  if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || event.target.matches?.("input:not([type=checkbox], [type=radio], [type=range]), select, textarea")) return;
  event.preventDefault();
  showKeys(here().path);
});
progressChip(document.querySelector(".working"));
listenForFiles();
start();
listen();
