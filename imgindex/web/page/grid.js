/** A grid of pictures that stays quick at a hundred thousand: only the rows in sight exist. */

import { thumbnail } from "./api.js";
import { announce, basename, button, h } from "./dom.js";
import { look, lookControls, sizeFor } from "./grid-look.js";
import { newRow, paint, reached, say } from "./grid-rows.js";
import { Pages } from "./pages.js";
import { keptPlace } from "./router.js";
import { Selection } from "./selection.js";

const GAP = 6;
const AHEAD = 0.75; // windows above and below that are kept ready
const SETTLED = 90; // ms without a jump until pictures are fetched
const LONGEST_RANGE = 10_000;
const LONG_PRESS = 450; // ms

const nameOf = (item) => basename(item.path ?? item.paths?.[0] ?? item.id);

/**
 * A grid; also a list for the viewer (`length`, `id`, `focus`).
 */
export class Grid {
  /**
   * @param {HTMLElement} host empty; the grid fills its width and the page scrolls
   * @param {object} options
   * @param {import("./pages.js").Load} options.load
   * @param {string} options.label
   * @param {(item) => string} [options.name] what a picture is called
   * @param {(item) => string} [options.note] a few characters in the corner
   * @param {Array<{label: string, icon: string, act: (item, index) => any, key?: string}>} [options.buttons]
   *   on the cell under the pointer or the focus
   * @param {Array<object>} [options.actions] of the selection, see `Selection`
   * @param {(index: number) => void} [options.onopen]
   * @param {(grid: Grid) => void} [options.onload] after each page
   * @param {(error: Error) => void} [options.onfail]
   * @param {number} [options.size] items a page
   * @param {AbortSignal} options.signal
   */
  constructor(host, options) {
    Object.assign(this, {
      host,
      options,
      rows: new Map(),
      pool: [],
      active: 0,
      lastTop: 0,
    });
    host.classList.add("grid");
    host.setAttribute("aria-label", options.label);
    host.setAttribute("aria-multiselectable", "true");
    this.selection = new Selection(options.actions ?? [], () => this.#refresh());
    host.after(this.selection.bar);
    this.tools = h("div", { class: "cell-tools" }, button("Select", () => this.#pick(this.#toolsAt()), { icon: "check", bare: true, class: "pick" }), (options.buttons ?? []).map((one) => button(one.label, () => this.#press(one, this.#toolsAt()), { icon: one.icon, bare: true })));
    this.#listen();
    this.reset(options.load);
  }

  /** Show another list. */
  reset(load = this.options.load) {
    this.options.load = load;
    this.pages?.close();
    this.pages = new Pages(load, {
      size: this.options.size,
      onchange: () => {
        this.#measure();
        this.options.onload?.(this);
        if (this.restore && this.pages.length) this.#restorePlace();
      },
      onfail: (error) => this.options.onfail?.(error),
    });
    this.restore = keptPlace();
    this.active = 0;
    this.host.setAttribute("aria-busy", "true");
    this.#measure();
    this.pages.want(0, 0);
  }

  /** Fetch everything anew, staying where one is. */
  reload() {
    this.pages.renew();
    this.#measure();
  }

  /** Take pictures out that are gone. */
  remove(ids) {
    this.selection.drop(ids);
    this.reload();
  }

  get length() {
    return this.pages.length;
  }

  get growing() {
    return this.pages.growing;
  }

  /** The items that are here; not all there are. */
  get loaded() {
    return [...this.pages.pages.values()].flat();
  }

  /** The id of the picture at a place, fetched if need be; undefined behind the end. */
  async id(index) {
    const item = await this.pages.fetch(index);
    return item?.id;
  }

  /** Bring a place into sight and put the focus on it. */
  focus(index) {
    if (!this.length) return;
    this.active = Math.max(0, Math.min(this.length - 1, index));
    this.#reveal(Math.floor(this.active / this.columns));
    this.#render();
    this.#cell(this.active)?.focus({ preventScroll: true });
  }

  /** The controls of how the grid looks: for the head of a view. */
  controls() {
    return lookControls(this.host, () => this.#measure());
  }

  #listen() {
    const { host, options: { signal } } = this;
    const once = (act) => {
      let due = false;
      return () => {
        if (due) return;
        due = true;
        requestAnimationFrame(() => {
          due = false;
          if (!signal.aborted) act();
        });
      };
    };
    addEventListener("scroll", once(() => this.#render()), { passive: true, signal });
    const seen = new ResizeObserver(once(() => host.clientWidth !== this.width && this.#measure()));
    seen.observe(host);
    addEventListener("resize", once(() => this.#render()), { signal });
    signal.addEventListener("abort", () => {
      seen.disconnect();
      this.pages.close();
      clearTimeout(this.later);
    });
    host.addEventListener("click", (event) => this.#click(event));
    host.addEventListener("keydown", (event) => this.#keyed(event));
    host.addEventListener("pointerover", (event) => event.pointerType !== "touch" && this.#hover(event.target));
    host.addEventListener("focusin", (event) => {
      const cell = event.target.closest(".cell");
      if (!cell) return;
      this.#activate(Number(cell.dataset.index));
      this.#hover(cell, true);
    });
    host.addEventListener("pointerdown", (event) => this.#touch(event));
    for (const over of ["pointerup", "pointercancel", "pointermove"]) {
      host.addEventListener(over, (event) => {
        if (over !== "pointermove" || Math.hypot(event.clientX - this.pressedX, event.clientY - this.pressedY) > 8) clearTimeout(this.pressing);
      });
    }
    host.addEventListener("contextmenu", (event) => this.touching && event.preventDefault());
  }

  #measure() {
    const { host } = this;
    const before = this.columns && this.width ? this.#firstInSight() : null;
    this.width = host.clientWidth;
    if (!this.width) return;
    this.columns = Math.max(2, Math.round((this.width + GAP) / (look.size + GAP)));
    this.side = (this.width - GAP * (this.columns - 1)) / this.columns;
    this.step = this.side + GAP;
    const count = this.length + (this.growing ? this.columns : 0);
    this.lines = Math.ceil(count / this.columns);
    host.style.height = `${Math.max(0, this.lines * this.step - GAP)}px`;
    host.style.setProperty("--columns", this.columns);
    host.style.setProperty("--side", `${this.side}px`);
    if (this.lines) host.setAttribute("role", "grid");
    else host.removeAttribute("role");
    host.setAttribute("aria-rowcount", this.growing ? -1 : this.lines);
    host.setAttribute("aria-colcount", this.columns);
    const focused = this.host.contains(document.activeElement);
    if (this.shownColumns !== this.columns) {
      for (const row of this.rows.values()) row.element.remove();
      this.rows.clear();
      this.pool = [];
      this.shownColumns = this.columns;
      if (before) this.#scrollTo(Math.floor(before.index / this.columns), before.within);
    }
    this.#render(true);
    if (focused && !this.host.contains(document.activeElement)) this.focus(this.active);
  }

  #firstInSight() {
    const within = this.#top() - this.#cover();
    if (within >= 0) return null;
    const row = Math.floor(-within / this.step);
    return { index: row * this.columns, within: -within - row * this.step };
  }

  #scrollTo(row, within = 0) {
    scrollTo(0, this.#top() + scrollY - this.#cover() + row * this.step + within);
  }

  #top() {
    return this.host.getBoundingClientRect().top;
  }

  // What covers the upper edge of the window: the header.
  #cover() {
    this.header ??= document.querySelector(".top");
    return this.header.offsetHeight + GAP;
  }

  #restorePlace() {
    if (this.pages.growing && this.lines * this.step < this.restore) {
      this.pages.want(this.length, this.length);
      return;
    }
    const place = this.restore;
    this.restore = 0;
    scrollTo(0, place);
  }

  #reveal(row) {
    const top = this.#top() + row * this.step;
    const floor = innerHeight - (this.selection.size ? 72 : 8) - (parseFloat(getComputedStyle(document.body).paddingBottom) || 0);
    if (top < this.#cover()) scrollBy(0, top - this.#cover());
    else if (top + this.side > floor) scrollBy(0, top + this.side - floor);
  }

  // Draw the rows in sight. `anew` fills rows again that are there already.
  #render(anew = false) {
    if (!this.step) return;
    const top = this.#top();
    const ahead = innerHeight * AHEAD;
    const first = Math.max(0, Math.floor((-top - ahead) / this.step));
    const last = Math.min(this.lines - 1, Math.floor((innerHeight - top + ahead) / this.step));
    const jumped = Math.abs(top - this.lastTop) > innerHeight * 0.7;
    this.lastTop = top;
    const held = this.host.contains(document.activeElement) ? Math.floor(this.active / this.columns) : -1;
    for (const [line, row] of this.rows) {
      if ((line < first || line > last) && line !== held) {
        this.rows.delete(line);
        row.element.style.display = "none";
        this.pool.push(row);
      }
    }
    for (let line = first; line <= last; line += 1) {
      const row = this.rows.get(line);
      if (row && !anew && row.full) continue;
      this.#fill(row ?? this.#row(line), line, !jumped);
    }
    if (held >= 0 && anew && this.rows.has(held)) this.#fill(this.rows.get(held), held, true);
    clearTimeout(this.later);
    if (jumped) this.later = setTimeout(() => this.#render(), SETTLED);
    else this.pages.want(first * this.columns, (last + 1) * this.columns - 1);
  }

  #row(line) {
    const row = this.pool.pop() ?? newRow(this.columns);
    if (!row.element.isConnected) this.host.append(row.element);
    row.element.style.display = "";
    this.rows.set(line, row);
    return row;
  }

  #fill(row, line, pictures) {
    row.element.style.transform = `translateY(${line * this.step}px)`;
    row.element.setAttribute("aria-rowindex", line + 1);
    row.full = pictures;
    const size = sizeFor(this.side);
    row.cells.forEach((cell, column) => {
      const index = line * this.columns + column;
      const item = this.pages.item(index);
      const { element } = cell;
      element.hidden = index >= this.length && !(this.growing && index < this.length + this.columns);
      element.dataset.index = index;
      element.tabIndex = index === this.active ? 0 : -1;
      if (!item) row.full = false;
      say(cell, item ? (this.options.name ?? nameOf)(item) : "Loading", (item && this.options.note?.(item)) ?? "", Boolean(item && this.selection.has(item)));
      paint(cell, item ? thumbnail(item.id, size) : null, pictures);
    });
    if (this.pages.item(0)) this.host.removeAttribute("aria-busy");
  }

  #refresh() {
    for (const [line, row] of this.rows) this.#fill(row, line, row.full);
    this.#marked();
  }

  #cell(index) {
    return this.rows.get(Math.floor(index / this.columns))?.cells[index % this.columns].element;
  }

  #activate(index) {
    const before = this.#cell(this.active);
    if (before) before.tabIndex = -1;
    this.active = index;
    const now = this.#cell(index);
    if (now) now.tabIndex = 0;
  }

  // The tools hang on one cell at a time; they never leave one that has the focus for the pointer.
  #hover(target, byFocus = false) {
    const cell = target.closest?.(".cell");
    if (!cell || cell === this.tools.parentElement) return;
    if (!byFocus && this.tools.contains(document.activeElement)) return;
    if (!this.pages.item(Number(cell.dataset.index))) return;
    cell.append(this.tools);
    this.#marked();
  }

  #toolsAt() {
    return Number(this.tools.parentElement.dataset.index);
  }

  #marked() {
    if (!this.tools.parentElement) return;
    const item = this.pages.item(this.#toolsAt());
    this.tools.firstChild.setAttribute("aria-pressed", item ? this.selection.has(item) : false);
  }

  #press({ act }, index) {
    const item = this.pages.item(index);
    if (item) act(item, index);
  }

  #pick(index) {
    const item = this.pages.item(index);
    if (!item) return;
    this.selection.anchor = index;
    this.selection.toggle(item);
  }

  async #range(to) {
    const from = this.selection.anchor ?? this.active;
    this.selection.anchor = from;
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    if (last - first > LONGEST_RANGE) {
      announce("That is too long a range");
      return;
    }
    const items = [];
    for (let index = first; index <= last; index += 1) {
      const item = this.pages.item(index) ?? (await this.pages.fetch(index));
      if (item) items.push(item);
    }
    this.selection.add(items);
  }

  #click(event) {
    const cell = event.target.closest(".cell");
    if (!cell || event.target.closest(".cell-tools")) return;
    if (this.swallow) {
      this.swallow = false;
      return;
    }
    const index = Number(cell.dataset.index);
    if (!this.pages.item(index)) return;
    this.#activate(index);
    if (event.shiftKey) this.#range(index);
    else if (event.ctrlKey || event.metaKey || this.selection.size) this.#pick(index);
    else this.options.onopen?.(index);
  }

  #touch(event) {
    this.touching = event.pointerType === "touch";
    this.swallow = false;
    const cell = event.target.closest(".cell");
    if (!this.touching || !cell) return;
    [this.pressedX, this.pressedY] = [event.clientX, event.clientY];
    clearTimeout(this.pressing);
    this.pressing = setTimeout(() => {
      this.swallow = true;
      this.#pick(Number(cell.dataset.index));
    }, LONG_PRESS);
  }

  #keyed(event) {
    if (event.target.closest(".cell-tools") && (event.key === "Enter" || event.key === " ")) return;
    const { active } = this;
    const to = reached(event.key, this, Math.max(1, Math.floor((innerHeight - this.#cover()) / this.step)));
    const command = event.ctrlKey || event.metaKey;
    if (to !== null && !event.altKey) {
      if (event.shiftKey) {
        this.selection.anchor ??= active;
        this.#range(to);
      }
      this.focus(to);
    } else if (event.key === "Enter") this.options.onopen?.(active);
    else if (event.key === " ") event.shiftKey ? this.#range(active) : this.#pick(active);
    else if (event.key === "Escape" && this.selection.size) this.selection.clear();
    else if (command && event.key.toLowerCase() === "a") this.selection.add(this.loaded);
    else {
      const meant = !command && (this.options.buttons ?? []).find((one) => one.key === event.key);
      if (!meant) return;
      this.#press(meant, active);
    }
    event.preventDefault();
  }
}
