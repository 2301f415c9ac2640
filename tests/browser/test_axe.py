"""axe-core sees a planted violation; that the pages have none, test_pages.py reads on each page that it opens."""

from accessible import COLOURS, axe, look


def test_axe_sees_faint_words_in_both_schemes(visit, settled):
    page = visit("ja/search.html", color_scheme="light").page
    settled(page)
    page.evaluate(axe())
    for scheme, faint in (("light", "#ddd"), ("dark", "#333")):
        page.evaluate("(faint) => { document.querySelector('h1').style.color = faint }", faint)
        assert any("color-contrast" in fault for fault in look(page, scheme, COLOURS)), scheme
