"""SolverRace alone in a page as the book publishes it: no kernel, both languages, menus, slider and keys."""

import re

import pytest
from alone import parsed, publish

from sdelab.widgets import SolverRace
from sdelab.widgets.packing import unpack


@pytest.fixture(scope="module")
def widget():
    return SolverRace(processes=("vp", "edm"), solvers=("ddim", "dpmpp_2m", "edm_heun"), points=40, crowd=60)


@pytest.fixture(scope="module")
def home(serve, tmp_path_factory, widget):
    return serve(publish(tmp_path_factory.mktemp("solver_race"), widget=widget))


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_both_panels_in_the_pages_language(shown, lang):
    race = shown(lang, color_scheme="dark" if lang == "ja" else "light")
    assert race.player.get_attribute("data-language") == lang
    assert bool(re.search(r"[ぁ-んァ-ヶ一-龠]", race.page.locator(".sde-title").inner_text())) == (lang == "ja")
    assert race.pixels("samples") != race.pixels("errors")
    assert {"ja": "呼び出し回数 10", "en": "network calls 10"}[lang] == race.page.locator(".sde-now").inner_text()
    for canvas in race.page.locator("canvas").all():
        assert "DDIM" in canvas.get_attribute("aria-label")


def test_slider_and_keys_change_both_pictures(shown):
    race = shown()
    assert race.changed(lambda: race.slide(2)) == {"samples", "errors"}
    race.player.focus()
    assert race.changed(lambda: race.player.press("ArrowRight")) == {"samples", "errors"}
    assert race.player.get_attribute("data-frame") == "3"
    race.player.press("End")
    assert race.page.locator(".sde-now").inner_text() == "network calls 50"


def test_menus_change_both_pictures(shown):
    race = shown()
    for control, value in (("solver", "dpmpp_2m"), ("grid", "karras"), ("process", "edm"), ("law", "moons")):
        assert race.changed(lambda c=control, v=value: race.choose(c, v)) == {"samples", "errors"}, control
    assert race.player.get_attribute("data-source") == "shelf"
    offered = race.page.locator("select[data-control=solver] option").evaluate_all("o => o.map((x) => x.value)")
    assert offered == ["ddim", "dpmpp_2m", "edm_heun"]  # without a kernel, what is stored


def test_readout_is_what_python_computed(shown, widget):
    race = shown()
    for solver, frame in (("ddim", 6), ("edm_heun", 8), ("dpmpp_2m", 13)):
        race.choose("solver", solver)
        race.slide(frame)
        (entry,) = [e for e in widget.shelf if e["choice"] == {**widget.choice, "solver": solver}]
        frames = unpack(widget.library[entry["start"] : entry["stop"]])[1]
        mine = int(frames["chosen"][0])
        error, rank, spent, law, order = race.numbers()
        assert parsed(error) == pytest.approx(frames["errors"][mine, frame], abs=0.0006)
        assert rank == f"{1 + int((frames['errors'][:, frame] < frames['errors'][mine, frame]).sum())} / 3"
        assert int(spent) == frames["spent"][mine, frame]
        assert parsed(law) == pytest.approx(frames["law"][frame], abs=0.06)
        assert parsed(order) == pytest.approx(frames["order"][0], abs=0.006)


def test_still_and_narrow(shown):
    race = shown(reduced_motion="reduce", viewport={"width": 380, "height": 900})
    assert not race.changed(lambda: race.page.wait_for_timeout(500)), "it moves by itself"
    frame = int(race.player.get_attribute("data-frame"))
    race.page.locator("button.sde-play").click()
    race.page.wait_for_timeout(300)
    assert int(race.player.get_attribute("data-frame")) == frame + 1
    for canvas in race.page.locator("canvas").all():
        box = canvas.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 380
