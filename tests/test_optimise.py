"""Grids and weights fitted to a model: better on fresh starts, the same again by seed, and kept safely."""

import functools
import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize

import sdelab as sd
from sdelab.fit.dynamic import shortest
from sdelab.fit.ladder import ladder
from sdelab.fit.least import descend, mean_norm
from sdelab.fit.optimise import climb
from sdelab.fit.shooting import Adjoint, Shooting, directions, reference

LAW, VP = sd.distributions.ring(), sd.process.VP()
DENOISE = LAW.denoiser(VP)
SOLVER = sd.ExpAdams(2, corrector=True)


def starts(n, seed, process: sd.process.Process = VP, dim=2):
    return sd.noise.prior(process, (n, dim), seed=seed, dtype=torch.float64)


@functools.cache
def fresh_truth():
    """Starts that no grid was fitted to, and an independent fine solution."""
    x = starts(512, seed=2)
    return x, sd.solve(sd.Reverse(VP, DENOISE, 0.0), sd.RK4(), x, sd.grids.exponential(VP, 250))


def error(solver, times):
    """Mean end-point error on the fresh starts."""
    x, truth = fresh_truth()
    return mean_norm(sd.solve(sd.Reverse(VP, DENOISE, 0.0), solver, x, times) - truth)


def test_optimised_times_halve_the_error_of_every_standard_grid_on_fresh_starts():
    times = sd.grids.optimise(DENOISE, VP, SOLVER, 8, starts(64, seed=1))
    best = math.inf
    for name in sd.grids.table:
        try:
            standard = sd.grids.make(name, VP, 8)
        except ValueError:  # some are for chains, or for other numbers of steps
            continue
        if len(standard) == 9 and math.isclose(standard[0], VP.T) and math.isclose(standard[-1], VP.t_min):
            best = min(best, error(SOLVER, standard))
    assert math.isfinite(best)
    assert error(SOLVER, times) < 0.5 * best


def test_same_seed_same_times_and_nothing_on_a_pipe(capfd):
    first, again = (sd.grids.optimise(DENOISE, VP, SOLVER, 4, starts(32, seed=1), seed=7) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == torch.float64 and first[0] == VP.T and first[-1] == VP.t_min and (first.diff() < 0).all()
    assert capfd.readouterr() == ("", "")
    part = sd.grids.optimise(DENOISE, VP, SOLVER, 3, starts(8, seed=1), t_start=0.8, t_end=0.2, progress=False)
    assert part[0] == 0.8 and part[-1] == 0.2 and len(part) == 4


@pytest.mark.parametrize("process", [VP, sd.process.EDM(), sd.process.RectifiedFlow()], ids=lambda p: p.name)
@pytest.mark.parametrize("zero", [False, True])
def test_adjoint_agrees_with_differences(process, zero):
    ode, x = sd.Reverse(process, LAW.denoiser(process), 0.0), starts(6, seed=3, process=process)
    rungs = ladder(process, 5, t_end=0.0 if zero else 0.05)
    truth = torch.zeros_like(x)
    adjoint, plain = Adjoint(ode, SOLVER, x, truth, rungs), Shooting(ode, SOLVER, x, truth, rungs)
    u = rungs.starts()[0]
    torch.testing.assert_close(adjoint.error(u), plain.error(u), rtol=1e-11, atol=1e-12)
    theta = torch.cat([u, 1e-2 * sd.noise.normal((adjoint.P,), seed=4, dtype=torch.float64)])
    J, r = adjoint.frame(theta, e := adjoint.error(theta))
    unit = 1e-5 * torch.eye(len(theta), dtype=torch.float64)
    differences = torch.stack([(adjoint.error(theta + d) - adjoint.error(theta - d)) / 2e-5 for d in unit])
    torch.testing.assert_close(r, e)
    torch.testing.assert_close(J, differences, rtol=1e-3, atol=1e-4 * float(differences.abs().max()))
    torch.testing.assert_close(J[:1], adjoint.frame(theta, e)[0][:1])


def test_directions_keep_the_error_and_the_mean_of_squares():
    e = sd.noise.normal((500, 30), seed=0, dtype=torch.float64)
    Q = directions(e)
    assert Q.shape == (8, 500, 30)
    projected = (Q * e).sum(-1)
    torch.testing.assert_close(projected[0].abs(), e.norm(dim=1))
    torch.testing.assert_close(projected[1:], torch.zeros_like(projected[1:]), atol=1e-10, rtol=0)
    v = sd.noise.normal((500, 30), seed=1, dtype=torch.float64)
    assert float((Q * v).sum(-1).square().sum() / v.square().sum()) == pytest.approx(1, abs=0.05)


def test_descend_finds_the_geometric_median():
    points = sd.noise.normal((41, 2), seed=5, dtype=torch.float64)
    points[:4] += 20
    J = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 41, 2)
    found, f = list(descend(lambda m: m - points, lambda m, e: (J, e), points[0], torch.full((2,), 9.0)))[-1]
    exact = minimize(lambda m: np.linalg.norm(m - points.numpy(), axis=1).mean(), points.mean(0), method="Nelder-Mead")
    assert f == pytest.approx(mean_norm(found - points)) and f < 1.005 * exact.fun
    assert f < 0.9 * mean_norm(points.mean(0) - points)  # least squares proper would stop there


@pytest.mark.parametrize("solver", [sd.Heun(), sd.ExpAdams(2)], ids=["two calls a step", "no derivatives"])
def test_differences_serve_any_solver_and_denoiser(solver):
    x = starts(32, seed=1)
    times = sd.grids.optimise(torch.no_grad()(DENOISE), VP, solver, 4, x)
    assert error(solver, times) < 0.5 * error(solver, sd.grids.exponential(VP, 4))


def test_a_denoiser_that_knows_a_class_per_sample_is_asked_for_all_of_them():
    model = sd.nets.Denoiser(sd.nets.UNet(1, width=8, levels=1, attention=False, classes=3), sd.process.EDM())
    y, x_T = torch.arange(3), sd.noise.prior(model.process, (3, 1, 4, 4), seed=1)
    times = sd.grids.optimise(model.requires_grad_(False).of(y), model.process, sd.DPMpp2M(), 3, x_T, progress=False)
    assert len(times) == 4 and (times.diff() < 0).all()


def test_a_grid_to_zero_moves_its_last_positive_time():
    x, fresh = starts(64, seed=1), starts(256, seed=2)
    times = sd.grids.optimise(DENOISE, VP, SOLVER, 6, x, t_end=0.0)
    assert times[-1] == 0 and not math.isclose(times[-2], VP.t_min)
    ode = sd.Reverse(VP, DENOISE, 0.0)
    truth = reference(ode, fresh, VP.T, 0.0)
    ours, standard = (sd.solve(ode, SOLVER, fresh, t) for t in (times, sd.grids.exponential(VP, 6, zero=True)))
    assert mean_norm(ours - truth) < 0.5 * mean_norm(standard - truth)


def test_reference_is_the_solution():
    process = sd.process.EDM()
    law = sd.distributions.gaussian((0.0, 0.0), std=0.5)
    x = starts(8, seed=0, process=process)
    for end in (0.002, 0.0):
        found = reference(sd.Reverse(process, law.denoiser(process), 0.0), x, process.T, end)
        exact = x * math.sqrt((0.25 + end**2) / (0.25 + process.T**2))
        torch.testing.assert_close(found, exact, rtol=2e-6, atol=1e-9)


def test_tuned_weights_beat_optimised_times_on_fresh_starts(capfd):
    x, fresh = starts(256, seed=1), starts(8, seed=2)
    times = sd.grids.optimise(DENOISE, VP, sd.ExpAdams(2), 5, x[:128])
    tuned = sd.grids.tune(DENOISE, VP, sd.ExpAdams(2), 5, x)
    assert capfd.readouterr() == ("", "")
    assert error(tuned, tuned.times) < 0.6 * error(sd.ExpAdams(2), times)
    counter = sd.NFE(DENOISE)
    sd.solve(sd.Reverse(VP, counter, 0.0), tuned, fresh, tuned.times)
    assert counter.count == 5
    with pytest.raises(ValueError, match="its own times only"):
        sd.solve(sd.Reverse(VP, DENOISE, 0.0), tuned, fresh, sd.grids.exponential(VP, 5))
    with pytest.raises(ValueError, match="eta=0"):
        sd.solve(sd.Reverse(VP, DENOISE, 1.0), tuned, fresh, tuned.times, seed=0)


def test_refusals():
    x = starts(16, seed=0)
    with pytest.raises(ValueError, match="noise of its own"):
        sd.grids.optimise(DENOISE, VP, sd.solvers.Churn(sd.ExpEuler()), 4, x)
    with pytest.raises(ValueError, match="chooses its own steps"):
        sd.grids.optimise(DENOISE, VP, sd.Adaptive(), 4, x)
    with pytest.raises(ValueError, match="at least two steps"):
        sd.grids.optimise(DENOISE, VP, SOLVER, 1, x)
    with pytest.raises(ValueError, match="t_end < t_start"):
        sd.grids.optimise(DENOISE, VP, SOLVER, 4, x, t_end=2.0)
    with pytest.raises(ValueError, match="cannot be tuned"):
        sd.grids.tune(DENOISE, VP, sd.Heun(), 4, x)
    with pytest.raises(ValueError, match="too few"):
        sd.grids.tune(DENOISE, VP, SOLVER, 4, x[:4])
    with pytest.raises(ValueError, match="t_end > 0"):
        sd.grids.gits(DENOISE, VP, 4, x, t_end=0.0)
    with pytest.raises(ValueError, match="at least as many fine"):
        sd.grids.ays(DENOISE, VP, 40, x, fine=30)


def test_a_diverging_start_is_passed_over_and_divergence_everywhere_is_told():
    one, two = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def fails(u):
        raise FloatingPointError("diverged")
        yield u, 0.0

    def sometimes(u):
        return fails(u) if torch.equal(u, one) else iter([(u, 3.0)])

    assert torch.equal(climb(sometimes, [one, two], 0, "", False, restarts=0), two)
    with pytest.raises(FloatingPointError, match="every start grid"):
        climb(fails, [one, two], 0, "", False)


# Files


def test_round_trip_and_every_mismatch(tmp_path):
    x, path = starts(16, seed=0), tmp_path / "grid.json"
    times = sd.grids.karras(VP, 7)
    sd.grids.save(path, times, DENOISE, VP, SOLVER, x)
    assert torch.equal(sd.grids.load(path, DENOISE, VP, sd.ExpAdams(2, corrector=True)), times)
    assert [p.name for p in tmp_path.iterdir()] == ["grid.json"]
    close = sd.distributions.ring(std=0.101).denoiser(VP)
    for arguments, message in [
        ((close, VP, SOLVER), "another model"),
        ((DENOISE, sd.process.VP(beta_max=19.0), SOLVER), "another process"),
        ((DENOISE, VP, sd.ExpAdams(2)), "made for the solver"),
        ((DENOISE, VP, None), "give the one you will run"),
        ((sd.distributions.gaussian((0.0, 0.0, 0.0)).denoiser(VP), VP, SOLVER), "does not take states"),
    ]:
        with pytest.raises(ValueError, match=message):
            sd.grids.load(path, *arguments)


def test_a_tuned_solver_comes_back_as_itself(tmp_path):
    entries = SOLVER.plan(sd.Reverse(VP, DENOISE, 0.0), sd.grids.karras(VP, 6).tolist())
    tuned = sd.solvers.Tuned(sd.grids.karras(VP, 6), [(e.stages[0].keep, e.stages[0].weights) for e in entries])
    x = starts(16, seed=0)
    sd.grids.save(tmp_path / "t.json", tuned, DENOISE, VP, tuned, x)
    back = sd.grids.load(tmp_path / "t.json", DENOISE, VP)
    ode = sd.Reverse(VP, DENOISE, 0.0)
    own = sd.solve(ode, SOLVER, x, sd.grids.karras(VP, 6))
    torch.testing.assert_close(sd.solve(ode, back, x, back.times), own, rtol=1e-12, atol=1e-12)


def test_broken_files_and_interrupted_writes(tmp_path, monkeypatch):
    x, path = starts(16, seed=0), tmp_path / "grid.json"
    sd.grids.save(path, sd.grids.karras(VP, 7), DENOISE, VP, SOLVER, x)
    whole = path.read_text()
    for broken in (whole[:-20], "", "[]", json.dumps({"format": "sdelab grid 1"})):
        path.write_text(broken)
        with pytest.raises(ValueError, match="not a whole grid file"):
            sd.grids.load(path, DENOISE, VP, SOLVER)
    path.write_text(whole.replace("sdelab grid 1", "sdelab grid 0"))
    with pytest.raises(ValueError, match="optimise again"):
        sd.grids.load(path, DENOISE, VP, SOLVER)
    path.write_text(whole)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        sd.grids.save(path, sd.grids.karras(VP, 9), DENOISE, VP, SOLVER, x)
    assert path.read_text() == whole and [p.name for p in tmp_path.iterdir()] == ["grid.json"]


# Dynamic programmes


@pytest.mark.parametrize("discount", [1.0, 1.15])
def test_shortest_path_by_trying_all(discount):
    cost = sd.noise.normal((9, 9), seed=0, dtype=torch.float64).abs()

    def length(path):
        return sum(discount**k * float(cost[i, j]) for k, (i, j) in enumerate(itertools.pairwise(path)))

    for steps in range(1, 9):
        best = min(length((0, *inner, 8)) for inner in itertools.combinations(range(1, 8), steps - 1))
        path = shortest(cost, steps, discount)
        assert len(path) == steps + 1 and length(path) == pytest.approx(best, rel=1e-12)


def test_ays_minimises_the_bound_of_a_gaussian_in_closed_form():
    """Data N(0, s^2): D = c x, c = s^2/v, v = s^2 + sigma^2, and cov(x_t, x_u) = v_t for sigma_t < sigma_u, so the
    integrand is a formula."""
    process, s2 = sd.process.EDM(), 0.25
    law = sd.distributions.gaussian((0.0,), std=math.sqrt(s2))

    def bound(times):
        total = 0.0
        for held, end in itertools.pairwise(times.tolist()):
            c0, v0 = s2 / (s2 + held**2), s2 + held**2

            def rate(lam, c0=c0, v0=v0):
                v = s2 + math.exp(-2 * lam)
                c = s2 / v
                return math.exp(2 * lam) * (c * c * v + c0 * c0 * v0 - 2 * c * c0 * v)

            total += quad(rate, -math.log(held), -math.log(end))[0]
        return total

    times = sd.grids.ays(law.denoiser(process), process, 8, law.sample(2000, seed=1, dtype=torch.float64))
    standard = [sd.grids.exponential(process, 8), *(sd.grids.karras(process, 8, rho=r) for r in (2.0, 3.0, 7.0))]
    assert bound(times) < 0.98 * min(map(bound, standard))
    assert times[0] == process.T and times[-1] == process.t_min


def test_gits_is_a_better_grid_for_ddim():
    times = sd.grids.gits(DENOISE, VP, 8, starts(64, seed=1))
    standard = (sd.grids.uniform(VP, 8), sd.grids.karras(VP, 8), sd.grids.quadratic(VP, 8))
    assert error(sd.ExpEuler(), times) < min(error(sd.ExpEuler(), t) for t in standard)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equal_error_shares_the_local_error_evenly(order):
    """By another route: the leading term of a step's error, from the derivatives of D along the flow of a Gaussian,
    where D is a multiple of (s2 + e^(-2 lam))^(-1/2)."""
    s2, process = 0.25, sd.process.EDM()
    law = sd.distributions.gaussian((0.0,), math.sqrt(s2))
    x = sd.noise.prior(process, (50, 1), seed=1, dtype=torch.float64)
    times = sd.grids.equal_error(law.denoiser(process), process, 20, x, order=order, fine=800)
    assert len(times) == 21 and times[0] == process.T and times[-1] == process.t_min and (times.diff() < 0).all()

    def near(times):
        """The share of the steps whose error is within a factor of 2 of the median step's."""
        lam = -times.log()
        middle = (0.5 * (lam[1:] + lam[:-1])).requires_grad_()
        D = (s2 + torch.exp(-2 * middle)) ** -0.5
        for _ in range(order):
            (D,) = torch.autograd.grad(D.sum(), middle, create_graph=True)
        errors = (middle.exp() * D.abs() * lam.diff() ** (order + 1)).detach()
        return float(((errors / errors.median()).log2().abs() < 1).double().mean())

    assert near(times) >= 0.7  # the others stand where D does, and where steps are kept from growing endless
    assert max(near(sd.grids.make(name, process, 20)) for name in ("exponential", "karras")) < 0.5


def test_equal_error_where_D_stands_still_and_from_alpha_zero():
    flow = sd.process.make("flow")
    x = starts(16, seed=1)
    still = sd.grids.equal_error(lambda x, t: torch.zeros_like(x), VP, 6, x)
    torch.testing.assert_close(VP.lam(still).diff(), VP.lam(sd.grids.logsnr(VP, 6)).diff(), rtol=1e-6, atol=1e-6)
    times = sd.grids.equal_error(LAW.denoiser(flow), flow, 6, x)
    assert times[0] == flow.T and times[-1] == flow.t_min and (times.diff() < 0).all() and len(times) == 7


def test_equal_error_beats_the_standard_grids_and_refuses_bad_input():
    solver, x = sd.ExpAdams(2, corrector=True), starts(64, seed=1)
    times = sd.grids.equal_error(DENOISE, VP, 20, x)
    assert error(solver, times) < 0.6 * min(error(solver, sd.grids.make(g, VP, 20)) for g in ("karras", "exponential"))
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4"):
        sd.grids.equal_error(DENOISE, VP, 8, x, order=0)
    with pytest.raises(ValueError, match="t_end > 0"):
        sd.grids.equal_error(DENOISE, VP, 8, x, t_end=0.0)
