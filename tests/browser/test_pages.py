"""Every page of both editions works with no other host in the world, from a server and from disk."""

import pytest

NARROW = {"viewport": {"width": 420, "height": 900}}
TOO_WIDE = """() => {
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= limit) return [];
  return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > limit + 1)
    .slice(0, 8).map((e) => `${e.tagName}.${e.className}: ${Math.round(e.getBoundingClientRect().right)}`);
}"""


@pytest.mark.parametrize("disk", [False, True], ids=["http", "file"])
def test_pages_ask_nobody_else_and_report_no_error(visit, pages, settled, disk):
    assert {p.split("/")[0] for p in pages} == {"ja", "en"}
    wrong = {}
    for path in pages:
        seen = visit(path, disk=disk)
        settled(seen.page)
        assert "MathJax" not in seen.page.evaluate("document.title")
        if not seen.clean():
            wrong[path] = seen.complaints()
    assert not wrong


@pytest.mark.parametrize("disk", [False, True], ids=["http", "file"])
@pytest.mark.parametrize(("locale", "edition"), [("ja-JP", "/ja/"), ("en-GB", "/en/"), ("fr-FR", "/ja/")])
def test_the_first_page_follows_the_browsers_language(visit, locale, edition, disk):
    seen = visit("index.html", disk=disk, locale=locale)
    seen.page.wait_for_url(f"**{edition}**/index.html")
    seen.page.wait_for_selector("article h1")
    assert seen.clean(), seen.complaints()


def test_the_first_page_offers_both_languages_without_scripts(visit):
    page = visit("index.html", java_script_enabled=False).page
    page.click("text=Read in English")
    page.wait_for_selector("article h1")
    assert page.locator("html").get_attribute("lang") == "en"


def test_no_page_is_wider_than_a_telephone(visit, pages, settled):
    wide = {}
    for path in pages:
        page = visit(path, **NARROW).page
        settled(page)
        page.wait_for_timeout(100)
        assert page.locator("a.language-switch").is_visible(), path
        if found := page.evaluate(TOO_WIDE):
            wide[path] = found
    assert not wide


def test_mathematics_is_set(visit, pages, settled):
    chapters = [p for p in pages if "/chapters/" in p]
    assert chapters
    for path in chapters:
        page = visit(path, disk=True).page
        settled(page)
        assert page.locator("mjx-container").count() > 0, path
        assert page.locator("mjx-merror").count() == 0, path


def test_pictures_are_there_without_scripts(visit, pages):
    for path in pages:
        page = visit(path, java_script_enabled=False).page
        for image in page.locator("article img").all():
            image.scroll_into_view_if_needed()
            assert image.get_attribute("alt").strip(), path
            assert image.is_visible(), path
            assert image.bounding_box()["width"] > 40, path
        assert page.locator(".sdelab-widget").count() == page.locator(".sdelab-widget img").count(), path
