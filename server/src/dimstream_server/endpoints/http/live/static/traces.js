/**
 * Means of regions over time, as the server sends them.
 * @module
 */

const MOST = 65536; // frames, as many as the timeline has

export class Traces {
  constructor() {
    this._key = "";
    /** @type {Map<number, {raw: number[], denoised: number[]}>} by frame */
    this._means = new Map();
  }

  /**
   * Take means; those of other regions replace all.
   * @param {import("./protocol.js").Message} message
   */
  add({ header, parts }) {
    const key = JSON.stringify(header.rois);
    if (key !== this._key) {
      this._key = key;
      this._means.clear();
    }
    const count = header.rois.length;
    const of = (/** @type {string} */ kind, /** @type {number} */ at) =>
      Array.from(parts[kind].data.subarray(at * count, (at + 1) * count));
    parts.seq.data.forEach((seq, at) => {
      this._means.set(seq, { raw: of("raw", at), denoised: of("denoised", at) });
      if (this._means.size > MOST) this._means.delete(this._means.keys().next().value ?? 0);
    });
  }

  /** Frames whose means are known. */
  get size() {
    return this._means.size;
  }

  /**
   * The means of one region, for each row; NaN where the frame was not in memory any more.
   * @param {import("./frame_figures.js").Rows} rows
   * @param {"raw" | "denoised"} kind
   * @param {number} region
   * @returns {Float32Array}
   */
  line(rows, kind, region) {
    const values = new Float32Array(rows.count).fill(NaN);
    for (let row = 0; row < rows.count; row++) {
      const means = this._means.get(rows.columns.seq[row]);
      if (means !== undefined) values[row] = means[kind][region];
    }
    return values;
  }
}
