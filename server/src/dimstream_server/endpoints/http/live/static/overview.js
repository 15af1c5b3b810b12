/**
 * All streams on one page: a small picture of each, its flag and how it goes; a click opens it.
 * @module
 */

import { setText } from "./dom.js";
import { Painter } from "./painting.js";
import { statistics } from "./statistics.js";

const TILE = 230;
const MOST = 16;
const GLYPHS = { ok: "✓", suspect: "!", unjudged: "?", failed: "×" };

/**
 * @typedef {object} Tile
 * @property {HTMLElement} node
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} title
 * @property {HTMLElement} text
 * @property {Painter} painter
 * @property {{low: number, high: number} | null} range set by the first picture; it stays
 */

export class Overview {
  /**
   * @param {HTMLElement} place
   * @param {(stream: string) => void} onChoose
   */
  constructor(place, onChoose) {
    this._place = place;
    this._onChoose = onChoose;
    /** @type {Map<string, Tile>} */
    this._tiles = new Map();
  }

  /**
   * What is wanted of the streams, newest first.
   * @param {Record<string, any>[]} streams
   * @returns {object[]}
   */
  views(streams) {
    return newest(streams).map((stream) => ({
      stream: stream.stream,
      parts: [stream.delivers_pixels ? "denoised" : "raw"],
      step: Math.max(1, Math.min(64, Math.floor(Math.max(...stream.shape) / TILE))),
    }));
  }

  /** @param {Record<string, any>[]} streams */
  show(streams) {
    const shown = newest(streams);
    for (const [id, tile] of this._tiles) {
      if (!shown.some((stream) => stream.stream === id)) {
        tile.node.remove();
        this._tiles.delete(id);
      }
    }
    for (const stream of shown) {
      const tile = this._tile(stream.stream);
      setText(tile.title, `${stream.client} · ${stream.stream.slice(0, 6)}`);
      tile.node.dataset.state = stream.state;
      tile.node.dataset.suspect = String(stream.is_suspect);
    }
  }

  /**
   * @param {import("./protocol.js").Message} message
   * @param {string} lut
   */
  take({ header, parts }, lut) {
    const tile = this._tiles.get(header.stream);
    const part = parts.denoised ?? parts.raw;
    if (tile === undefined || part === undefined) return;
    const flag = /** @type {keyof typeof GLYPHS} */ (header.status === "failed" ? "failed" : header.flag);
    tile.node.dataset.flag = flag;
    setText(tile.text, `${GLYPHS[flag]} ${flag} · frame ${header.seq}`);
    if (tile.range === null) {
      const of = statistics(part, null);
      tile.range = { low: of.percentile(0.005, false), high: Math.max(of.percentile(0.998, false), of.low + 1e-6) };
    }
    const [height, width] = part.shape;
    tile.canvas.width = width;
    tile.canvas.height = height;
    const image = new ImageData(width, height);
    tile.painter.paint(part, { ...tile.range, lut, showZero: false, ceiling: null }, image);
    /** @type {CanvasRenderingContext2D} */ (tile.canvas.getContext("2d")).putImageData(image, 0, 0);
  }

  /**
   * @param {string} id
   * @returns {Tile}
   */
  _tile(id) {
    const found = this._tiles.get(id);
    if (found !== undefined) return found;
    const node = document.createElement("button");
    node.className = "tile";
    const [canvas, title, text] = [document.createElement("canvas"), document.createElement("strong"), document.createElement("span")];
    node.append(title, canvas, text);
    node.onclick = () => this._onChoose(id);
    this._place.append(node);
    const tile = { node, canvas, title, text, painter: new Painter(), range: null };
    this._tiles.set(id, tile);
    return tile;
  }
}

/**
 * Those that are open, then those that are not, as many as fit.
 * @param {Record<string, any>[]} streams
 */
function newest(streams) {
  const order = (/** @type {Record<string, any>} */ stream) => (stream.state === "open" ? 0 : 1);
  return [...streams].sort((a, b) => order(a) - order(b) || b.answered_at - a.answered_at).slice(0, MOST).sort((a, b) => (a.stream < b.stream ? -1 : 1));
}
