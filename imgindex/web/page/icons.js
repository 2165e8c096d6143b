/** The page's own icons: strokes on a field of 24 x 24. */

const SHAPES = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 20 20",
  library: "M4 5.5h16v13H4zM4 15l4.5-4.5L13 15l2.5-2.5L20 17M15.5 9h.01",
  groups: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  duplicates: "M8 8h12v12H8zM16 8V4H4v12h4",
  map: "M6.5 7h.01M11 5h.01M9 10.5h.01M16.5 8h.01M19 11.5h.01M6 16.5h.01M11.5 19h.01M15 16h.01M18.5 18h.01M13 11.5h.01",
  jobs: "M12 4v3M12 17v3M4 12h3M17 12h3M6.3 6.3l2.2 2.2M15.5 15.5l2.2 2.2M6.3 17.7l2.2-2.2M15.5 8.5l2.2-2.2",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  down: "M5 9l7 7 7-7",
  filter: "M4 6h16M7 12h10M10 18h4",
  crop: "M7 3v14h14M3 7h14v14",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  upload: "M12 16V5M7 9.5 12 4.5l5 5M4 16v4h16v-4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  half: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM12 3.5v17M12 7h7M12 12h8.5M12 17h7",
  layers: "M12 4 3 9l9 5 9-5zM3.5 13 12 17.7 20.5 13M3.5 16.8 12 21.5l8.5-4.7",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  fill: "M4 4h16v16H4zM8 8h8v8H8z",
  folder: "M3.5 6h6l2 2.5h9V19h-17z",
  edit: "M5 19l1-4L16.5 4.5l3 3L9 18zM14 7l3 3",
  undo: "M8 5 4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11H9",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.4M20 4.5v5h-5",
  warning: "M12 4 2.5 20h19zM12 10v4.5M12 17.3h.01",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM12 11v5.5M12 7.7h.01",
  keys: "M3 6.5h18v11H3zM6.5 10h.01M10.2 10h.01M13.8 10h.01M17.5 10h.01M8.5 14h7",
  history: "M4.6 9A8 8 0 1 1 4 12.5M4.5 4v5h5M12 8v4.5l3 2",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  lasso: "M12 4.5c-4.7 0-8.5 2.3-8.5 5.2S7.3 15 12 15s8.5-2.4 8.5-5.3S16.7 4.5 12 4.5ZM7.5 14.3c-1.6 1.4-1.3 3.2.2 3.7 1.7.6 1.6 2.4-.2 3",
  external: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
};

/**
 * An icon, hidden from assistive technology: what it stands on carries the words.
 * @param {keyof typeof SHAPES} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  drawn.setAttribute("viewBox", "0 0 24 24");
  drawn.setAttribute("class", `icon icon-${name}`);
  drawn.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", SHAPES[name]);
  drawn.append(path);
  return drawn;
}
