"""Checkers of chapter 2 (Fokker-Planck), sections 2.8 to 2.10: stationary law, velocity, backward equation.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import process
from ..distributions import GaussianMixture
from . import Diagnosis, exercise
from .diagnosis import compare, equal, told, unknown


@exercise(
    "ch02-stationary",
    hint=told(
        "no current: (log p)' = -2V'/g^2. Subtract the maximum of log p before exp, then divide by sum times dx.",
        "流れがない条件から (log p)' = -2V'/g^2。exp の前に log p の最大値を引き、最後に「和×dx」で割る。",
    ),
)
def stationary(answer: Callable) -> Diagnosis | None:
    """answer(V, g, x) -> density proportional to exp(-2V/g^2) on equally spaced x, with sum(p) dx = 1."""
    x, g = torch.linspace(-3, 3, 241, dtype=torch.float64), 0.8
    dx = 6 / 240

    def V(x):
        return x**4 / 4 - x**2 / 2 + 0.3 * x

    def density(factor: float) -> Tensor:
        p = torch.exp(factor * V(x) - (factor * V(x)).max())
        return p / (p.sum() * dx)

    want = density(-2 / g**2)
    said = compare(
        answer(V, g, x),
        want,
        (density(-1 / g**2), "the exponent is half the right one: it is -2V/g^2.", "指数が半分。正しくは -2V/g^2。"),
        (density(-4 / g**2), "the exponent is twice the right one: it is -2V/g^2.", "指数が2倍。正しくは -2V/g^2。"),
        (density(-2 / g), "g is not squared.", "g が2乗されていない。"),
        (density(-1), "the noise does not enter: this is exp(-V).", "ノイズ g が入っていない。これは exp(-V) である。"),
        (density(2 / g**2), "the sign of V is wrong: particles gather in valleys.", "V の符号が逆。粒子は谷に集まる。"),
        (want * dx, "the values sum to 1; a density also needs dx: sum(p) dx = 1.",
         "値の和が1になっている。密度なので dx を掛けて、和×dx = 1 とすること。"),
        (torch.exp(-2 * V(x) / g**2), "right shape, but not normalised: sum(p) dx must be 1.",
         "形は正しいが規格化していない。和×dx = 1 とすること。"),
    )  # fmt: skip
    if said is None and not equal(torch.as_tensor(answer(lambda x: V(x) + 1000, g, x)).nan_to_num(), want):
        return told(
            "right, but V + 1000 gives another answer: exp underflows. Subtract the maximum of log p first.",
            "正しいが、V + 1000 とすると答えが変わる。exp が 0 につぶれている。先に log p の最大値を引くこと。",
        )
    return said


@exercise(
    "ch02-velocity",
    hint=told(
        "v = f x - g^2/2 times the score; process.g2 is already squared.",
        "v = f x - (g^2/2) × スコア。process.g2 はすでに2乗した値である。",
    ),
)
def velocity(answer: Callable) -> Diagnosis | None:
    """answer(x, t, process, score) -> f(t) x - g(t)^2/2 score(x, t), shape of x (n, d)."""
    vp, t = process.VP(), 0.3
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.4]], 0.3)
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)
    s, fx, g2 = law.at(vp, t).score(x), vp.f(t) * x, vp.g2(t)
    return compare(
        answer(x.clone(), t, vp, lambda x, t: law.at(vp, t).score(x)),
        fx - g2 / 2 * s,
        (fx - g2 * s, "this is the drift of the reverse SDE; the probability flow has g^2/2.",
         "これは逆拡散過程のドリフト。確率フローでは g^2 の半分である。"),
        (fx + g2 / 2 * s, "the sign of the score term is wrong.", "スコアの項の符号が逆。"),
        (fx - g2.sqrt() / 2 * s, "g is not squared: use process.g2(t).", "g が2乗されていない。process.g2(t) を使う。"),
        (fx - g2**2 / 2 * s, "g2 is squared already.", "g2 はすでに2乗した値である。"),
        (vp.f(t) - g2 / 2 * s, "process.f(t) is a factor: multiply it by x.", "process.f(t) は係数。x を掛けること。"),
        (-g2 / 2 * s, "the drift f x is missing.", "ドリフト f x がない。"),
        (-fx + g2 / 2 * s, "this is -v: the flow seen with time reversed.", "これは -v。時間を逆にした流れである。"),
        (-fx + g2 * s, "this is the drift of the reverse SDE, in reversed time; the flow is f x - (g^2/2) score.",
         "これは時間を逆に測った逆拡散過程のドリフト。確率フローは f x - (g^2/2) × スコア。"),
    )  # fmt: skip


@exercise(
    "ch02-backward",
    hint=told(
        "E[X_T^2] = mean^2 + variance with the time to go, T - t: mean x e^{-(T-t)}, variance 1 - e^{-2(T-t)}.",
        "E[X_T^2] = 平均^2 + 分散。残り時間 T - t を使い、平均 x e^{-(T-t)}、分散 1 - e^{-2(T-t)}。",
    ),
)
def backward(answer: Callable) -> Diagnosis | None:
    """answer(x, t) -> E[X_1^2 | X_t = x] for dX = -X dt + sqrt(2) dw."""
    x, t, end = torch.linspace(-2, 2, 9, dtype=torch.float64), *torch.tensor([0.3, 1.0], dtype=torch.float64)
    a, b = torch.exp(-2 * (1 - t)), torch.exp(-2 * t)
    said = compare(
        answer(x.clone(), t),
        a * x**2 + 1 - a,
        (b * x**2 + 1 - b, "the condition is met at t = 0: use the time to go, T - t.",
         "t = 0 で条件が満たされている。時刻 t でなく、残り時間 T - t を使うこと。"),
        (a * x**2, "this is the square of the mean; the variance is missing.", "これは平均の2乗。分散が足りない。"),
        (a * x**2 + 2 * (1 - a), "the variance is twice the exact one: is a 1/2 missing?",
         "分散がちょうど2倍。1/2 が抜けていないか。"),
        (a.sqrt() * x**2 + 1 - a, "the mean x e^{-(T-t)} must be squared.", "平均 x e^{-(T-t)} を2乗していない。"),
        (a.sqrt() * x**2 + 1 - a.sqrt(), "the variance decays with e^{-2(T-t)}, and so does the squared mean.",
         "平均の2乗も分散も、e^{-2(T-t)} で変わる。"),
        (x**2 + 2 * (1 - t), "this is for dX = sqrt(2) dw: the drift -X is missing.",
         "これは dX = sqrt(2) dw の答え。ドリフト -X が入っていない。"),
        (x**2, "this is h itself, the value at t = T only.", "これは h そのもの。t = T でだけ正しい。"),
        (a.sqrt() * x, "this is the mean of X_T; the reward is its square.", "これは X_T の平均。報酬は2乗である。"),
        (a * x**2 + (1 - a) / 2, "the variance is half the exact one: the noise is sqrt(2) dw, g^2 = 2.",
         "分散が半分。ノイズは sqrt(2) dw なので g^2 = 2 である。"),
        (x**2 / a + 1 - 1 / a, "the exponent's sign is wrong: X decays over the time to go.",
         "指数の符号が逆。X は残り時間のあいだに減衰する。"),
    )  # fmt: skip
    if unknown(said):
        if not equal(torch.as_tensor(answer(x.clone(), end)).to(torch.float64), x**2):
            return told("u(x, T) must be h(x) = x^2.", "終端条件 u(x, T) = h(x) = x^2 が成り立っていない。")
    return said
