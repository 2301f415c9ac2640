"""What axe-core finds on a page at rest (the copy inside axe-playwright-python), in the light and the dark scheme.

What one loop makes is looked at in part: twelve rows of a long table, the first word of each colour in the code of a
page (the others would take axe most of its time).
"""

from functools import cache
from importlib.resources import files

COLOURS = ["color-contrast", "link-in-text-block"]
SHORT = """() => {
  document.querySelectorAll('tbody tr:nth-child(n + 13)').forEach((row) => row.remove());
  const seen = new Set();
  document.querySelectorAll('.highlight pre span[class]').forEach((word) => {
    if (seen.has(word.className)) word.replaceWith(word.textContent);
    seen.add(word.className);
  });
}"""
RUN = """async (rules) => (await axe.run(document, { resultTypes: ['violations'],
    ...(rules.length ? { runOnly: rules } : {}) })).violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .map((v) => `${v.id} (${v.impact}): ${v.help}: ` + v.nodes.slice(0, 3)
    .map((n) => n.html.slice(0, 160)).join(' | '))"""


@cache
def axe():
    """The source of axe-core."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf8")


def look(page, scheme, rules):
    """What axe, already in the page, finds by these rules (all, if there are none) in a scheme."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)
    return page.evaluate(RUN, rules)


def violations(page, dark):
    """Serious violations of a page, which is shortened: by all rules in the light, those of colours in the dark."""
    page.evaluate(SHORT)
    page.evaluate(axe())
    found = look(page, "light", [])
    return found + look(page, "dark", COLOURS) if dark else found
