import { chart, dot, figure, stroke } from "./draw.mjs";
import { effective, mixture } from "./mixture.mjs";
import { arrow, centres, diamond, firstWindow, frame, inside, plane, tint } from "./plane.mjs";
import { play } from "./player.mjs";

const STEP = 0.02; // of an arrow key, in half widths
const CELLS = 48; // of the density, a side
const TOP = 20; // room for the title above a plane

/** Everything about the picked point at frame k. */
function posterior(data, k, [x1, x2]) {
  const alpha = data.alpha.data[k], sigma = data.sigma.data[k];
  const { D, score, responsibilities: weights } = mixture(data, alpha, sigma)(x1, x2);
  const most = weights.reduce((a, b) => Math.max(a, b), 0);
  return { alpha, sigma, D, score, weights, most, candidates: effective(weights) };
}

const points = ({ means: { data, shape } }) => Array.from({ length: shape[0] }, (_, i) => [data[2 * i], data[2 * i + 1]]);

/** The data points at `factor` times their place, the likely ones last; the area of a dot is its weight. */
function candidates(data, weights, most, factor, { X, Y }) {
  const all = points(data).map(([x1, x2], i) => ({ x: X(factor * x1), y: Y(factor * x2), w: weights[i], share: weights[i] / most }));
  return all.sort((a, b) => a.w - b.w);
}

function drawCandidates(ctx, all, ui) {
  for (const { x, y, w, share } of all) {
    dot(ctx, x, y, 1.8 + 10 * Math.sqrt(w), share < 0.02 ? ui.ink.soft : ui.colour("blue"), ui.colour("field"));
  }
}

const kept = { data: null, k: -1, values: null }; // a moving point leaves the density as it is

function density(data, k) {
  if (kept.data !== data || kept.k !== k) {
    const at = mixture(data, data.alpha.data[k], data.sigma.data[k]);
    const values = centres(CELLS, data.half.data[k]).map(([x, y]) => Math.exp(at(x, y).logp));
    const peak = values.reduce((a, b) => Math.max(a, b), 0);
    Object.assign(kept, { data, k, values: values.map((p) => p / peak) });
  }
  return kept.values;
}

function noisy(ctx, size, data, k, ui) {
  const { ink, local: { point } } = ui;
  const { alpha, sigma, D, weights, most } = posterior(data, k, point);
  const here = plane(size, data.half.data[k], TOP);
  const { X, Y, scale } = here;
  const blue = ui.colour("blue"), orange = ui.colour("orange");
  const px = X(point[0]), py = Y(point[1]);
  inside(ctx, here, ui.colour("field"), () => {
    tint(ctx, here.box, density(data, k), CELLS, ui.colour("wash"));
    ctx.setLineDash([4, 4]); // one and two standard deviations of the noise
    ctx.strokeStyle = ink.soft;
    ctx.lineWidth = 1;
    for (const times of [1, 2]) {
      ctx.beginPath();
      ctx.arc(px, py, times * sigma * scale, 0, 2 * Math.PI);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    const all = candidates(data, weights, most, alpha, here);
    for (const { x, y, share } of all) {
      if (share < 0.02) continue;
      ctx.globalAlpha = 0.1 + 0.4 * share;
      ctx.strokeStyle = blue;
      ctx.lineWidth = 0.6 + 1.2 * share;
      stroke(ctx, [[px, py], [x, y]]);
    }
    ctx.globalAlpha = 1;
    drawCandidates(ctx, all, ui);
    const target = [X(alpha * D[0]), Y(alpha * D[1])];
    arrow(ctx, [px, py], target, orange, { width: 3, head: 12, halo: ui.colour("field") });
    dot(ctx, px, py, 5, ink.card, orange);
    dot(ctx, px, py, 2, orange);
    firstWindow(ctx, here, data.half.data[0], ui.word("window"), ink, [ink.soft, ui.colour("field")]);
  });
  frame(ctx, here, ink, ui.word("noisy"));
}

function clean(ctx, size, data, k, ui) {
  const { ink, local: { point } } = ui;
  const { D, weights, most } = posterior(data, k, point);
  const here = plane(size, 2.6, TOP);
  const { X, Y } = here;
  inside(ctx, here, ui.colour("field"), () => {
    drawCandidates(ctx, candidates(data, weights, most, 1, here), ui);
    diamond(ctx, X(D[0]), Y(D[1]), 7, ui.colour("orange"), ui.colour("field"));
  });
  frame(ctx, here, ink, ui.word("data"));
}

const TIME = [34, 8];

function count(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, n = data.weights.data.length;
  const box = { x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 42 };
  const about = { x: [0, t[t.length - 1]], y: [1, n], log: true, xlabel: "t", ylabel: ui.word("candidates"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  const numbers = Array.from(t, (_, j) => posterior(data, j, ui.local.point).candidates);
  axes.cursor(t[k], ui.ink.soft);
  axes.line(t, numbers, ui.colour("blue"), { width: 2 });
  axes.dot(t[k], numbers[k], ui.colour("blue"), 4.5, ui.ink.card);
}

const pair = (v) => `(${v.map((each) => figure(each)).join(", ")})`;

function readout(data, k, ui) {
  const { alpha, sigma, D, score, most, candidates } = posterior(data, k, ui.local.point);
  return [
    [ui.word("point"), pair(ui.local.point)],
    [ui.word("candidates"), `${figure(candidates, 1)} / ${data.weights.data.length}`, ui.colour("blue")],
    [ui.word("likeliest"), figure(most, 3)],
    [ui.word("denoised"), pair(D), ui.colour("orange")],
    [ui.word("score"), pair(score)],
    ["α", figure(alpha, 3)],
    ["σ", figure(sigma, 3)],
  ];
}

const pick = {
  name: "point",
  place: (at, size, data, k) => held(plane(size, data.half.data[k], TOP).back(at), data.half.data[k]),
  nudge: (by, data, k, ui) => held(ui.local.point.map((v, i) => v + by[i] * STEP * data.half.data[k]), data.half.data[k]),
};

const held = (point, half) => point.map((v) => Math.max(-half, Math.min(half, v)));
const spoken = (name) => (data, k, ui) =>
  `${ui.word(name)}, x = ${pair(ui.local.point)}, t = ${figure(data.t.data[k], 3)}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        noisy: { aspect: (w) => w + 10, draw: noisy, label: spoken("noisy"), pick },
        data: { aspect: (w) => 0.74 * w + 10, draw: clean, label: spoken("data") },
        count: { aspect: () => 150, draw: count, label: spoken("candidates"), time: TIME },
      },
      readout,
    }),
};
