"""ScheduleDesigner: times, shares and states against closed forms by another route, with planted faults that show."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import sdelab as sd
from sdelab.widgets import ScheduleDesigner
from sdelab.widgets.packing import unpack

PICTURE = torch.linspace(-1, 1, 24, dtype=torch.float64).view(4, 6)


@pytest.fixture(scope="module")
def designer() -> ScheduleDesigner:
    return ScheduleDesigner(picture=PICTURE, precompute=())


def shown(widget: ScheduleDesigner) -> dict:
    return unpack(widget.picture)[1]


def test_karras_times_are_the_formula_and_the_dial_is_rho(designer):
    for rho in (7.0, 3.0):
        designer.choose(process="edm", grid="karras", steps=10, rho=rho)
        r = np.linspace(0, 1, 10)
        sigma = (80 ** (1 / rho) + r * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
        np.testing.assert_allclose(shown(designer)["t"], [*sigma, 0], rtol=1e-6)
        np.testing.assert_allclose(shown(designer)["lam"], [*-np.log(sigma), 9], rtol=1e-5, atol=1e-6)
    assert not np.allclose(shown(designer)["t"][:-1], 80 ** (1 - r) * 0.002**r, rtol=0.05)  # not log-uniform


def test_shifted_flow_is_the_formula_and_the_dial_is_the_shift(designer):
    for shift in (3.0, 1.0):
        designer.choose(process="flow", grid="flow_shift", steps=10, shift=shift)
        u = np.linspace(1, 0, 11)
        np.testing.assert_allclose(shown(designer)["t"], shift * u / (1 + (shift - 1) * u), atol=1e-6)


def test_a_dial_moves_its_own_grid_only(designer):
    designer.choose(process="vp", grid="uniform", rho=7.0)
    before = shown(designer)["t"].copy()
    designer.choose(rho=2.0)
    np.testing.assert_array_equal(shown(designer)["t"], before)


@pytest.mark.parametrize(
    ("process", "lam"),
    [
        ("cosine", lambda t: math.log(c / math.sqrt(1 - c * c)) if (c := _cosine(t)) < 1 else math.inf),
        ("flow", lambda t: math.log((1 - t) / t) if 0 < t < 1 else math.inf * (1 - 2 * t)),
        ("vp", lambda t: -0.5 * math.log(math.expm1(9.95 * t * t + 0.1 * t)) if t > 0 else math.inf),
    ],
)
def test_lam_signal_and_noise_by_hand(designer, process, lam):
    designer.choose(process=process, grid="uniform", steps=10)
    frames = shown(designer)
    want = np.array([max(-9, min(9, lam(t))) for t in frames["t"].tolist()])
    np.testing.assert_allclose(frames["lam"], want, rtol=1e-3, atol=1e-3)
    inner = slice(1, -1)
    np.testing.assert_allclose(frames["signal"][inner], 1 / np.sqrt(1 + np.exp(-2 * want[inner])), rtol=2e-3)
    np.testing.assert_allclose(frames["signal"] ** 2 + frames["noise"] ** 2, 1, rtol=1e-6)
    curve = [max(-9, min(9, lam(t))) for t in np.linspace(0, float(frames["T"][0]), 161)]
    np.testing.assert_allclose(frames["curve"], curve, atol=18 / 1023)


def _cosine(t):
    return math.cos(math.pi / 2 * (t + 0.008) / 1.008) / math.cos(math.pi / 2 * 0.008 / 1.008)


def test_shares_count_evaluations(designer):
    designer.choose(process="edm", grid="logsnr", steps=10)
    sigma = 80 * (0.002 / 80) ** (np.arange(10) / 9)  # the last time, 0, is not an evaluation
    high, low = (sigma > math.e).mean(), (sigma < 1 / math.e).mean()
    np.testing.assert_allclose(designer.shares(), [high, 1 - high - low, low], atol=1e-12)
    np.testing.assert_allclose(shown(designer)["shares"], designer.shares(), atol=1e-6)
    with_last = [(np.append(sigma, 0) > math.e).mean(), (np.append(sigma, 0) < 1 / math.e).mean()]
    assert abs(with_last[0] - high) > 0.01 and abs(with_last[1] - low) > 0.01


def test_picture_and_noise_are_those_given(designer):
    frames = shown(designer)
    np.testing.assert_allclose(frames["picture"], PICTURE, atol=1 / 63)
    eps = sd.noise.normal((4, 6), seed=0, dtype=torch.float64)
    np.testing.assert_allclose(frames["eps"], eps.clamp(-3.5, 3.5), atol=3.5 / 31)
    assert ScheduleDesigner(precompute=()).frames()["picture"].values.shape == (32, 32)


def test_zero_terminal_snr_starts_from_noise_alone(designer):
    designer.choose(process="zero_snr", grid="logsnr")
    frames = shown(designer)
    assert frames["signal"][0] == 0 and frames["lam"][0] == -9 and frames["signal"][-1] == 1


def test_every_choice_of_the_menus_has_decreasing_times():
    widget = ScheduleDesigner(picture=PICTURE)
    assert len(widget.shelf) == 5 * 8 * 3 + 5 * 2 * 2
    for entry in widget.shelf:
        _, frames = unpack(widget.library[entry["start"] : entry["stop"]])
        assert len(frames["t"]) == entry["choice"]["steps"] + 1
        assert (np.diff(frames["t"]) < 0).all() and frames["t"][-1] == 0, entry


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScheduleDesigner(process="vpp", precompute=()), "unknown process 'vpp'"),
        (lambda: ScheduleDesigner(grids=("karas",), precompute=()), "unknown grid 'karas'; did you mean 'karras'"),
        (lambda: ScheduleDesigner(steps=1, precompute=()), "steps is a whole number of at least 2"),
        (lambda: ScheduleDesigner(picture=3 * PICTURE, precompute=()), "from -1 to 1"),
        (lambda: ScheduleDesigner(picture=torch.zeros(5), precompute=()), "picture is a tensor"),
        (lambda: ScheduleDesigner(picture=PICTURE, precompute=()).choose(rho=50), "rho is a number from 1 to 20"),
    ],
)
def test_errors_name_what_was_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_stand_in_changes_with_the_choice(designer):
    import io

    first = designer.png()
    designer.choose(grid="karras", process="cosine")
    second = designer.png()
    assert Image.open(io.BytesIO(first)).size[0] == 720 and first != second
