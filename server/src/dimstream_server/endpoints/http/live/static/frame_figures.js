/**
 * The figures of all frames of a stream, as the server sends them: columns that grow.
 * @module
 */

const FIRST = 1024;

export class Rows {
  constructor() {
    this.generation = -1;
    this.every = 1;
    this.count = 0;
    /** @type {Record<string, import("./protocol.js").Values>} */
    this.columns = {};
  }

  /**
   * Take rows; those of another generation replace all.
   * @param {import("./protocol.js").Message} message
   */
  add({ header, parts }) {
    if (header.generation !== this.generation || header.first === 0) {
      this.generation = header.generation;
      this.count = 0;
    }
    this.every = header.every;
    const added = parts.seq.shape[0];
    for (const [name, { data }] of Object.entries(parts)) {
      this.columns[name] = this._room(this.columns[name], data, header.first + added);
      this.columns[name].set(data, header.first);
    }
    this.count = header.first + added;
  }

  /**
   * Numbers of the rows of a plane; of all when it is null.
   * @param {number | null} plane its place in the stream's list
   * @returns {number[]}
   */
  of(plane) {
    const found = [];
    for (let row = 0; row < this.count; row++) {
      if (plane === null || this.columns.plane[row] === plane) found.push(row);
    }
    return found;
  }

  /**
   * @template {import("./protocol.js").Values} T
   * @param {T | undefined} column
   * @param {T} like
   * @param {number} count
   * @returns {T}
   */
  _room(column, like, count) {
    if (column !== undefined && column.length >= count) return column;
    const Kind = /** @type {new (length: number) => T} */ (like.constructor);
    const larger = new Kind(Math.max(FIRST, 2 * count));
    if (column !== undefined) larger.set(/** @type {any} */ (column));
    return larger;
  }
}
