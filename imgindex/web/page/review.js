/** What a person said of sets of copies, remembered in this browser. */

const keyOf = (set) =>
  set.files
    .map((file) => file.path)
    .sort()
    .join("\n");

const read = (name) => {
  try {
    return Object.entries(JSON.parse(localStorage.getItem(name) ?? "{}"));
  } catch {
    return [];
  }
};

/**
 * Verdicts on sets: `{verdict: "kept", keep, going, moved}` or `{verdict: "distinct", number}`.
 * They live in local storage, so that a review goes on where it was left.
 */
export class Review {
  #name;
  #verdicts;

  /** @param {string} library where the library lies: each has a review of its own. */
  constructor(library) {
    this.#name = `imgindex.review:${library}`;
    this.#verdicts = new Map(read(this.#name));
  }

  /** The verdict on a set, or undefined. */
  of(set) {
    return this.#verdicts.get(keyOf(set));
  }

  /** Remember a verdict. */
  put(set, verdict) {
    this.#verdicts.set(keyOf(set), verdict);
    this.#save();
  }

  /** Forget the verdict on a set. */
  drop(set) {
    this.#verdicts.delete(keyOf(set));
    this.#save();
  }

  /** Paths of files that may go and have not been moved. */
  get going() {
    return [...this.#verdicts.values()].flatMap((one) => (one.moved ? [] : (one.going ?? [])));
  }

  /** Forget all that may go. */
  clearGoing() {
    for (const [key, one] of this.#verdicts) if (one.going && !one.moved) this.#verdicts.delete(key);
    this.#save();
  }

  #save() {
    try {
      localStorage.setItem(this.#name, JSON.stringify(Object.fromEntries(this.#verdicts)));
    } catch {
      // a full or forbidden storage only costs the memory of it
    }
  }
}
