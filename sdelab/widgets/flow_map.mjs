import { chart, dot, figure, heatmap, viridis } from "./draw.mjs";
import { row } from "./frames.mjs";
import { mixture } from "./mixture.mjs";
import { centres, colourBar, firstWindow, frame, inside, plane } from "./plane.mjs";
import { play } from "./player.mjs";

const AROUND = [[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 1], [2, 0], [1, 0]]; // corners and midpoints of a cell
const DEPTH = 8; // nats below the peak that the colours reach
const TOP = 20;
const FINE = 72; // of the exact log-likelihood, a side
const side = (data) => (data.mesh.shape[1] - 1) / 2;

/** Node (r, c) of the mesh of frame k. */
function node(data, k, r, c) {
  const mesh = row(data.mesh, k), i = 2 * (r * data.mesh.shape[2] + c), half = data.half.data[k];
  return [mesh[i] * half, mesh[i + 1] * half];
}

const outline = (data, k, [column, line]) => AROUND.map(([r, c]) => node(data, k, 2 * line + r, 2 * column + c));

function area(points) {
  let twice = 0;
  points.forEach(([x, y], i) => {
    const [u, v] = points[(i + 1) % points.length];
    twice += x * v - u * y;
  });
  return Math.abs(twice) / 2;
}

/** log(mass/area) and the exact log-likelihood at the centre of a cell. */
const byArea = (data, k, cell) => Math.log(data.mass.data[k] / area(outline(data, k, cell)));
const exactly = (data, k, [column, line]) =>
  mixture(data, data.alpha.data[k], data.sigma.data[k])(...node(data, k, 2 * line + 1, 2 * column + 1)).logp;

const cells = (data) => Array.from({ length: side(data) ** 2 }, (_, i) => [i % side(data), Math.floor(i / side(data))]);
const css = (rgb) => `rgb(${rgb.map(Math.round).join(",")})`;

/** Blue to orange along the row, dark to light up the column, chequered. */
function origin([column, line], n) {
  const c = column / (n - 1), r = line / (n - 1);
  return css([[0, 0.9], [0.45, 0.55], [0.7, 0]].map(([blue, orange]) => {
    const hue = (1 - c) * blue + c * orange;
    return 255 * (hue * (0.55 + 0.45 * r) + 0.65 * r * r * (1 - hue)) * ((column + line) % 2 ? 0.85 : 1);
  }));
}

/** The colour of each cell in the view chosen, and the range of log-likelihoods that the colours span. */
function colours(data, k, ui) {
  const all = cells(data);
  if (ui.local.show === "cells") return { all, paint: all.map((cell) => origin(cell, side(data))) };
  const at = mixture(data, data.alpha.data[k], data.sigma.data[k]);
  const exact = all.map(([c, r]) => at(...node(data, k, 2 * r + 1, 2 * c + 1)).logp);
  const high = Math.max(...exact), low = high - DEPTH;
  const level = (logp) => Math.max(0, Math.min(1, (logp - low) / DEPTH));
  const values = ui.local.show === "exact" ? exact : all.map((cell) => byArea(data, k, cell));
  return { all, at, high, low, level, paint: values.map((v) => css(viridis(255 * level(v)))) };
}

function trace(ctx, { X, Y }, points) {
  ctx.beginPath();
  points.forEach(([x, y]) => ctx.lineTo(X(x), Y(y)));
  ctx.closePath();
}

function drawCells(ctx, here, data, k, { all, paint }, lines) {
  all.forEach((cell, i) => {
    trace(ctx, here, outline(data, k, cell));
    ctx.fillStyle = ctx.strokeStyle = paint[i];
    ctx.lineWidth = 0.6;
    if (!lines) ctx.fill();
    if (lines) ctx.strokeStyle = lines;
    ctx.stroke();
  });
}

function mark(ctx, here, data, k, ui) {
  const points = outline(data, k, ui.local.cell);
  trace(ctx, here, points);
  for (const [colour, width] of [["#10151b", 4.5], ["#ffffff", 2]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.lineJoin = "round";
    ctx.stroke();
  }
  const [x, y] = node(data, k, 2 * ui.local.cell[1] + 1, 2 * ui.local.cell[0] + 1);
  dot(ctx, here.X(x), here.Y(y), 2.6, "#ffffff", "#10151b");
}

function carried(ctx, size, data, k, ui) {
  const here = plane(size, data.half.data[k], TOP);
  const chosen = colours(data, k, ui);
  const exact = ui.local.show === "exact";
  inside(ctx, here, ui.colour(chosen.at ? "card" : "field"), () => {
    if (chosen.at) heatmap(ctx, here.box, new Float32Array(1), 1, 1);
    if (exact) heatmap(ctx, here.box, centres(FINE, here.half).map((x) => chosen.level(chosen.at(...x).logp)), FINE, FINE);
    drawCells(ctx, here, data, k, chosen, exact ? "#ffffff55" : null);
    mark(ctx, here, data, k, ui);
    firstWindow(ctx, here, data.half.data[data.half.data.length - 1], ui.word("window"), ui.ink,
      chosen.at ? ["#ffffff", "#22272e"] : [ui.ink.soft, ui.colour("field")]);
  });
  frame(ctx, here, ui.ink, ui.word("data"));
  if (chosen.at) colourBar(ctx, here, ui.ink, `≤ ${figure(chosen.low, 1)}`, ui.word("scale"), chosen.high);
}

/** The picture of the noise is as wide as the cells. */
const noisePlane = (size, data) => plane(size, 1.06 * node(data, 0, 0, data.mesh.shape[2] - 1)[0], TOP);

function noise(ctx, size, data, k, ui) {
  const here = noisePlane(size, data);
  inside(ctx, here, ui.colour("field"), () => {
    drawCells(ctx, here, data, 0, colours(data, k, ui), null);
    mark(ctx, here, data, 0, ui);
  });
  frame(ctx, here, ui.ink, ui.word("noise"));
}

const TIME = [34, 8];

function along(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, cell = ui.local.cell;
  const exact = Array.from(t, (_, j) => exactly(data, j, cell)), areas = Array.from(t, (_, j) => byArea(data, j, cell));
  const low = Math.min(...exact, ...areas), high = Math.max(...exact, ...areas), room = 0.1 * (high - low) + 0.05;
  const box = { x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 42 };
  const about = { x: [t[0], t[t.length - 1]], y: [low - room, high + room], yticks: 4, xlabel: "t", ylabel: ui.word("along"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  axes.cursor(t[k], ui.ink.soft);
  axes.line(t, areas, ui.colour("orange"), { width: 2.4 });
  axes.line(t, exact, ui.ink.text, { width: 1.4, dash: [5, 3] });
  axes.dot(t[k], areas[k], ui.colour("orange"), 4.5, ui.ink.card);
}

function readout(data, k, ui) {
  const cell = ui.local.cell;
  return [
    [ui.word("mass"), figure(data.mass.data[k], 4)],
    [ui.word("area"), figure(area(outline(data, k, cell)), 3)],
    [ui.word("areas"), figure(byArea(data, k, cell)), ui.colour("orange")],
    [ui.word("exact"), figure(exactly(data, k, cell)), ui.ink.text],
  ];
}

const bounded = (cell, data) => cell.map((i) => Math.max(0, Math.min(side(data) - 1, i)));

const pick = {
  name: "cell",
  /** The cells of the noise are rectangles: count the lines to the left and below. */
  place(at, size, data) {
    const [x, y] = noisePlane(size, data).back(at);
    const lines = Array.from({ length: side(data) }, (_, i) => node(data, 0, 2 * i, 2 * i));
    return bounded([lines.filter(([a]) => a <= x).length - 1, lines.filter(([, b]) => b <= y).length - 1], data);
  },
  nudge: (by, data, k, ui) => bounded(ui.local.cell.map((v, i) => v + by[i]), data),
};

const spoken = (name) => (data, k, ui) => `${ui.word(name)}, t = ${figure(data.t.data[k], 3)}, ${ui.local.cell.map((i) => i + 1).join(", ")}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        data: { aspect: (w) => w + 38, draw: carried, label: spoken("data") },
        noise: { aspect: (w) => 0.8 * w, draw: noise, label: spoken("noise"), pick },
        along: { aspect: () => 150, draw: along, label: spoken("along"), time: TIME },
      },
      readout,
    }),
};
