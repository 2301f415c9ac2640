// The shared player: frames of one choice of parameters, menus, a time slider, play and pause, keys.
//
// A widget calls play(context, view) with
//   view.layout            a class for the arrangement of its panels (player.css)
//   view.panels            {name: {aspect(width) -> height, draw(ctx, size, data, k, ui), time: [left, right] margins if its
//                          x axis is time (then a pointer moves the slider), label(data, k, ui) -> text for screen readers,
//                          pick: {name, place, nudge} if the reader picks a place in it (pick.mjs)}}
//   view.readout           (data, k, ui) -> [[label, text], ...]
//   view.now               (data, k, ui) -> what the slider stands at, "t = ..." unless told
// data holds the arrays of Python's frames(choice), each {data, shape}, and k is the frame; ui.step(k) goes to another.
import { build, controls } from "./controls.mjs";
import { figure } from "./draw.mjs";
import { asBytes, same, unpack } from "./frames.mjs";
import { picking } from "./pick.mjs";

const SECONDS = 6; // one run from the first frame to the last

function languageOf(model) {
  const asked = model.get("lang");
  if (asked === "ja" || asked === "en") return asked;
  const page = document.documentElement.lang || "";
  // a published page says its language; in JupyterLab, whose pages say English, the reader's browser is asked too
  return page.startsWith("ja") || (!model.get("_static") && navigator.language.startsWith("ja")) ? "ja" : "en";
}

export function play({ model, el }, view) {
  const spec = model.get("spec");
  const live = !model.get("_static");
  const language = languageOf(model);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const word = (name) => spec.words[name][language];
  const local = {}; // values of the menus that change the view only
  for (const { name, options } of spec.controls.filter((control) => control.local)) local[name] = options[0].value;
  const canvases = {};
  const kept = new Map(); // decoded frames of the shelf, a few
  const ends = []; // what to undo when the view goes
  let choice = { ...model.get("choice") };
  let data = null;
  let frame = model.get("frame");
  let playing = false;

  // ---- the page's nodes
  const choices = controls(spec.controls, model.get("shelf"), live, language, change);
  const stage = build("div", { class: `sde-stage sde-${view.layout}` });
  const button = build("button", { class: "sde-play", type: "button" });
  const slider = build("input", { class: "sde-time", type: "range", min: "0", max: "0", step: "1", "aria-label": word("time") });
  const now = build("output", { class: "sde-now" });
  const readout = build("div", { class: "sde-readout" });
  const said = build("div", { class: "sde-said", role: "status", "aria-live": "polite" });
  const root = build(
    "section",
    { class: "sde-player", tabindex: "0", role: "group", "aria-label": spec.title[language], lang: language,
      "data-widget": spec.name, "data-language": language, "data-state": "loading", "data-lm-suppress-shortcuts": "true" },
    build("div", { class: "sde-head" }, build("div", { class: "sde-title" }, spec.title[language]), choices.node),
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
    if (panel.pick) picking(canvas, panel, { model, live, local, listen, hear, state, changed });
  }
  el.replaceChildren(root);

  function listen(target, event, handler, options) {
    target.addEventListener(event, handler, options);
    ends.push(() => target.removeEventListener(event, handler, options));
  }

  function state() {
    return data && [data, frame, ui()];
  }

  function changed() {
    choices.refresh({ ...choice, ...local });
    draw();
    say();
  }

  function change(control, value) {
    if (control.local) {
      local[control.name] = value;
      return draw();
    }
    const wanted = { ...choice, [control.name]: value };
    choice = live ? wanted : nearest(wanted, control.name);
    choices.refresh({ ...choice, ...local });
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
      readout.replaceChildren(word("failed") + error.message);
      said.textContent = word("failed") + error.message;
    }
  }

  // ---- one frame
  function show(k) {
    if (!data) return;
    frame = Math.max(0, Math.min(data.t.shape[0] - 1, Math.round(k)));
    slider.value = frame;
    root.dataset.frame = frame;
    now.value = view.now ? view.now(data, frame, ui()) : `t = ${figure(data.t.data[frame], 3)}`;
    slider.setAttribute("aria-valuetext", now.value);
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
      if (!playing && data) said.textContent = [now.value, ...figures().map(([name, text]) => `${name} ${text}`)].join(", ");
    }, 400);
  }

  const figures = () => view.readout(data, frame, ui());

  function ui() {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(`--sde-${name}`).trim();
    const ink = { font: style.fontFamily, small: 11, text: colour("text"), soft: colour("soft"), rule: colour("rule"), card: colour("card") };
    return { language, word, local, choice, ink, colour, step };
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
        ...figures().map(([name, text, colour]) => {
          const key = build("span", { class: "sde-key" });
          if (colour) key.style.background = colour;
          const label = build("span", { class: "sde-name" }, ...(colour ? [key] : []), name);
          return build("span", { class: "sde-figure" }, label, build("span", { class: "sde-value" }, text));
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

  let run = 0; // the number of the run now playing
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
    const mine = ++run;
    let start = null;
    requestAnimationFrame(function tick(time) {
      if (!playing || mine !== run) return;
      start ??= time;
      const k = Math.floor(from + ((time - start) / 1000) * (last / SECONDS));
      if (k !== frame) show(k);
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

  // All keys are handled here, those of sliders and menus too: JupyterLab keeps them from working by themselves.
  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -1e9, End: 1e9 };
    const by = moves[event.key];
    if (on.matches("select")) {
      const to = on.selectedIndex - by; // down is the next one
      if (!["ArrowUp", "ArrowDown"].includes(event.key)) return;
      if (to >= 0 && to < on.options.length) {
        on.selectedIndex = to;
        on.dispatchEvent(new Event("change"));
      }
    } else if (on.matches("input") && on !== slider) {
      if (!by) return;
      on.value = Number(on.value) + by * Number(on.step); // kept between its ends by the page
      on.dispatchEvent(new Event("input"));
    } else if (by) step(frame + by);
    else if (event.key === " " && on !== button) toggle();
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
  const themes = new MutationObserver(() => {
    draw();
    setTimeout(draw, 400); // JupyterLab hides its page for a moment while it changes the theme
  });
  themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  listen(matchMedia("(prefers-color-scheme: dark)"), "change", draw);

  // ---- changes made in Python, or in another view of the same widget
  function hear(name, handler) {
    model.on(`change:${name}`, handler);
    ends.push(() => model.off(`change:${name}`, handler));
  }

  hear("choice", () => {
    if (same(choice, model.get("choice"))) return;
    choice = { ...model.get("choice") };
    choices.refresh({ ...choice, ...local });
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
  choices.refresh({ ...choice, ...local });
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
