"""Checkers of chapter 5 (3), noise in the solver: how much noise a step renews, in our dial and in others.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .. import process
from . import Diagnosis, exercise
from .diagnosis import compare, no_pair, told, unwritten

VP = process.VP()
F64 = torch.float64
STEPS, ETAS = [(0.7, 0.5), (0.4, 0.1), (0.2, 0.02)], (0.0, 0.5, 1.0, 2.0)


def number(value) -> Tensor:
    return torch.as_tensor(value, dtype=F64)


def stacked(values: Iterable) -> Tensor:
    return torch.stack([number(v) for v in values])


def pairs(values: Iterable) -> Tensor:
    """Pairs of numbers as (n, 2)."""
    return torch.stack([stacked(pair) for pair in values])


def first_said(said: Iterable[Diagnosis | None]) -> Diagnosis | None:
    return next((one for one in said if one), None)


def rise(s: float, t: float) -> Tensor:
    return VP.lam(t) - VP.lam(s)


@exercise(
    "ch05c-noise-std",
    hint=told(
        "the coefficient of z in the exact step: the variance is sigma_t^2 times 1 - exp(-2 eta^2 h), with "
        "h = lam_t - lam_s > 0.",
        "厳密な一歩で z に掛かる係数。分散は sigma_t^2 × (1 - exp(-2 eta^2 h))、h = lam_t - lam_s > 0。",
    ),
)
def noise_std(answer: Callable) -> Diagnosis | None:
    """answer(s, t, eta, process) -> sigma_t sqrt(1 - e^{-2 eta^2 h}), a number."""
    cases = [(s, t, eta) for s, t in STEPS for eta in ETAS]

    def table(f: Callable) -> Tensor:
        return stacked(f(s, t, eta) for s, t, eta in cases)

    def new(power: float, s: float, t: float) -> Tensor:
        return 1 - torch.exp(-number(power) * rise(s, t))

    answers = [answer(s, t, eta, VP) for s, t, eta in cases]
    if said := first_said(map(unwritten, answers)):
        return said
    return compare(
        stacked(answers),
        table(lambda s, t, e: VP.sigma(t) * new(2 * e**2, s, t).sqrt()),
        (table(lambda s, t, e: VP.var(t) * new(2 * e**2, s, t)), "this is the variance: take its square root.",
         "これは分散。平方根をとること。"),
        (table(lambda s, t, e: VP.sigma(t) * new(2 * e**2, s, t)), "the root of sigma_t^2 is there, that of the share "
         "1 - exp(-2 eta^2 h) is missing.", "1 - exp(-2 eta^2 h) の平方根を忘れている。"),
        (table(lambda s, t, e: VP.sigma(t) * new(2 * e, s, t).sqrt()), "right at eta = 0 and 1 only: the exponent "
         "has eta^2.", "eta = 0 と 1 でしか合わない。指数に入るのは eta^2 である。"),
        (table(lambda s, t, e: VP.sigma(t) * new(e**2, s, t).sqrt()), "the exponent is half the right one: a variance "
         "decays twice as fast as its root, 2 eta^2 h.", "指数が半分。分散は標準偏差の2倍の速さで減るので 2 eta^2 h。"),
        (table(lambda s, t, e: VP.sigma(t) * new(4 * e**2, s, t).sqrt()), "the exponent is twice the right one.",
         "指数が正しい値の2倍。"),
        (table(lambda s, t, e: VP.sigma(s) * new(2 * e**2, s, t).sqrt()), "sigma_s for sigma_t: noise renewed at t is "
         "a share of the noise there.", "sigma_s ではなく sigma_t。取り替えるのは、着いた先にあるノイズの一部である。"),
        (table(lambda s, t, e: new(2 * e**2, s, t).sqrt()), "sigma_t is missing.", "sigma_t が掛かっていない。"),
        (table(lambda s, t, e: e * VP.sigma(t) * new(2.0, s, t).sqrt()), "this is DDIM's: its eta multiplies the "
         "standard deviation. Ours stands in the exponent.", "これはDDIMの eta。本書の eta は指数に入る。"),
        (table(lambda s, t, e: VP.sigma(t) * new(2.0, s, t).sqrt()), "eta does not enter: this is the reverse SDE's.",
         "eta が入っていない。これは逆拡散過程(eta = 1)のものである。"),
        (table(lambda s, t, e: e * VP.g(s) * (s - t) ** 0.5), "this is Euler–Maruyama's eta g sqrt(dt): right for "
         "short steps only.", "これはオイラー・丸山法の eta g sqrt(dt)。短い刻みでしか合わない。"),
    )  # fmt: skip


@exercise(
    "ch05c-up-down",
    hint=told(
        "in r = sigma/alpha: r_up = eta r_t sqrt(1 - r_t^2/r_s^2), at most r_t, and r_down^2 + r_up^2 = r_t^2.",
        "r = sigma/alpha で考える。r_up = eta r_t sqrt(1 - r_t^2/r_s^2)、ただし r_t まで。r_down^2 + r_up^2 = r_t^2。",
    ),
)
def up_down(answer: Callable) -> Diagnosis | None:
    """answer(r_s, r_t, eta) -> (r_down, r_up) of an ancestral step between noise levels r_s > r_t (tensors)."""
    cases = [(number(a), number(b), eta) for a, b in ((10.0, 4.0), (1.0, 0.8), (0.5, 0.1)) for eta in ETAS]

    def split(up: Callable, cap: bool = True) -> Tensor:
        out = []
        for r_s, r_t, eta in cases:
            u = up(r_s, r_t, eta)
            u = torch.minimum(u, r_t) if cap else u
            out.append((torch.sqrt((r_t**2 - u**2).clamp(min=0)), u))
        return pairs(out)

    def right_up(r_s, r_t, eta):
        return eta * r_t * torch.sqrt(1 - r_t**2 / r_s**2)

    answers = [answer(*case) for case in cases]
    if said := first_said(no_pair(a, "(r_down, r_up)") for a in answers):
        return said
    got, right = pairs(answers), split(right_up)
    if got[:, 0].isnan().any() and not got[:, 1].isnan().any():
        return told(
            "r_down is no number for a large eta: r_up must not exceed r_t.",
            "eta が大きいとき r_down が数にならない。r_up は r_t を超えてはいけない。",
        )
    level = stacked(r_t for _, r_t, _ in cases)
    return compare(
        got,
        right,
        (right.flip(1), "r_down and r_up are swapped.", "r_down と r_up が逆。"),
        (right**2, "these are variances: take the square roots.", "これは分散。平方根をとること。"),
        (torch.stack([level - right[:, 1], right[:, 1]], 1), "variances add, standard deviations do not: "
         "r_down^2 = r_t^2 - r_up^2.", "足し算になるのは分散で、標準偏差ではない。r_down^2 = r_t^2 - r_up^2。"),
        (torch.stack([level, right[:, 1]], 1), "the step down goes to r_t itself: with the noise on top it ends above.",
         "下りる先が r_t のままである。ノイズを足すと r_t を超えてしまう。"),
        (split(lambda a, b, e: right_up(a, b, e**2)), "eta^2 for eta: this eta multiplies a standard deviation.",
         "eta^2 になっている。この eta は標準偏差に掛ける。"),
        (split(lambda a, b, e: b * torch.sqrt(1 - (b / a) ** (2 * e**2))), "this is our family's exact step, where "
         "eta stands in the exponent; an ancestral sampler's eta multiplies r_up.",
         "これは本書の族の厳密な一歩(eta が指数に入る)。アンセストラルの eta は r_up に掛ける。"),
        (split(lambda a, b, e: e * a * torch.sqrt(1 - b**2 / a**2)), "r_s for r_t in front: this is the forward noise "
         "from r_t to r_s.", "先頭が r_s になっている。それは r_t から r_s への前向きのノイズである。"),
        (split(lambda a, b, e: e * b * torch.sqrt(1 - b / a)), "the ratio in the root is not squared.",
         "根号の中の比が2乗されていない。"),
        (split(lambda a, b, e: right_up(a, b, 1.0)), "eta does not enter.", "eta が入っていない。"),
    )  # fmt: skip


@exercise(
    "ch05c-ddim-eta",
    hint=told(
        "set 1 - exp(-2 eta^2 h) equal to eta_ddim^2 (1 - exp(-2h)) and solve for eta.",
        "1 - exp(-2 eta^2 h) = eta_ddim^2 (1 - exp(-2h)) とおいて、eta について解く。",
    ),
)
def ddim_eta(answer: Callable) -> Diagnosis | None:
    """answer(eta_ddim, h) -> the eta of our family that renews as much noise in a step of length h (tensors)."""
    cases = [(number(e), number(h)) for e in (0.3, 0.5, 0.8, 1.0) for h in (0.05, 0.5, 2.0)]

    def table(f: Callable) -> Tensor:
        return stacked(f(e, h) for e, h in cases)

    def log_kept(e, h):
        return torch.log1p(e**2 * torch.expm1(-2 * h))

    answers = [answer(*case) for case in cases]
    if said := first_said(map(unwritten, answers)):
        return said
    return compare(
        stacked(answers),
        table(lambda e, h: torch.sqrt(-log_kept(e, h) / (2 * h))),
        (table(lambda e, h: e), "the two agree for short steps only: equate the variances and solve for eta.",
         "同じになるのは短い刻みのときだけ。分散どうしを等しいとおいて解くこと。"),
        (table(lambda e, h: -log_kept(e, h) / (2 * h)), "this is eta^2: take its square root.",
         "これは eta^2。平方根をとること。"),
        (table(lambda e, h: torch.sqrt(-log_kept(e, h) / h)), "the exponent is 2 eta^2 h: divide by 2h, not by h.",
         "指数は 2 eta^2 h。h ではなく 2h で割る。"),
        (table(lambda e, h: torch.sqrt(-torch.log1p(e * torch.expm1(-2 * h)) / (2 * h))), "DDIM's eta is squared in "
         "the variance.", "分散の中で、DDIMの eta は2乗される。"),
        (table(lambda e, h: torch.sqrt(-torch.log1p(e**2 * torch.expm1(-h)) / (2 * h))), "DDPM's variance has "
         "1 - exp(-2h), not 1 - exp(-h).", "DDPMの分散は 1 - exp(-2h)。1 - exp(-h) ではない。"),
        (table(lambda e, h: torch.sqrt((1 - torch.exp(-2 * e**2 * h)) / (1 - torch.exp(-2 * h)))), "the other way "
         "round: this finds DDIM's eta from ours.", "逆向きである。これは本書の eta から DDIM の eta を求めている。"),
    )  # fmt: skip
