"""Checkers of chapter 7 (schedules), when to evaluate: times drawn and spaced, equal errors, terminal SNR, resolution.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .. import noise
from ..process import stable_diffusion_betas, zero_snr
from . import Diagnosis, exercise
from .diagnosis import compare, no_pair, told

F64 = torch.float64


@exercise(
    "ch07-steps",
    hint=told(
        "the chain's steps are numbered 1 to T. floor(u T) + 1 takes each with probability 1/T; and a sampler that "
        "starts from pure noise must be asked at T first.",
        "鎖の番号は1からTまで。floor(u T) + 1 なら、どれも確率 1/T で出る。"
        "純粋なノイズから始めるなら、最初に尋ねるのは T である。",
    ),
)
def steps(answer: Callable) -> Diagnosis | None:
    """answer(u, T, n) -> (training numbers (b,) from u uniform in [0, 1), n sampling numbers, from T down)."""
    u = noise.uniform((8,), 3, key=5, dtype=F64)
    u[0], u[1] = 0.0, 1 - 1e-9
    for T, n in ((1000, 4), (1000, 7), (50, 5)):
        found = answer(u.clone(), T, n)
        if said := no_pair(found, "(training numbers, sampling numbers)"):
            return said
        train, sample = (torch.as_tensor(v).to(F64) for v in found)
        b = len(u)
        said = compare(
            train,
            torch.floor(u * T) + 1,
            (torch.floor(u * b), "training: drawn below the batch size, not T: nearly all of the chain is never seen.",
             "訓練:T ではなくバッチの大きさより下で引いている。鎖のほとんどを一度も見ない。"),
            (torch.floor(u * b) + 1, "training: drawn up to the batch size instead of T.",
             "訓練:T ではなくバッチの大きさまでで引いている。"),
            (torch.floor(u * T), "training: 0 to T - 1; step 0 is the data itself, and T is never seen.",
             "訓練:0から T - 1 になっている。0番はデータそのもので、T 番を一度も見ない。"),
            (torch.floor(u * (T - 1)) + 1, "training: 1 to T - 1: T is never seen.",
             "訓練:1から T - 1 になっている。T 番を一度も見ない。"),
            (torch.round(u * T), "training: rounding gives 0 as well, and the ends half as often.",
             "訓練:丸めると0も出る。両端の確率も半分になる。"),
            (u * T, "training: a number of a step is a whole number.", "訓練:番号は整数でなければならない。"),
        )  # fmt: skip
        if said:
            return said
        k = torch.arange(n, dtype=F64)
        leading = (torch.arange(n, dtype=F64) * (T // n)).flip(0)
        want = torch.round(T - k * T / n)
        said = compare(
            sample,
            want,
            (leading, "sampling: counted from the data (leading): the sampler starts from noise and asks far below T.",
             "サンプリング:データの側から数えている(leading)。ノイズから始めるのに、T よりずっと下を尋ねている。"),
            (leading + 1, "sampling: \"leading\" with an offset of 1 still starts far below T.",
             "サンプリング:1ずらした leading でも、まだ T よりずっと下から始まる。"),
            (want.flip(0), "sampling: right numbers, but they must fall: noise first.",
             "サンプリング:番号は合っているが、ノイズの側から並べること。"),
            (want - 1, "sampling: one too small: the first is T - 1. Some networks count from 0, this chain from 1.",
             "サンプリング:一つ小さい。最初が T - 1 になっている。この鎖は1から数える。"),
            (torch.round(torch.linspace(T, 1, n, dtype=F64)), "sampling: this ends at 1 (linspace); here the last step "
             "to the data is to be as long as the others.",
             "サンプリング:1で終わる刻み(linspace)である。ここではデータへの最後の一歩も同じ長さにする。"),
            (torch.round(torch.linspace(T, 0, n, dtype=F64)), "sampling: 0 is the data; nothing is asked there.",
             "サンプリング:0番はデータで、そこでは何も尋ねない。"),
        )  # fmt: skip
        if said:
            return said
    return None


@exercise(
    "ch07-equal-error",
    hint=told(
        "take the root of order p + 1, sum it up by trapezia, and find the lam at equal shares of the total: "
        "np.interp(shares, sums, lam).",
        "p + 1 乗根をとり、台形公式で足し上げ、合計を等分するところの lam を求める。np.interp(shares, sums, lam)。",
    ),
)
def equal_error(answer: Callable) -> Diagnosis | None:
    """answer(lam, error, p, n) -> n + 1 values of lam with equal shares of the integral of error^(1/(p + 1))."""
    lam = torch.linspace(-4, 4, 200, dtype=F64)
    e = torch.exp(-((lam - 0.7) ** 2)) + 0.01
    p, n = 2, 6

    def shared(rate: Tensor, rule: str = "trapezium") -> Tensor:
        pieces = 0.5 * (rate[1:] + rate[:-1]) * lam.diff() if rule == "trapezium" else rate[1:] * lam.diff()
        sums = torch.cat([rate.new_zeros(1), pieces.cumsum(0)])
        at = np.linspace(0, float(sums[-1]), n + 1)
        return torch.from_numpy(np.interp(at, sums.numpy(), lam.numpy()))

    result = answer(lam.clone(), e.clone(), p, n)
    if torch.is_tensor(result) or isinstance(result, np.ndarray):
        found = torch.as_tensor(result).to(F64)
        want = shared(e ** (1 / (p + 1)))
        if found.shape == want.shape and bool(((found - want).abs() < 0.05).all()):  # any quadrature will do
            return None
    return compare(
        result,
        shared(e ** (1 / (p + 1))),
        (shared(e), "the root is missing: an error grows like h^(p + 1), so h goes with its root of that order.",
         "累乗根がない。誤差は h^(p + 1) に比例するので、h はその次数の根で決まる。"),
        (shared(e ** (1 / p)), "the root is of order p: the local error is of order p + 1.",
         "p 乗根になっている。局所誤差の次数は p + 1 である。"),
        (shared(e ** (-1 / (p + 1))), "upside down: where the error is large steps must be short.",
         "逆数になっている。誤差の大きいところこそ、歩を短くする。"),
        (shared(e ** (p + 1)), "a power instead of a root.", "根ではなく累乗になっている。"),
        (torch.linspace(-4, 4, n + 1, dtype=F64), "these steps are equal: the error has no say.",
         "等間隔のままで、誤差が効いていない。"),
    )  # fmt: skip


@exercise(
    "ch07-zero-snr",
    hint=told(
        "from betas to alpha = sqrt(cumprod(1 - beta)); subtract the last, scale so that the first is as before; back "
        "by 1 - (alpha_n/alpha_(n-1))^2.",
        "alpha = sqrt(cumprod(1 - beta)) を作り、最後の値を引き、最初の値が元に戻るように伸ばす。"
        "beta へは 1 - (alpha_n/alpha_(n-1))^2 で戻す。",
    ),
)
def zero_terminal(answer: Callable) -> Diagnosis | None:
    """answer(betas) -> betas of the chain whose alphas are shifted to end at 0 and scaled to keep the first."""
    betas = stable_diffusion_betas(60, 0.01, 0.08)
    alpha = torch.cumprod(1 - betas, 0).sqrt()

    def back(alpha: Tensor, power: int = 2) -> Tensor:
        return 1 - torch.cat([alpha[:1], alpha[1:] / alpha[:-1]]) ** power

    moved = alpha - alpha[-1]
    kept = moved * alpha[0] / moved[0]
    squares = alpha**2 - alpha[-1] ** 2
    return compare(
        answer(betas.clone()),
        zero_snr(betas),
        (back(moved), "only shifted: scale so that the first alpha is as before.",
         "ずらしただけである。最初の alpha が元の値になるように伸ばすこと。"),
        (back(moved / moved[0]), "the first alpha became 1: it must stay what it was.",
         "最初の alpha が1になっている。元の値のままにすること。"),
        (back((squares * alpha[0] ** 2 / squares[0]).sqrt()), "alpha^2 was shifted; Lin et al. shift alpha itself.",
         "alpha^2 をずらしている。ずらすのは alpha である。"),
        (back(kept, 1), "beta is 1 - ratio of alpha^2: square the ratio.",
         "beta は alpha^2 の比から作る。比を2乗すること。"),
        (kept, "these are the alphas: turn them back into betas.", "これは alpha。beta に戻すこと。"),
        (kept**2, "these are alpha^2 (alpha_bar): turn them back into betas.",
         "これは alpha^2(alpha_bar)。beta に戻すこと。"),
        (torch.cat([betas[:-1], betas.new_ones(1)]), "only the last beta became 1: all the noise in one step.",
         "最後の beta だけを1にしている。一歩でノイズが一気に増える。"),
        (betas, "nothing is changed.", "何も変わっていない。"),
    )  # fmt: skip


@exercise(
    "ch07-shift",
    hint=told(
        "averaging m = (side/base)^2 pixels divides sigma by side/base. So the larger picture needs sigma/alpha = "
        "t/(1 - t) times side/base; solve for the new t.",
        "m = (side/base)^2 個の画素を平均すると sigma は side/base 分の1になる。"
        "大きな絵では sigma/alpha = t/(1 - t) を side/base 倍する。新しい t について解くこと。",
    ),
)
def shift(answer: Callable) -> Diagnosis | None:
    """answer(t, side, base) -> times of the straight flow that give a picture of ``side`` pixels a side, averaged down
    to ``base``, the noise that t gives at ``base``."""
    t = torch.tensor([0.1, 0.3, 0.5, 0.8, 0.95], dtype=F64)
    side, base = 96, 32

    def moved(s: float) -> Tensor:
        return s * t / (1 + (s - 1) * t)

    s = side / base
    return compare(
        answer(t.clone(), side, base),
        moved(s),
        (moved(s**2), "the number of pixels instead of its root: noise averages like 1/sqrt(m).",
         "画素の数の比になっている。ノイズは 1/sqrt(m) で減るので、辺の比である。"),
        (moved(s**0.5), "the root of the ratio of sides: the root is of the number of pixels.",
         "辺の比の平方根になっている。平方根をとるのは画素の数である。"),
        (moved(1 / s), "the wrong way: a larger picture needs more noise.",
         "逆向きである。大きな絵にはより多くのノイズが要る。"),
        (s * t, "t itself is multiplied, and leaves [0, 1]: multiply t/(1 - t).",
         "t をそのまま倍にしていて、1を超える。倍にするのは t/(1 - t) である。"),
        (s * t / (1 - t), "this is the new sigma/alpha: solve for t.", "これは新しい sigma/alpha。t に戻すこと。"),
        (t, "nothing is changed.", "何も変わっていない。"),
    )  # fmt: skip
