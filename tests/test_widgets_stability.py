"""StabilityExplorer: regions, limits and runs against closed forms by another route; labels, sizes, errors."""

import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from sdelab.widgets import StabilityExplorer, stability_explorer
from sdelab.widgets.packing import unpack
from sdelab.widgets.stability_explorer import CELLS, CENTRE, HALF, LAMBDAS, SCHEMES, TOP, order

R = {  # stability functions, written by hand
    "euler": lambda z: 1 + z,
    "heun": lambda z: 1 + z + z**2 / 2,
    "rk4": lambda z: 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
    "implicit_euler": lambda z: 1 / (1 - z),
    "implicit_midpoint": lambda z: (2 + z) / (2 - z),
    "exp_euler": np.exp,
}
ADAMS = {"ab2": [3 / 2, -1 / 2], "ab3": [23 / 12, -16 / 12, 5 / 12]}
LIMITS = {
    ("euler", "-1"): 2.0, ("heun", "-1"): 2.0, ("rk4", "-1"): 2.785293563405282, ("ab2", "-1"): 1.0,
    ("ab3", "-1"): 6 / 11, ("implicit_euler", "-1"): -1.0, ("exp_euler", "2i"): -1.0, ("euler", "2i"): 0.0,
    ("rk4", "2i"): math.sqrt(2), ("euler", "-1+2i"): 2 / 5,
}  # fmt: skip


def growth(scheme, z, m2=0.0):
    """The factor of a step at one complex z, by numpy."""
    if scheme in R:
        return abs(R[scheme](z))
    if scheme in ADAMS:
        b = ADAMS[scheme]
        return max(abs(np.roots([1, -1 - z * b[0], *(-z * w for w in b[1:])])))
    return math.sqrt(abs(1 + z) ** 2 + m2 + (m2**2 / 2 if scheme == "milstein" else 0.0))


@pytest.fixture(scope="module")
def widget() -> StabilityExplorer:
    return StabilityExplorer(precompute=())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_growth_and_region_are_the_closed_forms(widget, scheme):
    for name in LAMBDAS:
        lam = complex(name.replace("i", "j"))
        frames = widget.frames({"scheme": scheme, "lam": name, "mu": "1"})
        noisy = scheme in ("em", "milstein")
        want = [growth(scheme, h * lam, h if noisy else 0.0) for h in frames["t"].tolist()]
        np.testing.assert_allclose(frames["growth"], want, rtol=1e-9)
        exact = np.exp((lam.real + (0.5 if noisy else 0.0)) * frames["t"].numpy())
        np.testing.assert_allclose(frames["exact"], exact, rtol=1e-12)
    region = frames["region"].values
    assert region.shape == (CELLS // 2, CELLS)
    at = [CENTRE + (2 * (i + 0.5) / CELLS - 1) * HALF for i in range(CELLS)]
    for r, c in ((0, 0), (5, 20), (20, 50), (CELLS // 2 - 1, CELLS - 1)):
        z = complex(at[c], (2 * (r + 0.5) / CELLS) * HALF)
        assert region[r, c] == pytest.approx(min(TOP, growth(scheme, z)), abs=TOP / 100 / 2 + 1e-9)


@pytest.mark.parametrize("pair", LIMITS)
def test_limits(widget, pair):
    (limit,) = widget.frames(dict(zip(("scheme", "lam"), pair, strict=True)))["limit"]
    assert limit == pytest.approx(LIMITS[pair], abs=1e-8)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_limits_in_the_mean_square(widget, mu):
    found = {s: widget.frames({"scheme": s, "lam": "-1", "mu": f"{mu:g}"})["limit"][0] for s in ("em", "milstein")}
    assert found["em"] == pytest.approx(2 - mu**2, abs=1e-6)
    assert found["milstein"] == pytest.approx((2 - mu**2) / (1 + mu**4 / 2), abs=1e-6)


def test_the_run_is_the_recursion(widget):
    """Runs, frame by frame, by the plainest loop; multistep ones start from the exact past."""
    for scheme in ("euler", "rk4", "ab2", "ab3", "implicit_midpoint"):
        lam = -0.2 + 2j
        frames = widget.frames({"scheme": scheme, "lam": "-0.2+2i"})
        for k in (0, 9, 30, 48):
            h = float(frames["t"][k])
            x, past = 1.0 + 0j, [np.exp(-lam * h * j) for j in range(3)]
            lo, hi = frames["start"][k : k + 2]
            for value in frames["x"].values[lo:hi]:
                assert value == pytest.approx(np.clip(x.real, -6, 6), abs=6 / 2047 + 1e-6)
                x = (
                    R[scheme](h * lam) * x
                    if scheme in R
                    else x + h * lam * np.dot(ADAMS[scheme], past[: len(ADAMS[scheme])])
                )
                past = [x, *past[:2]]


def test_mean_square_is_that_of_many_paths():
    """The stored root mean square against 100,000 paths of the scheme, and the stored paths against the recursion."""
    frames = StabilityExplorer("em", mu="1", precompute=()).frames()
    k = 20
    h, (lo, hi) = float(frames["t"][k]), frames["start"][k : k + 2]
    W = math.sqrt(h) * np.random.default_rng(0).standard_normal((100_000, 3))
    mean_square = np.sqrt(np.square((1 - h + W).prod(1)).mean())
    assert frames["x"].values[lo:hi][3] == pytest.approx(mean_square, rel=0.05)
    assert frames["paths"].values.shape[0] == 6 and np.ptp(frames["paths"].values[:, lo + 1]) > 0.05
    assert (frames["paths"].values[:, lo] > 0.97).all()


def test_a_wrong_scheme_is_seen(monkeypatch, widget):
    """Adams-Bashforth with a slope of the wrong sign has another limit."""
    monkeypatch.setattr(stability_explorer.stability, "adams_weights", lambda order: [1.5, 0.5])
    assert widget.frames({"scheme": "ab2"})["limit"][0] != pytest.approx(1.0, abs=0.1)


def test_stored_choices_and_their_size():
    widget = StabilityExplorer()
    assert len(widget.library) * 4 / 3 < 4e5
    assert any(entry["choice"] == widget.choice for entry in widget.shelf)
    entry = next(e for e in widget.shelf if e["choice"] == {"scheme": "rk4", "lam": "2i", "mu": "0.5"})
    header, arrays = unpack(widget.library[entry["start"] : entry["stop"]])
    assert header["choice"] == entry["choice"] and arrays["limit"][0] == pytest.approx(math.sqrt(2), abs=1e-6)
    assert json.dumps(widget.spec)


def test_labels_errors_and_the_stand_in():
    widget = StabilityExplorer(precompute=())
    labels = [widget.spec["title"], *widget.spec["words"].values()]
    for control in widget.spec["controls"]:
        labels += [control["label"], *(row["label"] for row in control["options"])]
    assert all(set(label) == {"ja", "en"} and all(text.strip() for text in label.values()) for label in labels)
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", widget.spec["title"]["ja"])
    picture = Image.open(io.BytesIO(widget.png()))
    assert picture.size == (720, 260) and np.asarray(picture.convert("L")).std() > 15
    assert repr(widget) == "StabilityExplorer(scheme='euler', lam='-1', mu='0.5')"
    with pytest.raises(ValueError, match="unknown scheme 'eulr'; did you mean 'euler'"):
        StabilityExplorer("eulr", precompute=())
    with pytest.raises(ValueError, match="unknown lam"):
        StabilityExplorer(lam="7", precompute=())


def test_a_choice_that_is_not_stored_is_computed():
    widget = StabilityExplorer(precompute=[{}])
    assert widget.picture == b""
    widget.choose(scheme="ab3")
    header, arrays = unpack(widget.picture)
    assert header["choice"]["scheme"] == "ab3" and arrays["limit"][0] == pytest.approx(6 / 11, abs=1e-6)


def test_orders_and_calls_are_those_of_the_solvers():
    known = {
        "euler": (1, 1),
        "heun": (2, 2),
        "rk4": (4, 4),
        "ab2": (2, 1),
        "ab3": (3, 1),
        "em": (0.5, 1),
        "milstein": (1, 1),
    }
    assert {name: order(name) for name in SCHEMES if order(name)[0]} == known
