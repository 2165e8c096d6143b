/** How to group the pictures: a dialog that asks for as much as one cares to say. */

import { dialog, h } from "./dom.js";

const USUAL = 8; // pictures; the service's own smallest group
const LARGEST = 10_000;

const SIZES = [
  ["coarser", "Coarser", "Fewer and larger groups."],
  ["same", "As it is", "The same settings once more."],
  ["finer", "Finer", "More and smaller groups."],
  ["about", "About this many groups", null],
  ["least", "At least this many pictures in each", null],
];

const SPACES = [
  ["neighbourhood", "As people see it", "Pictures belong together where they share neighbours. Nearly every picture finds a group."],
  ["descriptor", "By the bare descriptors", "True to the cosines. On photos mostly a few large groups, and many pictures in none."],
];

/**
 * The settings of a job that groups, from what was chosen.
 * @param {string} size one of `coarser`, `same`, `finer`, `about`, `least`
 * @param {{groups: number, least: number, space: string, anew: boolean, before: number}} chosen
 *   `before`: the smallest group of the last run
 */
export function clusterSettings(size, { groups, least, space, anew, before }) {
  const smallest = { coarser: before * 2, same: before, finer: Math.max(2, Math.round(before / 2)), about: null, least };
  return { min_cluster_size: smallest[size], about: size === "about" ? groups : null, min_samples: 5, space, anew };
}

const option = (name, [value, label, hint], checked, extra) =>
  h(
    "div",
    { class: "option" },
    h("label", { class: "choice" }, h("input", { type: "radio", name, value, checked }), h("span", null, label)),
    hint && h("p", { class: "hint" }, hint),
    extra,
  );

const amount = (name, label, value, min) => h("input", { type: "number", name, min, max: LARGEST, value, "aria-label": label, class: "amount" });

/**
 * Ask how to group.
 * @param {{before?: {min_cluster_size: number, space: string}, groups?: number}} [last] settings of
 *   the last run, and how many groups there are
 * @returns {Promise<object|null>} settings of a `cluster` job; null where it was dismissed
 */
export async function askForGrouping({ before, groups = 30 } = {}) {
  const extras = {
    about: amount("groups", "Number of groups", groups, 2),
    least: amount("least", "Smallest group", before?.min_cluster_size ?? USUAL, 2),
  };
  const form = h(
    "form",
    { class: "stack cluster-form", method: "dialog" },
    h("fieldset", null, h("legend", null, "How fine"), SIZES.map((one) => option("size", one, one[0] === "same", extras[one[0]]))),
    h("fieldset", null, h("legend", null, "What counts as alike"), SPACES.map((one) => option("space", one, one[0] === (before?.space ?? "neighbourhood")))),
    h(
      "fieldset",
      null,
      h("legend", null, "Where to begin"),
      h("label", { class: "choice" }, h("input", { type: "checkbox", name: "anew" }), h("span", null, "From nothing")),
      h("p", { class: "hint" }, "Otherwise the last run is where this one starts. Names, covers and what you decided hold either way."),
    ),
  );
  for (const [size, input] of Object.entries(extras)) {
    input.addEventListener("focus", () => (form.elements.size.value = size));
  }
  const asked = dialog({
    title: "Group the pictures",
    body: form,
    actions: [
      { label: "Cancel" },
      { label: "Group", kind: "primary", act: () => { form.requestSubmit(); return false; } },
    ],
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const of = form.elements;
    asked.close(
      clusterSettings(of.size.value, {
        groups: Number(of.groups.value),
        least: Number(of.least.value),
        space: of.space.value,
        anew: of.anew.checked,
        before: before?.min_cluster_size ?? USUAL,
      }),
    );
  });
  return (await asked.result) ?? null;
}
