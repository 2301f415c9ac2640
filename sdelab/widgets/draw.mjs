// Drawing on a canvas: colours, a heat map, charts with axes. Every length is in CSS pixels.

const VIRIDIS =
  "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c" +
  "1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725";

const STOPS = VIRIDIS.match(/../g).map((hex) => parseInt(hex, 16));

/** The colour (r, g, b) of a level 0..255: viridis, readable with every kind of colour vision and in grey. */
export function viridis(level) {
  const place = (level / 255) * 32;
  const stop = Math.min(31, Math.floor(place));
  return [0, 1, 2].map((c) => {
    const low = STOPS[3 * stop + c];
    return Math.round(low + (place - stop) * (STOPS[3 * stop + 3 + c] - low));
  });
}

const TABLE = Array.from({ length: 256 }, (_, level) => viridis(level));
const scratch = { canvas: null };

/** Draw values 0..1 (rows of y from the bottom up) into the box, smoothly enlarged. */
export function heatmap(ctx, box, values, rows, columns) {
  scratch.canvas ??= document.createElement("canvas");
  const small = scratch.canvas;
  small.width = columns;
  small.height = rows;
  const image = new ImageData(columns, rows);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      image.data.set([...TABLE[Math.round(255 * values[r * columns + c])], 255], 4 * ((rows - 1 - r) * columns + c));
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = true;
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(small, box.x, box.y, box.w, box.h);
}

/** About `count` round numbers between lo and hi. */
export function ticks(from, to, count) {
  const lo = Math.min(from, to), hi = Math.max(from, to); // an axis may run from noise to data, t falling
  const rough = (hi - lo) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough * 0.999) * power;
  const found = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + 1e-9 * step; i++) found.push(i * step);
  return found;
}

const tenTo = (power) => `10${[...String(power)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;

/** A number for an axis or a readout: few digits, a true minus sign. */
export function figure(value, digits = 2) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, power] = value.toExponential(1).split("e");
    return `${mantissa}×${tenTo(Number(power))}`.replace("-", "−");
  }
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? Math.min(1, digits) : size < 0.1 ? digits + 1 : digits).replace("-", "−");
}

const shortly = (value) => String(Number(value.toPrecision(6))).replace("-", "−");

/**
 * A chart in the box: draws the frame, ticks and labels, and returns X, Y (data to pixels) and drawing functions.
 * about: {x: [lo, hi], y: [lo, hi], log (y is logarithmic), xlabel, ylabel, xticks, yticks (how many), ink}
 */
export function chart(ctx, box, about) {
  const { x, y, log = false, ink } = about;
  const lift = log ? Math.log10 : (v) => v;
  const X = (v) => box.x + ((v - x[0]) / (x[1] - x[0])) * box.w;
  const Y = (v) => box.y + box.h - ((lift(v) - lift(y[0])) / (lift(y[1]) - lift(y[0]))) * box.h;

  ctx.font = `${ink.small}px ${ink.font}`;
  ctx.lineWidth = 1;
  ctx.strokeStyle = ink.rule;
  ctx.fillStyle = ink.soft;
  const rows = log ? decades(y[0], y[1]) : ticks(y[0], y[1], about.yticks ?? 3);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const v of about.yticks === 0 ? [] : rows) {
    stroke(ctx, [[box.x, Y(v)], [box.x + box.w, Y(v)]]);
    ctx.fillText(log ? tenTo(Math.round(Math.log10(v))) : shortly(v), box.x - 5, Y(v));
  }
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const v of about.xticks === 0 ? [] : ticks(x[0], x[1], about.xticks ?? 4)) {
    stroke(ctx, [[X(v), box.y + box.h], [X(v), box.y + box.h + 4]]);
    ctx.fillText(shortly(v), X(v), box.y + box.h + 6);
  }
  ctx.strokeStyle = ink.soft;
  stroke(ctx, [[box.x, box.y + box.h], [box.x + box.w, box.y + box.h]]);
  if (about.xlabel) {
    ctx.fillText(about.xlabel, box.x + 0.7 * box.w, box.y + box.h + 6); // among the numbers, where they seldom stand
  }
  if (about.ylabel) {
    ctx.textAlign = "left";
    ctx.textBaseline = "bottom";
    ctx.fillText(about.ylabel, box.x, box.y - 5);
  }

  const path = (xs, ys) => Array.from(xs, (v, i) => [X(v), Y(ys[i])]);
  return {
    X, Y,
    line(xs, ys, colour, { width = 2, dash = [] } = {}) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.lineJoin = "round";
      ctx.setLineDash(dash);
      stroke(ctx, path(xs, ys));
      ctx.setLineDash([]);
    },
    /** The area between the curve and the level `base`. */
    area(xs, ys, colour, base = 0) {
      const last = xs.length - 1;
      ctx.beginPath();
      [[X(xs[0]), Y(base)], ...path(xs, ys), [X(xs[last]), Y(base)]].forEach(([px, py]) => ctx.lineTo(px, py));
      ctx.fillStyle = colour;
      ctx.fill();
    },
    /** Bars of equal width from lo to hi. */
    bars(lo, hi, heights, colour) {
      const width = (hi - lo) / heights.length;
      ctx.fillStyle = colour;
      heights.forEach((height, i) => {
        const left = X(lo + i * width) + 0.5, right = X(lo + (i + 1) * width) - 0.5;
        ctx.fillRect(left, Y(height), right - left, Y(0) - Y(height));
      });
    },
    cursor(v, colour) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = 1.5;
      stroke(ctx, [[X(v), box.y], [X(v), box.y + box.h]]);
    },
    dot(v, height, colour, radius = 4, rim = null) {
      dot(ctx, X(v), Y(height), radius, colour, rim);
    },
  };
}

export function dot(ctx, x, y, radius, colour, rim = null) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = colour;
  ctx.fill();
  if (!rim) return;
  ctx.strokeStyle = rim;
  ctx.lineWidth = 1;
  ctx.stroke();
}

export function stroke(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
}

function decades(lo, hi) {
  const found = [];
  const first = Math.ceil(Math.log10(lo) - 1e-9), last = Math.floor(Math.log10(hi) + 1e-9);
  const step = Math.ceil((last - first + 1) / 5);
  for (let power = first; power <= last; power += step) found.push(10 ** power);
  return found;
}
