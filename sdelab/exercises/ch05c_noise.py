"""Checkers of chapter 5 (3), second half: churn, two runs from one start, one path in a step, a corrector."""

from collections.abc import Callable

import torch
from torch import Tensor

from . import Diagnosis, exercise
from .ch05c import ETAS, STEPS, VP, first_said, number, pairs, rise, stacked
from .diagnosis import compare, no_pair, told, unwritten


@exercise(
    "ch05c-churn",
    hint=told(
        "r_hat = (1 + gamma) r; the noise that is missing has the variance r_hat^2 - r^2, and s_noise multiplies its "
        "standard deviation.",
        "r_hat = (1 + gamma) r。足りないノイズの分散は r_hat^2 - r^2 で、s_noise はその標準偏差に掛ける。",
    ),
)
def churn(answer: Callable) -> Diagnosis | None:
    """answer(r, gamma, s_noise) -> (r_hat, standard deviation of the noise to add), both in r = sigma/alpha."""
    cases = [(number(r), g, s) for r in (0.2, 3.0) for g in (0.0, 0.1, 0.4) for s in (1.0, 1.1)]

    def table(f: Callable) -> Tensor:
        return pairs(f(*case) for case in cases)

    def std(r, g, s):
        return s * r * ((1 + g) ** 2 - 1) ** 0.5

    answers = [answer(*case) for case in cases]
    if said := first_said(no_pair(a, "(r_hat, std)") for a in answers):
        return said
    return compare(
        pairs(answers),
        table(lambda r, g, s: ((1 + g) * r, std(r, g, s))),
        (table(lambda r, g, s: ((1 + g) * r, s * g * r)), "variances add, standard deviations do not: the noise is "
         "sqrt(r_hat^2 - r^2), not r_hat - r.", "足し算になるのは分散である。r_hat - r ではなく sqrt(r_hat^2 - r^2)。"),
        (table(lambda r, g, s: ((1 + g) * r, s * std(r, g, 1) ** 2)), "this is the variance: take its square root.",
         "これは分散。平方根をとること。"),
        (table(lambda r, g, s: ((1 + g) * r, std(r, g, 1))), "s_noise does not enter.", "s_noise が入っていない。"),
        (table(lambda r, g, s: ((1 + g) * r, std(r, g, s**2))), "s_noise multiplies the standard deviation once.",
         "s_noise は標準偏差に1回だけ掛ける。"),
        (table(lambda r, g, s: (s * (1 + g) * r, std(r, g, s))), "s_noise belongs to the noise alone: the solver steps "
         "down from r_hat = (1 + gamma) r.", "s_noise はノイズだけに掛ける。解法は r_hat = (1 + gamma) r から下りる。"),
        (table(lambda r, g, s: (r + g, s * ((r + g) ** 2 - r**2) ** 0.5)), "gamma is a share: r_hat = (1 + gamma) r, "
         "not r + gamma.", "gamma は割合である。r + gamma ではなく r_hat = (1 + gamma) r。"),
        (table(lambda r, g, s: ((1 + g) * r, s * (1 + g) * r)), "this is all the noise of the new level, not what has "
         "to be added.", "これは新しい水準のノイズ全部。足すのは差の分だけである。"),
        (table(lambda r, g, s: (std(r, g, s), (1 + g) * r)), "r_hat comes first.", "r_hat が先。"),
    )  # fmt: skip


@exercise(
    "ch05c-two-runs",
    hint=told(
        "given x_s, each run has the variance v_t (1 - rho^2) around one and the same mean; the two are independent.",
        "x_s を決めると、どちらの終点も同じ平均のまわりに分散 v_t (1 - rho^2) で散る。二つは独立である。",
    ),
)
def two_runs(answer: Callable) -> Diagnosis | None:
    """answer(s, t, eta, process, std) -> E|x_t - x'_t|^2 of two exact runs from one x_s with independent noise."""
    std = 0.6
    cases = [(s, t, eta) for s, t in STEPS for eta in ETAS]

    def v(t):
        return (VP.alpha(t) * std) ** 2 + VP.var(t)

    def table(f: Callable) -> Tensor:
        return stacked(
            f(v(t), v(s), VP.alpha(s) / VP.alpha(t) * (v(t) / v(s)).sqrt(), number(eta)) for s, t, eta in cases
        )

    answers = [answer(*case, VP, std) for case in cases]
    if said := first_said(map(unwritten, answers)):
        return said
    return compare(
        stacked(answers),
        table(lambda v, w, rho, e: 2 * v * (1 - rho ** (2 * e**2))),
        (table(lambda v, w, rho, e: v * (1 - rho ** (2 * e**2))), "this is the variance of one run: the difference of "
         "two independent ones has twice that.", "これは一方の分散。独立な二つの差の分散は2倍である。"),
        (table(lambda v, w, rho, e: 2 * v * (1 - rho ** (e**2))), "what x_s does not explain is 1 - rho^2 of the "
         "variance, not 1 - rho.", "x_s で説明できない割合は 1 - rho ではなく 1 - rho^2。"),
        (table(lambda v, w, rho, e: 2 * v * (1 - rho ** (2 * e))), "rho is the forward one to the power eta^2.",
         "rho は前向きの相関の eta^2 乗。eta 乗ではない。"),
        (table(lambda v, w, rho, e: 2 * v * (1 - rho**2)), "eta does not enter: two runs of the ODE agree.",
         "eta が入っていない。ODE(eta = 0)なら二つは一致するはず。"),
        (table(lambda v, w, rho, e: 2 * w * (1 - rho ** (2 * e**2))), "v_s for v_t: the ends are at t.",
         "v_s ではなく v_t。終点は t である。"),
        (table(lambda v, w, rho, e: 2 * v), "the two share their start: they are not independent.",
         "二つは出発点を共有しているので、独立ではない。"),
        (table(lambda v, w, rho, e: (2 * v * (1 - rho ** (2 * e**2))).sqrt()), "the mean square is asked for, not its "
         "root.", "求めるのは二乗平均で、その平方根ではない。"),
    )  # fmt: skip


@exercise(
    "ch05c-one-path",
    hint=told(
        "the exact step again, twice: the noise at m is kept with the factor (sigma_t/sigma_m) exp(-eta^2 (lam_t - "
        "lam_m)), and new noise joins it.",
        "厳密な一歩を2回使う。m でのノイズは (sigma_t/sigma_m) exp(-eta^2 (lam_t - lam_m)) 倍になって残る。"
        "そこに新しいノイズが加わる。",
    ),
)
def one_path(answer: Callable) -> Diagnosis | None:
    """answer(s, m, t, eta, process, z1, z2) -> (noise in the state at m, noise in the state at t), of one path."""
    cases = [(0.7, 0.6, 0.5, 1.0), (0.4, 0.2, 0.1, 0.5), (0.4, 0.2, 0.1, 1.5)]
    z1, z2 = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.float64), torch.tensor([1.1, 0.4, -0.6, 0.5]).double()

    def std(a, b, eta):
        return VP.sigma(b) * (1 - torch.exp(-2 * eta**2 * rise(a, b))).sqrt()

    def table(f: Callable) -> Tensor:
        out = []
        for s, m, t, eta in cases:
            at_m, fade = std(s, m, eta) * z1, torch.exp(-(eta**2) * rise(m, t))
            out.append(torch.stack(f(at_m, VP.sigma(t) / VP.sigma(m), fade, std(m, t, eta), std(s, t, eta))))
        return torch.stack(out)

    answers = [answer(*case, VP, z1.clone(), z2.clone()) for case in cases]
    if said := first_said(no_pair(a, "(at m, at t)") for a in answers):
        return said
    return compare(
        torch.stack([torch.stack([torch.as_tensor(part) for part in pair]) for pair in answers]),
        table(lambda n, ratio, fade, new, whole: (n, ratio * fade * n + new * z2)),
        (table(lambda n, ratio, fade, new, whole: (n, whole * z2)), "both have the right size, but they are "
         "independent: the noise at t contains that at m.",
         "大きさは合うが、二つが独立である。t でのノイズは m でのノイズを含む。"),
        (table(lambda n, ratio, fade, new, whole: (n, whole * z1)), "z1 is used twice: on a path the way from m to t "
         "adds noise of its own.", "z1 を2度使っている。m から t までに、新しいノイズが加わるはず。"),
        (table(lambda n, ratio, fade, new, whole: (n, n + new * z2)), "the noise at m is carried on unchanged: it "
         "fades on the way to t.", "m でのノイズがそのまま残っている。t までに薄れるはず。"),
        (table(lambda n, ratio, fade, new, whole: (n, ratio * n + new * z2)), "the factor exp(-eta^2 (lam_t - lam_m)) "
         "is missing.", "係数 exp(-eta^2 (lam_t - lam_m)) がない。"),
        (table(lambda n, ratio, fade, new, whole: (n, fade * n + new * z2)), "the factor sigma_t/sigma_m is missing.",
         "係数 sigma_t/sigma_m がない。"),
        (table(lambda n, ratio, fade, new, whole: (n, ratio * fade * n + whole * z2)), "the noise up to m is counted "
         "twice: z2 stands for the way from m to t alone.",
         "m までのノイズを二重に数えている。z2 は m から t までの分だけ。"),
        (table(lambda n, ratio, fade, new, whole: (n, new * z2)), "the noise up to m is lost at t.",
         "m までのノイズが t で消えている。"),
        (table(lambda n, ratio, fade, new, whole: (ratio * fade * n + new * z2, n)), "the noise at m comes first.",
         "m でのノイズが先。"),
    )  # fmt: skip


@exercise(
    "ch05c-corrector",
    hint=told(
        "on N(0, v) the score is -x/v, so x <- (1 - e/v) x + sqrt(2e) z; find the variance that stays, "
        "v/(1 - e/(2v)), and solve for e.",
        "N(0, v) のスコアは -x/v だから x <- (1 - e/v) x + sqrt(2e) z。"
        "変わらない分散 v/(1 - e/(2v)) を求め、e について解く。",
    ),
)
def corrector(answer: Callable) -> Diagnosis | None:
    """answer(v, share) -> the e of x <- x + e s(x) + sqrt(2e) z whose stationary variance on N(0, v) is (1+share) v."""
    cases = [(number(v), share) for v in (0.2, 1.0, 3.0) for share in (0.01, 0.1, 0.5)]

    def table(f: Callable) -> Tensor:
        return stacked(f(v, share) for v, share in cases)

    answers = [answer(*case) for case in cases]
    if said := first_said(map(unwritten, answers)):
        return said
    return compare(
        stacked(answers),
        table(lambda v, c: 2 * v * c / (1 + c)),
        (table(lambda v, c: 2 * v * c), "right to first order only: solve v/(1 - e/(2v)) = (1 + share) v exactly.",
         "小さい share でしか合わない。v/(1 - e/(2v)) = (1 + share) v を厳密に解く。"),
        (table(lambda v, c: 4 * v * c / (1 + c)), "this is the size of the other convention, x + (e/2) s + sqrt(e) z.",
         "これは x + (e/2) s + sqrt(e) z という別の流儀の大きさである。"),
        (table(lambda v, c: v * c / (1 + c)), "half the right size: the variance that stays is v/(1 - e/(2v)).",
         "正しい値の半分。変わらない分散は v/(1 - e/(2v)) である。"),
        (table(lambda v, c: 2 * v / (1 + c)), "a small share needs a small step: here e does not vanish with it.",
         "share が小さければ e も小さいはず。この式では 0 にならない。"),
        (table(lambda v, c: 2 * v.sqrt() * c / (1 + c)), "e is a variance: it grows with v, not with its root.",
         "e は分散の単位をもつ。sqrt(v) ではなく v に比例する。"),
        (table(lambda v, c: 2 * c / (1 + c)), "v does not enter: the size is measured against the variance.",
         "v が入っていない。大きさは分散を単位に測る。"),
    )  # fmt: skip
