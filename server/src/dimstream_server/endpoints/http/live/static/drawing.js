/**
 * Draws the whole page: pictures, panels, histogram, timeline, texts.
 * @module
 */

import { element } from "./dom.js";
import { writeTexts } from "./page_texts.js";
import { erLanes, lanesOf } from "./timeline_lanes.js";

const SUPPORT_OPACITY = 0.45;
const HEIGHT = 176; // of the timeline, px
const CURVE_HEIGHT = 44; // of each curve of the ER: room for three lines of its name

export class Drawing {
  /** @param {any} app */
  constructor(app) {
    this._app = app;
    this._timelineKey = "";
  }

  /**
   * Draw all again.
   * @param {boolean} isPainted whether contrast or pixels have changed
   */
  draw(isPainted) {
    const app = this._app;
    for (const panel of Object.values(app.panels)) panel.resize();
    if (isPainted) {
      app.pictures.raw.paint(app.contrast.look("raw", app.ceiling("raw")));
      app.pictures.denoised.paint(app.contrast.look("denoised", app.ceiling("denoised")));
      app.pictures.support.paintAsSupport(SUPPORT_OPACITY);
      app.contrastControls.show();
    }
    app.panels.raw.draw(this.scene("raw"));
    app.panels.denoised.draw(this.scene(app.isRawAlone ? "raw" : "denoised"));
    app.histogram.draw();
    this._drawTimeline();
    writeTexts(app);
  }

  /** Draw the timeline, if anything of it has changed: a long run takes some milliseconds. */
  _drawTimeline() {
    const { rows, stream, traces, streamId, planes, marking, timeline, er } = this._app;
    const { regions } = marking;
    const current = this._app.currentRow();
    const canvas = element("timeline", HTMLCanvasElement);
    canvas.style.height = `${HEIGHT + (er.isShown ? er.chosen.length * CURVE_HEIGHT : 0)}px`;
    const { clientWidth, clientHeight } = canvas;
    const thresholds = stream?.thresholds ?? {};
    const key = JSON.stringify([
      [streamId, rows.generation, rows.count, planes.place(stream), current, clientWidth, clientHeight],
      [regions, traces.size, er.version, thresholds, window.devicePixelRatio],
    ]);
    if (key === this._timelineKey) return;
    this._timelineKey = key;
    const shown = this._app.shownRows();
    const isScaled = Boolean(stream?.pixel_size_um);
    const lanes = [
      ...lanesOf(rows, thresholds, regions, traces),
      ...erLanes(er, rows, shown, planes.place(stream), isScaled),
    ];
    timeline.draw(rows, shown, lanes, current);
  }

  /**
   * What a panel shows.
   * @param {"raw" | "denoised"} which
   * @returns {import("./panel.js").Scene}
   */
  scene(which) {
    const app = this._app;
    const picture = app.pictures[which];
    const pictures = [picture, ...(app.isSupportShown && which === "denoised" ? [app.pictures.support] : [])];
    return {
      pictures,
      left: app.mode === "swipe" ? { picture: app.pictures.raw, at: app.split } : null,
      pixelSizeUm: app.stream?.pixel_size_um ?? null,
      cursor: app.cursor,
      regions: app.marking.shown,
      message: this._message(picture),
    };
  }

  /** @param {import("./picture.js").Picture} picture */
  _message(picture) {
    const app = this._app;
    if (app.missing) return app.missing;
    if (app.streams.length === 0) return "no stream yet: it appears here with its first frame";
    if (app.header === null) return "waiting for a frame …";
    return picture.part === null ? "this stream delivers flags only, no denoised pixels" : "";
  }
}
