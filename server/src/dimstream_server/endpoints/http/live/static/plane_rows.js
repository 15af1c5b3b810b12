/**
 * Which rows of the figures belong to the plane that is shown.
 * @module
 */

/** The rows of one plane, found again only when there are other ones. */
export class PlaneRows {
  constructor() {
    this._key = "";
    /** @type {number[]} */
    this._rows = [];
  }

  /**
   * Rows of a plane, in the order of their frames.
   * @param {import("./frame_figures.js").Rows} rows
   * @param {string} streamId
   * @param {number | null} place of the plane among those of its stream
   */
  of(rows, streamId, place) {
    const key = [streamId, rows.generation, rows.count, place].join();
    if (this._key !== key) {
      this._key = key;
      this._rows = rows.of(place);
    }
    return this._rows;
  }
}

/**
 * The last row whose frame is this one, or comes before it; null where there is none.
 * @param {number} seq
 * @param {number[]} shown in the order of their frames
 * @param {import("./frame_figures.js").Rows} rows
 */
export function lastRowUpTo(seq, shown, rows) {
  let [from, to] = [0, shown.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (rows.columns.seq[shown[middle]] > seq) to = middle;
    else from = middle + 1;
  }
  return from === 0 ? null : shown[from - 1];
}
