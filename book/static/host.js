// Brings the widgets of a published page to life, without a kernel and without any library.
//
// MyST-NB stores the state of every widget model in the page. For each <div class="sdelab-widget" data-model-id>
// this script imports the model's front-end module (anywidget's `_esm`, the same text JupyterLab runs) from a blob:
// address and gives it a model with get, set, save_changes, on, off and send. There is no kernel behind it, which
// the module can tell by model.get("_static") === true. The picture in the container stays until the widget stands.
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';

  function bytes(base64) {
    return new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
  }

  // Values whose type JSON lacks (a Bytes trait) are stored apart, in base64, with the path where they belong.
  function restore({ state, buffers = [] }) {
    const values = structuredClone(state);
    for (const { path, data } of buffers) {
      const last = path[path.length - 1];
      path.slice(0, -1).reduce((at, key) => at[key], values)[last] = bytes(data);
    }
    return values;
  }

  class Model {
    constructor(values) {
      this.values = { ...values, _static: true };
      this.handlers = new Map();
    }
    get(key) {
      return this.values[key];
    }
    set(key, value) {
      if (Object.is(this.values[key], value)) return;
      this.values[key] = value;
      this.emit(`change:${key}`, this, value);
      this.emit("change", this);
    }
    save_changes() {}
    send() {}
    on(names, handler) {
      for (const name of names.split(/\s+/)) this.handlers.set(name, [...(this.handlers.get(name) || []), handler]);
    }
    off(names, handler) {
      if (!names) return this.handlers.clear();
      for (const name of names.split(/\s+/)) {
        this.handlers.set(name, handler ? (this.handlers.get(name) || []).filter((h) => h !== handler) : []);
      }
    }
    emit(name, ...args) {
      for (const handler of this.handlers.get(name) || []) handler(...args);
    }
  }

  const modules = new Map(); // one import for all widgets that share a front end
  function load(text) {
    if (!modules.has(text)) {
      const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      modules.set(text, import(address).then((module) => module.default));
    }
    return modules.get(text);
  }

  const styles = new Set();
  function style(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    document.head.appendChild(document.createElement("style")).textContent = text;
  }

  async function mount(container, entry) {
    const model = new Model(restore(entry));
    const given = await load(model.get("_esm"));
    const widget = typeof given === "function" ? await given() : given;
    style(model.get("_css"));
    const el = document.createElement("div");
    el.className = "sdelab-widget-live";
    el.style.cssText = "position: absolute; visibility: hidden; inset: 0 0 auto"; // as wide as it will be, not yet seen
    container.append(el);
    try {
      await widget.initialize?.({ model });
      await widget.render({ model, el });
    } catch (error) {
      el.remove();
      throw error;
    }
    container.querySelectorAll("img").forEach((image) => image.remove());
    el.style.cssText = "";
    container.dataset.state = "live";
  }

  function explain(container, error) {
    console.error("sdelab widget:", error);
    const japanese = document.documentElement.lang === "ja";
    const note = document.createElement("p");
    note.className = "sdelab-widget-error";
    note.setAttribute("role", "status");
    note.textContent = (japanese ? "このウィジェットは動かせませんでした(静止画を表示しています): " : "This widget could not start (a still picture is shown): ") + error;
    container.append(note);
    container.dataset.state = "failed";
  }

  function start() {
    const models = Object.assign({}, ...[...document.querySelectorAll(STATE)].map((s) => JSON.parse(s.textContent).state));
    for (const container of document.querySelectorAll(".sdelab-widget[data-model-id]")) {
      const entry = models[container.dataset.modelId];
      const begun = entry ? mount(container, entry) : Promise.reject(new Error("its state is not in the page"));
      begun.catch((error) => explain(container, error));
    }
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
