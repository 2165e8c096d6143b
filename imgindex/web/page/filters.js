/** Which pictures may be found: a panel, chips, and how they stand in an address. */

import { button, h } from "./dom.js";
import { groupNames } from "./viewer.js";

const MANY = ["match", "folder", "format", "group"];
const ONE = ["after", "before", "larger", "smaller", "orientation", "copies"];
const FORMATS = ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "GIF", "BMP", "RAW"];
const SHAPES = { landscape: "Wide", portrait: "Tall", square: "Square" };
const DATE = "\\d{4}(-\\d\\d(-\\d\\d)?)?";

/**
 * The filters in the query of an address.
 * @param {URLSearchParams} query
 * @returns {object} lists and strings by the service's names; nothing for what is not set
 */
export function readFilters(query) {
  const many = MANY.map((name) => [name, query.getAll(name)]).filter(([, values]) => values.length);
  const one = ONE.map((name) => [name, query.get(name)]).filter(([, value]) => value);
  return Object.fromEntries([...many, ...one]);
}

/** Filters as `where` of POST /v1/search. */
export const where = ({ group, copies, ...rest }) => ({
  ...rest,
  ...(group && { group: group.map(Number) }),
  ...(copies && { copies: copies === "true" }),
});

/**
 * Put filters into a query, in place of those that are there.
 * @param {URLSearchParams} query
 * @param {object} filters
 */
export function withFilters(query, filters) {
  const next = new URLSearchParams(query);
  for (const name of [...MANY, ...ONE]) {
    next.delete(name);
    for (const value of [filters[name] ?? []].flat()) next.append(name, value);
  }
  return next;
}

/** How many filters are set. */
export const countFilters = (filters) => Object.values(filters).flat().length;

const SAID = {
  match: (value) => value,
  folder: (value) => `in ${value}`,
  format: (value) => value,
  group: (value, names) => (value === "-1" ? "in no group" : names.get(value) ?? `group ${value}`),
  after: (value) => `from ${value}`,
  before: (value) => `before ${value}`,
  larger: (value) => `at least ${value}`,
  smaller: (value) => `at most ${value}`,
  orientation: (value) => (SHAPES[value] ?? value).toLowerCase(),
  copies: (value) => (value === "true" ? "with copies" : "without copies"),
};

/**
 * The filters that are set as chips that take them away.
 * @param {object} filters
 * @param {(filters: object) => void} onchange
 */
export function filterChips(filters, onchange) {
  const chips = h("ul", { class: "bar filter-chips", "aria-label": "Filters that are set" });
  const draw = (names) => chips.replaceChildren(...Object.entries(filters).flatMap(([name, values]) => [values].flat().map((value) => {
    const said = SAID[name](value, names);
    return h("li", { class: "chip" }, said, button(`Take away: ${said}`, () => {
      const left = [values].flat().filter((one) => one !== value);
      onchange({ ...filters, [name]: MANY.includes(name) && left.length ? left : undefined });
    }, { icon: "close", bare: true }));
  })));
  draw(new Map());
  if (filters.group) groupNames().then(({ groups, parts }) => draw(new Map([...groups, ...parts].filter(({ name }) => name).map(({ id, name }) => [String(id), name]))));
  return chips;
}

/**
 * The panel. It tells of each change at once.
 * @param {object} filters
 * @param {(filters: object) => void} onchange
 * @param {Node[]} [more] fields of the view's own, at its top
 */
export function filterPanel(filters, onchange, more = []) {
  const set = (name, value) => {
    filters = { ...filters, [name]: value?.length ? value : undefined };
    onchange(Object.fromEntries(Object.entries(filters).filter(([, one]) => one?.length)));
  };
  const text = (name, label, placeholder, hint, pattern) => {
    const input = h("input", {
      type: "text", value: filters[name]?.toString() ?? "", placeholder, pattern, autocomplete: "off", spellcheck: "false",
      onchange: () => input.reportValidity() && set(name, MANY.includes(name) ? [input.value.trim()].filter(Boolean) : input.value.trim()),
    });
    if (pattern) input.title = hint;
    return h("label", { class: "field" }, h("span", null, label), input);
  };
  const choices = (name, label, options) => {
    const pressed = (value) => (filters[name] ?? "") === value;
    const buttons = options.map(([value, said]) => h("button", {
      type: "button", "aria-pressed": String(pressed(value)), class: "small",
      onclick: () => {
        set(name, value);
        buttons.forEach((one, at) => one.setAttribute("aria-pressed", String(options[at][0] === value)));
      },
    }, said));
    return h("fieldset", null, h("legend", null, label), h("div", { class: "split" }, buttons));
  };
  const size = (name, label) => {
    const [across, down] = (filters[name] ?? "").split("x");
    const inputs = [["width", across], ["height", down]].map(([side, value]) => h("input", {
      type: "number", min: 1, value: value ?? "", placeholder: side, "aria-label": `${label}: ${side} in pixels`,
      onchange: () => {
        const [w, d] = inputs.map((input) => input.value);
        if (Boolean(w) === Boolean(d)) set(name, w && `${w}x${d}`);
      },
    }));
    return h("fieldset", null, h("legend", null, label), h("div", { class: "pair" }, inputs[0], "×", inputs[1]));
  };
  const formats = h("fieldset", null, h("legend", null, "Format"), h("div", { class: "bar tight" }, FORMATS.map((format) => {
    const one = h("button", { type: "button", class: "small", "aria-pressed": String(filters.format?.includes(format) ?? false), onclick: () => {
      const on = !filters.format?.includes(format);
      one.setAttribute("aria-pressed", String(on));
      set("format", on ? [...(filters.format ?? []), format] : filters.format.filter((other) => other !== format));
    } }, format);
    return one;
  })));
  return h(
    "div",
    { class: "filter-panel stack" },
    more,
    text("folder", "Folder", "/home/me/Pictures/2024"),
    text("match", "Name or pattern", "*.png, beach*, 2024/**"),
    h("div", { class: "pair" }, text("after", "From", "2023-05", "A year, month or day: 2023, 2023-05, 2023-05-01", DATE), text("before", "Before", "2024", "A year, month or day: 2024, 2024-05, 2024-05-01", DATE)),
    choices("orientation", "Shape", [["", "Any"], ...Object.entries(SHAPES)]),
    size("larger", "At least"),
    size("smaller", "At most"),
    formats,
    choices("copies", "Copies", [["", "Any"], ["true", "With copies"], ["false", "Without"]]),
    groupField(filters, (ids) => set("group", ids)),
  );
}

function groupField(filters, set) {
  const field = h("fieldset", { hidden: true }, h("legend", null, "Group"));
  groupNames().then(({ groups }) => {
    if (!groups.length) return;
    const chosen = new Set(filters.group ?? []);
    const named = groups.map(({ id, name, size }) => ({ id: String(id), said: name ?? `Group ${id}`, size, named: Boolean(name) }));
    named.sort((one, other) => other.named - one.named || one.said.localeCompare(other.said, "en", { numeric: true }));
    const list = h("div", { class: "group-choices", role: "group", "aria-label": "Groups", tabindex: 0 }, [...named, { id: "-1", said: "In no group", size: null }].map(({ id, said, size }) =>
      h("label", { class: "choice", dataset: { name: said.toLowerCase() } }, h("input", { type: "checkbox", checked: chosen.has(id), onchange: (event) => {
        if (event.target.checked) chosen.add(id);
        else chosen.delete(id);
        set([...chosen]);
      } }), h("span", null, said), size !== null && h("span", { class: "count" }, size))));
    const find = h("input", { type: "search", placeholder: "Find a group", "aria-label": "Find a group", oninput: () => {
      for (const one of list.children) one.hidden = !one.dataset.name.includes(find.value.trim().toLowerCase());
    } });
    field.append(...(groups.length > 8 ? [find] : []), list);
    field.hidden = false;
  });
  return field;
}
