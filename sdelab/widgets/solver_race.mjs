import { chart, dot, figure, stroke } from "./draw.mjs";
import { row } from "./frames.mjs";
import { frame, inside, plane } from "./plane.mjs";
import { play } from "./player.mjs";

const MARGIN = [38, 104], TICKS = [5, 10, 20, 50];
const chosen = (data) => data.chosen.data[0];
const errors = (data, s) => row(data.errors, s);
const spent = (data, s) => row(data.spent, s);
const name = (data, s, ui) => ui.word(`solver${data.rows.data[s]}`);

function samples(ctx, size, data, k, ui) {
  const here = plane(size, data.half.data[0]);
  const exact = data.exact.data, found = row(data.found, k), half = here.half;
  const ran = spent(data, chosen(data))[k] > 0;
  inside(ctx, here, ui.colour("field"), () => {
    const places = Array.from({ length: exact.length / 2 }, (_, i) =>
      [exact, found].map((at) => [here.X(at[2 * i] * half), here.Y(at[2 * i + 1] * half)]));
    if (ran) {
      ctx.strokeStyle = ui.colour("blue");
      ctx.lineWidth = 1.2;
      for (const ends of places) stroke(ctx, ends);
    }
    for (const [end] of places) dot(ctx, ...end, 1.7, ui.colour("blue"));
    if (ran) for (const [, end] of places) dot(ctx, ...end, 2.9, ui.colour("orange"), ui.ink.card);
    if (!ran) {
      ctx.font = `13px ${ui.ink.font}`;
      ctx.fillStyle = ui.ink.text;
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillText(ui.word("short"), here.X(0), here.Y(0));
    }
  });
  frame(ctx, here, ui.ink, ui.word("samples"));
}

/** The solvers that took a step at the budget, the best one first. */
function ranking(data, k) {
  const all = Array.from(data.rows.data, (_, s) => s).filter((s) => spent(data, s)[k] > 0);
  return all.sort((a, b) => errors(data, a)[k] - errors(data, b)[k]);
}

function curves(ctx, { w, h }, data, k, ui) {
  const budgets = data.t.data, last = budgets.length - 1, mine = chosen(data), lg = Math.log10;
  const ran = (s) => Array.from(budgets, (_, j) => j).filter((j) => spent(data, s)[j] > 0);
  const all = Array.from(data.rows.data, (_, s) => s);
  const values = all.flatMap((s) => ran(s).map((j) => errors(data, s)[j]));
  const top = Math.min(Math.max(...values), 3), bottom = Math.max(Math.min(...values), 1e-6) / 1.3;
  const box = { x: MARGIN[0], y: 20, w: w - MARGIN[0] - MARGIN[1], h: h - 46 };
  const about = { x: [lg(budgets[0]), lg(budgets[last])], y: [bottom, top * 1.1], log: true, xticks: 0, ylabel: ui.word("errors"), ink: ui.ink };
  const axes = chart(ctx, box, about);
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const n of TICKS.filter((n) => n >= budgets[0] && n <= budgets[last])) {
    stroke(ctx, [[axes.X(lg(n)), box.y + box.h], [axes.X(lg(n)), box.y + box.h + 4]]);
    ctx.fillText(String(n), axes.X(lg(n)), box.y + box.h + 6);
  }
  ctx.textAlign = "right";
  ctx.fillText(ui.word("calls"), w - 4, box.y + box.h + 6);
  axes.cursor(lg(budgets[k]), ui.ink.soft);
  const line = (s, colour, style) => axes.line(ran(s).map((j) => lg(spent(data, s)[j])), ran(s).map((j) => errors(data, s)[j]), colour, style);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w + 1, box.h);
  ctx.clip();
  all.forEach((s) => s !== mine && line(s, ui.ink.soft, { width: 1, dash: s % 2 ? [4, 2] : [] }));
  line(mine, ui.colour("orange"), { width: 2.6 });
  if (spent(data, mine)[k] > 0) axes.dot(lg(spent(data, mine)[k]), errors(data, mine)[k], ui.colour("orange"), 4.5, ui.ink.card);
  ctx.restore();
  beside(ctx, all.filter((s) => ran(s).includes(last)), (s) => axes.Y(errors(data, s)[last]), box, (s) => name(data, s, ui), mine, ui);
}

/** Names at the right ends of the curves, pushed apart where they would touch. */
function beside(ctx, all, height, box, label, mine, ui) {
  const gap = 13, sorted = [...all].sort((a, b) => height(a) - height(b));
  const at = sorted.map((s) => Math.max(box.y + 5, Math.min(box.y + box.h - 5, height(s))));
  for (let i = 1; i < at.length; i++) at[i] = Math.max(at[i], at[i - 1] + gap);
  const over = at.length ? at[at.length - 1] - (box.y + box.h - 2) : 0;
  if (over > 0) {
    at[at.length - 1] -= over;
    for (let i = at.length - 2; i >= 0; i--) at[i] = Math.min(at[i], at[i + 1] - gap);
  }
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  const right = box.x + box.w;
  sorted.forEach((s, i) => {
    ctx.strokeStyle = ctx.fillStyle = s === mine ? ui.colour("orange") : ui.ink.soft;
    ctx.lineWidth = 1;
    stroke(ctx, [[right + 1, Math.min(Math.max(height(s), box.y), box.y + box.h)], [right + 9, at[i]]]);
    ctx.font = `${s === mine ? "bold " : ""}${ui.ink.small}px ${ui.ink.font}`;
    let text = label(s);
    if (ctx.measureText(text).width > MARGIN[1] - 14) text = text.replace(/ \(.*/, ""); // what stands in brackets can go
    while (text.length > 3 && ctx.measureText(text).width > MARGIN[1] - 14) text = `${text.slice(0, -2)}…`;
    ctx.fillText(text, right + 11, at[i]);
  });
}

function readout(data, k, ui) {
  const s = chosen(data), order = ranking(data, k), ran = spent(data, s)[k] > 0;
  const place = ran ? `${order.indexOf(s) + 1} / ${order.length}` : "–";
  return [
    [ui.word("error"), ran ? figure(errors(data, s)[k], 3) : "–", ui.colour("orange")],
    [ui.word("rank"), place],
    [ui.word("spent"), ran ? String(spent(data, s)[k]) : "0"],
    [ui.word("law"), ran ? figure(data.law.data[k], 2) : "–"],
    [ui.word("order"), figure(data.order.data[0], 2)],
  ];
}

const spoken = (what) => (data, k, ui) => `${ui.word(what)}, ${name(data, chosen(data), ui)}, ${ui.word("calls")} ${data.t.data[k]}`;

export default {
  render: (context) =>
    play(context, {
      layout: "beside",
      panels: {
        samples: { aspect: (w) => w + 8, draw: samples, label: spoken("samples") },
        errors: { aspect: (w) => Math.max(280, 1.1 * w), draw: curves, label: spoken("errors") },
      },
      readout,
      now: (data, k, ui) => `${ui.word("calls")} ${data.t.data[k]}`,
    }),
};
