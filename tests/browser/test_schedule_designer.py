"""ScheduleDesigner alone in a page as the book publishes it: no kernel, both languages, menus, slider and keys."""

import re

import pytest
from alone import publish

from sdelab.widgets import ScheduleDesigner


def make():
    return ScheduleDesigner(processes=("vp", "cosine", "flow"), counts=(5, 10))


@pytest.fixture(scope="module")
def home(serve, tmp_path_factory):
    return serve(publish(tmp_path_factory.mktemp("schedule_designer"), widget=make()))


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_panel_is_drawn_in_the_pages_language(shown, lang):
    widget = shown(lang, color_scheme="dark" if lang == "ja" else "light")
    assert widget.player.get_attribute("data-language") == lang
    title = widget.page.locator(".sde-title").inner_text()
    assert bool(re.search(r"[ぁ-んァ-ヶ一-龠]", title)) == (lang == "ja")
    panels = [c.get_attribute("data-panel") for c in widget.page.locator("canvas").all()]
    assert panels == ["state", "clock", "density"]
    assert len({widget.pixels(panel) for panel in panels}) == 3


def test_slider_keys_and_menus_change_the_picture(shown):
    widget = shown()
    assert widget.changed(lambda: widget.slide(9)) == {"state", "clock", "density"}
    widget.player.focus()
    assert "state" in widget.changed(lambda: widget.player.press("ArrowRight"))
    assert widget.page.locator(".sde-now").inner_text() == "step 10/10, t = 0"
    widget.player.press("Home")
    assert widget.page.locator(".sde-now").inner_text() == "step 0/10, t = 1.000"
    widget.slide(4)
    for control, value in (
        ("process", "cosine"),
        ("grid", "karras"),
        ("rho", "2"),
        ("steps", "5"),
        ("process", "flow"),
    ):
        assert "clock" in widget.changed(lambda c=control, v=value: widget.choose(c, v)), control
    assert widget.player.get_attribute("data-source") == "shelf"


def test_readout_tells_what_python_computes(shown):
    widget, twin = shown(), make()
    widget.choose("grid", "logsnr")
    widget.slide(3)
    twin.choose(grid="logsnr")
    ratio, snr, *shares = widget.numbers()
    lam = float(twin._processes["vp"].lam(twin.times()[3]))
    assert float(ratio) == pytest.approx(2.718281828 ** (-lam), rel=2e-3)
    assert float(snr) == pytest.approx(2.718281828 ** (2 * lam), abs=6e-4)
    assert [int(s.split()[0]) for s in shares] == [round(100 * s) for s in twin.shares()]


def test_a_dial_is_shown_with_its_grid_only(shown):
    widget = shown()
    dials = lambda: [widget.page.locator(f"select[data-control={c}]").is_visible() for c in ("rho", "shift")]  # noqa: E731
    assert dials() == [False, False]
    widget.choose("grid", "karras")
    assert dials() == [True, False]
    widget.choose("grid", "flow_shift")
    assert dials() == [False, True]


def test_narrow(shown):
    widget = shown(reduced_motion="reduce", viewport={"width": 380, "height": 900})
    for canvas in widget.page.locator("canvas").all():
        box = canvas.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 380
