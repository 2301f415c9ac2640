// A square picture of the plane: its axes, a heat map, arrows, the window of t = 0.
import { figure, heatmap, ticks } from "./draw.mjs";

const ZOOMED = 1.04; // the picture has widened: the window of t = 0 is drawn in it

/** A plane from -half to half each way in {w, h}, as large as fits; X, Y: data to pixels, back: pixels to data. */
export function plane({ w, h }, half, top = 20) {
  const side = Math.min(w - 30, h - top - 20);
  const box = { x: 26 + (w - 30 - side) / 2, y: top, w: side, h: side };
  const scale = box.w / 2 / half;
  return {
    box, half, scale,
    X: (x) => box.x + box.w / 2 + x * scale,
    Y: (y) => box.y + box.h / 2 - y * scale,
    back: ([px, py]) => [(px - box.x - box.w / 2) / scale, (box.y + box.h / 2 - py) / scale],
  };
}

/** Draw within the box only. */
export function inside(ctx, { box }, ground, draw) {
  ctx.save();
  ctx.beginPath();
  ctx.roundRect(box.x, box.y, box.w, box.h, 6);
  ctx.clip();
  ctx.fillStyle = ground;
  ctx.fillRect(box.x, box.y, box.w, box.h);
  draw();
  ctx.restore();
}

/** The numbers around the box and the title above it. */
export function frame(ctx, { box, half, X, Y }, ink, title = "") {
  ctx.font = `${ink.small}px ${ink.font}`;
  ctx.fillStyle = ink.soft;
  for (const v of ticks(-half, half, 5)) {
    if (Math.abs(v) > 0.97 * half) continue;
    const text = String(Number(v.toPrecision(3))).replace("-", "−");
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillText(text, box.x - 4, Y(v));
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    ctx.fillText(text, X(v), box.y + box.h + 4);
  }
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.fillText(title, 4, box.y - 5);
}

/** The centres of cells x cells, rows upwards. */
export function centres(cells, half) {
  const at = (i) => (((i + 0.5) / cells) * 2 - 1) * half;
  return Array.from({ length: cells * cells }, (_, i) => [at(i % cells), at(Math.floor(i / cells))]);
}

/** A colour laid over the box, the thicker the greater the values 0..1 (cells x cells, rows upwards). */
export function tint(ctx, box, values, cells, colour) {
  const small = document.createElement("canvas");
  small.width = small.height = cells;
  const pen = small.getContext("2d");
  pen.fillStyle = colour;
  values.forEach((value, i) => {
    pen.globalAlpha = value;
    pen.fillRect(i % cells, cells - 1 - Math.floor(i / cells), 1, 1);
  });
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(small, box.x, box.y, box.w, box.h);
}

/** An arrow from one place to another, both in pixels; a halo keeps it readable on any ground. */
export function arrow(ctx, [x0, y0], [x1, y1], colour, { width = 1.4, head = 5, halo = null } = {}) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (length < 0.5) return;
  const [u, v] = [(x1 - x0) / length, (y1 - y0) / length];
  const size = Math.min(head, length);
  const [bx, by] = [x1 - size * u, y1 - size * v];
  const draw = (style, wide) => {
    ctx.strokeStyle = ctx.fillStyle = style;
    ctx.lineWidth = wide;
    ctx.lineJoin = "round";
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    ctx.lineTo(bx, by);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x1, y1);
    ctx.lineTo(bx - 0.55 * size * v, by + 0.55 * size * u);
    ctx.lineTo(bx + 0.55 * size * v, by - 0.55 * size * u);
    ctx.closePath();
    ctx.fill();
    if (style === halo) ctx.stroke();
  };
  if (halo) draw(halo, width + 2.5);
  draw(colour, width);
}

export function diamond(ctx, x, y, radius, colour, rim) {
  ctx.beginPath();
  for (const [dx, dy] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) ctx.lineTo(x + radius * dx, y + radius * dy);
  ctx.closePath();
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.strokeStyle = rim;
  ctx.lineWidth = 1.5;
  ctx.stroke();
}

/** Where the picture has widened: the window of t = 0, dashed. */
export function firstWindow(ctx, { box, half, X, Y }, first, text, ink, [light, dark]) {
  if (half <= ZOOMED * first) return;
  const left = X(-first), side = 2 * (X(0) - left), high = Math.max(Y(first) - 4, box.y + 16);
  ctx.strokeStyle = light;
  ctx.setLineDash([4, 3]);
  ctx.lineWidth = 1;
  ctx.strokeRect(left, Y(first), side, side);
  ctx.setLineDash([]);
  ctx.font = `${ink.small}px ${ink.font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "bottom";
  ctx.lineWidth = 3;
  ctx.strokeStyle = dark;
  ctx.strokeText(text, X(0), high);
  ctx.fillStyle = light;
  ctx.fillText(text, X(0), high);
}

/** What the colours mean: a bar under the box. */
export function colourBar(ctx, { box }, ink, low, text, high) {
  const bar = { x: box.x, y: box.y + box.h + 24, w: box.w, h: 8 };
  heatmap(ctx, bar, Float32Array.from({ length: 64 }, (_, i) => i / 63), 1, 64);
  ctx.font = `${ink.small}px ${ink.font}`;
  ctx.fillStyle = ink.soft;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  ctx.fillText(typeof low === "number" ? figure(low, 1) : low, bar.x, bar.y + 11);
  ctx.textAlign = "center";
  ctx.fillText(text, bar.x + bar.w / 2, bar.y + 11);
  ctx.textAlign = "right";
  ctx.fillText(typeof high === "number" ? figure(high) : high, bar.x + bar.w, bar.y + 11);
}
