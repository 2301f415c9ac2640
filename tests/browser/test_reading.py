"""What a reader does besides reading: search, change the language."""

from urllib.parse import quote

import pytest

SEARCHES = [
    ("ja", "方程式", False), ("ja", "拡散モデル", True), ("ja", "確率微分方程式", False), ("en", "Fokker", False),
    ("en", "score", True),
]  # fmt: skip


@pytest.mark.parametrize(("language", "word", "disk"), SEARCHES)
def test_search_finds(visit, language, word, disk):
    seen = visit(f"{language}/search.html", disk=disk)
    box = seen.page.locator("input[name=q]").locator("visible=true").first
    box.fill(word)
    box.press("Enter")
    seen.page.wait_for_selector("ul.search li a")
    found = seen.page.locator("ul.search li a").evaluate_all("links => links.map((a) => a.href)")
    assert any("/chapters/" in address for address in found), found
    seen.page.wait_for_timeout(300)
    assert seen.clean(), seen.complaints()
    seen.page.locator("ul.search li a[href*='chapters/']").first.click()
    seen.page.wait_for_selector("article h1")
    assert word.lower() in seen.page.locator("article").inner_text().lower()


@pytest.mark.parametrize(("language", "word"), [("ja", "測った次数"), ("ja", "DPM++ 2M Karras"), ("en", "iPNDM")])
def test_search_finds_the_page_of_solvers(visit, language, word):
    page = visit(f"{language}/search.html?q={quote(word)}").page
    page.wait_for_selector("ul.search li a[href*='/solvers.html']")


def test_search_finds_no_nonsense(visit):
    page = visit("ja/search.html?q=無意味錯乱語").page
    page.wait_for_function("!!document.querySelector('.search-summary')?.textContent")
    page.wait_for_timeout(300)
    assert page.locator("ul.search li").count() == 0


@pytest.mark.parametrize("end", ["index.html", "glossary.html", "search.html"])
def test_language_switch_goes_to_the_twin_and_back(visit, pages, end):
    """By clicking; that every page has the right address there, test_pages.py reads."""
    seen = visit(next(path for path in pages if path.startswith("ja/") and path.endswith(end)))
    here = seen.page.url
    for language, address in (("en", here.replace("/ja/", "/en/")), ("ja", here)):
        seen.page.locator("a.language-switch").click()
        seen.page.wait_for_load_state()
        assert seen.page.url == address
        assert seen.page.locator("html").get_attribute("lang") == language
    assert not seen.outside and not seen.errors  # leaving a page early breaks off its last requests
