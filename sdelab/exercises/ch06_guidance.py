"""Checkers of chapter 6 (latent diffusion), sampling: guidance with an interval, dynamic thresholding.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import noise
from . import Diagnosis, exercise
from .diagnosis import compare, told, unwritten


@exercise(
    "ch06-guidance",
    hint=told(
        "start from D_u and go w times the way to D_c: w = 0 gives D_u, w = 1 gives D_c. Outside the interval, D_c.",
        "D_u から出発し、D_c までの道のりの w 倍を進む。w = 0 なら D_u、w = 1 なら D_c。区間の外では D_c。",
    ),
)
def guidance(answer: Callable) -> Diagnosis | None:
    """answer(D_c, D_u, sigma, w, low, high) -> D_u + w (D_c - D_u) for low < sigma <= high, else D_c; shape of D_c.

    D_c, D_u (n, c, h, w): the conditional and the unconditional denoiser's answers at the noise level sigma, a number.
    """
    c, u = (noise.normal((3, 2, 4, 4), seed=6, key=k, dtype=torch.float64) for k in (5, 6))
    low, high = 0.3, 2.0
    cases = [(sigma, w) for w in (2.5, 0.0, 1.0) for sigma in (0.1, 0.7, 5.0)]  # below, inside, above

    def table(rule: Callable = lambda w: u + w * (c - u), outside: Callable = lambda w: c, below=False, above=False):
        acts = {0.1: below, 0.7: True, 5.0: above}
        return torch.stack([rule(w) if acts[sigma] else outside(w) for sigma, w in cases])

    def inverted():
        return torch.stack([c if sigma == 0.7 else u + w * (c - u) for sigma, w in cases])

    answers = [answer(c.clone(), u.clone(), sigma, w, low, high) for sigma, w in cases]
    if said := unwritten(*answers):
        return said
    return compare(
        torch.stack([torch.as_tensor(a) for a in answers]),
        table(),
        (table(below=True, above=True), "the interval does not enter: guidance acts at every sigma.",
         "区間が効いていない。どの sigma でもガイダンスがかかっている。"),
        (inverted(), "the interval is turned inside out: guidance acts outside it, and not within.",
         "区間の内と外が逆。外でガイダンスがかかり、中でかかっていない。"),
        (table(below=True), "guidance acts below the interval, too: compare sigma with low.",
         "区間より下でもガイダンスがかかっている。low とも比べること。"),
        (table(above=True), "guidance acts above the interval, too: compare sigma with high.",
         "区間より上でもガイダンスがかかっている。high とも比べること。"),
        (table(outside=lambda w: u), "outside the interval this is D_u: no guidance means D_c, weight 1, not 0.",
         "区間の外で D_u になっている。ガイダンスなしとは、重み0の D_u ではなく重み1の D_c である。"),
        (table(outside=lambda w: 0 * c), "outside the interval nothing is left: return D_c there.",
         "区間の外で0になっている。そこでは D_c を返すこと。"),
        (table(outside=lambda w: w * c), "outside the interval D_c is multiplied by w; there w has no say.",
         "区間の外の D_c に w が掛かっている。外では w は使わない。"),
        (table(lambda w: c + w * (c - u)), "w is taken for Ho and Salimans' weight, which is 1 less: 0 is no guidance.",
         "w を Ho と Salimans の重みとみなしている。彼らの重みはここでの w より1小さく、0がガイダンスなしにあたる。"),
        (table(lambda w: c + w * (u - c)), "D_c and D_u are swapped: this moves away from the class.",
         "D_c と D_u が入れ替わっている。条件から遠ざかってしまう。"),
        (table(lambda w: u - w * (c - u)), "the sign is wrong: this moves away from the class.",
         "符号が逆。条件から遠ざかってしまう。"),
        (table(lambda w: w * c), "this is w D_c alone: D_u must enter with 1 - w.",
         "w D_c だけになっている。D_u も 1 - w 倍で入る。"),
        (table(lambda w: u + w * c), "the difference D_c - D_u is to be multiplied by w, not D_c.",
         "w を掛けるのは D_c ではなく、差 D_c - D_u である。"),
        (table(lambda w: w * (c - u)), "this is the step from D_u; add D_u to it.",
         "これは D_u からの差分。D_u に足すこと。"),
        (table(lambda w: w * c - u), "the weights must add up to 1: D_u has 1 - w, which is -1 at w = 2 only.",
         "重みの和は1でなければならない。D_u の重みは 1 - w で、-1 になるのは w = 2 のときだけ。"),
        (table(lambda w: c), "there is no guidance: this is D_c at every sigma.",
         "ガイダンスがない。どの sigma でも D_c のままである。"),
    )  # fmt: skip


@exercise(
    "ch06-threshold",
    hint=told(
        "s = D.abs().flatten(1).quantile(q, 1).clamp_min(1) has shape (n,): give it three more dimensions.",
        "s = D.abs().flatten(1).quantile(q, 1).clamp_min(1) の形は (n,)。後ろに次元を三つ足してから使う。",
    ),
)
def threshold(answer: Callable) -> Diagnosis | None:
    """answer(D (n, c, h, w), q) -> clip(D, -s, s)/s, s the q-quantile of each image's |D|, at least 1; D's shape."""
    q = 0.9
    D = noise.normal((4, 3, 5, 5), seed=6, key=7, dtype=torch.float64) ** 3  # a few lie far beyond the others
    size, shift = (
        torch.tensor(v, dtype=D.dtype).view(4, 1, 1, 1) for v in ([0.1, 0.3, 0.8, 0.5], [0.1, -0.3, -1, 0.8])
    )
    D = D * size + shift  # nearly all of the first, not of the others, within [-1, 1]

    def held(s: Tensor) -> Tensor:
        return D.clamp(-s, s) / s

    def wide(v: Tensor) -> Tensor:
        return v.view(4, -1, 1, 1)

    raw = wide(D.abs().flatten(1).quantile(q, 1))
    s, batch, sided = raw.clamp_min(1), D.abs().quantile(q).clamp_min(1), wide(D.flatten(1).quantile(q, 1)).clamp_min(1)
    two = (wide(D.flatten(1).quantile(p, 1)) for p in (1 - q, q))
    return compare(
        answer(D.clone(), q),
        held(s),
        (held(batch), "the quantile is that of the whole batch: each image has its own.",
         "分位点をバッチ全体から求めている。画像ごとに求めること。"),
        (held(raw), "s must be at least 1: images within the range are blown up to its ends.",
         "s は1以上でなければならない。範囲に収まっている画像まで、両端へ引き伸ばされる。"),
        (held(raw.clamp_max(1)), "s is at most 1; it must be at least 1.", "s が1以下になっている。1以上にすること。"),
        (D.clamp(-s, s), "clipped to [-s, s] but not divided by s: the result must lie in [-1, 1].",
         "[-s, s] に切り詰めただけで、s で割っていない。結果は [-1, 1] に収まるはず。"),
        (D.clamp(-1, 1), "this is static thresholding: clipped at 1, whatever s is.",
         "これは静的な閾値処理。s によらず1で切り詰めている。"),
        ((D / s).clamp(-s, s), "divided by s first: then clip to [-1, 1], or clip to [-s, s] before.",
         "先に s で割るのなら、切り詰める範囲は [-1, 1]。[-s, s] に切り詰めるのは割る前である。"),
        (D / s, "divided by s but not clipped: what lies beyond the quantile still leaves [-1, 1].",
         "s で割っただけで切り詰めていない。分位点より外の値は、まだ [-1, 1] をはみ出す。"),
        (held(sided), "the quantile is that of D: take that of |D|, as dark values count, too.",
         "D の分位点になっている。負の側も数えるので、|D| の分位点をとること。"),
        (D.clamp(*two), "clipped at two quantiles of D: take one, of |D|, for both sides.",
         "D の二つの分位点で切り詰めている。|D| の分位点一つを両側に使うこと。"),
        (held(wide(D.abs().flatten(1).amax(1)).clamp_min(1)), "s is the largest value; the quantile cuts a few.",
         "s が最大値になっている。分位点なら、それより外の少数の値は切り詰める。"),
        (held(wide(D.abs().flatten(2).quantile(q, 2)).clamp_min(1)), "each channel has its own s: colours change.",
         "チャネルごとに s が違う。これでは色が変わってしまう。画像ごとに一つとすること。"),
    )  # fmt: skip
