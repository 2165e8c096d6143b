/** Beside the copies: the strip of all sets, what may go, and what was skipped. */

import { thumbnail } from "./api.js";
import { button, copyText, counted, dialog, h, icon } from "./dom.js";

const AROUND = 60; // sets of the strip on either side
const MARKS = { kept: "check", distinct: "close" };
const WORDS = { kept: "reviewed", distinct: "not duplicates" };

/**
 * Little pictures of the sets around one.
 * @param {object[]} sets
 * @param {number} now
 * @param {import("./review.js").Review} review
 * @param {(at: number) => void} onpick
 */
export function filmstrip(sets, now, review, onpick) {
  const first = Math.max(0, now - AROUND);
  return h(
    "nav",
    { class: "filmstrip", "aria-label": "All sets", tabindex: -1 },
    sets.slice(first, now + AROUND + 1).map((set, offset) => {
      const at = first + offset;
      const verdict = review.of(set)?.verdict;
      return h(
        "button",
        { type: "button", "aria-label": `Set ${at + 1}, ${counted(set.files.length, "file")}${verdict ? `, ${WORDS[verdict]}` : ""}`, "aria-current": at === now ? "true" : null, class: verdict ?? "", onclick: () => onpick(at) },
        h("img", { class: "picture", src: thumbnail(set.files[0].id, "small"), alt: "", loading: "lazy", draggable: "false" }),
        verdict ? h("span", { class: "mark" }, icon(MARKS[verdict])) : set.files.length > 2 && h("span", { class: "many", "aria-hidden": "true" }, set.files.length),
      );
    }),
  );
}

/**
 * The files that may go: to copy or to keep as text.
 * @param {import("./review.js").Review} review
 * @param {() => void} onclear
 */
export function mayGo(review, onclear) {
  const paths = review.going;
  const text = `${paths.join("\n")}\n`;
  const opened = dialog({
    title: `${counted(paths.length, "file")} may go`,
    class: "wide",
    body: h(
      "div",
      { class: "stack" },
      h("p", { class: "hint" }, "Of each set that you reviewed the copies that you did not keep. imgindex leaves them where they are: the list is for you to act on. Started with --aside, the service moves them to a folder itself."),
      h("pre", { class: "going-list path", tabindex: 0, role: "region", "aria-label": "Files that may go" }, paths.join("\n")),
      h(
        "div",
        { class: "bar" },
        button("Copy the list", () => copyText(text, `${counted(paths.length, "path")} copied`), { icon: "copy", class: "primary" }),
        button("Save as text", () => save(text)),
        button("Begin anew", () => {
          review.clearGoing();
          opened.close();
          onclear();
        }, { class: "quiet", title: "Forget what was chosen" }),
      ),
    ),
  });
}

function save(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  h("a", { href: address, download: "may-go.txt" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Files that could not be compared, and why. */
export function showSkipped(skipped) {
  dialog({
    title: `${counted(skipped.length, "file")} could not be compared`,
    class: "wide",
    body: h("ul", { class: "reasons" }, skipped.map(({ path, reason }) => h("li", null, h("span", { class: "path" }, path), h("span", { class: "hint" }, reason)))),
  });
}
