"""ER-SDE-Solvers: multistep Taylor methods in sigma/alpha for a reverse SDE with any noise scale function phi."""

import math
from collections.abc import Callable

import numpy as np

from .linear import Entry, Linear, Stage, Step, ticks
from .row import Row

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


def phi_sde(r):
    """phi = r^2: the reverse SDE, the family of :class:`sdelab.Reverse` itself."""
    return r**2


def phi_er(r):
    """phi = r (e^{r^0.3} + 10), the paper's recommendation (ER-SDE 5)."""
    return r * (np.exp(r**0.3) + 10)


class ERSDE(Linear):
    """Solver of the extended reverse-time SDE: with r = sigma/alpha and y = x/alpha

        y_t = q y_s + (1 - q) D_s + c_1 D'_s + c_2 D''_s + sqrt(r_t^2 - q^2 r_s^2) z         q = phi(r_t)/phi(r_s)
        c_1 = int (phi(r_t)/phi(r) - 1) dr     c_2 = int (phi(r_t)/phi(r) - 1)(r - r_s) dr     from r_t to r_s

    where D' and D'' are backward differences in r of the last two and three values (``order`` values in all). The
    integrals are by Gauss–Legendre quadrature in log r, to rounding for smooth phi.

    phi is the noise: phi = r is the ODE, phi = r^2 the reverse SDE (eta = 1), r^{1 + eta^2} the family of
    :class:`sdelab.Reverse`; in general the local eta^2 is d log phi/d log r - 1. The equation's eta turns it: the
    solver runs with r (phi(r)/r)^{eta^2}, so that eta = 0 is the ODE and eta = 1 the phi given; marginals are the same
    for all. phi takes and returns an array of r. Driven by a path on the clock e^{2 eta^2 lam}.

    Order: 1, 2, 2 (weak and ODE): the third value adds the curvature, but leaves D'_s a one-sided difference. NFE: 1.
    Reference: Cui et al. (2023), ER-SDE-Solver-1, -2, -3.
    Raises ``ValueError`` for other orders, and where phi(r)/r falls as r grows (the noise would be negative).
    """

    def __init__(self, order: int = 3, phi: Callable = phi_er):
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, not {order!r}")
        self.order, self.history, self.phi = min(order, 2), order - 1, phi

    def entry(self, step: Step) -> Entry:
        s, t, h, e2 = step.s, step.t, step.h, step.e2
        u = 0.5 * h * (1 + NODES)  # lam - lam_s; r = r_s e^{-u}
        r = np.array([s.ratio, t.ratio, *(s.ratio * np.exp(-u))])
        with np.errstate(all="ignore"):  # a phi that is not positive is told below
            g = e2 * (np.log(self.phi(r)) - np.log(r)) if e2 else np.zeros_like(r)  # log of phi/r, turned by eta
        e2_h = float(g[0] - g[1])  # what eta^2 h is in the family of Reverse
        rounding = 1e-13 * e2
        if not -rounding <= e2_h < math.inf:
            raise ValueError(
                f"phi(r)/r must be positive, finite and not fall as r grows, but between r = {t.ratio:.6g} and "
                f"{s.ratio:.6g} its logarithm changes by {e2_h / e2:.6g}: take another phi"
            )
        e2_h = e2_h if e2_h > rounding else 0.0
        # phi_t/phi(r) - 1 at the quadrature nodes, and dr = r du
        kernel = np.expm1(g[1] - g[2:] + u - h) * r[2:] * 0.5 * h * WEIGHTS
        rule = [-math.expm1(-h - e2_h), *[0.0] * len(step.past)]
        ratios = [s.ratio, *(p.ratio for p in step.past)]
        if len(ratios) > 1:
            _add_difference(rule, float(kernel.sum()), ratios[:2])
        if len(ratios) > 2:
            _add_difference(rule, 2 * float(kernel @ (r[2:] - r[0])), ratios)
        noise = {}
        if e2_h:
            noise = {"draws": (ticks(s, t, e2),), "noise": (t.sigma * math.sqrt(-math.expm1(-2 * e2_h)),)}
        return Entry((Stage(s.t, None, t.sigma / s.sigma * math.exp(-e2_h), [t.alpha * w for w in rule], **noise),))


def _add_difference(rule: list[float], scale: float, ratios: list[float]) -> None:
    """Add ``scale`` times the divided difference of D over ``ratios`` to the weights ``rule``."""
    for j, a in enumerate(ratios):
        rule[j] += scale / math.prod(a - b for i, b in enumerate(ratios) if i != j)


_PAPER = "Cui et al. (2023), ER-SDE-Solver-"

ROWS = tuple(
    Row(f"er_sde_{n}", f"ER-SDE {n}", "exponential", lambda n=n: ERSDE(n), min(n, 2), 1, f"{_PAPER}{n}", True,
        1.0, claimed=claimed, note=note, measure={"truth": "own"})
    for n, claimed, note in ((1, None, ""), (2, None, ""),
                             (3, 3, "D' stays a one-sided difference, so that the third value cannot raise the order"))
)  # fmt: skip
