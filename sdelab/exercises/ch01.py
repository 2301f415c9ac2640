"""Checkers of chapter 1 (forward SDE), sections 1.1 to 1.6: Brownian motion, the Itô integral, f and g.

A wrong answer is compared with the results of the mistakes readers make; the first that matches is the diagnosis.
"""

import torch

from .. import noise
from . import exercise
from .diagnosis import close, mistake, no_pair, told, unwritten, wrong_shape


@exercise(
    "ch01-brownian",
    hint=told(
        "each increment is sqrt(its own dt) * z; then add them up, starting from 0.",
        "増分は、その区間の dt の平方根に z を掛けたもの。0 から始めて足し上げる。",
    ),
)
def brownian(answer):
    """answer(z (n, k), times (k+1,)) -> Brownian paths (n, k+1), zero at times[0]; the steps are unequal."""
    times = torch.tensor([0.0, 0.1, 0.15, 0.4, 1.0, 2.0], dtype=torch.float64)
    dt, z = times.diff(), noise.normal((64, 5), seed=11, dtype=torch.float64)

    def path(increments):
        return torch.nn.functional.pad(increments.cumsum(1), (1, 0))

    want, result = path(dt.sqrt() * z), answer(z, times)
    if found := unwritten(result):
        return found
    got = torch.as_tensor(result)
    if close(got, want):
        return None
    if found := mistake(
        got, [(want[:, 1:], "the starting value W(times[0]) = 0 is missing.", "出発点 W(times[0]) = 0 が抜けている。")]
    ):
        return found
    one_size = "one step size is used for all intervals; use each interval's own dt = times.diff()."
    each_own = "すべての区間に同じ刻み幅を使っている。区間ごとの dt = times.diff() を使うこと。"
    ratio = float(got.double()[..., -1].var() / want[:, -1].var())
    return (
        wrong_shape("W", got, want)
        or mistake(
            got,
            [
                (
                    path(dt * z),
                    "the steps have size dt; their variance must be dt, so their size is sqrt(dt).",
                    "歩幅が dt になっている。分散が dt なのだから、歩幅は √dt である。",
                ),
                (
                    want.diff(dim=1, prepend=want[:, :1]),
                    "these are the increments; the path is their running sum (cumsum).",
                    "これは増分である。経路は増分を足し上げたもの (cumsum) である。",
                ),
                (
                    times.sqrt() * torch.nn.functional.pad(z, (1, 0)),
                    "each value has variance t, but they are independent: W(t) must go on from the one before.",
                    "各時刻の分散 t は合っているが、値どうしが独立である。W(t) は一つ前の値の続きでなければならない。",
                ),
                (
                    torch.nn.functional.pad((dt.sqrt() * z).cumsum(0), (1, 0)),
                    "the running sum goes over the paths (dimension 0); it must go along time (dimension 1).",
                    "経路の方向 (次元 0) に足している。時刻の方向 (次元 1) に足すこと。",
                ),
                (path(dt.mean().sqrt() * z), one_size, each_own),
                (path(dt[0].sqrt() * z), one_size, each_own),
            ],
        )
        or told(
            f"Var W(2) is {ratio:.2f} times the right one.", f"W(2) の分散が正しい値の {ratio:.2f} 倍になっている。"
        )
    )


@exercise(
    "ch01-ito-integral",
    hint=told(
        "multiply each increment by the value at the LEFT end of its interval.",
        "各増分に、その区間の「左端」での値を掛ける。",
    ),
)
def ito_integral(answer):
    """answer(w (n, k+1)) -> the Itô sums of  int w dw, shape (n,)."""
    dw = 0.1 * noise.normal((64, 100), seed=12, dtype=torch.float64)
    w = torch.nn.functional.pad(dw.cumsum(1), (1, 0))
    left, right = (w[:, :-1] * dw).sum(1), (w[:, 1:] * dw).sum(1)
    result = answer(w)
    if found := unwritten(result):
        return found
    got = torch.as_tensor(result)
    if close(got, left):
        return None
    gap = float(got.double().mean() - left.mean())
    return (
        wrong_shape("∫ w dw", got, left)
        or mistake(
            got,
            [
                (
                    right,
                    "the right end is used: it already contains the increment it multiplies, and adds sum dw^2 = T.",
                    "右端の値を使っている。掛ける相手の増分を先取りしており、Σdw² = T だけ余る。",
                ),
                (
                    (left + right) / 2,
                    "this is the mid-point (Stratonovich) sum w(T)^2/2; Ito's is smaller by T/2.",
                    "これは中点 (ストラトノビッチ) 型の和 w(T)²/2 である。伊藤型は T/2 だけ小さい。",
                ),
                (
                    w[:, -1] ** 2 / 2 - 0.5,
                    "this is the limit, w(T)^2/2 - T/2; the sum itself has sum dw^2 in the place of T.",
                    "これは極限の値 w(T)²/2 - T/2 である。和そのものでは、T のところに Σdw² が来る。",
                ),
                (
                    2 * left,
                    "twice too large: this is the integral of 2 w dw.",
                    "2倍になっている。これは ∫2w dw である。",
                ),
            ],
        )
        or told(
            f"on average {gap:+.3f} away from the Ito sum (T = 1 here).",
            f"伊藤型の和から平均で {gap:+.3f} ずれている (ここでは T = 1)。",
        )
    )


@exercise(
    "ch01-fg",
    hint=told(
        "f is the logarithmic derivative of s; for g, differentiate sigma^2 = int g^2/s^2 on both sides.",
        "f は s の対数微分。g は σ² = ∫g²/s² の両辺を微分すれば出る。",
    ),
)
def fg(answer):
    """answer(s, ds, sigma, dsigma) -> (f, g) in the textbook's letters: x(t) ~ N(s x0, s^2 sigma^2 I)."""
    t = torch.linspace(0.1, 1.0, 10, dtype=torch.float64)
    s, ds = torch.exp(-t - t**2), -(1 + 2 * t) * torch.exp(-t - t**2)
    sigma, dsigma = torch.sinh(t) + 0.5, torch.cosh(t)
    f, g2 = ds / s, 2 * s**2 * sigma * dsigma
    result = answer(s, ds, sigma, dsigma)
    if found := no_pair(result, "(f, g)"):
        return found
    my_f, my_g = (torch.as_tensor(part, dtype=torch.float64) for part in result)
    if found := wrong_shape("f", my_f, f) or wrong_shape("g", my_g, f):
        return found
    if not close(my_f, f):
        return mistake(
            my_f,
            [
                (ds, "f is s'/s, not s' alone.", "f は s' ではなく s'/s である。"),
                (-f, "f has the wrong sign: s' = f s.", "f の符号が逆である。s' = f s。"),
            ],
        ) or told("f is wrong: the mean s(t) x0 must obey s' = f s.", "f が違う。平均 s(t)x0 は s' = f s に従う。")
    if close(my_g, g2.sqrt()):
        return None
    if my_g.isnan().any():
        return told("g is the root of a negative number.", "g が負の数の平方根になっている。")
    ratio = float((my_g / g2.sqrt()).mean())
    return mistake(
        my_g,
        [
            (g2, "this is g^2: take the square root.", "これは g² である。平方根をとること。"),
            (
                (2 * sigma * dsigma).sqrt(),
                "the factor s is missing: in sigma^2 = int g^2/s^2 the noise of time t is divided by s(t).",
                "因子 s が抜けている。σ² = ∫g²/s² では、時刻 t に加わるノイズを s(t) で割っている。",
            ),
            (
                (2 * sigma * dsigma).sqrt() / s,
                "s is on the wrong side: g^2 = s^2 (sigma^2)'.",
                "s の位置が逆である。g² = s²(σ²)'。",
            ),
            ((g2 / 2).sqrt(), "a factor 2 is missing: (sigma^2)' = 2 sigma sigma'.", "2 が抜けている。(σ²)' = 2σσ'。"),
            (
                (2 * sigma * dsigma - 2 * f * sigma**2).sqrt(),
                "this formula wants OUR sigma (the standard deviation of x); the textbook's is ours divided by s.",
                "この式の σ は本書の σ (x の標準偏差) である。教科書の σ は、それを s で割ったものだ。",
            ),
        ],
    ) or told(f"g is about {ratio:.2f} times the right one.", f"g が正しい値のおよそ {ratio:.2f} 倍になっている。")
