import { chart, dot, figure, stroke } from "./draw.mjs";
import { play } from "./player.mjs";

const REACH = 9, BANDS = [-1, 1];
const COLOURS = ["orange", "green", "blue"]; // much noise, middle, little noise
const band = (lam) => (lam < BANDS[0] ? 0 : lam > BANDS[1] ? 2 : 1);
const paper = { canvas: null };

/** x_t at unit size, grey: ink dark. */
function state(ctx, { w, h }, data, k, ui) {
  const [rows, columns] = data.picture.shape;
  const a = data.signal.data[k], s = data.noise.data[k];
  paper.canvas ??= document.createElement("canvas");
  const small = paper.canvas;
  small.width = columns;
  small.height = rows;
  const image = new ImageData(columns, rows);
  data.picture.data.forEach((ink, i) => {
    const x = a * ink + s * data.eps.data[i];
    const grey = Math.round(255 * (1 - Math.max(0, Math.min(1, (x + 1.5) / 3))));
    image.data.set([grey, grey, grey, 255], 4 * i);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  const scale = Math.min((w - 8) / columns, (h - 26) / rows);
  const box = { x: (w - scale * columns) / 2, y: 22, w: scale * columns, h: scale * rows };
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(small, box.x, box.y, box.w, box.h);
  ctx.strokeStyle = ui.colour(COLOURS[band(data.lam.data[k])]);
  ctx.lineWidth = 2;
  ctx.strokeRect(box.x, box.y, box.w, box.h);
  ctx.font = `${ui.ink.small}px ${ui.ink.font}`;
  ctx.fillStyle = ui.ink.soft;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.fillText(ui.word("state"), box.x, 17, w - box.x);
}

const LEFT = 34, RIGHT = 10;

/** lam against t/T, a dot for each step; a line leads from the chosen step to both axes. */
function clock(ctx, { w, h }, data, k, ui) {
  const T = data.T.data[0], t = Array.from(data.t.data, (v) => v / T), lam = data.lam.data;
  const box = { x: LEFT, y: 20, w: w - LEFT - RIGHT, h: h - 44 };
  const about = { x: [0, 1], y: [-REACH, REACH], yticks: 5, xticks: 5, xlabel: "t/T", ylabel: ui.word("clock"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  const curve = data.curve.data;
  axes.line(Array.from(curve, (_, i) => i / (curve.length - 1)), curve, ui.ink.soft, { width: 1.6 });
  ctx.setLineDash([3, 3]);
  ctx.strokeStyle = ui.ink.text;
  ctx.lineWidth = 1;
  stroke(ctx, [[axes.X(0), axes.Y(lam[k])], [axes.X(t[k]), axes.Y(lam[k])], [axes.X(t[k]), box.y + box.h]]);
  ctx.setLineDash([]);
  t.forEach((v, i) => dot(ctx, axes.X(v), axes.Y(lam[i]), i === k ? 6 : 3.6, ui.colour(COLOURS[band(lam[i])]), ui.ink.card));
}

/** How many evaluations fall in each unit of lam, and where. */
function density(ctx, { w, h }, data, k, ui) {
  const lam = data.lam.data, n = lam.length - 1; // the last time is where the sampler ends: nothing is evaluated there
  const counts = Array.from({ length: 2 * REACH }, () => 0);
  for (let i = 0; i < n; i++) counts[Math.min(2 * REACH - 1, Math.max(0, Math.floor(lam[i] + REACH)))] += 1;
  const box = { x: LEFT, y: 20, w: w - LEFT - RIGHT, h: h - 54 };
  const top = 1.15 * Math.max(...counts);
  const axes = chart(ctx, box, { x: [-REACH, REACH], y: [0, top], yticks: 3, xticks: 8, ylabel: ui.word("density"), ink: ui.ink });
  counts.forEach((count, i) => {
    const middle = i - REACH + 0.5;
    ctx.fillStyle = `${ui.colour(COLOURS[band(middle)])}88`;
    const left = axes.X(i - REACH) + 0.5;
    ctx.fillRect(left, axes.Y(count), axes.X(i - REACH + 1) - 0.5 - left, axes.Y(0) - axes.Y(count));
  });
  for (let i = 0; i <= n; i++) {
    ctx.strokeStyle = i === k ? ui.ink.text : ui.ink.soft;
    ctx.lineWidth = i === k ? 3 : 1;
    stroke(ctx, [[axes.X(lam[i]), box.y + box.h], [axes.X(lam[i]), box.y + box.h - (i === k ? 16 : 8)]]);
  }
  ctx.font = `${ui.ink.small}px ${ui.ink.font}`;
  ctx.fillStyle = ui.ink.soft;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  ctx.fillText("λ", box.x + box.w / 2, box.y + box.h + 19);
}

const percent = (share) => `${Math.round(100 * share)} %`;

function readout(data, k, ui) {
  const a = data.signal.data[k], s = data.noise.data[k], [high, middle, low] = data.shares.data;
  return [
    [ui.word("ratio"), a === 0 ? "∞" : figure(s / a, 2)],
    [ui.word("snr"), s === 0 ? "∞" : figure((a / s) ** 2, 2)],
    [ui.word("high"), percent(high), ui.colour(COLOURS[0])],
    [ui.word("middle"), percent(middle), ui.colour(COLOURS[1])],
    [ui.word("low"), percent(low), ui.colour(COLOURS[2])],
  ];
}

const at = (data, k, ui) => `${ui.word("step")} ${k}/${data.t.shape[0] - 1}, t = ${figure(data.t.data[k], 3)}`;
const spoken = (name) => (data, k, ui) => `${ui.word(name)}, ${at(data, k, ui)}, λ = ${figure(data.lam.data[k])}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        state: { aspect: (w) => w + 20, draw: state, label: spoken("state") },
        clock: { aspect: (w) => 0.72 * w, draw: clock, label: spoken("clock") },
        density: { aspect: (w) => 0.6 * w, draw: density, label: spoken("density") },
      },
      readout,
      now: at,
    }),
};
