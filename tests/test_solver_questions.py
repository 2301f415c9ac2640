"""What the page of solvers answers under "Questions that come up" (inversion: test_invertible.py)."""

import math

import pytest
import torch

import sdelab as sd
from sdelab.process import Process

F64 = torch.float64
LAW = sd.distributions.ring()
VP = sd.process.VP()


def sampled(key, process: Process = VP, n=64, grid="karras"):
    x_T = sd.noise.prior(process, (n, 2), seed=1, dtype=F64)
    return sd.sample(LAW.denoiser(process), process, x_T, solver=key, grid=grid, steps=12, seed=3)


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
@pytest.mark.parametrize("grid", ["karras", "uniform"])
def test_euler_is_ddim(name, grid):
    process = sd.process.make(name)
    ddim = sampled("ddim", process, grid=grid)
    torch.testing.assert_close(sampled("edm_euler", process, grid=grid), ddim, rtol=1e-10, atol=1e-10)
    in_t = float((sampled("euler", process, grid=grid) - ddim).abs().max())
    assert in_t < 1e-10 if name in ("edm", "flow") else in_t > 0.01


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
def test_euler_a_is_ddpm(name):
    process = sd.process.make(name)
    ddpm = sampled("ddpm", process)
    for key in ("euler_ancestral", "ancestral"):
        torch.testing.assert_close(sampled(key, process), ddpm, rtol=1e-10, atol=1e-10)
    assert float((sampled("ddpm_large", process) - ddpm).abs().max()) > 0.01


@pytest.mark.parametrize(("key", "each"), [("dpmpp_2m", 1), ("edm_heun", 2), ("rk4", 4), ("pndm", 1)])
def test_steps_are_not_calls(key, each):
    """The page's figures are Row.calls(steps - 1) + 1."""
    counter = sd.NFE(LAW.denoiser(VP))
    sd.sample(counter, VP, sd.noise.prior(VP, (4, 2), seed=0, dtype=F64), solver=key, steps=20, progress=False)
    assert counter.count == sd.solvers.row(key).calls(19) + 1
    assert counter.count == 19 * each + 1 if key != "pndm" else counter.count > 20


def test_what_the_last_step_leaves():
    """D(x_s, s) misses the end of the ODE by O(r^2), r = sigma_s/alpha_s; at r itself, noise of that size is left."""
    denoise, ode = LAW.denoiser(VP), sd.Reverse(VP, LAW.denoiser(VP), 0.0)
    x_T = sd.noise.prior(VP, (200, 2), seed=1, dtype=F64)

    def arrived(r):
        t = float(VP.t_of_lam(torch.tensor(-math.log(r), dtype=F64)))
        times = sd.grids.logsnr(VP, 300, t_end=t)
        return sd.solve(ode, sd.solvers.row("deis_rhork_4").make(), x_T, times), t

    truth = denoise(*arrived(1e-6))
    errors = [float((denoise(*arrived(r)) - truth).norm(dim=1).mean()) for r in (0.02, 0.01)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    keys = ("ddim", "dpmpp_2m", "edm_heun", "ddpm", "euler_maruyama")
    for key in keys:  # the last step is the denoiser's, whatever the solver, and brings no noise
        row = sd.solvers.row(key)
        times = sd.grids.karras(VP, 8, zero=True)
        (*_, (s, before), (end, x)) = sd.trajectory(sd.Reverse(VP, denoise, row.eta), row.make(), x_T, times, seed=2)
        assert end == 0 and torch.equal(x, denoise(before, s))


def joint(key, n=4000, steps=80, middle=48):
    """Correlation of the states at two times, at which Gaussian data of deviation 1/2 are sampled."""
    law = sd.distributions.GaussianMixture([1.0], torch.zeros(1, 2), 0.5)
    row, times = sd.solvers.row(key), sd.grids.logsnr(VP, steps)
    equation = sd.Reverse(VP, law.denoiser(VP), row.eta)
    x_T = sd.noise.prior(VP, (n, 2), seed=5, dtype=F64)
    states = [x for _, x in sd.trajectory(equation, row.make(), x_T, times, seed=6, progress=False)]
    found = torch.corrcoef(torch.stack([states[middle].flatten(), states[-1].flatten()]))[0, 1]
    s, t = (float(VP.sigma(times[k]) / VP.alpha(times[k])) for k in (middle, -1))
    return float(found), math.sqrt((0.25 + t**2) / (0.25 + s**2))  # the forward process adds independent noise to y


@pytest.mark.parametrize("key", "ddpm euler_ancestral dpmpp_sde dpmpp_2m_sde seeds_2 sa_solver".split())
def test_samplers_that_solve_the_reverse_sde(key):
    found, forward = joint(key)
    assert found == pytest.approx(forward, abs=0.04)


@pytest.mark.parametrize(("key", "sign"), [("er_sde_3", 1), ("flow_sde", 1), ("edm_heun_churn", -1), ("restart", -1)])
def test_samplers_with_less_and_with_more_noise(key, sign):
    found, forward = joint(key)
    assert sign * (found - forward) > 0.05


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (0.01, 80.0)])
def test_a_brownian_path_one_ulp_outside(t0, t1):
    path = sd.Brownian((3,), t0, t1, seed=0, dtype=F64)
    middle, span = 0.3 * t1, t1 - t0
    for outside in (math.nextafter(t1, math.inf), t1 + 0.9e-9 * span):
        assert torch.equal(path(middle, outside), path(middle, t1))
    assert torch.equal(path(math.nextafter(t0, -math.inf), middle), path(t0, middle))
    with pytest.raises(ValueError, match="covers"):
        path(middle, t1 + 1.1e-9 * span)


@pytest.mark.parametrize("key", ["dpmpp_2m", "unipc", "lms", "pndm", "ab4", "restart"])
def test_no_history_outlives_a_run(key):
    solver, ode = sd.solvers.row(key).make(), sd.Reverse(VP, LAW.denoiser(VP), 0.0)
    x, times = sd.noise.prior(VP, (8, 2), seed=1, dtype=F64), sd.grids.karras(VP, 10)
    first = sd.solve(ode, solver, x, times, seed=1)
    sd.solve(ode, solver, -x, times[:6], seed=1)
    assert torch.equal(sd.solve(ode, solver, x, times, seed=1), first)


def test_the_history_in_diffusers_scheduler():
    scheduler = pytest.importorskip("diffusers").DPMSolverMultistepScheduler()
    scheduler.set_timesteps(10)

    def run():
        x = torch.linspace(-1, 1, 6, dtype=F64)
        for t in scheduler.timesteps[:5]:
            x = scheduler.step(torch.tanh(x), t, x).prev_sample
        return x

    first = run()
    assert float((run() - first).abs().max()) > 0.1
    scheduler.set_timesteps(10)
    assert torch.equal(run(), first)


@pytest.mark.parametrize("key", ["ddpm", "dpmpp_sde", "dpmpp_2m_sde"])
def test_samples_of_a_split_batch(key):
    whole = sampled(key, n=30)
    x_T = sd.noise.prior(VP, (30, 2), seed=1, dtype=F64)
    denoise = LAW.denoiser(VP)
    rest = sd.sample(denoise, VP, x_T[11:], solver=key, steps=12, seed=3, first=11)
    assert torch.equal(rest, whole[11:]) and torch.equal(sd.noise.prior(VP, (19, 2), 1, 11, F64), x_T[11:])
