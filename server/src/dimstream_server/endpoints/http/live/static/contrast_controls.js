/**
 * The fields and buttons of the contrast.
 * @module
 */

import { element, setOptions } from "./dom.js";
import { LUT_NAMES } from "./luts.js";

export class ContrastControls {
  /** @param {any} app */
  constructor(app) {
    const contrast = /** @type {import("./contrast.js").Contrast} */ (app.contrast);
    this._contrast = contrast;
    this._histogram = /** @type {import("./histogram.js").Histogram} */ (app.histogram);
    const input = (/** @type {string} */ id) => element(id, HTMLInputElement);
    const range = (/** @type {"low" | "high"} */ end) => {
      const value = Number(input(end).value);
      const { shown } = this._histogram;
      if (input(end).value !== "" && Number.isFinite(value)) contrast.set(shown, { ...contrast.ranges[shown], [end]: value });
    };
    input("low").onchange = () => range("low");
    input("high").onchange = () => range("high");
    input("factor").onchange = () => contrast.setFactor(Number(input("factor").value));
    input("linked").onchange = () => contrast.link(input("linked").checked);
    element("auto", HTMLButtonElement).onclick = () => contrast.auto(app.statistics.raw, app.statistics.denoised);
    element("copy-raw", HTMLButtonElement).onclick = () => contrast.copy("raw");
    element("copy-denoised", HTMLButtonElement).onclick = () => contrast.copy("denoised");
    const of = element("histogram-of", HTMLSelectElement);
    of.onchange = () => {
      this._histogram.shown = /** @type {"raw" | "denoised"} */ (of.value);
      app.repaint();
    };
    const lut = element("lut", HTMLSelectElement);
    setOptions(lut, LUT_NAMES.map((name) => [name, name]));
    lut.onchange = () => this._setAnd(app, { lut: lut.value });
    input("show-zero").onchange = () => this._setAnd(app, { showZero: input("show-zero").checked });
    input("show-ceiling").onchange = () => this._setAnd(app, { showCeiling: input("show-ceiling").checked });
    input("ignore-zeros").onchange = () => this._setAnd(app, { ignoreZeros: input("ignore-zeros").checked });
  }

  /** Put what is in force into the fields, but for one that is being typed into. */
  show() {
    const { ranges, factor, isLinked } = this._contrast;
    const range = ranges[this._histogram.shown];
    for (const [id, value] of /** @type {const} */ ([["low", range.low], ["high", range.high], ["factor", factor]])) {
      const field = element(id, HTMLInputElement);
      if (document.activeElement !== field) field.value = String(Number(value.toPrecision(4)));
    }
    element("copies", HTMLElement).hidden = isLinked;
  }

  /**
   * @param {any} app
   * @param {Partial<import("./contrast.js").Contrast>} values
   */
  _setAnd(app, values) {
    Object.assign(this._contrast, values);
    app.repaint();
  }
}
