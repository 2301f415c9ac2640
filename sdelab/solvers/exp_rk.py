"""Single-step exponential Runge–Kutta methods, read from tableaux of phi-functions.

In lam the equation is u' = L u + N with a constant L: for u = x/alpha, L = -(1 + eta^2) and N = (1 + eta^2) D; for
u = x/sigma (eta = 0), L = 1 and N = -eps. With z = h L an explicit exponential Runge–Kutta method reads

    u_i = e^{c_i z} u_s + h sum_{j<i} a_ij(z) N(u_j, lam_s + c_j h)      u_t = e^z u_s + h sum_j b_j(z) N(u_j, ...)

whose a_ij and b_j are combinations of phi_k(c z), phi_0 = e^z and phi_{k+1} = (phi_k - 1/k!)/z.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .linear import Entry, Linear, Point, Stage, Step, decay, fold, spread, ticks
from .row import Row
from .runge_kutta import RK3, RK4, Heun, Midpoint, RungeKutta
from .sigma import SigmaRK

Phi = Callable[..., float]


def phi(k: int, z: float) -> float:
    """phi_k(z) = sum_j z^j/(j + k)!, by the series where the recursion would cancel."""
    if k == 0 or abs(z) > 1:
        value = math.exp(z)
        for j in range(k):
            value = (value - 1 / math.factorial(j)) / z
        return value
    return sum(z**j / math.factorial(j + k) for j in range(19))


class Tableau(NamedTuple):
    """``c``: nodes of the stages, the first 0. ``rows(phi)``: the a_ij of stages 2, 3, … and then the b_j, where
    phi(k, c) is phi_k(c z), c = 1 if left out."""

    order: int
    c: tuple[float, ...]
    rows: Callable[[Phi], Sequence[Sequence[float]]]


EULER = Tableau(1, (0.0,), lambda phi: [[phi(1)]])


def _node(r: float) -> float:
    if not 0 < r <= 1:
        raise ValueError(f"the inner node r is a fraction of the step, 0 < r <= 1, not {r!r}")
    return r


def midpoint(r: float = 0.5) -> Tableau:
    """DPM-Solver-2: the slope (N_r - N)/(r h) held over the step with weight phi_1/2. Lu et al. (2022), alg. 1."""
    _node(r)
    return Tableau(2, (0.0, r), lambda phi: [[r * phi(1, r)], [(1 - 0.5 / r) * phi(1), 0.5 / r * phi(1)]])


def trapezium(r: float = 1.0) -> Tableau:
    """Exact weights for N linear through 0 and r. Cox & Matthews (2002), eq. 22; Hochbruck & Ostermann (2005), 5.3."""
    _node(r)
    return Tableau(2, (0.0, r), lambda phi: [[r * phi(1, r)], [phi(1) - phi(2) / r, phi(2) / r]])


def dpm3(r: float = 1 / 3) -> Tableau:
    """DPM-Solver-3: nodes r and 2/3 (other second nodes miss an order condition). Lu et al. (2022), alg. 2."""

    def rows(phi: Phi):
        a32 = 4 / 9 / r * phi(2, 2 / 3)
        return [[r * phi(1, r)], [2 / 3 * phi(1, 2 / 3) - a32, a32], [phi(1) - 1.5 * phi(2), 0.0, 1.5 * phi(2)]]

    _node(r)
    return Tableau(3, (0.0, r, 2 / 3), rows)


def collocation3(r: float = 1 / 3) -> Tableau:
    """The stages of :func:`dpm3`, and weights exact for quadratic N through all three nodes."""
    first = dpm3(r)

    def rows(phi: Phi):
        b2 = (2 * phi(3) - 2 / 3 * phi(2)) / (r * (r - 2 / 3))
        b3 = (2 * phi(3) - r * phi(2)) / (2 / 3 * (2 / 3 - r))
        return [*first.rows(phi)[:2], [phi(1) - b2 - b3, b2, b3]]

    if r == 2 / 3:
        raise ValueError("r = 2/3 is the second node already: take another, such as 1/3")
    return Tableau(3, first.c, rows)


def res3(c2: float = 0.5, c3: float = 1.0) -> Tableau:
    """RES of third order: b_2 : b_3 = gamma : 1. Hochbruck & Ostermann (2005), eq. 5.8–5.9; Zhang et al. (2023)."""
    if not (0 < c2 <= 1 and 0 < c3 <= 1 and c2 not in (c3, 2 / 3)):
        raise ValueError(f"c2 and c3 are two different nodes in (0, 1], c2 not 2/3: not {c2} and {c3}")
    gamma = (3 * c3**2 - 2 * c3) / (c2 * (2 - 3 * c2))
    scale = gamma * c2 + c3

    def rows(phi: Phi):
        a32 = gamma * c2 * phi(2, c2) + c3**2 / c2 * phi(2, c3)
        b2, b3 = gamma / scale * phi(2), phi(2) / scale
        return [[c2 * phi(1, c2)], [c3 * phi(1, c3) - a32, a32], [phi(1) - b2 - b3, b2, b3]]

    return Tableau(3, (0.0, c2, c3), rows)


def _simpson(phi: Phi) -> tuple[float, float, float]:
    """Weights of the nodes 0, 1/2 and 1, exact for quadratic N."""
    return phi(1) - 3 * phi(2) + 4 * phi(3), 4 * phi(2) - 8 * phi(3), 4 * phi(3) - phi(2)


def _etd3(phi: Phi):
    return [[0.5 * phi(1, 0.5)], [-phi(1), 2 * phi(1)], _simpson(phi)]


def _etd4(phi: Phi):
    half, (b1, b2, b4) = phi(1, 0.5), _simpson(phi)
    return [[0.5 * half], [0.0, 0.5 * half], [0.5 * half * (phi(0, 0.5) - 1), 0.0, half], [b1, b2 / 2, b2 / 2, b4]]


def _krogstad(phi: Phi):
    half, (b1, b2, b4) = 0.5 * phi(1, 0.5), _simpson(phi)
    last = [phi(1) - 2 * phi(2), 0.0, 2 * phi(2)]
    return [[half], [half - phi(2, 0.5), phi(2, 0.5)], last, [b1, b2 / 2, b2 / 2, b4]]


def _strehmel_weiner(phi: Phi):
    half, (b1, b3, b4) = 0.5 * phi(1, 0.5), _simpson(phi)
    last = [phi(1) - 2 * phi(2), -2 * phi(2), 4 * phi(2)]
    return [[half], [half - 0.5 * phi(2, 0.5), 0.5 * phi(2, 0.5)], last, [b1, 0.0, b3, b4]]


def _hochbruck_ostermann(phi: Phi):
    half, (b1, b5, b4) = 0.5 * phi(1, 0.5), _simpson(phi)
    a52 = 0.5 * phi(2, 0.5) - phi(3) + 0.25 * phi(2) - 0.5 * phi(3, 0.5)
    a54 = 0.25 * phi(2, 0.5) - a52
    return [
        [half],
        [half - phi(2, 0.5), phi(2, 0.5)],
        [phi(1) - 2 * phi(2), phi(2), phi(2)],
        [half - 2 * a52 - a54, a52, a52, a54],
        [b1, 0.0, 0.0, b4, b5],
    ]


ETD3 = Tableau(3, (0.0, 0.5, 1.0), _etd3)
ETD4 = Tableau(4, (0.0, 0.5, 0.5, 1.0), _etd4)
KROGSTAD = Tableau(4, (0.0, 0.5, 0.5, 1.0), _krogstad)
STREHMEL_WEINER = Tableau(4, (0.0, 0.5, 0.5, 1.0), _strehmel_weiner)
HOCHBRUCK_OSTERMANN = Tableau(4, (0.0, 0.5, 0.5, 1.0, 0.5), _hochbruck_ostermann)


def lawson(method: type[RungeKutta]) -> Tableau:
    """A classical method for e^{-z} u, whose equation has only N left: a_ij e^{(c_i - c_j) z}. Lawson (1967)."""
    c = (*map(sum, method.A), 1.0)

    def rows(phi: Phi):
        ends = zip(c[1:], [*method.A[1:], method.b], strict=True)
        return [[a * phi(0, e - g) for a, g in zip(row, c, strict=False)] for e, row in ends]

    return Tableau(method.order, c[:-1], rows)


class ExpRK(Linear):
    """Explicit exponential Runge–Kutta method of a tableau, interpolating the denoiser ("D") or the noise ("eps").

        D:      x_i = (sigma_i/sigma_s) e^{-eta^2 c_i h} x_s + alpha_i k h sum_j a_ij D_j + noise up to the node
        eps:    x_i = (alpha_i/alpha_s) x_s - sigma_i h sum_j a_ij eps_j

    With "D" every eta is served: all nodes of a step see one path (clock e^{2 eta^2 lam}). "eps" with noise raises
    ``ValueError``. Orders are classical ones: h -> 0 at fixed L, which is -k or 1 here and never stiff.

    Order: the tableau's; with noise, the smaller of that and 2 (weak). NFE: the number of stages.
    Reference: Hochbruck & Ostermann (2010), Acta Numerica 19, section 2; Lu et al. (2022) for the form in eps.
    """

    def __init__(self, tableau: Tableau, value: str = "D"):
        if value not in ("D", "eps"):
            raise ValueError(f"value is what the method interpolates, 'D' or 'eps', not {value!r}")
        self.tableau, self.value = tableau, value
        self.order, self.nfe = tableau.order, len(tableau.c)
        self.nodes = tuple(sorted({c for c in tableau.c if 0 < c < 1}))

    def check(self, equation) -> None:
        super().check(equation)
        if self.value == "eps" and equation.stochastic:
            raise ValueError("the form in eps solves the ODE (eta = 0); the one in D takes every eta")

    def stages(self, s: Point, inner: Sequence[Point], t: Point, e2: float = 0.0) -> list[Stage]:
        """The stages of a step from s to t, ``inner`` being the points at ``nodes``."""
        at, h, k = {0.0: s, **dict(zip(self.nodes, inner, strict=True)), 1.0: t}, t.lam - s.lam, 1 + e2
        known = [at[c] for c in self.tableau.c]
        in_D = self.value == "D"
        z = -k * h if in_D else h
        rows = self.tableau.rows(lambda j, c=1.0: phi(j, c * z))
        cells = list(pairwise([s, *inner, t])) if e2 else []
        stages = []
        for y, p, row in zip(known, [*known[1:], t], rows, strict=True):
            value = None if in_D else (1 / y.sigma, -y.alpha / y.sigma)
            keep, scale = (decay(s, p, e2), k * h * p.alpha) if in_D else (p.alpha / s.alpha, -h * p.sigma)
            draws = [ticks(a, b, e2) for a, b in cells] if y is s else []
            noise = [decay(b, p, e2) * spread(a, b, e2) if b.lam <= p.lam else 0.0 for a, b in cells]
            stages.append(Stage(y.t, value, keep, [scale * w for w in reversed(row)], draws, noise))
        return stages

    def entry(self, step: Step) -> Entry:
        stages = self.stages(step.s, step.inner, step.t, step.e2)
        return Entry(stages if self.value == "D" else fold(stages), remember=False)


_HO, _CM = "Hochbruck & Ostermann (2005)", "Cox & Matthews (2002), eq. "
_LU1, _LU2 = "Lu et al. (2022), DPM-Solver, ", "Lu et al. (2022), DPM-Solver++, "
_ZHANG, _CHEN = "Zhang et al. (2023), RES, single-step", "Zhang & Chen (2023), DEIS, rho-RK"
_SINGLE, _CONVERGED = "diffusers DPMSolverSinglestep", "closed form; a converged nonlinear solution"
_BOTH = f"k-diffusion DPMSolver; {_SINGLE}"
# Single-step methods of high order reach rounding on the default numbers of steps.
_STEPS = {1: {}, 2: {"steps": (160, 320, 640)}, 3: {"steps": (160, 320, 640)}, 4: {"steps": (80, 160, 320)}}


def _row(
    key: str, name: str, tableau: Tableau, paper: str, oracle: str = _CONVERGED, value: str = "D", **fields
) -> Row:
    fields = {"measure": _STEPS[tableau.order], **fields}
    make = lambda: ExpRK(tableau, value)  # noqa: E731
    return Row(key, name, "exponential", make, tableau.order, len(tableau.c), paper, oracle=oracle, **fields)


ROWS = (
    _row("dpm_solver_1", "DPM-Solver-1", EULER, _LU1 + "eq. 3.7; it is DDIM", _BOTH, "eps"),
    _row("dpm_solver_2", "DPM-Solver-2", midpoint(), _LU1 + "alg. 1", _BOTH, "eps"),
    _row("dpm_solver_3", "DPM-Solver-3", dpm3(), _LU1 + "alg. 2", "k-diffusion DPMSolver", "eps"),
    _row("dpmpp_1s", "DPM++ 1S", EULER, _LU2 + "section 4, k = 1; it is DDIM", _SINGLE),
    _row("dpmpp_2s", "DPM++ 2S", midpoint(), _LU2 + "alg. 1", "k-diffusion sample_dpmpp_2s_ancestral, eta = 0"),
    _row("dpmpp_3s", "DPM++ 3S", dpm3(), _LU2 + "appendix A", _CONVERGED,
         note="diffusers holds phi_1/2 where the paper has phi_2 in the second stage: dpmpp_singlestep_3"),
    _row("exp_rk_2", "exponential RK 2", trapezium(2 / 3), _HO + ", eq. 5.3, c_2 = 2/3"),
    _row("exp_rk_3", "exponential RK 3", collocation3(), _HO + ", section 5.2, weights exact for quadratics",
         _SINGLE + ", heun"),
    _row("exp_rk_2_sde", "exponential RK 2 (SDE)", trapezium(2 / 3), _HO + ", eq. 5.3, with noise", stochastic=True,
         strong=1.0, oracle="closed form", measure={}),
    _row("etdrk2", "ETD-RK2", trapezium(), _CM + "22"),
    # On the default grid the leading error on the linear problem passes through zero.
    _row("etdrk3", "ETD-RK3", ETD3, _CM + "23–25", measure={"steps": (500, 1000, 2000), "grid": "karras"}),
    _row("etdrk4", "ETD-RK4", ETD4, _CM + "26–29"),
    _row("krogstad_4", "Krogstad 4", KROGSTAD, "Krogstad (2005), ETDRK4-B"),
    _row("strehmel_weiner_4", "Strehmel–Weiner 4", STREHMEL_WEINER, "Strehmel & Weiner (1992), example 4.5.5"),
    _row("hochbruck_ostermann_4", "Hochbruck–Ostermann 4", HOCHBRUCK_OSTERMANN, _HO + ", eq. 5.19"),
    _row("lawson_2", "Lawson 2 (integrating factor)", lawson(Midpoint), "Lawson (1967), midpoint rule"),
    _row("lawson_4", "Lawson 4 (integrating factor)", lawson(RK4), "Lawson (1967), Kutta's fourth-order rule"),
    _row("res_2s", "RES 2s", trapezium(0.5), _ZHANG, _SINGLE + ", heun"),
    _row("res_3s", "RES 3s", res3(), _ZHANG + ", c = (0, 1/2, 1)"),
    *(
        Row(f"deis_rhork_{p}", f"DEIS rho-RK{p}", "exponential", lambda method=method: SigmaRK(method), p, p, _CHEN,
            oracle="k-diffusion sample_heun" if p == 2 else "RK in t on EDM's clock", measure=_STEPS[p])
        for p, method in ((2, Heun), (3, RK3), (4, RK4))
    ),
)  # fmt: skip
