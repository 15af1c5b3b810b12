/**
 * The WebSocket to the server: opened again whenever it was lost, each message acknowledged once it was shown.
 * @module
 */

import { PROTOCOL, unpack } from "./protocol.js";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const SILENCE_MS = 5000; // the server says something each second
const TOKEN = "dimstream-token";

/**
 * @typedef {"connecting" | "open" | "lost" | "locked" | "full"} State
 * @typedef {object} Listener
 * @property {(message: import("./protocol.js").Message) => void} onMessage
 * @property {(state: State) => void} onState
 */

export class Connection {
  /** @param {Listener} listener */
  constructor(listener) {
    this._listener = listener;
    /** @type {WebSocket | null} */
    this._socket = null;
    this._pauseMs = FIRST_PAUSE_MS;
    this._taken = 0;
    this._heardAt = 0;
    /** @type {object | null} */
    this._wish = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    setInterval(() => this._lookForSilence(), 1000);
    window.addEventListener("online", () => this._retry());
    document.addEventListener("visibilitychange", () => this._retry());
  }

  /** Connect. */
  async open() {
    clearTimeout(this._timer);
    this._listener.onState("connecting");
    const ticket = await this._ticket();
    if (ticket === null) return;
    const url = new URL("/live/ws", window.location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, [PROTOCOL, `ticket.${ticket}`]);
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    this._taken = 0;
    this._heardAt = performance.now();
    socket.onopen = () => this._opened();
    socket.onmessage = (event) => this._take(socket, event.data);
    socket.onclose = () => this._lost(socket);
  }

  /**
   * Say what is wanted from now on, also of the next connection.
   * @param {object[]} views
   */
  watch(views) {
    this._wish = { type: "watch", views };
    this._send(this._wish);
  }

  /**
   * Use this token from now on, in this tab.
   * @param {string} token
   */
  useToken(token) {
    sessionStorage.setItem(TOKEN, token.trim());
    this.open();
  }

  /** Headers by which requests show the token. */
  get authorization() {
    const token = sessionStorage.getItem(TOKEN);
    /** @type {Record<string, string>} */
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
    return headers;
  }

  _opened() {
    this._pauseMs = FIRST_PAUSE_MS;
    this._listener.onState("open");
    if (this._wish !== null) this._send(this._wish);
  }

  /**
   * @param {WebSocket} socket
   * @param {ArrayBuffer} data
   */
  _take(socket, data) {
    if (socket !== this._socket) return;
    this._heardAt = performance.now();
    this._taken += 1;
    const count = this._taken;
    this._listener.onMessage(unpack(data));
    // after it was drawn, or a hidden tab would ask for more than it shows
    const done = () => socket === this._socket && this._send({ type: "done", count });
    if (document.hidden) setTimeout(done, 0);
    else requestAnimationFrame(done);
  }

  /** @param {object} message */
  _send(message) {
    if (this._socket !== null && this._socket.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify(message));
    }
  }

  /** @param {WebSocket} socket */
  _lost(socket) {
    if (socket !== this._socket) return;
    this._socket = null;
    this._again("lost");
  }

  /** @param {State} state */
  _again(state) {
    this._listener.onState(state);
    this._timer = setTimeout(() => this.open(), this._pauseMs);
    this._pauseMs = Math.min(LONGEST_PAUSE_MS, this._pauseMs * 2);
  }

  _retry() {
    if (this._socket === null && !document.hidden && this._timer !== undefined) this.open();
  }

  _lookForSilence() {
    if (this._socket !== null && performance.now() - this._heardAt > SILENCE_MS && !document.hidden) {
      this._socket.close();
      this._lost(this._socket);
    }
  }

  /** @returns {Promise<string | null>} */
  async _ticket() {
    try {
      const answer = await fetch("/live/ticket", { method: "POST", headers: this.authorization, cache: "no-store" });
      if (answer.ok) return (await answer.json()).ticket;
      if (answer.status === 401) this._listener.onState("locked");
      else this._again("full");
    } catch {
      this._again("lost");
    }
    return null;
  }
}
