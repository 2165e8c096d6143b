/** What happens in the library, as it happens: one connection for the whole page. */

import { events, forgetStatus, pause } from "./api.js";

/**
 * Dispatches `job` (detail: the Job) and `library` (detail: `{change}`) events.
 * @example live.addEventListener("job", ({ detail }) => ..., { signal });
 */
export const live = new EventTarget();

/** Stay connected for as long as the page is open. */
export async function listen() {
  for (let tries = 1; ; tries += 1) {
    try {
      for await (const { event, data } of events("/v1/events")) {
        tries = 1;
        if (event === "library") forgetStatus();
        live.dispatchEvent(new CustomEvent(event, { detail: data }));
      }
    } catch {
      // Tried again below: a service that is started anew is found again.
    }
    await pause(Math.min(2 ** tries, 30));
  }
}
