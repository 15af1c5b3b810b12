/**
 * The messages of the live view's WebSocket (docs/live-view.md).
 * @module
 */

/** The subprotocol that this page speaks. */
export const PROTOCOL = "dimstream-live-1";

/** What a frame was found to be, as the column `flag` counts it; the worst last. */
export const FLAGS = ["ok", "unjudged", "failed", "suspect"];

const ARRAYS = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
};

/**
 * @typedef {Uint8Array | Uint16Array | Float32Array | Float64Array} Values
 * @typedef {{data: Values, shape: number[], dtype: string}} Part
 * @typedef {{header: Record<string, any>, parts: Record<string, Part>}} Message
 */

/**
 * Take a message apart. Arrays are views of it: nothing is copied.
 * @param {ArrayBuffer} buffer
 * @returns {Message}
 */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  /** @type {Record<string, Part>} */
  const parts = {};
  for (const { name, dtype, shape, offset } of header.parts) {
    const size = shape.reduce((/** @type {number} */ all, /** @type {number} */ side) => all * side, 1);
    const data = new ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)](buffer, 4 + length + offset, size);
    parts[name] = { data, shape, dtype };
  }
  return { header, parts };
}
