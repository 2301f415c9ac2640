"""sd.path: the Brownian path that drives a solver, on its own clock, made for one run and shared by others."""

import pytest
import torch

import sdelab as sd

F64 = torch.float64
PROCESS = sd.process.VP()
FINE, COARSE = (sd.grids.logsnr(PROCESS, steps, t_start=0.9, t_end=0.05) for steps in (48, 12))
X = sd.noise.normal((40, 2), 1, dtype=F64)
NOISY = [row for row in sd.solvers.table if row.stochastic]


def equation(eta=1.0):
    return sd.Reverse(PROCESS, sd.distributions.gaussian((1.0, -1.0), 0.5).denoiser(PROCESS), eta)


@pytest.mark.parametrize("row", [row for row in NOISY if row.strong], ids=lambda row: row.key)
def test_one_path_drives_fine_and_coarse_runs(row):
    """A coarse run on the path comes nearer to the fine one than a run on another path, by far."""
    own, other = (sd.path(equation(row.eta), row.make(), X, FINE, seed) for seed in (3, 4))
    run = lambda path, times: sd.solve(equation(row.eta), row.make(), X, times, brownian=path)  # noqa: E731
    fine = run(own, FINE)
    near, far = ((run(path, COARSE) - fine).norm(dim=1).mean() for path in (own, other))
    assert near < 0.5 * far
    assert torch.equal(fine, run(sd.path(equation(row.eta), row.make(), X, FINE, 3), FINE))
    split = sd.path(equation(row.eta), row.make(), X[30:], FINE, 3, first=30)
    assert torch.equal(sd.solve(equation(row.eta), row.make(), X[30:], FINE, brownian=split), fine[30:])


@pytest.mark.parametrize(
    "row", [row for row in NOISY if not row.strong and row.key != "adaptive_em"], ids=lambda r: r.key
)
def test_what_no_path_drives_is_refused(row):
    with pytest.raises(ValueError, match=r"no Brownian path drives|draws no noise"):
        sd.path(equation(row.eta), row.make(), X, FINE, 3)


def test_the_knots_are_what_the_run_asks_for(monkeypatch):
    monkeypatch.setattr(sd.brownian, "_AHEAD", 1)
    for key, per_step in (("euler_maruyama", 1), ("ddpm", 1), ("dpmpp_sde", 2), ("seeds_3", 3)):
        row = sd.solvers.row(key)
        path, asked, keys = sd.path(equation(), row.make(), X, FINE, 3), [], []
        assert isinstance(path, sd.Brownian)
        spied = lambda ks, draw=path._draw, keys=keys: keys.extend(ks) or draw(ks)  # noqa: E731
        monkeypatch.setattr(path, "_draw", spied)
        spy = lambda a, b, path=path, asked=asked: asked.append((a, b)) or path(a, b)  # noqa: E731
        sd.solve(equation(), row.make(), X, FINE, brownian=spy)
        assert len(asked) == per_step * 48 and len(keys) <= 1.4 * len(asked), key


def test_general_equations_and_grids_that_end_at_zero():
    gbm, times = sd.GBM(0.3, 0.5), torch.linspace(0, 1, 9, dtype=F64)
    x = X.abs() + 0.5
    path = sd.path(gbm, sd.Milstein(), x, times, 3)
    exact = gbm.exact_path(x, 1.0, path(0.0, 1.0))
    assert (sd.solve(gbm, sd.Milstein(), x, times, brownian=path) - exact).abs().mean() < 0.05
    zero = sd.grids.karras(PROCESS, 8, zero=True)
    on_zero = sd.path(equation(), sd.ExpEuler(), X, zero, 3)
    assert torch.isfinite(sd.solve(equation(), sd.ExpEuler(), X, zero, brownian=on_zero)).all()
    flow = sd.process.make("flow")  # alpha = 0 at the start: the clock begins at 0
    reverse = sd.Reverse(flow, lambda x, t: 0.5 * x, 1.0)
    whole = sd.grids.uniform(flow, 6, t_start=1.0)
    steps = sd.path(reverse, sd.ExpEuler(), X, whole, 3)
    assert torch.isfinite(sd.solve(reverse, sd.ExpEuler(), X, whole, brownian=steps)).all()


def test_bad_input():
    with pytest.raises(ValueError, match="draws no noise"):
        sd.path(equation(0.0), sd.ExpEuler(), X, FINE, 3)
    with pytest.raises(TypeError, match="solver must be a solver object"):
        sd.path(equation(), "ddpm", X, FINE, 3)
    with pytest.raises(TypeError, match="seed must be an int"):
        sd.path(equation(), sd.ExpEuler(), X, FINE, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times must decrease"):
        sd.path(equation(), sd.ExpEuler(), X, FINE.flip(0), 3)
