/**
 * What the page says in words: flag, reason, figures, how old it is, what is wrong.
 * @module
 */

import { titleMark, writeAlerts } from "./alerts.js";
import { element, setTerms, setText } from "./dom.js";
import { writeAnalysis } from "./er_controls.js";
import { duration, figures, number, size, time } from "./number_format.js";

const GLYPHS = { ok: "✓", suspect: "!", unjudged: "?", failed: "×" };

/**
 * Put what is known into words, all over the page.
 * @param {any} app
 */
export function writeTexts(app) {
  if (app.server !== null) writeAlerts(app.server);
  writeVerdict(app);
  writeNotes(app);
  setText(element("health", HTMLElement), health(app));
  setText(element("cursor", HTMLElement), app.said || readout(app));
  writeWarning(app);
  element("mark", HTMLButtonElement).setAttribute("aria-pressed", String(app.marking.isMarking));
  element("unmark", HTMLButtonElement).hidden = app.marking.regions.length === 0;
  setText(element("zoom", HTMLElement), `${number(100 * app.viewport.scale)} %`);
  const follow = element("follow", HTMLButtonElement);
  follow.setAttribute("aria-pressed", String(app.seq === null));
  setText(follow, app.seq === null ? "following" : "follow");
  const seq = element("seq", HTMLInputElement);
  if (document.activeElement !== seq) seq.value = app.header === null ? "" : String(app.header.seq);
  setText(element("under", HTMLElement), under(app));
  setText(element("run", HTMLElement), run(app));
  writeAnalysis(app);
}

/** @param {any} app */
function writeVerdict(app) {
  const { header } = app;
  const verdict = element("verdict", HTMLElement);
  const flag = header === null ? "none" : header.status === "failed" ? "failed" : header.flag;
  verdict.dataset.flag = flag;
  const glyph = GLYPHS[/** @type {keyof typeof GLYPHS} */ (flag)];
  setText(element("flag", HTMLElement), glyph === undefined ? "no frame yet" : `${glyph} ${flag}`);
  setText(element("reason", HTMLElement), header?.error ?? header?.reason ?? "");
  element("reason", HTMLElement).title = header?.reason ?? "";
  setText(element("frame-name", HTMLElement), header === null ? "" : frameName(app));
  const isAlarmed = app.streams.some((/** @type {any} */ one) => one.state === "open" && one.is_suspect);
  const mark = isAlarmed ? "! suspect · " : flag === "suspect" || flag === "failed" ? `${glyph} ${flag} · ` : "";
  document.title = `${document.body.dataset.connection === "open" ? titleMark(app.server) || mark : "no connection · "}dimstream`;
  setTerms(element("figures", HTMLElement), header === null ? [] : figures(header, app.stream?.thresholds ?? {}));
}

/**
 * The frame that is shown, for people.
 * @param {any} app
 */
export function frameName(app) {
  const header = /** @type {Record<string, any>} */ (app.header);
  const { t, c, z, p } = header.index;
  const many = (app.stream?.planes.length ?? 1) > 1;
  const plane = many ? ` · c ${c} z ${z} p ${p}` : "";
  const taken = header.t_acq ?? header.answered_at;
  const source = header.source === "recording" ? " · from the recording" : "";
  return `frame ${header.seq}${t !== header.seq ? ` · t ${t}` : ""}${plane}${taken ? ` · ${time(taken)}` : ""}${source}`;
}

/** @param {any} app */
function writeNotes(app) {
  for (const which of /** @type {const} */ (["raw", "denoised"])) {
    const of = app.statistics[which];
    const ceiling = app.ceiling(which);
    const saturated = of === null || ceiling === null ? "" : ` · ${of.saturated} px at ${ceiling}`;
    setText(
      element(`${which}-note`, HTMLElement),
      of === null ? "" : `mean ${number(of.mean)} · ${number(of.low)} to ${number(of.high)}${saturated}`,
    );
  }
  const names = { side: "denoised", swipe: "raw | denoised", toggle: app.isRawShown ? "raw" : "denoised", all: "" };
  setText(element("denoised-name", HTMLElement), names[app.mode]);
}

/**
 * What people have to be told: the connection, frames that do not come, a recording that stopped.
 * @param {any} app
 */
function writeWarning(app) {
  const banner = element("banner", HTMLElement);
  const state = document.body.dataset.connection;
  if (state !== "open") return;
  const { stream, server } = app;
  const warnings = [];
  if (stream !== null && server !== null) {
    const silent = server.time - stream.answered_at;
    if (stream.state === "open" && stream.interval_s && silent > Math.max(3, 4 * stream.interval_s)) {
      warnings.push(`no frame for ${duration(silent)}; before, one came each ${duration(stream.interval_s)}`);
    }
    if (stream.state === "away") warnings.push("the sender's connection was lost; it may come back");
    if (stream.recording?.state === "stopped") warnings.push(`not recorded any more: ${stream.recording.reason}`);
    if (stream.skipped > 0) warnings.push(`${stream.skipped} frames were dropped before they came here`);
  }
  setText(banner, warnings.join(" · "));
  banner.hidden = warnings.length === 0;
}

/** @param {any} app */
function health(app) {
  const { server, stream } = app;
  if (server === null) return "";
  const parts = [];
  if (app.lag !== null && app.seq === null) parts.push(`lag ${app.lag.toFixed(1)} s`);
  if (stream?.interval_s) parts.push(stream.interval_s < 1 ? `${number(1 / stream.interval_s, 2)} frames/s` : `a frame each ${number(stream.interval_s, 2)} s`);
  parts.push(`queue ${server.queue}`);
  if (server.disk_free_bytes !== null) parts.push(`disk ${size(server.disk_free_bytes)} free`);
  parts.push(server.device);
  const bad = Object.entries(server.checks).filter(([, said]) => said !== "ok");
  return [...parts, ...bad.map(([name, said]) => `${name}: ${said}`)].join(" · ");
}

/** @param {any} app */
function readout(app) {
  if (app.cursor === null) return " ";
  const { x, y } = app.cursor;
  const values = [`raw ${number(app.pictures.raw.value(x, y), 6)}`, `denoised ${number(app.pictures.denoised.value(x, y), 6)}`];
  const pixel = app.stream?.pixel_size_um;
  const place = pixel ? `  ${(x * pixel).toFixed(3)}, ${(y * pixel).toFixed(3)} µm` : "";
  return `x ${x} y ${y} px${place}   ${values.join("   ")}`;
}

/** @param {any} app */
function under(app) {
  const row = app.hovered ?? null;
  if (row === null || row >= app.rows.count) return "";
  const { columns } = app.rows;
  return `frame ${columns.seq[row]} · SSIM ${number(columns.ssim[row])} · structure ${number(columns.structure_score[row])} · mean ${number(columns.intensity[row])}`;
}

/** @param {any} app */
function run(app) {
  const { stream } = app;
  if (stream === null) return "";
  const rows = app.shownRows();
  const first = rows.length ? app.rows.columns.time[rows[0]] : 0;
  const last = rows.length ? app.rows.columns.time[rows[rows.length - 1]] : 0;
  const every = app.rows.every > 1 ? `, the worst of each ${app.rows.every} is drawn` : "";
  return `${stream.frames} frames in ${duration(last - first)}${every}`;
}
