"""Every page of both editions works with no other host in the world, from a server and from disk.

A page is opened once and asked everything, whether readers with assistive technology can use it included.
"""

import pytest
from accessible import violations
from links import dead, missing, read

WIDE, NARROW = {"width": 1280, "height": 720}, {"width": 420, "height": 900}
KINDS = ("index.html", "glossary.html", "references.html", "solvers.html", "search.html", "00_orientation.html")
TOO_WIDE = """() => {
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= limit) return [];
  return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > limit + 1)
    .slice(0, 8).map((e) => `${e.tagName}.${e.className}: ${Math.round(e.getBoundingClientRect().right)}`);
}"""

SHOWN = """images => images.map((image) => [image.complete && image.naturalWidth > 0,
  image.checkVisibility({ visibilityProperty: true }) && image.getBoundingClientRect().height > 0,
  image.getBoundingClientRect().width])"""
WIDGETS = "all => all.map((w) => [w.dataset.state, w.querySelector('.sde-player')?.dataset.language])"


def twin(path):
    """The same page of the other edition."""
    language = path.split("/")[0]
    return "/".join({"ja": "en", "en": "ja"}[language] if part == language else part for part in path.split("/"))


def faults(seen, path):
    """What is wrong with a page at rest: complaints, mathematics, the way to its twin, widgets that are not live."""
    page, found = seen.page, [] if seen.clean() else [seen.complaints()]
    if "MathJax" in page.evaluate("document.title"):
        found.append("mathematics in the title is not set")
    if "/chapters/" in path and page.locator("mjx-container").count() == 0:
        found.append("no mathematics")
    if page.locator("mjx-merror").count():
        found.append(page.locator("mjx-merror").first.get_attribute("data-mjx-error"))
    switch = page.locator("a.language-switch").evaluate_all("links => links.map((a) => a.href)")
    if switch != [f"{seen.home}/{twin(path)}"]:
        found.append(f"the language switch leads to {switch}")
    for state, language in page.locator(".sdelab-widget").evaluate_all(WIDGETS):
        if (state, language) != ("live", page.locator("html").get_attribute("lang")):
            found.append(f"a widget is {state}, in the language {language}")
    return found


@pytest.mark.parametrize(("edition", "disk"), [("ja", False), ("en", True)], ids=["ja over http", "en from disk"])
def test_every_page_is_whole_wide_narrow_and_accessible(visit, pages, settled, edition, disk):
    """Each page once: that every file which the pages of either edition load is there, the next test reads.

    The editions share templates, style sheets and code: axe looks at every Japanese page, at every kind of English
    one, and at the dark scheme, which changes colours alone, on every kind of Japanese one.
    """
    own, wrong = [path for path in pages if path.startswith(f"{edition}/")], {}
    assert sum("/chapters/" in path for path in own) > 3
    for path in own:
        seen = visit(path, disk=disk, viewport=WIDE, color_scheme="light")
        settled(seen.page)
        found = faults(seen, path)
        seen.page.set_viewport_size(NARROW)
        seen.page.wait_for_timeout(150)
        found += seen.page.evaluate(TOO_WIDE)
        if not seen.page.locator("a.language-switch").is_visible():
            found.append("no language switch on a telephone")
        seen.page.set_viewport_size(WIDE)
        if edition == "ja" or path.endswith(KINDS):
            found += violations(seen.page, dark=edition == "ja" and path.endswith(KINDS))
        if found:
            wrong[path] = found
    assert not wrong


def test_every_file_link_and_alternative_text_is_there(site):
    pages = read(site)
    assert not missing(pages)
    assert not dead(pages)
    assert not [(page, image) for page, links in pages.items() for image in links.images if not image.get("alt")]


@pytest.mark.parametrize("disk", [False, True], ids=["http", "file"])
@pytest.mark.parametrize(("locale", "edition"), [("ja-JP", "/ja/"), ("en-GB", "/en/"), ("fr-FR", "/ja/")])
def test_the_first_page_follows_the_browsers_language(visit, locale, edition, disk):
    seen = visit("index.html", disk=disk, locale=locale)
    seen.page.wait_for_url(f"**{edition}**/index.html")
    seen.page.wait_for_selector("article h1")
    left = f"{seen.home}/index.html: net::ERR_ABORTED"  # sent on before it was read to its end
    seen.failed = [failure for failure in seen.failed if failure != left]
    assert seen.clean(), seen.complaints()


def test_the_first_page_offers_both_languages_without_scripts(visit):
    page = visit("index.html", java_script_enabled=False).page
    page.click("text=Read in English")
    page.wait_for_selector("article h1")
    assert page.locator("html").get_attribute("lang") == "en"


def test_pictures_are_there_without_scripts(visit, pages):
    """One edition: the other shows the same pictures, and the texts that replace them are read above."""
    for path in pages:
        if path.startswith("en/"):
            continue
        page = visit(path, java_script_enabled=False).page
        pictures = page.locator("article img").evaluate_all(SHOWN)
        assert all(loaded and visible and width > 40 for loaded, visible, width in pictures), (path, pictures)
        assert page.locator(".sdelab-widget").count() == page.locator(".sdelab-widget img").count(), path
