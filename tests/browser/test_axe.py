"""No serious accessibility violation by axe-core (the copy inside axe-playwright-python), light and dark.

The editions share templates, style sheets and code: of the English one every kind of page is looked at, and of the dark
scheme, which changes colours alone, those of the Japanese one. What one loop makes is looked at in part: twelve rows
of a long table, the first word of each colour in the code of a page (the others would take axe most of its time).
"""

from importlib.resources import files

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
KINDS = ("index.html", "glossary.html", "references.html", "solvers.html", "search.html", "00_orientation.html")
COLOURS = ["color-contrast", "link-in-text-block"]


def look(page, scheme, rules):
    """What axe finds by these rules (all, if there are none) in a scheme."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)
    return page.evaluate(RUN, rules)


def test_axe_finds_no_serious_violation(visit, pages, settled):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf8")
    wrong = {}
    for path in pages:
        japanese, kind = path.startswith("ja/"), path.endswith(KINDS)
        if not (japanese or kind):
            continue
        page = visit(path, color_scheme="light", reduced_motion="reduce").page
        settled(page)
        page.evaluate(SHORT)
        page.evaluate(axe)
        for scheme, rules in (("light", []), ("dark", COLOURS)):
            if scheme == "dark" and not (japanese and kind):
                continue
            if found := look(page, scheme, rules):
                wrong[f"{path}, {scheme}"] = found
    assert not wrong


def test_axe_sees_faint_words_in_both_schemes(visit, settled):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf8")
    page = visit("ja/search.html", color_scheme="light", reduced_motion="reduce").page
    settled(page)
    page.evaluate(axe)
    for scheme, faint in (("light", "#ddd"), ("dark", "#333")):
        page.evaluate("(faint) => { document.querySelector('h1').style.color = faint }", faint)
        assert any("color-contrast" in fault for fault in look(page, scheme, COLOURS)), scheme
