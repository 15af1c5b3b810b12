/**
 * Lookup tables: 256 colours each, drawn through a few anchor colours.
 * @module
 */

/** @type {Record<string, string[]>} */
const ANCHORS = {
  grey: ["#000000", "#ffffff"],
  inverted: ["#ffffff", "#000000"],
  fire: ["#000000", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"],
  cividis: ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"],
  green: ["#000000", "#00ff00", "#e0ffe0"],
  magenta: ["#000000", "#ff00ff", "#ffe0ff"],
  cyan: ["#000000", "#00c8ff", "#e0f8ff"],
};

/** Names of all tables. */
export const LUT_NAMES = Object.keys(ANCHORS);

/**
 * The colours of a table, as they lie in ImageData read as uint32 (little-endian ABGR).
 * @param {string} name
 * @returns {Uint32Array}
 */
export function lut(name) {
  const anchors = ANCHORS[name].map(parse);
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (anchors.length - 1);
    const left = Math.min(Math.floor(place), anchors.length - 2);
    const [from, to] = [anchors[left], anchors[left + 1]];
    colours[i] = packed(from.map((value, c) => Math.round(value + (to[c] - value) * (place - left))));
  }
  return colours;
}

/**
 * A CSS colour `#rrggbb` as it lies in ImageData.
 * @param {string} colour
 */
export function packedColour(colour) {
  return packed(parse(colour));
}

/** @param {string} colour */
function parse(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** @param {number[]} rgb */
function packed([r, g, b]) {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
