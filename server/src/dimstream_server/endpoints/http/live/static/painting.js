/**
 * From counts to colours: one table of 65,536 colours for whole numbers, arithmetic for float32.
 * @module
 */

import { lut, packedColour } from "./luts.js";

/** Colours of values at the detector's limits, and of what is no number; seen apart by colour-blind people. */
export const LIMIT_COLOURS = { zero: "#2a52d8", ceiling: "#ff9e1b", none: "#cc79a7" };

/**
 * @typedef {object} Look
 * @property {number} low value that gets the table's first colour
 * @property {number} high value that gets its last
 * @property {string} lut
 * @property {boolean} showZero whether pixels of exactly 0 are marked
 * @property {number | null} ceiling value from which on pixels are marked as saturated; null: none
 */

/** Paints pixels; keeps its table as long as the look stays the same. */
export class Painter {
  constructor() {
    this._key = "";
    this._table = new Uint32Array(65536);
    this._colours = new Uint32Array(256);
  }

  /**
   * Paint an image (H, W) into ImageData of the same size.
   * @param {import("./protocol.js").Part} part
   * @param {Look} look
   * @param {ImageData} into
   */
  paint(part, look, into) {
    const pixels = new Uint32Array(into.data.buffer);
    const key = JSON.stringify([look, part.dtype]);
    if (key !== this._key) {
      this._key = key;
      this._colours = lut(look.lut);
      if (part.dtype !== "float32") this._fill(look);
    }
    if (part.dtype === "float32") this._paintFloats(part.data, look, pixels);
    else {
      const { data } = part;
      const table = this._table;
      for (let i = 0; i < data.length; i++) pixels[i] = table[data[i]];
    }
  }

  /** @param {Look} look */
  _fill(look) {
    for (let value = 0; value < 65536; value++) this._table[value] = this._colour(value, look);
  }

  /**
   * @param {import("./protocol.js").Values} data
   * @param {Look} look
   * @param {Uint32Array} pixels
   */
  _paintFloats(data, look, pixels) {
    for (let i = 0; i < data.length; i++) pixels[i] = this._colour(data[i], look);
  }

  /**
   * @param {number} value
   * @param {Look} look
   */
  _colour(value, look) {
    if (Number.isNaN(value)) return NONE;
    if (look.showZero && value === 0) return ZERO;
    if (look.ceiling !== null && value >= look.ceiling) return CEILING;
    const place = Math.round(((value - look.low) / (look.high - look.low)) * 255);
    return this._colours[Math.max(0, Math.min(255, place))];
  }
}

const ZERO = packedColour(LIMIT_COLOURS.zero);
const CEILING = packedColour(LIMIT_COLOURS.ceiling);
const NONE = packedColour(LIMIT_COLOURS.none);

/**
 * Colours of a support map: what is predicted with support, what without, and what is signal although nothing is
 * predicted there. Bits as docs/flags.md has them.
 * @param {Uint8Array} map
 * @param {ImageData} into
 * @param {number} opacity 0 to 1
 */
export function paintSupport(map, into, opacity) {
  const pixels = new Uint32Array(into.data.buffer);
  const alpha = Math.round(255 * opacity) << 24;
  const colour = (/** @type {string} */ name) => ((packedColour(name) & 0xffffff) | alpha) >>> 0;
  const [supported, unsupported, signal] = ["#56b4e9", "#e69f00", "#b0b0b0"].map(colour);
  for (let i = 0; i < map.length; i++) {
    const bits = map[i];
    if (bits & 8) pixels[i] = unsupported;
    else if (bits & 4) pixels[i] = supported;
    else pixels[i] = (bits & 3) === 2 ? signal : 0;
  }
}
