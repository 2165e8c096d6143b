/** Jobs as they run: started, followed, stopped, and the chip in the header. */

import { del, get, post } from "./api.js";
import { button, complain, h } from "./dom.js";
import { isActive, jobTitle, share, stageWords } from "./job-words.js";
import { live } from "./live.js";

const LOOK_AGAIN = 4000; // milliseconds; for what a broken connection kept from us

/**
 * Start a job; everything that shows jobs hears of it at once.
 * @param {"index"|"cluster"|"duplicates"|"map"} kind
 * @param {object} [settings]
 * @returns {Promise<object>} the Job
 */
export async function startJob(kind, settings = {}) {
  const job = await post("/v1/jobs", { kind, ...settings });
  live.dispatchEvent(new CustomEvent("job", { detail: job }));
  return job;
}

/**
 * A job of a kind that is still to end.
 * @param {string} kind
 * @param {AbortSignal} signal
 * @returns {Promise<object|undefined>}
 */
export async function activeJob(kind, signal) {
  const jobs = await get("/v1/jobs", { signal });
  return jobs.find((job) => job.kind === kind && isActive(job));
}

/**
 * Call `told` with a job whenever it has changed, until it has ended.
 * @param {object} job
 * @param {(job: object) => void} told
 * @param {AbortSignal} signal
 */
export function follow(job, told, signal) {
  const over = new AbortController();
  const stop = AbortSignal.any([signal, over.signal]);
  const hear = (now) => {
    if (stop.aborted) return;
    if (!isActive(now)) over.abort();
    told(now);
  };
  const look = async () => {
    try {
      hear(await get(`/v1/jobs/${job.id}`, { signal: stop }));
    } catch {
      // the next look, or the live connection, will tell
    }
  };
  const timer = setInterval(look, LOOK_AGAIN);
  stop.addEventListener("abort", () => clearInterval(timer));
  live.addEventListener("job", ({ detail }) => detail.id === job.id && hear(detail), { signal: stop });
  hear(job);
}

/**
 * What shows a running job in place: what it does, how far it is, and a button that stops it.
 * @param {object} job
 * @param {{signal: AbortSignal, ended: (job: object) => void}} options
 * @returns {HTMLElement}
 */
export function jobProgress(job, { signal, ended }) {
  const title = h("strong", null, jobTitle(job));
  const stage = h("span", { class: "stage" });
  const bar = h("progress", { "aria-label": jobTitle(job), max: 1 });
  const stop = button("Stop", async () => {
    stop.disabled = true;
    try {
      await del(`/v1/jobs/${job.id}`);
    } catch (error) {
      stop.disabled = false;
      complain(error);
    }
  }, { class: "small" });
  const element = h("section", { class: "job-progress", "aria-label": jobTitle(job) }, h("div", { class: "said" }, title, stage), bar, stop);
  follow(job, (now) => {
    stage.textContent = stageWords(now);
    const done = share(now);
    if (done === null) bar.removeAttribute("value");
    else bar.value = done;
    if (!isActive(now)) ended(now);
  }, signal);
  return element;
}

/**
 * Keep a link in the header telling what is at work anywhere; it hides while nothing is.
 * @param {HTMLElement} link
 */
export function progressChip(link) {
  const active = new Map();
  const ring = h("span", { class: "ring", "aria-hidden": "true" });
  const words = h("span", { class: "words" });
  link.replaceChildren(ring, words);
  const hear = (job) => {
    if (isActive(job)) active.set(job.id, job);
    else active.delete(job.id);
    link.hidden = active.size === 0;
    const shown = [...active.values()].find((one) => one.state === "running") ?? active.values().next().value;
    if (!shown) return;
    const done = share(shown);
    const percent = done === null ? "" : ` ${Math.floor(100 * done)}%`;
    const more = active.size > 1 ? ` +${active.size - 1}` : "";
    ring.classList.toggle("turning", done === null);
    ring.style.setProperty("--share", done ?? 0.25);
    words.textContent = jobTitle(shown);
    link.dataset.share = `${percent}${more}`.trim();
    link.title = stageWords(shown);
    link.setAttribute("aria-label", `${jobTitle(shown)}${percent}. Show jobs`);
  };
  live.addEventListener("job", ({ detail }) => hear(detail));
  get("/v1/jobs").then((jobs) => jobs.forEach(hear), () => {});
}
