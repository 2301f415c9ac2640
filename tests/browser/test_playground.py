"""LatentPlayground alone in a page as the book publishes it: no kernel, an untrained model, both languages."""

from importlib.resources import files

import pytest
import torch
from accessible import RUN
from alone import parsed, publish

import sdelab as sd
from sdelab import models, nets, noise
from sdelab.widgets import LatentPlayground

PANELS = {"image", "sheet", "levels"}


def make():
    network = nets.UNet(1, 8, levels=1, attention=False, classes=3)
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_(0.1 * noise.normal(p.shape, seed=k))
    model = models.ImageModel(nets.Denoiser(network, sd.process.make("edm")).eval(), (1, 16, 16), tuple("あいう"))
    return LatentPlayground(model, classes="あう", steps=(1, 3, 6), seeds=(4, 7), frame=1)


@pytest.fixture(scope="module")
def home(serve, tmp_path_factory):
    return serve(publish(tmp_path_factory.mktemp("playground"), widget=make()))


def at(widget):
    """(number of steps, seed) of the image that is shown, as its label says."""
    steps, seed = widget.canvas("image").get_attribute("aria-label").split(", ")[-2:]
    return parsed(steps), parsed(seed)


def test_only_what_is_stored_is_offered(shown):
    widget = shown()
    offered = {
        menu.get_attribute("data-control"): menu.locator("option").evaluate_all("o => o.map((x) => x.value)")
        for menu in widget.page.locator("select").all()
    }
    assert offered == {
        "class": ["あ", "う"], "sampler": ["dpmpp_2m", "edm_euler", "euler_ancestral"], "grid": ["karras", "uniform"],
        "guidance": ["1", "2", "4"], "seed": ["4", "7"],
    }  # fmt: skip
    assert widget.page.locator("input[data-control]").count() == 0


def test_every_menu_and_the_slider_change_what_they_are_about(shown):
    widget = shown()
    assert widget.changed(lambda: widget.choose("class", "う")) == {"image", "sheet"}
    assert widget.changed(lambda: widget.choose("sampler", "euler_ancestral")) == {"image", "sheet"}
    assert widget.changed(lambda: widget.choose("guidance", "4")) == {"image", "sheet"}
    assert widget.changed(lambda: widget.choose("grid", "uniform")) == PANELS
    assert widget.changed(lambda: widget.choose("seed", "7")) == {"image", "sheet"}
    assert at(widget) == (3, 7)
    assert widget.changed(lambda: widget.slide(2)) == PANELS
    assert at(widget) == (6, 7) and widget.page.locator(".sde-now").inner_text() == "6 steps"
    assert widget.player.get_attribute("data-source") == "shelf"
    slider = widget.page.locator("input.sde-time")
    assert (
        slider.get_attribute("aria-label") == "number of steps" and slider.get_attribute("aria-valuetext") == "6 steps"
    )


def test_the_table_is_answered_by_pointer_and_keys(shown):
    widget = shown()
    table = widget.canvas("sheet")
    box = table.bounding_box()
    side = (box["height"] - 42) / 2
    assert at(widget) == (3, 4)
    widget.page.mouse.click(box["x"] + 24 + 2.2 * side, box["y"] + 38 + 1.7 * side)
    widget.numbers()
    assert at(widget) == (6, 7)
    assert widget.page.locator("select[data-control=seed]").input_value() == "7"
    table.press("ArrowUp")
    table.press("ArrowLeft")
    widget.numbers()
    assert at(widget) == (3, 4)
    assert widget.page.locator("select[data-control=seed]").input_value() == "4"
    table.press("ArrowUp")  # at the edge
    widget.numbers()
    assert at(widget) == (3, 4)
    widget.player.focus()
    widget.player.press("End")
    widget.numbers()
    assert at(widget) == (6, 4)


def test_numbers_are_pythons(shown):
    widget, twin = shown(), make()
    widget.choose("guidance", "2")
    widget.choose("seed", "7")
    frames = twin.frames({"guidance": 2.0})
    for f, n in enumerate(twin.steps):
        widget.slide(f)
        calls, gap, spread = map(parsed, widget.numbers())
        assert calls == 2 * n
        assert gap == pytest.approx(float(frames["gap"][f, 1]), abs=6e-4)
        assert spread == pytest.approx(float(frames["spread"][f]), abs=6e-4)


def test_the_image_is_pythons_pixel_by_pixel(shown):
    """Ink on paper: the middle of every pixel of the chosen image, read from the canvas."""
    widget, twin = shown(), make()
    widget.slide(2)
    widget.pixels("image")
    found = widget.canvas("image").evaluate(
        """(canvas) => {
          const side = Math.min(canvas.width, canvas.height) - 2, left = (canvas.width - side) / 2;
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const middle = (i) => Math.floor(((i + 0.5) * side) / 16);
          return Array.from({ length: 256 }, (_, i) =>
            data[4 * ((1 + middle(Math.floor(i / 16))) * canvas.width + Math.floor(left) + middle(i % 16))]);
        }"""
    )
    exact = 127.5 * (1 - torch.from_numpy(twin.frames()["images"].values[2, 0, 0])).flatten()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), exact, rtol=0, atol=1)
    assert exact.std() > 20


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_words_are_of_the_page_and_axe_finds_no_serious_violation(shown, lang):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf8")
    for scheme, width in (("light", 1000), ("dark", 420)):
        widget = shown(lang, color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 1200})
        assert widget.player.get_attribute("data-language") == lang
        assert widget.page.locator(".sde-now").inner_text() == {"ja": "3 ステップ", "en": "3 steps"}[lang]
        for canvas in widget.page.locator("canvas").all():
            box = canvas.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        widget.page.evaluate(axe)
        rules = ["color-contrast", "aria-allowed-role", "aria-input-field-name", "label", "select-name", "button-name",
                 "role-img-alt", "nested-interactive", "svg-img-alt"]  # fmt: skip
        assert widget.page.evaluate(RUN, rules) == []


def test_still_until_played(shown):
    widget = shown("ja", reduced_motion="reduce")
    assert not widget.changed(lambda: widget.page.wait_for_timeout(400)), "it moves by itself"
    widget.page.locator("button.sde-play").click()
    widget.numbers()
    assert at(widget)[0] == 6
