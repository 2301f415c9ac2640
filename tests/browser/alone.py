"""Widgets, each alone in a page as the book publishes it: the page, and what a test does with it (fixture `shown`)."""

import json
import re
from pathlib import Path

from ipywidgets.embed import embed_data

HOST = Path(__file__).resolve().parents[2] / "book" / "static" / "host.js"
PAGE = """<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{name}</title>
<link rel="icon" href="data:,"><script type="application/vnd.jupyter.widget-state+json">{state}</script></head>
<body><div class="sdelab-widget" data-model-id="{model}"></div><script>{host}</script></body></html>"""
PIXELS = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let hash = 2166136261;
  for (const byte of data) hash = Math.imul(hash ^ byte, 16777619);
  return hash >>> 0;
}"""


def publish(folder, **widgets):
    """Write NAME-ja.html and NAME-en.html for each widget into the folder; returns the folder."""
    host = HOST.read_text(encoding="utf8")
    for name, widget in widgets.items():
        state = json.dumps(embed_data(views=[widget], drop_defaults=False)["manager_state"]).replace("</", "<\\/")
        for lang in ("ja", "en"):
            page = PAGE.format(lang=lang, name=name, state=state, model=widget.model_id, host=host)
            (folder / f"{name}-{lang}.html").write_text(page, encoding="utf8")
    return folder


def parsed(text):
    """The first number of a readout."""
    return float(re.findall(r"-?\d+\.?\d*", text.replace("−", "-"))[0])


class Shown:
    """A widget in its page."""

    def __init__(self, page):
        self.page = page
        self.player = page.locator(".sde-player")
        page.wait_for_selector(".sde-player[data-state=ready]", timeout=20_000)

    def canvas(self, panel):
        return self.page.locator(f"canvas[data-panel={panel}]")

    def pixels(self, panel):
        """A digest of one picture, once two readings agree."""
        last = None
        for _ in range(60):
            self.page.wait_for_timeout(60)
            now = self.canvas(panel).evaluate(PIXELS)
            if now == last:
                return now
            last = now
        raise AssertionError(f"{panel} does not come to rest")

    def changed(self, act):
        """The names of the panels whose pictures are others after act()."""
        panels = [c.get_attribute("data-panel") for c in self.page.locator("canvas").all()]
        before = {panel: self.pixels(panel) for panel in panels}
        act()
        self.page.wait_for_timeout(150)
        return {panel for panel in panels if self.pixels(panel) != before[panel]}

    def numbers(self):
        """The readout: its values in their order."""
        self.page.wait_for_timeout(120)
        return self.page.locator(".sde-value").all_inner_texts()

    def slide(self, frame):
        self.page.locator("input.sde-time").fill(str(frame))

    def choose(self, control, value):
        self.page.locator(f"select[data-control={control}]").select_option(value)
