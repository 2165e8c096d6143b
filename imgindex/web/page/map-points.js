/** The pictures' places on the map, and who is where. */

const BYTES = 36; // of one picture in what the service sends
const PER_CELL = 6; // pictures in a cell of the grid, on average

/** Where each picture lies; picture i is the i-th most important one. */
export class Points {
  /**
   * @param {ArrayBuffer} buffer as `/v1/map/points` sends it
   * @param {Array<{id: number}>} groups of the map
   */
  constructor(buffer, groups) {
    const count = Math.floor(buffer.byteLength / BYTES);
    const floats = (part) => new Float32Array(buffer, 4 * part * count, count);
    this.count = count;
    this.x = floats(0);
    this.y = floats(1);
    this.room = floats(2);
    this.strength = floats(4);
    this.ids = new Uint8Array(buffer, 20 * count, 16 * count);
    this.setGroups(new Int32Array(buffer, 12 * count, count), groups);
    this.right = largest(this.x);
    this.bottom = largest(this.y);
    this.byRoom = Uint32Array.from(this.x.keys()).sort((one, other) => this.room[other] - this.room[one]);
    this.#sort();
  }

  /** Which group each picture belongs to, as a place in the list of groups (`groups.length`: none). */
  setGroups(ids, groups) {
    const places = new Map(groups.map((group, place) => [group.id, place]));
    this.group = Uint16Array.from(ids, (id) => places.get(id) ?? groups.length);
  }

  /** The room that a share of the pictures has at most, in the map's unit. */
  roomOf(share) {
    return this.count ? this.room[this.byRoom[Math.min(this.count - 1, Math.floor((1 - share) * this.count))]] : 1;
  }

  /** The pictures of a group, by its place. */
  of(place) {
    const found = [];
    for (let at = 0; at < this.count; at++) if (this.group[at] === place) found.push(at);
    return found;
  }

  /** Where most of a group lies: stragglers far away do not count. */
  extent(place) {
    const some = this.of(place), cut = Math.floor(some.length * 0.02);
    const [xs, ys] = [this.x, this.y].map((axis) => some.map((at) => axis[at]).sort((one, other) => one - other));
    return { left: xs[cut], right: xs.at(-1 - cut), top: ys[cut], bottom: ys.at(-1 - cut) };
  }

  /** The 32 hex digits of a picture. */
  id(at) {
    let text = "";
    for (let byte = 16 * at; byte < 16 * (at + 1); byte++) text += this.ids[byte].toString(16).padStart(2, "0");
    return text;
  }

  /** Where a picture of these 32 hex digits is; -1 where it is not on the map. */
  find(id) {
    const bytes = Uint8Array.from({ length: 16 }, (_, at) => parseInt(id.slice(2 * at, 2 * at + 2), 16));
    for (let at = 0; at < this.count; at++) {
      let same = 0;
      while (same < 16 && this.ids[16 * at + same] === bytes[same]) same++;
      if (same === 16) return at;
    }
    return -1;
  }

  // Cells hold their pictures in order of importance, one cell after the other in `order`.
  #sort() {
    const size = Math.max(this.right, this.bottom, 1e-9);
    this.cell = Math.max(Math.sqrt((Math.max(this.right, size / 50) * Math.max(this.bottom, size / 50) * PER_CELL) / Math.max(this.count, 1)), size / 2000);
    this.columns = Math.floor(this.right / this.cell) + 1;
    this.rows = Math.floor(this.bottom / this.cell) + 1;
    const starts = new Uint32Array(this.columns * this.rows + 1);
    const cellOf = (at) => Math.floor(this.y[at] / this.cell) * this.columns + Math.floor(this.x[at] / this.cell);
    for (let at = 0; at < this.count; at++) starts[cellOf(at) + 1]++;
    for (let cell = 1; cell < starts.length; cell++) starts[cell] += starts[cell - 1];
    const next = starts.slice();
    this.order = new Uint32Array(this.count);
    for (let at = 0; at < this.count; at++) this.order[next[cellOf(at)]++] = at;
    this.starts = starts;
  }

  /**
   * Visit the pictures of a box, given in the map's unit, and some beside it.
   * @param {{left: number, top: number, right: number, bottom: number}} box
   * @param {(at: number) => void} visit
   */
  within({ left, top, right, bottom }, visit) {
    const column = (x) => Math.max(0, Math.min(this.columns - 1, Math.floor(x / this.cell)));
    const row = (y) => Math.max(0, Math.min(this.rows - 1, Math.floor(y / this.cell)));
    const from = column(left), to = column(right);
    for (let line = row(top), last = row(bottom); line <= last; line++) {
      const end = this.starts[line * this.columns + to + 1];
      for (let place = this.starts[line * this.columns + from]; place < end; place++) visit(this.order[place]);
    }
  }

  /**
   * The picture nearest to a place.
   * @param {number} x
   * @param {number} y
   * @param {number} reach how far it may be, in the map's unit
   * @param {(at: number) => boolean} counts
   * @returns {number} -1 where there is none
   */
  nearest(x, y, reach, counts) {
    let best = -1, least = reach * reach;
    this.within({ left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }, (at) => {
      const far = (this.x[at] - x) ** 2 + (this.y[at] - y) ** 2;
      if (far <= least && counts(at)) {
        best = at;
        least = far;
      }
    });
    return best;
  }

  /**
   * Some pictures around one, the nearest first.
   * @param {number} centre
   * @param {number} most
   * @param {(at: number) => boolean} counts
   * @returns {number[]}
   */
  beside(centre, most, counts) {
    const x = this.x[centre], y = this.y[centre], reach = this.cell * (1 + Math.sqrt((4 * most) / PER_CELL));
    const far = (at) => (this.x[at] - x) ** 2 + (this.y[at] - y) ** 2, found = [];
    this.within({ left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }, (at) => at !== centre && counts(at) && found.push(at));
    return found.sort((one, other) => far(one) - far(other)).slice(0, most);
  }

  /**
   * The pictures inside an outline.
   * @param {number[][]} outline corners [x, y] in the map's unit
   * @param {(at: number) => boolean} counts
   * @returns {number[]}
   */
  inside(outline, counts) {
    const found = [];
    this.within(around(outline), (at) => {
      if (counts(at) && encloses(outline, this.x[at], this.y[at])) found.push(at);
    });
    return found;
  }
}

/** The box around places [x, y]. */
export function around(places) {
  const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (const [x, y] of places) {
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y);
  }
  return box;
}

// A ray to the right crosses the outline an odd number of times.
function encloses(outline, x, y) {
  let odd = false;
  for (let one = 0, other = outline.length - 1; one < outline.length; other = one++) {
    const [ax, ay] = outline[one], [bx, by] = outline[other];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function largest(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}
