// A panel in which the reader picks a place, by a pointer or, while the panel has the focus, by the arrow keys.

const MOVES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * panel.pick is {name, place, nudge}: the value is the trait `name` of the model and stands in ui.local[name];
 * place([px, py], size, data, k, ui) gives the value at a pointer, nudge([right, up], data, k, ui) after an arrow key.
 * state() is [data, k, ui], or null before the first frames; changed() draws and speaks.
 */
export function picking(canvas, { aspect, pick: { name, place, nudge } }, { model, live, local, listen, hear, state, changed }) {
  local[name] = model.get(name);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application"); // its arrow keys are its own
  canvas.classList.add("sde-pick");

  let timer = 0;
  function put(value) {
    local[name] = value;
    model.set(name, value);
    clearTimeout(timer);
    if (live) timer = setTimeout(() => model.save_changes(), 150); // when the hand rests
    changed();
  }

  function move(event) {
    const now = state();
    if (!now || !event.buttons) return;
    const box = canvas.getBoundingClientRect();
    put(place([event.clientX - box.left, event.clientY - box.top], { w: box.width, h: aspect(box.width) }, ...now));
  }
  listen(canvas, "pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    move(event);
  });
  listen(canvas, "pointermove", move);
  listen(canvas, "keydown", (event) => {
    const by = MOVES[event.key], now = state();
    if (!now || !by || event.ctrlKey || event.metaKey || event.altKey) return;
    put(nudge(by, ...now));
    event.preventDefault();
    event.stopPropagation();
  });
  hear(name, () => {
    local[name] = model.get(name);
    changed();
  });
}
