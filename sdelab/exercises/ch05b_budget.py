"""Checkers of chapter 5 (2): how many steps a budget of network calls allows, and a faulty DPM++ 2M to repair."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .. import grids, process
from . import Diagnosis, exercise
from .diagnosis import compare, told, unwritten

VP = process.VP()
F64 = torch.float64


@exercise(
    "ch05b-steps",
    hint=told(
        "keep one call for the last step, to t = 0. Of the rest Heun takes 2 a step; PLMS one more in its first step; "
        "PNDM 4 in each of its first three steps.",
        "最後の t = 0 への一歩に1回取っておく。残りのうち、ホイン法は1歩に2回、PLMSは最初の1歩だけ1回余分、"
        "PNDMは最初の3歩に4回ずつ使う。",
    ),
)
def steps(answer: Callable) -> Diagnosis | None:
    """answer(method, calls) -> steps, the last (to t = 0, one call) included; ddim, edm_heun, plms, pndm."""
    budgets = (6, 11, 14, 20, 35)
    names = ("ddim", "edm_heun", "plms", "pndm")
    cost: dict[str, Callable[[int], int]] = {
        "ddim": lambda n: n, "edm_heun": lambda n: 2 * n, "plms": lambda n: n + min(n, 1),
        "pndm": lambda n: n + 3 * min(n, 3),
    }  # fmt: skip

    def table(price=cost, last: int = 1, extra: int = 1) -> Tensor:
        most = [[max((n for n in range(c + 1) if price[k](n) <= c - last), default=0) for c in budgets] for k in names]
        return torch.tensor(most, dtype=F64) + extra

    answers = [[answer(name, calls) for calls in budgets] for name in names]
    if said := unwritten(*(a for row in answers for a in row)):
        return said
    got = torch.stack([torch.stack([torch.as_tensor(a, dtype=F64) for a in row]) for row in answers])
    one = dict.fromkeys(names, cost["ddim"])
    return compare(
        got,
        table(),
        (table(one), "one call a step for every method: Heun takes 2, and PLMS and PNDM have dearer starts.",
         "どの解法も1歩1回になっている。ホイン法は2回、PLMSとPNDMは始めが高くつく。"),
        (table(extra=0), "the last step, to t = 0, is a step too.", "t = 0 への最後の一歩も1歩に数える。"),
        (table(last=0, extra=0), "the last step, to t = 0, takes one call whatever the method.",
         "t = 0 への最後の一歩は、どの解法でも1回で済む。"),
        (table(last=0), "the call of the last step is not paid for.", "最後の一歩の1回分を払っていない。"),
        (table(cost | {"plms": lambda n: n}), "PLMS takes 2 calls in its first step.", "PLMSは最初の1歩に2回使う。"),
        (table(cost | {"pndm": lambda n: n}), "PNDM takes 4 calls in each of its first three steps.",
         "PNDMは最初の3歩に4回ずつ使う。"),
        (table(cost | {"pndm": lambda n: n + 9}), "PNDM with fewer than three steps pays for those only.",
         "PNDMが3歩に満たないときは、進んだ歩の分だけ払う。"),
        (table(cost | {"pndm": lambda n: n + min(n, 3) * 2}), "PNDM takes 4 calls a step at first, 3 more than later.",
         "PNDMは始めの1歩に4回、つまり後より3回多く使う。"),
        (table(cost | {"edm_heun": lambda n: n}), "Heun takes two calls a step.", "ホイン法は1歩に2回使う。"),
    )  # fmt: skip


@exercise(
    "ch05b-repair",
    hint=told(
        "first: for one data point every exponential solver is exact in one step; is this one? Second: on equal steps "
        "the ratio cannot show, so try unequal ones: the old difference spans h_old and is to reach half of h.",
        "一つ目: データが1点なら、指数積分法は一歩で厳密なはず。二つ目: 等間隔の刻みでは比の誤りは見えない。"
        "不等間隔で試そう。古い差分は h_old にわたるもので、それを h の半分まで延ばす。",
    ),
)
def repair(answer: Callable) -> Diagnosis | None:
    """answer(D, x, times, process) -> x at the last time by DPM++ 2M (first step DDIM), shape of x."""
    x = torch.linspace(-1.5, 1.5, 24, dtype=F64).reshape(12, 2)
    times = grids.karras(VP, 7, t_end=0.05)

    def D(x, t):
        return torch.tanh((1 + 1 / (0.2 + torch.as_tensor(t))) * x)

    def run(
        factor: float = 1.0, ratio: Callable = lambda h, old: h / old, half: float = 0.5, keep: bool = True
    ) -> Tensor:
        y, before, old = x.clone(), None, 1.0
        for s, t in pairwise(times):
            h = factor * float(VP.lam(t) - VP.lam(s))
            now = D(y, s)
            use = now if before is None else now + half * ratio(h, old) * (now - before)
            decay = VP.sigma(t) / VP.sigma(s) if keep else VP.alpha(t) / VP.alpha(s)
            y = decay * y + VP.alpha(t) * (1 - math.exp(-h)) * use
            before, old = now, h
        return y

    def upside(h, old):
        return old / h

    return compare(
        answer(D, x.clone(), times, VP),
        run(),
        (run(2.0, upside), "this is the colleague's, with both faults.",
         "同僚のコードのまま。間違いが二つとも残っている。"),
        (run(ratio=upside), "one fault is left: the ratio of the steps is upside down.",
         "一つ残っている。歩幅の比が上下逆である。"),
        (run(2.0), "one fault is left: lam is half the log-SNR, so h is twice too large.",
         "一つ残っている。lam は対数SNRの半分なので、h が2倍になっている。"),
        (run(0.5), "h is half of lam_t - lam_s now.", "今度は h が lam_t - lam_s の半分になっている。"),
        (run(half=1.0), "the difference is taken to the end of the step: 2M takes it to the middle.",
         "差分を一歩の終わりまで延ばしている。2Mでは真ん中まで。"),
        (run(half=0.0), "this is DDIM: the past is not used.", "これはDDIM。過去の値を使っていない。"),
        (run(ratio=lambda h, old: 1.0), "the ratio h/h_old is missing: right on equal steps only.",
         "比 h/h_old がない。等間隔でしか正しくない。"),
        (run(half=-0.5), "the sign of the difference is wrong: go on from old to new.",
         "差分の符号が逆。古い値から新しい値へ延ばす。"),
        (run(keep=False), "alpha_t/alpha_s goes with eps; with D it is sigma_t/sigma_s.",
         "alpha_t/alpha_s は eps のときの係数。D では sigma_t/sigma_s である。"),
    )  # fmt: skip
