/** Jobs: what is at work, what to start, and what came of earlier ones. */

import { get, status } from "./api.js";
import { askForGrouping } from "./cluster-dialog.js";
import { announce, button, complain, copyText, counted, empty, h, icon, toast } from "./dom.js";
import { asked, isActive, jobTitle, outcome, stateWord } from "./job-words.js";
import { live } from "./live.js";
import { href } from "./router.js";
import { duration, moment } from "./words.js";
import { jobProgress, startJob } from "./work.js";

const SHOWN_SKIPPED = 200;
const RESULTS = {
  index: ["/library", "See the library"],
  cluster: ["/groups", "See the groups"],
  duplicates: ["/duplicates", "Review the copies"],
  map: ["/map", "See the map"],
};
const MARKS = { done: "check", failed: "warning", cancelled: "close" };

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

async function start(kind, settings) {
  try {
    const job = await startJob(kind, settings);
    announce(`${jobTitle(job)} has started`);
    return job;
  } catch (error) {
    complain(error);
    return null;
  }
}

const area = (name, label, hint, more = {}) =>
  h("label", { class: "field" }, h("span", null, label), h("textarea", { name, rows: 2, spellcheck: "false", autocapitalize: "off", ...more }), hint && h("span", { class: "hint" }, hint));

const tick = (name, label, hint) =>
  h("div", null, h("label", { class: "choice" }, h("input", { type: "checkbox", name }), h("span", null, label)), h("p", { class: "hint" }, hint));

function indexForm() {
  const form = h(
    "form",
    { class: "stack", onsubmit: submit },
    area("paths", "Folders and files, one a line", "Paths on the machine that the service runs on.", { rows: 3, required: true, placeholder: "/home/ada/Pictures" }),
    h(
      "details",
      null,
      h("summary", null, "Choose among the files"),
      h(
        "div",
        { class: "stack" },
        area("include", "Only what matches", "Patterns as in a gitignore file, one a line: *.jpg, 2024/"),
        area("exclude", "Leave out", "What was left out leaves the results, and comes back with a run that takes it."),
        tick("hidden", "Also names that begin with a dot", "Hidden files and folders."),
        tick("prune", "Forget what has vanished", "Otherwise the files of a share that is away are kept."),
      ),
    ),
    h("div", { class: "bar" }, h("button", { class: "primary" }, icon("folder"), h("span", null, "Index"))),
  );
  async function submit(event) {
    event.preventDefault();
    const of = form.elements;
    const job = await start("index", {
      paths: lines(of.paths.value),
      include: lines(of.include.value),
      exclude: lines(of.exclude.value),
      hidden: of.hidden.checked,
      prune: of.prune.checked,
    });
    if (job) form.reset();
  }
  return form;
}

function skippedList(skipped) {
  const shown = skipped.slice(0, SHOWN_SKIPPED);
  return h(
    "details",
    { class: "skipped" },
    h("summary", null, `${counted(skipped.length, "file")} skipped`),
    h("ul", { class: "reasons" }, shown.map(({ path, reason }) => h("li", null, h("span", { class: "path" }, path), h("span", { class: "hint" }, reason)))),
    shown.length < skipped.length && h("p", { class: "hint" }, `These are the first ${SHOWN_SKIPPED}.`),
    button("Copy the list", () => copyText(skipped.map(({ path, reason }) => `${path}\t${reason}`).join("\n"), "The list is copied"), { icon: "copy", class: "small" }),
  );
}

function times(job) {
  const seconds = job.started && job.ended ? (new Date(job.ended) - new Date(job.started)) / 1000 : null;
  return [moment(job.ended ?? job.created), seconds !== null && `took ${duration(seconds)}`].filter(Boolean).join(" · ");
}

function finished(job) {
  const [path, label] = RESULTS[job.kind] ?? [];
  const { result } = job;
  const figures = result?.images_per_second ? `${result.images_per_second.toFixed(1)} pictures a second on ${result.device} with ${result.model}` : "";
  return h(
    "li",
    { class: `job ${job.state}`, "data-id": job.id },
    h("span", { class: "mark", title: stateWord(job) }, icon(MARKS[job.state] ?? "info")),
    h(
      "div",
      { class: "told" },
      h("h3", null, jobTitle(job), h("span", { class: "count" }, ` ${stateWord(job).toLowerCase()}, ${times(job)}`)),
      asked(job) && h("p", { class: job.kind === "index" ? "asked path" : "asked" }, asked(job)),
      outcome(job) && h("p", null, outcome(job)),
      result?.note && h("p", { class: "hint" }, result.note),
      figures && h("p", { class: "hint" }, figures),
      result?.skipped?.length > 0 && skippedList(result.skipped),
    ),
    job.state === "done" && path && h("a", { class: "button small", href: href(path) }, label),
  );
}

function starters(service) {
  return [
    h(
      "section",
      { class: "card stack", "aria-labelledby": "index-title" },
      h("h2", { id: "index-title" }, "Index folders"),
      h("p", { class: "hint" }, service.indexing ? "New and changed pictures are looked at once; all else is only counted." : "This service takes no folders from here. Run imgindex index on its machine, or start it with --folder."),
      service.indexing && indexForm(),
    ),
    h(
      "section",
      { class: "card stack", "aria-labelledby": "cluster-title" },
      h("h2", { id: "cluster-title" }, "Group pictures"),
      h("p", { class: "hint" }, "Finds what belongs together, without being told how many groups there are."),
      h("div", { class: "bar" }, button("Group…", async () => {
        const grouped = (await status()).groups !== null;
        const groups = grouped && (await get("/v1/groups").catch(() => null));
        const settings = await askForGrouping(groups ? { before: groups.settings, groups: groups.groups.length } : {});
        if (settings) await start("cluster", settings);
      }, { icon: "groups" })),
    ),
    h(
      "section",
      { class: "card stack", "aria-labelledby": "copies-title" },
      h("h2", { id: "copies-title" }, "Look for copies"),
      h("p", { class: "hint" }, "Compares pictures pixel by pixel. A second run looks at new pictures only."),
      h("div", { class: "bar" }, button("Look for copies", () => start("duplicates"), { icon: "duplicates" })),
    ),
  ];
}

/**
 * Show the jobs.
 * @param {HTMLElement} main
 * @param {{signal: AbortSignal}} context
 */
export async function show(main, { signal }) {
  main.classList.add("jobs");
  main.append(h("div", { class: "head" }, h("h1", null, "Jobs")));
  const [{ service }, jobs] = await Promise.all([status(), get("/v1/jobs", { signal })]);
  const known = new Map(jobs.map((job) => [job.id, job]));
  const atWork = h("div", { class: "at-work stack" });
  const earlier = h("ul", { class: "job-list" });
  const none = empty({ icon: "jobs", title: "No jobs yet", text: "What you start stands here until the service is started anew." });

  const before = h("section", { class: "earlier", "aria-labelledby": "earlier-title" }, h("h2", { id: "earlier-title" }, "Earlier"), none, earlier);

  const list = () => {
    const over = [...known.values()].filter((job) => !isActive(job)).sort((a, b) => ((a.ended ?? a.created) < (b.ended ?? b.created) ? 1 : -1));
    earlier.replaceChildren(...over.map(finished));
    none.hidden = known.size > 0;
    before.hidden = over.length === 0 && known.size > 0;
  };
  const work = (job) => {
    const shown = jobProgress(job, {
      signal,
      ended: (now) => {
        known.set(now.id, now);
        shown.remove();
        list();
        const text = `${jobTitle(now)}: ${stateWord(now).toLowerCase()}. ${outcome(now)}`;
        toast(text, { bad: now.state === "failed" });
      },
    });
    atWork.append(shown);
  };

  main.append(
    atWork,
    h("div", { class: "jobs-columns" }, h("div", { class: "starters stack" }, starters(service)), before),
  );
  for (const job of jobs.filter(isActive).sort((a, b) => (a.created < b.created ? -1 : 1))) work(job); // in their turn
  list();
  live.addEventListener("job", ({ detail: job }) => {
    if (known.has(job.id)) return;
    known.set(job.id, job);
    if (isActive(job)) work(job);
    list();
  }, { signal });
}
