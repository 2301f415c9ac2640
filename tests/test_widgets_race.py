"""SolverRace: its frames against solutions by another route and closed forms, and planted faults that show."""

import itertools
import re

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from sdelab import distributions, grids, solvers
from sdelab.process import EDM, VP
from sdelab.widgets import SolverRace, solver_race
from sdelab.widgets.packing import unpack
from sdelab.widgets.player import plain

ONE = {"gaussian": distributions.gaussian(std=0.6)}


def racer(**about) -> SolverRace:
    about = {
        "laws": ("ring",),
        "law": "ring",
        "processes": ("vp",),
        "points": 20,
        "crowd": 60,
        "precompute": (),
    } | about
    return SolverRace(**about)


@pytest.mark.parametrize(("name", "process"), [("vp", VP()), ("edm", EDM())])
def test_exact_ends_are_scipys(name, process):
    """dx/dt by Dormand–Prince of order 8, in numpy, from the same starts."""
    widget = racer(processes=(name,), process=name, crowd=20, points=9)
    start, exact, _, _ = widget.ends("ring", name)
    law = distributions.ring()
    D = law.denoiser(process)

    def velocity(t, flat):
        x = torch.from_numpy(flat.reshape(-1, 2))
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        score = (alpha * D(x, t) - x) / sigma**2
        return (float(process.f(t)) * x - float(process.g2(t)) / 2 * score).numpy().ravel()

    out = solve_ivp(velocity, (process.T, process.t_min), start.numpy().ravel(), "DOP853", rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(out.y[:, -1].reshape(-1, 2), exact, atol=2e-5)


def test_ddim_on_gaussian_data_is_its_closed_form():
    """For N(0, s^2) every step of DDIM multiplies x by (alpha_t D + sigma_t eps)/x_s."""
    widget = racer(laws=ONE, law="gaussian", solver="ddim", budgets=(4, 9))
    start, exact, _, _ = widget.ends("gaussian", "vp")
    process = VP()
    spread = lambda t: float((0.36 * process.alpha(t) ** 2 + process.var(t)) ** 0.5)  # noqa: E731
    torch.testing.assert_close(exact, start * spread(process.t_min) / spread(1.0), rtol=1e-6, atol=1e-8)
    ends, errors, spent, _ = widget.runs("gaussian", "vp", "logsnr", "ddim")
    for n, found, error in zip((4, 9), ends, errors, strict=True):
        times, factor = grids.logsnr(process, n).tolist(), 1.0
        for s, t in itertools.pairwise(times):
            D = float(process.alpha(s)) * 0.36 / spread(s) ** 2
            eps = (1 - float(process.alpha(s)) * D) / float(process.sigma(s))
            factor *= float(process.alpha(t)) * D + float(process.sigma(t)) * eps
        torch.testing.assert_close(found, factor * start, rtol=1e-10, atol=1e-12)
        off = abs(factor - spread(process.t_min) / spread(1.0)) * float(start.square().sum(1).mean().sqrt())
        assert error == pytest.approx(off, rel=1e-6)
    assert spent == [4, 9]


def test_frames_are_what_runs_tell():
    widget = racer(solvers=("ddim", "edm_heun"), solver="plms", budgets=(1, 5, 8))
    frames = {name: plain(array) for name, array in widget.frames().items()}
    keys = [widget._names[int(n)] for n in frames["rows"]]
    assert keys == ["ddim", "edm_heun", "plms"] and keys[int(frames["chosen"][0])] == "plms"
    half = float(frames["half"][0])
    for s, key in enumerate(keys):
        ends, errors, spent, far = widget.runs("ring", "vp", "logsnr", key)
        assert frames["spent"][s].tolist() == spent
        np.testing.assert_allclose(frames["errors"][s], errors)
        if key == "plms":
            np.testing.assert_allclose(frames["law"], np.minimum(far, 1e4))
            inside = (ends[:, :20].abs() < 1.5 * half).numpy()
            np.testing.assert_allclose(half * frames["found"][inside], ends[:, :20].numpy()[inside], atol=half * 0.002)
    assert frames["spent"].tolist() == [[1, 5, 8], [0, 4, 8], [0, 5, 8]]  # Heun takes two a step, PLMS two in its first
    error = np.sqrt(((half * (frames["found"] - frames["exact"])) ** 2).sum(2).mean(1))
    assert 0.4 < error[2] / frames["errors"][2][2] < 2.5  # of the points drawn, a third of the crowd


def test_errors_fall_as_the_order_says_and_a_wrong_solver_is_seen(monkeypatch):
    widget = racer(laws=ONE, law="gaussian", solver="dpmpp_2m", budgets=(50, 100))
    errors = widget.runs("gaussian", "vp", "logsnr", "dpmpp_2m")[1]
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2
    assert float(widget.frames()["order"][0]) == pytest.approx(2, abs=0.1)
    monkeypatch.setattr(solvers.DPMpp2M, "weights", lambda self, h, k, nodes: solvers.ExpAdams.weights(self, h, k, nodes[:1]) + [0.0] * (len(nodes) - 1))  # noqa: E501  # fmt: skip
    broken = racer(laws=ONE, law="gaussian", solver="dpmpp_2m", budgets=(50, 100))
    errors = broken.runs("gaussian", "vp", "logsnr", "dpmpp_2m")[1]
    assert 0.8 < np.log2(errors[0] / errors[1]) < 1.2


def test_distance_from_the_law_of_exact_ends_is_one():
    widget = racer(solver="unipc_3_bh2", budgets=(8, 160), crowd=200)
    far = widget.runs("ring", "vp", "logsnr", "unipc_3_bh2")[3]
    assert far[1] == pytest.approx(1, abs=0.01)
    far = widget.runs("ring", "vp", "logsnr", "edm_heun")[3]
    assert far[0] > 2


def test_what_is_stored_and_what_the_kernel_computes():
    widget = SolverRace(laws=("ring",), processes=("vp",), solvers=("ddim", "plms"), stored=("logsnr",),
                        budgets=(4, 6), points=9, crowd=9)  # fmt: skip
    assert [entry["choice"]["solver"] for entry in widget.shelf] == ["ddim", "plms"] and widget.picture == b""
    widget.choose(solver="exp_adams_3", grid="beta")
    header, frames = unpack(widget.picture)
    assert header["choice"] == {"law": "ring", "process": "vp", "grid": "beta", "solver": "exp_adams_3"}
    assert frames["found"].shape == (2, 9, 2) and frames["errors"].shape == (3, 2) and frames["exact"].shape == (9, 2)
    np.testing.assert_array_equal(frames["found"], plain(widget.frames()["found"]))


@pytest.mark.parametrize("key", ["heun", "lms", "etdrk4", "edm_midpoint", "pndm"])
def test_other_solvers_have_all_their_frames(key):
    frames = racer(solver=key, budgets=(6, 40)).frames()
    assert frames["errors"][int(frames["chosen"][0])][1] < 0.6


def test_default_fits_in_a_page_and_orders_are_those_of_the_table():
    widget = SolverRace()
    assert len(widget.library) * 4 / 3 < 4e5
    assert any(widget.choice == entry["choice"] for entry in widget.shelf) and len(widget.shelf) == 64
    for key in solver_race.SHOWN:
        assert solver_race.order_of(key) == pytest.approx(solvers.row(key).order, abs=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: racer(law="rign"), "unknown law 'rign'; did you mean 'ring'"),
        (lambda: racer(solver="dimm"), "unknown solver 'dimm'; did you mean 'ddim'"),
        (lambda: racer(solver="ddpm"), "DDPM is not one"),
        (lambda: racer(solvers=("dpm_adaptive",)), "DPM adaptive is not one"),
        (lambda: racer(grid="karas"), "unknown grid 'karas'; did you mean 'karras'"),
        (lambda: racer(budgets=(5, 5)), "increasing: not (5, 5)"),
        (lambda: racer(points=0), "points is a whole number of at least 1; got 0"),
    ],
)
def test_errors_name_what_was_wrong(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
