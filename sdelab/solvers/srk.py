"""Stochastic Runge–Kutta methods of strong order 1.5: Rößler's SRI and SRA, and Foster's ShARK.

They use the space-time Lévy area H of the step: int_s^t (W_r - W_s) dr = h (W/2 + H), Rößler's I_(1,0). From a seed it
is one more normal per step; a Brownian path must know it (:class:`sdelab.LevyBrownian`).
"""

import math
from typing import NamedTuple

import torch

from .linear import Entry
from .row import Row
from .scheme import Scheme, additive, total


class SRATableau(NamedTuple):
    """H_i = x + h sum_j A_ij a(H_j, s + c_j h) + sum_j B_ij b(s + d_j h) (W/2 + H);
    x + h sum_i alpha_i a(H_i) + sum_i (beta1_i W + beta2_i (W/2 + H)) b(s + d_i h)."""

    A: tuple[tuple[float, ...], ...]
    B: tuple[tuple[float, ...], ...]
    alpha: tuple[float, ...]
    d: tuple[float, ...]
    beta1: tuple[float, ...]
    beta2: tuple[float, ...]


_SRA1 = SRATableau(((), (3 / 4,)), ((), (3 / 2,)), (1 / 3, 2 / 3), (1, 0), (1, 0), (-1, 1))
_SRA3 = SRATableau(
    ((), (1,), (1 / 4, 1 / 4)), ((), (0,), (1, 1 / 2)), (1 / 6, 1 / 6, 2 / 3), (1, 0, 0), (1, 0, 0), (-1, 1, 0)
)


class SRITableau(NamedTuple):
    """Rößler's coefficients for diagonal noise; the nodes are the sums of the rows of A0 and A1."""

    A0: tuple[tuple[float, ...], ...]
    B0: tuple[tuple[float, ...], ...]
    alpha: tuple[float, ...]
    A1: tuple[tuple[float, ...], ...]
    B1: tuple[tuple[float, ...], ...]
    beta: tuple[tuple[float, ...], ...]


_SRI1 = SRITableau(
    ((), (3 / 4,)), ((), (3 / 2,)), (1 / 3, 2 / 3),
    ((), (1 / 4,), (1, 0), (0, 0, 1 / 4)), ((), (1 / 2,), (-1, 0), (-5, 3, 1 / 2)),
    ((-1, 4 / 3, 2 / 3, 0), (-1, 4 / 3, -1 / 3, 0), (2, -4 / 3, -2 / 3, 0), (-2, 5 / 3, -2 / 3, 1)),
)  # fmt: skip
_SRI2 = SRITableau(
    ((), (1,), (1 / 4, 1 / 4)), ((), (0,), (1, 1 / 2)), (1 / 6, 1 / 6, 2 / 3),
    ((), (1 / 4,), (1, 0), (0, 0, 1 / 4)), ((), (-1 / 2,), (1, 0), (2, -1, 1 / 2)),
    ((-1, 4 / 3, 2 / 3, 0), (1, -4 / 3, 1 / 3, 0), (2, -4 / 3, -2 / 3, 0), (-2, 5 / 3, -2 / 3, 1)),
)  # fmt: skip


class Additive(Scheme):
    """Base of the schemes that are right for additive noise only, and say so."""

    area = True

    def start(self):
        return {**super().start(), "checked": False}

    def step(self, equation, x, entry, memory, draw):
        if not memory["checked"] and not isinstance(entry, Entry):
            slope = equation.with_slope(x, entry[0])[1] if equation.stochastic else 0.0
            if torch.is_tensor(slope) and bool((slope != 0).any()):
                raise ValueError(
                    f"{type(self).__name__} is for additive noise and this diffusion depends on x: use SRK or Milstein"
                )
        memory["checked"] = True
        return super().step(equation, x, entry, memory, draw)


class SRA(Additive):
    """Rößler's SRA1 (two stages) or SRA3 (three), for additive noise b(t).

    H_i = x + h sum_j A_ij a(H_j) + sum_j B_ij b I10/h
    x + h sum_i alpha_i a(H_i) + sum_i (beta1_i W + beta2_i I10/h) b
    with I10/h = W/2 + H. torchsde's file of SRA3 has the other sign of beta2; it does not use it.

    Order: strong 1.5, weak 2. NFE: 2 or 3. Without noise order 2 or 3.
    Reference: Rößler (2010), SRA1 and SRA3.
    """

    order = 2

    def __init__(self, stages: int = 1 + 1):
        if stages not in (2, 3):
            raise ValueError(f"SRA has 2 or 3 stages, not {stages!r}")
        self.tableau, self.nfe = (_SRA1, _SRA3)[stages - 2], stages

    def advance(self, sde, x, s, t, W, H):
        return sra(self.tableau, sde, x, s, t, W, H)


def sra(tableau: SRATableau, sde, x, s: float, t: float, W, H):
    h, J, (A, B, alpha, d, beta1, beta2) = t - s, 0.5 * W + H, tableau
    b = [sde.diffusion(x, s + r * h) for r in d]
    a = []
    for row, noise in zip(A, B, strict=True):
        y = total(x, *_each(h, row, a), *_each(J, noise, b))
        a.append(sde.drift(y, s + sum(row) * h))
    return total(x, *_each(h, alpha, a), *_each(W, beta1, b), *_each(J, beta2, b))


class SRK(Scheme):
    """Rößler's SRI (form 1 or 2) for diagonal noise, and his SRA1 where the noise is additive.

    H0_i = x + h sum_j A0_ij a(H0_j) + sum_j B0_ij b(H1_j) I10/h
    H1_i = x + h sum_j A1_ij a(H0_j) + sqrt|h| sum_j B1_ij b(H1_j)
    x + h sum_i alpha_i a(H0_i) + sum_i (beta1_i W + beta2_i I11/sqrt|h| + beta3_i I10/h + beta4_i I111/|h|) b(H1_i)

    with I11 = (W^2 - |h|)/2, I111 = (W^3 - 3 |h| W)/6, I10/h = W/2 + H. Coordinate i of b may depend on coordinate i of
    x alone; a b of another shape than x counts as additive.

    Order: strong 1.5, weak 2 where the noise is additive. NFE: 2 with additive noise; 2 (form 1) or 3 (form 2) else.
    Reference: Rößler (2010), SRI1, SRI2 and SRA1.
    """

    order, nfe, area = 2, 2, True

    def __init__(self, form: int = 2):
        if form not in (1, 2):
            raise ValueError(f"form must be 1 (SRI1) or 2 (SRI2), not {form!r}")
        self.tableau = (_SRI1, _SRI2)[form - 1]

    def advance(self, sde, x, s, t, W, H):
        b = sde.diffusion(x, s)
        if additive(b, x):
            return sra(_SRA1, sde, x, s, t, W, H)
        h, J, (A0, B0, alpha, A1, B1, beta) = t - s, 0.5 * W + H, self.tableau
        size = abs(h)
        root, W2 = math.sqrt(size), W * W
        I = (W, (W2 - size).mul_(0.5 / root), J, W * (W2 - 3 * size).mul_(1 / (6 * size)))
        a, bs = [], [b]
        for i, row in enumerate(A1):
            if i < len(A0):
                y = total(x, *_each(h, A0[i], a), *_each(J, B0[i], bs))
                a.append(sde.drift(y, s + sum(A0[i]) * h))
            if i:
                y = total(x, *_each(h, row, a), *_each(root, B1[i], bs))
                bs.append(sde.diffusion(y, s + sum(row) * h))
        noise = zip(
            bs, (total(0.0 * W, *zip(column, I, strict=True)) for column in zip(*beta, strict=True)), strict=True
        )
        return total(x, *_each(h, alpha, a), *noise)


def _each(factor, weights, values):
    """The terms factor w_j v_j."""
    return ((factor, w, v) for w, v in zip(weights, values, strict=False))


class ShARK(Additive):
    """y = x + b H;  y' = y + 5/6 (a(y) h + b W);  x + h [2 a(y) + 3 a(y')]/5 + b(s) W + (b(t) - b(s)) (W/2 - H).

    For additive noise; the last term is the exact integral of a b that is linear in t.

    Order: strong 1.5, weak 2; 2 without noise. NFE: 2.
    Reference: Foster, dos Reis & Strange (2023), "High order splitting methods for SDEs satisfying a commutativity
    condition" (the shifted additive-noise Runge–Kutta method).
    """

    order, nfe = 2, 2

    def advance(self, sde, x, s, t, W, H):
        h, b, b_t = t - s, sde.diffusion(x, s), sde.diffusion(x, t)
        y = x + b * H
        a = sde.drift(y, s)
        a2 = sde.drift(y + (5 / 6) * (h * a + b * W), s + 5 / 6 * h)
        return x + (0.4 * h) * a + (0.6 * h) * a2 + b * W + (b_t - b) * (0.5 * W - H)


_R = "Rößler (2010)"
_LINEAR = {"claimed": 1.5, "note": "Strong 1.5 is for any drift; on Gaussian data the drift is linear, the terms that "
           "stop it there vanish, and the strong order measures 2."}  # fmt: skip

ROWS = (
    Row("srk_sri", "SRK (Rößler SRI2)", "classical", SRK, 2, 2, f"{_R}, SRI2", True, 2.0, oracle="torchsde srk",
        **_LINEAR),
    Row("sra1", "SRA1", "classical", SRA, 2, 2, f"{_R}, SRA1", True, 2.0, oracle="torchsde srk", **_LINEAR),
    Row("sra3", "SRA3", "classical", lambda: SRA(3), 2, 3, f"{_R}, SRA3", True, 2.0, claimed=1.5, note=_LINEAR["note"]
        + " torchsde has the tableau, unused and with one sign wrong; with the sign mended it agrees."),
    Row("shark", "ShARK", "classical", ShARK, 2, 2, "Foster, dos Reis & Strange (2023)", True, 2.0, **_LINEAR),
)  # fmt: skip
