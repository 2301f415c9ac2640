"""Widgets: frames against exact laws by another route, the packing, the kernel's answers, labels, the stand-in."""

import io
import json
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from sdelab import SDE, distributions
from sdelab.process import VP
from sdelab.widgets import (
    DensityExplorer,
    FlowMap,
    ReverseExplorer,
    ScheduleDesigner,
    SolverRace,
    StabilityExplorer,
    ThreeViews,
    WhereFrom,
    three_views,
)
from sdelab.widgets.packing import Quantised, pack, quantise, unpack
from sdelab.widgets.player import HERE, Player

WIDGETS = {
    "density_explorer.mjs": DensityExplorer, "three_views.mjs": ThreeViews, "reverse_explorer.mjs": ReverseExplorer,
    "where_from.mjs": WhereFrom, "flow_map.mjs": FlowMap, "solver_race.mjs": SolverRace,
    "schedule_designer.mjs": ScheduleDesigner, "stability_explorer.mjs": StabilityExplorer,
}  # fmt: skip


@pytest.fixture(scope="module")
def explorer() -> DensityExplorer:
    return DensityExplorer(laws=("ring", "moons"), processes=("vp", "ve", "flow"), particles=20, cells=24, steps=8)


@pytest.fixture(scope="module")
def views() -> ThreeViews:
    return ThreeViews(precompute=[{}, {"cells": 48}, {"cells": 192}])


def stored(widget: Player, choice: dict) -> tuple[dict, dict]:
    """What a page without a kernel reads for a choice."""
    (entry,) = [each for each in widget.shelf if each["choice"] == choice]
    return unpack(widget.library[entry["start"] : entry["stop"]])


# ---- packing


def test_packing_gives_back_what_went_in():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 7, 3))
    arrays = {
        "plain": x,
        "bytes": quantise(x, -3, 3, 255, delta=(1, 2)),
        "words": quantise(x, -3, 3, 2047, delta=(0,)),
        "jumps": quantise(rng.uniform(size=300), 0, 1, 65535, delta=(0,)),  # differences wrap around
    }
    header, back = unpack(pack(arrays, choice={"law": "輪"}))
    assert header == {"choice": {"law": "輪"}}
    assert back["plain"].dtype == np.float32
    np.testing.assert_allclose(back["plain"], x, rtol=1e-7)
    for name in ("bytes", "words", "jumps"):
        original = arrays[name]
        assert isinstance(original, Quantised)
        np.testing.assert_array_equal(back[name], original.values)
    inside = np.abs(x) <= 3
    assert np.abs(back["words"] - x)[inside].max() <= 3 / 2047 * (1 + 1e-12)
    assert set(np.unique(back["words"][~inside])) <= {-3.0, 3.0}


def test_layout_of_the_packing_is_the_one_the_page_reads():
    """The bytes by hand: header length, header, low bytes then high bytes of the differences."""
    levels = np.array([[1, 300], [2, 299]])
    raw = zlib.decompress(pack({"q": quantise(levels, 0, 1000, 1000, delta=(0,))}))
    size = int.from_bytes(raw[:4], "little")
    about = json.loads(raw[4 : 4 + size])["arrays"]
    assert about == [
        {"name": "q", "lo": 0.0, "hi": 1000.0, "top": 1000, "delta": [0], "dtype": "uint16", "shape": [2, 2]}
    ]
    differences = [1, 300, 1, 65535]  # row 1 less row 0, modulo 2^16
    assert list(raw[4 + size :]) == [d & 255 for d in differences] + [d >> 8 for d in differences]


@pytest.mark.parametrize("bad", [dict(lo=1, hi=1), dict(lo=0, hi=1, top=0), dict(lo=0, hi=1, top=70000)])
def test_quantise_refuses(bad):
    with pytest.raises(ValueError, match="quantise needs"):
        quantise([0.5], **bad)


def test_pack_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="'peak' holds numbers that are not finite"):
        pack({"peak": [1.0, float("nan")]})


# ---- DensityExplorer


@pytest.mark.parametrize("process", ["vp", "subvp", "ve", "cosine", "flow", "edm"])
def test_heat_map_is_the_exact_density(process):
    widget = DensityExplorer("moons", process, processes=[process], particles=4, cells=20, steps=4, precompute=())
    _, frames = unpack(widget.picture)
    law, made = distributions.moons(), widget.process()
    for k, t in enumerate(frames["t"].tolist()):
        alpha, sigma = float(made.alpha(t)), float(made.sigma(t))
        mine = distributions.GaussianMixture(
            law.weights, alpha * law.means, torch.sqrt(alpha**2 * law.covs[:, 0, 0] + sigma**2)
        )
        half = float(frames["half"][k])
        edge = np.linspace(-half, half, 21)
        centres = (edge[1:] + edge[:-1]) / 2
        for row, column in [(0, 0), (10, 10), (3, 14), (12, 5), (19, 0)]:
            at = torch.tensor([[centres[column], centres[row]]])  # rows are x_2
            exact = float(mine.log_prob(at).exp()) / float(frames["peak"][k])
            assert abs(frames["heat"][k, row, column] - exact) <= 0.5 / 255 + 1e-4
        assert frames["heat"][k].max() == 1
    np.testing.assert_allclose(frames["alpha"], made.alpha(torch.tensor(frames["t"], dtype=torch.float64)), atol=1e-6)
    assert frames["t"][0] == 0 and frames["t"][-1] == pytest.approx(made.T)


def test_particles_follow_the_exact_law():
    """Variances at every frame and covariance with the start; 4.5 standard errors; spread 3 % more, they fail."""
    n = 60_000
    widget = DensityExplorer(
        "ring", laws=["ring"], processes=["vp"], particles=n, cells=3, steps=4, seed=5, precompute=()
    )
    frames, law, process = widget.frames(), widget.law(), widget.process()
    x = torch.from_numpy(frames["particles"].values) * frames["half"][:, None, None]
    for k, t in enumerate(frames["t"].tolist()):
        alpha, variance = float(process.alpha(t)), float(law.at(process, t).cov[0, 0])
        error = 4.5 * variance * (2 / n) ** 0.5
        assert abs(float(x[k, :, 0].var()) - variance) < error
        assert abs(float((1.03 * x[k, :, 0]).var()) - variance) > error
        together = float((x[k, :, 0] * x[0, :, 0]).mean())
        assert abs(together - alpha * float(law.cov[0, 0])) < 4.5 * (2 * variance * float(law.cov[0, 0]) / n) ** 0.5


def test_noise_dial_reaches_the_process(explorer):
    assert explorer.process({"beta_max": 3}).beta_max == 3
    assert explorer.process({"process": "ve", "sigma_max": 7}).sigma_max == 7
    assert DensityExplorer(laws={"mine": distributions.grid()}, law="mine", precompute=()).law().dim == 2


# ---- ThreeViews


def exact_masses(law: str, process: str, t: float, cells: int) -> np.ndarray:
    """Probabilities of equal cells of [-6, 6] by scipy, from the closed form of alpha and sigma."""
    alpha, var = {
        "brownian": (1.0, t),
        "ou": (np.exp(-2 * t), 1 - np.exp(-4 * t)),
        "vp": (np.exp(-0.05 * t - 4.975 * t * t), 1 - np.exp(-0.1 * t - 9.95 * t * t)),
    }[process]
    start = three_views.LAWS[law]
    scale = np.sqrt(alpha**2 * start.covs[:, 0, 0].numpy() + var)
    edges = np.linspace(-6, 6, cells + 1)[:, None]
    return np.diff(stats.norm.cdf(edges, alpha * start.means[:, 0].numpy(), scale) @ start.weights.numpy())


@pytest.mark.parametrize("process", ["brownian", "ou", "vp"])
@pytest.mark.parametrize("law", list(three_views.LAWS))
def test_residuals_are_the_distances_of_what_is_drawn(views, law, process):
    """From the frames as stored (rounded to 1/4095 of the height), against scipy's normal distribution function."""
    _, frames = unpack(views.packed(views._checked({"law": law, "process": process})))
    top = max(frames[name].max() for name in ("bars", "grid", "closed"))
    rounding = 12 * top / 4095 / 4
    for k in (0, 1, 8, 20, 32):
        t = float(frames["t"][k])
        for name, drawn in (("tv_particles", frames["bars"][k]), ("tv_grid", frames["grid"][k])):
            masses = exact_masses(law, process, t, len(drawn))
            assert abs(np.abs(drawn * 12 / len(drawn) - masses).sum() / 2 - frames[name][k]) < rounding
        masses = exact_masses(law, process, t, 96)
        assert abs(np.abs(frames["grid"][k] - masses * 8).max() - frames["max_grid"][k]) < top / 4095
        # the drawn curve, by Simpson's rule over each bar, gives the same probabilities
        curve = frames["closed"][k]
        simpson = (curve[:-4:4] + 4 * curve[1:-3:4] + 2 * curve[2:-2:4] + 4 * curve[3:-1:4] + curve[4::4]) / 12 / 4
        assert np.abs(simpson - exact_masses(law, process, t, 48)).max() < (2e-4 if k else 5e-3)
        assert 0.3 < frames["tv_particles"][k] / frames["chance"][k] < 2.2


def test_grid_converges_with_order_two(views):
    most = {cells: float(views.frames({"cells": cells})["tv_grid"].max()) for cells in (48, 96, 192)}
    assert 3.6 < most[48] / most[96] < 4.6 and 3.6 < most[96] / most[192] < 4.6


def test_residual_shows_a_wrong_diffusion(monkeypatch):
    """sqrt(dt) for sqrt(2 dt) in the OU process: both the particles and the grid leave the closed form."""

    class Halved(VP):
        def sde(self) -> SDE:
            right = super().sde()
            return SDE(right.drift, lambda x, t: right.diffusion(x, t) / 2**0.5)

    monkeypatch.setitem(three_views.PROCESSES, "ou", Halved(beta_min=4.0, beta_max=4.0))
    frames = ThreeViews(precompute=()).frames()
    assert frames["tv_particles"][-1] > 6 * frames["chance"][-1]
    assert frames["tv_grid"][-1] > 0.1


def test_chance_is_what_exact_draws_give():
    frames = ThreeViews(particles=1000, precompute=()).frames()
    masses = exact_masses("peaks", "ou", float(frames["t"][16]), 48)
    counts = np.random.default_rng(1).multinomial(1000, masses / masses.sum(), size=2000)
    mean = np.abs(counts / 1000 - masses).sum(1).mean() / 2
    assert float(frames["chance"][16]) == pytest.approx(mean, rel=0.05)  # bars of few particles are not yet normal


# ---- the player: stored choices, the kernel's answers


def test_stored_frames_are_those_of_the_kernel(explorer):
    assert len(explorer.shelf) == 2 * 3 and explorer.picture == b""
    for entry in explorer.shelf:
        header, frames = stored(explorer, entry["choice"])
        assert header["choice"] == entry["choice"]
        live = DensityExplorer(
            laws=("ring", "moons"), processes=("vp", "ve", "flow"), particles=20, cells=24, steps=8, precompute=(),
            **{name: entry["choice"][name] for name in ("law", "process")},
        )  # fmt: skip
        header, computed = unpack(live.picture)
        assert header["choice"] == entry["choice"]
        for name in frames:
            np.testing.assert_array_equal(frames[name], computed[name])


def test_a_change_recomputes_only_what_is_not_stored():
    widget = DensityExplorer(laws=("ring", "moons"), particles=10, cells=8, steps=3, precompute=[{}, {"law": "moons"}])
    widget.choose(law="moons")
    assert widget.picture == b""
    widget.choose(process="ve")
    header, first = unpack(widget.picture)
    assert header["choice"] == widget.choice == {"law": "moons", "process": "ve", "beta_max": 20.0, "sigma_max": 50.0}
    widget.set_state({"choice": {**widget.choice, "sigma_max": 5}})  # as the page asks
    _, second = unpack(widget.picture)
    assert first["sigma"][-1] == pytest.approx(50, rel=1e-6) and second["sigma"][-1] == pytest.approx(5, rel=1e-5)


def test_three_views_answers_too():
    widget = ThreeViews(particles=1000, steps=4, substeps=2, precompute=())
    before = unpack(widget.picture)[1]
    widget.choose(cells=48, process="brownian")
    after = unpack(widget.picture)[1]
    assert before["grid"].shape == (5, 96) and after["grid"].shape == (5, 48)
    assert ThreeViews(particles=1000, steps=4, substeps=2, precompute=()).frames()[
        "tv_particles"
    ].tolist() == pytest.approx(before["tv_particles"].tolist())


def test_a_failure_in_the_kernel_is_told_to_the_page(monkeypatch):
    widget = DensityExplorer(particles=4, cells=4, steps=2, precompute=())

    def fail(choice):
        raise RuntimeError("no frames today")

    monkeypatch.setattr(widget, "frames", fail)
    widget.choose(law="moons")
    assert widget.problem == "RuntimeError: no frames today"
    monkeypatch.undo()
    widget.choose(law="spiral")
    assert widget.problem == ""


def test_default_widgets_fit_in_a_page():
    for make, most in {
        DensityExplorer: 1.5e6,
        ThreeViews: 1.5e6,
        ReverseExplorer: 4e5,
        WhereFrom: 2e4,
        FlowMap: 4e5,
        SolverRace: 4e5,
        ScheduleDesigner: 4e5,
        StabilityExplorer: 4e5,
    }.items():
        widget = make()
        assert len(widget.library) * 4 / 3 < most  # base64
        assert all(widget.choice.keys() == entry["choice"].keys() for entry in widget.shelf)
        assert any(widget.choice == entry["choice"] for entry in widget.shelf)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DensityExplorer("rign", precompute=()), "unknown law 'rign'; did you mean 'ring'"),
        (lambda: DensityExplorer(process="vpp", precompute=()), "unknown process 'vpp'; did you mean 'vp'"),
        (lambda: DensityExplorer(laws=["ring", "moon"], precompute=()), "unknown law 'moon'; did you mean 'moons'"),
        (lambda: DensityExplorer(processes=["vp", "wave"], precompute=()), "unknown process 'wave'"),
        (
            lambda: DensityExplorer(precompute=[{"lwa": "ring"}]),
            "unknown parameter of DensityExplorer 'lwa'; did you mean 'law'",
        ),
        (lambda: DensityExplorer(precompute=()).choose(beta_max=1000), "beta_max is a number from 1 to 40; got 1000"),
        (lambda: DensityExplorer(precompute=()).choose(beta_max="a"), "beta_max is a number"),
        (lambda: ThreeViews("peeks", precompute=()), "unknown law 'peeks'; did you mean 'peaks'"),
        (lambda: ThreeViews(cells=97, precompute=()), "unknown cells '97'"),
    ],
)
def test_errors_name_what_was_wrong(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# ---- what is shown


@pytest.mark.parametrize("make", WIDGETS.values())
def test_every_label_is_there_in_both_languages(make):
    widget = make(precompute=())
    labels = [widget.spec["title"], *widget.spec["words"].values()]
    for control in widget.spec["controls"]:
        labels += [control["label"], *(row["label"] for row in control.get("options", []))]
    for label in labels:
        assert set(label) == {"ja", "en"} and all(text.strip() for text in label.values()), label
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", widget.spec["title"]["ja"])


@pytest.mark.parametrize("name", list(WIDGETS))
def test_front_end_is_one_module_that_needs_nothing(name):
    source = WIDGETS[name]._esm
    assert not re.search(r"^import |https?://|eval\(|innerHTML", source, flags=re.MULTILINE)
    assert source.count("export default") == 1
    told = re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", source, flags=re.MULTILINE)
    assert len(told) == len(set(told)), "one scope holds all files, so no name may stand twice"
    spec = WIDGETS[name](precompute=()).spec
    used = set(re.findall(r'\bword\("(\w+)"\)|\bspoken\("(\w+)"\)', source))
    assert {a or b for a, b in used} <= set(spec["words"])
    imported = set(
        re.findall(r"(\w+)", " ".join(re.findall(r"^import \{(.*?)\}", (HERE / name).read_text("utf8"), flags=re.M)))
    )
    exported = set(re.findall(r"^export (?:async )?function (\w+)", source, flags=re.MULTILINE))
    assert imported and imported <= exported


@pytest.mark.parametrize("make", WIDGETS.values())
def test_mimebundle(make):
    widget, twin = make(precompute=()), make(precompute=())
    data, _ = widget._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert data["text/plain"] == repr(twin) and "object at" not in data["text/plain"]
    picture = Image.open(io.BytesIO(data["image/png"]))
    assert picture.size == (720, 260) and len(data["image/png"]) < 120_000
    assert np.asarray(picture.convert("L")).std() > 20  # not blank
    assert data["image/png"] == twin.png()


def test_text_of_the_representation():
    assert (
        repr(DensityExplorer(precompute=()))
        == "DensityExplorer(law='ring', process='vp', beta_max=20.0, sigma_max=50.0)"
    )
    assert repr(ThreeViews(precompute=())) == "ThreeViews(law='peaks', process='ou', particles=10000, cells=96)"
    assert repr(ReverseExplorer(precompute=())) == "ReverseExplorer(law='moons', process='vp', eta=1.0)"
    assert repr(WhereFrom(precompute=())) == "WhereFrom(law='moons', process='vp')"
    assert repr(FlowMap("ring", precompute=())) == "FlowMap(law='ring', process='vp')"
