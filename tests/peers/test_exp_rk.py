"""Single-step DPM-Solvers against diffusers and k-diffusion, in float64 at the schedulers' exact noise levels."""

import itertools

import pytest
import torch

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion
from sdelab.solvers import DPMAdaptive, ExpRK, Singlestep
from sdelab.solvers.exp_rk import collocation3, dpm3, midpoint, trapezium

F64 = torch.float64
LAW = sd.distributions.ring()
VP, EDM = sd.process.VP(), sd.process.EDM()
DENOISE = LAW.denoiser(VP)
X = LAW.at(VP, 0.95).sample(30, seed=1, dtype=F64)
NOISE = 80 * sd.noise.normal((20, 2), 1, dtype=F64)

pytestmark = [
    pytest.mark.usefixtures("double"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def ours(solver, ts) -> torch.Tensor:
    return sd.solve(sd.Reverse(VP, DENOISE, 0.0), solver, X, ts)


def theirs(ts, order, kind, solver_type="midpoint", lower=False) -> torch.Tensor:
    """diffusers' single-step scheduler on the given times; ``lower``: a scheduler with lower_order_final."""
    diffusers = pytest.importorskip("diffusers")
    steps = len(ts) - 1
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        solver_order=order, algorithm_type=kind, solver_type=solver_type, prediction_type="sample",
        lower_order_final=lower, final_sigmas_type="sigma_min",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    assert scheduler.config.lower_order_final == lower
    scheduler.sigmas = (-VP.lam(ts)).exp()
    scheduler.timesteps = torch.arange(steps, 0, -1)
    x = X
    for t, label in zip(ts.tolist(), scheduler.timesteps, strict=False):
        x = scheduler.step(DENOISE(x, t), label, x).prev_sample
    return x


@pytest.mark.parametrize("grid", ["logsnr", "karras", "uniform"])
@pytest.mark.parametrize("kind, value", [("dpmsolver", "eps"), ("dpmsolver++", "D")])
@pytest.mark.parametrize("order, steps, lower", [
    (1, 5, False), (2, 6, False), (2, 6, True), (2, 7, True), (3, 9, False), (3, 9, True), (3, 10, True), (3, 11, True),
])  # fmt: skip
def test_singlestep_with_the_grids_own_nodes(order, steps, lower, kind, value, grid):
    """On any grid and under both policies for the end; the last block may be cut by the number of steps."""
    ts = sd.grids.make(grid, VP, steps, t_start=0.95, t_end=0.02)
    close(ours(Singlestep(order, value, lower), ts), theirs(ts, order, kind, lower=lower))


@pytest.mark.parametrize("order, steps", [(2, 8), (2, 9), (3, 9), (3, 10), (3, 11)])
def test_singlestep_to_zero_is_our_plain_policy(order, steps):
    """diffusers' run to sigma = 0 takes the last step by one node, whatever the block: our denoising step."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        solver_order=order, prediction_type="sample", lower_order_final=True, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    expected = [1 + j for j in Singlestep(order).places(steps - 1)]
    assert scheduler.order_list == [*expected, 1]


@pytest.mark.parametrize("kind, value", [("dpmsolver", "eps"), ("dpmsolver++", "D")])
@pytest.mark.parametrize("tableau, solver_type", [
    (midpoint(), "midpoint"), (trapezium(0.5), "heun"), (collocation3(), "heun"),
])  # fmt: skip
def test_inner_nodes_at_fractions_of_the_step(tableau, solver_type, kind, value):
    """On a grid uniform in lam diffusers' nodes lie at 1/2, or 1/3 and 2/3, of ours."""
    order, steps = tableau.order, 4
    fine = sd.grids.logsnr(VP, order * steps, t_start=0.95, t_end=0.02)
    close(ours(ExpRK(tableau, value), fine[::order]), theirs(fine, order, kind, solver_type))


def test_published_3s_differs_from_diffusers_in_the_second_inner_node():
    """The papers hold phi_2 there and diffusers phi_1/2, which is of the same order: close, and not the same."""
    fine = sd.grids.logsnr(VP, 12, t_start=0.95, t_end=0.02)
    gap = (ours(ExpRK(dpm3()), fine[::3]) - theirs(fine, 3, "dpmsolver++")).abs().max()
    assert 1e-6 < gap < 0.1


def test_dpmpp_2s():
    ts = sd.grids.karras(EDM, 9, zero=True)
    denoise = LAW.denoiser(EDM)
    run = k_diffusion().sample_dpmpp_2s_ancestral(ModelK(denoise), NOISE, ts, eta=0.0, disable=True)
    close(sd.solve(sd.Reverse(EDM, denoise, 0.0), sd.solvers.row("dpmpp_2s").make(), NOISE, ts), run)


@pytest.mark.parametrize("key", ["dpm_solver_1", "dpm_solver_2", "dpm_solver_3"])
def test_dpm_solver_steps(key):
    denoise = LAW.denoiser(EDM)
    peer = k_diffusion().DPMSolver(ModelK(denoise))
    step = getattr(peer, f"dpm_solver_{key[-1]}_step")
    x, ts = NOISE, sd.grids.karras(EDM, 5)
    for s, t in itertools.pairwise(ts):
        x, _ = step(x, peer.t(s), peer.t(t))
    close(sd.solve(sd.Reverse(EDM, denoise, 0.0), sd.solvers.row(key).make(), NOISE, ts), x)


@pytest.mark.parametrize("r", [0.25, 0.5, 1.0])
def test_dpm_solver_2_with_any_inner_node(r):
    denoise = LAW.denoiser(EDM)
    peer = k_diffusion().DPMSolver(ModelK(denoise))
    s, t = torch.tensor(20.0), torch.tensor(4.0)
    run, _ = peer.dpm_solver_2_step(NOISE, peer.t(s), peer.t(t), r1=r)
    close(sd.solve(sd.Reverse(EDM, denoise, 0.0), ExpRK(midpoint(r), "eps"), NOISE, [20.0, 4.0]), run)


@pytest.mark.parametrize("nfe", [1, 2, 3, 4, 6, 8, 15, 16, 20])
def test_dpm_fast_spends_the_same_budget(nfe):
    count = sd.NFE(LAW.denoiser(EDM))
    run = k_diffusion().sample_dpm_fast(ModelK(count), NOISE, EDM.t_min, EDM.T, nfe, disable=True)
    assert count.count == nfe
    out = sd.sample(count, EDM, NOISE, solver="dpm_fast", grid="exponential", nfe=nfe, final="stop")
    assert count.count == 2 * nfe
    close(out, run)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("rtol, first, pid", [
    (0.05, 0.05, (0.0, 1.0, 0.0)), (0.01, 3.0, (0.0, 1.0, 0.0)), (0.01, 3.0, (0.2, 0.7, 0.1)),
])  # fmt: skip
def test_dpm_adaptive(order, rtol, first, pid):
    """The same accepted and rejected steps on one sample, where the error over the batch means the same."""
    denoise = sd.NFE(lambda x, t: LAW.denoiser(EDM)(x.view(-1, 2), t).view(1, -1))
    x = NOISE.reshape(1, -1)
    run, info = k_diffusion().sample_dpm_adaptive(
        ModelK(denoise), x, EDM.t_min, EDM.T, disable=True, order=order, rtol=rtol, h_init=first,
        pcoeff=pid[0], icoeff=pid[1], dcoeff=pid[2], return_info=True,
    )  # fmt: skip
    solver, denoise.count = DPMAdaptive(order, rtol=rtol, first=first, pid=pid), 0
    out = sd.solve(sd.Reverse(EDM, denoise, 0.0), solver, x, [EDM.T, EDM.t_min])
    assert (solver.accepted, solver.rejected) == (info["n_accept"], info["n_reject"])
    assert solver.rejected > 0
    assert denoise.count == info["nfe"] - info["n_reject"]  # after a rejection eps is known
    close(out, run)
