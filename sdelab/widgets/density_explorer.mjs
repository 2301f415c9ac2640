import { chart, dot, figure, heatmap, stroke } from "./draw.mjs";
import { row } from "./frames.mjs";
import { colourBar, firstWindow, frame, inside, plane } from "./plane.mjs";
import { play } from "./player.mjs";

const MARKED = 8; // particles whose paths are drawn
const ORANGE = "#ffb25e", GROUND = "#22272e"; // a marked particle on the heat map, and what is under the map

function density(ctx, size, data, k, ui) {
  const { ink, local } = ui;
  const half = data.half.data[k];
  const here = plane(size, half, 4);
  const { X, Y, box } = here;
  const [cells] = data.heat.shape.slice(1);

  inside(ctx, here, GROUND, () => {
    if (local.show !== "particles") heatmap(ctx, box, row(data.heat, k), cells, cells);
    if (local.show !== "density") {
      for (let i = 0; i < MARKED; i++) {
        ctx.strokeStyle = ORANGE;
        ctx.lineWidth = 1.2;
        ctx.globalAlpha = 0.8;
        stroke(ctx, trail(data, i, k).map(([x, y]) => [X(x), Y(y)]));
        ctx.globalAlpha = 1;
      }
      const points = row(data.particles, k);
      for (let i = points.length / 2 - 1; i >= 0; i--) {
        const marked = i < MARKED;
        dot(ctx, X(points[2 * i] * half), Y(points[2 * i + 1] * half), marked ? 4 : 1.9, marked ? ORANGE : "#ffffff", "#10151bcc");
      }
    }
    firstWindow(ctx, here, data.half.data[0], ui.word("window"), ink, ["#ffffff", GROUND]);
  });
  frame(ctx, here, ink);
  if (local.show !== "particles") colourBar(ctx, here, ink, "0", ui.word("density"), data.peak.data[k]);
}

/** Where particle i has been up to frame k, in the plane. */
function trail(data, i, k) {
  return Array.from({ length: k + 1 }, (_, j) => {
    const points = row(data.particles, j), half = data.half.data[j];
    return [points[2 * i] * half, points[2 * i + 1] * half];
  });
}

const TIME = [34, 8]; // the charts' margins left and right of their time axis

const timeBox = (w, h) => ({ x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 42 });
const span = (t) => [t[0], t[t.length - 1]];

function schedule(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, a = data.alpha.data, s = data.sigma.data;
  const share = Array.from(a, (alpha, j) => alpha ** 2 / (alpha ** 2 + s[j] ** 2));
  const axes = chart(ctx, timeBox(w, h), { x: span(t), y: [0, 1], yticks: 2, ylabel: ui.word("share"), ink: ui.ink });
  axes.area(t, share, ui.colour("wash"), 1);
  axes.area(t, share, ui.colour("blue"), 0);
  ctx.font = `600 12px ${ui.ink.font}`;
  ctx.textBaseline = "middle";
  const middle = (share.findIndex((v) => v < 0.5) / t.length) || 0.5;
  ctx.textAlign = "center";
  if (middle > 0.15) {
    ctx.fillStyle = ui.ink.card;
    ctx.fillText(ui.word("signal"), axes.X(t[0] + (middle / 2) * (t[t.length - 1] - t[0])), axes.Y(0.25));
  }
  ctx.fillStyle = ui.ink.text;
  ctx.fillText(ui.word("noise"), axes.X(t[0] + ((1 + middle) / 2) * (t[t.length - 1] - t[0])), axes.Y(0.75));
  axes.cursor(t[k], ui.ink.text);
  axes.dot(t[k], share[k], ui.ink.card, 4.5, ui.ink.text);
}

function paths(ctx, { w, h }, data, k, ui) {
  const t = data.t.data, half = data.half.data[k];
  const box = timeBox(w, h);
  const axes = chart(ctx, box, { x: span(t), y: [-half, half], yticks: 4, xlabel: "t", ylabel: ui.word("paths"), ink: ui.ink });
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w, box.h);
  ctx.clip();
  for (let i = 0; i < MARKED; i++) {
    const heights = trail(data, i, t.length - 1).map(([x]) => x);
    axes.line(t, heights, ui.ink.rule, { width: 1.2 });
    axes.line(t.slice(0, k + 1), heights, ui.colour("orange"), { width: 1.6 });
    axes.dot(t[k], heights[k], ui.colour("orange"), 3);
  }
  ctx.restore();
  axes.cursor(t[k], ui.ink.text);
}

function readout(data, k, ui) {
  const alpha = data.alpha.data[k], sigma = data.sigma.data[k];
  return [
    ["α", figure(alpha, 3)],
    ["σ", figure(sigma, 3)],
    ["λ = log(α/σ)", figure(Math.log(alpha / sigma))],
    [ui.word("highest"), figure(data.peak.data[k])],
    [ui.word("width"), figure(data.half.data[k])],
  ];
}

const spoken = (name) => (data, k, ui) => `${ui.word(name)}, t = ${figure(data.t.data[k], 3)}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        density: { aspect: (w) => w + 22, draw: density, label: spoken("describe") },
        schedule: { aspect: (w) => 0.5 * w, draw: schedule, label: spoken("share"), time: TIME },
        paths: { aspect: (w) => 0.7 * w, draw: paths, label: spoken("paths"), time: TIME },
      },
      readout,
    }),
};
