/**
 * What the timeline shows, lane by lane.
 * @module
 */

import { FLAG_COLOURS } from "./timeline.js";

/**
 * @param {import("./frame_figures.js").Rows} rows
 * @param {Record<string, any>} thresholds of the stream
 * @param {import("./regions.js").Region[]} regions
 * @param {import("./traces.js").Traces} traces
 * @returns {import("./timeline.js").Lane[]}
 */
export function lanesOf(rows, thresholds, regions, traces) {
  const { columns } = rows;
  if (rows.count === 0) return [];
  const ofRegions = (/** @type {string} */ name, /** @type {"raw" | "denoised"} */ kind) =>
    lane(
      name,
      regions.map(({ colour }, place) => ({ values: traces.line(rows, kind, place), colour })),
      {},
    );
  const line = (/** @type {string} */ name, colour = "#c6ced6") => [{ values: columns[name], colour }];
  return [
    lane("SSIM", line("ssim"), { high: 1, threshold: thresholds.ssim }),
    lane("structure", line("structure_score"), { threshold: thresholds.structure_score }),
    lane(
      "classes",
      [
        { values: columns.signal, colour: "#d9dfe5" },
        { values: difference(columns.signal, columns.background, rows.count), colour: "#6f7a84" },
        { values: columns.background, colour: "#2b3137" },
      ],
      { high: 1, isStacked: true },
    ),
    lane("raw mean", line("intensity", "#f0e442"), {}),
    ...(regions.length === 0 ? [] : [ofRegions("ROI raw", "raw"), ofRegions("ROI denoised", "denoised")]),
  ];
}

/**
 * Lanes of figures of the ER: a curve through frames that are ok, marks at the others.
 * @param {import("./er_curves.js").ErCurves} er
 * @param {import("./frame_figures.js").Rows} rows
 * @param {number[]} shown rows that are drawn
 * @param {number | null} plane
 * @param {boolean} isScaled whether the size of pixels is known
 * @returns {import("./timeline.js").Lane[]}
 */
export function erLanes(er, rows, shown, plane, isScaled) {
  if (!er.isShown || rows.count === 0) return [];
  return er.chosen.map((name, place) => {
    const { values, breaks, marks } = er.curve(name, rows, shown, plane);
    const found = Object.entries(marks).map(([flag, of]) => ({
      values: of,
      colour: FLAG_COLOURS[/** @type {keyof typeof FLAG_COLOURS} */ (flag)],
    }));
    const line = { values, colour: er.colour(place), breaks };
    return lane(er.title(name, isScaled), [line], { low: null, marks: found });
  });
}

/**
 * @param {string} name
 * @param {import("./timeline.js").Lane["lines"]} lines
 * @param {Partial<import("./timeline.js").Lane>} more
 * @returns {import("./timeline.js").Lane}
 */
function lane(name, lines, more) {
  return { name, lines, low: 0, high: null, threshold: null, isStacked: false, marks: [], ...more };
}

/**
 * What signal and background leave.
 * @param {ArrayLike<number>} signal
 * @param {ArrayLike<number>} background
 * @param {number} count
 */
function difference(signal, background, count) {
  const rest = new Float32Array(count);
  for (let i = 0; i < count; i++) rest[i] = 1 - signal[i] - background[i];
  return rest;
}
