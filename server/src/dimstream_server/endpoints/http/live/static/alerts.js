/**
 * What the server wants people to know, of all streams: a list, the page's colour, its icon and its title.
 * @module
 */

import { element } from "./dom.js";
import { duration } from "./number_format.js";

const ICONS = { none: "/live/assets/icon.svg", some: "/live/assets/icon-alert.svg" };

/**
 * Show the active alerts.
 * @param {Record<string, any>} server as the status describes it
 */
export function writeAlerts(server) {
  /** @type {{text: string, since: number}[]} */
  const alerts = server.alerts ?? [];
  const kind = alerts.length ? "some" : "none";
  const list = element("alerts", HTMLElement);
  const lines = alerts.map(({ text, since }) => `${text} · for ${duration(Math.max(0, server.time - since))}`);
  if (list.dataset.shown === lines.join("\n")) return;
  list.dataset.shown = lines.join("\n");
  list.replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }),
  );
  list.hidden = alerts.length === 0;
  document.body.dataset.alerts = kind;
  element("icon", HTMLLinkElement).href = ICONS[kind];
}

/**
 * The beginning of the page's title while alerts are active.
 * @param {Record<string, any> | null} server
 */
export function titleMark(server) {
  const count = server?.alerts?.length ?? 0;
  return count === 0 ? "" : `! ${count} ${count === 1 ? "alert" : "alerts"} · `;
}
