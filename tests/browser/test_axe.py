"""No serious accessibility violation by axe-core (the copy inside axe-playwright-python), light and dark.

The dark scheme changes colours alone, and the editions share their style sheets: dark pages are looked at in one. Long
tables are made by one loop: twelve rows of each are looked at.
"""

from importlib.resources import files

import pytest

SHORT = "() => document.querySelectorAll('tbody tr:nth-child(n + 13)').forEach((row) => row.remove())"
RUN = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .map((v) => `${v.id} (${v.impact}): ${v.help}: ` + v.nodes.slice(0, 3)
    .map((n) => n.html.slice(0, 160)).join(' | '))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(visit, pages, settled, scheme):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf8")
    wrong = {}
    for path in pages if scheme == "light" else [path for path in pages if not path.startswith("en/")]:
        page = visit(path, color_scheme=scheme, reduced_motion="reduce").page
        settled(page)
        assert page.locator("html").get_attribute("data-theme") == scheme
        page.evaluate(SHORT)
        page.evaluate(axe)
        if found := page.evaluate(RUN):
            wrong[path] = found
    assert not wrong
