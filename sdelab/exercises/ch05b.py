"""Checkers of chapter 5 (2), exponential solvers: moments, a step of DPM-Solver-2, the corrector, weights of 3M.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .. import process
from . import Diagnosis, exercise
from .diagnosis import compare, told, unwritten

VP = process.VP()
F64 = torch.float64


def numbers(values) -> Tensor:
    """A tensor of a list of numbers or of lists of them."""
    return torch.stack([torch.as_tensor(v, dtype=F64) for v in values])


@exercise(
    "ch05b-moments",
    hint=told(
        "integrate by parts: N_n = n N_{n-1} - h^n, with N_0 = e^h - 1. Check h = 1: 1.718, 0.718, 0.437.",
        "部分積分すると N_n = n N_{n-1} - h^n、N_0 = e^h - 1。h = 1 なら 1.718, 0.718, 0.437 になる。",
    ),
)
def moments(answer: Callable) -> Diagnosis | None:
    """answer(h, count) -> N_0 … N_{count-1}, N_n = int_0^h e^{h-u} u^n du, the moments of noise prediction."""
    hs, count = (0.4, 1.0, 2.5), 4

    def table(first: Callable, rule: Callable) -> Tensor:
        rows = []
        for h in hs:
            N = [first(h)]
            for n in range(1, count):
                N.append(rule(h, n, N[-1]))
            rows.append(N)
        return torch.tensor(rows, dtype=F64)

    def mass(h):
        return math.exp(h) - 1

    def power(h, n, last):
        return n * last - h**n

    answers = [answer(h, count) for h in hs]
    if said := unwritten(*answers):
        return said
    right = table(mass, power)
    scale = torch.tensor([[h**n for n in range(count)] for h in hs], dtype=F64)
    return compare(
        numbers(answers),
        right,
        (table(lambda h: 1 - math.exp(-h), lambda h, n, last: h**n - n * last),
         "these are the moments of e^{-(h-u)}, which belong to D; with eps the weight is e^{h-u}.",
         "これは e^{-(h-u)} のモーメントで、D のもの。eps の重みは e^{h-u} である。"),
        (table(mass, lambda h, n, last: n * last + h**n), "the sign of the boundary term: it is -h^n.",
         "境界の項の符号が逆。-h^n である。"),
        (table(mass, lambda h, n, last: h**n - n * last), "the recursion is that of D, with both signs the other way.",
         "漸化式が D のもののまま。符号が二つとも逆である。"),
        (table(mass, lambda h, n, last: last - h**n), "the factor n, from the derivative of u^n, is missing.",
         "u^n の微分から出る n が抜けている。"),
        (table(mass, lambda h, n, last: n * last - h ** (n + 1)), "the boundary term is h^n, not h^(n+1).",
         "境界の項は h^n であって h^(n+1) ではない。"),
        (table(math.exp, power), "N_0 is the integral e^h - 1, not e^h.", "N_0 は積分 e^h - 1。e^h ではない。"),
        (right / scale, "these are divided by h^n: right for nodes in units of h, but here u is not scaled.",
         "h^n で割られている。節点を h で測るときの値である。ここでは u をそのまま使う。"),
        (-right, "the sign of the whole: e^{h-u} is positive, and the minus stands before sigma_t.",
         "全体の符号が逆。e^{h-u} は正で、負号は sigma_t の前にある。"),
    )  # fmt: skip


def _state() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.linspace(-2, 2, 24, dtype=F64).reshape(12, 2)
    return x, 0.7 * torch.tanh(3 * x), 0.6 * torch.tanh(2 * x + 0.3)


def _denoise(x: Tensor, t) -> Tensor:
    return torch.tanh((2 + torch.as_tensor(t)) * x) * 0.8 + 0.1


@exercise(
    "ch05b-dpm2",
    hint=told(
        "lam at the middle is (lam_s + lam_t)/2, its time process.t_of_lam. DDIM takes x there; eps there replaces "
        "eps_s in the DDIM step over all of h: x_t = (alpha_t/alpha_s) x_s - sigma_t (e^h - 1) eps.",
        "中点の lam は (lam_s + lam_t)/2、時刻は process.t_of_lam。そこまでDDIMで進み、そこでの eps を、"
        "全体の一歩 x_t = (alpha_t/alpha_s) x_s - sigma_t (e^h - 1) eps に使う。",
    ),
)
def dpm2(answer: Callable) -> Diagnosis | None:
    """answer(x, s, t, D, process) -> x_t by DPM-Solver-2 (inner node half way in lam, noise prediction)."""
    s, t = 0.6, 0.2
    x, *_ = _state()
    lam_s, lam_t = VP.lam(s), VP.lam(t)

    def step(x, a, b, eps):
        return VP.alpha(b) / VP.alpha(a) * x - VP.sigma(b) * torch.expm1(VP.lam(b) - VP.lam(a)) * eps

    def eps(x, t):
        return (x - VP.alpha(t) * _denoise(x, t)) / VP.sigma(t)

    def by(m, use=None):
        y = step(x, s, m, eps(x, s))
        return step(x, s, t, eps(y, m) if use is None else use(y, m))

    def pp(m):  # the same in D
        def one(x, a, b, D):
            return VP.sigma(b) / VP.sigma(a) * x - VP.alpha(b) * torch.expm1(VP.lam(a) - VP.lam(b)) * D

        return one(x, s, t, _denoise(one(x, s, m, _denoise(x, s)), m))

    m = VP.t_of_lam((lam_s + lam_t) / 2)
    y = step(x, s, m, eps(x, s))
    return compare(
        answer(x.clone(), s, t, _denoise, VP),
        by(m),
        (step(x, s, t, eps(x, s)), "this is DDIM: the second evaluation is not used.",
         "これはDDIM。2回目の評価が使われていない。"),
        (by(torch.tensor((s + t) / 2, dtype=F64)), "the middle is taken in t: take it in lam.",
         "中点を t で取っている。lam で取ること。"),
        (pp(m), "D is held instead of eps: this is DPM++ 2S, a good method, but another one.",
         "eps の代わりに D を固定している。これは DPM++ 2S で、良い方法だが別物である。"),
        (step(y, m, t, eps(y, m)), "the last step starts at the middle: two DDIM steps, of order 1. Start from x_s.",
         "最後の一歩が中点から出ている。DDIMを2歩進んだだけで1次である。x_s から出ること。"),
        (by(m, lambda y, m: (eps(x, s) + eps(y, m)) / 2), "the mean of both eps: at the middle node eps alone counts.",
         "二つの eps を平均している。中点なら、中点の eps だけを使う。"),
        (by(m, lambda y, m: eps(x, m)), "eps at the middle is taken at x_s: take it at the state DDIM has reached.",
         "中点の eps を x_s で計算している。DDIMで進んだ先の状態で計算すること。"),
        (y, "this is the state at the middle: the whole step is missing.", "これは中点の状態。全体の一歩がない。"),
    )  # fmt: skip


@exercise(
    "ch05b-correct",
    hint=told(
        "the weights of D_s and D_t add up to M_0 and their moment is w_t h = M_1: w_t = M_1/h, w_s = M_0 - M_1/h.",
        "D_s と D_t の重みの和は M_0、1次モーメントは w_t h = M_1。よって w_t = M_1/h、w_s = M_0 - M_1/h。",
    ),
)
def correct(answer: Callable) -> Diagnosis | None:
    """answer(x, D_s, D_t, s, t, process) -> corrected x_t: D linear in lam through both ends, exact weights."""
    s, t = 0.5, 0.1
    x, D_s, D_t = _state()
    h = float(VP.lam(t) - VP.lam(s))
    M0, M1 = 1 - math.exp(-h), h - (1 - math.exp(-h))

    decay, alpha = float(VP.sigma(t) / VP.sigma(s)), float(VP.alpha(t))

    def by(w_s: float, w_t: float, keep: float = decay, scale: float = alpha) -> Tensor:
        return keep * x + scale * (w_s * D_s + w_t * D_t)

    return compare(
        answer(x.clone(), D_s.clone(), D_t.clone(), s, t, VP),
        by(M0 - M1 / h, M1 / h),
        (by(M0, 0.0), "this is the predictor: D_t is not used.", "これは予測子のまま。D_t が使われていない。"),
        (by(M0 / 2, M0 / 2), "both weights are M_0/2: the same order, UniPC's bh2, but not exact for D linear in lam.",
         "重みが両方とも M_0/2。次数は同じ(UniPCのbh2)だが、lam の1次式に対して厳密ではない。"),
        (by(M1 / h, M0 - M1 / h), "the two weights are swapped: the later end counts more.",
         "二つの重みが逆。終わりの端のほうが重い。"),
        (by(M0 - M1, M1), "M_1 is not divided by h.", "M_1 を h で割っていない。"),
        (by(0.0, M0), "only D_t is used: of order 1, like the predictor.",
         "D_t だけを使っている。予測子と同じ1次である。"),
        (by(M0 - M1 / h, M1 / h, keep=1.0), "x_s must be multiplied by sigma_t/sigma_s.",
         "x_s に sigma_t/sigma_s を掛けること。"),
        (by(M0 - M1 / h, M1 / h, keep=alpha / float(VP.alpha(s))), "alpha_t/alpha_s goes with eps; with D it is "
         "sigma_t/sigma_s.", "alpha_t/alpha_s は eps のときの係数。D では sigma_t/sigma_s である。"),
        (by(M0 - M1 / h, M1 / h, scale=1.0), "the integral must be multiplied by alpha_t.",
         "積分に alpha_t を掛けること。"),
    )  # fmt: skip


@exercise(
    "ch05b-3m",
    hint=told(
        "three conditions: the weights add up to M_0, sum w u = M_1, sum w u^2 = M_2, at u = 0, -h1 and -(h1 + h2).",
        "条件は三つ。節点 u = 0, -h1, -(h1 + h2) で、Σw = M_0、Σwu = M_1、Σwu² = M_2。",
    ),
)
def third(answer: Callable) -> Diagnosis | None:
    """answer(h, h1, h2) -> weights of D_s, D_1, D_2 (h1, h2: the last two steps in lam), of third order."""
    steps = [(0.4, 0.3, 0.5), (0.8, 0.6, 0.9), (1.0, 0.2, 0.6)]

    def table(change: Callable = lambda h, M: M, nodes=lambda h, h1, h2: (0.0, -h1, -h1 - h2)) -> Tensor:
        rows = []
        for h, h1, h2 in steps:
            M0 = 1 - math.exp(-h)
            M = change(h, [M0, h - M0, h * h - 2 * (h - M0)])
            u = torch.tensor(nodes(h, h1, h2), dtype=F64)
            rows.append(torch.linalg.solve(torch.vander(u, increasing=True).T, torch.tensor(M, dtype=F64)))
        return torch.stack(rows)

    def midpoint() -> Tensor:
        rows = []
        for h, h1, _ in steps:
            M0 = 1 - math.exp(-h)
            rows.append(torch.tensor([M0 * (1 + h / h1 / 2), -M0 * h / h1 / 2, 0.0], dtype=F64))
        return torch.stack(rows)

    answers = [answer(*each) for each in steps]
    if said := unwritten(*answers):
        return said
    return compare(
        numbers(answers),
        table(),
        (table(lambda h, M: [M[0], M[1], M[2] / 2]), "the published rule, of order 2: the second moment is halved.",
         "これは論文の規則で2次。2次のモーメントが半分になっている。"),
        (table(lambda h, M: [M[0], M[1], 2 * M[2]]), "the second moment is doubled.",
         "2次のモーメントが2倍になっている。"),
        (table(lambda h, M: [M[0], M[1], 0.0]), "the second moment is missing.", "2次のモーメントがない。"),
        (midpoint(), "this is DPM++ 2M: the oldest value is not used.",
         "これは DPM++ 2M。いちばん古い値を使っていない。"),
        (table(nodes=lambda h, h1, h2: (0.0, -h1, -h2)), "the oldest node is at -(h1 + h2), not at -h2.",
         "いちばん古い節点は -(h1 + h2)。-h2 ではない。"),
        (table(nodes=lambda h, h1, h2: (0.0, -h, -2 * h)), "the past steps are taken to be as long as this one.",
         "過去の歩幅を今の歩幅と同じとみなしている。"),
        (table(nodes=lambda h, h1, h2: (0.0, h1, h1 + h2)), "past nodes are negative: lam grows along the run.",
         "過去の節点は負。lam は進むにつれて増える。"),
        (table().flip(1), "the order of the weights is reversed: D_s first.", "重みの並びが逆。D_s が先頭。"),
    )  # fmt: skip
