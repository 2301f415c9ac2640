"""StabilityExplorer alone in a page as the book publishes it: no kernel, both languages, menus, slider and keys."""

import re

import pytest
from alone import parsed, publish

from sdelab.widgets import StabilityExplorer

PANELS = {"plane", "solution", "growth"}


@pytest.fixture(scope="module")
def home(serve, tmp_path_factory):
    return serve(publish(tmp_path_factory.mktemp("stability"), widget=StabilityExplorer()))


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_panel_in_the_pages_language(shown, lang):
    widget = shown(lang, color_scheme="dark" if lang == "ja" else "light")
    assert widget.player.get_attribute("data-language") == lang
    assert bool(re.search(r"[ぁ-んァ-ヶ一-龠]", widget.page.locator(".sde-title").inner_text())) == (lang == "ja")
    assert len({widget.pixels(panel) for panel in PANELS}) == 3
    assert widget.page.locator(".sde-now").inner_text().startswith("h = ")
    name = {"ja": "オイラー法", "en": "Euler"}[lang]
    assert all(name in c.get_attribute("aria-label") for c in widget.page.locator("canvas").all())


def test_slider_and_keys_change_every_picture(shown):
    widget = shown()
    assert widget.changed(lambda: widget.slide(20)) == PANELS
    widget.player.focus()
    assert widget.changed(lambda: widget.player.press("ArrowRight")) == PANELS
    assert widget.player.get_attribute("data-frame") == "21"
    widget.player.press("End")
    assert widget.page.locator(".sde-now").inner_text() == "h = 3.000"


def test_the_step_limit_is_where_it_turns_unstable(shown):
    """The readout names the limit; on one side of it the step is stable, on the other it is not."""
    widget = shown()
    for scheme, lam, limit in (
        ("euler", "-1", 2.0),
        ("rk4", "-1", 2.785),
        ("ab3", "-1", 6 / 11),
        ("euler", "-1+2i", 0.4),
    ):
        widget.choose("scheme", scheme)
        widget.choose("lam", lam)
        widget.page.wait_for_timeout(300)
        assert parsed(widget.numbers()[3]) == pytest.approx(limit, abs=0.001)
        for frame in range(0, 49, 6):
            widget.slide(frame)
            h = parsed(widget.page.locator(".sde-now").inner_text())
            assert ("(stable)" in widget.numbers()[1]) == (h < limit), (scheme, lam, h)
    widget.choose("scheme", "implicit_euler")
    widget.page.wait_for_timeout(300)
    assert "none" in widget.numbers()[3] and "(stable)" in widget.numbers()[1]


def test_menus_and_the_noise(shown):
    widget = shown()
    noise = widget.page.locator("label:has(select[data-control=mu])")
    assert noise.is_hidden()
    assert widget.changed(lambda: widget.choose("scheme", "em")) == PANELS
    assert noise.is_visible()
    widget.slide(30)
    assert widget.changed(lambda: widget.choose("mu", "0")) == PANELS
    assert parsed(widget.numbers()[3]) == pytest.approx(2.0, abs=0.001)
    widget.choose("mu", "1")
    widget.page.wait_for_timeout(300)
    assert parsed(widget.numbers()[3]) == pytest.approx(1.0, abs=0.001)
    assert "plane" in widget.changed(lambda: widget.choose("lam", "2i"))
    assert widget.player.get_attribute("data-source") == "shelf"


def test_still_and_narrow(shown):
    widget = shown(reduced_motion="reduce", viewport={"width": 380, "height": 900})
    assert not widget.changed(lambda: widget.page.wait_for_timeout(500)), "it moves by itself"
    for canvas in widget.page.locator("canvas").all():
        box = canvas.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 380
