/**
 * Pictures to take away: a snapshot with scale bar and flag, the frame itself as OME-TIFF, a short movie.
 * @module
 */

import { drawScene } from "./panel.js";
import { frameName } from "./page_texts.js";

const BAND = 26;
const GAP = 4;
const MOVIE_MS = 100; // a frame
const MOVIE_FRAMES = 100;

/**
 * Draw what is shown, with its flag, onto one canvas.
 * @param {any} app
 * @param {HTMLCanvasElement} canvas
 */
export function compose(app, canvas) {
  const { viewport, header } = app;
  const { width, height } = viewport.panel;
  const kinds = app.mode === "side" ? ["raw", "denoised"] : [app.isRawAlone ? "raw" : "denoised"];
  canvas.width = kinds.length * (width + GAP) - GAP;
  canvas.height = height + 2 * BAND;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#15181b";
  context.fillRect(0, 0, canvas.width, canvas.height);
  kinds.forEach((kind, place) => {
    context.save();
    context.translate(place * (width + GAP), BAND);
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    context.fillStyle = "#0b0d0f";
    context.fillRect(0, 0, width, height);
    drawScene(context, viewport, { ...app.drawing.scene(kind), cursor: null }, { width, height });
    context.restore();
  });
  context.font = "13px system-ui, sans-serif";
  context.textAlign = "left";
  const flag = header.status === "failed" ? "failed" : header.flag;
  context.fillStyle = flag === "ok" ? "#d9dfe5" : "#f3c46b";
  const reason = header.reason ? `: ${header.reason}` : "";
  context.fillText(`${flag}${reason}`, 6, 17, canvas.width - 12);
  context.fillStyle = "#929ca5";
  context.fillText(caption(app), 6, canvas.height - 9, canvas.width - 12);
}

/**
 * Save what is shown as PNG.
 * @param {any} app
 */
export function snapshot(app) {
  if (app.header === null) return;
  const canvas = document.createElement("canvas");
  compose(app, canvas);
  canvas.toBlob((blob) => blob !== null && save(blob, `${name(app)}.png`), "image/png");
}

/**
 * Save the frame that is shown, with its values, as OME-TIFF.
 * @param {any} app
 */
export async function saveTiff(app) {
  if (app.header === null) return;
  const query = new URLSearchParams({ stream: app.streamId, seq: String(app.header.seq) });
  const answer = await fetch(`/live/frame.tif?${query}`, { headers: app.connection.authorization });
  if (answer.ok) save(await answer.blob(), `${name(app)}.ome.tif`);
  else app.say((await answer.json()).detail);
}

/**
 * Save the frames up to the one that is shown as a movie, at ten a second.
 * @param {any} app
 * @param {number} count
 */
export async function movie(app, count = MOVIE_FRAMES) {
  const rows = app.shownRows();
  const last = rows.indexOf(app.currentRow());
  if (last < 0) return;
  const seqs = rows.slice(Math.max(0, last + 1 - count), last + 1).map((/** @type {number} */ row) => app.rows.columns.seq[row]);
  const before = app.seq;
  const canvas = document.createElement("canvas");
  compose(app, canvas);
  const stream = canvas.captureStream(0);
  const track = /** @type {CanvasCaptureMediaStreamTrack} */ (stream.getVideoTracks()[0]);
  const recorder = new MediaRecorder(stream, { mimeType: "video/webm", videoBitsPerSecond: 12e6 });
  /** @type {Blob[]} */
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const ended = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  app.isBusy = true;
  try {
    for (const seq of seqs) {
      app.say(`movie: frame ${seq} of ${seqs[0]} to ${seqs[seqs.length - 1]}`);
      if (!(await app.shows(seq))) continue;
      compose(app, canvas);
      track.requestFrame();
      await new Promise((resolve) => setTimeout(resolve, MOVIE_MS));
    }
    track.requestFrame();
  } finally {
    recorder.stop();
    app.isBusy = false;
    app.say("");
    app.show(before);
  }
  await ended;
  save(new Blob(pieces, { type: "video/webm" }), `${app.streamId}-${seqs[seqs.length - 1]}.webm`);
}

/** @param {any} app */
function caption(app) {
  const { raw, denoised } = app.contrast.ranges;
  const range = (/** @type {{low: number, high: number}} */ of) => `${+of.low.toPrecision(3)} to ${+of.high.toPrecision(3)}`;
  const stream = app.stream;
  return `${stream?.client ?? ""} · ${frameName(app)} · ${app.header.model} · raw ${range(raw)}, denoised ${range(denoised)}`;
}

/** @param {any} app */
function name(app) {
  return `${app.streamId}-${app.header.seq}`;
}

/**
 * @param {Blob} blob
 * @param {string} file
 */
function save(blob, file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
