"""Checkers of chapter 4 (probability-flow ODE), sections 4.1 to 4.5: the family, two times, DDIM by exact integration.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import process
from ..distributions import GaussianMixture
from . import Diagnosis, exercise
from .diagnosis import compare, told, unwritten

VP = process.VP()


@exercise(
    "ch04-drift",
    hint=told(
        "f x minus (1 + eta^2)/2 times g^2 times the score; eta = 0 gives 1/2, eta = 1 gives 1, eta = 2 gives 5/2.",
        "f x から (1 + eta^2)/2 × g^2 × スコアを引く。係数は eta = 0 で 1/2、eta = 1 で 1、eta = 2 で 5/2。",
    ),
)
def drift(answer: Callable) -> Diagnosis | None:
    """answer(x, t, eta, process, score) -> f x - (1 + eta^2)/2 g^2 score, shape of x (n, d), at several eta."""
    t, x = 0.3, torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.4]], 0.3)
    s, fx, g2 = law.at(VP, t).score(x), VP.f(t) * x, VP.g2(t)
    etas = (0.0, 0.5, 1.0, 2.0)

    def table(factor: Callable[[float], float], push: Tensor = g2 * s, pull: Tensor = fx) -> Tensor:
        return torch.stack([pull - factor(eta) * push for eta in etas])

    def right(eta):
        return (1 + eta**2) / 2

    answers = [answer(x.clone(), t, eta, VP, lambda x, t: law.at(VP, t).score(x)) for eta in etas]
    if said := unwritten(*answers):
        return said
    return compare(
        torch.stack([torch.as_tensor(a) for a in answers]),
        table(right),
        (table(lambda eta: (1 + eta) / 2), "right at eta = 0 and 1 only: the factor is (1 + eta^2)/2, not (1 + eta)/2.",
         "eta = 0 と 1 でしか合わない。係数は (1 + eta)/2 ではなく (1 + eta^2)/2 である。"),
        (table(lambda eta: 1 + eta**2), "the score term is twice the exact one: is the 1/2 missing?",
         "スコアの項がちょうど2倍。1/2 が抜けていないか。"),
        (table(lambda eta: eta**2 / 2), "this vanishes with the noise: half of g^2 score stays at eta = 0.",
         "ノイズと一緒に消えている。eta = 0 でも g^2 × スコアの半分が残る。"),
        (table(lambda eta: eta**2), "this vanishes with the noise: half of g^2 score stays at eta = 0.",
         "ノイズと一緒に消えている。eta = 0 でも g^2 × スコアの半分が残る。"),
        (table(lambda eta: 0.5 + eta**2), "eta^2 is not halved: both parts have the factor 1/2.",
         "eta^2 が半分になっていない。1/2 は両方に掛かる。"),
        (table(lambda eta: 1.0), "eta does not enter: this is the reverse SDE's drift for every eta.",
         "eta が入っていない。これは、どの eta でも逆拡散過程のドリフトである。"),
        (table(lambda eta: 0.5), "eta does not enter: this is the ODE's velocity for every eta.",
         "eta が入っていない。これは、どの eta でも確率フローODEの速度である。"),
        (table(lambda eta: -right(eta)), "the sign of the score term is wrong.", "スコアの項の符号が逆。"),
        (-table(right), "the sign of the whole is wrong: times decrease, and dt is negative.",
         "全体の符号が逆。時刻は減っていき、dt が負になる。"),
        (table(right, g2.sqrt() * s), "g is not squared: use process.g2(t).",
         "g が2乗されていない。process.g2(t) を使う。"),
        (table(right, g2**2 * s), "g2 is squared already.", "g2 はすでに2乗した値である。"),
        (table(right, g2 * s, VP.f(t) + 0 * x), "process.f(t) is a factor: multiply it by x.",
         "process.f(t) は係数。x を掛けること。"),
        (table(right, g2 * s, 0 * x), "the drift f x is missing.", "ドリフト f x がない。"),
    )  # fmt: skip


@exercise(
    "ch04-correlation",
    hint=told(
        "v = alpha^2 std^2 + sigma^2. The forward SDE has (alpha_s/alpha_t) sqrt(v_t/v_s); take its power eta^2.",
        "v = alpha^2 std^2 + sigma^2。前向きのSDEでは (alpha_s/alpha_t) sqrt(v_t/v_s)。それを eta^2 乗する。",
    ),
)
def correlation(answer: Callable) -> Diagnosis | None:
    """answer(s, t, eta, process, std) -> correlation of x_s and x_t (t < s) along the family, for data N(0, std^2)."""
    std, times = 0.6, [(0.4, 0.1), (0.6, 0.3), (0.3, 0.01)]
    etas = (0.0, 0.5, 1.0, 2.0)

    def v(t, std=std):
        return (VP.alpha(t) * std) ** 2 + VP.var(t)

    def ratio(s, t):
        return VP.alpha(s) / VP.alpha(t)

    def table(f: Callable) -> Tensor:
        return torch.stack([torch.as_tensor(f(s, t, eta), dtype=torch.float64) for s, t in times for eta in etas])

    def rho(s, t):
        return ratio(s, t) * (v(t) / v(s)).sqrt()

    answers = [answer(s, t, eta, VP, std) for s, t in times for eta in etas]
    if said := unwritten(*answers):
        return said
    return compare(
        torch.stack([torch.as_tensor(a, dtype=torch.float64) for a in answers]),
        table(lambda s, t, eta: rho(s, t) ** (eta**2)),
        (table(lambda s, t, eta: rho(s, t)), "this is the forward SDE's, right at eta = 1 only: eta does not enter.",
         "これは前向きのSDEの相関で、eta = 1 でだけ正しい。eta が入っていない。"),
        (table(lambda s, t, eta: rho(s, t) ** eta), "the power is eta^2: the variance of the noise is eta^2 g^2 dt.",
         "指数は eta^2。ノイズの分散が eta^2 g^2 dt だからである。"),
        (table(lambda s, t, eta: rho(s, t) ** (eta**2 / 2)), "the power is half the right one.",
         "指数が正しい値の半分。"),
        (table(lambda s, t, eta: rho(s, t) ** (2 * eta**2)), "the power is twice the right one.",
         "指数が正しい値の2倍。"),
        (table(lambda s, t, eta: rho(s, t) ** ((1 + eta**2) / 2)), "at eta = 0 nothing is random: it must be 1.",
         "eta = 0 では乱数が入らないので、相関は 1 になるはず。"),
        (table(lambda s, t, eta: ratio(s, t) ** (eta**2)), "right only for std = 1: the sizes sqrt(v) are missing.",
         "std = 1 のときしか合わない。x の大きさ sqrt(v) で割るのを忘れている。"),
        (table(lambda s, t, eta: (ratio(s, t) * v(t) / v(s)) ** (eta**2)), "a correlation divides by sqrt(v_s v_t): "
         "the ratio of variances needs a square root.", "相関は sqrt(v_s v_t) で割る。分散の比に平方根が要る。"),
        (table(lambda s, t, eta: (ratio(s, t) * (v(s) / v(t)).sqrt()) ** (eta**2)), "v_s and v_t are swapped.",
         "v_s と v_t が逆。"),
        (table(lambda s, t, eta: rho(s, t) ** (-(eta**2))), "s and t are swapped: a correlation is at most 1.",
         "s と t が逆。相関は 1 を超えない。"),
        (table(lambda s, t, eta: (ratio(s, t) * (v(t, std**0.5) / v(s, std**0.5)).sqrt()) ** (eta**2)),
         "std is not squared in v.", "v の中で std が2乗されていない。"),
        (table(lambda s, t, eta: 1.0), "this is the ODE's: eta does not enter.",
         "これはODEの相関。eta が入っていない。"),
    )  # fmt: skip


@exercise(
    "ch04-exact-step",
    hint=told(
        "with r = sigma/alpha and y = x/alpha, (y - D)/r stays constant: y_t = D + (r_t/r_s)(y_s - D). "
        "Multiply by alpha_t.",
        "r = sigma/alpha、y = x/alpha とおくと (y - D)/r は一定: y_t = D + (r_t/r_s)(y_s - D)。"
        "最後に alpha_t を掛ける。",
    ),
)
def exact_step(answer: Callable) -> Diagnosis | None:
    """answer(x, D, s, t, process) -> x_t of dy/dr = (y - D)/r solved exactly with D held, shape of x (n, d)."""
    s, t = 0.7, 0.3
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)
    D = 0.7 * torch.tanh(3 * x)
    (a, b), (alpha, sigma) = ((VP.alpha(s), VP.sigma(s)), (VP.alpha(t), VP.sigma(t)))
    ratio = (sigma / alpha) / (b / a)
    y = D + ratio * (x / a - D)
    eps = (x - a * D) / b
    return compare(
        answer(x.clone(), D.clone(), s, t, VP),
        alpha * y,
        (y, "this is y: the noise has the right size against the signal, but all is 1/alpha_t too large.",
         "これは y である。信号とノイズの比は正しいが、全体が 1/alpha_t 倍になっている。alpha_t を掛けること。"),
        (a * y, "multiplied by alpha_s: come back with alpha_t.", "alpha_s を掛けている。戻すときは alpha_t。"),
        (alpha * (D + ratio * (x - D)), "x is used for y: divide by alpha_s first.",
         "y の代わりに x を使っている。先に alpha_s で割る。"),
        (alpha * (D + sigma / b * (x / a - D)), "the noise is measured by sigma; here it is sigma/alpha.",
         "ノイズを sigma で測っている。この座標では sigma/alpha である。"),
        (alpha * (D + (x / a - D) / ratio), "the ratio is upside down: noise shrinks from s to t.",
         "比が上下逆。s から t へノイズは小さくなる。"),
        (alpha * D + b * eps, "the noise has not shrunk: sigma_t, not sigma_s.",
         "ノイズが小さくなっていない。sigma_s ではなく sigma_t。"),
        (D + sigma * eps, "D is not multiplied by alpha_t.", "D に alpha_t が掛かっていない。"),
        (alpha * D, "the noise is missing: this jumps to the scaled denoised state.", "ノイズの項がない。"),
        (alpha * D + sigma * (x - D) / b, "eps is (x - alpha_s D)/sigma_s: alpha_s is missing.",
         "eps は (x - alpha_s D)/sigma_s。alpha_s が抜けている。"),
        (x + (t - s) * (VP.d_alpha(s) * D + VP.d_sigma(s) * eps), "this is Euler's step in t; here y is to be stepped.",
         "これは t で刻んだオイラー法。ここでは y の式を解く。"),
    )  # fmt: skip
