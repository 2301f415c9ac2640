"""Checkers of chapter 5, page a (ODE methods): two-stage weights, uneven Adams–Bashforth, growth, step-size control.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from . import Diagnosis, exercise
from .diagnosis import compare, no_pair, told, unwritten

F64 = torch.float64


def gathered(answers: list) -> Tensor | Diagnosis:
    """The answers of several questions as one tensor, or what is wrong with the first that is not written."""
    if said := unwritten(*answers):
        return said
    return torch.stack([torch.as_tensor(a).to(F64) for a in answers])


def judged(answers: list, want: Tensor, *mistakes) -> Diagnosis | None:
    found = gathered(answers)
    return found if isinstance(found, dict) else compare(found, want, *mistakes)


@exercise(
    "ch05a-weights",
    hint=told(
        "order 1 asks b_1 + b_2 = 1, order 2 asks b_2 c = 1/2.",
        "次数1の条件は b_1 + b_2 = 1、次数2の条件は b_2 c = 1/2。",
    ),
)
def weights(answer: Callable) -> Diagnosis | None:
    """answer(c) -> (b_1, b_2) of the two-stage method of order 2 whose second slope is taken at s + c h."""
    nodes = (0.5, 2 / 3, 1.0, 0.3)
    pairs = [answer(c) for c in nodes]
    if said := next((no_pair(p, "(b_1, b_2)") for p in pairs if no_pair(p, "(b_1, b_2)")), None):
        return said

    def table(f: Callable) -> Tensor:
        return torch.tensor([f(c) for c in nodes], dtype=F64)

    return compare(
        torch.stack([torch.stack([torch.as_tensor(b).to(F64) for b in p]) for p in pairs]),
        table(lambda c: (1 - 1 / (2 * c), 1 / (2 * c))),
        (table(lambda c: (1 / (2 * c), 1 - 1 / (2 * c))), "b_1 and b_2 are swapped: that at s + c h is the second.",
         "b_1 と b_2 が逆。s + c h での傾きは2番目である。"),
        (table(lambda c: (0.5, 0.5)), "these are Heun's weights, of order 2 for c = 1 only.",
         "これはホイン法の重みで、次数2になるのは c = 1 のときだけ。"),
        (table(lambda c: (0.0, 1.0)), "these are the midpoint rule's, of order 2 for c = 1/2 only.",
         "これは中点法の重みで、次数2になるのは c = 1/2 のときだけ。"),
        (table(lambda c: (1 - c, c)), "b_2 is c: the condition is b_2 c = 1/2, not b_2 = c.",
         "b_2 が c になっている。条件は b_2 c = 1/2 である。"),
        (table(lambda c: (1 - 1 / c, 1 / c)), "b_2 is twice too large: the Taylor term of h^2 has the factor 1/2.",
         "b_2 がちょうど2倍。テイラー展開の h^2 の項には 1/2 が付く。"),
        (table(lambda c: (1 / (2 * c), 1 / (2 * c))), "b_1 + b_2 must be 1.", "b_1 + b_2 は 1 でなければならない。"),
        (table(lambda c: (1.0, 1 / (2 * c))), "b_1 + b_2 must be 1.", "b_1 + b_2 は 1 でなければならない。"),
    )  # fmt: skip


@exercise(
    "ch05a-ab2",
    hint=told(
        "the line through f_now at 0 and f_before at -h_before, integrated from 0 to h.",
        "0 で f_now、-h_before で f_before を通る直線を、0 から h まで積分する。",
    ),
)
def ab2(answer: Callable) -> Diagnosis | None:
    """answer(x, f_now, f_before, h, h_before) -> x after a step of Adams and Bashforth's method, variable steps."""
    x, f, g = (torch.linspace(a, b, 7, dtype=F64) for a, b in ((-1, 2), (0.5, -1.5), (2.0, 0.3)))
    steps = ((0.3, 0.2), (-0.1, -0.4), (0.25, 0.25))

    def table(weight: Callable) -> Tensor:
        return torch.stack([x + h * (a * f + b * g) for h, k in steps for a, b in [weight(h / k)]])

    return judged(
        [answer(x.clone(), f.clone(), g.clone(), h, k) for h, k in steps],
        table(lambda r: (1 + r / 2, -r / 2)),
        (table(lambda r: (1.5, -0.5)), "these are the weights of equal steps: the ratio h/h_before must enter.",
         "これは等間隔の重みである。比 h/h_before が要る。"),
        (table(lambda r: (1 + 1 / (2 * r), -1 / (2 * r))), "the ratio is upside down: it is h/h_before.",
         "比が上下逆。h/h_before である。"),
        (table(lambda r: (1 + r, -r)), "the slope of the line is not halved: the integral of u from 0 to h is h^2/2.",
         "1/2 が抜けている。u を 0 から h まで積分すると h^2/2。"),
        (table(lambda r: (-r / 2, 1 + r / 2)), "f_now and f_before are swapped.", "f_now と f_before が逆。"),
        (table(lambda r: (1 + r / 2, r / 2)), "the sign of f_before: the weights add up to 1.",
         "f_before の符号が逆。重みの和は 1 になるはず。"),
        (table(lambda r: (1 - r / 2, r / 2)), "this is a mean of the two slopes: it must be continued beyond f_now.",
         "二つの傾きの平均になっている。f_now より先へ延長すること。"),
        (table(lambda r: (1.0, 0.0)), "this is Euler's step: f_before does not enter.",
         "これはオイラー法。f_before が入っていない。"),
    )  # fmt: skip


@exercise(
    "ch05a-growth",
    hint=told(
        "x_{n+1} = x_n + h(3/2 f_n - 1/2 f_{n-1}) with f = lam x: r^2 - (1 + 3z/2) r + z/2 = 0; the larger |r|.",
        "f = lam x を代入すると r^2 - (1 + 3z/2) r + z/2 = 0。二つの |r| の大きいほう。",
    ),
)
def growth(answer: Callable) -> Diagnosis | None:
    """answer(z) -> the larger |r| of Adams-Bashforth 2 at the complex z (a tensor), real, z's shape."""
    z = torch.complex(torch.linspace(-1.6, 0.4, 6, dtype=F64), torch.tensor([0.0, 0.5, -0.7, 0.9, 0.0, 0.3], dtype=F64))

    def roots(b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        d = (b * b - 4 * c).sqrt()
        return (b + d) / 2, (b - d) / 2

    def table(b: Tensor, c: Tensor, pick: Callable = torch.maximum) -> Tensor:
        r, q = roots(b, c)
        return pick(r.abs(), q.abs())

    result = answer(z.clone())
    if torch.is_tensor(result) and result.is_complex():
        return told("a factor of growth is real: return |r|.", "倍率は実数である。|r| を返すこと。")
    b, c = 1 + 1.5 * z, z / 2
    first, second = (r.abs() for r in roots(b, c))
    return compare(
        result, table(b, c),
        (table(b, c, torch.minimum), "this is the smaller root: the larger one decides.",
         "小さいほうの根である。決めるのは大きいほう。"),
        (first, "one fixed branch of the square root: take the larger |r| at each z.",
         "平方根の枝を一つに決めている。z ごとに |r| の大きいほうを取る。"),
        (second, "one fixed branch of the square root: take the larger |r| at each z.",
         "平方根の枝を一つに決めている。z ごとに |r| の大きいほうを取る。"),
        ((1 + z).abs(), "this is Euler's |1 + z|: the past slope does not enter.",
         "これはオイラー法の |1 + z|。過去の傾きが入っていない。"),
        ((1 + z + z * z / 2).abs(), "this is the two-stage Runge-Kutta method's.",
         "これは2段のルンゲ・クッタ法のもの。"),
        (table(b, -c), "the sign of z/2: r^2 - (1 + 3z/2) r + z/2.", "z/2 の符号が逆。r^2 - (1 + 3z/2) r + z/2。"),
        ((b - c).abs(), "the past is put in as if x had stood still: x_{n-1} = x_n / r, not x_n.",
         "x_{n-1} を x_n で置き換えている。x_{n-1} = x_n / r である。"),
        (z.exp().abs(), "this is the exact solution's.", "これは厳密解の倍率である。"),
    )  # fmt: skip


@exercise(
    "ch05a-controller",
    hint=told(
        "h * 0.9 * error^(-0.7/q) * old^(0.4/q), the factor held between 0.2 and 5.",
        "h × 0.9 × error^(-0.7/q) × old^(0.4/q)。倍率は 0.2 から 5 の間に抑える。",
    ),
)
def controller(answer: Callable) -> Diagnosis | None:
    """answer(h, error, old, q) -> the step after an accepted one: PI control with the factor within [0.2, 5]."""
    asked = ((0.1, 0.5, 0.3, 3), (0.2, 0.9, 0.02, 5), (0.05, 1e-9, 1.0, 2), (0.3, 0.3, 0.9, 2), (0.1, 1.0, 1e-4, 2))

    def table(f: Callable, low: float = 0.2, high: float = 5.0) -> Tensor:
        return torch.tensor([h * min(high, max(low, f(e, o, q))) for h, e, o, q in asked], dtype=F64)

    def right(e, o, q):
        return 0.9 * e ** (-0.7 / q) * o ** (0.4 / q)

    return judged(
        [answer(h, e, o, q) for h, e, o, q in asked],
        table(right),
        (table(right, 0.0, float("inf")), "the factor must stay between 0.2 and 5.",
         "倍率を 0.2 と 5 の間に抑えること。"),
        (table(lambda e, o, q: 0.9 * e ** (-1 / q)), "this is the I rule: the last error does not enter.",
         "これは I 制御。一つ前の誤差が入っていない。"),
        (table(lambda e, o, q: 0.9 * e ** (0.7 / q) * o ** (-0.4 / q)), "the signs of the exponents: a large error "
         "must make the step smaller.", "指数の符号が逆。誤差が大きければ、刻みは小さくなるはず。"),
        (table(lambda e, o, q: 0.9 * e ** (-0.7 / q) * o ** (-0.4 / q)), "the sign of the exponent of old: falling "
         "errors ask for more, rising ones for less.", "old の指数の符号が逆。"),
        (table(lambda e, o, q: right(e, o, q) / 0.9), "the safety factor 0.9 is missing.", "安全率 0.9 がない。"),
        (table(lambda e, o, q: 0.9 * e**-0.7 * o**0.4), "the exponents are divided by q, as the error goes like h^q.",
         "指数を q で割る。誤差は h^q に比例するからである。"),
        (table(lambda e, o, q: 0.9 * o ** (-0.7 / q) * e ** (0.4 / q)), "error and old are swapped.",
         "error と old が逆。"),
        (torch.tensor([min(5.0, max(0.2, right(e, o, q))) for h, e, o, q in asked], dtype=F64),
         "this is the factor: multiply it by h.", "これは倍率である。h を掛けること。"),
    )  # fmt: skip
