"""ReverseExplorer, WhereFrom and FlowMap, each alone in a page as the book publishes it: no kernel, both languages."""

import re

import pytest
import torch
from alone import parsed, publish

from sdelab.widgets import FlowMap, ReverseExplorer, WhereFrom, choices
from sdelab.widgets.player import HERE

MADE = {
    "ReverseExplorer": lambda: ReverseExplorer(etas=(0.0, 1.0, 2.0), processes=("vp", "ve"), crowd=120, steps=12),
    "WhereFrom": lambda: WhereFrom(),
    "FlowMap": lambda: FlowMap(laws=("ring", "moons"), processes=("vp", "ve"), cells=12, steps=12),
}


@pytest.fixture(scope="module")
def home(serve, tmp_path_factory):
    """The address of a folder with one page for each widget and language."""
    made = {name: make() for name, make in MADE.items()}
    return serve(publish(tmp_path_factory.mktemp("widgets"), **made))


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("name", MADE)
def test_every_panel_is_drawn_in_the_pages_language(shown, name, lang):
    widget = shown(lang, name, color_scheme="dark" if lang == "ja" else "light")
    assert widget.player.get_attribute("data-language") == lang
    title = widget.page.locator(".sde-title").inner_text()
    assert bool(re.search(r"[ぁ-んァ-ヶ一-龠]", title)) == (lang == "ja")
    digests = [widget.pixels(c.get_attribute("data-panel")) for c in widget.page.locator("canvas").all()]
    assert len(digests) == len(set(digests)) == 3
    assert all(c.get_attribute("aria-label") for c in widget.page.locator("canvas").all())


@pytest.mark.parametrize(("name", "last"), [("ReverseExplorer", "plane"), ("WhereFrom", "noisy"), ("FlowMap", "data")])
def test_slider_and_keys_change_the_picture(shown, name, last):
    widget = shown(name=name)
    assert last in widget.changed(lambda: widget.slide(5))
    widget.player.focus()
    assert last in widget.changed(lambda: widget.player.press("ArrowRight"))
    assert widget.player.get_attribute("data-frame") == "6"
    widget.player.press("Home")
    assert widget.player.get_attribute("data-frame") == "0"


@pytest.mark.parametrize("name", MADE)
def test_menus_change_the_picture(shown, name):
    widget = shown(name=name)
    widget.choose("law", "ring")
    assert widget.changed(lambda: widget.choose("process", "ve")), "process"
    assert widget.changed(lambda: widget.choose("law", "moons")), "law"
    assert widget.player.get_attribute("data-source") == "shelf"


def test_eta_changes_the_paths_and_not_the_density(shown):
    widget = shown(name="ReverseExplorer")
    widget.choose("show", "score")  # the field alone: the same for every eta
    assert widget.changed(lambda: widget.choose("eta", "0")) == {"histogram", "paths"}
    correlation = parsed(widget.numbers()[-1])
    widget.choose("eta", "2")
    assert abs(parsed(widget.numbers()[-1])) < 0.4 < correlation
    widget.choose("show", "all")
    assert "plane" in widget.changed(lambda: widget.choose("eta", "1"))


def test_time_runs_from_noise_to_data(shown):
    for name in ("ReverseExplorer", "FlowMap"):
        widget = shown(name=name)
        widget.slide(0)
        assert widget.page.locator(".sde-now").inner_text() == "t = 1.000"
        widget.slide(12)
        assert widget.page.locator(".sde-now").inner_text() == "t = 0"


def where_from_numbers(widget):
    point, candidates, most, D, score, *_ = widget.numbers()
    pair = lambda text: [float(v) for v in re.findall(r"-?[\d.]+", text.replace("−", "-"))]  # noqa: E731
    return pair(point), parsed(candidates), float(most), pair(D), pair(score)


def test_where_from_tells_what_python_computes(shown):
    """The page's softmax against Python's, at the places where the pointer and the keys have put the point."""
    widget, twin = shown(name="WhereFrom"), MADE["WhereFrom"]()
    canvas = widget.canvas("noisy")
    seen = set()
    for frame, (right, down) in ((4, (0.4, 0.4)), (12, (0.6, 0.3)), (30, (0.3, 0.7))):
        widget.slide(frame)
        box = canvas.bounding_box()
        widget.page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])
        canvas.press("ArrowUp")
        canvas.press("ArrowLeft")
        point, candidates, most, D, score = where_from_numbers(widget)
        # the readout is rounded to 0.01: its numbers lie among those of the points that round to the same
        near = [[point[0] + a, point[1] + b] for a in (-0.005, 0, 0.005) for b in (-0.005, 0, 0.005)]
        exact = [twin.posterior(x, float(twin.times()[frame])) for x in near]
        for found, values, rounding in (
            (candidates, [e["candidates"] for e in exact], 0.06),
            (most, [float(e["weights"].max()) for e in exact], 0.001),
            *((D[i], [float(e["D"][i]) for e in exact], 0.006) for i in (0, 1)),
            *((score[i], [float(e["score"][i]) for e in exact], 0.06) for i in (0, 1)),
        ):
            assert min(values) - rounding <= found <= max(values) + rounding, (frame, found, values)
        seen.add((candidates, *D))
    assert len(seen) == 3


def test_where_from_point_moves_by_pointer_and_keys(shown):
    widget = shown(name="WhereFrom")
    canvas = widget.canvas("noisy")
    start = where_from_numbers(widget)
    canvas.focus()
    assert {"noisy", "data", "count"} <= widget.changed(lambda: [canvas.press("ArrowLeft") for _ in range(9)])
    after = where_from_numbers(widget)
    assert after[0][0] < start[0][0] and after[0][1] == start[0][1] and after[1:] != start[1:]
    frame = widget.player.get_attribute("data-frame")
    box = canvas.bounding_box()
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    widget.page.mouse.move(*centre)
    widget.page.mouse.down()
    widget.page.mouse.move(centre[0] + 60, centre[1] + 40, steps=4)
    widget.page.mouse.up()
    dragged = where_from_numbers(widget)
    assert dragged[0] != after[0] and 0.2 < dragged[0][0] < 1.5
    widget.page.mouse.move(*centre)  # without a button pressed
    assert where_from_numbers(widget) == dragged
    assert widget.player.get_attribute("data-frame") == frame
    canvas.press(" ")
    widget.page.wait_for_timeout(300)
    assert widget.player.get_attribute("data-playing") == "true"


def test_flow_map_cell_is_chosen_by_pointer_and_keys(shown):
    widget = shown(name="FlowMap")
    canvas = widget.canvas("noise")
    start = widget.numbers()
    box = canvas.bounding_box()
    press = (box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
    assert widget.changed(lambda: widget.page.mouse.click(*press)) == {"data", "noise", "along"}
    clicked = widget.numbers()
    assert clicked != start and clicked[0] == start[0]  # another cell, the same probability
    assert widget.changed(lambda: canvas.press("ArrowRight")) == {"data", "noise", "along"}
    widget.slide(0)
    mass, area, by_area, exact = map(parsed, widget.numbers())
    assert mass / area == pytest.approx(torch.tensor(by_area).exp().item(), rel=0.05)
    assert by_area == pytest.approx(exact, abs=0.1)


def test_flow_map_views(shown):
    widget = shown(name="FlowMap")
    assert widget.changed(lambda: widget.choose("show", "areas")) == {"data", "noise"}
    assert widget.changed(lambda: widget.choose("show", "exact")) == {"data", "noise"}


def test_mixture_of_the_page_is_the_law(shown):
    """mixture.mjs itself, run in the browser, against the library: density, score, denoiser, marginal."""
    from sdelab import distributions
    from sdelab.process import VP

    covs = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.4]]], dtype=torch.float64)
    law = distributions.GaussianMixture([1, 3], [[0.0, 1.0], [-1.0, 0.5]], covs)
    process, t = VP(), 0.3
    source = (HERE / "mixture.mjs").read_text(encoding="utf8")
    arrays = {name: array.flatten().tolist() for name, array in choices.components(law).items()}
    page = shown(name="WhereFrom").page
    found = page.evaluate(
        """async ([source, arrays, alpha, sigma, points]) => {
          const file = new Blob([source], { type: "text/javascript" });
          const { effective, marginal, mixture } = await import(URL.createObjectURL(file));
          const data = Object.fromEntries(Object.entries(arrays).map(([k, v]) => [k, { data: Float64Array.from(v) }]));
          const at = mixture(data, alpha, sigma), along = marginal(data, alpha, sigma);
          return points.map(([x, y]) => {
            const { logp, score, D, responsibilities } = at(x, y);
            return [logp, ...score, ...D, along(x), effective(responsibilities)];
          });
        }""",
        [source, arrays, float(process.alpha(t)), float(process.sigma(t)), [[0.3, -0.2], [-2.0, 1.5], [6.0, 6.0]]],
    )  # fmt: skip
    x = torch.tensor([[0.3, -0.2], [-2.0, 1.5], [6.0, 6.0]], dtype=torch.float64)
    there, first = (
        law.at(process, t),
        distributions.GaussianMixture(law.weights, law.means[:, :1], covs[:, 0, 0].sqrt()),
    )
    exact = torch.cat(
        [
            there.log_prob(x)[:, None], there.score(x), law.denoiser(process)(x, t),
            first.at(process, t).log_prob(x[:, :1]).exp()[:, None],
        ],
        dim=1,
    )  # fmt: skip
    found = torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(found[:, :6], exact, rtol=1e-9, atol=1e-12)
    assert ((found[:, 6] >= 1 - 1e-12) & (found[:, 6] <= 2)).all()


@pytest.mark.parametrize("name", MADE)
def test_still_and_narrow(shown, name):
    widget = shown(name=name, reduced_motion="reduce", viewport={"width": 420, "height": 900})
    assert not widget.changed(lambda: widget.page.wait_for_timeout(500)), "it moves by itself"
    frame = int(widget.player.get_attribute("data-frame"))
    widget.page.locator("button.sde-play").click()
    widget.page.wait_for_timeout(300)
    assert int(widget.player.get_attribute("data-frame")) == frame + 1
    for canvas in widget.page.locator("canvas").all():
        box = canvas.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 420
