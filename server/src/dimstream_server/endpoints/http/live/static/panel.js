/**
 * A canvas that shows pictures of one frame, with scale bar, cursor and regions.
 * @module
 */

import { drawScaleBar, scaleBar } from "./scale_bar.js";

const SPLIT_GRIP = 8;

/**
 * @typedef {object} Scene
 * @property {(import("./picture.js").Picture)[]} pictures drawn one above the other
 * @property {{picture: import("./picture.js").Picture, at: number} | null} left drawn left of a place (0 to 1)
 * @property {number | null} pixelSizeUm
 * @property {{x: number, y: number} | null} cursor image pixel under the pointer
 * @property {import("./regions.js").Region[]} regions
 * @property {string} message shown in the middle, instead of a picture
 */

/**
 * @typedef {object} Pointer
 * @property {(x: number, y: number) => void} onHover image pixel
 * @property {() => void} onLeave
 * @property {(at: number) => void} onSplit
 * @property {() => boolean} isSplit
 * @property {() => boolean} isMarking
 * @property {(from: {x: number, y: number}, to: {x: number, y: number}, isDone: boolean) => void} onMark
 */

export class Panel {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./viewport.js").Viewport} viewport
   * @param {Pointer} pointer
   */
  constructor(canvas, viewport, pointer) {
    this.canvas = canvas;
    this._viewport = viewport;
    this._pointer = pointer;
    this._context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this._split = 0.5;
    this._listen();
  }

  /** Whether it is on the page. */
  get isShown() {
    return this.canvas.offsetParent !== null;
  }

  /** Take the size that the page gives it; all shown panels are of one size. */
  resize() {
    if (!this.isShown) return;
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this._viewport.setPanel(clientWidth, clientHeight);
  }

  /** @param {Scene} scene */
  draw(scene) {
    if (!this.isShown) return;
    const context = this._context;
    const { width, height } = this._viewport.panel;
    const ratio = window.devicePixelRatio || 1;
    this._split = scene.left === null ? -1 : scene.left.at * width;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#0b0d0f";
    context.fillRect(0, 0, width, height);
    drawScene(context, this._viewport, scene, { width, height });
  }

  _listen() {
    const { canvas } = this;
    const viewport = this._viewport;
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        viewport.zoom(1.2 ** (-Math.sign(event.deltaY) * Math.min(3, Math.abs(event.deltaY) / 100)), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
    canvas.addEventListener("dblclick", () => viewport.fit());
    canvas.addEventListener("pointermove", (event) => this._hover(event));
    canvas.addEventListener("pointerleave", () => this._pointer.onLeave());
    canvas.addEventListener("pointerdown", (event) => this._press(event));
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const { x, y } = this._viewport.toImage(event.offsetX, event.offsetY);
    this._pointer.onHover(Math.floor(x), Math.floor(y));
    const isGrip = this._pointer.isSplit() && Math.abs(event.offsetX - this._split) < SPLIT_GRIP;
    this.canvas.style.cursor = isGrip ? "ew-resize" : this._pointer.isMarking() ? "crosshair" : "default";
  }

  /** @param {PointerEvent} event */
  _press(event) {
    if (event.button !== 0) return;
    const { canvas } = this;
    const viewport = this._viewport;
    canvas.setPointerCapture(event.pointerId);
    const isGrip = this._pointer.isSplit() && Math.abs(event.offsetX - this._split) < SPLIT_GRIP;
    const isMarking = this._pointer.isMarking();
    const from = viewport.toImage(event.offsetX, event.offsetY);
    const move = (/** @type {PointerEvent} */ moved) => {
      if (isGrip) this._pointer.onSplit(Math.max(0, Math.min(1, moved.offsetX / viewport.panel.width)));
      else if (isMarking) this._pointer.onMark(from, viewport.toImage(moved.offsetX, moved.offsetY), false);
      else if (moved.movementX || moved.movementY) viewport.pan(moved.movementX, moved.movementY);
    };
    const end = (/** @type {PointerEvent} */ ended) => {
      canvas.removeEventListener("pointermove", move);
      if (isMarking) this._pointer.onMark(from, viewport.toImage(ended.offsetX, ended.offsetY), true);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end, { once: true });
  }
}

/**
 * Draw a scene; also what a snapshot is made by.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./viewport.js").Viewport} viewport
 * @param {Scene} scene
 * @param {{width: number, height: number}} size
 */
export function drawScene(context, viewport, scene, { width, height }) {
  if (scene.message) {
    context.fillStyle = "#9aa4ad";
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(scene.message, width / 2, height / 2, width - 24);
    return;
  }
  for (const picture of scene.pictures) picture.draw(context, viewport);
  if (scene.left !== null) drawLeft(context, viewport, scene.left, { width, height });
  for (const region of scene.regions) drawRegion(context, viewport, region);
  if (scene.cursor !== null) drawCursor(context, viewport, scene.cursor);
  if (scene.pixelSizeUm !== null) {
    const bar = scaleBar(scene.pixelSizeUm, viewport.scale, width / 4);
    if (bar !== null) drawScaleBar(context, bar, width, height);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {import("./viewport.js").Viewport} viewport
 * @param {{picture: import("./picture.js").Picture, at: number}} left
 * @param {{width: number, height: number}} size
 */
function drawLeft(context, viewport, left, { width, height }) {
  const x = left.at * width;
  context.save();
  context.beginPath();
  context.rect(0, 0, x, height);
  context.clip();
  context.fillStyle = "#0b0d0f";
  context.fillRect(0, 0, x, height);
  left.picture.draw(context, viewport);
  context.restore();
  context.fillStyle = "#e8edf2";
  context.fillRect(x - 0.5, 0, 1, height);
  context.fillRect(x - 3, height / 2 - 14, 6, 28);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {import("./viewport.js").Viewport} viewport
 * @param {import("./regions.js").Region} region
 */
function drawRegion(context, viewport, region) {
  const from = viewport.toPanel(region.x, region.y);
  context.strokeStyle = region.colour;
  context.lineWidth = 1.5;
  context.strokeRect(from.x, from.y, region.width * viewport.scale, region.height * viewport.scale);
  context.fillStyle = region.colour;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "left";
  context.fillText(region.name, from.x + 3, from.y - 3);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {import("./viewport.js").Viewport} viewport
 * @param {{x: number, y: number}} cursor
 */
function drawCursor(context, viewport, cursor) {
  const from = viewport.toPanel(cursor.x, cursor.y);
  const side = Math.max(viewport.scale, 5);
  const shift = (side - viewport.scale) / 2;
  context.strokeStyle = "rgba(255, 255, 255, 0.8)";
  context.lineWidth = 1;
  context.strokeRect(from.x - shift - 0.5, from.y - shift - 0.5, side + 1, side + 1);
}
