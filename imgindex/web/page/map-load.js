/** The map, from the service. */

import { Problem, events, get, pause, request } from "./api.js";

const TRIES = 12; // seconds that a map may be older than the library

/**
 * The map and where its points are; a map that is not there yet is drawn first.
 * @param {AbortSignal} signal
 * @param {(job: object) => void} told how far that is
 * @param {boolean} [fresh] wait for the map of the library as it is now
 * @returns {Promise<{map: object, buffer: ArrayBuffer}>}
 */
export async function load(signal, told, fresh = false) {
  const wanted = fresh ? (await get("/v1/status", { signal })).change : null;
  for (let tries = 1; ; tries += 1) {
    const answer = await request("GET", "/v1/map", { signal });
    const body = await answer.json();
    if (answer.status === 202) {
      await follow(body, signal, told);
      continue;
    }
    if (fresh && body.change !== wanted && tries < TRIES) {
      await pause(1, signal);
      continue;
    }
    try {
      const points = await request("GET", body.points, { signal });
      return { map: body, buffer: await points.arrayBuffer() };
    } catch (error) {
      // The library changed in between.
      if (![404, 409, 410].includes(error.status)) throw error;
    }
  }
}

async function follow(job, signal, told) {
  let last = job;
  told(last);
  for await (const { event, data } of events(`/v1/jobs/${job.id}/events`, signal)) {
    if (event !== "job") continue;
    last = data;
    told(last);
  }
  if (last.state === "cancelled") throw new Problem({ title: "The map was not drawn", detail: "Drawing it was cancelled." });
  if (last.state === "failed") throw new Problem({ title: "The map was not drawn", ...(typeof last.problem === "string" ? { detail: last.problem } : last.problem) });
}
