/** What a decision changes on the map at once; places stay as they are until it is drawn anew. */

/**
 * The groups once pictures went to another one.
 * @param {{points: import("./map-points.js").Points, groups: Array<object>}} map
 * @param {number[]} pictures
 * @param {{id: number, name: string|null}} group a new one, or one of the map
 * @returns {{groups: Array<object>, places: Uint16Array}} `places`: of each picture's group among them
 */
export function moved({ points, groups }, pictures, { id, name }) {
  const known = groups.findIndex((group) => group.id === id), place = known < 0 ? groups.length : known;
  const places = points.group.slice(), sizes = new Uint32Array(groups.length + 2);
  for (const at of pictures) places[at] = place;
  for (const one of places) sizes[one]++;
  const all = known < 0 ? [...groups, made(points, groups, pictures, { id, name })] : groups;
  return { groups: all.map((group, at) => ({ ...group, size: sizes[at] })), places };
}

// It stands at its most important picture, in the colours of the group farthest away.
function made(points, groups, pictures, { id, name }) {
  const cover = pictures.reduce((least, at) => Math.min(least, at)), x = points.x[cover], y = points.y[cover];
  const far = (group) => (group.id === -1 ? -1 : Math.hypot(group.x - x, group.y - y));
  const { light, dark } = groups.reduce((one, other) => (far(other) > far(one) ? other : one));
  return { id, name, cover: points.id(cover), x, y, light, dark };
}
