/**
 * What people do with pointer and controls.
 * @module
 */

import { element } from "./dom.js";
import { listenToCurves } from "./er_controls.js";
import { listenToKeys } from "./keys.js";

/**
 * What a panel tells of the pointer.
 * @param {any} app
 * @returns {import("./panel.js").Pointer}
 */
export function pointerOf(app) {
  return {
    onHover: (x, y) => {
      app.cursor = x < 0 || y < 0 || x >= app.viewport.image.width || y >= app.viewport.image.height ? null : { x, y };
      app.redraw();
    },
    onLeave: () => {
      app.cursor = null;
      app.redraw();
    },
    onSplit: (at) => {
      app.split = at;
      app.redraw();
    },
    isSplit: () => app.mode === "swipe",
    isMarking: () => app.marking.isMarking,
    onMark: (from, to, isDone) => app.marking.mark(from, to, isDone),
  };
}

/**
 * Listen to the controls of the page.
 * @param {any} app
 */
export function listen(app) {
  new ResizeObserver(() => app.redraw()).observe(element("stage", HTMLElement));
  element("stream", HTMLSelectElement).onchange = (event) => app.choose(/** @type {HTMLSelectElement} */ (event.target).value);
  // keys are the page's again once something was chosen
  document.addEventListener("change", (event) => event.target instanceof HTMLSelectElement && event.target.blur());
  element("follow", HTMLButtonElement).onclick = () => app.show(null);
  element("previous", HTMLButtonElement).onclick = () => app.step(-1);
  element("next", HTMLButtonElement).onclick = () => app.step(1);
  const seq = element("seq", HTMLInputElement);
  seq.onchange = () => app.show(Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.round(Number(seq.value)))));
  element("show-support", HTMLInputElement).onchange = () => {
    app.want();
    app.redraw();
  };
  for (const button of document.querySelectorAll(".modes button")) {
    /** @type {HTMLElement} */ (button).onclick = () => app.setMode(/** @type {import("./app.js").Mode} */ (/** @type {HTMLElement} */ (button).dataset.mode));
  }
  element("mark", HTMLButtonElement).onclick = () => app.marking.toggle();
  element("unmark", HTMLButtonElement).onclick = () => app.marking.clear();
  for (const what of /** @type {const} */ (["snapshot", "tiff", "movie"])) {
    element(what, HTMLButtonElement).onclick = () => app.capture(what);
  }
  element("login", HTMLDialogElement).onclose = () => {
    const token = element("token", HTMLInputElement);
    if (token.value) app.connection.useToken(token.value);
    token.value = "";
  };
  listenToCurves(app);
  listenToKeys(app);
  app.setMode("side");
}
