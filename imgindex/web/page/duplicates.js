/** Copies, set by set: which one stays, and what becomes of the others. */

import { get, post, status, takeBack } from "./api.js";
import { announce, button, complain, confirm, counted, empty, h, number, toast } from "./dom.js";
import { flicker, sideBySide, slider } from "./duplicate-set.js";
import { filmstrip, mayGo, showSkipped } from "./duplicate-panels.js";
import { isActive } from "./job-words.js";
import { live } from "./live.js";
import { go, href } from "./router.js";
import { Review } from "./review.js";
import { activeJob, jobProgress, startJob } from "./work.js";

const PAGE = 100;
const FILTERS = { near: "All copies", pixels: "Same pixels", exact: "Same bytes" };
const MODES = { side: "Side by side", flicker: "Flicker", slider: "Slider" };

class Duplicates {
  constructor(main, { query, signal }) {
    Object.assign(this, { main, signal, sets: [], total: 0, at: 0, mode: "side", items: new Map() });
    this.upTo = query.get("up_to") in FILTERS ? query.get("up_to") : "near";
    this.count = h("span", { class: "count", role: "status" });
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "Reviewed" });
    this.filter = h("select", { "aria-label": "Which copies", onchange: () => go("/duplicates", { up_to: this.filter.value === "near" ? null : this.filter.value }, { replace: true }) }, Object.entries(FILTERS).map(([value, label]) => h("option", { value, selected: value === this.upTo }, label)));
    this.look = button("Look for copies", () => this.#look(), { icon: "refresh" });
    this.list = button("May go", () => mayGo(this.review, () => this.draw()), { icon: "copy" });
    this.skipped = button("Skipped", () => showSkipped(this.found.skipped), { icon: "warning", class: "quiet" });
    this.tools = h("div", { class: "bar push" }, this.skipped, this.list, this.filter, this.look);
    this.fresh = h("div", { class: "notice", hidden: true }, h("p", null, "New pictures have come that were not compared yet."), button("Look for copies", () => this.#look(), { class: "small" }));
    this.notices = h("div", { class: "stack notices" }, this.fresh);
    this.stage = h("section", { class: "set", "aria-label": "Set of copies" });
    this.strip = h("div", { class: "strip" });
  }

  async begin() {
    const heading = h("h1", null, "Duplicates");
    this.main.append(heading);
    const { library, service, pictures } = await status();
    Object.assign(this, { service, pictures, review: new Review(library) });
    this.main.append(h("div", { class: "head" }, heading, h("div", { class: "reviewed" }, this.count, this.bar), this.tools), this.notices, this.stage, this.strip);
    // Before anything is seen: whoever sees a set may press a key.
    this.sets = [];
    live.addEventListener("job", ({ detail }) => detail.kind === "duplicates" && this.#follow(detail), { signal: this.signal });
    addEventListener("keydown", (event) => this.#key(event), { signal: this.signal });
    addEventListener("keyup", (event) => event.key === "f" && this.over?.flip(false), { signal: this.signal });
    await this.load();
    const job = await activeJob("duplicates", this.signal).catch(() => null);
    if (job) this.#follow(job);
  }

  /** The query of the address has changed. */
  async turn(query) {
    this.upTo = query.get("up_to") in FILTERS ? query.get("up_to") : "near";
    this.filter.value = this.upTo;
    await this.load().catch(complain);
  }

  async load() {
    this.sets = [];
    await this.#more();
    this.at = Math.max(0, this.sets.findIndex((set) => !this.review.of(set)));
    this.choose();
  }

  async #more() {
    this.found = await get("/v1/duplicates", { query: { up_to: this.upTo, offset: this.sets.length, limit: PAGE }, signal: this.signal });
    this.total = this.found.total;
    this.sets.push(...this.found.sets);
  }

  get set() {
    return this.sets[this.at];
  }

  /** Begin with the set one is at. */
  choose() {
    const { set } = this;
    if (set) {
      const kept = set.files.findIndex((file) => file.path === this.review.of(set)?.keep);
      this.state = { chosen: Math.max(0, kept), also: new Set(set.stays) };
      this.#fetchItems();
    }
    this.draw();
  }

  async #fetchItems() {
    const near = this.sets.slice(this.at, this.at + 2).flatMap((set) => set.files.map((file) => file.id));
    const wanted = [...new Set(near)].filter((id) => !this.items.has(id));
    const { set } = this;
    await Promise.all(
      wanted.map(async (id) => {
        const item = await get(`/v1/pictures/${id}`, { signal: this.signal }).catch(() => null);
        if (item) this.items.set(id, item);
      }),
    );
    if (wanted.length && set === this.set && this.mode === "side" && !this.signal.aborted) this.draw();
  }

  draw() {
    const done = this.sets.filter((set) => this.review.of(set)).length;
    const going = this.review.going.length;
    this.count.textContent = this.total ? `${number(done)} of ${number(this.total)} reviewed` : "";
    this.bar.value = this.total ? done / this.total : 0;
    this.bar.hidden = !this.total;
    this.list.hidden = going === 0;
    this.list.lastChild.textContent = `${counted(going, "file")} may go`;
    this.skipped.hidden = !this.found.skipped?.length;
    this.skipped.lastChild.textContent = `${number(this.found.skipped?.length ?? 0)} skipped`;
    this.tools.hidden = !this.found.examined && !this.total;
    this.fresh.hidden = this.found.examined || !this.total || this.look.disabled;
    this.over = null;
    if (!this.set) {
      this.strip.replaceChildren();
      this.stage.replaceChildren(this.#nothing());
      return;
    }
    const held = this.stage.contains(document.activeElement) && document.activeElement.getAttribute("role") === "radio";
    this.stage.replaceChildren(this.#heading(), this.#pictures());
    if (held) this.stage.querySelector('[role="radio"][aria-checked="true"]')?.focus({ preventScroll: true });
    this.strip.replaceChildren(filmstrip(this.sets, this.at, this.review, (at) => this.go(at)));
    const now = this.strip.querySelector("[aria-current]");
    if (now) now.parentElement.scrollLeft = now.offsetLeft - (now.parentElement.clientWidth - now.offsetWidth) / 2;
  }

  #nothing() {
    if (!this.pictures) {
      return empty({ icon: "library", title: "The library is empty", text: "Add a folder of pictures first; then copies can be looked for.", actions: [h("a", { class: "button primary", href: href("/jobs") }, "Add a folder")] });
    }
    if (!this.found.examined && !this.total) {
      return empty({ icon: "duplicates", title: "Not looked for yet", text: "imgindex can compare your pictures pixel by pixel, and name the best copy of each. Nothing is deleted, ever.", actions: [button("Look for copies", () => this.#look(), { class: "primary" })] });
    }
    const all = this.upTo === "near";
    return empty({ icon: "check", title: all ? "No copies" : "None of this kind", text: all ? "No picture is there twice." : "There may be copies of another kind.", actions: all ? [] : [h("a", { class: "button", href: href("/duplicates") }, "All copies")] });
  }

  #heading() {
    const verdict = this.review.of(this.set);
    const said = { kept: verdict?.moved ? "put aside" : "chosen", distinct: "not duplicates" }[verdict?.verdict];
    return h(
      "div",
      { class: "head set-head" },
      h("h2", null, `Set ${number(this.at + 1)}`, h("span", { class: "count" }, ` of ${number(this.total)} · ${counted(this.set.files.length, "file")}`)),
      said && h("span", { class: "tag good" }, said),
      this.#actions(),
      h("div", { class: "split", role: "group", "aria-label": "How to compare" }, Object.entries(MODES).map(([mode, label]) => button(label, () => this.turnMode(mode), { class: "small", "aria-pressed": String(mode === this.mode) }))),
    );
  }

  #pictures() {
    if (this.mode === "slider") return slider(this.set, this.state.chosen);
    if (this.mode === "flicker") {
      this.over = flicker(this.set, this.state.chosen);
      return this.over.element;
    }
    return sideBySide(this.set, {
      state: this.state,
      items: this.items,
      onchoose: (at) => this.pick(at),
      onkeep: (path) => {
        if (!this.state.also.delete(path)) this.state.also.add(path);
        this.draw();
      },
    });
  }

  #actions() {
    const { going } = this;
    const keep = this.service.aside ? `Keep, put ${number(going.length)} aside` : `Keep, ${number(going.length)} may go`;
    return h(
      "div",
      { class: "bar set-actions" },
      button("Previous", () => this.go(this.at - 1), { icon: "left", bare: true, disabled: this.at === 0, title: "Previous (up)" }),
      button(keep, () => this.keep(), { icon: "check", class: "primary", disabled: going.length === 0, title: "K" }),
      button("Not copies", () => this.distinct(), { icon: "close", disabled: this.ids.length < 2, title: this.ids.length < 2 ? "They hold the same bytes" : "N" }),
      button("Next", () => this.go(this.at + 1), { icon: "right", bare: true, disabled: this.at >= this.total - 1, title: "Next (down)" }),
    );
  }

  get ids() {
    return [...new Set(this.set.files.map((file) => file.id))];
  }

  get going() {
    return this.set.files.filter((file, at) => at !== this.state.chosen && !this.state.also.has(file.path)).map((file) => file.path);
  }

  pick(at) {
    if (at < 0 || at >= this.set.files.length) return;
    this.state.chosen = at;
    this.draw();
    if (this.mode === "side") this.stage.querySelector(".copy.chosen")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    announce(`${this.set.files[at].path.split(/[\\/]/).at(-1)} stays`);
  }

  turnMode(mode) {
    this.mode = mode;
    this.draw();
    this.stage.querySelector(`.split [aria-pressed="true"]`)?.focus();
  }

  async go(to) {
    if (to < 0 || to >= this.total) return;
    try {
      while (to >= this.sets.length) await this.#more();
    } catch (error) {
      complain(error);
      return;
    }
    this.at = to;
    this.choose();
    announce(`Set ${to + 1} of ${this.total}: ${counted(this.set.files.length, "file")}, best is ${this.set.why}`);
  }

  // To the next set that nothing was said of.
  async #onward() {
    for (let to = this.at + 1; to < this.total; to += 1) {
      if (to >= this.sets.length) await this.#more();
      if (!this.review.of(this.sets[to])) return this.go(to);
    }
    this.draw();
    if (this.sets.every((set) => this.review.of(set))) toast(`All ${counted(this.total, "set")} reviewed`);
    return null;
  }

  async keep() {
    const { set, going } = this;
    const keep = set.files[this.state.chosen].path;
    if (!going.length) return;
    if (!this.service.aside) {
      this.review.put(set, { verdict: "kept", keep, going });
      this.#say(`${counted(going.length, "file")} may go`, { undo: () => this.#backTo(set) });
      await this.#onward();
      return;
    }
    if (!this.sure) {
      this.sure = await confirm("Put the other files aside?", { text: "They are moved to the folder that the service was started with, and leave the library. Nothing is deleted. You are asked this once.", yes: "Put aside" });
      if (!this.sure) return;
    }
    try {
      const tidied = await post("/v1/duplicates/aside", { keep, files: going });
      this.review.put(set, { verdict: "kept", keep, going, moved: true });
      const where = tidied.moves[0]?.target?.replace(/[\\/][^\\/]*$/, "");
      if (tidied.moves.length) this.#say(`${counted(tidied.moves.length, "file")} put aside in ${where}`);
      for (const { path, reason } of tidied.skipped) toast(`${path} stays: ${reason}`, { bad: true });
      await this.#onward();
    } catch (error) {
      complain(error);
    }
  }

  async distinct() {
    const { set, ids } = this;
    if (ids.length < 2) {
      toast("These files hold the same bytes: they are duplicates");
      return;
    }
    try {
      const decision = await post("/v1/decisions", { kind: "distinct", pictures: ids });
      this.review.put(set, { verdict: "distinct", number: decision.number });
      this.#say("Not duplicates; that holds in every later run", {
        undo: async () => {
          await takeBack(decision.number);
          this.#backTo(set);
        },
      });
      await this.#onward();
    } catch (error) {
      complain(error);
    }
  }

  // Whoever reviews quickly needs the last notice only.
  #say(text, options) {
    this.unsay?.();
    this.unsay = toast(text, options);
  }

  #backTo(set) {
    this.review.drop(set);
    const at = this.sets.indexOf(set);
    if (at < 0 || this.signal.aborted) return;
    this.at = at;
    this.choose();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input:not([type=checkbox]), select, textarea")) return;
    if (!this.set) return;
    if (event.key === "f") {
      if (event.repeat) return;
      if (this.mode === "flicker") this.over.flip(true);
      else this.turnMode("flicker");
    } else {
      const does = {
        ArrowLeft: () => this.pick(this.state.chosen - 1),
        ArrowRight: () => this.pick(this.state.chosen + 1),
        ArrowDown: () => this.go(this.at + 1),
        ArrowUp: () => this.go(this.at - 1),
        j: () => this.go(this.at + 1),
        k: () => this.keep(),
        n: () => this.distinct(),
        s: () => this.turnMode("slider"),
        Escape: () => this.turnMode("side"),
      }[event.key];
      if (!does) return;
      does();
    }
    event.preventDefault();
  }

  async #look() {
    try {
      await startJob("duplicates");
    } catch (error) {
      complain(error);
    }
  }

  #follow(job) {
    if (this.followed === job.id || !isActive(job)) return;
    this.followed = job.id;
    this.look.disabled = true;
    const shown = jobProgress(job, {
      signal: this.signal,
      ended: async (now) => {
        shown.remove();
        this.look.disabled = false;
        if (now.state === "failed") complain(now.problem ?? new Error("Looking for copies failed"));
        await this.load().catch(complain);
        announce(counted(this.total, "set"));
      },
    });
    this.notices.append(shown);
  }
}

/**
 * Show the copies.
 * @param {HTMLElement} main
 * @param {{query: URLSearchParams, signal: AbortSignal}} context
 */
export async function show(main, context) {
  main.classList.add("duplicates");
  const review = new Duplicates(main, context);
  await review.begin();
  return ({ query }) => review.turn(query);
}
