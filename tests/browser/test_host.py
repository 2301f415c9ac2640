"""The widget host (book/static/host.js) on a tiny book: a widget lives without a kernel, a failure is told in place."""

import minibook
import pytest

from book.build import build


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A built tiny book."""
    return build(minibook.write(tmp_path_factory.mktemp("tiny")), strict=True).parent


PIXEL = "document.querySelector('.sdelab-widget canvas').getContext('2d').getImageData(5, 5, 1, 1).data[0]"
PAGE = "ja/chapters/ja/01_small.html"


@pytest.mark.parametrize("disk", [False, True], ids=["http", "file"])
def test_a_widget_lives_without_a_kernel(visit, serve, tiny, settled, disk):
    seen = visit(PAGE, home=tiny.as_uri() if disk else serve(tiny))
    settled(seen.page)
    assert seen.page.locator(".sdelab-widget img").count() == 0
    assert seen.page.locator(".sdelab-widget-live").get_attribute("data-static") == "true"
    assert seen.page.evaluate(PIXEL) == 10
    seen.page.locator(".sdelab-widget input").fill("2")
    assert seen.page.evaluate(PIXEL) == 170
    assert ".tiny" in seen.page.evaluate("[...document.querySelectorAll('style')].map((s) => s.textContent).join()")
    assert seen.clean(), seen.complaints()


def broken(tiny, old, new):
    """The tiny page with a fault planted in it, as a page of its own."""
    page = tiny / PAGE
    text = page.read_text(encoding="utf8")
    assert old in text
    twin = page.with_name("broken.html")
    twin.write_text(text.replace(old, new), encoding="utf8")
    return PAGE.replace("01_small", "broken")


@pytest.mark.parametrize(
    ("old", "new"),
    [("draw();\\n    } };", "throw new Error('planted');\\n    } };"), ('data-model-id="', 'data-model-id="0')],
    ids=["error in render", "no state"],
)
def test_a_failure_is_told_in_place_and_the_picture_stays(visit, serve, tiny, settled, old, new):
    seen = visit(broken(tiny, old, new), home=serve(tiny))
    settled(seen.page)
    assert seen.page.locator(".sdelab-widget img").is_visible()
    assert "このウィジェットは動かせませんでした" in seen.page.locator(".sdelab-widget-error").inner_text()
    assert seen.page.locator(".sdelab-widget-live").count() == 0
    assert any("sdelab widget" in error for error in seen.errors)
