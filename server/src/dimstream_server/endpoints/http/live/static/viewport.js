/**
 * Which part of the image is seen, and how large: shared by all panels, so that they move together.
 * @module
 */

const LARGEST_SCALE = 64;

export class Viewport {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this._onChange = onChange;
    this.image = { width: 1, height: 1 };
    this.panel = { width: 1, height: 1 };
    this.isFitted = true;
    /** Screen pixels per image pixel. */
    this.scale = 1;
    /** Image coordinates in the panel's centre. */
    this.centre = { x: 0.5, y: 0.5 };
  }

  /**
   * Take note of the image's size, pixels.
   * @param {number} width
   * @param {number} height
   */
  setImage(width, height) {
    if (width === this.image.width && height === this.image.height) return;
    this.image = { width, height };
    this.fit();
  }

  /**
   * Take note of the panels' size, CSS pixels.
   * @param {number} width
   * @param {number} height
   */
  setPanel(width, height) {
    if (width === this.panel.width && height === this.panel.height) return;
    this.panel = { width, height };
    if (this.isFitted) this.fit();
    else this._onChange();
  }

  /** Show all of the image. */
  fit() {
    this.isFitted = true;
    this.scale = this._fitting();
    this.centre = { x: this.image.width / 2, y: this.image.height / 2 };
    this._onChange();
  }

  /**
   * Zoom, and keep what is at a place of the panel where it is.
   * @param {number} factor
   * @param {number} x CSS pixels
   * @param {number} y
   */
  zoom(factor, x = this.panel.width / 2, y = this.panel.height / 2) {
    const before = this.toImage(x, y);
    this.scale = Math.max(this._fitting() / 2, Math.min(LARGEST_SCALE, this.scale * factor));
    const after = this.toImage(x, y);
    this._moveTo(this.centre.x + before.x - after.x, this.centre.y + before.y - after.y);
  }

  /**
   * Move the image with the pointer.
   * @param {number} dx CSS pixels
   * @param {number} dy
   */
  pan(dx, dy) {
    this._moveTo(this.centre.x - dx / this.scale, this.centre.y - dy / this.scale);
  }

  /**
   * Image coordinates (pixel i lies from i to i + 1) of a place of the panel.
   * @param {number} x CSS pixels
   * @param {number} y
   */
  toImage(x, y) {
    return {
      x: (x - this.panel.width / 2) / this.scale + this.centre.x,
      y: (y - this.panel.height / 2) / this.scale + this.centre.y,
    };
  }

  /**
   * Place in the panel, CSS pixels, of image coordinates.
   * @param {number} x
   * @param {number} y
   */
  toPanel(x, y) {
    return {
      x: (x - this.centre.x) * this.scale + this.panel.width / 2,
      y: (y - this.centre.y) * this.scale + this.panel.height / 2,
    };
  }

  _fitting() {
    return Math.min(this.panel.width / this.image.width, this.panel.height / this.image.height) || 1;
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  _moveTo(x, y) {
    this.isFitted = false;
    const within = (/** @type {number} */ value, /** @type {number} */ most) => Math.max(0, Math.min(most, value));
    this.centre = { x: within(x, this.image.width), y: within(y, this.image.height) };
    this._onChange();
  }
}
