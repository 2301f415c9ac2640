"""Checkers of chapter 4 (probability-flow ODE), sections 4.6 and 4.7: Hutchinson's divergence, bits per dimension.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import Diagnosis, exercise
from .diagnosis import compare, equal, told, unknown


@exercise(
    "ch04-divergence",
    hint=told(
        "for one probe: grad((v(x) * z).sum(), x) is J'z; z times it, summed over the coordinates, is z'Jz.",
        "一つの z について、grad((v(x) * z).sum(), x) が J'z。z との内積を座標について足したものが z'Jz である。",
    ),
)
def divergence(answer: Callable) -> Diagnosis | None:
    """answer(v, x, z) -> z'J z for probes z (m, n, d) at the states x (n, d): shape (m, n)."""
    k = torch.arange(12, dtype=torch.float64)
    x, z = (torch.sin(k).reshape(4, 3), torch.cos(torch.arange(60, dtype=torch.float64) ** 2 / 7).reshape(5, 4, 3))
    A = torch.tensor([[0.5, 1.3, -0.4], [0.2, -1.1, 0.9], [-0.7, 0.3, 0.8]], dtype=torch.float64)

    def v(x: Tensor) -> Tensor:
        return torch.tanh(x @ A.T) + x**2 / 3

    J = torch.diag_embed(1 - torch.tanh(x @ A.T) ** 2) @ A + torch.diag_embed(2 * x / 3)  # (n, i, j)
    want, Jz = torch.einsum("mni,nij,mnj->mn", z, J, z), torch.einsum("nij,mnj->mni", J, z)
    diagonal, trace = torch.diagonal(J, dim1=1, dim2=2), J.diagonal(dim1=1, dim2=2).sum(1)
    with torch.enable_grad():
        result = answer(v, x.clone().requires_grad_(), z.clone())
    wrong = (
        (trace.expand(5, 4), "this is the exact divergence; the exercise asks for the estimate of each probe.",
         "これは厳密な発散。ここでは、z ごとの推定値を求める。"),
        (want / 3, "divided by the dimension: z'Jz is a sum over coordinates, not a mean.",
         "次元で割っている。z'Jz は座標についての和であって平均ではない。"),
        (torch.einsum("nij,mni->mn", J, z), "the product J'z is summed, but not multiplied by z again.",
         "J'z を足しただけで、もう一度 z を掛けていない。"),
        (Jz.sum(2), "the product Jz is summed, but not multiplied by z again.",
         "Jz を足しただけで、もう一度 z を掛けていない。"),
        ((z**2 * diagonal).sum(2), "only the diagonal enters, which costs d products: use one product a probe.",
         "対角成分しか使っていない。それには d 回の積が要る。z 一つにつき積は一回で済ませる。"),
        ((z * v(x)).sum(2), "this is z'v: the derivative is missing.", "これは z'v。微分をしていない。"),
        (-want, "the sign is wrong: the minus belongs to d log p/dt = -div v, not to the divergence.",
         "符号が逆。負号は d log p/dt = -div v のもので、発散そのものには付かない。"),
        (Jz.square().sum(2), "this is |Jz|^2.", "これは |Jz|^2 である。"),
        (torch.einsum("nij,mni->mnj", J, z).square().sum(2), "this is |J'z|^2.", "これは |J'z|^2 である。"),
    )  # fmt: skip
    if torch.is_tensor(result) and result.shape == (4,) and equal(result.detach(), want.mean(0)):
        return told(
            "right on average, but keep the probes apart, shape (m, n): their scatter is the error bar.",
            "平均は正しい。ただし z ごとに分けて、形 (m, n) で返すこと。そのばらつきが誤差の見積もりになる。",
        )
    return compare(result, want, *wrong)


def _log_prob(x: Tensor) -> Tensor:
    """A smooth density on the plane, known up to a constant that matters: any function of x would do."""
    return -(x**2).sum(1) / 0.6 + 0.4 * torch.sin(3 * x).sum(1) - 1.1


@exercise(
    "ch04-bits",
    hint=told(
        "x = -1 + 2 (k + u)/levels; a level is 2/levels wide, so -log2 p(x)/d - log2(2/levels).",
        "x = -1 + 2 (k + u)/levels。一段の幅は 2/levels だから、-log2 p(x)/d - log2(2/levels)。",
    ),
)
def bits(answer: Callable) -> Diagnosis | None:
    """answer(log_prob, k, u, levels) -> bits per dimension (n,) of integers k (n, d), with log_prob on [-1, 1]^d."""
    levels, d = 8, 4
    k = torch.arange(24).reshape(6, 4) * 5 % levels
    u = (torch.arange(24, dtype=torch.float64).reshape(6, 4) * 0.37 + 0.11) % 1.0

    def told_bits(x: Tensor, offset: float = math.log2(levels / 2), unit: float = d * math.log(2)) -> Tensor:
        return -_log_prob(x) / unit + offset

    x, flat = -1 + 2 * (k + u) / levels, 2 * k.double() / (levels - 1) - 1
    wide = 2 * (k + u) / (levels - 1) - 1
    asked: list[tuple[int, ...]] = []

    def log_prob(x: Tensor) -> Tensor:
        asked.append(tuple(x.shape))
        return _log_prob(x.to(torch.float64))

    said = compare(
        answer(log_prob, k.clone(), u.clone(), levels),
        told_bits(x),
        (told_bits(flat, 7.0), "this is the colleague's: no dequantisation, and the offset of another problem.",
         "これは同僚のコードのまま。量子化を戻していないし、オフセットも別の問題のものである。"),
        (told_bits(x, 7.0), "the offset 7 belongs to 256 levels on [-1, 1]; here a level is 2/levels wide.",
         "オフセット 7 は [-1, 1] を256段に分けたときの値。ここでは一段の幅が 2/levels である。"),
        (told_bits(flat), "u does not enter: a density at isolated points can be as high as you like.",
         "u が入っていない。離れた点での密度なら、いくらでも高くできてしまう。"),
        (told_bits(-1 + 2 * k.double() / levels), "u does not enter: a density at points can be as high as you like.",
         "u が入っていない。離れた点での密度なら、いくらでも高くできてしまう。"),
        (told_bits(wide, math.log2((levels - 1) / 2)), "divided by levels - 1: the top level then leaves [-1, 1].",
         "levels - 1 で割っている。u を足すと、いちばん上の段が [-1, 1] からはみ出す。"),
        (told_bits(wide), "divided by levels - 1: the top level then leaves [-1, 1].",
         "levels - 1 で割っている。u を足すと、いちばん上の段が [-1, 1] からはみ出す。"),
        (told_bits(-1 + 2 * (k + u - 0.5) / levels), "u is centred: level k is the cell from k to k + 1.",
         "u の中心をずらしている。段 k は k から k + 1 までの区間である。"),
        (told_bits((k + u) / levels, math.log2(levels)), "the model lives on [-1, 1], not on [0, 1].",
         "モデルの座標は [0, 1] ではなく [-1, 1] である。"),
        (told_bits((k + u) / levels), "the model lives on [-1, 1], not on [0, 1].",
         "モデルの座標は [0, 1] ではなく [-1, 1] である。"),
        (told_bits(x, 0.0), "the width of a level is missing: - log2(2/levels).",
         "段の幅 - log2(2/levels) が抜けている。"),
        (told_bits(x, math.log2(levels)), "the offset is that of [0, 1]; a level on [-1, 1] is 2/levels wide.",
         "これは [0, 1] のときのオフセット。[-1, 1] では一段の幅が 2/levels である。"),
        (told_bits(x, -math.log2(levels / 2)), "the sign of the offset is wrong: narrow levels cost more bits.",
         "オフセットの符号が逆。段が細かいほど、必要なビットは増える。"),
        (told_bits(x, math.log(levels / 2), d), "these are nats: divide the whole by log 2.",
         "単位がナットになっている。全体を log 2 で割る。"),
        (told_bits(x, math.log2(levels / 2), d), "log p is in nats and the offset in bits: divide log p by log 2.",
         "log p はナット、オフセットはビットで、単位が混ざっている。log p を log 2 で割る。"),
        (d * told_bits(x), "these are bits per picture: divide by the dimension.",
         "一枚あたりのビット数。次元で割る。"),
        (told_bits(x, math.log2(levels / 2), math.log(2)), "log p is not divided by the dimension.",
         "log p を次元で割っていない。"),
        (-told_bits(x), "the sign is wrong: bits are the length of a code, likelier is shorter.",
         "符号が逆。ビット数は符号の長さで、尤もらしいほど短い。"),
    )  # fmt: skip
    if unknown(said) and asked and asked[-1] != (6, d):
        return told(
            f"log_prob was asked about shape {asked[-1]}: give it all pictures at once, (n, d).",
            f"log_prob に形 {asked[-1]} を渡している。全部の画像を (n, d) のまま一度に渡すこと。",
        )
    return said
