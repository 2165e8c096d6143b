/** Pictures from outside the library: dropped, pasted or picked. */

import { post, status } from "./api.js";
import { counted, h, icon, toast } from "./dom.js";
import { searchFor } from "./terms.js";

const files = new Map(); // by the service's id, to be uploaded again once it was dropped there

async function upload(file) {
  const { service } = await status();
  if (file.size > service.max_upload_bytes) {
    throw new Error(`it has ${Math.round(file.size / 1e6)} MB; at most ${Math.floor(service.max_upload_bytes / 1e6)} MB are taken`);
  }
  const body = new FormData();
  body.append("file", file, file.name || "pasted");
  const { id, known } = await post("/v1/uploads", body);
  const picture = typeof known === "string" ? known : id;
  if (!known) files.set(id, file);
  return { ...(known ? { picture } : { upload: id }), weight: 1, box: null };
}

/**
 * Upload files, as terms of a search.
 * @param {File[]} given
 * @returns {Promise<import("./terms.js").Term[]>} of those that could be read
 */
export async function uploaded(given) {
  const away = toast(given.length === 1 ? "Looking at the picture…" : `Looking at ${counted(given.length, "picture")}…`, { seconds: 120 });
  try {
    const done = await Promise.allSettled(given.map(upload));
    done.forEach(({ reason }, at) => reason && toast(`${given[at].name || "The picture"}: ${reason.detail ?? reason.message}`, { bad: true }));
    return done.filter(({ status: state }) => state === "fulfilled").map(({ value }) => value);
  } finally {
    away();
  }
}

/**
 * Uploads are kept by the service for a while only: give it again what this page still has.
 * @param {import("./terms.js").Term[]} terms
 * @returns {Promise<import("./terms.js").Term[]>} without the uploads that are lost
 */
export async function renewed(terms) {
  const all = await Promise.all(terms.map(async (term) => {
    if (!term.upload) return term;
    const file = files.get(term.upload);
    return file ? { ...(await upload(file)), weight: term.weight, box: term.box } : null;
  }));
  return all.filter(Boolean);
}

const searchWith = async (given) => {
  const terms = await uploaded(given);
  if (terms.length) searchFor(terms);
};

let receive = searchWith;

/**
 * Let a view take what is dropped or pasted; all others search with it.
 * @param {(files: File[]) => any} take
 * @param {AbortSignal} signal
 */
export function takeFiles(take, signal) {
  receive = take;
  signal.addEventListener("abort", () => (receive = receive === take ? searchWith : receive));
}

/** What a place to begin at asks for: on a phone nothing can be dropped. */
export const invitation = matchMedia("(hover: none)").matches ? "Choose a picture, or take one" : "Drop a picture here, or choose one";

/** Let files be picked, and take them as if they were dropped. */
export function pickFiles(take = receive) {
  const input = h("input", { type: "file", accept: "image/*", multiple: true, onchange: () => input.files.length && take([...input.files]) });
  input.click();
}

const pictures = (transfer) => [...transfer.files].filter((file) => !file.type || file.type.startsWith("image/"));

async function takeAddress(transfer) {
  const address = transfer.getData("text/uri-list").split("\n").find((line) => /^https?:/.test(line));
  if (!address) return;
  const { service } = await status();
  if (service.addresses) searchFor([{ address: address.trim(), weight: 1, box: null }]);
  else toast("This service does not fetch pictures from the web. Save the picture and drop the file.", { bad: true });
}

/** Take pictures that are dropped or pasted anywhere on the page. */
export function listenForFiles() {
  const veil = h("div", { class: "drop-veil", hidden: true, "aria-hidden": "true" }, icon("upload"), h("p", null, "Drop to search with it"));
  document.body.append(veil);
  let hiding;
  const wanted = (event) => ["Files", "text/uri-list"].some((type) => event.dataTransfer?.types.includes(type));
  addEventListener("dragover", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
    // The last dragover of a drag that leaves has no event of its own in every browser.
    clearTimeout(hiding);
    hiding = setTimeout(() => (veil.hidden = true), 250);
  });
  addEventListener("drop", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const given = pictures(event.dataTransfer);
    if (given.length) receive(given);
    else if (event.dataTransfer.files.length) toast("That is no picture", { bad: true });
    else takeAddress(event.dataTransfer);
  });
  addEventListener("paste", (event) => {
    const given = pictures(event.clipboardData);
    if (!given.length) return;
    event.preventDefault();
    receive(given);
  });
}
