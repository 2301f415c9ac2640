"""Checkers of chapter 1 (forward SDE), sections 1.7 to 1.11: equal log-SNR, the DDPM kernel, the fault.

A wrong answer is compared with the results of the mistakes readers make; the first that matches is the diagnosis.
"""

import torch

from .. import noise, process
from . import exercise
from .diagnosis import close, mistake, no_pair, told, wrong_shape


@exercise(
    "ch01-same-noise",
    hint=told(
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
        if found := no_pair(result, "(x, u)"):
            return found
        got, when = (torch.as_tensor(part, dtype=torch.float64) for part in result)
        if when.numel() != 1:
            return told("the time u comes second, as one number.", "時刻 u は2番目に、一つの数として返すこと。")
        when = float(when)
        if found := wrong_shape("x", got, want):
            return found
        if abs(when - t) < 1e-9:
            return told(
                "the time was kept: at equal t the two processes carry different amounts of noise.",
                "時刻が元のままである。同じ t では、二つの過程のノイズの割合が違う。",
            )
        if abs(when - u) > 1e-5:
            return told(
                f"u = {when:.4f}, but q has the same lam at {u:.4f}.",
                f"u = {when:.4f} だが、q の λ が等しくなるのは {u:.4f} である。",
            )
        if not close(got, want, 1e-4):
            return mistake(
                got,
                [
                    (
                        x,
                        "the time is right, but x keeps its old scale: multiply by alpha_q(u) / alpha_p(t).",
                        "時刻は合っているが、x の倍率が元のままである。α_q(u)/α_p(t) を掛けること。",
                    ),
                    (x * p.alpha(t) / q.alpha(u), "the ratio of the alphas is upside down.", "α の比が上下逆である。"),
                ],
            ) or told(
                "u is right, x is not: x / alpha must be kept.", "u は正しいが x が違う。保たれるのは x/α である。"
            )
    return None


@exercise(
    "ch01-ddpm-kernel",
    hint=told(
        "write two steps out: the factors of x0 multiply, and the variance obeys v_i = (1 - beta_i) v_{i-1} + beta_i.",
        "2歩だけ書き下す。x0 の係数は積になり、分散は v_i = (1 - β_i) v_{i-1} + β_i に従う。",
    ),
)
def ddpm_kernel(answer):
    """answer(betas (N,)) -> (a, std), each (N,): x_i | x_0 ~ N(a_i x_0, std_i^2) for the DDPM chain."""
    betas = torch.tensor([0.02, 0.05, 0.1, 0.3, 0.2], dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    result = answer(betas)
    if found := no_pair(result, "(a, std)"):
        return found
    a, std = (torch.as_tensor(part, dtype=torch.float64) for part in result)
    if found := wrong_shape("a", a, abar) or wrong_shape("std", std, abar):
        return found
    if not close(a, abar.sqrt()):
        return mistake(
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
        ) or told("a is not the product of sqrt(1 - beta_j), j <= i.", "a が √(1-β_j) (j ≦ i) の積になっていない。")
    if close(std, (1 - abar).sqrt()):
        return None
    return mistake(
        std,
        [
            (1 - abar, "std is the variance: take the square root.", "std が分散のままである。平方根をとること。"),
            (
                betas.cumsum(0).sqrt(),
                "the variances were only added up; every later step also shrinks the noise already there.",
                "分散をただ足している。後の各ステップは、すでにあるノイズも縮める。",
            ),
            (betas.sqrt(), "std is the noise of the last step only.", "std が最後の1歩のノイズだけになっている。"),
        ],
    ) or told(
        "a is right, std is not: a^2 + std^2 = 1 must hold.", "a は正しいが std が違う。a² + std² = 1 のはずである。"
    )


@exercise(
    "ch01-fault",
    hint=told(
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
    for seed in range(150):  # 4800 draws: a right answer misses one of the 200 levels with probability 1e-8
        result = answer(x0, sigmas, seed)
        if found := no_pair(result, "(x, i)"):
            return found
        x, i = torch.as_tensor(result[0]), torch.as_tensor(result[1])
        if found := wrong_shape("x", x, x0) or wrong_shape("i", i, x0[:, 0]):
            return found
        if i.min() < 0 or i.max() >= levels:
            return told(
                f"indices {int(i.min())}..{int(i.max())} leave the range 0..{levels - 1}.",
                f"添字 {int(i.min())}..{int(i.max())} が範囲 0..{levels - 1} をはみ出している。",
            )
        indices.append(i.long())
        noises.append((x - x0) / sigmas[i.long(), None])
    i, z = torch.cat(indices), torch.cat(noises)
    if i.max() < batch:
        return told(
            f"{len(i)} draws never reached the batch size, {batch}: draw below len(sigmas), the number of levels.",
            f"{len(i)} 回引いても添字がバッチサイズ {batch} に届かない。ノイズの段数 len(sigmas) 未満から引くこと。",
        )
    if all(len(one.unique()) == 1 for one in indices):
        return told(
            "one index for the whole batch: draw one per sample.",
            "バッチ全体で添字が一つしかない。標本ごとに引くこと。",
        )
    if len(i.unique()) < levels:
        missing = sorted(set(range(levels)) - set(i.tolist()))[-1]
        return told(
            f"level {missing} of 0..{levels - 1} is never drawn; randint leaves out its upper bound.",
            f"0..{levels - 1} の段のうち {missing} が一度も引かれない。randint の上限は含まれない。",
        )
    if abs(float(z.mean())) > 0.02:
        return told("x - x0 has a mean: VE keeps x0 as it is.", "x - x0 の平均が 0 でない。VE は x0 をそのまま残す。")
    std, level = z.std(dim=1), sigmas[i]
    if torch.allclose(std, torch.ones_like(std), atol=0.2):
        return None
    if torch.allclose(std, level, rtol=0.3):
        return told(
            "the noise is multiplied by sigma^2; it is sigma * z.", "ノイズに σ² を掛けている。正しくは σ·z である。"
        )
    if torch.allclose(std, level.rsqrt(), rtol=0.3):
        return told(
            "the noise is multiplied by sqrt(sigma); it is sigma * z.",
            "ノイズに √σ を掛けている。正しくは σ·z である。",
        )
    ratio = float(std.mean())
    return told(
        f"(x - x0)/sigma has standard deviation {ratio:.2f}, not 1.",
        f"(x - x0)/σ の標準偏差が 1 でなく {ratio:.2f} である。",
    )
