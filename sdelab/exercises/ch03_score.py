"""Checkers of chapter 3 (reverse SDE): where a point came from, the denoising loss, the faulty loss.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import noise, process
from ..process import Process
from . import Diagnosis, exercise
from .diagnosis import Mistake, compare, no_pair, told, unwritten


@exercise(
    "ch03-where-from",
    hint=told(
        "log w_i = -|x - alpha x_i|^2/(2 sigma^2) up to a constant: softmax over i; D; (alpha D - x)/sigma^2.",
        "log w_i = -|x - α x_i|²/(2σ²) + 定数。i について softmax をとる。次に D、最後に (αD - x)/σ²。",
    ),
)
def where_from(answer: Callable) -> Diagnosis | None:
    """answer(x (n, d), points (m, d), alpha, sigma) -> (weights (n, m), score (n, d)); equally likely points."""
    alpha, sigma = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    points = torch.tensor([[-1.0, 0.4], [0.5, 1.2], [1.1, -0.7], [0.1, -0.2]], dtype=torch.float64)
    x = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64).reshape(6, 2)

    def square(a):
        return (x[:, None] - a * points).square().sum(-1)

    def score(w):
        return (alpha * w @ points - x) / sigma**2

    got = answer(x.clone(), points, alpha, sigma)
    if said := no_pair(got, "(weights, score)"):
        return said
    log_w = -square(alpha) / (2 * sigma**2)
    w, s = log_w.softmax(1), score(log_w.softmax(1))
    said = compare(
        got[0], w,
        (log_w.exp(), "the weights do not sum to 1: divide by their sum (softmax).",
         "重みの和が1でない。和で割ること (softmax)。"),
        (log_w.softmax(0), "normalised over the noisy points; normalise over the data points (dimension 1).",
         "ノイズのある点の方向で規格化している。データ点の方向 (次元1) で規格化すること。"),
        ((-square(1.0) / (2 * sigma**2)).softmax(1), "alpha is missing: x is near alpha x_i, not near x_i.",
         "α がない。x の近くにあるのは x_i ではなく α x_i である。"),
        ((-square(alpha) / sigma**2).softmax(1), "the 1/2 of the normal density is missing.",
         "正規分布の 1/2 が抜けている。"),
        ((-square(alpha) / (2 * sigma)).softmax(1), "sigma is not squared.", "σ が2乗されていない。"),
        ((-square(alpha).sqrt() / (2 * sigma**2)).softmax(1), "the distance is not squared.",
         "距離が2乗されていない。"),
        ((-log_w).softmax(1), "the sign is wrong: far points get the most weight.",
         "符号が逆。遠い点ほど重くなっている。"),
    ) or compare(
        got[1], s,
        (-s, "the sign of the score is wrong: it points from x towards alpha D.",
         "スコアの符号が逆。x から αD へ向かう。"),
        (sigma * s, "divided by sigma; the score has sigma^2 below.", "σ で割っている。スコアの分母は σ² である。"),
        ((w @ points - x) / sigma**2, "alpha is missing: the noisy point is compared with alpha D.",
         "α がない。比べる相手は αD である。"),
        (w @ points, "this is the posterior mean D; the score is (alpha D - x)/sigma^2.",
         "これは事後平均 D。スコアは (αD - x)/σ² である。"),
    )  # fmt: skip
    if said is None and not torch.as_tensor(answer(x + 100, points, alpha, sigma)[0]).isfinite().all():
        return told(
            "right, but not finite far away, where every weight underflows: use softmax of log w.",
            "正しいが、遠くでは重みがすべて0につぶれて有限でなくなる。log w の softmax を使うこと。",
        )
    return said


def factors(want: Tensor) -> list[Mistake]:
    """A loss that is right up to a factor, in two dimensions."""
    return [
        (2 * want, "the 1/2 is missing.", "1/2 が抜けている。"),
        (
            want / 2,
            "the mean over the coordinates; the loss is a sum (|.|^2).",
            "座標について平均している。和 (|·|²) をとる。",
        ),
    ]


@exercise(
    "ch03-dsm",
    hint=told(
        "x_t = alpha x_0 + sigma eps; the target is -eps/sigma; half the squared distance, one per sample.",
        "x_t = α x₀ + σ ε。スコアの教師は -ε/σ。差の2乗の和の半分を、標本ごとに返す。",
    ),
)
def dsm(answer: Callable) -> Diagnosis | None:
    """answer(score, process, x0 (n, d), t (n,), eps (n, d)) -> (n,): |score(x_t, t) + eps/sigma|^2/2."""
    vp, n = process.VP(), 9
    x0, eps = (noise.normal((n, 2), seed=k, dtype=torch.float64) for k in (8, 9))
    t = torch.linspace(0.1, 0.9, n, dtype=torch.float64)
    sigma = vp.sigma(t)[:, None]

    def score(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(x) - t[:, None] * x

    def half(residual: Tensor) -> Tensor:
        return 0.5 * residual.square().sum(1)

    s = score(vp.perturb(x0, t, eps), t)
    got = answer(score, vp, x0, t, eps)
    if said := unwritten(got):
        return said
    if not torch.equal(torch.as_tensor(got), torch.as_tensor(answer(score, vp, x0, t, eps))):
        return told(
            "two calls give two losses: a second noise is drawn inside. Use the eps that is given, for x_t and target.",
            "2回呼ぶと違う値になる。中で別のノイズを引いている。x_t にも教師にも、渡された eps を使うこと。",
        )
    want, r = half(s + eps / sigma), s + eps / sigma
    off = score(x0 + sigma * eps, t)
    if torch.as_tensor(got).shape == ():
        return told(
            "this is one number for the batch; return one loss per sample, shape (n,).",
            "バッチ全体で一つの数になっている。標本ごとの損失 (n,) を返すこと。",
        )
    return compare(
        got, want,
        *factors(want),
        (half(s - eps / sigma), "the sign of the target is wrong: it is -eps/sigma, back towards the data.",
         "教師の符号が逆。-ε/σ、つまりデータへ戻る向きである。"),
        (half(s + eps), "the target is -eps: divide by sigma.", "教師が -ε になっている。σ で割ること。"),
        (half(s + eps / sigma**2), "the target is eps/sigma^2: only one sigma (x_t - alpha x_0 = sigma eps).",
         "教師が ε/σ²。σ は一つだけでよい (x_t - α x₀ = σ ε)。"),
        (r.norm(dim=1), "a root around the loss: its optimum is no longer the mean, and so not the score.",
         "損失に平方根がかかっている。最適解が平均でなくなり、スコアでなくなる。"),
        (want.sqrt(), "a root around the loss: its optimum is no longer the mean, and so not the score.",
         "損失に平方根がかかっている。最適解が平均でなくなり、スコアでなくなる。"),
        (sigma[:, 0] ** 2 * want, "this is weighted by sigma^2, a good loss for training; here the plain one is asked.",
         "σ² の重みがついている。学習にはよい損失だが、ここでは重みなしを書く。"),
        (half(off + eps / sigma), "alpha is missing in x_t.", "x_t に α がない。"),
        (half(score(vp.perturb(x0, t, sigma * eps), t) + eps / sigma),
         "sigma is multiplied twice: x_t has sigma^2 eps.",
         "x_t のノイズが σ² ε になっている。σ を2回掛けている。"),
        (half(score(x0, t) + eps / sigma), "the score is asked at x_0; ask it at x_t.",
         "スコアを x₀ で求めている。x_t で求めること。"),
    )  # fmt: skip


@exercise(
    "ch03-fault",
    hint=told(
        "how many times is noise drawn? What does the root do to the mean of unequal losses?",
        "ノイズは何回引かれているか。平方根は、大きさの違う損失の平均に何をするか。",
    ),
)
def fault(answer: Callable) -> Diagnosis | None:
    """answer(score, process, x0 (n, d), t (n,), seed) -> the mean of |score(x_t, t) + eps/sigma|^2/2, one number.

    The noise is the answer's own, so two scores are tried of which the loss is known whatever it is. All data at one
    point: the exact score is -(x - alpha x_0)/sigma^2 = -eps/sigma, its loss 0; shifted by c/sigma it is d c^2/2 E
    [1/sigma^2].
    """
    vp, n = process.VP(), 64
    x0 = torch.tensor([0.7, -0.4], dtype=torch.float64).expand(n, 2).contiguous()
    t = torch.linspace(0.2, 0.8, n, dtype=torch.float64)

    def shifted(c: float, sign: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        def score(x: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = vp.alpha(t)[:, None], vp.sigma(t)[:, None]
            return sign * (alpha * x0 - x) / sigma**2 + c / sigma

        return score

    def loss(c: float, seed: int = 3, sign: float = 1.0, p: Process = vp):
        return answer(shifted(c, sign), p, x0, t, seed)

    if said := unwritten(zero := loss(0.0)):
        return said
    got = torch.as_tensor(zero).detach().double()
    if got.shape != ():
        return told(f"return one number, the mean; not shape {tuple(got.shape)}.", f"平均した一つの数を返すこと。形が {tuple(got.shape)} になっている。")  # fmt: skip  # noqa: E501
    if not got.isfinite():
        return told("the loss is not finite.", "損失が有限でない。")
    want = (1 / vp.var(t)).mean()
    one, two = (torch.as_tensor(loss(c)).detach().double() for c in (1.0, 2.0))
    if got > 1e-8:
        if float(torch.as_tensor(loss(0.0, sign=-1.0))) < 1e-8:
            return told("the sign of the target is wrong: it is -eps/sigma.", "教師の符号が逆。-ε/σ である。")
        return told(
            "the exact score of a single data point should have loss 0 and has not: the noise in the target is not the "
            "one in x_t (drawn twice?), or not -eps/sigma.",
            "データが1点なら正しいスコアの損失は0のはずだが、ならない。教師のノイズが x_t のものと違う(2回引いた)か、"
            "-ε/σ になっていない。",
        )  # fmt: skip
    if one.abs() < 1e-8:
        return told("the loss does not depend on the score.", "損失がスコアによらない値になっている。")
    if abs(two / one - 2) < 1e-6:
        return told(
            "one noise now, but a root is still there: twice the error makes twice the loss, not four times.",
            "ノイズは一つになったが、平方根が残っている。誤差が2倍のとき、損失が4倍でなく2倍になる。",
        )
    return compare(
        one, want,
        *factors(want),
        (n * want, "this is the sum over the batch; take the mean.", "バッチの和になっている。平均をとること。"),
        (torch.ones_like(want), "weighted by sigma^2: here the plain loss is asked.",
         "σ² の重みがついている。ここでは重みなしを書く。"),
    )  # fmt: skip
