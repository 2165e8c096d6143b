/** What of the map is in view: a place is on the screen at `scale * place + (x, y)`. */

const FLIGHT = 520; // ms
const GLIDE = 75; // ms in which a zoom comes to a third of its way
const DRAG = 240; // ms in which a throw loses two thirds of its speed
const SLOWEST = 0.02; // px/ms

/** Moves by drags, throws, zooms and flights; `step` takes it on from frame to frame. */
export class Camera {
  /** @param {{still: () => boolean, moved: () => void}} options `still`: no motion of its own */
  constructor({ still, moved }) {
    Object.assign(this, { still, moved, scale: 1, x: 0, y: 0, width: 1, height: 1, least: 1, most: 1 });
    this.bounds = { left: 0, top: 0, right: 1, bottom: 1 };
    this.insets = { left: 0, top: 0, right: 0, bottom: 0 };
    this.stop();
  }

  /** Whether it moves of itself. */
  get moving() {
    return Boolean(this.flight || this.zoom || this.throw);
  }

  /** End all motion. */
  stop() {
    this.flight = this.zoom = this.throw = null;
  }

  /** A place of the screen in the map's unit. */
  place(left, top) {
    return [(left - this.x) / this.scale, (top - this.y) / this.scale];
  }

  /** What is in view, in the map's unit, and so many pixels around it. */
  box(more = 0) {
    const [left, top] = this.place(-more, -more), [right, bottom] = this.place(this.width + more, this.height + more);
    return { left, top, right, bottom };
  }

  /** The view that has a box of the map in its middle. */
  framed({ left, top, right, bottom }, most = this.most) {
    const { insets } = this, edge = Math.min(this.width, this.height) * 0.05 + 16;
    const wide = Math.max(this.width - insets.left - insets.right - 2 * edge, 40);
    const high = Math.max(this.height - insets.top - insets.bottom - 2 * edge, 40);
    const scale = Math.min(wide / Math.max(right - left, 1e-9), high / Math.max(bottom - top, 1e-9), most);
    return this.centred((left + right) / 2, (top + bottom) / 2, scale);
  }

  /** The view that has a place in its middle. */
  centred(x, y, scale = this.scale) {
    const [left, top] = this.middle();
    return { scale, x: left - scale * x, y: top - scale * y };
  }

  /** The middle of what no panel covers, on the screen. */
  middle() {
    const { insets } = this;
    return [(this.width + insets.left - insets.right) / 2, (this.height + insets.top - insets.bottom) / 2];
  }

  /** Be there at once. */
  set(view) {
    this.stop();
    this.#put(view.scale, view.x, view.y);
  }

  /** Move there. */
  fly(view) {
    if (this.still()) return this.set(view);
    this.stop();
    this.flight = { from: { scale: this.scale, x: this.x, y: this.y }, to: view, begun: performance.now() };
    this.moved();
  }

  /** Move by pixels at once. */
  drag(right, down) {
    this.stop();
    this.#put(this.scale, this.x + right, this.y + down);
  }

  /** Move on at a speed in px/ms, which fades. */
  fling(right, down) {
    if (this.still() || Math.hypot(right, down) < 4 * SLOWEST) return;
    this.throw = { right, down };
    this.moved();
  }

  /** Scale about a place of the screen; smoothly unless `now`. */
  scaleBy(factor, left, top, now = false) {
    this.flight = this.throw = null;
    const from = this.zoom && !now ? this.zoom.goal : this.scale;
    const goal = Math.max(this.least, Math.min(this.most, from * factor));
    if (now || this.still()) return this.#about(goal, left, top);
    this.zoom = { goal, left, top };
    this.moved();
  }

  /** Go on moving; `now` and `gone` (since the last frame) in ms. */
  step(now, gone) {
    if (this.flight) this.#fly(now);
    if (this.zoom) {
      const { goal, left, top } = this.zoom, rest = Math.log(goal / this.scale);
      const near = Math.abs(rest) < 0.002;
      this.#about(near ? goal : this.scale * Math.exp(rest * (1 - Math.exp(-gone / GLIDE))), left, top);
      if (near) this.zoom = null;
    }
    if (this.throw) {
      const { right, down } = this.throw, kept = Math.exp(-gone / DRAG);
      this.#put(this.scale, this.x + right * gone, this.y + down * gone);
      this.throw = Math.hypot(right, down) * kept < SLOWEST ? null : { right: right * kept, down: down * kept };
    }
  }

  #about(scale, left, top) {
    const real = scale / this.scale;
    this.#put(scale, left - real * (left - this.x), top - real * (top - this.y));
  }

  // The middle of the window moves straight over the map, so that both ends of a flight fit.
  #fly(now) {
    const { from, to, begun } = this.flight;
    const done = Math.min(1, (now - begun) / FLIGHT), eased = done < 0.5 ? 4 * done ** 3 : 1 - (2 - 2 * done) ** 3 / 2;
    if (done === 1) {
      this.flight = null;
      return this.#put(to.scale, to.x, to.y);
    }
    const [left, top] = this.middle();
    const scale = from.scale * (to.scale / from.scale) ** eased;
    const part = Math.abs(to.scale / from.scale - 1) < 1e-3 ? eased : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
    const along = (middle, axis) => {
      const [start, end] = [from, to].map((view) => (middle - view[axis]) / view.scale);
      return middle - scale * (start + Math.max(0, part) * (end - start));
    };
    this.#put(scale, along(left, "x"), along(top, "y"));
  }

  // Something of the map stays in the middle of the window.
  #put(scale, x, y) {
    const [left, top] = this.middle(), { bounds } = this;
    this.scale = scale;
    this.x = Math.max(left - scale * bounds.right, Math.min(left - scale * bounds.left, x));
    this.y = Math.max(top - scale * bounds.bottom, Math.min(top - scale * bounds.top, y));
    this.moved();
  }
}
