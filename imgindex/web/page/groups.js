/** Groups: all of them as a wall of covers, or one from within. */

/**
 * Show the wall, or the group whose id the address has.
 * @param {HTMLElement} main
 * @param {{params: {id?: string}, query: URLSearchParams, signal: AbortSignal}} context
 */
export async function show(main, context) {
  const view = context.params.id === undefined ? await import("./group-wall.js") : await import("./group-view.js");
  return view.show(main, context);
}
