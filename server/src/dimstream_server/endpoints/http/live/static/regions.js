/**
 * Regions of interest: rectangles of pixels whose mean is followed over time.
 * @module
 */

export const MOST_REGIONS = 4;
const COLOURS = ["#56b4e9", "#f0e442", "#cc79a7", "#009e73"]; // seen apart by colour-blind people

/**
 * @typedef {object} Region
 * @property {string} name
 * @property {string} colour
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 */

/**
 * The region between two places of an image, whole pixels within it; null where it holds none.
 * @param {{x: number, y: number}} a
 * @param {{x: number, y: number}} b
 * @param {{width: number, height: number}} image
 * @param {Region[]} others
 * @returns {Region | null}
 */
export function regionBetween(a, b, image, others) {
  const within = (/** @type {number} */ value, /** @type {number} */ most) => Math.max(0, Math.min(most, value));
  const x = within(Math.floor(Math.min(a.x, b.x)), image.width);
  const y = within(Math.floor(Math.min(a.y, b.y)), image.height);
  const width = within(Math.ceil(Math.max(a.x, b.x)), image.width) - x;
  const height = within(Math.ceil(Math.max(a.y, b.y)), image.height) - y;
  if (width < 1 || height < 1) return null;
  const free = COLOURS.findIndex((colour) => !others.some((other) => other.colour === colour));
  if (free < 0) return null;
  return { name: `ROI ${free + 1}`, colour: COLOURS[free], x, y, width, height };
}

/** The regions whose means are followed, and the one that is being drawn. */
export class Marking {
  /**
   * @param {import("./viewport.js").Viewport} viewport
   * @param {{onChange: () => void, onFollowed: () => void}} listeners what has changed has to be drawn again;
   *   other regions are followed
   */
  constructor(viewport, listeners) {
    this._viewport = viewport;
    this._listeners = listeners;
    /** @type {Region[]} */
    this.regions = [];
    /** @type {Region | null} */
    this._drawn = null;
    this.isMarking = false;
  }

  /** All regions, the one that is being drawn among them. */
  get shown() {
    return this._drawn === null ? this.regions : [...this.regions, this._drawn];
  }

  /**
   * Draw a region; follow it once it is done.
   * @param {{x: number, y: number}} from
   * @param {{x: number, y: number}} to
   * @param {boolean} isDone
   */
  mark(from, to, isDone) {
    this._drawn = regionBetween(from, to, this._viewport.image, this.regions);
    if (isDone) {
      if (this._drawn !== null) this.regions = [...this.regions, this._drawn];
      this._drawn = null;
      this.isMarking = false;
      this._listeners.onFollowed();
    }
    this._listeners.onChange();
  }

  /** Begin to draw a region, or stop it. */
  toggle() {
    this.isMarking = !this.isMarking && this.regions.length < MOST_REGIONS;
    this._listeners.onChange();
  }

  /** Follow no region any more. */
  clear() {
    this.regions = [];
    this._listeners.onFollowed();
    this._listeners.onChange();
  }
}
