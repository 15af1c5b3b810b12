/**
 * The timeline: what every frame of the run was found to be, with thresholds; a click goes to a frame.
 * @module
 */

import { FLAGS } from "./protocol.js";

/** Colours of flags, seen apart by colour-blind people; their height tells them apart as well. */
export const FLAG_COLOURS = { ok: "#56b4e9", unjudged: "#7d8790", failed: "#cc79a7", suspect: "#e69f00" };

const HEIGHTS = { ok: 0.4, unjudged: 0.6, failed: 1, suspect: 1 };
const LEFT = 98;
const LABEL_MARGIN = 32; // of a lane's name, for the numbers beside it
const LABEL_LINE = 11;
const RIGHT = 12;
const FLAG_LANE = 18;
const GAP = 5;
const LINE = "#c6ced6";

/**
 * @typedef {object} Lane
 * @property {string} name
 * @property {number | null} low null: 0, or lower where values are
 * @property {number | null} high null: as high as the values go
 * @property {number | null} threshold
 * @property {{values: ArrayLike<number>, colour: string, breaks?: Uint8Array}[]} lines with `breaks` a line joins values
 *   over frames that have none, but not over those at which it breaks
 * @property {{values: ArrayLike<number>, colour: string}[]} marks drawn as points, by no line
 * @property {boolean} isStacked whether the lines are shares that add up, filled
 */

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(row: number) => void} onPick
   * @param {(row: number | null, x: number) => void} onHover
   */
  constructor(canvas, onPick, onHover) {
    this._canvas = canvas;
    /** @type {number[]} rows that are shown */
    this._shown = [];
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this._pick(event, onPick);
    });
    canvas.addEventListener("pointermove", (event) => {
      onHover(this._row(event.offsetX), event.offsetX);
      if (event.buttons & 1) this._pick(event, onPick);
    });
    canvas.addEventListener("pointerleave", () => onHover(null, 0));
  }

  /**
   * @param {import("./frame_figures.js").Rows} rows
   * @param {number[]} shown numbers of the rows
   * @param {Lane[]} lanes
   * @param {number | null} current row whose frame is shown
   */
  draw(rows, shown, lanes, current) {
    this._shown = shown;
    const context = this._prepared();
    const { clientWidth: width, clientHeight: height } = this._canvas;
    this._width = width - LEFT - RIGHT;
    this._drawFlags(context, rows);
    const laneHeight = (height - FLAG_LANE - GAP) / lanes.length - GAP;
    lanes.forEach((lane, place) => {
      this._drawLane(context, lane, FLAG_LANE + GAP + place * (laneHeight + GAP), laneHeight);
    });
    if (current !== null) this._drawCurrent(context, current, height);
  }

  _prepared() {
    const canvas = this._canvas;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, sans-serif";
    return context;
  }

  /** @param {number} place among the shown rows */
  _x(place) {
    return LEFT + (this._shown.length < 2 ? 0.5 : place / (this._shown.length - 1)) * (this._width ?? 1);
  }

  /**
   * @param {number} x
   * @returns {number | null}
   */
  _row(x) {
    if (this._shown.length === 0 || x < LEFT - 6) return null;
    const place = Math.round(((x - LEFT) / (this._width ?? 1)) * (this._shown.length - 1));
    return this._shown[Math.max(0, Math.min(this._shown.length - 1, place))];
  }

  /**
   * @param {PointerEvent} event
   * @param {(row: number) => void} onPick
   */
  _pick(event, onPick) {
    const row = this._row(event.offsetX);
    if (row !== null) onPick(row);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {import("./frame_figures.js").Rows} rows
   */
  _drawFlags(context, rows) {
    label(context, "flag", 0, FLAG_LANE);
    for (const { from, to } of this._spans()) {
      let worst = 0; // one suspect frame among hundreds is seen
      for (let place = from; place < to; place++) worst = Math.max(worst, rows.columns.flag[this._shown[place]]);
      const name = /** @type {keyof typeof FLAG_COLOURS} */ (FLAGS[worst]);
      const tall = HEIGHTS[name] * FLAG_LANE;
      context.fillStyle = FLAG_COLOURS[name];
      this._bar(context, from, to, FLAG_LANE - tall, tall);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Lane} lane
   * @param {number} top
   * @param {number} height
   */
  _drawLane(context, lane, top, height) {
    const low = lane.low ?? this._lowest(lane);
    const high = lane.high ?? this._highest(lane, low);
    const y = (/** @type {number} */ value) =>
      top + height - Math.max(0, Math.min(1, (value - low) / (high - low || 1))) * height;
    context.fillStyle = "#101316";
    context.fillRect(LEFT, top, this._width ?? 1, height);
    if (lane.isStacked) this._drawShares(context, lane, y);
    else for (const line of lane.lines) this._drawLine(context, line, y);
    for (const points of lane.marks) this._drawMarks(context, points, y);
    if (lane.threshold !== null) drawThreshold(context, y(lane.threshold), this._width ?? 1);
    label(context, lane.name, top, height);
    context.fillStyle = "#6d7780";
    context.textAlign = "right";
    if (height > 22) {
      context.fillText(short(high), LEFT - 5, top + 9);
      context.fillText(short(low), LEFT - 5, top + height - 1);
    }
  }

  /** @param {Lane} lane */
  _lowest(lane) {
    let lowest = 0;
    for (const { values } of [...lane.lines, ...lane.marks]) {
      for (const row of this._shown) if (values[row] < lowest) lowest = values[row];
    }
    return lowest;
  }

  /**
   * @param {Lane} lane
   * @param {number} low
   */
  _highest(lane, low) {
    let highest = lane.threshold ?? low;
    for (const { values } of [...lane.lines, ...lane.marks]) {
      for (const row of this._shown) if (values[row] > highest) highest = values[row];
    }
    return highest > low ? low + (highest - low) * 1.05 : low + 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {{values: ArrayLike<number>, colour: string}} points
   * @param {(value: number) => number} y
   */
  _drawMarks(context, { values, colour }, y) {
    context.fillStyle = colour;
    for (const { x, low, high } of this._columns(values)) {
      for (const value of low === high ? [low] : [low, high]) {
        if (value !== null) context.fillRect(Math.round(x) - 2, Math.round(y(value)) - 2, 4, 4);
      }
    }
  }

  /**
   * Where many frames share a column of the screen, their range is drawn: nothing short is lost.
   * @param {CanvasRenderingContext2D} context
   * @param {{values: ArrayLike<number>, colour: string, breaks?: Uint8Array}} line
   * @param {(value: number) => number} y
   */
  _drawLine(context, { values, colour, breaks }, y) {
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.lineWidth = 1.2;
    context.beginPath();
    let isDown = false;
    for (const { x, low, high, isBroken } of this._columns(values, breaks)) {
      if (low === null || high === null) {
        isDown = isDown && breaks !== undefined && !isBroken;
        continue;
      }
      if (isDown) context.lineTo(x, y(low));
      else context.moveTo(x, y(low));
      if (high !== low) context.lineTo(x, y(high));
      else if (breaks !== undefined) context.fillRect(Math.round(x) - 1, Math.round(y(low)) - 1, 2, 2);
      else if (!isDown) context.fillRect(x - 1, y(low) - 1, 2, 2);
      isDown = true;
    }
    context.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Lane} lane
   * @param {(value: number) => number} y
   */
  _drawShares(context, lane, y) {
    for (const { from, to } of this._spans()) {
      let below = 0;
      for (const { values, colour } of lane.lines) {
        const mean = this._mean(values, from, to);
        if (Number.isNaN(mean)) continue;
        const [bottom, top] = [y(below), y(below + mean)];
        context.fillStyle = colour;
        this._bar(context, from, to, top, bottom - top);
        below += mean;
      }
    }
  }

  /**
   * The frames that share a column of the screen: places from `from` to before `to`.
   * @returns {{from: number, to: number}[]}
   */
  _spans() {
    const count = this._shown.length;
    const columns = Math.min(count, Math.max(1, Math.floor(this._width ?? 1)));
    const edge = (/** @type {number} */ column) => Math.floor((column * count) / columns);
    return Array.from({ length: columns }, (_, column) => ({ from: edge(column), to: edge(column + 1) }));
  }

  /**
   * Mean of the values that there are; NaN where there are none.
   * @param {ArrayLike<number>} values
   * @param {number} from
   * @param {number} to
   */
  _mean(values, from, to) {
    let [sum, count] = [0, 0];
    for (let place = from; place < to; place++) {
      const value = values[this._shown[place]];
      if (Number.isNaN(value) || value === undefined) continue;
      sum += value;
      count++;
    }
    return count === 0 ? NaN : sum / count;
  }

  /**
   * A bar around the places of frames, without gaps between neighbours.
   * @param {CanvasRenderingContext2D} context
   * @param {number} from
   * @param {number} to
   * @param {number} top
   * @param {number} height
   */
  _bar(context, from, to, top, height) {
    const most = LEFT + (this._width ?? 1);
    const step = (this._width ?? 1) / Math.max(1, this._shown.length - 1);
    const edge = (/** @type {number} */ place) => Math.floor(this._x(0) + (place - 0.5) * step);
    const left = Math.max(LEFT, edge(from));
    const right = Math.min(most, Math.max(left + 1, edge(to)));
    context.fillRect(left, top, right - left, height);
  }

  /**
   * Smallest and largest value in each column of the screen; null where there is none.
   * @param {ArrayLike<number>} values
   * @param {Uint8Array} [breaks]
   * @returns {Iterable<{x: number, low: number | null, high: number | null, isBroken: boolean}>}
   */
  *_columns(values, breaks) {
    for (const { from, to } of this._spans()) {
      let [low, high] = /** @type {[number | null, number | null]} */ ([null, null]);
      let isBroken = false;
      for (let at = from; at < to; at++) {
        isBroken ||= breaks?.[this._shown[at]] === 1;
        const value = values[this._shown[at]];
        if (Number.isNaN(value) || value === undefined) continue;
        if (low === null || value < low) low = value;
        if (high === null || value > high) high = value;
      }
      yield { x: this._x(from), low, high, isBroken };
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} row
   * @param {number} height
   */
  _drawCurrent(context, row, height) {
    const place = this._shown.indexOf(row);
    if (place < 0) return;
    context.fillStyle = "#ffffff";
    context.fillRect(Math.round(this._x(place)) - 0.5, 0, 1, height);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} y
 * @param {number} width
 */
function drawThreshold(context, y, width) {
  context.save();
  context.strokeStyle = "#e69f00";
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(LEFT, y);
  context.lineTo(LEFT + width, y);
  context.stroke();
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} top
 * @param {number} height
 */
function label(context, text, top, height) {
  context.fillStyle = LINE;
  context.textAlign = "left";
  const most = Math.max(1, Math.floor(height / LABEL_LINE));
  const lines = shortened(wrapped(context, text, LEFT - LABEL_MARGIN), most);
  const first = top + height / 2 + 4 - ((lines.length - 1) * LABEL_LINE) / 2;
  lines.forEach((line, place) => context.fillText(line, 2, first + place * LABEL_LINE, LEFT - LABEL_MARGIN));
}

/**
 * A text in lines that are no wider than this, where its words are not.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width
 */
function wrapped(context, text, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/**
 * At most so many lines; the last one, which has the unit, is kept.
 * @param {string[]} lines
 * @param {number} most
 */
function shortened(lines, most) {
  if (lines.length <= most) return lines;
  if (most < 2) return lines.slice(0, most);
  return [...lines.slice(0, most - 2), `${lines[most - 2]} …`, lines[lines.length - 1]];
}

/** @param {number} value */
function short(value) {
  return Math.abs(value) >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}
