/** What the layers of a network see, in words. */

import { number } from "./dom.js";

const BLOCKS = {
  1: "Edges, colours and fine grain: nearly every place of a picture has some.",
  2: "Corners, stripes and simple textures.",
  3: "Textures and patterns: cloth, fur, leaves, writing.",
  4: "Parts of things: a wheel, an eye, a collar, a fruit.",
  5: "Things and scenes. What pictures are searched by is drawn from the last of these maps.",
};
const UNTRAINED = "This network has random weights: what its maps answer to is chance, more so with every layer.";

/** The number of the block that a layer is in; 0 where its name does not tell. */
export const blockOf = (name) => Number(/^block(\d+)/.exec(name)?.[1] ?? 0);

/** A layer's short name: `conv 3_2`, `pool 3`. */
export function shortName(name) {
  const [, block, kind, at] = /^block(\d+)_(conv|pool)(\d*)$/.exec(name) ?? [];
  if (!block) return name;
  return kind === "pool" ? `pool ${block}` : `conv ${block}_${at}`;
}

/** How many maps a layer makes, and how fine they are. */
export const shapeWords = ({ channels, width, height }) => `${number(channels)} maps of ${width} × ${height} places`;

/** What a layer sees. */
export function layerWords(layer, model) {
  if (model === "untrained") return UNTRAINED;
  const pooled = layer.convolution === null ? " Pooling keeps the strongest answer of every four places." : "";
  return `${BLOCKS[blockOf(layer.name)] ?? "The further to the right a layer is, the less it knows of places and the more of what is there."}${pooled}`;
}
