"""Checkers of chapter 2 (Fokker-Planck): each runs the reader's function on a small case and names the mistake it sees.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import process
from ..distributions import GaussianMixture
from . import Diagnosis, exercise

Mistake = tuple[Any, str, str]


def _told(en: str, ja: str) -> Diagnosis:
    return {"en": en, "ja": ja}


def _close(got: Tensor, want: Tensor, tol: float = 1e-7) -> bool:
    return torch.allclose(got, want, rtol=0.0, atol=tol * float(want.abs().max()))


def _compare(result: Any, want: Tensor, *mistakes: Mistake) -> Diagnosis | None:
    """None if ``result`` is ``want``, else the first mistake it equals, else that it is something else."""
    if result is None or result is ...:
        return _told("nothing is returned yet.", "まだ何も返していない。")
    got = torch.as_tensor(result).detach().to(torch.float64)
    if got.shape != want.shape:
        a, b = tuple(got.shape), tuple(want.shape)
        return _told(f"the result has shape {a}, expected {b}.", f"結果の形が {a} になっている。{b} のはずである。")
    if not got.isfinite().all():
        return _told("the result has values that are not finite.", "結果に有限でない値がある。")
    if _close(got, want):
        return None
    for wrong, en, ja in mistakes:
        if _close(got, wrong.detach()):
            return _told(en, ja)
    off = float((got - want).abs().max() / want.abs().max())
    return _told(
        f"not right yet: off by up to {off:.2g} of the largest value. sd.exercises.hint may help.",
        f"まだ合わない: 最大で、いちばん大きな値の {off:.2g} 倍ずれている。sd.exercises.hint も見てみよう。",
    )


def _unknown(told: Diagnosis | None) -> bool:
    """Wrong, of the right shape and finite, but none of the usual mistakes: worth a closer look."""
    return told is not None and told["en"].startswith("not right yet")


def _d(y: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


@exercise(
    "ch02-rhs",
    hint=_told(
        "differentiate f p once and g^2 p twice, each as one lump; the signs are - and +, the factor is 1/2.",
        "fp を一度、g^2 p を二度、それぞれひとかたまりのまま微分する。符号は順に負と正、係数は 1/2。",
    ),
)
def rhs(answer: Callable) -> Diagnosis | None:
    """answer(p, f, g, x) -> -(f p)' + (g^2 p)''/2 at x (n,), for functions p, f, g of x."""
    x = torch.linspace(0.3, 2.0, 41, dtype=torch.float64).requires_grad_()

    def p(x):
        return torch.exp(-(x**2) / 2) * (1 + 0.3 * torch.sin(3 * x))

    def f(x):
        return 1 - x**2

    def g(x):
        return 0.5 + 0.3 * x**2

    drift, flow = _d(f(x) * p(x), x), f(x) * _d(p(x), x)
    inside, outside = _d(_d(g(x) ** 2 * p(x), x), x) / 2, g(x) ** 2 * _d(_d(p(x), x), x) / 2
    return _compare(
        answer(p, f, g, x),
        (-drift + inside).detach(),
        (drift + inside, "the drift term has the wrong sign: one derivative moved, one minus.",
         "ドリフト項の符号が逆。微分を一度移したので、負号が一つ付く。"),
        (-drift - inside, "the diffusion term has the wrong sign: two derivatives moved, two minuses cancel.",
         "拡散項の符号が逆。微分を二度移したので、負号は二つで打ち消し合う。"),
        (-drift + 2 * inside, "the diffusion term is twice the exact one: is the 1/2 missing?",
         "拡散項がちょうど2倍。1/2 が抜けていないか。"),
        (-drift + outside, "g^2 stands outside the second derivative; it depends on x, so differentiate g^2 p.",
         "g^2 が二階微分の外に出ている。g は x によるので、g^2 p 全体を微分する。"),
        (-drift + _d(_d(g(x) * p(x), x), x) / 2, "g is not squared.", "g が2乗されていない。"),
        (-flow + inside, "f stands outside the derivative: the part -f' p is missing.",
         "f が微分の外に出ている。-f' p の分が抜けている。"),
        (flow + outside, "this is the generator of the backward Kolmogorov equation; integrate by parts.",
         "これは後ろ向きコルモゴロフ方程式の生成作用素である。部分積分で微分を p の側へ移すこと。"),
        (drift - inside, "the sign of the whole is wrong: this is -dp/dt.", "全体の符号が逆。これは -dp/dt である。"),
        (inside, "the drift term is missing.", "ドリフト項がない。"),
        (-drift, "the diffusion term is missing.", "拡散項がない。"),
    )  # fmt: skip


@exercise(
    "ch02-ring",
    hint=_told(
        "torch.roll(p, -1) is the right neighbour; J at face i leaves cell i and enters cell i+1.",
        "torch.roll(p, -1) が右隣。壁 i の J はセル i から出て、セル i+1 に入る。",
    ),
)
def ring(answer: Callable) -> Diagnosis | None:
    """answer(p, f_faces, D, dx, dt) -> p after one explicit step with the averaged flux on a ring of n cells."""
    k = torch.arange(12, dtype=torch.float64)
    p, f, D, dx, dt = 1 + 0.5 * torch.sin(2 * k) + 0.1 * (k % 3), torch.cos(k), 0.3, 0.2, 0.01
    right, left = p.roll(-1), p.roll(1)
    J = f * (p + right) / 2 - D * (right - p) / dx
    uphill, shifted = f * (p + right) / 2 + D * (right - p) / dx, f * (left + p) / 2 - D * (p - left) / dx
    want = p - dt / dx * (J - J.roll(1))
    result = answer(p.clone(), f.clone(), D, dx, dt)
    told = _compare(
        result,
        want,
        (p - dt / dx * (J.roll(-1) - J), "roll goes the wrong way: J is lost on the right, gained on the left.",
         "roll の向きが逆。セルは右の壁の J を失い、左の壁の J を受け取る。"),
        (p + dt / dx * (J - J.roll(1)), "the sign of the step is wrong: J at the right face leaves the cell.",
         "一歩の符号が逆。右の壁の J はセルから出ていく。"),
        (p - dt / dx * (uphill - uphill.roll(1)), "diffusion runs uphill: J has -D times the slope.",
         "拡散が低いほうから高いほうへ流れている。J には勾配の -D 倍が入る。"),
        (p - dt * (J - J.roll(1)), "divide the difference of J by dx.", "J の差を dx で割っていない。"),
        (p - dt / dx * (shifted.roll(-1) - shifted), "f_faces[i] is the face between cells i and i+1, not i-1 and i.",
         "f_faces[i] はセル i と i+1 の間の壁であって、i-1 と i の間ではない。"),
        (p - dt / dx * pad(J[:-1], (1, 1)).diff(), "the ends are closed: on a ring the last cell flows into the first.",
         "両端が閉じている。輪では最後のセルから最初のセルへ流れる。"),
        (want - p, "this is the change; add it to p.", "これは変化分。p に足すこと。"),
    )  # fmt: skip
    if _unknown(told) and abs(lost := float((p - result).sum() / p.sum())) > 1e-9:
        return _told(
            f"mass is not kept (a part {lost:.2g} is lost): what leaves a cell must enter its neighbour.",
            f"質量が保たれていない(割合 {lost:.2g} が消えた)。セルから出た分は、必ず隣に入る。",
        )
    return told


@exercise(
    "ch02-fault",
    hint=_told(
        "-(f p)' = -f p' - f' p. Write the step as differences of J at the faces; then no normalising is needed.",
        "-(fp)' = -f p' - f' p。一歩を壁の J の差で書けば、規格化は要らなくなる。",
    ),
)
def fault(answer: Callable) -> Diagnosis | None:
    """answer(p, x, f, D, dt) -> one conservative step between closed walls, for a non-linear drift."""
    x = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    p, dx, D, dt = 0.3 + 0.5 * torch.exp(-((x - 0.2) ** 2)), 0.1, 0.5, 1e-3

    def f(x):
        return x - x**3

    def expanded(*, product_rule: bool) -> Tensor:
        q = pad(p, (1, 1))
        flat = -f(x) * (q[2:] - q[:-2]) / (2 * dx) + D * (q[2:] - 2 * p + q[:-2]) / dx**2
        return p + dt * (flat - product_rule * (1 - 3 * x**2) * p)

    result = answer(p.clone(), x.clone(), f, D, dt)
    J = f((x[1:] + x[:-1]) / 2) * (p[1:] + p[:-1]) / 2 - D * p.diff() / dx
    want = p - dt / dx * pad(J, (1, 1)).diff()
    back = p + dt / dx * pad(J, (1, 1)).diff()
    told = _compare(result, want, (back, "the sign of the step is wrong: it goes back in time.", "一歩の符号が逆。"))
    if not _unknown(told):
        return told
    if not _close(answer(2 * p, x.clone(), f, D, dt), 2 * result, 1e-9):
        return _told(
            "it still normalises: twice the density must give twice the result. Normalising hides the leak.",
            "まだ規格化している。密度を2倍にして渡せば、結果も2倍になるはずだ。規格化は漏れを隠すだけである。",
        )
    inner = slice(2, -2)
    if _close(result[inner], expanded(product_rule=False)[inner]):
        return _told("the term -f' p is still missing.", "-f' p の項がまだ抜けている。")
    lost = float((p - result).sum() / p.sum()) / dt
    if _close(result[inner], want[inner]) and abs(lost) > 1e-9:
        return _told(
            "right inside, but mass passes the outer walls: J must be 0 there.",
            "内側は正しいが、外の壁から質量が出入りしている。壁では J = 0 とすること。",
        )
    if abs(lost) > 1e-9:
        return _told(
            f"mass changes at rate {-lost:.2g}: the expanded form does not cancel; use differences of J at faces.",
            f"質量が単位時間に {-lost:.2g} の割合で変わる。展開した形では打ち消し合わない。壁の J の差で書くこと。",
        )
    rate, exact = (result - p) / dt, (want - p) / dt
    # another conservative flux, such as the fitted one, is right too
    return None if _close(rate, exact, 0.02) else told


@exercise(
    "ch02-stationary",
    hint=_told(
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
    told = _compare(
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
    if told is None and not _close(torch.as_tensor(answer(lambda x: V(x) + 1000, g, x)).nan_to_num(), want):
        return _told(
            "right, but V + 1000 gives another answer: exp underflows. Subtract the maximum of log p first.",
            "正しいが、V + 1000 とすると答えが変わる。exp が 0 につぶれている。先に log p の最大値を引くこと。",
        )
    return told


@exercise(
    "ch02-velocity",
    hint=_told(
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
    return _compare(
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
    )  # fmt: skip


@exercise(
    "ch02-backward",
    hint=_told(
        "E[X_T^2] = mean^2 + variance with the time to go, T - t: mean x e^{-(T-t)}, variance 1 - e^{-2(T-t)}.",
        "E[X_T^2] = 平均^2 + 分散。残り時間 T - t を使い、平均 x e^{-(T-t)}、分散 1 - e^{-2(T-t)}。",
    ),
)
def backward(answer: Callable) -> Diagnosis | None:
    """answer(x, t) -> E[X_1^2 | X_t = x] for dX = -X dt + sqrt(2) dw."""
    x, t = torch.linspace(-2, 2, 9, dtype=torch.float64), 0.3
    a, b = (torch.exp(torch.tensor(-2 * s, dtype=torch.float64)) for s in (1 - t, t))
    told = _compare(
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
    )  # fmt: skip
    if _unknown(told):
        end = torch.as_tensor(answer(x.clone(), 1.0)).to(torch.float64)
        if not _close(end, x**2):
            return _told("u(x, T) must be h(x) = x^2.", "終端条件 u(x, T) = h(x) = x^2 が成り立っていない。")
    return told
