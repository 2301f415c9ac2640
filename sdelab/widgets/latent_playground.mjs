import { chart, figure } from "./draw.mjs";
import { row } from "./frames.mjs";
import { play } from "./player.mjs";

const LARGEST = 440; // pixels of the chosen image, a side
const LEFT = 24, TOP = 38, GAP = 4; // of the table: room for seeds, for numbers of steps, between images
const WIDEST = 92; // of an image in the table

/** Image s of frame k as a small canvas; of one channel, it is ink on paper. */
function picture({ images }, k, s) {
  const [, seeds, channels, height, width] = images.shape;
  const values = row({ data: row(images, k), shape: [seeds] }, s), size = width * height;
  const small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      const value = channels === 1 ? -values[i] : values[c * size + i];
      image.data[4 * i + c] = 127.5 * (value + 1);
    }
    image.data[4 * i + 3] = 255;
  }
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

function place(ctx, small, x, y, side, ui) {
  ctx.imageSmoothingEnabled = false; // its pixels as they are
  ctx.drawImage(small, x, y, side, side);
  ctx.strokeStyle = ui.ink.rule;
  ctx.lineWidth = 1;
  ctx.strokeRect(x, y, side, side);
}

function view(seeds, steps) {
  const index = (ui) => seeds.indexOf(ui.local.seed);
  const counted = (n, ui) => `${n} ${ui.word(n === 1 ? "one" : "steps")}`;
  const side = (width) => Math.min(WIDEST, (width - LEFT - GAP) / steps.length);

  function chosen(ctx, { w, h }, data, k, ui) {
    const size = Math.min(w, h) - 2;
    place(ctx, picture(data, k, index(ui)), (w - size) / 2, 1, size, ui);
  }

  function sheet(ctx, { w }, data, k, ui) {
    const cell = side(w);
    ctx.font = `${ui.ink.small}px ${ui.ink.font}`;
    ctx.fillStyle = ui.ink.soft;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "left";
    ctx.fillText(ui.word("sheet"), 0, 12);
    steps.forEach((n, f) => {
      ctx.textAlign = "center";
      ctx.textBaseline = "alphabetic";
      ctx.fillStyle = f === k ? ui.ink.text : ui.ink.soft;
      ctx.fillText(n, LEFT + (f + 0.5) * cell, TOP - 7);
      seeds.forEach((_, s) => place(ctx, picture(data, f, s), LEFT + f * cell + GAP / 2, TOP + s * cell + GAP / 2, cell - GAP, ui));
    });
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    seeds.forEach((seed, s) => {
      ctx.fillStyle = s === index(ui) ? ui.ink.text : ui.ink.soft;
      ctx.fillText(seed, LEFT - 6, TOP + (s + 0.5) * cell);
    });
    ctx.strokeStyle = ui.colour("orange");
    ctx.lineWidth = 3;
    ctx.strokeRect(LEFT + k * cell + GAP / 2, TOP + index(ui) * cell + GAP / 2, cell - GAP, cell - GAP);
  }

  function levels(ctx, { w, h }, data, k, ui) {
    const n = steps[k], all = row(data.levels, k).subarray(0, n), known = data.levels.data.filter((level) => level > 0);
    const box = { x: 34, y: 20, w: w - 46, h: h - 42 };
    const y = [known.reduce((a, b) => Math.min(a, b)) / 2, known.reduce((a, b) => Math.max(a, b)) * 2];
    const axes = chart(ctx, box, { x: [0, n], y, log: true, xticks: Math.min(n, 4), ylabel: ui.word("levels"), ink: ui.ink });
    axes.line([...all.keys(), n], [...all, y[0]], ui.colour("blue"), { width: 1.5 }); // the last step ends at 0
    all.forEach((level, i) => axes.dot(i, level, ui.colour("blue"), 3.5, ui.ink.card));
  }

  const pick = {
    name: "seed",
    /** A press chooses row and column; so do the arrow keys. */
    place([px, py], { w }, data, k, ui) {
      const at = (pixels, count) => Math.max(0, Math.min(count - 1, Math.floor(pixels / side(w))));
      ui.step(at(px - LEFT, steps.length));
      return seeds[at(py - TOP, seeds.length)];
    },
    nudge([right, up], data, k, ui) {
      if (right) ui.step(k + right);
      return seeds[Math.max(0, Math.min(seeds.length - 1, index(ui) - up))];
    },
  };

  const spoken = (name) => (data, k, ui) =>
    [ui.word(name), ...Object.values(ui.choice), counted(steps[k], ui), `${ui.word("seed")} ${ui.local.seed}`].join(", ");

  return {
    layout: "beside",
    panels: {
      image: { aspect: (w) => Math.min(w, LARGEST), draw: chosen, label: spoken("image") },
      sheet: { aspect: (w) => TOP + seeds.length * side(w) + GAP, draw: sheet, label: spoken("sheet"), pick },
      levels: { aspect: () => 150, draw: levels, label: spoken("levels") },
    },
    now: (data, k, ui) => counted(steps[k], ui),
    readout: (data, k, ui) => [
      [ui.word("calls"), figure(data.calls.data[k], 0)],
      [ui.word("gap"), figure(row(data.gap, k)[index(ui)], 3)],
      [ui.word("spread"), figure(data.spread.data[k], 3)],
    ],
  };
}

export default {
  render: (context) => play(context, view(context.model.get("seeds"), context.model.get("steps"))),
};
