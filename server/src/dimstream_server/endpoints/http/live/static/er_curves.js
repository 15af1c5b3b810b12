/**
 * Figures of the ER that an analysis sends, as curves: which are shown, and what is known of them.
 * @module
 */

import { Rows } from "./frame_figures.js";
import { lastRowUpTo } from "./plane_rows.js";
import { FLAGS } from "./protocol.js";

const MOST = 4;
const FIRST = ["foreground", "junctions"];
const COLOURS = ["#009e73", "#cc79a7", "#56b4e9", "#f0e442"]; // as in the timeline, seen apart by all
const OK = 0;

/**
 * @typedef {object} Figure
 * @property {string} name
 * @property {string} title
 * @property {string} definition
 * @property {string} unit_px
 * @property {string} unit_um
 *
 * @typedef {object} Curve
 * @property {Float32Array} values of frames that are ok, for each row of the timeline
 * @property {Uint8Array} breaks rows at which the curve is interrupted: their figures are not those of an ok frame
 * @property {Record<string, Float32Array>} marks values of other frames, by flag
 */

export class ErCurves {
  constructor() {
    /** @type {string[]} names of the figures that are shown */
    this.chosen = [...FIRST];
    this.rows = new Rows();
    /** @type {Figure[]} all that there are */
    this.known = [];
    this.version = 0; // changes with all that is drawn
    this._isAsked = false;
  }

  /** Forget what another stream had. */
  clear() {
    this.rows = new Rows();
    this.version += 1;
  }

  /** Whether there is anything to draw. */
  get isShown() {
    return this.rows.count > 0 && this.chosen.length > 0;
  }

  /**
   * Show a figure, or no more; at most four, of which the first makes room.
   * @param {string} name
   */
  toggle(name) {
    const others = this.chosen.filter((one) => one !== name);
    this.chosen = others.length < this.chosen.length ? others : [...others.slice(-(MOST - 1)), name];
    this.version += 1;
  }

  /**
   * Take figures of frames; those that were asked for before others were chosen are left out.
   * @param {import("./protocol.js").Message} message
   */
  add(message) {
    if (!this.chosen.every((name) => name in message.parts)) return;
    this.rows.add(message);
    this.version += 1;
  }

  /**
   * Ask the server once which figures there are.
   * @param {Record<string, string>} headers
   * @param {() => void} onKnown
   */
  async ask(headers, onKnown) {
    if (this._isAsked) return;
    this._isAsked = true;
    try {
      const answer = await fetch("/v1/figures", { headers });
      if (answer.ok) this.known = (await answer.json()).figures;
      this._isAsked = answer.ok;
    } catch {
      this._isAsked = false; // asked again with the next figures that come
    }
    this.version += 1;
    onKnown();
  }

  /**
   * What people call a figure, with its unit.
   * @param {string} name
   * @param {boolean} isScaled whether the size of pixels is known
   */
  title(name, isScaled) {
    const figure = this.known.find((one) => one.name === name);
    if (figure === undefined) return name;
    const unit = isScaled ? figure.unit_um : figure.unit_px;
    return unit ? `${figure.title}, ${unit}` : figure.title;
  }

  /** @param {number} place among those that are chosen */
  colour(place) {
    return COLOURS[place % COLOURS.length];
  }

  /**
   * The curve of a figure. Where only some frames have rows, a figure stands at the row of its frame or the one before.
   * @param {string} name
   * @param {import("./frame_figures.js").Rows} timeline
   * @param {number[]} shown rows of the timeline that are drawn
   * @param {number | null} plane place of the plane that is shown; null: all
   * @returns {Curve}
   */
  curve(name, timeline, shown, plane) {
    const empty = () => new Float32Array(timeline.count).fill(NaN);
    /** @type {Curve} */
    const curve = { values: empty(), breaks: new Uint8Array(timeline.count), marks: {} };
    const { columns, count } = this.rows;
    const figures = columns[name];
    if (figures === undefined) return curve; // just chosen: its values are on their way
    for (let i = 0; i < count; i++) {
      if (plane !== null && columns.plane[i] !== plane) continue;
      const row = lastRowUpTo(columns.seq[i], shown, timeline);
      if (row === null) continue;
      const flag = FLAGS[columns.flag[i]];
      if (columns.flag[i] === OK) {
        curve.values[row] = figures[i];
      } else {
        curve.breaks[row] = 1;
        curve.marks[flag] ??= empty();
        curve.marks[flag][row] = figures[i];
      }
    }
    return curve;
  }

  /**
   * The value of a figure at a row of the timeline; NaN: the frame was not analysed.
   * @param {string} name
   * @param {number} seq
   */
  value(name, seq) {
    const { columns, count } = this.rows;
    for (let i = count - 1; i >= 0; i--) if (columns.seq[i] === seq) return columns[name]?.[i] ?? NaN;
    return NaN;
  }
}
