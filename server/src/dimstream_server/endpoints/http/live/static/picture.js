/**
 * One image as it is shown: painted once for each frame and look, then drawn at any zoom.
 * @module
 */

import { Painter, paintSupport } from "./painting.js";

export class Picture {
  constructor() {
    this._canvas = document.createElement("canvas");
    this._painter = new Painter();
    /** @type {import("./protocol.js").Part | null} */
    this.part = null;
  }

  /**
   * Show these pixels.
   * @param {import("./protocol.js").Part | null} part
   */
  set(part) {
    this.part = part;
  }

  /** @param {import("./painting.js").Look} look */
  paint(look) {
    if (this.part === null) return;
    const image = this._image(this.part);
    this._painter.paint(this.part, look, image);
    this._put(image);
  }

  /** @param {number} opacity */
  paintAsSupport(opacity) {
    if (this.part === null) return;
    const image = this._image(this.part);
    paintSupport(/** @type {Uint8Array} */ (this.part.data), image, opacity);
    this._put(image);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {import("./viewport.js").Viewport} viewport
   */
  draw(context, viewport) {
    if (this.part === null) return;
    const from = viewport.toPanel(0, 0);
    const { width, height } = viewport.image;
    context.imageSmoothingEnabled = viewport.scale < 1;
    context.drawImage(this._canvas, from.x, from.y, width * viewport.scale, height * viewport.scale);
  }

  /**
   * The value of a pixel; undefined outside.
   * @param {number} x
   * @param {number} y
   */
  value(x, y) {
    if (this.part === null) return undefined;
    const [height, width] = this.part.shape;
    return x < 0 || y < 0 || x >= width || y >= height ? undefined : this.part.data[y * width + x];
  }

  /** @param {import("./protocol.js").Part} part */
  _image(part) {
    const [height, width] = part.shape;
    if (this._pixels === undefined || this._pixels.width !== width || this._pixels.height !== height) {
      this._pixels = new ImageData(width, height);
      this._canvas.width = width;
      this._canvas.height = height;
    }
    return this._pixels;
  }

  /** @param {ImageData} image */
  _put(image) {
    /** @type {CanvasRenderingContext2D} */ (this._canvas.getContext("2d")).putImageData(image, 0, 0);
  }
}
