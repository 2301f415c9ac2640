// The shared player: frames of one choice of parameters, menus, a time slider, play and pause, keys.
//
// A widget calls play(context, view) with
//   view.layout            a class for the arrangement of its panels (player.css)
//   view.panels            {name: {aspect(width) -> height, draw(ctx, size, data, k, ui), time: [left, right] margins if its
//                          x axis is time (then a pointer moves the slider), label(data, k, ui) -> text for screen readers}}
//   view.readout           (data, k, ui) -> [[label, text], ...]
// data holds the arrays of Python's frames(choice), each {data, shape}, and k is the frame.
import { figure } from "./draw.mjs";

const SECONDS = 6; // one run from the first frame to the last

/** Bytes of packing.py -> {header, arrays: {name: {data, shape}}}; quantised numbers come back as values. */
export async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = await new Response(stream).arrayBuffer();
  let at = 4 + new DataView(raw).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(raw, 4, at - 4)));
  const arrays = {};
  for (const { name, dtype, shape, lo, hi, top, delta = [] } of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    const size = { uint8: 1, uint16: 2, float32: 4 }[dtype];
    const piece = new Uint8Array(raw.slice(at, at + size * count));
    at += size * count;
    let data = piece;
    if (dtype === "float32") data = new Float32Array(piece.buffer);
    if (dtype === "uint16") data = Uint16Array.from({ length: count }, (_, i) => piece[i] | (piece[count + i] << 8));
    for (const axis of delta) {
      const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      for (let i = stride; i < count; i++) {
        if (Math.floor(i / stride) % shape[axis] !== 0) data[i] += data[i - stride]; // modulo its range, as stored
      }
    }
    if (top !== undefined) data = Float32Array.from(data, (q) => lo + ((hi - lo) * q) / top);
    arrays[name] = { data, shape };
  }
  return { header, arrays };
}

/** Frame k of an array whose first axis is time. */
export function row({ data, shape }, k) {
  const stride = data.length / shape[0];
  return data.subarray(k * stride, (k + 1) * stride);
}

function build(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function languageOf(model) {
  const asked = model.get("lang");
  if (asked === "ja" || asked === "en") return asked;
  const page = document.documentElement.lang || "";
  // a published page says its language; in JupyterLab, whose pages say English, the reader's browser is asked too
  return page.startsWith("ja") || (!model.get("_static") && navigator.language.startsWith("ja")) ? "ja" : "en";
}

const same = (a, b) => Object.keys(b).every((name) => a[name] === b[name]);

const asBytes = (value) => {
  if (!value) return new Uint8Array(0);
  return value.buffer ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
};

export function play({ model, el }, view) {
  const spec = model.get("spec");
  const live = !model.get("_static");
  const language = languageOf(model);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const word = (name) => spec.words[name][language];
  const local = {};
  const canvases = {};
  const kept = new Map(); // decoded frames of the shelf, a few
  const ends = []; // what to undo when the view goes
  let choice = { ...model.get("choice") };
  let data = null;
  let frame = model.get("frame");
  let playing = false;

  // ---- the page's nodes
  const controls = build("div", { class: "sde-controls" });
  const stage = build("div", { class: `sde-stage sde-${view.layout}` });
  const button = build("button", { class: "sde-play", type: "button" });
  const slider = build("input", { class: "sde-time", type: "range", min: "0", max: "0", step: "1", "aria-label": word("time") });
  const now = build("output", { class: "sde-now" });
  const readout = build("dl", { class: "sde-readout" });
  const said = build("div", { class: "sde-said", role: "status", "aria-live": "polite" });
  const root = build(
    "section",
    { class: "sde-player", tabindex: "0", role: "group", "aria-label": spec.title[language], lang: language,
      "data-widget": spec.name, "data-language": language, "data-state": "loading", "data-lm-suppress-shortcuts": "true" },
    build("div", { class: "sde-head" }, build("div", { class: "sde-title" }, spec.title[language]), controls),
    build("div", { class: "sde-body" }, stage, build("div", { class: "sde-transport" }, button, slider, now)),
    readout,
    build("div", { class: "sde-hint" }, word("hint")),
    said,
  );
  for (const [name, panel] of Object.entries(view.panels)) {
    const canvas = build("canvas", { role: "img", "data-panel": name, "aria-label": spec.title[language] });
    canvases[name] = canvas;
    stage.append(build("div", { class: `sde-panel sde-panel-${name}` }, canvas));
    if (panel.time) scrub(canvas, panel.time);
  }
  el.replaceChildren(root);

  function listen(target, event, handler, options) {
    target.addEventListener(event, handler, options);
    ends.push(() => target.removeEventListener(event, handler, options));
  }

  // ---- menus and dials: only what can be had is offered
  function offered(control) {
    if (live || control.local) return control.options ?? null;
    const values = new Set(model.get("shelf").map((entry) => entry.choice[control.name]));
    return control.options?.filter(({ value }) => values.has(value))
      ?? [...values].map((value) => ({ value, label: { ja: figure(value), en: figure(value) } }));
  }

  function layControls() {
    controls.replaceChildren();
    for (const control of spec.controls) {
      const options = offered(control);
      if (options && options.length < 2) continue;
      if (Object.entries(control.when).some(([name, values]) => !values.includes(choice[name]))) continue;
      if (control.local) local[control.name] ??= options[0].value;
      const value = control.local ? local[control.name] : choice[control.name];
      controls.append(options ? menu(control, options, value) : dial(control, value));
    }
  }

  function menu(control, options, value) {
    const node = build("select", { "data-control": control.name });
    for (const option of options) {
      node.append(build("option", { value: String(option.value), selected: option.value === value }, option.label[language]));
    }
    node.addEventListener("change", () => change(control, options[node.selectedIndex].value));
    return build("label", { class: "sde-control" }, build("span", {}, control.label[language]), node);
  }

  function dial(control, value) {
    const shown = build("output", {}, figure(value));
    const node = build("input", {
      type: "range", "data-control": control.name, min: String(control.lo), max: String(control.hi), step: String(control.step),
      "aria-label": control.label[language],
    });
    node.value = value;
    let timer = 0;
    node.addEventListener("input", () => {
      shown.value = figure(Number(node.value));
      clearTimeout(timer);
      timer = setTimeout(() => change(control, Number(node.value)), 150);
    });
    return build("label", { class: "sde-control" }, build("span", {}, control.label[language]), node, shown);
  }

  function change(control, value) {
    if (control.local) {
      local[control.name] = value;
      return draw();
    }
    const wanted = { ...choice, [control.name]: value };
    choice = live ? wanted : nearest(wanted, control.name);
    relay(control.name);
    model.set("choice", choice);
    if (live) model.save_changes();
    return fetchFrames();
  }

  /** Without a kernel: the stored choice that keeps the changed control and most of the others. */
  function nearest(wanted, name) {
    const agreeing = (entry) => Object.keys(wanted).filter((key) => entry.choice[key] === wanted[key]).length;
    const entries = model.get("shelf").filter((entry) => entry.choice[name] === wanted[name]);
    return { ...entries.reduce((best, entry) => (agreeing(entry) > agreeing(best) ? entry : best)).choice };
  }

  /** Lay the controls anew and give the focus back to the one in use. */
  function relay(name) {
    const focused = controls.contains(document.activeElement);
    layControls();
    if (focused) controls.querySelector(`[data-control="${name}"]`)?.focus();
  }

  // ---- frames: from the shelf, else from the kernel
  async function fetchFrames() {
    const asked = choice;
    try {
      const entry = model.get("shelf").find((each) => same(each.choice, choice));
      let found = null;
      if (entry) {
        const key = JSON.stringify(entry.choice);
        found = kept.get(key) ?? (await unpack(asBytes(model.get("library")).subarray(entry.start, entry.stop)));
        kept.set(key, found);
        if (kept.size > 8) kept.delete(kept.keys().next().value);
      } else {
        const picture = asBytes(model.get("picture"));
        if (picture.length) found = await unpack(picture);
        if (model.get("problem")) throw new Error(model.get("problem"));
      }
      if (asked !== choice) return; // another choice was made meanwhile
      if (!found || !same(found.header.choice, choice)) {
        root.dataset.state = "busy";
        now.value = word("busy");
        return;
      }
      data = found.arrays;
      root.dataset.source = entry ? "shelf" : "kernel";
      root.dataset.frames = data.t.shape[0];
      root.dataset.state = "ready";
      slider.max = data.t.shape[0] - 1;
      show(frame);
      say();
    } catch (error) {
      root.dataset.state = "error";
      readout.replaceChildren(build("dt", {}, word("failed")), build("dd", {}, error.message));
      said.textContent = word("failed") + error.message;
    }
  }

  // ---- one frame
  function show(k) {
    if (!data) return;
    frame = Math.max(0, Math.min(data.t.shape[0] - 1, Math.round(k)));
    const t = figure(data.t.data[frame], 3);
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `t = ${t}`);
    root.dataset.frame = frame;
    now.value = `t = ${t}`;
    draw();
  }

  function step(to) {
    if (playing) toggle();
    show(to);
    keep();
    say();
  }

  /** Tell Python which frame is shown (not while playing). */
  function keep() {
    if (!live || model.get("frame") === frame) return;
    model.set("frame", frame);
    model.save_changes();
  }

  let sayTimer = 0;
  function say() {
    clearTimeout(sayTimer);
    sayTimer = setTimeout(() => {
      if (!playing && data) said.textContent = [now.value, ...rows().map(([name, text]) => `${name} ${text}`)].join(", ");
    }, 400);
  }

  const rows = () => view.readout(data, frame, ui());

  function ui() {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(`--sde-${name}`).trim();
    const ink = { font: style.fontFamily, small: 11, text: colour("text"), soft: colour("soft"), rule: colour("rule"), card: colour("card") };
    return { language, word, local, choice, ink, colour, frames: root };
  }

  let asked = 0;
  function draw() {
    if (asked) return;
    asked = requestAnimationFrame(() => {
      asked = 0;
      if (!data) return;
      const tools = ui();
      for (const [name, panel] of Object.entries(view.panels)) {
        const canvas = canvases[name];
        const width = canvas.parentNode.clientWidth;
        if (!width) continue;
        const height = panel.aspect(width);
        const ratio = window.devicePixelRatio || 1;
        canvas.style.height = `${height}px`;
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
        const ctx = canvas.getContext("2d");
        ctx.scale(ratio, ratio);
        panel.draw(ctx, { w: width, h: height }, data, frame, tools);
        canvas.setAttribute("aria-label", panel.label(data, frame, tools));
      }
      readout.replaceChildren(
        ...rows().map(([name, text, colour]) => {
          const key = build("span", { class: "sde-key" });
          if (colour) key.style.background = colour;
          return build("div", {}, build("dt", {}, ...(colour ? [key] : []), name), build("dd", {}, text));
        }),
      );
    });
  }

  // ---- play and pause; with reduced motion the button goes one frame on
  function face() {
    root.dataset.playing = playing;
    button.textContent = playing ? "❚❚" : calm.matches ? "▸❘" : "▶";
    const name = playing ? word("pause") : calm.matches ? word("next") : word("play");
    button.setAttribute("aria-label", name);
    button.title = name;
  }

  let start = null;
  function toggle() {
    if (!data) return;
    const last = data.t.shape[0] - 1;
    if (calm.matches && !playing) {
      step(frame >= last ? 0 : frame + 1);
      return;
    }
    playing = !playing;
    face();
    if (!playing) {
      keep();
      say();
      return;
    }
    const from = frame >= last ? 0 : frame;
    start = null;
    requestAnimationFrame(function tick(time) {
      if (!playing) return;
      start ??= time;
      show(Math.floor(from + ((time - start) / 1000) * (last / SECONDS)));
      if (frame >= last) toggle();
      else requestAnimationFrame(tick);
    });
  }

  /** A pointer on a panel whose x axis is time moves the slider. */
  function scrub(canvas, [left, right]) {
    canvas.classList.add("sde-scrub");
    const move = (event) => {
      if (!data || !event.buttons) return;
      const box = canvas.getBoundingClientRect();
      const part = (event.clientX - box.left - left) / (box.width - left - right);
      const t = data.t.data, wanted = t[0] + part * (t[t.length - 1] - t[0]);
      step(t.reduce((best, each, k) => (Math.abs(each - wanted) < Math.abs(t[best] - wanted) ? k : best), 0));
    };
    listen(canvas, "pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    listen(canvas, "pointermove", move);
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target;
    if (inside.matches("select") || (inside.matches("input") && inside !== slider)) return;
    const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
    if (event.key === " " && inside !== button) toggle();
    else if (event.key in moves) step(frame + moves[event.key]);
    else if (event.key === "Home") step(0);
    else if (event.key === "End") step(Infinity);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  listen(button, "click", toggle);
  listen(slider, "input", () => step(Number(slider.value)));
  listen(root, "keydown", press);
  listen(calm, "change", face);

  // ---- redraw when the width or the theme changes
  const sizes = new ResizeObserver(draw);
  sizes.observe(stage);
  const themes = new MutationObserver(draw);
  themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  listen(matchMedia("(prefers-color-scheme: dark)"), "change", draw);

  // ---- changes made in Python, or in another view of the same widget
  const hear = (name, handler) => {
    model.on(`change:${name}`, handler);
    ends.push(() => model.off(`change:${name}`, handler));
  };
  hear("choice", () => {
    if (same(choice, model.get("choice"))) return;
    choice = { ...model.get("choice") };
    layControls();
    fetchFrames();
  });
  hear("picture", fetchFrames);
  hear("problem", fetchFrames);
  hear("frame", () => {
    if (!playing && model.get("frame") !== frame) show(model.get("frame"));
  });

  if (!live && !model.get("shelf").some((entry) => same(entry.choice, choice)) && model.get("shelf").length) {
    choice = nearest({ ...choice, ...model.get("shelf")[0].choice }, Object.keys(choice)[0]);
  }
  layControls();
  face();
  fetchFrames();

  return () => {
    playing = false;
    cancelAnimationFrame(asked);
    clearTimeout(sayTimer);
    sizes.disconnect();
    themes.disconnect();
    ends.forEach((end) => end());
  };
}
