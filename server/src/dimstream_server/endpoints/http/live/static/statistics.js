/**
 * Figures of one image: histogram, percentiles, pixels at the limits.
 * @module
 */

const BINS = 256;

/**
 * @typedef {object} Statistics
 * @property {number} low smallest value
 * @property {number} high largest value
 * @property {number} mean
 * @property {Float64Array} counts of BINS equal bins from low to high
 * @property {number} zeros pixels of exactly 0
 * @property {number} saturated pixels at or above the ceiling
 * @property {(share: number, ignoreZeros: boolean) => number} percentile value that a share (0 to 1) lies at or below
 */

/**
 * Every pixel is counted.
 * @param {import("./protocol.js").Part} part
 * @param {number | null} ceiling
 * @returns {Statistics}
 */
export function statistics(part, ceiling) {
  const { data } = part;
  let [low, high, sum, zeros, saturated] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (value < low) low = value;
    if (value > high) high = value;
    if (value === 0) zeros++;
    if (ceiling !== null && value >= ceiling) saturated++;
    sum += value;
  }
  if (!(low <= high)) [low, high] = [0, 0];
  const counts = new Float64Array(BINS);
  const width = (high - low || 1) / (BINS - 1);
  for (let i = 0; i < data.length; i++) counts[Math.round((data[i] - low) / width)]++;
  const percentile = (/** @type {number} */ share, /** @type {boolean} */ ignoreZeros) => {
    const bin = Math.round(-low / width);
    const left = ignoreZeros && bin >= 0 && bin < BINS ? zeros : 0;
    let wanted = share * (data.length - left);
    for (let i = 0; i < BINS; i++) {
      wanted -= counts[i] - (i === bin ? left : 0);
      if (wanted <= 0) return low + i * width;
    }
    return high;
  };
  return { low, high, mean: sum / (data.length || 1), counts, zeros, saturated, percentile };
}
