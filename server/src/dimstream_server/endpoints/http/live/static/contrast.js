/**
 * The contrast: one range for raw and denoised, which stays until somebody changes it.
 *
 * A network's counts may be those of a longer exposure: the denoised range is then the raw one times a fixed factor,
 * which is shown, so that equal brightness still means equal light. Unlinked, each has a range of its own.
 * @module
 */

/** Shares of the pixels below and above the range that the button Auto sets. */
const AUTO_SHARES = [0.005, 0.998];

/** @typedef {{low: number, high: number}} Range */

export class Contrast {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this._onChange = onChange;
    /** @type {{raw: Range, denoised: Range}} */
    this.ranges = { raw: { low: 0, high: 1 }, denoised: { low: 0, high: 1 } };
    /** Denoised counts per raw count. */
    this.factor = 1;
    this.isLinked = true;
    this.isSet = false;
    this.lut = "grey";
    this.showZero = false;
    this.showCeiling = true;
    this.ignoreZeros = false;
  }

  /**
   * Set a range, and the other one with it where they are linked.
   * @param {"raw" | "denoised"} which
   * @param {Range} range
   */
  set(which, range) {
    const high = Math.max(range.high, range.low + 1e-6);
    this.ranges[which] = { low: range.low, high };
    if (this.isLinked) this.copy(which);
    else this._onChange();
  }

  /**
   * Give the other image the range of this one, times the factor.
   * @param {"raw" | "denoised"} from
   */
  copy(from) {
    const { low, high } = this.ranges[from];
    if (from === "raw") this.ranges.denoised = { low: low * this.factor, high: high * this.factor };
    else this.ranges.raw = { low: low / this.factor, high: high / this.factor };
    this._onChange();
  }

  /** @param {boolean} isLinked */
  link(isLinked) {
    this.isLinked = isLinked;
    if (isLinked) this.copy("raw");
    else this._onChange();
  }

  /** @param {number} factor */
  setFactor(factor) {
    if (!(factor > 0) || !Number.isFinite(factor)) return;
    this.factor = factor;
    if (this.isLinked) this.copy("raw");
    else this._onChange();
  }

  /**
   * Set factor and ranges by the frame that is shown; once, not with each frame.
   * @param {import("./statistics.js").Statistics | null} raw
   * @param {import("./statistics.js").Statistics | null} denoised
   */
  auto(raw, denoised) {
    if (raw !== null && denoised !== null && raw.mean > 0 && denoised.mean > 0) {
      this.factor = rounded(denoised.mean / raw.mean);
    }
    const own = [raw, denoised].map((of) => of && AUTO_SHARES.map((share) => of.percentile(share, this.ignoreZeros)));
    const [ofRaw, ofDenoised] = own;
    if (this.isLinked && ofRaw && ofDenoised) {
      const low = Math.min(ofRaw[0], ofDenoised[0] / this.factor);
      const high = Math.max(ofRaw[1], ofDenoised[1] / this.factor);
      this.ranges.raw = { low, high: Math.max(high, low + 1e-6) };
    } else {
      if (ofRaw) this.ranges.raw = { low: ofRaw[0], high: Math.max(ofRaw[1], ofRaw[0] + 1e-6) };
      if (ofDenoised) this.ranges.denoised = { low: ofDenoised[0], high: Math.max(ofDenoised[1], ofDenoised[0] + 1e-6) };
    }
    this.isSet = true;
    if (this.isLinked) this.copy(ofRaw ? "raw" : "denoised");
    else this._onChange();
  }

  /**
   * How an image is painted.
   * @param {"raw" | "denoised"} which
   * @param {number | null} ceiling of that image's values
   * @returns {import("./painting.js").Look}
   */
  look(which, ceiling) {
    const { low, high } = this.ranges[which];
    return { low, high, lut: this.lut, showZero: this.showZero, ceiling: this.showCeiling ? ceiling : null };
  }
}

/**
 * Three significant digits.
 * @param {number} value
 */
export function rounded(value) {
  return Number(value.toPrecision(3));
}
