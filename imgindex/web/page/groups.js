/** Groups: all of them as a wall of covers, or one from within. */

import * as view from "./group-view.js";
import * as wall from "./group-wall.js";

/**
 * Show the wall, or the group whose id the address has.
 * @param {HTMLElement} main
 * @param {{params: {id?: string}, query: URLSearchParams, signal: AbortSignal}} context
 */
export const show = (main, context) => (context.params.id === undefined ? wall : view).show(main, context);
