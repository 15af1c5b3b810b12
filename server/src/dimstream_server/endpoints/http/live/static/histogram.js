/**
 * The histogram of both images over one axis, and the range that is shown, which can be dragged.
 * @module
 */

const GRIP = 7;
const COLOURS = { raw: "#9aa4ad", denoised: "#56b4e9" };
const PERCENTILES = [0.01, 0.5, 0.99];

/** @typedef {import("./statistics.js").Statistics} Statistics */

export class Histogram {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./contrast.js").Contrast} contrast
   */
  constructor(canvas, contrast) {
    this._canvas = canvas;
    this._contrast = contrast;
    /** @type {{raw: Statistics | null, denoised: Statistics | null}} */
    this._of = { raw: null, denoised: null };
    /** @type {"raw" | "denoised"} whose range is dragged, and whose values the axis has */
    this.shown = "raw";
    canvas.addEventListener("pointerdown", (event) => this._press(event));
    canvas.addEventListener("pointermove", (event) => {
      canvas.style.cursor = this._grip(event.offsetX) === null ? "default" : "ew-resize";
    });
  }

  /**
   * @param {Statistics | null} raw
   * @param {Statistics | null} denoised
   */
  set(raw, denoised) {
    this._of = { raw, denoised };
  }

  draw() {
    const canvas = this._canvas;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this._drawRange(context, width, height);
    for (const which of /** @type {const} */ (["raw", "denoised"])) this._drawCurve(context, which, width, height - 14);
    this._drawPercentiles(context, width, height);
  }

  /** The axis, in values of the image whose range is shown: from, to. */
  get _axis() {
    const { ranges } = this._contrast;
    const highs = [ranges[this.shown].high];
    const lows = [0, ranges[this.shown].low];
    for (const which of /** @type {const} */ (["raw", "denoised"])) {
      const of = this._of[which];
      if (of !== null) {
        highs.push(of.high * this._factor(which));
        lows.push(of.low * this._factor(which));
      }
    }
    const [low, high] = [Math.min(...lows), Math.max(...highs)];
    return { low: low - (high - low) * 0.02, high: high + (high - low || 1) * 0.05 };
  }

  /**
   * What brings values of an image onto the axis.
   * @param {"raw" | "denoised"} which
   */
  _factor(which) {
    if (which === this.shown) return 1;
    return which === "raw" ? this._contrast.factor : 1 / this._contrast.factor;
  }

  /**
   * @param {number} value
   * @param {number} width
   */
  _x(value, width) {
    const { low, high } = this._axis;
    return ((value - low) / (high - low)) * width;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  _drawRange(context, width, height) {
    const { low, high } = this._contrast.ranges[this.shown];
    const [from, to] = [this._x(low, width), this._x(high, width)];
    context.fillStyle = "rgba(255, 255, 255, 0.07)";
    context.fillRect(from, 0, to - from, height - 14);
    context.fillStyle = "#e8edf2";
    for (const x of [from, to]) {
      context.fillRect(x - 0.5, 0, 1, height - 14);
      context.fillRect(x - 2.5, height - 22, 5, 8);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {"raw" | "denoised"} which
   * @param {number} width
   * @param {number} height
   */
  _drawCurve(context, which, width, height) {
    const of = this._of[which];
    if (of === null) return;
    const most = Math.log1p(Math.max(...of.counts));
    const step = (of.high - of.low || 1) / (of.counts.length - 1);
    context.beginPath();
    let isFirst = true;
    of.counts.forEach((count, bin) => {
      if (count === 0) return; // whole numbers leave bins between them empty
      const x = this._x((of.low + bin * step) * this._factor(which), width);
      const y = height - (Math.log1p(count) / most) * (height - 4);
      if (isFirst) context.moveTo(x, y);
      else context.lineTo(x, y);
      isFirst = false;
    });
    context.strokeStyle = COLOURS[which];
    context.lineWidth = 1.25;
    context.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  _drawPercentiles(context, width, height) {
    const of = this._of[this.shown];
    if (of === null) return;
    context.fillStyle = "#9aa4ad";
    context.font = "10px system-ui, sans-serif";
    let free = -Infinity;
    for (const share of PERCENTILES) {
      const value = of.percentile(share, this._contrast.ignoreZeros);
      const label = `P${Math.round(share * 100)} ${Number(value.toPrecision(3))}`;
      const size = context.measureText(label).width;
      const x = this._x(value, width);
      context.fillRect(x - 0.5, height - 14, 1, 3);
      const place = Math.max(free, Math.min(width - size, Math.max(0, x - size / 2)));
      if (place + size > width + 1) continue;
      context.fillText(label, place, height - 2);
      free = place + size + 6;
    }
  }

  /**
   * @param {number} x
   * @returns {"low" | "high" | null}
   */
  _grip(x) {
    const width = this._canvas.clientWidth;
    const { low, high } = this._contrast.ranges[this.shown];
    const [from, to] = [Math.abs(x - this._x(low, width)), Math.abs(x - this._x(high, width))];
    if (Math.min(from, to) > GRIP) return null;
    return from < to ? "low" : "high";
  }

  /** @param {PointerEvent} event */
  _press(event) {
    const grip = this._grip(event.offsetX);
    if (grip === null) return;
    const canvas = this._canvas;
    canvas.setPointerCapture(event.pointerId);
    const axis = this._axis; // stays as it is while the handle is held
    const move = (/** @type {PointerEvent} */ moved) => {
      const value = axis.low + (moved.offsetX / canvas.clientWidth) * (axis.high - axis.low);
      this._contrast.set(this.shown, { ...this._contrast.ranges[this.shown], [grip]: value });
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", () => canvas.removeEventListener("pointermove", move), { once: true });
  }
}
