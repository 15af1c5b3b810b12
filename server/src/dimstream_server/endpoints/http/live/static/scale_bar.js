/**
 * A scale bar: a round length of about a quarter of the picture.
 * @module
 */

/**
 * The bar that fits.
 * @param {number} pixelSizeUm
 * @param {number} scale screen pixels per image pixel
 * @param {number} most screen pixels that it may take
 * @returns {{length: number, label: string} | null} screen pixels and text; null where nothing fits
 */
export function scaleBar(pixelSizeUm, scale, most) {
  const longest = (most / scale) * pixelSizeUm;
  if (!(longest > 0) || !Number.isFinite(longest)) return null;
  const power = 10 ** Math.floor(Math.log10(longest));
  const um = [5, 2, 1].map((step) => step * power).find((length) => length <= longest) ?? power;
  const label = um >= 1 ? `${+um.toPrecision(3)} µm` : `${+(um * 1000).toPrecision(3)} nm`;
  return { length: (um / pixelSizeUm) * scale, label };
}

/**
 * Draw it at the lower right.
 * @param {CanvasRenderingContext2D} context
 * @param {{length: number, label: string}} bar
 * @param {number} width of the picture
 * @param {number} height
 */
export function drawScaleBar(context, bar, width, height) {
  const [x, y] = [width - 14 - bar.length, height - 16];
  context.save();
  context.fillStyle = "rgba(0, 0, 0, 0.55)";
  context.fillRect(x - 6, y - 20, bar.length + 12, 30);
  context.fillStyle = "#ffffff";
  context.fillRect(x, y, bar.length, 4);
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(bar.label, x + bar.length / 2, y - 6);
  context.restore();
}
