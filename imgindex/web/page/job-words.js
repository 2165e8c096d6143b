/** What a job does, where it is and what came of it, in words. */

import { counted, number, said } from "./dom.js";

const KINDS = {
  index: { title: "Index folders", doing: "Indexing folders" },
  cluster: { title: "Group pictures", doing: "Grouping pictures" },
  duplicates: { title: "Look for copies", doing: "Looking for copies" },
  map: { title: "Lay out the map", doing: "Laying out the map" },
};

const STAGES = {
  scan: "Walking through the folders",
  embed: "Looking at pictures",
  index: "Building the index",
  join: "Finding groups for new pictures",
  neighbours: "Finding neighbours",
  neighbourhood: "Laying neighbours side by side",
  distances: "Measuring distances",
  "spanning tree": "Connecting what is near",
  draw: "Making small versions",
  sketches: "Choosing pairs to compare",
  compare: "Comparing pairs",
  layout: "Laying out the plane",
  thumbnails: "Making thumbnails",
};

const STATES = {
  queued: "Waiting",
  running: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** Whether a job is still to end. */
export const isActive = (job) => job.state === "queued" || job.state === "running";

/** What a job is called. */
export const jobTitle = (job) => {
  const words = KINDS[job.kind] ?? { title: job.kind, doing: job.kind };
  return isActive(job) ? words.doing : words.title;
};

/** The state of a job as a word. */
export const stateWord = (job) => STATES[job.state] ?? job.state;

/** How much of the present stage is done, 0 to 1; null while that is not known. */
export const share = (job) =>
  job.state === "running" && job.total > 0 ? Math.min(1, job.done / job.total) : null;

/** Where a running job is: "Looking at pictures, 120 of 900". */
export const stageWords = (job) => {
  if (job.state === "queued") return "Waiting for its turn";
  if (!job.stage) return "Starting";
  const stage = STAGES[job.stage] ?? job.stage;
  if (job.total > 0) return `${stage}, ${number(job.done)} of ${number(job.total)}`;
  return job.done > 0 ? `${stage}, ${number(job.done)} so far` : stage;
};

const list = (parts) => parts.filter(Boolean).join(", ");

const indexed = (result) => {
  const looked = result.added
    ? `${counted(result.added, "picture")} looked at`
    : "Nothing new to look at";
  const others = list([
    result.reused && `${number(result.reused)} known already`,
    result.moved && `${number(result.moved)} moved`,
    result.removed && `${number(result.removed)} gone`,
    result.unchanged && `${number(result.unchanged)} unchanged`,
    result.paired && `${number(result.paired)} raw beside a picture`,
    result.skipped?.length && `${number(result.skipped.length)} skipped`,
  ]);
  return others ? `${looked}; ${others}.` : `${looked}.`;
};

const grouped = (result) => {
  const noise = result.noise
    ? `; ${counted(result.noise, "picture")} in no group`
    : "; every picture has its place";
  return `${counted(result.groups, "group")} of ${counted(result.pictures, "picture")}${noise}.`;
};

const copies = (result) => {
  const sets = Array.isArray(result.sets) ? result.sets.length : result.sets;
  if (!sets) return "No copies found.";
  const files = Number.isInteger(result.files) ? ` of ${counted(result.files, "file")}` : "";
  return `${counted(sets, "set")}${files} that show the same picture.`;
};

const OUTCOMES = { index: indexed, cluster: grouped, duplicates: copies };

/** What came of a finished job, as a sentence; empty for one that has not ended. */
export const outcome = (job) => {
  if (job.state === "cancelled") return "Stopped. What was done by then is kept.";
  if (job.state === "failed") {
    return said(job.problem ?? "It failed without saying why.");
  }
  if (job.state !== "done" || !job.result) return "";
  return OUTCOMES[job.kind]?.(job.result) ?? "";
};

/** What a job was asked to do: paths, or settings that differ from the usual. */
export const asked = (job) => {
  const settings = job.settings ?? {};
  if (job.kind === "index") return (settings.paths ?? []).join(" · ");
  if (job.kind !== "cluster") return "";
  return list([
    settings.about && `about ${number(settings.about)} groups`,
    settings.min_cluster_size && `at least ${counted(settings.min_cluster_size, "picture")} each`,
    settings.space === "descriptor" && "by the descriptors as they are",
    settings.anew && "begun anew",
  ]);
};
