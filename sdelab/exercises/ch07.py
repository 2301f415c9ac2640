"""Checkers of chapter 7 (schedules), what a schedule does to training: score in other units, densities, betas, c_out.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .. import distributions, noise
from ..process import VP, RectifiedFlow, SubVP
from . import Diagnosis, exercise
from .diagnosis import compare, told

F64 = torch.float64


@exercise(
    "ch07-score-transfer",
    hint=told(
        "at equal lam, x_source = c x_target with c = alpha_source/alpha_target. The density of c x is that of x moved "
        "by a factor, so its gradient by x has the chain rule's c.",
        "lam が等しければ x_source = c x_target(c = alpha_source/alpha_target)。"
        "log p を x_target で微分すると、連鎖律から c が出る。",
    ),
)
def score_transfer(answer: Callable) -> Diagnosis | None:
    """answer(score, x, t, source, target) -> the score of ``target`` at (x, t), from ``score(x, t)`` of ``source``."""
    law = distributions.GaussianMixture([0.3, 0.7], [[0.8, -0.2], [-0.5, 0.6]], 0.4)
    x = noise.normal((6, 2), seed=4, key=1, dtype=F64)
    for source, target, t in ((VP(), RectifiedFlow(), 0.35), (SubVP(), VP(), 0.4)):
        there = source.t_of_lam(target.lam(t))
        c = source.alpha(there) / target.alpha(t)

        def score(x: Tensor, t, source=source) -> Tensor:
            return law.at(source, float(t)).score(x)

        want = law.at(target, t).score(x)
        said = compare(
            answer(score, x.clone(), t, source, target),
            want,
            (score(c * x, there), "the chain rule's factor c is missing: the score is a gradient by x_target.",
             "連鎖律の因子 c が抜けている。スコアは x_target についての勾配である。"),
            (score(c * x, there) / c, "divided by c instead of multiplied: s has the unit 1/x.",
             "c を掛けるところで割っている。スコアの単位は 1/x である。"),
            (c * score(x, there), "the state is not brought to the source's units: c x goes in.",
             "状態を source の単位に直していない。c x を渡すこと。"),
            (score(x / c, there) / c, "c is upside down: it is alpha_source/alpha_target.",
             "c が逆数になっている。c = alpha_source/alpha_target である。"),
            (c * score(c * x, t), "the time is the target's: the source must be asked at the time of the same lam.",
             "時刻が target のままである。source には、lam が等しい時刻を渡すこと。"),
            (score(x, t), "nothing is changed: neither the time nor the units.",
             "時刻も単位も変わっていない。"),
        )  # fmt: skip
        if said:
            return said
    return None


@exercise(
    "ch07-density",
    hint=told(
        "tan(pi t/2) = e^(-lam), so t = (2/pi) atan(e^(-lam)); the density is |dt/dlam|.",
        "tan(pi t/2) = e^(-lam) なので t = (2/pi) atan(e^(-lam))。密度は |dt/dlam| である。",
    ),
)
def density(answer: Callable) -> Diagnosis | None:
    """answer(lam) -> density of lam where t is uniform on (0, 1), alpha = cos(pi t/2), sigma = sin(pi t/2)."""
    lam = torch.linspace(-3, 3, 13, dtype=F64)
    sech = 1 / torch.cosh(lam)
    logistic = 1 / (4 * torch.cosh(lam / 2) ** 2)
    return compare(
        answer(lam.clone()),
        sech / math.pi,
        (2 * sech / math.pi, "twice too large: d atan(u)/du = 1/(1 + u^2), and e^lam + e^-lam = 2 cosh lam.",
         "2倍になっている。atan(u) の微分は 1/(1 + u^2)、e^lam + e^-lam = 2 cosh lam である。"),
        (-sech / math.pi, "the sign: lam falls as t grows, a density is |dt/dlam|.",
         "符号が逆。t が増えると lam は減る。密度は |dt/dlam| である。"),
        (sech, "not normalised: its integral over lam must be 1, so 1/pi is missing.",
         "規格化されていない。積分が1になるには 1/pi が要る。"),
        (math.pi / sech, "this is |dlam/dt|: a density of lam is its inverse.",
         "これは |dlam/dt|。lam の密度はその逆数である。"),
        (logistic, "this is the straight flow's (alpha = 1 - t, sigma = t), the logistic density.",
         "これは直線フロー(alpha = 1 - t、sigma = t)の密度、ロジスティック分布である。"),
        (sech**2 / 2, "sech^2 belongs to tanh; the derivative of atan(e^-lam) gives sech itself.",
         "sech^2 になるのは tanh の微分。atan(e^-lam) からは sech が出る。"),
        (2 / math.pi * torch.atan(torch.exp(-lam)), "this is t itself: take its derivative by lam.",
         "これは t そのもの。lam で微分すること。"),
    )  # fmt: skip


@exercise(
    "ch07-cosine-betas",
    hint=told(
        "alpha_bar(t) = cos^2(pi/2 (t + s)/(1 + s)) is the square of our alpha; beta_n = 1 - ratio of neighbours.",
        "alpha_bar(t) = cos^2(pi/2 (t + s)/(1 + s)) は本書の alpha の2乗。beta_n = 1 - 隣どうしの比である。",
    ),
)
def cosine_betas(answer: Callable) -> Diagnosis | None:
    """answer(n, s, cap) -> the n betas of the cosine schedule, at most cap."""
    n, s, cap = 40, 0.05, 0.8

    def betas(power: int = 2, s: float = s, cap: float = cap, first: int = 0) -> Tensor:
        t = torch.linspace(0, 1, n + 1, dtype=F64)
        c = torch.cos(0.5 * math.pi * (t + s) / (1 + s)) ** power
        return (1 - c[1:] / c[:-1]).clamp_max(cap)

    t = torch.arange(n, dtype=F64) / n
    early = torch.cos(0.5 * math.pi * (torch.cat([t, t[-1:] + 1 / n]) + s) / (1 + s)) ** 2
    return compare(
        answer(n, s, cap),
        betas(),
        (betas(cap=1.0), "the cap is missing: the last beta is 1, and its step cannot be undone by dividing by alpha.",
         "上限 cap がない。最後の beta が1になり、その一歩は alpha で割って戻れない。"),
        (betas(power=1), "beta is 1 - ratio of alpha^2, not of alpha: x_n = sqrt(1 - beta) x_(n-1) + …",
         "beta は alpha の比ではなく alpha^2 の比から作る。x_n = sqrt(1 - beta) x_(n-1) + … だからである。"),
        (betas(s=0.0), "s does not enter: it keeps the first betas from being too small.",
         "s が入っていない。s は最初の beta が小さくなりすぎるのを防ぐ。"),
        (early[:-1] / early[0], "these are alpha_bar, not betas.", "これは beta ではなく alpha_bar である。"),
        (1 - early[1:] / early[0], "1 - alpha_bar is the variance so far, not that of one step.",
         "1 - alpha_bar はそこまでの分散。一歩分ではない。"),
    )  # fmt: skip


@exercise(
    "ch07-c-out",
    hint=told(
        "x_0 - c_skip x = (1 - c_skip alpha) x_0 - c_skip sigma eps: two independent parts. c_out is its deviation.",
        "x_0 - c_skip x = (1 - c_skip alpha) x_0 - c_skip sigma eps は独立な二つの和。c_out はその標準偏差である。",
    ),
)
def c_out(answer: Callable) -> Diagnosis | None:
    """answer(alpha, sigma, d, c_skip) -> c_out, for which (x_0 - c_skip x)/c_out has unit variance."""
    alpha, sigma = (torch.tensor(v, dtype=F64) for v in ([1.0, 0.8, 0.6, 0.3], [0.5, 0.6, 0.9, 2.0]))
    c, d = torch.tensor([0.3, 0.9, -0.2, 0.1], dtype=F64), 0.7
    rest = 1 - c * alpha
    best = sigma * d / (alpha**2 * d**2 + sigma**2).sqrt()
    return compare(
        answer(alpha.clone(), sigma.clone(), d, c.clone()),
        (rest**2 * d**2 + c**2 * sigma**2).sqrt(),
        (rest**2 * d**2 + c**2 * sigma**2, "this is the variance; c_out is a deviation, its root.",
         "これは分散。c_out は標準偏差で、その平方根である。"),
        (best, "this is c_out at the best c_skip; here c_skip is given.",
         "これは最良の c_skip のときの c_out。ここでは c_skip が与えられている。"),
        ((rest**2 + c**2 * sigma**2).sqrt(), "the data's deviation d does not enter.",
         "データの標準偏差 d が入っていない。"),
        (((1 - c) ** 2 * d**2 + c**2 * sigma**2).sqrt(), "alpha is missing: x = alpha x_0 + sigma eps.",
         "alpha が抜けている。x = alpha x_0 + sigma eps である。"),
        ((rest**2 * d**2 + sigma**2).sqrt(), "the noise is multiplied by c_skip, too.",
         "ノイズの項にも c_skip が掛かる。"),
        (rest.abs() * d + c.abs() * sigma, "independent parts add up in variance, not in deviation.",
         "独立な和では、足されるのは標準偏差ではなく分散である。"),
        ((rest**2 * d + c**2 * sigma).sqrt(), "d and sigma are deviations: square them.",
         "d と sigma は標準偏差なので、2乗すること。"),
        (1 / (rest**2 * d**2 + c**2 * sigma**2).sqrt(), "this is 1/c_out.", "これは c_out の逆数である。"),
    )  # fmt: skip
