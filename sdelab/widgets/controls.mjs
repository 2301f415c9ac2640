// Menus and dials.
import { figure } from "./draw.mjs";

/** An element with attributes and children. */
export function build(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/**
 * The controls of spec.controls that can be had: with a kernel all of them, without one the values on the shelf.
 * Returns {node, refresh(values)}; change(control, value) is called when the reader makes a choice.
 */
export function controls(spec, shelf, live, language, change) {
  const node = build("div", { class: "sde-controls" });
  const rows = [];
  for (const control of spec) {
    const options = offered(control, shelf, live);
    if (options && options.length < 2) continue;
    const label = build("label", { class: "sde-control" }, build("span", {}, control.label[language]));
    const report = (value) => change(control, value);
    rows.push({ control, label, put: options ? menu(control, options, language, label, report) : dial(control, label, report) });
    node.append(label);
  }

  /** Show these values, and only the controls that have a meaning for them. */
  function refresh(values) {
    for (const { control, label, put } of rows) {
      label.hidden = Object.entries(control.when).some(([name, allowed]) => !allowed.includes(values[name]));
      put(values[control.name]);
    }
  }
  return { node, refresh };
}

function offered(control, shelf, live) {
  if (live || control.local) return control.options ?? null;
  const stored = [...new Set(shelf.map(({ choice }) => choice[control.name]))];
  return control.options?.filter(({ value }) => stored.includes(value))
    ?? stored.map((value) => ({ value, label: { ja: figure(value), en: figure(value) } }));
}

function menu(control, options, language, label, report) {
  const node = build("select", { "data-control": control.name });
  node.append(...options.map((option) => build("option", { value: String(option.value) }, option.label[language])));
  node.addEventListener("change", () => report(options[node.selectedIndex].value));
  label.append(node);
  return (value) => (node.value = String(value));
}

function dial(control, label, report) {
  const { lo, hi, step, name } = control;
  const node = build("input", { type: "range", "data-control": name, min: String(lo), max: String(hi), step: String(step) });
  const shown = build("output");
  let timer = 0;
  node.addEventListener("input", () => {
    shown.value = figure(Number(node.value), 1);
    clearTimeout(timer);
    timer = setTimeout(() => report(Number(node.value)), 150); // when the hand rests
  });
  label.append(node, shown);
  return (value) => {
    node.value = value;
    shown.value = figure(value, 1);
  };
}
