"""Checkers of chapter 2 (Fokker-Planck), sections 2.1 to 2.5: the right-hand side, the grid's step, the fault.

A wrong answer is compared with what the usual mistakes give; the first that matches is the diagnosis.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import Diagnosis, exercise
from .diagnosis import compare, equal, told, unknown


def d(y: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


@exercise(
    "ch02-rhs",
    hint=told(
        "differentiate f p once and g^2 p twice, each as one lump; the signs are - and +, the factor is 1/2.",
        "fp を一度、g^2 p を二度、それぞれひとかたまりのまま微分する。符号は順に負と正、係数は 1/2。",
    ),
)
def rhs(answer: Callable) -> Diagnosis | None:
    """answer(p, f, g, x) -> -(f p)' + (g^2 p)''/2 at x (n,), for functions p, f, g of x."""
    x = torch.linspace(0.3, 2.0, 41, dtype=torch.float64).requires_grad_()

    def p(x):
        return torch.exp(-(x**2) / 2) * (1 + 0.3 * torch.sin(3 * x))

    def f(x):
        return 1 - x**2

    def g(x):
        return 0.5 + 0.3 * x**2

    drift, flow = d(f(x) * p(x), x), f(x) * d(p(x), x)
    inside, outside = d(d(g(x) ** 2 * p(x), x), x) / 2, g(x) ** 2 * d(d(p(x), x), x) / 2
    return compare(
        answer(p, f, g, x),
        (-drift + inside).detach(),
        (drift + inside, "the drift term has the wrong sign: one derivative moved, one minus.",
         "ドリフト項の符号が逆。微分を一度移したので、負号が一つ付く。"),
        (-drift - inside, "the diffusion term has the wrong sign: two derivatives moved, two minuses cancel.",
         "拡散項の符号が逆。微分を二度移したので、負号は二つで打ち消し合う。"),
        (-drift + 2 * inside, "the diffusion term is twice the exact one: is the 1/2 missing?",
         "拡散項がちょうど2倍。1/2 が抜けていないか。"),
        (-drift + outside, "g^2 stands outside the second derivative; it depends on x, so differentiate g^2 p.",
         "g^2 が二階微分の外に出ている。g は x によるので、g^2 p 全体を微分する。"),
        (-drift + d(d(g(x) * p(x), x), x) / 2, "g is not squared.", "g が2乗されていない。"),
        (-drift + d(g(x) ** 2 * d(p(x), x), x) / 2, "g^2 stands between the derivatives; both act on g^2 p.",
         "g^2 が二つの微分の間にある。どちらの微分も g^2 p に掛かる。"),
        (-drift + d(g(x) * d(g(x) * p(x), x), x) / 2, "this is the Stratonovich form; in Ito's both act on g^2 p.",
         "これはストラトノビッチ型の式である。伊藤型では、どちらの微分も g^2 p に掛かる。"),
        (-flow + inside, "f stands outside the derivative: the part -f' p is missing.",
         "f が微分の外に出ている。-f' p の分が抜けている。"),
        (flow + outside, "this is the generator of the backward Kolmogorov equation; integrate by parts.",
         "これは後ろ向きコルモゴロフ方程式の生成作用素である。部分積分で微分を p の側へ移すこと。"),
        (drift - inside, "the sign of the whole is wrong: this is -dp/dt.", "全体の符号が逆。これは -dp/dt である。"),
        (inside, "the drift term is missing.", "ドリフト項がない。"),
        (-drift, "the diffusion term is missing.", "拡散項がない。"),
    )  # fmt: skip


@exercise(
    "ch02-ring",
    hint=told(
        "torch.roll(p, -1) is the right neighbour; J at face i leaves cell i and enters cell i+1.",
        "torch.roll(p, -1) が右隣。壁 i の J はセル i から出て、セル i+1 に入る。",
    ),
)
def ring(answer: Callable) -> Diagnosis | None:
    """answer(p, f_faces, D, dx, dt) -> p after one explicit step with the averaged flux on a ring of n cells."""
    k = torch.arange(12, dtype=torch.float64)
    p, f, D, dx, dt = 1 + 0.5 * torch.sin(2 * k) + 0.1 * (k % 3), torch.cos(k), 0.3, 0.2, 0.01
    right, left = p.roll(-1), p.roll(1)
    J = f * (p + right) / 2 - D * (right - p) / dx
    fitted = f / -torch.expm1(-f * dx / D) * (p - torch.exp(-f * dx / D) * right)
    uphill, shifted = f * (p + right) / 2 + D * (right - p) / dx, f * (left + p) / 2 - D * (p - left) / dx

    def step(J):
        return p - dt / dx * (J - J.roll(1))

    want = step(J)
    result = answer(p.clone(), f.clone(), D, dx, dt)
    said = compare(
        result,
        want,
        (p - dt / dx * (J.roll(-1) - J), "roll goes the wrong way: J is lost on the right, gained on the left.",
         "roll の向きが逆。セルは右の壁の J を失い、左の壁の J を受け取る。"),
        (p + dt / dx * (J - J.roll(1)), "the sign of the step is wrong: J at the right face leaves the cell.",
         "一歩の符号が逆。右の壁の J はセルから出ていく。"),
        (step(uphill), "diffusion runs uphill: J has -D times the slope.",
         "拡散が低いほうから高いほうへ流れている。J には勾配の -D 倍が入る。"),
        (p - dt * (J - J.roll(1)), "divide the difference of J by dx.", "J の差を dx で割っていない。"),
        (p - dt / dx * (shifted.roll(-1) - shifted), "f_faces[i] is the face between cells i and i+1, not i-1 and i.",
         "f_faces[i] はセル i と i+1 の間の壁であって、i-1 と i の間ではない。"),
        (p - dt / dx * pad(J[:-1], (1, 1)).diff(), "the ends are closed: on a ring the last cell flows into the first.",
         "両端が閉じている。輪では最後のセルから最初のセルへ流れる。"),
        (want - p, "this is the change; add it to p.", "これは変化分。p に足すこと。"),
        (step(f * (p + right) - D * (right - p) / dx), "the mean of two densities is half their sum.",
         "二つの密度の平均なのに、2で割っていない。"),
        (step(f * (p + right) / 2 - D * (right - p)), "the slope is the difference divided by dx.",
         "勾配は差を dx で割ったもの。J の拡散の項で dx を忘れている。"),
        (step(f * p - D * (right - p) / dx), "the drift takes p_i alone; take the mean of both neighbours.",
         "ドリフトの項が p_i だけになっている。両隣の平均をとること。"),
        (step(fitted), "right for the fitted flux; here the averaged one is asked for.",
         "指数流束としては正しい。ここでは平均流束を使うこと。"),
    )  # fmt: skip
    if unknown(said) and abs(lost := float((p - result).sum() / p.sum())) > 1e-9:
        return told(
            f"mass is not kept (a part {lost:.2g} is lost): what leaves a cell must enter its neighbour.",
            f"質量が保たれていない(割合 {lost:.2g} が消えた)。セルから出た分は、必ず隣に入る。",
        )
    return said


@exercise(
    "ch02-fault",
    hint=told(
        "-(f p)' = -f p' - f' p. Write the step as differences of J at the faces; then no normalising is needed.",
        "-(fp)' = -f p' - f' p。一歩を壁の J の差で書けば、規格化は要らなくなる。",
    ),
)
def fault(answer: Callable) -> Diagnosis | None:
    """answer(p, x, f, D, dt) -> one conservative step between closed walls, for a non-linear drift."""
    x = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    p, dx, D, dt = 0.3 + 0.5 * torch.exp(-((x - 0.2) ** 2)), 0.1, 0.5, 1e-3

    def f(x):
        return x - x**3

    def expanded(*, product_rule: bool) -> Tensor:
        q = pad(p, (1, 1))
        flat = -f(x) * (q[2:] - q[:-2]) / (2 * dx) + D * (q[2:] - 2 * p + q[:-2]) / dx**2
        return p + dt * (flat - product_rule * (1 - 3 * x**2) * p)

    result = answer(p.clone(), x.clone(), f, D, dt)
    J = f((x[1:] + x[:-1]) / 2) * (p[1:] + p[:-1]) / 2 - D * p.diff() / dx
    want = p - dt / dx * pad(J, (1, 1)).diff()
    back = p + dt / dx * pad(J, (1, 1)).diff()
    kept = expanded(product_rule=False)
    said = compare(
        result, want, (back, "the sign of the step is wrong: it goes back in time.", "一歩の符号が逆。"),
        (kept * p.sum() / kept.sum(), "the term -f' p is still missing, and normalising still hides it.",
         "-f' p の項がまだ抜けていて、規格化がそれを隠している。"),
    )  # fmt: skip
    if not unknown(said):
        return said
    if not equal(answer(2 * p, x.clone(), f, D, dt), 2 * result, 1e-9):
        return told(
            "it still normalises: twice the density must give twice the result. Normalising hides the leak.",
            "まだ規格化している。密度を2倍にして渡せば、結果も2倍になるはずだ。規格化は漏れを隠すだけである。",
        )
    inner = slice(2, -2)
    if equal(result[inner], kept[inner]):
        return told("the term -f' p is still missing.", "-f' p の項がまだ抜けている。")
    lost = float((p - result).sum() / p.sum()) / dt
    fp = pad(f(x) * p, (1, 1))
    centred = p - dt / dx * ((fp[2:] - fp[:-2]) / 2 - D * pad(p, (1, 1)).diff().diff() / dx)  # f at the centres
    if any(equal(result[inner], r[inner]) for r in (want, centred)) and abs(lost) > 1e-9:
        return told(
            "right inside, but mass passes the outer walls: J must be 0 there.",
            "内側は正しいが、外の壁から質量が出入りしている。壁では J = 0 とすること。",
        )
    if abs(lost) > 1e-9:
        return told(
            f"mass changes at rate {-lost:.2g}: the expanded form does not cancel; use differences of J at faces.",
            f"質量が単位時間に {-lost:.2g} の割合で変わる。展開した形では打ち消し合わない。壁の J の差で書くこと。",
        )
    rate, exact = (result - p) / dt, (want - p) / dt
    # another conservative flux, such as the fitted one, is right too
    return None if equal(rate, exact, 0.02) else said
