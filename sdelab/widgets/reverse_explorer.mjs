import { chart, dot, figure, heatmap, stroke } from "./draw.mjs";
import { row } from "./frames.mjs";
import { marginal, mixture } from "./mixture.mjs";
import { arrow, centres, colourBar, firstWindow, frame, inside, plane } from "./plane.mjs";
import { play } from "./player.mjs";

const MARKED = 5; // particles whose paths are drawn
const TRAIL = 10; // frames back to which they are seen in the plane
const ORANGE = "#ffb25e", GROUND = "#22272e";
const CELLS = 56, ARROWS = 13;

function picture(ctx, size, data, k, ui) {
  const { ink, local } = ui;
  const half = data.half.data[k];
  const here = plane(size, half, 4);
  const { X, Y, box } = here;
  const at = mixture(data, data.alpha.data[k], data.sigma.data[k]);
  const heat = centres(CELLS, half).map(([x, y]) => Math.exp(at(x, y).logp));
  const peak = heat.reduce((a, b) => Math.max(a, b), 0);
  inside(ctx, here, GROUND, () => {
    heatmap(ctx, box, heat.map((p) => p / peak), CELLS, CELLS);
    if (local.show !== "particles") {
      const cell = box.w / ARROWS;
      for (const [x, y] of centres(ARROWS, half)) {
        const [s1, s2] = at(x, y).score.map((s) => s * half); // what the score is over the width of the picture
        const size = Math.hypot(s1, s2), length = (0.92 * cell * size) / (size + 4);
        const [u, v] = [(s1 / size) * length / 2, (s2 / size) * length / 2];
        arrow(ctx, [X(x) - u, Y(y) + v], [X(x) + u, Y(y) - v], "#ffffff", { width: 1.1, head: 4.5, halo: "#10151b70" });
      }
    }
    if (local.show !== "score") {
      const points = row(data.particles, k);
      for (let i = points.length / 2 - 1; i >= MARKED; i--) dot(ctx, X(points[2 * i] * half), Y(points[2 * i + 1] * half), 2.1, "#ffffff", "#10151bcc");
      for (let i = 0; i < Math.min(MARKED, points.length / 2); i++) {
        const first = Math.max(0, k - TRAIL);
        const trail = Array.from({ length: k - first + 1 }, (_, j) => place(data, i, first + j)).map(([x, y]) => [X(x), Y(y)]);
        ctx.lineJoin = ctx.lineCap = "round";
        for (const [colour, width] of [["#10151b", 3.2], [ORANGE, 1.8]]) {
          for (let j = 1; j < trail.length; j++) {
            ctx.globalAlpha = (j / trail.length) ** 0.7; // older pieces fade
            ctx.strokeStyle = colour;
            ctx.lineWidth = width;
            stroke(ctx, trail.slice(j - 1, j + 1));
          }
        }
        ctx.globalAlpha = 1;
        dot(ctx, ...trail[trail.length - 1], 4.2, ORANGE, "#10151bcc");
      }
    }
    firstWindow(ctx, here, data.half.data[data.half.data.length - 1], ui.word("window"), ink, ["#ffffff", GROUND]);
  });
  frame(ctx, here, ink);
  colourBar(ctx, here, ink, "0", ui.word("density"), peak);
}

/** Where particle i is in frame j. */
function place(data, i, j) {
  const points = row(data.particles, j), half = data.half.data[j];
  return [points[2 * i] * half, points[2 * i + 1] * half];
}

const TIME = [34, 8];

function histogram(ctx, { w, h }, data, k, ui) {
  const half = data.half.data[k], counts = row(data.counts, k);
  const width = (2 * half) / counts.length, all = data.crowd.data[0];
  const bars = Array.from(counts, (n) => n / all / width);
  const exact = marginal(data, data.alpha.data[k], data.sigma.data[k]);
  const xs = Array.from({ length: 181 }, (_, i) => half * (i / 90 - 1)), ys = xs.map(exact);
  const top = 1.12 * Math.max(...ys, ...bars);
  const box = { x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 42 };
  const axes = chart(ctx, box, { x: [-half, half], y: [0, top], yticks: 2, ylabel: ui.word("histogram"), ink: ui.ink });
  axes.bars(-half, half, bars, `${ui.colour("blue")}88`);
  axes.line(xs, ys, ui.ink.text, { width: 1.6 });
}

function paths(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, half = data.half.data;
  const box = { x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 42 };
  const reach = Math.max(...half);
  const about = { x: [t[0], t[t.length - 1]], y: [-reach, reach], yticks: 4, xlabel: "t", ylabel: ui.word("paths"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w, box.h);
  ctx.clip();
  const marked = Math.min(MARKED, data.particles.shape[1]);
  const heights = Array.from({ length: marked }, (_, i) => Array.from(t, (_, j) => place(data, i, j)[0]));
  for (const each of heights) axes.line(t, each, ui.ink.rule, { width: 1.2 });
  for (const each of heights) {
    axes.line(t.slice(0, k + 1), each, ui.colour("orange"), { width: 1.6 });
    axes.dot(t[k], each[k], ui.colour("orange"), 3);
  }
  ctx.restore();
  axes.cursor(t[k], ui.ink.text);
}

function readout(data, k, ui) {
  const last = data.t.data.length - 1;
  return [
    ["η", figure(ui.choice.eta, 2)],
    [ui.word("distance"), figure(data.tv.data[k], 3), ui.colour("blue")],
    [ui.word("chance"), figure(data.chance.data[k], 3)],
    [ui.word("corr"), `${figure(data.corr.data[k])} (t = 0: ${figure(data.corr.data[last])})`],
  ];
}

const spoken = (name) => (data, k, ui) => `${ui.word(name)}, η = ${figure(ui.choice.eta)}, t = ${figure(data.t.data[k], 3)}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        plane: { aspect: (w) => w + 22, draw: picture, label: spoken("plane") },
        histogram: { aspect: (w) => 0.52 * w, draw: histogram, label: spoken("histogram") },
        paths: { aspect: (w) => 0.68 * w, draw: paths, label: spoken("paths"), time: TIME },
      },
      readout,
    }),
};
