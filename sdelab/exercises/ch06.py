"""Checkers of chapter 6 (latent diffusion), the autoencoder: divergence of the latents, their scale.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import noise
from . import Diagnosis, exercise
from .diagnosis import close, compare, no_pair, told, unknown, wrong_shape


@exercise(
    "ch06-kl",
    hint=told(
        "per number (mean^2 + var - 1 - log var)/2 with var = exp(log_var), 0 at mean 0 and variance 1; "
        "then flatten(1).mean(1).",
        "一つの数につき (mean^2 + var - 1 - log var)/2、ただし var = exp(log_var)。平均0、分散1なら0になる。"
        "最後に flatten(1).mean(1)。",
    ),
)
def kl(answer: Callable) -> Diagnosis | None:
    """answer(mean, log_var), each (n, c, h, w) -> KL(N(mean, var) || N(0, 1)), averaged over the numbers: (n,)."""
    m, v = (noise.normal((5, 4, 3, 3), seed=6, key=k, dtype=torch.float64) for k in (1, 2))

    def per_image(v: Tensor) -> Tensor:
        return v.flatten(1).mean(1)

    square, var = m.square(), v.exp()
    want = per_image(square + var - 1 - v) / 2
    result = answer(m.clone(), v.clone())
    if torch.is_tensor(result) and close(result, want.mean()):
        return told("averaged over the images, too: keep them apart, shape (n,).",
                    "画像についても平均している。画像ごとに分けて、形 (n,) で返すこと。")  # fmt: skip
    return compare(
        result,
        want,
        (2 * want, "twice the right one: is the 1/2 missing?", "ちょうど2倍。1/2 が抜けていないか。"),
        (want * m[0].numel(), "summed over the numbers of a latent; take the mean.",
         "潜在表現の数について和をとっている。平均にすること。"),
        (-want, "the sign of the whole is wrong: this is what the bound on log p contains, -KL.",
         "全体の符号が逆。対数尤度の下界に現れるのは -KL だが、ここで求めるのは KL である。"),
        (per_image(square + var - 1 + v) / 2, "the sign of log var is wrong: at variance 1 there must be a minimum.",
         "log var の符号が逆。分散1のところで最小になるはず。"),
        (per_image(square + (2 * v).exp() - 1 - 2 * v) / 2, "log_var is taken for the log of the standard deviation.",
         "log_var を標準偏差の対数とみなしている。"),
        (per_image(square + (v / 2).exp() - 1 - v) / 2, "the standard deviation stands where the variance belongs.",
         "分散のところに標準偏差が入っている。"),
        (per_image((1 + square) / var - 1 + v) / 2, "this is KL(N(0, 1) || N(mean, var)): the other way round.",
         "これは KL(N(0, 1) || N(mean, var))。向きが逆である。"),
        (per_image(m + var - 1 - v) / 2, "the mean is not squared.", "平均が2乗されていない。"),
        (per_image(var - 1 - v) / 2, "the mean does not enter: latents far from 0 must cost.",
         "平均が入っていない。0から遠い潜在表現ほど大きくなるはず。"),
        (per_image(square + var - v) / 2, "the -1 is missing: N(0, 1) itself must have 0.",
         "-1 が抜けている。N(0, 1) そのものなら0になるはず。"),
    )  # fmt: skip


@exercise(
    "ch06-scale",
    hint=told(
        "mean and standard deviation over images, rows and columns, dimensions (0, 2, 3), with keepdim=True; "
        "whatever encoding does, decoding undoes in the opposite order.",
        "画像、縦、横、つまり次元 (0, 2, 3) についての平均と標準偏差。keepdim=True を付ける。"
        "復号では、符号化でしたことを逆の順に元へ戻す。",
    ),
)
def scale(answer: Callable) -> Diagnosis | None:
    """answer(z, u, decode) -> ((z - shift)/scale, decode(u scale + shift)), with the mean and std of z per channel.

    z (n, c, h, w): the autoencoder's latents; u, of that shape: latents that a diffusion model has drawn;
    decode: the autoencoder's, which knows nothing of shift and scale.
    """
    z, u = (noise.normal((8, 4, 3, 3), seed=6, key=k, dtype=torch.float64) for k in (3, 4))
    sizes, means = (
        torch.tensor(v, dtype=z.dtype).view(4, 1, 1) for v in ([0.4, 0.7, 1.1, 1.6], [0.5, -0.3, 0.2, -0.9])
    )
    z = z * sizes + means

    def decode(v: Tensor) -> Tensor:
        return torch.tanh(torch.nn.functional.pixel_shuffle(v, 2) / 4)

    got = answer(z.clone(), u.clone(), decode)
    scaled, image = "(z - shift)/scale", "decode(u scale + shift)"
    if said := no_pair(got, f"({scaled}, {image})"):
        return said
    if said := wrong_shape(scaled, got[0], z) or wrong_shape(image, got[1], decode(u)):
        return said
    for correction in (0, 1):  # a variance over n or over n - 1 numbers: both will do
        said = _scaled(got, z, correction) or _decoded(got, z, u, decode, correction)
        if not unknown(said):
            return said
    return said


def _of(z: Tensor, dims: tuple[int, ...], correction: int) -> tuple[Tensor, Tensor]:
    return z.mean(dims, keepdim=True), z.std(dims, correction=correction, keepdim=True)


def _scaled(got, z: Tensor, correction: int) -> Diagnosis | None:
    """Of the first of the pair."""
    m, s = _of(z, (0, 2, 3), correction)
    all_m, all_s = _of(z, (0, 1, 2, 3), correction)
    (pixel_m, pixel_s), (own_m, own_s), (flat_m, flat_s) = (_of(z, d, correction) for d in ((0,), (1, 2, 3), (2, 3)))
    each = ("each image has its own shift and scale: what a diffusion model has drawn could not be decoded.",
            "画像ごとに別の値でずらし、割っている。これでは拡散モデルが作った潜在表現を復号できない。")  # fmt: skip
    return compare(
        got[0],
        (z - m) / s,
        ((z - all_m) / all_s, "one shift and scale for all channels: each channel needs its own.",
         "全チャネルに共通の値を使っている。チャネルごとに求めること。"),
        (z / all_s, "one factor 1/std for all, as Stable Diffusion's 0.18215: here each channel is shifted and scaled.",
         "Stable Diffusion の 0.18215 のように、全体に 1/std を掛けただけである。"
         "ここではチャネルごとに平均を0、分散を1にする。"),
        ((z - pixel_m) / pixel_s, "each pixel of the latent has its own: average over rows and columns, too.",
         "潜在表現の画素ごとに値が違う。縦と横についても平均すること。"),
        ((z - own_m) / own_s, *each),
        ((z - flat_m) / flat_s, *each),
        (z / s, "the shift is missing: the means are not 0.", "平均を引いていない。"),
        (z - m, "the scale is missing: the variances are not 1.", "標準偏差で割っていない。"),
        ((z - m) / s**2, "divided by the variance: take the root.", "分散で割っている。平方根をとること。"),
        ((z - m) * s, "multiplied by the standard deviation: divide. (A factor such as 0.18215 is 1/std.)",
         "標準偏差を掛けている。割ること(0.18215 のように掛ける数は 1/std である)。"),
        (z / s - m, "the shift comes first: (z - shift)/scale.", "順序が違う。先に平均を引く: (z - shift)/scale。"),
    )  # fmt: skip


def _decoded(got, z: Tensor, u: Tensor, decode: Callable, correction: int) -> Diagnosis | None:
    """Of the second of the pair, the first being right."""
    (m, s), (own_m, own_s) = (_of(v, (0, 2, 3), correction) for v in (z, u))
    return compare(
        got[1],
        decode(u * s + m),
        (decode(u), "decoded as it is: undo shift and scale before decode.",
         "そのまま復号している。decode の前に、ずらした分と割った分を元へ戻すこと。"),
        (decode((u - m) / s), "encoded once more: decoding multiplies by scale and adds shift.",
         "もう一度符号化している。復号では scale を掛けて shift を足す。"),
        (decode((u + m) * s), "undone in the wrong order: first multiply by scale, then add shift.",
         "戻す順序が逆。先に scale を掛け、次に shift を足す。"),
        (decode(u / s + m), "divided by scale again: multiply.", "また scale で割っている。掛けること。"),
        (decode(u * s), "the scale is undone, the shift is not.", "scale は戻したが、shift を戻していない。"),
        (decode(u + m), "the shift is undone, the scale is not.", "shift は戻したが、scale を戻していない。"),
        (decode(u * own_s + own_m), "shift and scale are those of u: those of z, which encoding used, must be undone.",
         "u から求めた shift と scale を使っている。戻すのは、符号化に使った z のものである。"),
    )  # fmt: skip
