import { chart, dot, figure } from "./draw.mjs";
import { row } from "./frames.mjs";
import { play } from "./player.mjs";

const BOX = [-6, 6];
const SEEN = [-4.2, 4.2]; // nearly all of the mass at every time
const COLOURS = { particles: "blue", grid: "orange", closed: "green" };

/** The corners (xs, ys) of a step function over equal cells. */
function cells(heights) {
  const edge = (i) => BOX[0] + ((BOX[1] - BOX[0]) * i) / heights.length;
  const steps = Array.from(heights, (height, i) => [[edge(i), height], [edge(i + 1), height]]).flat();
  return [steps.map(([x]) => x), steps.map(([, height]) => height)];
}

/** One of the three views: its own picture, and the closed form dashed over it. */
function view(name) {
  return (ctx, { w, h }, data, k, ui) => {
    const colour = ui.colour(COLOURS[name]);
    const exact = row(data.closed, k);
    const xs = Array.from(exact, (_, i) => BOX[0] + ((BOX[1] - BOX[0]) * i) / (exact.length - 1));
    const box = { x: 30, y: 38, w: w - 36, h: h - 64 };
    // between the height of this frame and of all frames: the fall is seen, and the shape stays large
    const highest = (values) => values.reduce((a, b) => Math.max(a, b), 0);
    const top = 1.15 * Math.sqrt(highest(exact) * highest(data.closed.data));
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    ctx.fillStyle = colour;
    ctx.font = `650 14px ${ui.ink.font}`;
    ctx.fillText(ui.word(name), 4, 0);
    ctx.fillStyle = ui.ink.soft;
    ctx.font = `${ui.ink.small}px ${ui.ink.font}`;
    ctx.fillText(ui.word(`method_${name}`), 4, 18, w - 8);

    const axes = chart(ctx, box, { x: SEEN, y: [0, top], yticks: 3, xticks: 5, ink: ui.ink });
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.x, box.y - 2, box.w, box.h + 2);
    ctx.clip();
    if (name === "particles") {
      axes.bars(...BOX, row(data.bars, k), `${colour}88`);
      row(data.dots, k).forEach((x, i) => dot(ctx, axes.X(x), box.y + box.h - 4 - 3 * (i % 7), 1.8, ui.ink.text));
    }
    if (name === "grid") {
      const steps = cells(row(data.grid, k));
      axes.area(...steps, `${colour}44`);
      axes.line(...steps, colour, { width: 1.6 });
    }
    if (name === "closed") axes.area(xs, exact, `${colour}44`);
    axes.line(xs, exact, name === "closed" ? colour : ui.ink.text, name === "closed" ? { width: 2.2 } : { width: 1.3, dash: [5, 3] });
    ctx.restore();
  };
}

const TIME = [44, 10];

function residual(ctx, { w, h }, data, k, ui) {
  const t = data.t.data;
  const floor = 1e-5;
  const box = { x: TIME[0], y: 20, w: w - TIME[0] - TIME[1], h: h - 44 };
  const about = { x: [t[0], t[t.length - 1]], y: [floor, 1], log: true, xticks: 5, xlabel: "t", ylabel: ui.word("residual"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  axes.cursor(t[k], ui.ink.soft);
  axes.line(t, data.chance.data, ui.ink.soft, { width: 1.3, dash: [2, 3] });
  for (const name of ["particles", "grid"]) {
    const colour = ui.colour(COLOURS[name]), values = data[`tv_${name}`].data;
    const first = values.findIndex((v) => v > floor); // the grid starts from the closed form: distance 0, not on this scale
    axes.line(t.slice(first), values.slice(first), colour, { width: 2 });
    if (k >= first) axes.dot(t[k], values[k], colour, 4.5, ui.ink.card);
  }
}

function readout(data, k, ui) {
  return [
    [`${ui.word("particles")} − ${ui.word("closed")}`, figure(data.tv_particles.data[k], 3), ui.colour("blue")],
    [ui.word("chance"), figure(data.chance.data[k], 3), ui.ink.soft],
    [`${ui.word("grid")} − ${ui.word("closed")}`, figure(data.tv_grid.data[k], 4), ui.colour("orange")],
    [ui.word("greatest"), figure(data.max_grid.data[k], 4)],
  ];
}

const spoken = (name) => (data, k, ui) => `${ui.word(name)}, t = ${figure(data.t.data[k], 3)}`;
const aspect = (w) => (w > 290 ? 0.52 * w : 0.82 * w); // stacked, or in a row

export default {
  render: (context) =>
    play(context, {
      layout: "row",
      panels: {
        particles: { aspect, draw: view("particles"), label: spoken("method_particles") },
        grid: { aspect, draw: view("grid"), label: spoken("method_grid") },
        closed: { aspect, draw: view("closed"), label: spoken("method_closed") },
        residual: { aspect: () => 170, draw: residual, label: spoken("residual"), time: TIME },
      },
      readout,
    }),
};
