/** Elements, notices and dialogs. */

import { icon } from "./icons.js";

export { icon };

const PROPERTIES = new Set(["value", "checked", "indeterminate", "textContent"]);

/**
 * Make an element.
 * @param {string} tag
 * @param {object|null} [props] attributes; `class`, `dataset` and `style` (objects; `--names` too),
 *   `onclick` and the like (functions); true sets an empty attribute, false and null none.
 * @param {...(Node|string|number|null|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") {
      for (const [key, one] of Object.entries(value)) {
        if (key.startsWith("--")) element.style.setProperty(key, one);
        else element.style[key] = one;
      }
    } else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * A button.
 * @param {string} label what it does; its accessible name where it shows an icon alone
 * @param {() => void} act
 * @param {{icon?: string, bare?: boolean, class?: string, [attribute: string]: any}} [options]
 *   `bare` shows the icon alone
 */
export function button(label, act, { icon: name, bare = false, ...rest } = {}) {
  return h(
    "button",
    { type: "button", onclick: act, ...(bare && { "aria-label": label, title: label }), ...rest },
    name && icon(name),
    bare ? null : h("span", null, label),
  );
}

const voice = () => document.getElementById("voice");

// A modal dialog makes all else inert, so the notices live in the topmost one.
function place() {
  const open = [...document.querySelectorAll("dialog:modal")];
  const home = open.at(-1) ?? document.body;
  if (voice().parentElement !== home) home.append(voice());
}

let spoken;

/**
 * Tell screen readers, without showing it.
 * @param {string} text
 */
export function announce(text) {
  place();
  const live = document.getElementById("live");
  clearTimeout(spoken);
  live.textContent = "";
  spoken = setTimeout(() => (live.textContent = text), 60);
}

/**
 * A short notice at the edge of the page.
 * @param {string} text
 * @param {{undo?: () => any, action?: {label: string, act: () => any}, bad?: boolean, seconds?: number}} [options]
 *   `undo` adds a button that takes back what was done
 * @returns {() => void} takes the notice away
 */
export function toast(text, { undo, action = undo && { label: "Undo", act: undo }, bad = false, seconds = action || bad ? 9 : 5 } = {}) {
  place();
  let timer;
  const away = () => {
    clearTimeout(timer);
    shown.remove();
  };
  const wait = () => (timer = setTimeout(away, seconds * 1000));
  const shown = h(
    "div",
    { class: bad ? "toast bad" : "toast", onpointerenter: () => clearTimeout(timer), onpointerleave: wait, onfocusin: () => clearTimeout(timer), onfocusout: wait },
    h("p", null, text),
    action &&
      button(action.label, async () => {
        away();
        try {
          await action.act();
        } catch (error) {
          complain(error);
        }
      }, { class: "link" }),
    button("Dismiss", away, { icon: "close", bare: true, class: "quiet round small" }),
  );
  const toasts = document.getElementById("toasts");
  toasts.append(shown);
  while (toasts.children.length > 3) toasts.firstChild.remove();
  wait();
  return away;
}

/** What went wrong, begun as a sentence: the service's own words begin small, for terminals. */
export const said = (error) => {
  const text = error?.detail ?? error?.message ?? error?.title ?? String(error);
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/**
 * Show what went wrong; nothing where it is only that the view was left.
 * @param {Error} error
 */
export function complain(error) {
  if (error?.name !== "AbortError") toast(said(error), { bad: true });
}

/**
 * Open a modal dialog. Escape, the cross and a click beside it close it; the focus goes back.
 * @param {{title: string, body?: any, actions?: Array<{label: string, value?: any, kind?: string, act?: () => any}>, class?: string, bare?: boolean}} options
 *   an action closes with its `value`, or with what `act` answers unless that is false; `bare`
 *   leaves out heading and cross (the title stays its name)
 * @returns {{element: HTMLDialogElement, close: (value?: any) => void, result: Promise<any>}}
 *   `result` is undefined where it was dismissed
 */
export function dialog({ title, body, actions = [], class: style = "", bare = false }) {
  let answer;
  const back = document.activeElement;
  const close = (value) => {
    answer = value;
    element.close();
  };
  const press = async (action) => {
    try {
      const value = action.act ? await action.act() : action.value;
      if (value !== false) close(value);
    } catch (error) {
      complain(error);
    }
  };
  const element = h(
    "dialog",
    { class: `dialog ${style}`, "aria-label": title },
    !bare && h("header", null, h("h2", null, title), button("Close", () => close(), { icon: "close", bare: true, class: "quiet round" })),
    h("div", { class: "dialog-body" }, body),
    actions.length > 0 &&
      h("footer", null, actions.map((action) => button(action.label, () => press(action), { class: action.kind ?? "" }))),
  );
  let pressed = null;
  element.addEventListener("pointerdown", (event) => (pressed = event.target));
  element.addEventListener("click", (event) => event.target === element && pressed === element && close());
  const result = new Promise((resolve) => {
    element.addEventListener("close", () => {
      element.remove();
      place();
      if (back?.isConnected) back.focus({ preventScroll: true });
      resolve(answer);
    });
  });
  document.body.append(element);
  // Removing the dialog first would take the notices along.
  element.addEventListener("close", () => document.body.append(voice()), { capture: true, once: true });
  const root = document.documentElement;
  if (!document.querySelector("dialog:modal")) root.style.setProperty("--scrollbar", `${innerWidth - root.clientWidth}px`);
  element.showModal();
  place();
  return { element, close, result };
}

/**
 * Ask yes or no.
 * @param {string} title
 * @param {{text?: string, yes?: string, danger?: boolean}} [options]
 * @returns {Promise<boolean>}
 */
export async function confirm(title, { text, yes = "Yes", danger = false } = {}) {
  const asked = dialog({
    title,
    body: text && h("p", null, text),
    actions: [{ label: "Cancel" }, { label: yes, value: true, kind: danger ? "primary danger" : "primary" }],
  });
  return (await asked.result) === true;
}

/**
 * Ask for a line of text.
 * @param {string} title
 * @param {{label?: string, value?: string, yes?: string, optional?: boolean, hint?: string, type?: string}} [options]
 * @returns {Promise<string|null>} null where it was dismissed
 */
export async function ask(title, { label = title, value = "", yes = "Save", optional = false, hint, type = "text" } = {}) {
  const input = h("input", { type, value, id: "asked", autocomplete: type === "password" ? "current-password" : "off", required: !optional });
  const form = h(
    "form",
    { class: "stack", method: "dialog", onsubmit: (event) => { event.preventDefault(); asked.close(input.value.trim()); } },
    h("label", { class: "field" }, h("span", null, label), input),
    hint && h("p", { class: "hint" }, hint),
  );
  const asked = dialog({
    title,
    body: form,
    actions: [
      { label: "Cancel" },
      { label: yes, kind: "primary", act: () => { form.requestSubmit(); return false; } },
    ],
  });
  input.focus();
  input.select();
  return (await asked.result) ?? null;
}

/**
 * What a view shows where there is nothing (yet).
 * @param {{icon?: string, title: string, text?: any, actions?: Node[]}} options
 */
export function empty({ icon: name, title, text, actions = [] }) {
  return h(
    "div",
    { class: "empty" },
    name && icon(name),
    h("h2", null, title),
    text && h("p", null, text),
    actions.length > 0 && h("div", { class: "bar centred" }, actions),
  );
}

/**
 * What a view shows where something went wrong.
 * @param {Error} error
 * @param {() => void} [again] tries once more
 */
export function failure(error, again) {
  return empty({
    icon: "warning",
    title: error?.title ?? "That did not work",
    text: said(error),
    actions: again ? [button("Try again", again, { icon: "refresh" })] : [],
  });
}

/** A number as people write it: 12,345. */
export const number = (value) => value.toLocaleString("en-GB");

/** `3 pictures`, `1 picture`. */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** The last part of a path, with either kind of slash. */
export const basename = (path) => path.split(/[\\/]/).at(-1);

/**
 * Put text on the clipboard and say so.
 * @param {string} text
 * @param {string} [said]
 */
export async function copyText(text, said = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(said);
  } catch {
    // Without https the clipboard is closed; the text can still be marked and copied by hand.
    const area = h("textarea", { rows: 8, readonly: true, "aria-label": "Text to copy" });
    area.value = text;
    dialog({ title: "Copy by hand", body: area });
    area.select();
  }
}
