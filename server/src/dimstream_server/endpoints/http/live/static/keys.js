/**
 * Keys, and the list of them.
 * @module
 */

import { element } from "./dom.js";

/** @typedef {InstanceType<any>} App */

/** @type {[string, string, (app: any) => void][]} key, what it does, how */
const KEYS = [
  ["ArrowLeft", "frame before", (app) => app.step(-1)],
  ["ArrowRight", "frame after", (app) => app.step(1)],
  ["Home", "first frame", (app) => app.step(-Infinity)],
  ["End", "follow the newest frame", (app) => app.show(null)],
  ["f", "follow the newest frame", (app) => app.show(null)],
  ["1", "side by side", (app) => app.setMode("side")],
  ["2", "swipe", (app) => app.setMode("swipe")],
  ["3", "toggle", (app) => app.setMode("toggle")],
  ["4", "all streams", (app) => app.setMode("all")],
  ["t", "raw or denoised (toggle)", (app) => toggle(app)],
  ["a", "contrast by this frame", (app) => app.contrast.auto(app.statistics.raw, app.statistics.denoised)],
  ["m", "support map", () => element("show-support", HTMLInputElement).click()],
  ["l", "mark saturated pixels", () => element("show-ceiling", HTMLInputElement).click()],
  ["+", "zoom in", (app) => app.viewport.zoom(1.5)],
  ["-", "zoom out", (app) => app.viewport.zoom(1 / 1.5)],
  ["0", "whole image", (app) => app.viewport.fit()],
  ["r", "draw a region, whose mean is followed", (app) => app.marking.toggle()],
  ["s", "save a picture (PNG)", (app) => app.capture("snapshot")],
  ["?", "this list", () => element("help", HTMLDialogElement).showModal()],
];

/** @param {any} app */
export function listenToKeys(app) {
  const table = element("keys", HTMLTableElement);
  for (const [key, what] of KEYS) {
    const row = table.insertRow();
    row.insertCell().textContent = key.replace("Arrow", "");
    row.insertCell().textContent = what;
  }
  element("help-button", HTMLButtonElement).onclick = () => element("help", HTMLDialogElement).showModal();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const found = KEYS.find(([key]) => key === event.key || key === event.key.toLowerCase());
    if (found === undefined) return;
    event.preventDefault();
    found[2](app);
  });
}

/** @param {any} app */
function toggle(app) {
  if (app.mode !== "toggle") app.setMode("toggle");
  app.isRawShown = !app.isRawShown;
  app.redraw();
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "checkbox");
}
