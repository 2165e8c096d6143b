/** Pointers, wheel and keys on the map. */

const STILL = 5; // px that a click may move
const TWICE = 300; // ms between the clicks of a double click
const RECENT = 80; // ms of a drag that give its speed
const WHEEL = 0.0016; // of the logarithm of the scale a pixel
const PINCHED = 0.01; // the same where fingers pinch on a touchpad
const STRIDE = 90; // px that an arrow moves

/**
 * Move the camera as people ask.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./map-camera.js").Camera} camera
 * @param {object} on what else is asked for:
 *   `tool()` answers whether drags draw an outline; `draw(phase, x, y, event)` with the phases
 *   "begin", "move", "end" and "cancel"; `hover(x, y)`, `leave()`; `click(x, y, event)` answers
 *   whether it did something, so that no double click can follow; `settled(x, y)`: a click stayed
 *   single; `key(event)` answers whether it was its key; `whole()`
 * @param {AbortSignal} signal
 */
export function listenTo(canvas, camera, on, signal) {
  const down = new Map();
  let trail = [], over = [], moved = false, drawing = false, pinch = null, clicked = null, timer;
  const listen = (name, act, options) => canvas.addEventListener(name, act, { signal, ...options });
  const spot = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const pair = () => {
    const [[ax, ay], [bx, by]] = [...down.values()];
    return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.max(20, Math.hypot(ax - bx, ay - by)) };
  };

  listen("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [x, y] = spot(event);
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    camera.stop();
    on.leave();
    down.set(event.pointerId, [x, y]);
    trail = [[performance.now(), x, y]];
    if (down.size === 1) {
      moved = false;
      drawing = on.tool() || event.shiftKey;
      if (drawing) on.draw("begin", x, y, event);
    } else if (down.size === 2) {
      moved = true;
      if (drawing) on.draw("cancel", x, y, event);
      drawing = false;
      pinch = pair();
    }
  });

  listen("pointermove", (event) => {
    const [x, y] = spot(event), before = down.get(event.pointerId);
    if (!before) {
      // Browsers tell of a move, too, where only what lies below the pointer moved.
      if (event.pointerType !== "touch" && (x !== over[0] || y !== over[1])) on.hover(x, y);
      over = [x, y];
      return;
    }
    const [, startX, startY] = trail[0];
    if (!moved && Math.hypot(x - startX, y - startY) < STILL) return;
    moved = true;
    down.set(event.pointerId, [x, y]);
    if (down.size > 1) {
      const next = pair();
      camera.drag(next.x - pinch.x, next.y - pinch.y);
      camera.scaleBy(next.apart / pinch.apart, next.x, next.y, true);
      pinch = next;
    } else if (drawing) {
      for (const one of event.getCoalescedEvents?.() ?? []) on.draw("move", ...spot(one), event);
      on.draw("move", x, y, event);
    } else {
      canvas.classList.add("dragged");
      camera.drag(x - before[0], y - before[1]);
      trail.push([performance.now(), x, y]);
    }
  });

  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    canvas.classList.remove("dragged");
    const [x, y] = spot(event);
    if (down.size) {
      trail = [[performance.now(), ...[...down.values()][0]]];
      return;
    }
    if (event.type === "pointercancel") {
      if (drawing) on.draw("cancel", x, y, event);
    } else if (!moved) {
      if (drawing) on.draw("cancel", x, y, event);
      click(x, y, event);
    } else if (drawing) on.draw("end", x, y, event);
    else throwOn(x, y);
  };
  listen("pointerup", up);
  listen("pointercancel", up);
  listen("pointerleave", () => on.leave());

  function throwOn(x, y) {
    const now = performance.now();
    const [since, fromX, fromY] = trail.find(([time]) => now - time < RECENT) ?? [now, x, y];
    if (now - since > 10) camera.fling((x - fromX) / (now - since), (y - fromY) / (now - since));
  }

  function click(x, y, event) {
    const now = performance.now();
    clearTimeout(timer);
    if (clicked && now - clicked.time < TWICE && Math.hypot(x - clicked.x, y - clicked.y) < 4 * STILL) {
      clicked = null;
      camera.scaleBy(event.altKey ? 0.4 : 2.5, x, y);
      return;
    }
    if (on.click(x, y, event)) return;
    clicked = { time: now, x, y };
    timer = setTimeout(() => on.settled(x, y), TWICE);
  }

  listen("wheel", (event) => {
    event.preventDefault();
    on.leave();
    const unit = [1, 18, camera.height][event.deltaMode];
    const far = Math.max(-240, Math.min(240, event.deltaY * unit));
    camera.scaleBy(Math.exp(-far * (event.ctrlKey ? PINCHED : WHEEL)), ...spot(event), event.ctrlKey);
  }, { passive: false });

  const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  listen("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = arrows[event.key];
    if (on.key(event)) event.preventDefault();
    else if (arrow) {
      event.preventDefault();
      const from = camera.flight?.to ?? camera;
      camera.fly({ scale: from.scale, x: from.x + arrow[0] * STRIDE, y: from.y + arrow[1] * STRIDE });
    } else if (event.key === "+" || event.key === "=") camera.scaleBy(1.6, ...camera.middle());
    else if (event.key === "-" || event.key === "_") camera.scaleBy(1 / 1.6, ...camera.middle());
    else if (event.key === "0") on.whole();
  });
}
