"""Checkers of chapter 1 (forward SDE): each runs the reader's function on small inputs and names the mistake it sees.

A wrong answer is compared with the results of the mistakes readers make; the first that matches is the diagnosis.
"""

import torch
from torch import Tensor

from .. import noise, process
from . import Diagnosis, exercise


def _told(en: str, ja: str) -> Diagnosis:
    return {"en": en, "ja": ja}


def _close(got: Tensor, want: Tensor, tol: float = 1e-6) -> bool:
    """Same shape, and equal up to ``tol`` times the size of ``want``."""
    return got.shape == want.shape and torch.allclose(got.to(want), want, rtol=tol, atol=tol * float(want.abs().max()))


def _wrong_shape(name: str, got: Tensor, want: Tensor) -> Diagnosis | None:
    if got.shape == want.shape:
        return None
    a, b = tuple(got.shape), tuple(want.shape)
    return _told(f"{name} has shape {a}, expected {b}.", f"{name} の形が {a} になっている。{b} のはずである。")


def _mistake(got: Tensor, mistakes) -> Diagnosis | None:
    """The first of the rows (wrong result, English, Japanese) that ``got`` equals."""
    return next((_told(en, ja) for wrong, en, ja in mistakes if _close(got, wrong)), None)


def _unwritten(result) -> Diagnosis | None:
    if result is None or result is ...:
        return _told(
            "nothing is returned yet: write the body and return.",
            "まだ何も返していない。本体を書いて return すること。",
        )
    return None


def _no_pair(result, names: str) -> Diagnosis | None:
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return None
    return _unwritten(result) or _told(f"return the pair {names}.", f"組 {names} を返すこと。")


@exercise(
    "ch01-brownian",
    hint=_told(
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
    if found := _unwritten(result):
        return found
    got = torch.as_tensor(result)
    if _close(got, want):
        return None
    if found := _mistake(
        got, [(want[:, 1:], "the starting value W(times[0]) = 0 is missing.", "出発点 W(times[0]) = 0 が抜けている。")]
    ):
        return found
    one_size = "one step size is used for all intervals; use each interval's own dt = times.diff()."
    each_own = "すべての区間に同じ刻み幅を使っている。区間ごとの dt = times.diff() を使うこと。"
    ratio = float(got.double()[..., -1].var() / want[:, -1].var())
    return (
        _wrong_shape("W", got, want)
        or _mistake(
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
                (path(dt.mean().sqrt() * z), one_size, each_own),
                (path(dt[0].sqrt() * z), one_size, each_own),
            ],
        )
        or _told(
            f"Var W(2) is {ratio:.2f} times the right one.", f"W(2) の分散が正しい値の {ratio:.2f} 倍になっている。"
        )
    )


@exercise(
    "ch01-ito-integral",
    hint=_told(
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
    if found := _unwritten(result):
        return found
    got = torch.as_tensor(result)
    if _close(got, left):
        return None
    gap = float(got.double().mean() - left.mean())
    return (
        _wrong_shape("the integral", got, left)
        or _mistake(
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
                    2 * left,
                    "twice too large: this is the integral of 2 w dw.",
                    "2倍になっている。これは ∫2w dw である。",
                ),
            ],
        )
        or _told(
            f"on average {gap:+.3f} away from the Ito sum (T = 1 here).",
            f"伊藤型の和から平均で {gap:+.3f} ずれている (ここでは T = 1)。",
        )
    )


@exercise(
    "ch01-fg",
    hint=_told(
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
    if found := _no_pair(result, "(f, g)"):
        return found
    my_f, my_g = (torch.as_tensor(part, dtype=torch.float64) for part in result)
    if found := _wrong_shape("f", my_f, f) or _wrong_shape("g", my_g, f):
        return found
    if not _close(my_f, f):
        return _mistake(
            my_f,
            [
                (ds, "f is s'/s, not s' alone.", "f は s' ではなく s'/s である。"),
                (-f, "f has the wrong sign: s' = f s.", "f の符号が逆である。s' = f s。"),
            ],
        ) or _told("f is wrong: the mean s(t) x0 must obey s' = f s.", "f が違う。平均 s(t)x0 は s' = f s に従う。")
    if _close(my_g, g2.sqrt()):
        return None
    ratio = float((my_g / g2.sqrt()).mean())
    return _mistake(
        my_g,
        [
            (g2, "this is g^2: take the square root.", "これは g² である。平方根をとること。"),
            (
                (2 * sigma * dsigma).sqrt(),
                "the factor s is missing: in sigma^2 = int g^2/s^2 the noise of time t is divided by s(t).",
                "因子 s が抜けている。σ² = ∫g²/s² では、時刻 t に加わる雑音を s(t) で割っている。",
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
    ) or _told(f"g is about {ratio:.2f} times the right one.", f"g が正しい値のおよそ {ratio:.2f} 倍になっている。")


@exercise(
    "ch01-same-noise",
    hint=_told(
        "find the time of q at which lam is the same; there x / alpha is the same number.",
        "λ が同じになる q の時刻を求める。そこでは x/α が同じ値になる。",
    ),
)
def same_noise(answer):
    """answer(x, t, p, q) -> (x as process q shows it, its time u) at equal log-SNR, from the same x0 and eps."""
    x0, eps = (noise.normal((8, 3), seed=13, key=key, dtype=torch.float64) for key in (0, 1))
    for p, q, t in ((process.VP(), process.VE(), 0.4), (process.VE(), process.RectifiedFlow(), 0.5)):
        u = float(q.t_of_lam(p.lam(t)))
        x, want = p.perturb(x0, t, eps), q.perturb(x0, u, eps)
        result = answer(x, t, p, q)
        if found := _no_pair(result, "(x, u)"):
            return found
        got, when = torch.as_tensor(result[0]), float(result[1])
        if found := _wrong_shape("x", got, want):
            return found
        if abs(when - t) < 1e-9:
            return _told(
                "the time was kept: at equal t the two processes carry different amounts of noise.",
                "時刻が元のままである。同じ t では、二つの過程の雑音の割合が違う。",
            )
        if abs(when - u) > 1e-5:
            return _told(
                f"u = {when:.4f}, but q has the same lam at {u:.4f}.",
                f"u = {when:.4f} だが、q の λ が等しくなるのは {u:.4f} である。",
            )
        if not _close(got, want, 1e-4):
            return _mistake(
                got,
                [
                    (
                        x,
                        "the time is right, but x keeps its old scale: multiply by alpha_q(u) / alpha_p(t).",
                        "時刻は合っているが、x の目盛りが元のままである。α_q(u)/α_p(t) を掛けること。",
                    ),
                    (x * p.alpha(t) / q.alpha(u), "the ratio of the alphas is upside down.", "α の比が上下逆である。"),
                ],
            ) or _told(
                "u is right, x is not: x / alpha must be kept.", "u は正しいが x が違う。保たれるのは x/α である。"
            )
    return None


@exercise(
    "ch01-ddpm-kernel",
    hint=_told(
        "write two steps out: the factors of x0 multiply, and the variance obeys v_i = (1 - beta_i) v_{i-1} + beta_i.",
        "2歩だけ書き下す。x0 の係数は積になり、分散は v_i = (1 - β_i) v_{i-1} + β_i に従う。",
    ),
)
def ddpm_kernel(answer):
    """answer(betas (N,)) -> (a, std), each (N,): x_i | x_0 ~ N(a_i x_0, std_i^2) for the DDPM chain."""
    betas = torch.tensor([0.02, 0.05, 0.1, 0.3, 0.2], dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    result = answer(betas)
    if found := _no_pair(result, "(a, std)"):
        return found
    a, std = (torch.as_tensor(part, dtype=torch.float64) for part in result)
    if found := _wrong_shape("a", a, abar) or _wrong_shape("std", std, abar):
        return found
    if not _close(a, abar.sqrt()):
        return _mistake(
            a,
            [
                (
                    abar,
                    "a is alpha-bar: the mean carries its square root.",
                    "a が ᾱ になっている。平均に掛かるのはその平方根である。",
                ),
                (
                    torch.exp(-betas.cumsum(0) / 2),
                    "this is the VP SDE's factor exp(-1/2 sum beta), the limit; the chain multiplies sqrt(1 - beta_i).",
                    "これは極限である VP SDE の係数 exp(-½Σβ) である。鎖では √(1-β_i) を掛け合わせる。",
                ),
                (
                    (1 - betas).sqrt(),
                    "this is one step only; multiply all steps up to i.",
                    "これは1歩分である。i 歩目までの積をとること。",
                ),
                (
                    torch.cat([abar.new_ones(1), abar[:-1]]).sqrt(),
                    "one step behind: entry 0 is x_1, already after one step.",
                    "1歩遅れている。先頭の成分は x_1、すなわち1歩進んだ後である。",
                ),
            ],
        ) or _told("a is not the product of sqrt(1 - beta_j), j <= i.", "a が √(1-β_j) (j ≦ i) の積になっていない。")
    if _close(std, (1 - abar).sqrt()):
        return None
    return _mistake(
        std,
        [
            (1 - abar, "std is the variance: take the square root.", "std が分散のままである。平方根をとること。"),
            (
                betas.cumsum(0).sqrt(),
                "the variances were only added up; every later step also shrinks the noise already there.",
                "分散をただ足している。後の各ステップは、すでにある雑音も縮める。",
            ),
            (betas.sqrt(), "std is the noise of the last step only.", "std が最後の1歩の雑音だけになっている。"),
        ],
    ) or _told(
        "a is right, std is not: a^2 + std^2 = 1 must hold.", "a は正しいが std が違う。a² + std² = 1 のはずである。"
    )


@exercise(
    "ch01-fault",
    hint=_told(
        "which indices can be drawn, and which should be? Then work out the standard deviation of x - x0.",
        "どの添字が引かれうるか。どの添字が引かれるべきか。次に x - x0 の標準偏差を計算してみる。",
    ),
)
def fault(answer):
    """answer(x0 (n, d), sigmas (T,), seed) -> (x (n, d), i (n,)): VE noising, i uniform over all T levels."""
    levels, batch = 200, 32
    sigmas = torch.linspace(0.1, 20.0, levels, dtype=torch.float64)
    x0 = torch.full((batch, 400), 5.0, dtype=torch.float64)
    indices, noises = [], []
    for seed in range(40):
        result = answer(x0, sigmas, seed)
        if found := _no_pair(result, "(x, i)"):
            return found
        x, i = torch.as_tensor(result[0]), torch.as_tensor(result[1])
        if found := _wrong_shape("x", x, x0) or _wrong_shape("i", i, x0[:, 0]):
            return found
        if i.min() < 0 or i.max() >= levels:
            return _told(
                f"indices {int(i.min())}..{int(i.max())} leave the range 0..{levels - 1}.",
                f"添字 {int(i.min())}..{int(i.max())} が範囲 0..{levels - 1} をはみ出している。",
            )
        indices.append(i.long())
        noises.append((x - x0) / sigmas[i.long(), None])
    i, z = torch.cat(indices), torch.cat(noises)
    if i.max() < batch:
        return _told(
            f"in {len(i)} draws no index reached {batch}, the batch size: draw below len(sigmas), the number of levels.",
            f"{len(i)} 回引いても添字がバッチサイズ {batch} に届かない。雑音の段数 len(sigmas) 未満から引くこと。",
        )
    if all(len(one.unique()) == 1 for one in indices):
        return _told(
            "one index for the whole batch: draw one per sample.",
            "バッチ全体で添字が一つしかない。標本ごとに引くこと。",
        )
    if len(i.unique()) < 0.9 * levels:
        return _told("some noise levels are never drawn.", "一度も引かれない雑音の段がある。")
    if abs(float(z.mean())) > 0.02:
        return _told("x - x0 has a mean: VE keeps x0 as it is.", "x - x0 の平均が 0 でない。VE は x0 をそのまま残す。")
    std, level = z.std(dim=1), sigmas[i]
    if torch.allclose(std, torch.ones_like(std), atol=0.2):
        return None
    if torch.allclose(std, level, rtol=0.3):
        return _told(
            "the noise is multiplied by sigma^2; it is sigma * z.", "雑音に σ² を掛けている。正しくは σ·z である。"
        )
    if torch.allclose(std, level.rsqrt(), rtol=0.3):
        return _told(
            "the noise is multiplied by sqrt(sigma); it is sigma * z.", "雑音に √σ を掛けている。正しくは σ·z である。"
        )
    ratio = float(std.mean())
    return _told(
        f"(x - x0)/sigma has standard deviation {ratio:.2f}, not 1.",
        f"(x - x0)/σ の標準偏差が 1 でなく {ratio:.2f} である。",
    )
