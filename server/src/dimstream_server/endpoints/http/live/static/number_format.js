/**
 * Numbers and figures as people read them.
 * @module
 */

/**
 * @param {number | null | undefined} value
 * @param {number} digits
 */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return String(Number(value.toPrecision(digits)));
}

/** @param {number | null | undefined} share */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 90) return `${number(seconds, 2)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes >= 1e12 ? `${(bytes / 1e12).toFixed(1)} TB` : bytes >= 1e9 ? `${(bytes / 1e9).toFixed(0)} GB` : `${(bytes / 1e6).toFixed(0)} MB`;
}

/**
 * When a frame was taken: a time of day, or seconds from a sender's own start.
 * @param {number} seconds
 */
export function time(seconds) {
  if (seconds < 1e8) return `${seconds.toFixed(2)} s`;
  return new Date(1000 * seconds).toLocaleTimeString([], { hour12: false });
}

/**
 * What is known of a frame, for the list beside it.
 * @param {Record<string, any>} header of a `frame` message
 * @param {Record<string, any>} thresholds
 * @returns {[string, string][]}
 */
export function figures(header, thresholds) {
  const quality = header.quality ?? {};
  const fractions = header.fractions ?? {};
  /** @type {[string, string][]} */
  const found = [
    ["SSIM, frame before", `${number(header.ssim_prev)} (≥ ${number(thresholds.ssim)})`],
    ["aligned", number(quality.ssim_aligned)],
    ["correlation", number(quality.correlation)],
    ["structure score", `${number(quality.structure_score)} (≥ ${number(thresholds.structure_score)})`],
    ["signal", percent(fractions.signal)],
    ["uncertain", percent(fractions.uncertain)],
    ["background", percent(fractions.background)],
    ["unsupported", percent(quality.unsupported_fraction)],
  ];
  if (quality.forecast) found.push(["until suspect", left(quality.forecast)]);
  if (quality.shift_px) found.push(["shift", `${quality.shift_px.join(", ")} px`]);
  if (quality.suspect_since !== null && quality.suspect_since !== undefined) {
    found.push(["suspect since", `frame ${quality.suspect_since}`]);
  }
  if (quality.notes?.length) found.push(["notes", quality.notes.join(", ")]);
  found.push(["in the server", `${number(header.t_ms.total)} ms`], ["model", header.model]);
  return found;
}

/**
 * How long a plane will last, with the bounds of eight of ten cases.
 * @param {{frames: number, earliest: number, latest: number | null, minutes: number | null}} forecast
 */
export function left({ frames, earliest, latest, minutes }) {
  const bounds = latest === null ? `${number(earliest, 2)} or more` : `${number(earliest, 2)} to ${number(latest, 2)}`;
  const time = minutes === null ? "" : `, ${duration(60 * minutes)}`;
  return `≈ ${number(frames, 2)} frames (${bounds})${time}`;
}
