/**
 * The choice of curves of the ER, and how far the analysis is.
 * @module
 */

import { element, setOptions, setText } from "./dom.js";
import { duration, number } from "./number_format.js";

/**
 * Listen to the choice.
 * @param {any} app
 */
export function listenToCurves(app) {
  const list = element("curve", HTMLSelectElement);
  list.onchange = () => {
    if (list.value) app.er.toggle(list.value);
    list.value = "";
    app.want();
    app.redraw();
  };
}

/**
 * Show what can be chosen, and what was analysed.
 * @param {any} app
 */
export function writeAnalysis(app) {
  const list = element("curve", HTMLSelectElement);
  const analysis = app.stream?.analysis ?? null;
  element("er", HTMLElement).hidden = analysis === null;
  const isScaled = Boolean(app.stream?.pixel_size_um);
  const names = app.er.known.map((/** @type {import("./er_curves.js").Figure} */ one) => one.name);
  const mark = (/** @type {string} */ name) => (app.er.chosen.includes(name) ? "✓ " : "");
  /** @type {[string, string][]} */
  const options = names.map((/** @type {string} */ name) => [name, mark(name) + app.er.title(name, isScaled)]);
  setOptions(list, [["", "curves of the ER …"], ...options]);
  setText(element("analysis", HTMLElement), analysis === null ? "" : said(app, analysis));
  setText(element("er-under", HTMLElement), under(app, isScaled));
}

/**
 * The figures of the frame under the pointer, that are drawn.
 * @param {any} app
 * @param {boolean} isScaled
 */
function under(app, isScaled) {
  const row = app.hovered ?? null;
  if (row === null || row >= app.rows.count || !app.er.isShown) return "";
  const seq = app.rows.columns.seq[row];
  const values = app.er.chosen.map((/** @type {string} */ name) => `${app.er.title(name, isScaled)} ${number(app.er.value(name, seq))}`);
  return values.join(" · ");
}

/**
 * @param {any} app
 * @param {Record<string, any>} analysis
 */
function said(app, analysis) {
  const age = Math.max(0, app.server.time - analysis.found_at);
  const share = `${analysis.frames} of ${app.stream.frames} frames`;
  return `analysis: last frame ${analysis.seq}, ${duration(age)} ago, ${share}`;
}
