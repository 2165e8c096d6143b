/** The service, over HTTP. */

import { ask, toast } from "./dom.js";

const PATIENCE = 4; // tries where the service is busy
const LONGEST_WAIT = 10; // seconds

/** What the service answers where it cannot do as asked; `detail` is made to be shown. */
export class Problem extends Error {
  /** @param {{type?: string, title?: string, status?: number, detail?: string}} body */
  constructor({ type = "about:blank", title = "That did not work", status = 0, detail = title, ...more }) {
    super(detail);
    Object.assign(this, { name: "Problem", type, title, status, detail, more });
  }

  /** The last word of its type: `no-groups`, `library-busy`. */
  get kind() {
    return this.type.split(/[/:#]/).at(-1);
  }
}

/** Nobody is there to answer. */
export const unanswered = () => new Problem({ title: "No answer", detail: "The service does not answer. Is imgindex serve still running?" });

let asking = null;
let admitted = 0; // how often a token was right

// One dialog however many requests were refused.
function token() {
  asking ??= (async () => {
    let hint = "It stands in the file that the service was started with; ask whoever runs it.";
    for (;;) {
      const given = await ask("This library asks for a token", { label: "Token", type: "password", yes: "Open", hint });
      if (given === null) return false;
      const answer = await fetch("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: given }) }).catch(() => null);
      if (answer?.ok) {
        admitted += 1;
        return true;
      }
      if (answer === null) hint = unanswered().detail;
      else hint = answer.status === 401 ? "That was not the token. Try again." : (await problemOf(answer)).detail;
    }
  })().finally(() => (asking = null));
  return asking;
}

/**
 * Wait.
 * @param {number} seconds
 * @param {AbortSignal} [signal]
 */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/**
 * An address with a query; null and empty values are left out, lists are repeated.
 * @param {string} path
 * @param {object|URLSearchParams} [query]
 */
export function withQuery(path, query) {
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query ?? {}).flatMap(([name, value]) => (Array.isArray(value) ? value.map((one) => [name, one]) : [[name, value]]));
  const kept = new URLSearchParams(pairs.filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return kept.size ? `${path}${path.includes("?") ? "&" : "?"}${kept}` : path;
}

async function problemOf(answer) {
  const body = await answer.json().catch(() => ({}));
  return new Problem({ title: answer.statusText || `Error ${answer.status}`, ...body, status: answer.status });
}

/**
 * Ask the service; asks for the token where one is demanded, and waits where it is busy.
 * @param {string} method
 * @param {string} path
 * @param {{query?: object, body?: any, signal?: AbortSignal, headers?: object}} [options] `body`:
 *   FormData and Blobs go as they are, all else as JSON
 * @returns {Promise<Response>} an answer that is ok
 * @throws {Problem}
 */
export async function request(method, path, { query, body, signal, headers = {} } = {}) {
  const raw = body instanceof FormData || body instanceof Blob;
  const sent = { method, signal, headers: { ...headers }, body: raw || body === undefined ? body : JSON.stringify(body) };
  if (body !== undefined && !raw) sent.headers["Content-Type"] = "application/json";
  for (let tries = 1; ; tries += 1) {
    const sentAs = admitted;
    let answer;
    try {
      answer = await fetch(withQuery(path, query), sent);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unanswered();
    }
    if (answer.ok) return answer;
    // Refused late: somebody gave the token while this was under way.
    if (answer.status === 401 && (sentAs !== admitted || (await token()))) continue;
    // Without the header, waiting would not help.
    const wait = Number(answer.headers.get("Retry-After"));
    if (wait && tries < PATIENCE) {
      await pause(Math.min(wait, LONGEST_WAIT), signal);
      continue;
    }
    throw await problemOf(answer);
  }
}

async function json(method, path, options) {
  const answer = await request(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

/** GET JSON. `options`: query, signal. */
export const get = (path, options) => json("GET", path, options);
/** POST `body` (JSON, FormData or Blob), answer JSON. */
export const post = (path, body, options) => json("POST", path, { ...options, body });
/** PUT `body`, answer JSON. */
export const put = (path, body, options) => json("PUT", path, { ...options, body });
/** DELETE, answer JSON or null. */
export const del = (path, options) => json("DELETE", path, options);

/**
 * Server-sent events of one connection, until it ends or the signal aborts.
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @yields {{event: string, data: any}} data read as JSON
 */
export async function* events(path, signal) {
  const answer = await request("GET", path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").map((line) => /^(\w+): ?(.*)$/.exec(line)).filter(Boolean);
        const data = lines.filter(([, name]) => name === "data").map(([, , text]) => text).join("\n");
        if (data) yield { event: lines.find(([, name]) => name === "event")?.[2] ?? "message", data: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * The address of a picture's thumbnail.
 * @param {string} id
 * @param {"small"|"medium"|"large"} [size] longer side 160, 400 or 1600
 */
export const thumbnail = (id, size = "medium") => `/v1/pictures/${id}/thumbnail/${size}`;

/**
 * Take back a decision (a name, a cover, a group formed, a merge) and say so.
 * @param {number} decision its number
 */
export async function takeBack(decision) {
  await del(`/v1/decisions/${decision}`);
  toast("Taken back");
}

let known = null;

/**
 * GET /v1/status, asked once and again after `forgetStatus`.
 * @returns {Promise<object>}
 */
export function status() {
  known ??= get("/v1/status").catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

/** Ask for the status anew the next time. */
export const forgetStatus = () => (known = null);
