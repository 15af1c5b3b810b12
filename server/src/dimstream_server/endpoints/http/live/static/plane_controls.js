/**
 * Which channel, z plane and position is shown; a control for each of which there are several.
 * @module
 */

import { setOptions } from "./dom.js";

const AXES = /** @type {const} */ (["channel", "z", "position"]);

export class PlaneControls {
  /**
   * @param {HTMLElement} place
   * @param {() => void} onChange
   */
  constructor(place, onChange) {
    this._lists = AXES.map((name) => {
      const label = document.createElement("label");
      const list = document.createElement("select");
      list.id = name;
      list.onchange = onChange;
      label.append(`${name} `, list);
      label.hidden = true;
      place.append(label, " ");
      return list;
    });
    /** @type {number[][]} */
    this._planes = [];
    this._key = "";
  }

  /** The plane that is wanted, (channel, z, position); null where there is one only. */
  get wanted() {
    if (this._planes.length < 2) return null;
    return this._lists.map((list) => Number(list.value));
  }

  /**
   * The place of the wanted plane in the stream's list; null where all are shown.
   * @param {Record<string, any> | null} stream
   */
  place(stream) {
    const { wanted } = this;
    if (stream === null || wanted === null) return null;
    const found = stream.planes.findIndex((/** @type {number[]} */ plane) => plane.join() === wanted.join());
    return found < 0 ? null : found;
  }

  /**
   * Offer what there is of a stream.
   * @param {Record<string, any> | null} stream
   */
  set(stream) {
    const key = JSON.stringify([stream?.stream, stream?.planes]);
    if (key === this._key) return;
    this._key = key;
    this._planes = stream?.planes ?? [];
    this._lists.forEach((list, axis) => {
      const values = [...new Set(this._planes.map((plane) => plane[axis]))].sort((a, b) => a - b);
      setOptions(list, values.map((value) => [String(value), name(stream, axis, value)]));
      /** @type {HTMLElement} */ (list.parentElement).hidden = values.length < 2;
    });
  }
}

/**
 * @param {Record<string, any> | null} stream
 * @param {number} axis
 * @param {number} value
 */
function name(stream, axis, value) {
  return axis === 0 ? (stream?.channels[value] ?? String(value)) : String(value);
}
