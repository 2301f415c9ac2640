"""Checkers of chapter 3 (reverse SDE): the reverse drift, the ancestral step, the Langevin step.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch

from .. import noise, process
from ..distributions import GaussianMixture
from . import Diagnosis, exercise
from .diagnosis import compare, told

LAW = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.4]], 0.3)


def _states():
    return torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)


@exercise(
    "ch03-reverse-drift",
    hint=told(
        "f x - (1 + eta^2)/2 g^2 score, in the forward direction of t; process.g2 is already squared.",
        "t の向きのまま書けば f x - (1+η²)/2 · g² × スコア。process.g2 はすでに2乗した値である。",
    ),
)
def reverse_drift(answer: Callable) -> Diagnosis | None:
    """answer(x (n, d), t, process, score, eta) -> f x - (1 + eta^2)/2 g^2 score(x, t), the factor of dt."""
    vp, t, x = process.VP(), 0.3, _states()
    s, fx, g2 = LAW.at(vp, t).score(x), vp.f(t) * x, vp.g2(t)
    for eta in (0.6, 1.0, 0.0):
        k = (1 + eta**2) / 2
        said = compare(
            answer(x.clone(), t, vp, lambda x, t: LAW.at(vp, t).score(x), eta),
            fx - k * g2 * s,
            (fx - 2 * k * g2 * s, "the 1/2 is missing: your pull towards the data is twice the right one.",
             "1/2 が抜けている。データへ引く力が正しい値の2倍である。"),
            (fx - g2 * s, "this is right for eta = 1 only; the factor is (1 + eta^2)/2.",
             "η = 1 のときだけ正しい。係数は (1 + η²)/2 である。"),
            (fx - g2 / 2 * s, "this is the probability flow (eta = 0), whatever eta is.",
             "η によらず確率フロー (η = 0) のドリフトになっている。"),
            (fx - eta**2 / 2 * g2 * s, "this balances the noise only; the flow's own 1/2 is missing: (1 + eta^2)/2.",
             "ノイズ η に釣り合う分しかない。流れの分の 1/2 も要る: (1 + η²)/2。"),
            (fx - (1 + eta) / 2 * g2 * s, "eta is not squared.", "η が2乗されていない。"),
            (fx + k * g2 * s, "the sign of the score term is wrong: in falling t it drives samples away from the data.",
             "スコアの項の符号が逆。t を減らしながら進むと、データから遠ざかる。"),
            (fx - k * g2.sqrt() * s, "g is not squared: use process.g2(t).",
             "g が2乗されていない。process.g2(t) を使う。"),
            (fx - k * g2**2 * s, "g2 is squared already.", "g2 はすでに2乗した値である。"),
            (vp.f(t) - k * g2 * s, "process.f(t) is a factor: multiply it by x.",
             "process.f(t) は係数。x を掛けること。"),
            (-k * g2 * s, "the drift f x is missing.", "ドリフト f x がない。"),
            (-fx + k * g2 * s, "this is the drift in reversed time tau = T - t; here it is the factor of dt.",
             "これは逆の時間 τ = T - t で測ったドリフト。ここでは dt に掛かるほうを書く。"),
        )  # fmt: skip
        if said:
            return said
    return None


@exercise(
    "ch03-ancestral",
    hint=told(
        "with r = e^{-2h} = (alpha_s sigma_t/(alpha_t sigma_s))^2: mean (alpha_t/alpha_s) r x + alpha_t (1 - r) D, "
        "std sigma_t sqrt(1 - r). Check: x = alpha_s x_0 and D = x_0 must give the mean alpha_t x_0.",
        "r = e^{-2h} = (α_s σ_t/(α_t σ_s))² とおくと、平均は (α_t/α_s) r x + α_t (1-r) D、標準偏差は σ_t √(1-r)。"
        "検算: x = α_s x₀、D = x₀ なら平均は α_t x₀ になる。",
    ),
)
def ancestral(answer: Callable) -> Diagnosis | None:
    """answer(x, D, s, t, process, z) -> a draw of x_t given x_s = x and x_0 = D, made from the normals z; t < s."""
    vp, s, t, x = process.VP(), 0.5, 0.35, _states()
    D, z = LAW.denoiser(vp)(x, s), noise.normal(x.shape, seed=5, dtype=torch.float64)
    a_s, a_t, v_s, v_t = vp.alpha(s), vp.alpha(t), vp.var(s), vp.var(t)
    r = (a_s / a_t) ** 2 * v_t / v_s
    mean, std = a_t / a_s * r * x + a_t * (1 - r) * D, (v_t * (1 - r)).sqrt()
    eps = (x - a_s * D) / v_s.sqrt()
    return compare(
        answer(x.clone(), D, s, t, vp, z),
        mean + std * z,
        (mean, "this is the mean of the step; the noise is missing.", "これは平均だけ。ノイズが入っていない。"),
        (mean + std**2 * z, "z is multiplied by the variance; take the root.",
         "z に分散を掛けている。平方根を取ること。"),
        (mean + (v_s * (1 - r)).sqrt() * z,
         "right mean, but the noise of the forward step (DDPM's larger choice): the way back knows x_0 = D too.",
         "平均は正しいが、ノイズが順方向の一歩の大きさ (DDPMの大きいほうの選択) である。戻るときは D も使える。"),
        (mean + v_t.sqrt() * z, "right mean, but a step renews only a part of the noise: std = sigma_t sqrt(1 - r).",
         "平均は正しいが、一歩で引き直すのはノイズの一部だけ。標準偏差は σ_t √(1-r)。"),
        (a_t * D + v_t.sqrt() * z, "all the noise is renewed, so that x is forgotten: keep a part of it.",
         "ノイズを全部引き直している。これでは x を忘れてしまう。一部は残すこと。"),
        (a_t * D + v_t.sqrt() * eps, "this is DDIM, the step without noise (eta = 0).",
         "これはノイズのない一歩、DDIM (η = 0) である。"),
        (a_t / a_s * r**0.5 * x + a_t * (1 - r**0.5) * D + (v_t * (1 - r**0.5)).sqrt() * z,
         "e^{-h} where e^{-2h} belongs: lam is half the log-SNR.",
         "e^{-2h} とすべきところが e^{-h}。λ は対数SNRの半分である。"),
        (r * x + (1 - r) * D + std * z, "the alphas are missing: x lives at scale alpha_s, the result at alpha_t.",
         "α がない。x は α_s の、結果は α_t の縮尺で測った値である。"),
    )  # fmt: skip


@exercise(
    "ch03-langevin",
    hint=told(
        "a step of time e of dx = score dt + sqrt(2) dw: the increment of w is sqrt(e) z.",
        "dx = スコア dt + √2 dw を時間 e だけ進める。w の増分は √e z である。",
    ),
)
def langevin(answer: Callable) -> Diagnosis | None:
    """answer(x (n, d), score, e, z (n, d)) -> x + e score(x) + sqrt(2 e) z."""
    x, e = _states(), 0.09
    z, s = noise.normal(x.shape, seed=6, dtype=torch.float64), LAW.score(x)
    root = e**0.5
    return compare(
        answer(x.clone(), LAW.score, e, z),
        x + e * s + 2**0.5 * root * z,
        (x + e * s + root * z,
         "the noise is sqrt(e) z: half the variance that is needed, and the law comes out as p^2.",
         "ノイズが √e z になっている。分散が半分なので、p ではなく p² (を規格化したもの) に落ち着く。"),
        (x + e * s + 2 * e * z, "the noise is 2 e z: the root is missing, and it dies out with small steps.",
         "ノイズが 2e z になっている。平方根が抜け、歩幅を小さくするとノイズが消える。"),
        (x + e / 2 * s + root * z,
         "a right step of half the size: here e multiplies the score, and the noise is sqrt(2 e) z.",
         "正しい一歩だが、歩幅が半分。ここでは e がスコアの係数で、ノイズは √(2e) z である。"),
        (x + e / 2 * s + 2**0.5 * root * z, "two conventions are mixed: either (e, sqrt(2e)) or (e/2, sqrt(e)).",
         "二つの流儀が混ざっている。(e, √(2e)) か (e/2, √e) のどちらかにそろえること。"),
        (x - e * s + 2**0.5 * root * z, "the sign of the score is wrong: particles climb the density, so add it.",
         "スコアの符号が逆。粒子は密度の坂を登るのだから、足すこと。"),
        (x + e * s, "the noise is missing: this climbs to the nearest peak and stays there.",
         "ノイズがない。これではいちばん近い山の頂上で止まってしまう。"),
        (e * s + 2**0.5 * root * z, "this is the increment; add it to x.", "これは増分。x に足すこと。"),
    )  # fmt: skip
