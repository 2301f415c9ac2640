"""The family in sigma/alpha, ancestral steps, churn and Restart: by hand, by identities, and their errors."""

import itertools
import math

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.solvers import ancestral
from sdelab.solvers.ancestral import Ancestral
from sdelab.solvers.exp_rk import ExpRK, midpoint
from sdelab.solvers.sigma import DPM2, HeunPP2, SigmaRK, TwoStage
from sdelab.solvers.wrappers import Churn, Restart

F64 = torch.float64
LAW = sd.distributions.ring()
PROCESSES = ("vp", "edm", "flow", "cosine", "subvp", "ve")


def problem(name, steps=7, eta=0.0, zero=False):
    process = sd.process.make(name)
    times = sd.grids.logsnr(process, steps, t_start=0.97 * process.T, zero=zero)
    x = sd.noise.prior(process, (9, 2), seed=5, dtype=F64)
    return sd.Reverse(process, LAW.denoiser(process), eta), x, times


class Hand:
    """The same problem in y = x/alpha and r = sigma/alpha, as a user of EDM would write it: dy/dr = (y - D)/r."""

    def __init__(self, equation, times):
        self.process, self.equation, self.times = equation.process, equation, times
        self.r = [self.ratio(t) for t in times.tolist()]

    def ratio(self, t):
        return float(self.process.sigma(t) / self.process.alpha(t)) if t else 0.0

    def time(self, r):
        return float(self.process.t_of_lam(torch.tensor(-math.log(r), dtype=F64)))

    def D(self, y, r):
        t = self.time(r)
        return self.equation.denoise(self.process.alpha(t) * y, t)

    def slope(self, y, r):
        return (y - self.D(y, r)) / r

    def start(self, x):
        return x / self.process.alpha(self.times[0])

    def end(self, y):
        return y * self.process.alpha(self.times[-1])


def close(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def heun(hand, y, r, to):
    d = hand.slope(y, r)
    return y + (to - r) * (d + hand.slope(y + (to - r) * d, to)) / 2


@pytest.mark.parametrize("name", PROCESSES)
def test_steps_by_hand(name):
    """Heun, the two-stage family and DPM2 in y and r, on every process."""
    equation, x, times = problem(name)
    hand = Hand(equation, times)

    def two_stage(a):
        def step(y, r, to):
            d, h = hand.slope(y, r), to - r
            return y + h * ((1 - 0.5 / a) * d + 0.5 / a * hand.slope(y + a * h * d, r + a * h))

        return step

    def dpm_2(y, r, to):
        middle = math.sqrt(r * to)
        return y + (to - r) * hand.slope(y + (middle - r) * hand.slope(y, r), middle)

    by_hand = {SigmaRK: lambda y, r, to: heun(hand, y, r, to), TwoStage: two_stage(2 / 3), DPM2: dpm_2}
    by_hand |= {lambda: TwoStage(0.5): two_stage(0.5), lambda: TwoStage(0.3): two_stage(0.3)}
    for make, step in by_hand.items():
        y = hand.start(x)
        for r, to in itertools.pairwise(hand.r):
            y = step(y, r, to)
        close(sd.solve(equation, make(), x, times), hand.end(y))


@pytest.mark.parametrize("tableau", [sd.Euler, sd.Heun, sd.RK4, sd.Bosh3, sd.Dopri5])
def test_on_edm_clock_sigma_is_time(tableau):
    equation, x, times = problem("edm")
    close(sd.solve(equation, SigmaRK(tableau), x, times), sd.solve(equation, tableau(), x, times), 1e-8)
    assert (SigmaRK(tableau).order, SigmaRK(tableau).nfe) == (tableau.order, tableau().nfe)


@pytest.mark.parametrize("name", PROCESSES)
def test_identities(name):
    """Euler in r is DDIM; the two-stage family has names; Euler a is DDPM at eta = 1; without noise all is ODE."""
    equation, x, times = problem(name, zero=True)
    close(sd.solve(equation, SigmaRK(sd.Euler), x, times), sd.solve(equation, sd.ExpEuler(), x, times))
    for a, tableau in ((1.0, sd.Heun), (2 / 3, sd.solvers.Ralston), (0.5, sd.solvers.Midpoint)):
        close(sd.solve(equation, TwoStage(a), x, times), sd.solve(equation, SigmaRK(tableau), x, times), 1e-12)
    close(sd.solve(equation, Ancestral(DPM2()), x, times), sd.solve(equation, DPM2(), x, times), 1e-12)
    close(sd.solve(equation, Churn(DPM2(), 0.0), x, times, seed=1), sd.solve(equation, DPM2(), x, times), 1e-12)
    sde = problem(name, eta=1.0)[0]
    close(sd.solve(sde, Ancestral(), x, times, seed=1), sd.solve(sde, sd.ExpEuler(), x, times, seed=1))


@pytest.mark.parametrize("name", ["vp", "flow"])
@pytest.mark.parametrize("eta", [0.4, 1.0, 1.5])
def test_euler_a_is_ddim_with_its_own_eta(name, eta):
    """x_t = alpha_t D + sqrt(sigma_t^2 - std^2) eps + std z, std = eta (sigma_t/sigma_s) std(x_s | x_t) <= sigma_t."""
    equation, x, times = problem(name, 5, eta)
    process = equation.process
    y = x
    for n, (s, t) in enumerate(itertools.pairwise(times.tolist())):
        std = min(eta * process.sigma(t) / process.sigma(s) * process.transition(t, s)[1], process.sigma(t))
        z = sd.noise.normal(x.shape, 3, (sd.noise.STEP, n), dtype=F64)
        eps, D = equation.eps(y, s), equation.denoise(y, s)
        y = process.alpha(t) * D + (process.var(t) - std**2).clamp(min=0).sqrt() * eps + std * z
    close(sd.solve(equation, Ancestral(), x, times, seed=3), y)


def test_ancestral_steps_down_and_diffuses_up():
    """DPM++ 2S a as two runs: the ODE solver to r_down, then the forward kernel of the process back up to t."""
    equation, x, times = problem("vp", 5, 0.8)
    process, ode = equation.process, problem("vp")[0]
    y = x
    for n, (s, t) in enumerate(itertools.pairwise(times.tolist())):
        r_s, r_t = (float((-process.lam(v)).exp()) for v in (s, t))
        r_up = min(r_t, 0.8 * math.sqrt(r_t**2 * (r_s**2 - r_t**2) / r_s**2))
        down = float(process.t_of_lam(torch.tensor(-math.log(math.sqrt(r_t**2 - r_up**2)), dtype=F64)))
        y = sd.solve(ode, ExpRK(midpoint()), y, [s, down])
        a, std = process.transition(down, t)
        y = a * y + std * sd.noise.normal(x.shape, 3, (sd.noise.STEP, n), dtype=F64)
    close(sd.solve(equation, Ancestral(ExpRK(midpoint())), x, times, seed=3), y)


def test_large_eta_asks_for_the_level_zero():
    """Above eta = 1 a long step goes down to D itself: one network call, and all of the noise is new."""
    process = sd.process.VP()
    count = sd.NFE(LAW.denoiser(process))
    equation, x = sd.Reverse(process, count, 3.0), torch.ones(4, 2, dtype=F64)
    out = sd.solve(equation, Ancestral(DPM2()), x, [0.9, 0.5], seed=3)
    z = sd.noise.normal(x.shape, 3, (sd.noise.STEP, 0), dtype=F64)
    assert count.count == 1
    close(out, process.alpha(0.5) * equation.denoise(x, 0.9) + process.sigma(0.5) * z, 1e-12)


START = [(make, 0.0) for make in (SigmaRK, DPM2, HeunPP2, TwoStage, Restart, Churn)]


@pytest.mark.parametrize("make, eta", [*START, (Ancestral, 0.0), (Ancestral, 0.5), (Ancestral, 1.0)])
def test_alpha_zero_at_the_start(make, eta):
    """Rectified flow at t = 1, where r is infinite: the first step is exact for a point mass, whatever the solver."""
    process = sd.process.RectifiedFlow()
    ode = sd.Reverse(process, lambda x, t: torch.full_like(x, 0.4), eta)
    x = sd.noise.normal((5, 1), 1, dtype=F64)
    out = sd.solve(ode, make(), x, [1.0, 0.9], seed=3)
    z = sd.noise.normal((5, 1), 3, (sd.noise.STEP, 0), dtype=F64)
    close(out, 0.1 * 0.4 + 0.9 * (math.sqrt(1 - eta**2) * x + eta * z), 1e-12)


@pytest.mark.parametrize("zero", [True, False])
def test_heunpp2_by_hand(zero):
    """The published loop, three slopes with weights r_i/(3 r_0), two before the end; its grids end at sigma = 0."""
    equation, x, times = problem("vp", 8, zero=zero)
    hand = Hand(equation, times)
    r = hand.r if zero else [*hand.r, 0.0]
    y = hand.start(x)
    for n in range(len(r) - 2):
        d1, dt = hand.slope(y, r[n]), r[n + 1] - r[n]
        y2 = y + d1 * dt
        d2 = hand.slope(y2, r[n + 1])
        if r[n + 2] == 0:
            w2 = r[n + 1] / (2 * r[0])
            slope = (1 - w2) * d1 + w2 * d2
        else:
            d3 = hand.slope(y2 + d2 * (r[n + 2] - r[n + 1]), r[n + 2])
            w2, w3 = r[n + 1] / (3 * r[0]), r[n + 2] / (3 * r[0])
            slope = (1 - w2 - w3) * d1 + w2 * d2 + w3 * d3
        y = y + slope * dt
    close(sd.solve(equation, HeunPP2(), x, times), hand.D(y, r[-2]) if zero else hand.end(y))


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_churn_by_hand(name):
    """Algorithm 2 in y and r: more noise inside [s_tmin, s_tmax], never above the level of t = T, then Heun."""
    equation, x, times = problem(name, 9)
    hand, gamma = Hand(equation, times), min(4.5 / 9, math.sqrt(2) - 1)
    top = hand.ratio(equation.process.T) if equation.process.alpha(equation.process.T) else math.inf
    low, high = hand.r[-3], hand.r[0]  # both count
    y, capped = hand.start(x), 0
    for n, (r, to) in enumerate(itertools.pairwise(hand.r)):
        if low <= r <= high:
            hat = min(r * (1 + gamma), top)
            capped += hat == top
            y = y + 1.01 * math.sqrt(hat**2 - r**2) * sd.noise.normal(x.shape, 3, (sd.noise.STEP, n), dtype=F64)
            r = hat
        y = heun(hand, y, r, to)
    close(sd.solve(equation, Churn(None, 4.5, low, high, 1.01), x, times, seed=3), hand.end(y), 1e-8)
    assert bool(capped) == (name != "flow")


def by_hand_restart(equation, x, times, base, rounds, steps, low, high, s_noise):
    """Xu et al., algorithm 1, with sub-runs of ``solve``: down to the knot next to low, up to high, down again."""
    process, hand = equation.process, Hand(equation, times)
    n = min(range(1, len(times)), key=lambda n: abs(math.log(hand.r[n] / low)))
    x = sd.solve(equation, base(), x, times[: n + 1])
    t, r = float(times[n]), hand.r[n]
    for round in range(rounds):
        key = (sd.noise.STEP, n - 1, round) if round else (sd.noise.STEP, n - 1)
        z = sd.noise.normal(x.shape, 3, key, dtype=F64)
        top = hand.time(high)
        x = process.alpha(top) * (x / process.alpha(t) + s_noise * math.sqrt(high**2 - r**2) * z)
        karras = [(high ** (1 / 7) + i / steps * (r ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(1, steps)]
        x = sd.solve(equation, base(), x, [top, *map(hand.time, karras), t])
    return sd.solve(equation, base(), x, times[n:]) if n + 1 < len(times) else x


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
@pytest.mark.parametrize("base", [SigmaRK, lambda: sd.ExpAdams(3, corrector=True)])
@pytest.mark.parametrize("rounds, steps, low", [(1, 4, 0.1), (3, 1, 0.05)])
def test_restart_by_hand(name, base, rounds, steps, low):
    """Also over a multistep solver, which must not carry its past across a jump."""
    equation, x, times = problem(name, 12)
    times = sd.grids.logsnr(equation.process, 12, t_start=float(times[0]), t_end=Hand(equation, times[:1]).time(0.04))
    solver = Restart(base(), [(low, 2.0, rounds, steps)], 1.003)
    ours = sd.solve(equation, solver, x, times, seed=3)
    close(ours, by_hand_restart(equation, x, times, base, rounds, steps, low, 2.0, 1.003), 1e-8)


def test_restart_counts_its_calls():
    equation, x, times = problem("vp", 16)
    count = sd.NFE(equation.denoise)
    equation = sd.Reverse(equation.process, count, 0.0)
    for solver in (Restart(), Restart(HeunPP2(), [(0.1, 1.0, 2, 3), (0.5, 3.0, 1, None)])):
        count.count = 0
        sd.solve(equation, solver, x, times, seed=1)
        segments = len(solver.intervals) if isinstance(solver.solver, HeunPP2) else 0  # each segment ends cheaper
        assert count.count == solver.calls(16) - segments
    r = Hand(equation, times).r
    outside, whole, above = (0.1, 500.0), (r[-1], r[0]), (0.9 * r[0], 0.95 * r[0])  # above: nearest to the first knot
    for interval, rounds in ((outside, 0), (whole, 1), (above, 1)):
        count.count = 0
        sd.solve(equation, Restart(intervals=[(*interval, 1, 3)]), x, times, seed=1)
        assert count.count == 32 + 6 * rounds


def mixture_order(make, steps=(40, 80, 160, 320)):
    """Slope of the ODE error on a law that is not Gaussian, against a fine run of another method."""
    process = sd.process.EDM()
    law = sd.distributions.ring(modes=3, std=0.5)
    ode = sd.Reverse(process, law.denoiser(process), 0.0)
    x = 3 * sd.noise.normal((20, 2), 1, dtype=F64)

    def at(solver, n):
        return sd.solve(ode, solver, x, sd.grids.logsnr(process, n, t_start=3.0, t_end=0.3))

    truth = at(sd.RK4(), 1500)
    return orders.slope(steps, [float((at(make(), n) - truth).abs().max()) for n in steps])


def test_the_midpoint_rule_is_of_order_three_on_gaussian_data_only():
    """The h^3 terms of y' = r y/(r^2 + s^2) cancel for a = 1/2; a mixture shows the order of the family."""
    row = sd.solvers.row("edm_midpoint")
    assert mixture_order(row.make) == pytest.approx(row.order, abs=0.15)
    assert mixture_order(TwoStage) == pytest.approx(2, abs=0.15)
    assert mixture_order(DPM2) == pytest.approx(2, abs=0.15)
    assert orders.ode_order(row, "edm") == pytest.approx(3, abs=0.15)


def test_an_inflated_noise_is_a_bias():
    """s_noise = 1 leaves the law alone but for the solver's error; 1.007 does not, however many the steps."""
    process = sd.process.EDM()
    times = [sd.grids.logsnr(process, n, t_start=60.0, t_end=0.1) for n in (200, 400)]
    exact, inflated = (
        [orders.weak_error(Churn(None, 40, s_noise=s), process, 0.0, t) for t in times] for s in (1, 1.01)
    )
    assert exact[1] < 0.3 * exact[0] and inflated[1] > 0.8 * inflated[0] and inflated[1] > 10 * exact[1]


@pytest.mark.parametrize("key", ["euler_ancestral", "dpm_2_ancestral"])
@pytest.mark.parametrize("eta", [0.5, 1.5])
def test_ancestral_weak_order_at_other_noise_levels(key, eta):
    row = next(r for r in ancestral.ROWS if r.key == key)
    assert orders.weak_order(row, eta=eta) == pytest.approx(row.order, abs=0.15)


def ode(eta=0.0):
    return problem("vp", eta=eta)[0]


X = torch.ones(2, 2)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: TwoStage(0.0), ValueError, "0 < a <= 1"),
        (lambda: TwoStage(1.5), ValueError, "0 < a <= 1"),
        (lambda: Ancestral(sd.ExpAdams(2)), ValueError, "no single-step ODE method"),
        (lambda: Churn(sd.ExpAdams(1, corrector=True)), ValueError, "no single-step ODE method"),
        (lambda: Churn(HeunPP2()), ValueError, "no single-step ODE method"),
        (lambda: Ancestral(Churn()), ValueError, "no single-step ODE method"),
        (lambda: Churn(sd.Adaptive()), TypeError, "single-step solver such as"),  # type: ignore[arg-type]
        (lambda: Churn(s_churn=-1.0), ValueError, "s_churn >= 0"),
        (lambda: Churn(s_tmin=2.0, s_tmax=1.0), ValueError, "s_tmin <= s_tmax"),
        (lambda: Restart(intervals=[(1.0, 0.5, 1, 3)]), ValueError, "0 < low < high"),
        (lambda: Restart(intervals=[(0.1, 0.5, 0, 3)]), ValueError, "an interval is"),
        (lambda: Restart(intervals=[(0.1, 0.5, 1, 0)]), ValueError, "an interval is"),
        (lambda: sd.solve(ode(1.0), DPM2(), X, [1.0, 0.5], seed=0), ValueError, "use eta=0"),
        (lambda: sd.solve(ode(1.0), Churn(), X, [1.0, 0.5], seed=0), ValueError, "use eta=0"),
        (lambda: sd.solve(ode(), Churn(), X, [1.0, 0.5]), ValueError, "pass seed="),
        (lambda: sd.solve(ode(), Churn(), X, [0.9, 0.5], brownian=lambda a, b: X), ValueError, "no Brownian path"),
        (lambda: sd.solve(ode(), Restart(), X, sd.grids.logsnr(sd.process.VP(), 6), brownian=lambda a, b: X),
         ValueError, "no Brownian path"),
        (lambda: sd.solve(sd.OU(), Ancestral(), X, [0.0, 0.5], seed=0), ValueError, "needs a Reverse"),
        (lambda: sd.solve(sd.OU(), Restart(), X, [0.0, 0.5], seed=0), ValueError, "use eta=0"),
        (lambda: sd.solve(sd.OU(), Restart(sd.ExpEuler()), X, [0.0, 0.5], seed=0), ValueError, "needs a Reverse"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
