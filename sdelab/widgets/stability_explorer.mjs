import { chart, dot, figure, stroke, ticks } from "./draw.mjs";
import { row } from "./frames.mjs";
import { play } from "./player.mjs";

const HALF = 4.2, CENTRE = -1.2, TOP = 2; // as in stability_explorer.py
const SPAN = 12, SEEN = 2.5, FINE = 210;
const MARGIN = [34, 10];
const noisy = (data) => Boolean(data.paths);

/** The region as a picture of FINE x FINE points: the growth stored for the upper half, interpolated and mirrored. */
function painted(data, k, colour) {
  const [rows, columns] = data.region.shape, values = data.region.data;
  const bound = Math.sqrt(Math.max(0, 1 - data.noise.data[k])) + 0.004; // and half a level of what is stored
  const at = (r, c) => values[(r < 0 ? -1 - r : r) * columns + c];
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = FINE;
  const pen = canvas.getContext("2d");
  pen.fillStyle = colour;
  const place = (i) => Math.max(0, Math.min(columns - 1.001, ((i + 0.5) / FINE) * columns - 0.5));
  for (let j = 0; j < FINE; j++) {
    const y = place(j), r = Math.floor(y), v = y - r, row0 = r - rows, row1 = row0 + 1;
    for (let i = 0; i < FINE; i++) {
      const x = place(i), c = Math.floor(x), u = x - c;
      const g = (1 - v) * ((1 - u) * at(row0, c) + u * at(row0, c + 1)) + v * ((1 - u) * at(row1, c) + u * at(row1, c + 1));
      if (g > bound) continue;
      pen.globalAlpha = 0.26 + 0.6 * (1 - g / bound);
      pen.fillRect(i, FINE - 1 - j, 1, 1);
    }
  }
  return canvas;
}

function region(ctx, { w, h }, data, k, ui) {
  const side = Math.min(w - 34, h - 44);
  const box = { x: 30 + (w - 34 - side) / 2, y: 20, w: side, h: side };
  const X = (re) => box.x + ((re - CENTRE) / HALF / 2 + 0.5) * side;
  const Y = (im) => box.y + (0.5 - im / HALF / 2) * side;
  ctx.save();
  ctx.beginPath();
  ctx.roundRect(box.x, box.y, side, side, 6);
  ctx.clip();
  ctx.fillStyle = ui.colour("field");
  ctx.fillRect(box.x, box.y, side, side);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(painted(data, k, ui.colour("green")), box.x, box.y, side, side);
  ctx.strokeStyle = ui.ink.soft;
  ctx.lineWidth = 1;
  stroke(ctx, [[X(CENTRE - HALF), Y(0)], [X(CENTRE + HALF), Y(0)]]);
  stroke(ctx, [[X(0), Y(-HALF)], [X(0), Y(HALF)]]);
  const [re, im] = data.lam.data, t = data.t.data;
  ctx.strokeStyle = ui.colour("orange");
  ctx.lineWidth = 1.6;
  ctx.setLineDash([4, 3]); // the way of z as h grows
  stroke(ctx, [[X(0), Y(0)], [X(t[t.length - 1] * re), Y(t[t.length - 1] * im)]]);
  ctx.setLineDash([]);
  const limit = data.limit.data[0];
  if (limit > 0) {
    ctx.strokeStyle = ui.ink.text;
    ctx.beginPath();
    ctx.arc(X(limit * re), Y(limit * im), 6, 0, 2 * Math.PI);
    ctx.stroke();
  }
  dot(ctx, X(t[k] * re), Y(t[k] * im), 5, ui.colour("orange"), ui.ink.card);
  ctx.restore();

  ctx.font = `${ui.ink.small}px ${ui.ink.font}`;
  ctx.fillStyle = ui.ink.soft;
  for (const v of ticks(CENTRE - HALF, CENTRE + HALF, 6)) {
    if (Math.abs(v - CENTRE) > 0.96 * HALF) continue;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    ctx.fillText(String(v).replace("-", "−"), X(v), box.y + side + 5);
  }
  for (const v of ticks(-HALF, HALF, 5)) {
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillText(v === 0 ? "0" : `${String(v).replace("-", "−")}i`, box.x - 4, Y(v));
  }
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.fillText(ui.word("plane"), 4, box.y - 5, w - 8);
}

function solution(ctx, { w, h }, data, k, ui) {
  const box = { x: MARGIN[0], y: 20, w: w - MARGIN[0] - MARGIN[1], h: h - 44 };
  const [re, im] = data.lam.data, size = data.t.data[k];
  const low = noisy(data) ? -1.6 : -SEEN;
  const title = ui.word(noisy(data) ? "square" : "solution");
  const axes = chart(ctx, box, { x: [0, SPAN], y: [low, SEEN], yticks: 4, xticks: 6, xlabel: "t", ylabel: title, ink: ui.ink });
  const lo = data.start.data[k], hi = data.start.data[k + 1];
  const at = Array.from({ length: hi - lo }, (_, i) => i * size);
  const fine = Array.from({ length: 241 }, (_, i) => (SPAN * i) / 240);
  const mu2 = noisy(data) ? Number(ui.choice.mu) ** 2 : 0;
  const exact = noisy(data) ? fine.map((t) => Math.exp((re + mu2 / 2) * t)) : fine.map((t) => Math.exp(re * t) * Math.cos(im * t));
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w, box.h);
  ctx.clip();
  if (noisy(data)) {
    for (let i = 0; i < data.paths.shape[0]; i++) axes.line(at, row(data.paths, i).subarray(lo, hi), `${ui.colour("orange")}66`, { width: 1 });
  }
  axes.line(fine, exact, ui.ink.text, { width: 1.8 });
  const values = data.x.data.subarray(lo, hi);
  axes.line(at, values, ui.colour("blue"), { width: 1.3 });
  if (hi - lo < 70) values.forEach((v, i) => axes.dot(at[i], v, ui.colour("blue"), 3));
  ctx.restore();
}

function growth(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, g = data.growth.data, exact = data.exact.data;
  const box = { x: MARGIN[0], y: 20, w: w - MARGIN[0] - MARGIN[1], h: h - 44 };
  const axes = chart(ctx, box, { x: [t[0], t[t.length - 1]], y: [0, TOP], yticks: 4, xticks: 6, xlabel: "h", ylabel: ui.word("growth"), ink: ui.ink });
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w, box.h);
  ctx.clip();
  axes.line([t[0], t[t.length - 1]], [1, 1], ui.ink.soft, { width: 1.2, dash: [2, 3] });
  axes.line(t, exact, ui.ink.text, { width: 1.4, dash: [5, 3] });
  axes.line(t, g, ui.colour("blue"), { width: 2.2 });
  const limit = data.limit.data[0];
  if (limit > t[0] && limit < t[t.length - 1]) axes.cursor(limit, ui.ink.text);
  axes.cursor(t[k], ui.colour("orange"));
  axes.dot(t[k], Math.min(TOP, g[k]), g[k] > 1 + 1e-6 ? ui.colour("orange") : ui.colour("green"), 4.5, ui.ink.card);
  ctx.restore();
}

function told(data, k) {
  const [re, im] = data.lam.data.map((v) => v * data.t.data[k]);
  const real = figure(re), imaginary = figure(Math.abs(im));
  if (im === 0) return real;
  return re === 0 ? `${imaginary}i` : `${real} + ${imaginary}i`;
}

const steady = (data, k) => data.growth.data[k] <= 1 + 1e-6;

function readout(data, k, ui) {
  const limit = data.limit.data[0];
  const [order, calls] = data.order.data;
  return [
    [ui.word("z"), told(data, k), ui.colour("orange")],
    [ui.word("factor"), `${figure(data.growth.data[k], 3)} (${ui.word(steady(data, k) ? "stable" : "unstable")})`, ui.colour("blue")],
    [ui.word("exact"), figure(data.exact.data[k], 3), ui.ink.text],
    [ui.word("limit"), limit < 0 ? ui.word("always") : limit === 0 ? ui.word("never") : `h = ${figure(limit, 3)}`],
    ...(calls ? [[ui.word("order"), `${order === 0.5 ? "½" : order}, ${calls}`]] : []),
  ];
}

const spoken = (name) => (data, k, ui) => `${ui.word(name)}: ${ui.word(ui.choice.scheme)}, h = ${figure(data.t.data[k], 3)}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        plane: { aspect: (w) => w + 10, draw: region, label: spoken("plane") },
        solution: { aspect: (w) => 0.56 * w, draw: solution, label: spoken("solution") },
        growth: { aspect: (w) => 0.5 * w, draw: growth, label: spoken("growth"), time: MARGIN },
      },
      readout,
      now: (data, k) => `h = ${figure(data.t.data[k], 3)}`,
    }),
};
