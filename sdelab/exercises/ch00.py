"""Checkers of chapter 0 (orientation): each compares the answer with the right result, then with the usual mistakes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import letters
from ..process import VP, Process
from . import Diagnosis, exercise


def _close(got, want) -> bool:
    got, want = (torch.as_tensor(v, dtype=torch.float64) for v in (got, want))
    return got.shape == want.shape and torch.allclose(got, want, rtol=1e-6, atol=1e-9)


def _first(got, mistakes: Sequence[tuple[object, str, str]], en: str, ja: str) -> Diagnosis:
    """The diagnosis of the first mistake whose result `got` is; else the general one."""
    for wrong, told_en, told_ja in mistakes:
        if _close(got, wrong):
            return {"en": told_en, "ja": told_ja}
    return {"en": en, "ja": ja}


@exercise(
    "ch00-perturb",
    hint={
        "en": "Integrate beta from 0 to t: B = beta_min t + (beta_max - beta_min) t^2/2; and alpha^2 + sigma^2 = 1.",
        "ja": "まず β を 0 から t まで積分して B = β_min t + (β_max − β_min) t²/2 とする。あとは α² + σ² = 1 を使う。",
    },
)
def perturb(answer) -> Diagnosis | None:
    """answer(x0 (n, d), t, eps (n, d)) -> x_t of the VP process with beta from 0.1 to 20."""
    x0 = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.2]], dtype=torch.float64)
    eps = torch.tensor([[0.3, 1.1], [-0.7, 0.4], [2.0, -1.2]], dtype=torch.float64)
    for t in (0.2, 0.5):
        B = torch.tensor(0.1 * t + 19.9 * t**2 / 2, dtype=torch.float64)
        a, s = letters.from_vp_integral(B)
        got = answer(x0, t, eps)
        if _close(got, VP().perturb(x0, t, eps)):
            continue
        at_t = torch.tensor((0.1 + 19.9 * t) * t, dtype=torch.float64)
        a2, s2 = letters.from_vp_integral(at_t)
        a3, s3 = letters.from_vp_integral(at_t / t)
        return _first(
            got,
            [
                (a * x0 + s**2 * eps,
                 "eps is multiplied by the variance sigma^2; it takes the standard deviation sigma.",
                 "eps に分散 σ² を掛けている。掛けるのは標準偏差 σ である。"),
                (a**2 * x0 + s * eps,
                 "x0 is multiplied by alpha^2 = exp(-B); is the 1/2 of -beta x/2 missing?",
                 "x0 に α² = exp(−B) を掛けている。ドリフト −βx/2 の 1/2 を忘れていないか。"),
                (a**2 * x0 + s**2 * eps,
                 "both factors are squares: alpha = exp(-B/2) and sigma = sqrt(1 - exp(-B)).",
                 "係数が二つとも二乗のままである。α = exp(−B/2)、σ = √(1 − exp(−B)) とする。"),
                (a**2 * x0 + torch.sqrt(1 - a**4) * eps,
                 "the integral is twice too large: alpha = exp(-B/2), not exp(-B).",
                 "積分が二倍になっている。α = exp(−B) ではなく exp(−B/2) である。"),
                (s * x0 + a * eps, "alpha and sigma have changed places.", "α と σ が入れ替わっている。"),
                (a2 * x0 + s2 * eps,
                 "B is beta(t) t; beta varies, so integrate it: the t^2 term takes a 1/2.",
                 "B が β(t)·t になっている。β は変化するので積分が要る(t² の項に 1/2 が付く)。"),
                (a3 * x0 + s3 * eps,
                 "that is beta(t) itself in the exponent; it takes the integral of beta from 0 to t.",
                 "指数に β(t) そのものが入っている。入れるのは、β を 0 から t まで積分した値である。"),
            ],
            "x_t = alpha x0 + sigma eps does not come out; try sd.exercises.hint('ch00-perturb').",
            "x_t = αx₀ + σε になっていない。sd.exercises.hint('ch00-perturb') も見てほしい。",
        )  # fmt: skip
    return None


@exercise(
    "ch00-book-sigma",
    hint={
        "en": "The textbook's law of x(t) is N(s x0, s^2 sigma_book^2 I). Which number multiplies eps?",
        "ja": "教科書では x(t) ~ N(s x₀, s²σ²I) である。ε に掛かる数は何か。",
    },
)
def book_sigma(answer) -> Diagnosis | None:
    """answer(s, sigma_book) -> (alpha, sigma) in our letters."""
    s, sigma_book = torch.tensor(0.6, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    got = answer(s, sigma_book)
    if not isinstance(got, tuple | list) or len(got) != 2:
        return {"en": "return the pair (alpha, sigma).", "ja": "(alpha, sigma) の組を返してほしい。"}
    alpha, sigma = got
    if _close(alpha, s) and _close(sigma, s * sigma_book):
        return None
    if _close(alpha, s * sigma_book) and _close(sigma, s):
        return {"en": "the right two numbers, in the wrong order.", "ja": "値は合っているが、順序が逆である。"}
    if not _close(alpha, s):
        return {"en": "alpha multiplies x0: it is s itself.", "ja": "α は x₀ に掛かる数、つまり s そのものである。"}
    return _first(
        sigma,
        [
            (sigma_book,
             "this takes the textbook's sigma for ours: at low s the noise comes out 1/s times too large.",
             "教科書の σ をそのまま本書の σ にしている。s が小さい時刻ほど、ノイズが 1/s 倍に膨らむ。"),
            (sigma_book / s,
             "divided where it should be multiplied: the book's sigma is ours over alpha.",
             "割る向きが逆である。教科書の σ が、本書の σ を α で割ったものになる。"),
            ((s * sigma_book) ** 2, "that is the variance; take the root.", "それは分散である。平方根を取る。"),
            (s**2 * sigma_book,
             "s^2 sigma_book^2 is the variance: the root of s^2 is s.",
             "s²σ² は分散である。平方根を取れば s² は s になる。"),
        ],
        "sigma should be the standard deviation of N(s x0, s^2 sigma_book^2 I).",
        "σ は N(s x₀, s²σ²I) の標準偏差のはずである。",
    )  # fmt: skip


@exercise(
    "ch00-time-direction",
    hint={
        "en": "x(t) = y(tau) with tau = 1 - t. Differentiate by t with the chain rule: two things change.",
        "ja": "τ = 1 − t として x(t) = y(τ)。t で微分すると(連鎖律)、変わるものが二つある。",
    },
)
def time_direction(answer) -> Diagnosis | None:
    """answer(u, x, t) -> dx/dt at our time t, from a flow-matching velocity u(x, tau) with the data at tau = 1."""
    x, t = torch.tensor([[0.5, -1.0], [2.0, 0.3]], dtype=torch.float64), 0.3

    def u(x: Tensor, tau) -> Tensor:
        return x * (1 + 2 * tau) + tau**2

    got = answer(u, x, t)
    if _close(got, -u(x, 1 - t)):
        return None
    return _first(
        got,
        [
            (u(x, 1 - t),
             "the time is turned but not the sign: dx/dt = -dy/dtau. Samples would run away from the data.",
             "時刻は反転したが、符号がそのままである。dx/dt = −dy/dτ。このままではデータから遠ざかる。"),
            (-u(x, t),
             "the sign is turned but the time is not: u is to be asked at tau = 1 - t.",
             "符号は反転したが、時刻がそのままである。u に渡すのは τ = 1 − t である。"),
            (u(x, t), "nothing is turned: with data at tau = 1, both the time and the sign change.",
             "何も反転していない。データが τ = 1 にあるのだから、時刻も符号も変わる。"),
        ],
        "dx/dt should be minus u at the turned time.",
        "dx/dt は、反転した時刻での u に負号を付けたもののはずである。",
    )  # fmt: skip


@exercise(
    "ch00-four-sigmas",
    hint={
        "en": "Ours: process.sigma(t). The book's: over alpha. The coefficient of dw: the root of g2. "
        "One DDPM step from s down to t draws noise of std sigma_t sqrt(1 - exp(-2h)), h = lam(t) - lam(s).",
        "ja": "本書: process.sigma(t)。教科書: それを α で割る。dw の係数: g2 の平方根。"
        "DDPMの一歩 s → t で引くノイズの標準偏差: σ_t √(1 − exp(−2h))、h = λ(t) − λ(s)。",
    },
)
def four_sigmas(answer) -> Diagnosis | None:
    """answer(process, s, t) -> {"ours", "book", "dw", "step"}: four standard deviations that are all written sigma."""
    process, s, t = VP(), 0.6, 0.45
    got = answer(process, s, t)
    if not isinstance(got, dict) or not {"ours", "book", "dw", "step"} <= set(got):
        return {
            "en": "return a dict with the keys 'ours', 'book', 'dw' and 'step'.",
            "ja": "キー 'ours', 'book', 'dw', 'step' を持つ辞書を返してほしい。",
        }
    for key, want, mistakes, en, ja in _sigmas(process, s, t):
        if not _close(got[key], want):
            told = _first(got[key], mistakes, en, ja)
            return {language: f"'{key}': {text}" for language, text in told.items()}
    return None


def _sigmas(p: Process, s: float, t: float):
    """(key, right value, mistakes, what it is in English, in Japanese) for each of the four."""
    alpha, sigma, g2 = p.alpha(t), p.sigma(t), p.g2(t)
    a = p.alpha(s) / alpha
    gone = sigma**2 * (1 - torch.exp(2 * (p.lam(s) - p.lam(t))))  # the variance of the step
    variance = (sigma**2, "that is the variance; take the root.", "それは分散である。平方根を取る。")
    return (
        ("ours", sigma, [variance],
         "the standard deviation of the noise in x_t.", "x_t に含まれるノイズの標準偏差である。"),
        ("book", sigma / alpha,
         [(sigma, "that is ours; divide by alpha.", "それは本書の σ である。α で割る。"),
          (sigma * alpha, "divide by alpha, do not multiply.", "α を掛けるのではなく、α で割る。")],
         "sigma/alpha: the noise after the signal has been scaled back to 1.",
         "信号を 1 に戻したあとのノイズ、σ/α である。"),
        ("dw", g2.sqrt(), [(g2, "that is g^2; take the root.", "それは g² である。平方根を取る。")],
         "the coefficient g(t) of dw in the forward SDE.", "拡散過程のSDEで dw に掛かる g(t) である。"),
        ("step", gone.sqrt(),
         [(gone, *variance[1:]),
          (torch.sqrt(1 - a**2),
           "that is the noise of the *forward* step from t to s; the reverse step knows x_s as well and needs less.",
           "それは t から s への順方向の一歩で加わる量である。逆向きの一歩は x_s も知っているので、もっと小さい。"),
          (sigma * torch.sqrt(1 - torch.exp(p.lam(s) - p.lam(t))),
           "exp(-h) should be exp(-2h): lam is half the log-SNR.",
           "exp(−h) ではなく exp(−2h) である。λ は対数SNRの半分なので、2 が要る。"),
          (sigma, "that is all the noise at t; a step renews only a part of it.",
           "それは時刻 t のノイズ全部である。一歩で引き直すのはその一部でしかない。")],
         "sigma_t sqrt(1 - exp(-2h)) with h = lam(t) - lam(s) > 0.",
         "σ_t √(1 − exp(−2h))、h = λ(t) − λ(s) > 0 である。"),
    )  # fmt: skip
