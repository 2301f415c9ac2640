"""AMED: the same as DPM2 until it has learned, exact where one number a step is enough, better on fresh starts."""

import itertools

import pytest
import torch

import sdelab as sd
from sdelab.solvers import DPM2
from sdelab.solvers.amed import AMED, fit_amed

F64 = torch.float64
RING = sd.distributions.ring()


def problem(name, steps, law, rows, seed):
    process = sd.process.make(name)
    x = sd.noise.prior(process, (rows, len(law.means[0])), seed=seed, dtype=F64)
    return sd.Reverse(process, law.denoiser(process), 0.0), x, sd.grids.logsnr(process, steps)


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
def test_unlearned_it_is_dpm_2(name):
    process = sd.process.make(name)
    equation, x = sd.Reverse(process, RING.denoiser(process), 0.0), sd.noise.normal((9, 2), 1, dtype=F64)
    times = sd.grids.uniform(process, 7)
    torch.testing.assert_close(sd.solve(equation, AMED(), x, times), sd.solve(equation, DPM2(), x, times))
    learned = AMED([0.5] * 7, [1.0] * 7)
    torch.testing.assert_close(sd.solve(equation, learned, x, times), sd.solve(equation, DPM2(), x, times))


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_exact_on_a_gaussian_about_zero(name):
    """There every step of the ODE multiplies x by a number, so c alone makes the step the teacher's, whatever q is."""
    law = sd.distributions.gaussian((0.0,), 0.3)
    equation, x, times = problem(name, 3, law, 200, 3)
    process = equation.process
    solver = fit_amed(equation, sd.noise.prior(process, (16, 1), seed=1, dtype=F64), times, fine=400)

    def spread(t):
        return (process.alpha(t) ** 2 * 0.3**2 + process.var(t)).sqrt()

    exact = x * spread(float(times[-1])) / spread(float(times[0]))
    ours, plain = (sd.solve(equation, s, x, times) for s in (solver, DPM2()))
    assert float((ours - exact).abs().max()) < 1e-4 < 1e-2 < float((plain - exact).abs().max())


@pytest.mark.parametrize("name", ["vp", "edm"])
@pytest.mark.parametrize("steps", [3, 5])
def test_better_on_fresh_starts(name, steps):
    """Learned on 128 starts, the error of others falls below a quarter of DPM2's; c is off by nothing that helps."""
    equation, x, times = problem(name, steps, RING, 1000, 9)
    calls = sd.NFE(equation.denoise)
    counted = sd.Reverse(equation.process, calls, 0.0)
    given = sd.noise.prior(equation.process, (128, 2), seed=1, dtype=F64)
    solver = fit_amed(counted, given, times, fine=16, trials=24)
    assert calls.count == steps * (2 * 16 + 1 + 24 + 2)  # the teacher, eps at the start, trials, the student

    def error(solver, x, fine=80):
        lams = [torch.linspace(*ends, fine + 1, dtype=F64)[:-1] for ends in itertools.pairwise(lam)]
        knots = [*equation.process.t_of_lam(torch.cat(lams)).tolist(), float(times[-1])]
        truth = sd.solve(equation, DPM2(), x, knots)
        return float((sd.solve(equation, solver, x, times) - truth).square().sum(1).mean().sqrt())

    lam = equation.process.lam(times).tolist()
    assert error(solver, x) < 0.25 * error(DPM2(), x)
    assert solver.q is not None and solver.c is not None
    for factor in (0.97, 1.03):
        worse = AMED(solver.q, [*solver.c[:-1], factor * solver.c[-1]])
        assert error(worse, given, 16) > error(solver, given, 16)


@pytest.mark.parametrize("ends", [(1.0, 0.5), (0.7, 0.2), (0.4, 0.01)])
def test_few_trials_find_the_best_node(ends):
    """One long step: a scan of 60 nodes, c by least squares in x itself, finds nothing better than the search did."""
    process = sd.process.VP()
    equation = sd.Reverse(process, RING.denoiser(process), 0.0)
    x = process.perturb(RING.sample(128, seed=1).double(), ends[0], sd.noise.normal((128, 2), 2, dtype=F64))
    solver = fit_amed(equation, x, ends)
    first, last = (float(process.lam(t)) for t in ends)
    lams = torch.linspace(first, last, 17, dtype=F64)[1:-1]
    truth = sd.solve(equation, DPM2(), x, [ends[0], *process.t_of_lam(lams).tolist(), ends[1]])

    def error(q):  # the step is affine in c: two runs tell which is best
        none, one = (sd.solve(equation, AMED([q], [c]), x, ends) for c in (0.0, 1.0))
        c = ((truth - none) * (one - none)).sum() / (one - none).square().sum()
        return float((none + c * (one - none) - truth).square().sum())

    found = float((sd.solve(equation, solver, x, ends) - truth).square().sum())
    assert found < 1.001 * min(error(q) for q in torch.linspace(0.01, 0.99, 60).tolist())


def test_a_last_time_of_zero_is_left_out():
    equation, x, times = problem("vp", 3, RING, 8, 2)
    zero = [*times.tolist(), 0.0]
    solver = fit_amed(equation, x, zero, fine=4, trials=8)
    assert solver.q is not None and len(solver.q) == 3 and sd.solve(equation, solver, x, zero).isfinite().all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda ode, x: AMED([0.5]), "for every step, or neither"),
        (lambda ode, x: AMED([0.5], [1.0, 1.0]), "for every step, or neither"),
        (lambda ode, x: AMED([1.0], [1.0]), "inside"),
        (
            lambda ode, x: sd.solve(ode, AMED([0.5], [1.0]), x, [0.9, 0.5, 0.1]),
            "has learned 1 steps, and the run has 2",
        ),
        (lambda ode, x: fit_amed(sd.Reverse(ode.process, ode.denoise), x, [0.9, 0.5]), "use eta=0"),
        (lambda ode, x: fit_amed(ode, x, [0.9, 0.0]), "times must decrease"),
        (lambda ode, x: fit_amed(ode, x, [0.5, 0.9]), "times must decrease"),
        (lambda ode, x: fit_amed(ode, x * float("nan"), [0.9, 0.5]), "NaN"),
    ],
)
def test_errors(call, message):
    process = sd.process.VP()
    with pytest.raises(ValueError, match=message):
        call(sd.Reverse(process, RING.denoiser(process), 0.0), torch.ones(3, 2, dtype=F64))
