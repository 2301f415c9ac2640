"""What the page "which sampler" answers under "Questions that come up", where no other test does already."""

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


def weights(key: str, grid: str, steps: int = 8) -> tuple[list[float], float]:
    """(what each call's answer weighs in the end, the last step over the one before), of a run down to t_min."""
    times = sd.grids.make(grid, VP, steps)
    found = []
    for one in range(steps):
        calls = iter(range(steps))

        def spike(x, t, calls=calls, one=one):
            return torch.full_like(x, float(next(calls) == one))

        x = sd.solve(sd.Reverse(VP, spike, 0.0), sd.solvers.row(key).make(), torch.zeros(1, 1, dtype=F64), times)
        found.append(float(x) / float(VP.alpha(times[-1])))
    h = VP.lam(times).diff()
    return found, float(h[-1] / h[-2])


@pytest.mark.parametrize("grid", ["uniform", "beta", "karras", "exponential"])
def test_a_long_last_step_makes_a_multistep_solver_wobble(grid):
    """DPM++ 2M takes 1 + q/2 of the last answer and -q/2 of the one before, q the ratio of the steps in lam: errors of
    the network that differ from call to call come out larger. DDIM and a lower order at the end average them."""
    found, q = weights("dpmpp_2m", grid)
    h = float(VP.lam(sd.grids.make(grid, VP, 8)).diff()[-1])
    assert found[-1] == pytest.approx(-math.expm1(-h) * (1 + q / 2), rel=1e-9)
    size = {key: sum(map(abs, weights(key, grid)[0])) for key in ("ddim", "dpmpp_2m", "exp_adams_3", "dpmpp_2m_low")}
    assert size["ddim"] == pytest.approx(sum(weights("ddim", grid)[0]), rel=1e-12) and size["ddim"] < 1
    assert size["ddim"] < size["dpmpp_2m_low"] < 1.1 < size["exp_adams_3"] and size["dpmpp_2m"] < size["exp_adams_3"]
    if grid in ("uniform", "beta"):
        assert q > 2.5 and size["dpmpp_2m"] > 3 and size["exp_adams_3"] > 15
    if grid == "exponential":
        assert q == pytest.approx(1, rel=1e-9) and size["dpmpp_2m"] < 1.1


def test_a_network_that_is_told_one_knot_too_late():
    """Timestep n of the tools is knot n + 1 of the chain. Told n instead, the denoiser mistakes the noise, the more so
    where there is little of it; and "leading" does not start where the noise was drawn."""
    chain = sd.process.DiscreteBetas()
    betas = chain.betas.double()
    torch.testing.assert_close(chain.alpha(torch.arange(1, 1001) / 1000.0).double() ** 2, (1 - betas).cumprod(0))
    law = sd.distributions.GaussianMixture([1.0], torch.zeros(1, 2), 0.05)
    x_T = sd.noise.prior(chain, (4000, 2), seed=1, dtype=F64)
    denoise, spread = law.denoiser(chain), {}
    for knots in (0, 1, 2):

        def told(x, t, knots=knots):
            return denoise(x, min(float(t) + knots / 1000, 1.0))

        out = sd.sample(told, chain, x_T, solver="dpmpp_2m", grid="linspace", steps=200)
        spread[knots] = float(out.std()) / 0.05
    assert spread[0] == pytest.approx(1, abs=0.05)
    assert spread[1] < 0.93 and spread[2] < 0.82  # fine detail shrinks by a tenth a knot
    first = {grid: float(sd.grids.make(grid, chain, 20, zero=True)[0]) for grid in ("leading", "trailing", "linspace")}
    assert first == pytest.approx({"leading": 0.952, "trailing": 1.0, "linspace": 1.0})


@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
def test_timesteps_of_diffusers_are_knots_less_one(spacing, offset):
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(20)
    parameters = {"offset": offset} if spacing == "leading" else {}
    chain = sd.process.DiscreteBetas()
    steps = 19 if spacing == "linspace" else 20
    ours = sd.grids.make(spacing, chain, steps, **({} if spacing == "linspace" else {"zero": True}), **parameters)[:20]
    assert (ours * 1000 - 1).round().long().tolist() == scheduler.timesteps.tolist()


class Foreign(torch.nn.Module):
    """An SDE as torchsde asks for it: f(t, x), g(t, x), time running forward."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, f, g):
        super().__init__()
        self.f, self.g = f, lambda t, x: g(float(t)) * torch.ones_like(x)


def test_the_reverse_sde_in_a_library_that_only_runs_forward():
    """With s = T - t the drift turns its sign and the noise does not. Whatever is forgotten shows in the spread."""
    torchsde = pytest.importorskip("torchsde")
    law, T, end = sd.distributions.GaussianMixture([1.0], torch.zeros(1, 2), 0.5), 1.0, 0.02
    sde, ode = (sd.Reverse(VP, law.denoiser(VP), eta) for eta in (1.0, 0.0))
    x = sd.noise.prior(VP, (4000, 2), seed=1, dtype=F64)

    def g(t):
        return float(VP.g(t))

    def spread(f, g, ts=(0.0, T - end)):
        path = torchsde.BrownianInterval(min(ts), max(ts), size=x.shape, dtype=F64, entropy=3)
        times = torch.tensor(ts, dtype=F64)
        return float(torchsde.sdeint(Foreign(f, g), x, times, bm=path, method="euler", dt=(T - end) / 200)[-1].std())

    truth = float(law.at(VP, end).cov[0, 0].sqrt())
    assert spread(lambda s, x: -sde.drift(x, T - float(s)), lambda s: g(T - s)) == pytest.approx(truth, rel=0.03)
    wrong = {
        "the sign": spread(lambda s, x: sde.drift(x, T - float(s)), lambda s: g(T - s)),
        "the clock": spread(lambda s, x: -sde.drift(x, end + float(s)), lambda s: g(end + s)),
        "the ODE's drift": spread(lambda s, x: -ode.drift(x, T - float(s)), lambda s: g(T - s)),
    }
    assert all(value > 1.5 * truth for value in wrong.values()), wrong
    with pytest.raises(ValueError, match="increasing"):
        spread(lambda s, x: sde.drift(x, float(s)), g, ts=(T, end))
    assert torch.tensor(-(T - end) / 200).sqrt().isnan()  # a negative dt under the root


def test_times_that_run_the_wrong_way_are_refused():
    ode, x = sd.Reverse(VP, LAW.denoiser(VP), 0.0), torch.zeros(2, 2, dtype=F64)
    with pytest.raises(ValueError, match="data at 0, noise at T"):
        sd.solve(ode, sd.Euler(), x, [VP.t_min, VP.T])


def test_a_velocity_with_the_other_sign_runs_away():
    """Euler on the straight flow, with the velocity of t and with that of 1 - t taken for it."""
    flow = sd.process.RectifiedFlow()
    denoise, x_T = LAW.denoiser(flow), sd.noise.prior(flow, (500, 2), seed=1, dtype=F64)
    ends = {}
    for sign in (1, -1):
        x, times = x_T, torch.linspace(1, 0, 51, dtype=F64)
        for t, dt in zip(times[:-1].tolist(), times.diff().tolist(), strict=True):
            x = x + sign * dt * sd.targets.convert(denoise(x, t), x, t, flow, "x0", "velocity")
        ends[sign] = float(x.norm(dim=1).mean())
    assert ends[1] == pytest.approx(1.4, abs=0.05) and ends[-1] > 2


def test_fresh_noise_gives_another_picture_and_one_path_the_same():
    x_T = sd.noise.prior(VP, (200, 2), seed=1, dtype=F64)
    equation = sd.Reverse(VP, LAW.denoiser(VP), 1.0)
    fine = sd.grids.make("exponential", VP, 400, zero=True)
    path = sd.path(equation, sd.solvers.row("dpmpp_2m_sde").make(), x_T, fine, 3)

    def on_path(steps):
        times = sd.grids.make("exponential", VP, steps, zero=True)
        return sd.solve(equation, sd.solvers.row("dpmpp_2m_sde").make(), x_T, times, brownian=path)

    truth, apart = on_path(400), lambda a, b: float((a - b).norm(dim=1).mean())
    fresh = [sd.sample(LAW.denoiser(VP), VP, x_T, solver="dpmpp_2m_sde", grid="exponential", steps=400, seed=s)
             for s in (1, 2)]  # fmt: skip
    near = [apart(on_path(steps), truth) for steps in (25, 100)]
    assert near[1] < near[0] / 2 < 0.5 * apart(*fresh)
