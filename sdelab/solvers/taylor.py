"""Second-order Taylor steps: the denoiser's derivative along the trajectory, by forward-mode differentiation."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from ..reverse import Reverse
from .exp_rk import phi
from .linear import points
from .row import Row


class Taylor2:
    """x_t = (sigma_t/sigma_s) x_s + alpha_t (w_0 D + w_1 dD/dlam), dD/dlam along the ODE's solution (eta = 0).

    w_0 = 1 - e^{-h}. ``exact``: w_1 = h - 1 + e^{-h}, which is exact for D linear in lam; otherwise w_1 = w_0^2/2,
    GENIE's truncated Taylor method in rho = sigma/alpha: x/alpha + (rho_t - rho_s) eps + (rho_t - rho_s)^2/2 deps/drho.
    dD/dlam is one Jacobian-vector product in the direction (dx/dlam, dt/dlam), so the denoiser must be differentiable
    in x and in t, which it gets as a tensor of one time per sample: if it takes float(t), its derivative in time is
    lost and the order is 1. Nothing is learned. Where alpha = 0 one node is exact and no derivative is taken.

    Order: 2. NFE: 2, one plain evaluation and one under ``torch.func.jvp``, which takes the time of two or
    three, and more on small networks.
    Reference: Dockhorn, Vahdat & Kreis (2022), GENIE, section 3.
    """

    order, nfe = 2, 2
    ode_only, in_time = True, False

    def __init__(self, exact: bool = False):
        self.exact = exact

    def plan(self, equation, times) -> list[tuple]:
        """(t, keep, weight of D, weight of dD/dlam, dt/dlam, p, q) per step, dx/dlam = p x + q D."""
        if not isinstance(equation, Reverse):
            raise ValueError("Taylor2 needs a Reverse equation (denoiser and process), not any SDE")
        process, ts = equation.process, torch.tensor(times, dtype=torch.float64)
        f = process.f(ts)
        rates = (1 / (f - process.d_var(ts) / (2 * process.var(ts)))).tolist()
        rows = []
        for (s, t), rate, f_s in zip(pairwise(points(process, times)), rates, f.tolist(), strict=False):
            h = t.lam - s.lam
            w0 = -math.expm1(-h)
            w1 = (h * h * phi(2, -h) if self.exact else w0 * w0 / 2) if math.isfinite(h) else 0.0
            rows.append((s.t, t.sigma / s.sigma, t.alpha * w0, t.alpha * w1, rate, f_s * rate - 1, s.alpha))
        return rows

    def start(self):
        return {}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, keep, w0, w1, rate, p, q = entry
        D = equation.denoise(x, s)
        new = (x * keep).add_(D, alpha=w0)
        if w1 == 0:
            return new
        t = torch.full((len(x),), s, dtype=torch.float64, device=x.device)
        along = (p * x).add_(D, alpha=q)
        return new.add_(torch.func.jvp(equation.denoise, (x, t), (along, torch.full_like(t, rate)))[1], alpha=w1)


_STEPS = {"steps": (40, 80, 160)}  # forward differentiation of a small law is slow
_WHY = "one evaluation and one Jacobian-vector product, counted as two calls"

ROWS = (
    Row("ttm2", "TTM2 (GENIE's target)", "exponential", Taylor2, 2, 2, "Dockhorn et al. (2022), GENIE, section 3",
        measure=_STEPS, note=_WHY),
    Row("exp_taylor_2", "exponential Taylor 2", "exponential", lambda: Taylor2(exact=True), 2, 2,
        "Dockhorn et al. (2022), GENIE, exact weights in lam", measure=_STEPS, note=_WHY),
)  # fmt: skip
