/**
 * The live view: what comes from the server, put on the page.
 * @module
 */

import { movie, saveTiff, snapshot } from "./capture.js";
import { Connection } from "./connection.js";
import { Contrast } from "./contrast.js";
import { ContrastControls } from "./contrast_controls.js";
import { ErCurves } from "./er_curves.js";
import { element, setOptions, setText } from "./dom.js";
import { Drawing } from "./drawing.js";
import { Histogram } from "./histogram.js";
import { listen, pointerOf } from "./input.js";
import { Overview } from "./overview.js";
import { Panel } from "./panel.js";
import { Picture } from "./picture.js";
import { PlaneControls } from "./plane_controls.js";
import { Marking } from "./regions.js";
import { Rows } from "./frame_figures.js";
import { lastRowUpTo, PlaneRows } from "./plane_rows.js";
import { statistics } from "./statistics.js";
import { Timeline } from "./timeline.js";
import { Traces } from "./traces.js";
import { Viewport } from "./viewport.js";

/** @typedef {"side" | "swipe" | "toggle" | "all"} Mode */

const CONNECTIONS = {
  connecting: "connecting …",
  lost: "no connection to the server: trying again; what you see is old",
  locked: "the server wants a token",
  full: "the server has as many viewers as it takes: trying again",
};

class App {
  constructor() {
    /** @type {Mode} */
    this.mode = "side";
    this.isRawShown = false; // in mode toggle
    this.split = 0.5;
    /** @type {Record<string, any> | null} */
    this.server = null;
    /** @type {Record<string, any>[]} */
    this.streams = [];
    this.streamId = "";
    /** @type {number | null} frame that is looked at; null: always the newest */
    this.seq = null;
    /** @type {Record<string, any> | null} */
    this.header = null;
    this.missing = "";
    /** @type {number | null} from the arrival of the newest frame at the server to here, seconds */
    this.lag = null;
    this.newestShown = -1;
    this.clockOffset = Infinity; // of this computer's clock against the server's, seconds
    /** @type {{x: number, y: number} | null} */
    this.cursor = null;
    /** @type {number | null} */
    this.hovered = null;
    this.rows = new Rows();
    this._planeRows = new PlaneRows();
    this.traces = new Traces();
    this.er = new ErCurves();
    this.isBusy = false; // a movie is made
    this.said = "";
    this.pictures = { raw: new Picture(), denoised: new Picture(), support: new Picture() };
    /** @type {{raw: import("./statistics.js").Statistics | null, denoised: import("./statistics.js").Statistics | null}} */
    this.statistics = { raw: null, denoised: null };
    this.isDue = { paint: false, draw: false };

    this.viewport = new Viewport(() => this.redraw());
    this.marking = new Marking(this.viewport, { onChange: () => this.redraw(), onFollowed: () => this.want() });
    this.contrast = new Contrast(() => this.repaint());
    this.histogram = new Histogram(element("histogram", HTMLCanvasElement), this.contrast);
    this.planes = new PlaneControls(element("planes", HTMLElement), () => this.want());
    this.contrastControls = new ContrastControls(this);
    this.overview = new Overview(element("overview", HTMLElement), (id) => {
      this.setMode("side");
      this.choose(id);
    });
    const pointer = pointerOf(this);
    this.panels = {
      raw: new Panel(element("raw", HTMLCanvasElement), this.viewport, pointer),
      denoised: new Panel(element("denoised", HTMLCanvasElement), this.viewport, pointer),
    };
    this.timeline = new Timeline(
      element("timeline", HTMLCanvasElement),
      (row) => this.show(this.rows.columns.seq[row]),
      (row) => {
        this.hovered = row;
        this.redraw();
      },
    );
    this.drawing = new Drawing(this);
    this.connection = new Connection({
      onMessage: (message) => this.take(message),
      onState: (state) => this.connected(state),
    });
    listen(this);
    this.connection.open();
  }

  /** The stream that is shown, as the server describes it. */
  get stream() {
    return this.streams.find((one) => one.stream === this.streamId) ?? null;
  }

  get isSupportShown() {
    return element("show-support", HTMLInputElement).checked;
  }

  /** Whether raw is the one image that is shown. */
  get isRawAlone() {
    return this.mode === "toggle" && this.isRawShown;
  }

  /** Tell the server what is wanted. */
  want() {
    if (!this.streamId) return;
    const parts = ["raw", "denoised", ...(this.isSupportShown ? ["support"] : [])];
    const rois = this.marking.regions.map(({ x, y, width, height }) => ({ x, y, width, height }));
    const view = { stream: this.streamId, plane: this.planes.wanted, seq: this.seq, parts, rows: true, rois, er: this.er.chosen };
    if (this.mode !== "all") this.connection.watch([view]);
    else this.connection.watch([...this.overview.views(this.streams).slice(0, 15), { ...view, parts: [] }]);
  }

  /**
   * Look at a stream.
   * @param {string} id
   */
  choose(id) {
    if (id !== this.streamId) {
      this.seq = null;
      this.marking.regions = [];
      this.contrast.isSet = false;
    }
    this.streamId = id;
    this.header = null;
    this.lag = null;
    this.newestShown = -1;
    this.rows = new Rows();
    this.traces = new Traces();
    this.er.clear();
    for (const picture of Object.values(this.pictures)) picture.set(null);
    this.planes.set(this.stream);
    this.want();
    this.redraw();
  }

  /**
   * Look at one frame; null: always at the newest.
   * @param {number | null} seq
   */
  show(seq) {
    if (!this.isBusy) this._look(seq);
  }

  /** @param {number | null} seq */
  _look(seq) {
    if (seq === this.seq) return;
    this.seq = seq;
    this.missing = "";
    this.want();
    this.redraw();
  }

  /**
   * Look at a frame, and wait until it is shown; whether it could be.
   * @param {number} seq
   * @returns {Promise<boolean>}
   */
  async shows(seq) {
    this._look(seq);
    const until = performance.now() + 10_000;
    while (this.header?.seq !== seq || this.isDue.paint) {
      if (this.missing || performance.now() > until) return false;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return true;
  }

  /**
   * Say something below the images; nothing: no more.
   * @param {string} text
   */
  say(text) {
    this.said = text;
    this.redraw();
  }

  /**
   * Look at a frame of this plane that is so many away.
   * @param {number} by
   */
  step(by) {
    const shown = this.shownRows();
    const current = this.currentRow();
    const place = current === null ? shown.length - 1 : shown.indexOf(current);
    const row = shown[Math.max(0, Math.min(shown.length - 1, place + by))];
    if (row !== undefined) this.show(this.rows.columns.seq[row]);
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode;
    document.body.dataset.mode = mode;
    element("overview", HTMLElement).hidden = mode !== "all";
    this.overview.show(this.streams);
    for (const button of document.querySelectorAll(".modes button")) {
      button.setAttribute("aria-checked", String(/** @type {HTMLElement} */ (button).dataset.mode === mode));
    }
    this.want();
    this.repaint();
  }

  /** @param {import("./protocol.js").Message} message */
  take(message) {
    const { header } = message;
    if (header.type === "status") this._takeStatus(header);
    else if (header.type === "frame" && this.mode === "all") this.overview.take(message, this.contrast.lut);
    else if (header.stream !== this.streamId) return;
    else if (header.type === "rows") this.rows.add(message);
    else if (header.type === "traces") this.traces.add(message);
    else if (header.type === "er") this._takeFigures(message);
    else if (header.type === "frame") this._takeFrame(message);
    else if (header.type === "missing") this.missing = `frame ${header.seq} is not in memory any more, and not recorded`;
    this.redraw();
  }

  /** @param {import("./protocol.js").Message} message */
  _takeFigures(message) {
    this.er.add(message);
    this.er.ask(this.connection.authorization, () => this.redraw());
  }

  /** @param {Record<string, any>} status */
  _takeStatus(status) {
    const restarted = this.server !== null && this.server.boot_id !== status.server.boot_id;
    this.server = status.server;
    this.streams = status.streams;
    this.clockOffset = Math.min(restarted ? Infinity : this.clockOffset, Date.now() / 1000 - status.server.time);
    setOptions(
      element("stream", HTMLSelectElement),
      this.streams.map((one) => [one.stream, `${one.client} · ${one.stream.slice(0, 6)}${one.state === "open" ? "" : ` (${one.state})`}`]),
    );
    if (this.stream === null || restarted) {
      const best = this.streams.find((one) => one.stream === this.streamId) ?? [...this.streams].reverse().find((one) => one.state === "open") ?? this.streams.at(-1);
      if (best !== undefined) this.choose(best.stream);
    }
    element("stream", HTMLSelectElement).value = this.streamId;
    this.planes.set(this.stream);
    if (this.mode === "all") {
      const known = this._shownIds;
      this._shownIds = this.streams.map((one) => one.stream).join();
      this.overview.show(this.streams);
      if (known !== this._shownIds) this.want();
    }
  }

  /** @param {import("./protocol.js").Message} message */
  _takeFrame({ header, parts }) {
    if (parts.raw === undefined) return;
    this.header = header;
    if (header.seq > this.newestShown && header.answered_at !== null) {
      this.newestShown = header.seq;
      const since = Date.now() / 1000 - this.clockOffset - header.answered_at;
      this.lag = Math.max(0, since) + header.t_ms.total / 1000;
    }
    this.missing = "";
    for (const name of /** @type {const} */ (["raw", "denoised", "support"])) {
      this.pictures[name].set(parts[name] ?? null);
    }
    const [height, width] = parts.raw.shape;
    this.viewport.setImage(width, height);
    this.statistics.raw = statistics(parts.raw, this.ceiling("raw"));
    this.statistics.denoised = parts.denoised ? statistics(parts.denoised, this.ceiling("denoised")) : null;
    this.histogram.set(this.statistics.raw, this.statistics.denoised);
    if (!this.contrast.isSet) this.contrast.auto(this.statistics.raw, this.statistics.denoised);
    this.repaint();
  }

  /**
   * The largest value that pixels can have; null of float32.
   * @param {"raw" | "denoised"} which
   */
  ceiling(which) {
    const dtype = which === "raw" ? this.stream?.dtype : this.stream?.out_dtype;
    return dtype === "uint8" ? 255 : dtype === "uint16" ? 65535 : null;
  }

  /** @param {import("./connection.js").State} state */
  connected(state) {
    document.body.dataset.connection = state;
    const banner = element("banner", HTMLElement);
    banner.hidden = state === "open" || (state === "connecting" && this.server === null);
    if (state !== "open") setText(banner, state === "connecting" ? CONNECTIONS.lost : CONNECTIONS[state]);
    const login = element("login", HTMLDialogElement);
    if (state === "locked" && !login.open) login.showModal();
    if (state === "open") login.close();
    this.redraw();
  }

  /** Paint the pictures again, as contrast or pixels changed. */
  repaint() {
    this.isDue.paint = true;
    this.redraw();
  }

  /** Draw all again, once, when the screen is next drawn. */
  redraw() {
    if (this.isDue.draw) return;
    this.isDue.draw = true;
    requestAnimationFrame(() => {
      this.isDue.draw = false;
      const isPainted = this.isDue.paint;
      this.isDue.paint = false;
      this.drawing.draw(isPainted);
    });
  }

  /** Rows of the plane that is shown. */
  shownRows() {
    return this._planeRows.of(this.rows, this.streamId, this.planes.place(this.stream));
  }

  /** Row of the frame that is shown, or of the one before it, where only some frames have rows. */
  currentRow() {
    return this.header === null ? null : lastRowUpTo(this.header.seq, this.shownRows(), this.rows);
  }

  /** @param {"snapshot" | "tiff" | "movie"} what */
  capture(what) {
    if (!this.isBusy) ({ snapshot, tiff: saveTiff, movie })[what](this);
  }
}

const app = new App();
/** What is hard to see of the page from outside, for its tests. */
Object.defineProperty(window, "dimstream", {
  get: () => ({ rows: app.rows, traces: app.traces, er: app.er, hasSupport: app.pictures.support.part !== null, missing: app.missing }),
});
