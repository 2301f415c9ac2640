"""Checkers of chapter 5, page a (SDE methods): mean-square limit, Milstein's step, a reverse step in tau = T - t."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import process
from ..distributions import GaussianMixture
from . import Diagnosis, exercise
from .ch05a import F64, judged
from .diagnosis import compare, told

VP = process.VP()


@exercise(
    "ch05a-limit",
    hint=told(
        "E|x_{n+1}|^2 = ((1 + lam h)^2 + mu^2 h) E|x_n|^2; ask when the bracket is below 1, and divide by h.",
        "E|x_{n+1}|^2 = ((1 + lam h)^2 + mu^2 h) E|x_n|^2。括弧が 1 より小さい条件を h で割る。",
    ),
)
def limit(answer: Callable) -> Diagnosis | None:
    """answer(lam, mu) -> the step up to which Euler-Maruyama's mean square falls, 0 where the equation's own grows."""
    asked = ((-1.0, 0.0), (-2.0, 1.0), (-3.0, 2.0), (-1.0, 2.0), (-0.5, 0.9))

    def table(f: Callable, floor: float | None = 0.0) -> Tensor:
        values = [f(lam, mu) for lam, mu in asked]
        return torch.tensor([v if floor is None else max(floor, v) for v in values], dtype=F64)

    def right(lam, mu):
        return -(2 * lam + mu**2) / lam**2

    return judged(
        [answer(lam, mu) for lam, mu in asked],
        table(right),
        (table(right, None), "negative where the equation itself grows (2 lam + mu^2 > 0): return 0 there.",
         "方程式そのものが増大する(2 lam + mu^2 > 0)ときに負になる。そこでは 0 を返すこと。"),
        (table(lambda lam, mu: -2 / lam), "this is Euler's limit without noise: mu does not enter.",
         "これはノイズのないオイラー法の限界。mu が入っていない。"),
        (table(lambda lam, mu: -(2 * lam + mu) / lam**2), "mu is not squared.", "mu が2乗されていない。"),
        (table(lambda lam, mu: -(lam + mu**2) / lam**2), "(1 + lam h)^2 has the middle term 2 lam h.",
         "(1 + lam h)^2 の中央の項は 2 lam h である。"),
        (table(lambda lam, mu: -(2 * lam + mu**2 / 2) / lam**2), "E W^2 = h: mu^2 is not halved.",
         "E W^2 = h だから、mu^2 に 1/2 は付かない。"),
        (table(lambda lam, mu: -(2 * lam + mu**2)), "not divided by lam^2.", "lam^2 で割っていない。"),
        (table(lambda lam, mu: (2 * lam + mu**2) / lam**2), "the sign is wrong: lam is negative.",
         "符号が逆。lam は負である。"),
        (table(lambda lam, mu: -(2 * lam - mu**2) / lam**2), "noise makes the limit smaller, not larger.",
         "ノイズは限界を広げるのではなく、狭める。"),
    )  # fmt: skip


@exercise(
    "ch05a-milstein",
    hint=told(
        "b = sigma x, so b b' = sigma^2 x; add 1/2 b b' (W^2 - h) to Euler-Maruyama's step.",
        "b = sigma x だから b b' = sigma^2 x。オイラー・丸山法に 1/2 b b' (W^2 - h) を足す。",
    ),
)
def milstein(answer: Callable) -> Diagnosis | None:
    """answer(x, h, W, mu, sigma) -> x after Milstein's step on dx = mu x dt + sigma x dw, shape of x."""
    x, W, h, mu, sigma = (
        torch.linspace(0.5, 2, 9, dtype=F64), torch.linspace(-0.7, 0.9, 9, dtype=F64), 0.2, 0.5, 1.5,
    )  # fmt: skip
    em, half = x + mu * x * h + sigma * x * W, sigma**2 * x / 2
    return compare(
        answer(x.clone(), h, W.clone(), mu, sigma),
        em + half * (W**2 - h),
        (em, "this is Euler-Maruyama: the correction is missing.", "これはオイラー・丸山法。補正がない。"),
        (em + 2 * half * (W**2 - h), "the correction is twice too large: its factor is 1/2.",
         "補正がちょうど2倍。1/2 が抜けている。"),
        (em + half * W**2, "h is not subtracted from W^2: in Ito's sense the correction has mean 0.",
         "W^2 から h を引いていない。伊藤の意味では補正の平均は 0 である。"),
        (em - half * (W**2 - h), "the sign of the correction is wrong.", "補正の符号が逆。"),
        (em + half * (W**2 + h), "h is to be subtracted.", "h は引く。"),
        (em + sigma * x / 2 * (W**2 - h), "b b' is sigma^2 x: b' = sigma is missing.",
         "b b' は sigma^2 x である。b' = sigma が抜けている。"),
        (em + sigma**2 * x**2 / 2 * (W**2 - h), "b b', not b^2: x stands once.", "b^2 ではなく b b'。x は一つだけ。"),
        (x + mu * x * h + half * (W**2 - h), "the noise b W itself is missing.", "ノイズの項 b W がない。"),
        (x * torch.exp((mu - sigma**2 / 2) * h + sigma * W), "this is the exact solution: only this equation has one.",
         "これは厳密解である。この方程式でしか使えない。"),
    )  # fmt: skip


@exercise(
    "ch05a-reverse",
    hint=told(
        "everything stands at t = T - tau, and dt = -dtau turns the drift: g^2 score - f x.",
        "係数はすべて t = T - tau の値。dt = -dtau なのでドリフトの符号が変わり、g^2 × スコア - f x になる。",
    ),
)
def reverse(answer: Callable) -> Diagnosis | None:
    """answer(x, tau, h, z, process, score) -> an Euler-Maruyama step of the reverse SDE in tau = T - t, from tau on."""
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.4]], 0.3)
    x = torch.linspace(-2, 2, 24, dtype=F64).reshape(12, 2)
    z, h, taus = torch.cos(5 * x), 0.02, (0.3, 0.9)

    def score(x, t):
        return law.at(VP, t).score(x)

    def table(drift: Callable, noise: Callable = lambda t, tau: VP.g(t) * h**0.5) -> Tensor:
        return torch.stack([x + h * drift(1 - tau, tau) + noise(1 - tau, tau) * z for tau in taus])

    def right(t, tau):
        return VP.g2(t) * score(x, t) - VP.f(t) * x

    return judged(
        [answer(x.clone(), tau, h, z.clone(), VP, score) for tau in taus],
        table(right),
        (table(lambda t, tau: VP.f(tau) * x - VP.g2(tau) * score(x, tau), lambda t, tau: VP.g(tau) * h**0.5),
         "this is the colleague's: two faults are left.", "これは同僚のもののまま。間違いが二つ残っている。"),
        (table(lambda t, tau: -right(t, tau)), "the time is right, the drift's sign is not: dt = -dtau.",
         "時刻は直っているが、ドリフトの符号が逆。dt = -dtau である。"),
        (table(lambda t, tau: right(tau, t), lambda t, tau: VP.g(tau) * h**0.5),
         "the sign is right, but all stands at tau: put t = T - tau.",
         "符号は直っているが、時刻が tau のまま。t = T - tau とする。"),
        (table(right, lambda t, tau: VP.g(tau) * h**0.5), "the noise still has g at tau.",
         "ノイズの g が tau での値のまま。"),
        (table(right, lambda t, tau: VP.g(t - h) * h**0.5), "g at the end of the step: Ito's sum has it at the start.",
         "g が歩の終わりの値になっている。伊藤の和では歩の始めの値をとる。"),
        (table(lambda t, tau: VP.g2(t) * score(x, tau) - VP.f(t) * x), "the score is still taken at tau.",
         "スコアの時刻が tau のまま。"),
        (table(right, lambda t, tau: VP.g(t) * h), "noise grows like sqrt(h), not h.",
         "ノイズは h ではなく sqrt(h) に比例する。"),
        (table(right, lambda t, tau: VP.g2(t) * h**0.5), "the noise has g, not g^2.",
         "ノイズの係数は g^2 ではなく g。"),
        (table(lambda t, tau: 0.5 * VP.g2(t) * score(x, t) - VP.f(t) * x), "half of the score is the ODE's; with noise "
         "it is the whole g^2 score.", "スコアの係数が半分なのはODE。ノイズを入れるなら g^2 のまま。"),
        (table(lambda t, tau: VP.g2(t) * score(x, t) + VP.f(t) * x), "f x turns its sign too.", "f x の符号も変わる。"),
        (table(right, lambda t, tau: 0.0), "the noise is missing.", "ノイズがない。"),
    )  # fmt: skip
