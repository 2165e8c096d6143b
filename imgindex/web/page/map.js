/** The library as a map: what is alike lies together. */

import { get, pause } from "./api.js";
import { announce, button, complain, empty, failure, h } from "./dom.js";
import { live } from "./live.js";
import { Camera } from "./map-camera.js";
import { Card } from "./map-card.js";
import { listenTo } from "./map-input.js";
import { Lasso } from "./map-lasso.js";
import { Legend, note, tools } from "./map-legend.js";
import { load } from "./map-load.js";
import { Names, nameOf } from "./map-names.js";
import { Points } from "./map-points.js";
import { moved } from "./map-regroup.js";
import { Scene } from "./map-scene.js";
import { Selection } from "./map-selection.js";
import { href } from "./router.js";

const REACH = { mouse: 9, touch: 20 }; // px from the pointer to a dot
const BESIDE = 100; // pictures that the viewer gets along with one
const ROOMY = 3; // times the largest thumbnail's room: the nearest one can come

const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const HELP = "Map of the pictures. Plus and minus zoom, arrows move, zero shows everything, Enter opens the picture in the middle. L draws around pictures, R puts a rectangle around some: arrows move it, shift and arrows stretch it, Enter keeps it, Escape takes it away. The groups are in the list beside it.";

/**
 * Show the map. `picture` and `group` in the query say where to go on it.
 * @param {HTMLElement} main
 * @param {{query: URLSearchParams, signal: AbortSignal}} route
 */
export async function show(main, { query, signal }) {
  main.className = "full";
  const map = new MapView(main, signal);
  map.open(query);
  return ({ query: next }) => map.visit(next);
}

class MapView {
  constructor(main, signal) {
    this.signal = signal;
    this.canvas = h("canvas", { class: "map-canvas", tabindex: "0", role: "application", "aria-label": HELP });
    this.outline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.outline.setAttribute("class", "map-outline");
    this.outline.setAttribute("aria-hidden", "true");
    this.names = h("div", { class: "map-names", "aria-hidden": "true" });
    this.notes = h("div", { class: "map-notes" });
    this.cross = h("div", { class: "map-cross", "aria-hidden": "true" });
    this.element = h("div", { class: "map-view" }, this.canvas, this.outline, this.names, this.cross);
    main.append(this.element);
    const still = () => reduced.matches;
    this.camera = new Camera({ still, moved: () => this.scene?.redraw() });
    this.legend = new Legend(this.element, { pick: (place) => this.focus(place), take: (place) => this.#take(place), folded: () => this.#fit() });
    const about = (factor) => this.camera.scaleBy(factor, ...this.camera.middle());
    this.tools = tools({ closer: () => about(1.8), farther: () => about(1 / 1.8), whole: () => this.#whole(), lasso: () => this.#turnLasso() });
    this.back = button("Back to the pictures", () => this.#return(), { class: "map-back", hidden: true });
    this.element.append(this.tools.element, this.notes, this.back);
    this.card = new Card(this.element, signal);
    this.labels = new Names(this.names);
    this.lasso = new Lasso(this.outline, this.camera);
    this.selection = new Selection(this.element, {
      changed: (pictures) => this.#selected(pictures),
      moved: (pictures, group) => this.#move(pictures, group),
      open: (pictures) => this.#view(pictures, 0),
      ended: () => this.#clear(),
    });
    try {
      this.scene = new Scene(this.canvas, this.camera, { signal, still, drawn: () => this.#drawn() });
    } catch {
      this.element.classList.add("listed");
    }
    this.#listen();
  }

  /** Show the map for the first time. */
  async open(query) {
    const wait = setTimeout(() => this.#tell("Opening the map", [], true), 300);
    try {
      await this.#arrive();
      this.visit(query, true);
    } catch (error) {
      if (this.signal.aborted) return;
      this.element.classList.add("nothing");
      this.notes.replaceChildren(h("div", { class: "map-empty" }, error.status === 404 ? this.#noPictures() : failure(error, () => this.open(query))));
    } finally {
      clearTimeout(wait);
    }
  }

  /** Draw it anew, and stay where one is. */
  async reload() {
    if (this.reloading) return (this.again = true);
    this.reloading = true;
    try {
      do {
        this.again = false;
        this.#tell("Drawing the map anew", [], true);
        await this.#arrive(true);
      } while (this.again);
    } catch (error) {
      this.#tell();
      complain(error);
    } finally {
      this.reloading = false;
    }
  }

  /** Go where the address says. */
  visit(query, first = false) {
    if (!this.points?.count) return;
    this.#clear();
    const picture = query.get("picture"), at = picture ? this.points.find(picture) : -1;
    const place = query.has("group") ? this.groups.findIndex(({ id }) => id === Number(query.get("group"))) : -1;
    if (at >= 0) {
      this.focus(null, false);
      this.#go(this.camera.centred(this.points.x[at], this.points.y[at], Math.min(this.camera.most, Math.max(120 / this.points.roomOf(0.2), 130 / this.points.room[at]))), first);
      this.scene?.setSelected(new Set([at]), false);
    } else if (place >= 0 || !first) this.focus(place < 0 ? null : place);
  }

  /** Let one group stand out, and go there; null for none. */
  focus(place, travel = true) {
    this.legend.choose(place);
    this.scene?.setFocus(place);
    this.labels.level = null;
    if (place === null) return;
    if (matchMedia("(max-width: 760px)").matches) this.legend.fold(true);
    const group = this.groups[place];
    announce(`${nameOf(group)}, ${group.size} pictures`);
    if (travel && group.id !== -1) this.camera.fly(this.camera.framed(this.points.extent(place), this.camera.most / 2));
  }

  async #arrive(fresh = false) {
    const { map, buffer } = await load(this.signal, (job) => {
      const share = job.total ? ` ${Math.floor((100 * job.done) / job.total)}%` : "";
      this.#tell(`Drawing the map${job.stage ? `: ${job.stage}` : ""}${share}`, [], true);
    }, fresh);
    const first = !this.points;
    this.map = map;
    this.groups = map.groups;
    this.points = new Points(buffer, this.groups);
    this.#tell(this.scene ? undefined : "This browser does not offer WebGL 2, with which the map is drawn. Its groups are listed here.");
    this.element.classList.toggle("nothing", !this.points.count);
    if (!this.points.count) {
      this.notes.replaceChildren(h("div", { class: "map-empty" }, this.#noPictures()));
    }
    this.scene?.setPoints(this.points, this.groups);
    this.#name();
    this.#bound();
    if (first) this.#whole(true);
  }

  #noPictures() {
    return empty({ icon: "library", title: "The library is empty", text: "Add a folder of pictures; the map shows those alike together.", actions: [h("a", { class: "button primary", href: href("/jobs") }, "Add a folder")] });
  }

  // Who is called what, in the list and on the map.
  #name() {
    const { map, points, groups } = this;
    this.legend.setGroups(map, groups);
    this.labels.setGroups(map.grouped ? groups : [], groups.map(({ cover }) => (cover ? points.find(cover) : -1)));
    this.selection.setPoints(points, groups);
  }

  // A decision shows at once, without another map; answers what takes it back.
  #move(pictures, group) {
    const { groups, points } = this, places = points.group, last = this.map;
    const show = (change) => {
      if (this.signal.aborted || this.map !== last) return;
      this.groups = change.groups;
      points.group = change.places;
      this.lasso.clear();
      this.scene?.setGroups(this.groups);
      this.#name();
      this.#current();
    };
    show(moved(this, pictures, group));
    return () => show({ groups, places });
  }

  // What was changed here is on the map already.
  async #current() {
    const { map } = this, { change } = await get("/v1/status", { signal: this.signal }).catch(() => map);
    map.change = change;
  }

  // Where the camera may go.
  #bound() {
    const { camera, points, scene } = this;
    camera.bounds = { left: 0, top: 0, right: Math.max(points.right, 1e-6), bottom: Math.max(points.bottom, 1e-6) };
    if (!scene) return;
    const near = 420 / Math.max(points.roomOf(0.02), scene.own / ROOMY ** 2, 1e-9);
    scene.whole = camera.framed(camera.bounds, 260 / scene.own).scale;
    camera.least = scene.whole * 0.5;
    camera.most = Math.max(near, scene.whole * ROOMY);
    scene.redraw();
  }

  #whole(now = false) {
    if (this.scene && this.points) this.#go(this.camera.framed(this.camera.bounds, this.scene.whole), now);
  }

  // From where nothing is to the nearest picture.
  #return() {
    const { camera, points } = this, [x, y] = camera.place(...camera.middle());
    const at = points.nearest(x, y, Infinity, () => true);
    camera.fly(camera.centred(points.x[at], points.y[at]));
    this.canvas.focus({ preventScroll: true });
  }

  #go(view, now) {
    if (now) this.camera.set(view);
    else this.camera.fly(view);
  }

  #listen() {
    const { signal, scene, canvas } = this;
    live.addEventListener("library", ({ detail }) => this.#changed(detail.change), { signal });
    if (!scene) return;
    const size = new ResizeObserver(() => this.#fit());
    size.observe(this.element);
    size.observe(this.legend.element);
    signal.addEventListener("abort", () => size.disconnect());
    canvas.addEventListener("focus", () => this.#keyed(canvas.matches(":focus-visible")), { signal });
    canvas.addEventListener("blur", () => this.#hover(null), { signal });
    listenTo(
      canvas,
      this.camera,
      {
        tool: () => this.drawing,
        draw: (phase, x, y, event) => this.#draw(phase, x, y, event),
        hover: (x, y) => this.#hover(x, y),
        leave: () => this.#hover(null),
        click: (x, y, event) => this.#click(x, y, event),
        settled: (x, y) => this.#settled(x, y),
        key: (event) => this.#key(event),
        whole: () => this.#whole(),
      },
      signal,
    );
  }

  // Waits a moment: what was changed here is told of as well, first without saying what.
  async #changed(change) {
    if (change === null) return;
    await pause(1.5, this.signal).catch(() => {});
    if (this.signal.aborted || !this.map || change === this.map.change || this.reloading) return;
    this.#tell("The library has changed", [button("Draw anew", () => this.reload(), { class: "small" }), button("Not now", () => this.#tell(), { icon: "close", bare: true, class: "quiet round small" })]);
  }

  #tell(text, actions, work = false) {
    this.notes.replaceChildren(...(text ? [note(text, actions, { work })] : []));
  }

  // The window has another size, or panels cover other parts of it.
  #fit() {
    const { camera, canvas, scene, element, legend } = this;
    if (!scene || !legend) return;
    const { clientWidth: width, clientHeight: height } = element, ratio = devicePixelRatio || 1;
    const wide = Math.round(width * ratio), high = Math.round(height * ratio);
    const { offsetWidth, offsetHeight } = legend.element, below = offsetWidth > width * 0.7;
    camera.insets = { left: below || legend.folded ? 0 : offsetWidth + 12, top: 0, right: 0, bottom: below && legend.folded ? offsetHeight : 0 };
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      const [x, y] = this.points ? camera.place(...camera.middle()) : [0, 0], before = scene.whole;
      Object.assign(camera, { width, height });
      if (this.points) {
        const overview = Math.abs(camera.scale / before - 1) < 0.01;
        this.#bound();
        camera.set(overview ? camera.framed(camera.bounds, scene.whole) : camera.centred(x, y));
      }
    }
    this.cross.style.translate = camera.middle().map((place) => `${Math.round(place) - 9}px`).join(" ");
    this.outline.setAttribute("viewBox", `0 0 ${width} ${height}`);
    scene.redraw();
  }

  #drawn() {
    const { scene, canvas, camera } = this;
    this.labels.place(scene);
    this.lasso.follow();
    canvas.dataset.drawn = scene.frame;
    canvas.dataset.thumbnails = scene.shown;
    canvas.dataset.waiting = scene.tiles.waiting;
    if (!camera.moving) this.back.hidden = !scene.empty;
    if (this.byKey && canvas.matches(":focus-visible") && !camera.moving && !this.lasso.drawn) this.#hover(...camera.middle(), true);
  }

  #hover(x, y, keyed = false) {
    if (!keyed && this.byKey) this.#keyed(false);
    if (x === null || !this.points || this.drawing) {
      this.card.hide();
      this.canvas.classList.remove("over");
      return;
    }
    const { scene, points } = this, name = keyed ? null : this.labels.at(x, y);
    const at = name === null ? scene.at(x, y, keyed ? Infinity : REACH.mouse) : -1;
    this.canvas.classList.toggle("over", at >= 0 || name !== null);
    if (at < 0) return this.card.hide();
    this.card.show(points.id(at), this.map.grouped ? this.groups[points.group[at]] : undefined, { large: scene.pictured(at) && scene.sizes.side > 190, told: keyed ? announce : undefined });
    this.card.place(x, y, this.camera);
  }

  #click(x, y, event) {
    const name = this.drawing ? null : this.labels.at(x, y);
    if (name !== null) {
      this.focus(name);
      return true;
    }
    const at = this.scene.at(x, y, event.pointerType === "touch" ? REACH.touch : REACH.mouse);
    if (at >= 0 && (this.drawing || event.shiftKey || event.ctrlKey || event.metaKey)) {
      this.selection.set([at], this.selection.pictures.has(at) ? "less" : "more");
      return true;
    }
    if (at < 0 || !this.scene.pictured(at)) return false;
    this.#open(at);
    return true;
  }

  // A dot waits whether a double click follows; beside all pictures a click ends what stands out.
  #settled(x, y) {
    const at = this.scene.at(x, y, REACH.touch);
    if (at >= 0) this.#open(at);
    else if (this.selection.pictures.size) this.#clear();
    else this.focus(null);
  }

  // The viewer goes on to the pictures nearest on the map.
  #open(at) {
    this.#view([at, ...this.points.beside(at, BESIDE, (one) => this.scene.lit(one))], 0);
  }

  async #view(pictures, at) {
    this.card.hide();
    const { view } = await import("./viewer.js");
    view(pictures.map((one) => this.points.id(one)), at);
  }

  #turnLasso(on = !this.drawing) {
    this.drawing = on;
    this.tools.drawing.setAttribute("aria-pressed", String(on));
    this.element.classList.toggle("drawing", on);
    this.#tell(on ? "Draw around pictures, or click single ones" : undefined, on ? [button("Done", () => this.#turnLasso(false), { class: "small" })] : []);
  }

  #draw(phase, x, y, event) {
    if (phase === "begin") this.lasso.begin(x, y);
    else if (phase === "move") this.lasso.extend(x, y);
    else if (phase === "cancel") this.lasso.clear();
    else this.#enclose(this.lasso.close(), event.altKey ? "less" : event.shiftKey ? "more" : "anew");
  }

  #enclose(outline, how) {
    if (!outline) return;
    this.selection.set(this.points.inside(outline, (at) => this.scene.lit(at)), how);
    if (!this.selection.pictures.size && !this.lasso.rectangle) this.lasso.clear();
  }

  #take(place) {
    this.lasso.clear();
    this.selection.set(this.points.of(place));
  }

  #selected(pictures) {
    this.scene?.setSelected(pictures);
    this.element.classList.toggle("selecting", pictures.size > 0);
  }

  #clear() {
    this.lasso.clear();
    this.selection.set([]);
  }

  #key(event) {
    if (!this.points?.count) return false;
    if (event.key !== "Shift") this.#keyed(true);
    const { key } = event, { lasso } = this;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (lasso.rectangle && arrow) this.#enclose(lasso.key(...arrow, event.shiftKey), "anew");
    else if (lasso.rectangle && key === "Enter") {
      lasso.rectangle = null;
      this.selection.element.querySelector("button").focus();
    } else if (key === "r" || key === "R") this.#enclose(lasso.frame(), "anew");
    else if (key === "l" || key === "L") this.#turnLasso();
    else if (key === "Escape") this.#escape();
    else if (key === "Enter") {
      const at = this.scene.at(...this.camera.middle(), Infinity);
      if (at >= 0) this.#open(at);
    } else return false;
    return true;
  }

  // Keys act on the picture in the middle, which is shown then.
  #keyed(on) {
    this.byKey = on;
    this.element.classList.toggle("keyed", on);
    this.scene.redraw();
  }

  #escape() {
    if (this.lasso.drawn || this.selection.pictures.size) this.#clear();
    else if (this.drawing) this.#turnLasso(false);
    else this.visit(new URLSearchParams());
  }
}
