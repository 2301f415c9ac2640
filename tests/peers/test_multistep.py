"""Multistep solvers against diffusers and k-diffusion, in float64 at the schedulers' exact noise levels."""

import pytest
import torch

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion
from sdelab import orders
from sdelab.solvers.exponential import DPMpp3M
from sdelab.solvers.multistep import DEIS, IPNDM, LMS
from sdelab.solvers.pndm import PLMS, PNDM
from sdelab.solvers.unipc import UniPC

F64 = torch.float64
LAW = sd.distributions.ring()
VP = sd.process.VP()
DENOISE = LAW.denoiser(VP)
GRIDS = ("logsnr", "karras", "uniform")
STEPS = 9
X = LAW.at(VP, 0.95).sample(30, seed=1, dtype=F64)

pytestmark = [
    pytest.mark.usefixtures("double"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def times(grid: str) -> torch.Tensor:
    return sd.grids.make(grid, VP, STEPS, t_start=0.95, t_end=0.02)


def ours(solver, ts) -> torch.Tensor:
    return sd.solve(sd.Reverse(VP, DENOISE, 0.0), solver, X, ts)


def eps(x, D, t):
    return (x - VP.alpha(t) * D) / VP.sigma(t)


def theirs(scheduler, ts, predict=lambda x, D, t: D) -> torch.Tensor:
    """A run of a scheduler with ``sigmas`` on the given times; ``predict`` says what the network predicts."""
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = (-VP.lam(ts)).exp()
    scheduler.timesteps = torch.arange(STEPS, 0, -1)
    x = X
    for t, label in zip(ts.tolist(), scheduler.timesteps, strict=False):
        x = scheduler.step(predict(x, DENOISE(x, t), t), label, x).prev_sample
    return x


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order, kind, solver", [
    (1, "dpmsolver++", sd.ExpEuler()),
    (2, "dpmsolver++", sd.DPMpp2M()),
    (3, "dpmsolver++", DPMpp3M()),
    (2, "dpmsolver", sd.DPMpp2M(noise=True)),
    (3, "dpmsolver", DPMpp3M(noise=True)),
])  # fmt: skip
def test_dpm_solver_multistep(order, kind, solver, grid):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=order, algorithm_type=kind, prediction_type="sample", lower_order_final=False,
        final_sigmas_type="sigma_min",
    )  # fmt: skip
    close(ours(solver, times(grid)), theirs(scheduler, times(grid)))


@pytest.mark.parametrize("kind", ["dpmsolver++", "dpmsolver"])
def test_the_heun_variant_of_2m_is_the_exact_rule(kind):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=2, algorithm_type=kind, solver_type="heun", prediction_type="sample", lower_order_final=False,
        final_sigmas_type="sigma_min",
    )  # fmt: skip
    solver = sd.ExpAdams(2, noise=kind == "dpmsolver")
    close(ours(solver, times("karras")), theirs(scheduler, times("karras")))


def test_dpmpp_2m_of_k_diffusion_ends_with_denoising():
    """k-diffusion's 2M steps to sigma = 0 by one node there, which is our denoising step."""
    edm = sd.process.EDM()
    ts = sd.grids.karras(edm, STEPS, zero=True)
    denoise = LAW.denoiser(edm)
    x = 80 * sd.noise.normal((30, 2), 1, dtype=F64)
    run = k_diffusion().sample_dpmpp_2m(ModelK(denoise), x, ts, disable=True)
    close(sd.solve(sd.Reverse(edm, denoise, 0.0), sd.DPMpp2M(), x, ts), run)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order, grid):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DEISMultistepScheduler(solver_order=order, prediction_type="sample", lower_order_final=False)
    close(ours(DEIS(order), times(grid)), theirs(scheduler, times(grid)))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["bh1", "bh2"])
@pytest.mark.parametrize("noise", [False, True])
def test_unipc(order, kind, noise, grid):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order, solver_type=kind, predict_x0=not noise, prediction_type="sample", lower_order_final=False,
        final_sigmas_type="sigma_min",
    )  # fmt: skip
    close(ours(UniPC(order, kind == "bh2", noise), times(grid)), theirs(scheduler, times(grid)))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("key", ["unipc_{}", "deis_{}", "dpmpp_{}m", "dpm_solver_{}m"])
def test_lower_order_at_the_end(key, order, grid):
    """The default of diffusers' multistep schedulers (of DPM-Solver's below 15 steps)."""
    diffusers = pytest.importorskip("diffusers")
    name = {"u": "UniPC", "d": "DPMSolver"}[key[0]] if "deis" not in key else "DEIS"
    options = {} if name == "DEIS" else {"final_sigmas_type": "sigma_min"}
    if name == "DPMSolver":
        options["algorithm_type"] = "dpmsolver++" if "pp" in key else "dpmsolver"
    scheduler = getattr(diffusers, f"{name}MultistepScheduler")(
        solver_order=order, prediction_type="sample", lower_order_final=True, **options
    )
    row = sd.solvers.row(f"{key.format(order)}_low".replace("deis_2", "deis"))
    close(ours(row.make(), times(grid)), theirs(scheduler, times(grid)))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms(order, grid):
    """Both work on x/alpha with the noise level sigma/alpha."""
    diffusers = pytest.importorskip("diffusers")
    ts = times(grid)
    x, sigmas = X / VP.alpha(ts[0]), (-VP.lam(ts)).exp()

    def denoise(y, sigma):
        t = VP.t_of_lam(-torch.tensor(sigma).log())
        return DENOISE(VP.alpha(t) * y, float(t))

    run = k_diffusion().sample_lms(ModelK(denoise), x, sigmas, disable=True, order=order)
    close(ours(LMS(order), ts), VP.alpha(ts[-1]) * run)
    scheduler = diffusers.LMSDiscreteScheduler(prediction_type="sample")
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas, scheduler.timesteps, scheduler.is_scale_input_called = sigmas, torch.arange(STEPS, 0, -1), True
    for sigma, label in zip(sigmas.tolist(), scheduler.timesteps, strict=False):
        x = scheduler.step(denoise(x, sigma), label, x, order=order).prev_sample
    close(ours(LMS(order), ts), VP.alpha(ts[-1]) * x)


@pytest.mark.parametrize("grid", GRIDS)
def test_ipndm(grid):
    """Its network predicts v = alpha eps - sigma x_0, from which it takes eps = sigma x + alpha v."""
    diffusers = pytest.importorskip("diffusers")
    ts = times(grid)
    scheduler = diffusers.IPNDMScheduler()
    scheduler.set_timesteps(STEPS)
    scheduler.alphas, scheduler.betas = VP.alpha(ts), VP.sigma(ts)
    scheduler.timesteps = torch.arange(STEPS, 0, -1)
    x = X
    for t, label in zip(ts.tolist(), scheduler.timesteps, strict=False):
        D = DENOISE(x, t)
        x = scheduler.step(VP.alpha(t) * eps(x, D, t) - VP.sigma(t) * D, label, x).prev_sample
    close(ours(IPNDM(), ts), x)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("solver", [PLMS(), PNDM()])
def test_pndm(solver, grid):
    """A chain of 2 STEPS indices whose even ones are our times and whose odd ones their midpoints."""
    diffusers = pytest.importorskip("diffusers")
    ts = times(grid)
    chain = torch.stack([ts, torch.cat([(ts[1:] + ts[:-1]) / 2, ts[-1:]])], 1).flatten()[:-1].flip(0)
    scheduler = diffusers.PNDMScheduler(num_train_timesteps=2 * STEPS, skip_prk_steps=isinstance(solver, PLMS),
                                        steps_offset=2)  # fmt: skip
    scheduler.alphas_cumprod = VP.alpha(chain) ** 2
    scheduler.set_timesteps(STEPS)
    x, calls = X, 0
    for label in scheduler.timesteps.tolist():
        t = float(chain[label])
        x, calls = scheduler.step(eps(x, DENOISE(x, t), t), label, x).prev_sample, calls + 1
    assert calls == solver.calls(STEPS)
    close(ours(solver, ts), x)


def test_the_third_order_of_k_diffusion_is_second():
    """Measured on its own sample_dpmpp_3m_sde without noise, beside the exact rule, on Gaussian data."""
    edm = sd.process.EDM()
    denoise = orders.linear_problem(edm, 0.0).denoise
    x = torch.linspace(-2, 2, 5, dtype=F64)[:, None]
    steps = (240, 480, 960)

    def error(ts, out) -> float:
        start, end = float(ts[0]), float(ts[-1])
        growth = orders.spread(edm, end) / orders.spread(edm, start)
        return float((out - orders.MEAN - (x - orders.MEAN) * growth).abs().max())

    grids = [sd.grids.logsnr(edm, n, t_start=80.0, t_end=0.05) for n in steps]
    sample = k_diffusion().sample_dpmpp_3m_sde
    theirs = [
        error(ts, sample(ModelK(denoise), x, ts, disable=True, eta=0.0, noise_sampler=lambda *_: 0.0)) for ts in grids
    ]
    ours = [error(ts, sd.solve(orders.linear_problem(edm, 0.0), sd.ExpAdams(3), x, ts)) for ts in grids]
    assert orders.slope(steps, theirs) == pytest.approx(2, abs=0.15)
    assert orders.slope(steps, ours) == pytest.approx(3, abs=0.15)
    assert ours[-1] < theirs[-1] / 50


def test_a_weight_off_by_a_millionth_would_be_seen():
    diffusers = pytest.importorskip("diffusers")

    class Faulty(DEIS):
        def predict(self, step, k):
            first, *rest = super().predict(step, k)
            return [first * (1 + 1e-6), *rest]

    scheduler = diffusers.DEISMultistepScheduler(solver_order=3, prediction_type="sample", lower_order_final=False)
    with pytest.raises(AssertionError):
        close(ours(Faulty(3), times("karras")), theirs(scheduler, times("karras")))
