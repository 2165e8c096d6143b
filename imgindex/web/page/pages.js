/** A long list, fetched a page at a time. */

const KEPT = 150; // pages; older ones are fetched again if they come back into view

/**
 * @typedef {(offset: number, limit: number, signal: AbortSignal) =>
 *   Promise<{items: object[], total?: number|null, last?: boolean}>} Load
 *   `total` null: unknown, the list ends at the first page that is `last` or short
 */

/** Where the total is known any place of it can be asked for; else it grows at its end. */
export class Pages {
  /**
   * @param {Load} load
   * @param {{size?: number, onchange: () => void, onfail: (error: Error) => void}} options
   */
  constructor(load, { size = 200, onchange, onfail }) {
    Object.assign(this, { load, size, onchange, onfail });
    this.pages = new Map(); // number -> items, in order of use
    this.old = new Set(); // numbers of pages to be fetched anew, shown until then
    this.coming = new Map(); // number -> {stop, done}
    this.total = null;
    this.grown = 0; // how many are known where the total is not
    this.ended = false;
    this.closed = false;
  }

  /** How many there are, as far as is known. */
  get length() {
    return this.total ?? this.grown;
  }

  /** Whether more may come behind the end. */
  get growing() {
    return this.total === null && !this.ended;
  }

  /** The item at a place, if it is here. */
  item(index) {
    return this.pages.get(Math.floor(index / this.size))?.[index % this.size];
  }

  /** The item at a place, fetched if need be; undefined where there is none. */
  async fetch(index) {
    const page = Math.floor(index / this.size);
    if (!this.pages.has(page)) await this.#bring(page);
    return this.item(index);
  }

  /** See to it that these places come, and give up on pages asked for elsewhere. */
  want(first, last) {
    if (this.closed) return;
    const from = Math.floor(Math.max(0, first) / this.size);
    let to = Math.floor(Math.max(0, last) / this.size);
    if (this.total !== null) to = Math.min(to, Math.floor(Math.max(0, this.total - 1) / this.size));
    else if (this.ended || this.coming.size) return;
    else to = Math.min(to, Math.floor(this.grown / this.size));
    for (const [page, { stop, needed }] of this.coming) {
      if (!needed && (page < from || page > to)) stop.abort();
    }
    for (let page = from; page <= to; page += 1) {
      const items = this.pages.get(page);
      if (items && !this.old.has(page)) {
        this.pages.delete(page);
        this.pages.set(page, items);
      } else if (!this.coming.has(page)) this.#bring(page, false).catch(() => {});
    }
    for (const page of this.total === null ? [] : this.pages.keys()) {
      if (this.pages.size <= KEPT) break;
      if (page < from || page > to) this.pages.delete(page);
    }
  }

  /** Fetch everything anew when it is wanted; what is here stays until then. */
  renew() {
    for (const { stop } of this.coming.values()) stop.abort();
    this.coming.clear();
    if (this.total !== null) {
      this.old = new Set(this.pages.keys());
      return;
    }
    this.pages.clear();
    this.grown = 0;
    this.ended = false;
  }

  /** Stop for good. */
  close() {
    this.closed = true;
    for (const { stop } of this.coming.values()) stop.abort();
  }

  async #bring(page, needed = true) {
    const under = this.coming.get(page);
    if (under) {
      under.needed ||= needed;
      return under.done;
    }
    const stop = new AbortController();
    const entry = { stop, needed };
    entry.done = (async () => {
      try {
        const { items, total = null, last = items.length < this.size } = await this.load(page * this.size, this.size, stop.signal);
        if (stop.signal.aborted || this.closed) return;
        this.pages.set(page, items);
        this.old.delete(page);
        this.total = total;
        if (total === null) {
          this.grown = Math.max(this.grown, page * this.size + items.length);
          this.ended ||= last;
        }
      } catch (error) {
        if (stop.signal.aborted || this.closed) return;
        this.ended = true;
        this.onfail(error);
        throw error;
      } finally {
        if (this.coming.get(page) === entry) this.coming.delete(page);
      }
      this.onchange();
    })();
    this.coming.set(page, entry);
    return entry.done;
  }
}
