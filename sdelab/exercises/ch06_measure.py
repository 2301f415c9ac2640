"""Checkers of chapter 6 (latent diffusion), what it costs and how good it is: multiply-adds, the Fréchet distance.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import noise
from . import Diagnosis, exercise
from .diagnosis import compare, told


@exercise(
    "ch06-cost",
    hint=told(
        "a 3x3 convolution from a to b channels: 9 a b at each place. PixelUnshuffle(r) leaves (H/r)(W/r) places and "
        "makes c into c r^2 channels, at both ends of the network.",
        "a チャネルから b チャネルへの3×3の畳み込みは、1か所につき 9ab 回。"
        "PixelUnshuffle(r) で場所は (H/r)(W/r) に減り、入口と出口のチャネル数は c r^2 になる。",
    ),
)
def cost(answer: Callable) -> Diagnosis | None:
    """answer(c, H, W, width, depth, r) -> multiply-adds of a network on images (c, H, W).

    PixelUnshuffle(r), 3x3 convolutions from c r^2 to ``width`` channels, ``depth`` times width to width and back to
    c r^2, PixelShuffle(r). Stride 1, padding 1, no biases.
    """
    nine = torch.tensor(9.0, dtype=torch.float64)
    for c, H, W, width, depth, r in ((3, 16, 40, 10, 5, 4), (1, 32, 32, 64, 16, 1), (4, 8, 8, 64, 16, 1)):
        places, ends, inner = H * W / r**2, c * r**2 * width, depth * width**2
        want = nine * places * (2 * ends + inner)
        said = compare(
            answer(c, H, W, width, depth, r),
            want,
            (want / places, "this is the number of weights: each is used at every place, (H/r)(W/r) times.",
             "これは重みの数。どの重みも (H/r)(W/r) か所で使われる。"),
            (2 * want, "multiplications and additions are counted apart; one multiply-add is both.",
             "乗算と加算を別々に数えている。積和は、両方で1回と数える。"),
            (want / 9, "the kernel's 3 x 3 = 9 is missing.", "カーネルの 3×3 = 9 が抜けている。"),
            (want / 3, "the kernel has 3 x 3 = 9 weights, not 3.", "カーネルの重みは3個ではなく 3×3 = 9個。"),
            (want * r**2, "PixelUnshuffle(r) leaves only (H/r)(W/r) places.",
             "PixelUnshuffle(r) のあとでは、場所は (H/r)(W/r) しかない。"),
            (want * r, "rows and columns are both divided by r: r^2 places become one.",
             "縦も横も r で割る。r^2 か所が1か所になる。"),
            (nine * places * (2 * c * width + inner), "PixelUnshuffle(r) makes c into c r^2 channels.",
             "PixelUnshuffle(r) で c チャネルは c r^2 チャネルになる。"),
            (nine * places * (2 * c * r * width + inner), "a square has r^2 pixels: c r^2 channels, not c r.",
             "r×r の升目には画素が r^2 個ある。c r ではなく c r^2 チャネルになる。"),
            (nine * H * W * (2 * c * width + inner), "r does not enter: this is the network on plain pixels.",
             "r が入っていない。これは PixelUnshuffle を使わないときの値である。"),
            (nine * places * (c * r**2 + (depth + 1) * width), "the channels that come in are missing: every "
             "channel that goes out sums over all of them.",
             "入力側のチャネル数が抜けている。出力の各チャネルは、入力の全チャネルにわたる和である。"),
            (nine * places * (2 * width + inner), "the channels c r^2 at both ends are missing.",
             "両端のチャネル数 c r^2 が抜けている。"),
            (nine * places * (ends + inner), "one of the two convolutions at the ends is missing.",
             "両端にある二つの畳み込みの、一方しか数えていない。"),
            (nine * places * inner, "the convolutions at the ends are missing.", "両端の畳み込みを数えていない。"),
            (nine * places * (2 * ends + width**2), "depth does not enter: it is one convolution only.",
             "depth が入っていない。中の畳み込みを一つしか数えていない。"),
            (nine * (H / r - 2) * (W / r - 2) * (2 * ends + inner), "with padding 1 the size stays: no border is lost.",
             "padding が1なので大きさは変わらない。縁は減らない。"),
        )  # fmt: skip
        if said:
            return said
    return None


def _root(S: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(S)
    return vectors * values.sqrt() @ vectors.T


@exercise(
    "ch06-frechet",
    hint=told(
        "no matrix root is needed: the trace of (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of C1 C2, "
        "torch.linalg.eigvals(C1 @ C2), whose real parts are all there is.",
        "行列の平方根を作るまでもない。(C1 C2)^(1/2) のトレースは C1 C2 の固有値の平方根の和である。"
        "固有値は torch.linalg.eigvals(C1 @ C2) で求まり、虚部は丸め誤差でしかない。",
    ),
)
def frechet(answer: Callable) -> Diagnosis | None:
    """answer(m1 (d,), C1 (d, d), m2, C2) -> |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), a number."""
    for d, key in ((4, 8), (1, 10), (3, 12)):
        A, B = (noise.normal((d, d), seed=6, key=k, dtype=torch.float64) for k in (key, key + 1))
        m1, m2 = torch.linspace(0.3, 1.1, d, dtype=torch.float64), torch.linspace(0.9, -0.4, d, dtype=torch.float64)
        C1, C2 = (M @ M.T / d + 0.2 * torch.eye(d, dtype=torch.float64) for M in (A, B / 2))
        apart, traces, product = (m1 - m2).square().sum(), (C1 + C2).trace(), C1 @ C2
        cross = torch.linalg.svdvals(_root(C1) @ _root(C2)).sum()
        want = apart + traces - 2 * cross
        result = answer(m1.clone(), C1.clone(), m2.clone(), C2.clone())
        result = getattr(result, "real", result)  # a root may leave rounding in the imaginary part
        said = compare(
            result,
            want,
            (want.sqrt(), "this is the root of the distance as it is usually quoted: leave it squared.",
             "平方根をとっている。ふつうこの距離は2乗のまま使う。"),
            (apart.sqrt() + traces - 2 * cross, "the distance of the means is not squared.",
             "平均どうしの距離が2乗されていない。"),
            (apart / d + traces - 2 * cross, "the means' squared differences are averaged; take the sum.",
             "平均の差の2乗を平均している。和をとること。"),
            (traces - 2 * cross, "the means are missing.", "平均の項がない。"),
            (apart + traces - cross, "the 2 of the last term is missing: equal Gaussians must be at distance 0.",
             "最後の項の2が抜けている。同じガウス分布なら0になるはず。"),
            (apart + traces + 2 * cross, "the sign of the last term is wrong.", "最後の項の符号が逆。"),
            (apart + traces, "the last term, with the root of C1 C2, is missing.", "C1 C2 の平方根の項がない。"),
            (apart - 2 * cross, "the traces of C1 and C2 are missing.", "C1 と C2 のトレースがない。"),
            (apart + traces - 2 * product.trace(), "the root of C1 C2 is missing.", "C1 C2 の平方根をとっていない。"),
            (apart + traces - 2 * product.trace().sqrt(), "this is the root of the trace; take the trace of the root.",
             "トレースの平方根になっている。平方根のトレースをとること。"),
            (apart + traces - 2 * product.diag().sqrt().sum(), "the root of each entry: a matrix root is meant.",
             "成分ごとの平方根をとっている。行列としての平方根である。"),
            (apart + traces - 2 * (C1.diag() * C2.diag()).sqrt().sum(), "only the variances enter: the features are "
             "taken for independent.", "分散しか使っていない。特徴量どうしが独立だとみなしている。"),
            (apart + traces - 2 * (_root(C1) @ _root(C2)).trace(), "the product of the roots: the root of a product is "
             "another matrix, unless C1 and C2 commute.",
             "平方根どうしの積になっている。C1 と C2 が可換でなければ、積の平方根とは違う。"),
            (apart + traces - 2 * torch.linalg.eigvalsh(product).clamp_min(0).sqrt().sum(), "eigvalsh takes C1 C2 for "
             "symmetric, which it is not: use eigvals.",
             "eigvalsh は対称行列のためのもの。C1 C2 は対称でないので eigvals を使うこと。"),
            (apart + traces - 2 * torch.linalg.svdvals(product).sqrt().sum(), "singular values of C1 C2 are not its "
             "eigenvalues.", "C1 C2 の特異値を使っている。固有値とは違う。"),
        )  # fmt: skip
        if said:
            return said
    return None
