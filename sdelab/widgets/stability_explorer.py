"""StabilityExplorer: the step size against the stability region and the numerical solution of the test equation."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import solvers, stability
from ..noise import normal
from ..solvers import RK4, AdamsBashforth, Euler, EulerMaruyama, Heun, ImplicitEM, Milstein
from .packing import quantise
from .player import Player, bundle, menu

HALF = 4.2  # half the width of the picture of z = h lam
CENTRE = -1.2  # of that picture, on the real axis
CELLS = 84  # of the region, a side; rows of the upper half only are stored
TOP = 2.0  # growth above which all is one colour
SPAN = 12.0  # of time that the solution is followed
REACH = 6.0  # heights of the solution that are stored; the picture ends at 2.5
PATHS = 6  # sample paths drawn of the equation with noise
LAMBDAS = {
    "-1": {"ja": "−1（減衰）", "en": "−1 (decay)"},
    "-1+2i": {"ja": "−1 + 2i（減衰する振動）", "en": "−1 + 2i (damped oscillation)"},
    "-0.2+2i": {"ja": "−0.2 + 2i（弱い減衰）", "en": "−0.2 + 2i (weakly damped)"},
    "2i": {"ja": "2i（減衰しない振動）", "en": "2i (undamped oscillation)"},
}
MUS = {
    "0": {"ja": "0（ノイズなし）", "en": "0 (no noise)"},
    "0.5": {"ja": "0.5", "en": "0.5"},
    "1": {"ja": "1", "en": "1"},
}
SCHEMES: dict[str, tuple[dict, Any]] = {  # label, solver or R(z)
    "euler": ({"ja": "オイラー法", "en": "Euler"}, Euler()),
    "heun": ({"ja": "ホイン法", "en": "Heun"}, Heun()),
    "rk4": ({"ja": "RK4", "en": "RK4"}, RK4()),
    "ab2": ({"ja": "アダムス・バシュフォース 2", "en": "Adams–Bashforth 2"}, AdamsBashforth(2)),
    "ab3": ({"ja": "アダムス・バシュフォース 3", "en": "Adams–Bashforth 3"}, AdamsBashforth(3)),
    "implicit_euler": ({"ja": "陰的オイラー法", "en": "implicit Euler"}, ImplicitEM(1.0)),
    "implicit_midpoint": ({"ja": "陰的中点法", "en": "implicit midpoint"}, lambda z: (1 + z / 2) / (1 - z / 2)),
    "exp_euler": ({"ja": "指数オイラー法", "en": "exponential Euler"}, torch.exp),
    "em": ({"ja": "オイラー・丸山法（二乗平均）", "en": "Euler–Maruyama (mean square)"}, EulerMaruyama()),
    "milstein": ({"ja": "ミルシュタイン法（二乗平均）", "en": "Milstein (mean square)"}, Milstein()),
}
NOISY = {"em": "euler_maruyama", "milstein": "milstein"}  # rows of the table: their strong orders for any noise
EXPLICIT = ("euler", "heun", "rk4", "ab2", "ab3")
WORDS = {
    "time": {"ja": "刻み幅 h", "en": "step size h"},
    "plane": {
        "ja": "複素平面 z = hλ: 緑は減衰、濃いほど速い",
        "en": "plane of z = hλ: green decays, the darker the faster",
    },
    "solution": {"ja": "解の実部: 数値解（点）と厳密解（線）", "en": "real part: numerical (dots), exact (line)"},
    "square": {
        "ja": "二乗平均の平方根: 数値解（点）、厳密解（線）、経路",
        "en": "root mean square: numerical (dots), exact (line); paths",
    },
    "growth": {"ja": "一歩の倍率。1 を超えると不安定", "en": "growth of a step: above 1, unstable"},
    "z": {"ja": "z = hλ", "en": "z = hλ"},
    "factor": {"ja": "一歩の倍率", "en": "growth of a step"},
    "exact": {"ja": "厳密解の倍率", "en": "the exact one"},
    "limit": {"ja": "安定な刻み幅の限界", "en": "step limit"},
    "always": {"ja": "なし（どの h でも安定）", "en": "none (stable for every h)"},
    "never": {"ja": "0（どの h でも不安定）", "en": "0 (unstable for every h)"},
    "order": {"ja": "次数、一歩の呼び出し", "en": "order, calls a step"},
    "stable": {"ja": "安定", "en": "stable"},
    "unstable": {"ja": "不安定", "en": "unstable"},
}


def number(text: str) -> complex:
    """The complex number that a name in ``LAMBDAS`` stands for."""
    return complex(text.replace("i", "j"))


def factor(scheme: str, z: Tensor, m: Tensor | float = 0.0) -> Tensor:
    """Growth of a step at z = h lam (complex), with m = mu sqrt(h): |R|, the largest root, or sqrt(E|R|^2)."""
    solver = SCHEMES[scheme][1]
    if scheme in NOISY:
        return stability.moments(solver, z, m)[1].sqrt()
    return solver(z).abs() if isinstance(solver, Callable) else stability.growth(solver, z)


def order(scheme: str) -> tuple[float, int]:
    """(order, network calls a step); of schemes with noise the strong order. (0, 0) of those that solve for lam."""
    if scheme in NOISY:
        row = solvers.row(NOISY[scheme])
        return float(row.claimed or row.strong or 0), row.nfe
    solver = SCHEMES[scheme][1]
    return (solver.order, solver.nfe) if scheme in EXPLICIT else (0, 0)


class StabilityExplorer(Player):
    """One step size h under a slider: z = h lam in the stability region, and the run that it makes.

    scheme: "euler", "heun", "rk4", "ab2", "ab3", "implicit_euler", "implicit_midpoint", "exp_euler", or, in the mean
    square on dx = lam x dt + mu x dw, "em" and "milstein". lam: "-1", "-1+2i", "-0.2+2i" or "2i". mu: "0", "0.5"
    or "1", of the schemes with noise. steps: frames less one, h in geometric progression from 0.1 to 3. seed: of the
    sample paths. precompute, lang: as in DensityExplorer. Raises ValueError for what is not in the menus.

    >>> sd.widgets.StabilityExplorer("rk4", lam="2i")
    """

    _esm = bundle("stability_explorer.mjs")

    def __init__(
        self,
        scheme: str = "euler",
        lam: str = "-1",
        mu: str = "0.5",
        *,
        steps: int = 48,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        self._steps, self._seed = steps, seed
        if precompute == "menus":
            precompute = [
                {"scheme": s, "lam": a, "mu": m}
                for s, a, m in itertools.product(SCHEMES, LAMBDAS, MUS)
                if s in NOISY or m == "0.5"
            ]
        noise = menu("mu", {"ja": "ノイズ μ", "en": "noise μ"}, MUS, when={"scheme": list(NOISY)})
        controls = [
            menu("scheme", {"ja": "解法", "en": "scheme"}, {name: label for name, (label, _) in SCHEMES.items()}),
            menu("lam", {"ja": "λ", "en": "λ"}, LAMBDAS),
            noise,
        ]
        super().__init__(
            title={"ja": "刻み幅と安定性", "en": "Step size and stability"},
            controls=controls,
            words=WORDS | {name: label for name, (label, _) in SCHEMES.items()},
            choice={"scheme": scheme, "lam": lam, "mu": mu},
            precompute=precompute,
            frame=round(0.85 * steps) if frame is None else frame,
            lang=lang,
        )

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them, one for each step size.

        t (F,): the step sizes h; growth, exact (F,): the factor of a step, and of the solution over it; limit (1,): the
        h from which steps grow, 0 if all do, -1 if none does (up to h = 20); region (CELLS/2, CELLS): growth in the
        upper half of the picture of z without noise, up to 2, rows upwards from the real axis; noise (F,): what noise
        adds to |R|^2 there; lam (2,): its parts; start (F + 1,), x (total,): the numerical solution of each frame, one
        after another; order (2,): of :func:`order`; paths (PATHS, total): sample paths likewise, where there is noise.
        """
        choice = self._checked(choice or self.choice)
        scheme, lam = choice["scheme"], number(choice["lam"])
        mu = float(choice["mu"]) if scheme in NOISY else 0.0
        h = torch.logspace(-1, math.log10(3.0), self._steps + 1, dtype=torch.float64)
        grown = factor(scheme, lam * h + 0j, mu * h.sqrt())
        limit = stability.limit(lambda h: factor(scheme, lam * h + 0j, mu * h.sqrt()), 20.0)
        xs, starts = [], [0]
        for size in h.tolist():
            xs.append(self._run(scheme, lam, mu, size))
            starts.append(starts[-1] + xs[-1].shape[1])
        along = torch.cat(xs, 1)
        around = complex(CENTRE) + _plane()
        arrays: dict[str, Any] = {
            "t": h, "growth": grown, "exact": torch.exp((lam.real + mu**2 / 2) * h), "lam": [lam.real, lam.imag],
            "order": [float(v) for v in order(scheme)],
            "limit": [-1.0 if math.isinf(limit) else limit], "start": starts,
            "region": quantise(factor(scheme, around), 0, TOP, 100, delta=(0, 1)),
            "noise": _noise(scheme, mu * h.sqrt()),
            "x": quantise(along[0], -REACH, REACH, 2047),
        }  # fmt: skip
        if scheme in NOISY:
            arrays["paths"] = quantise(along[1:], -REACH, REACH, 255)
        return arrays

    def _run(self, scheme: str, lam: complex, mu: float, h: float) -> Tensor:
        """(1 or 1 + PATHS, n): the real part of the numerical solution at 0, h, 2h, ... up to SPAN; of the schemes with
        noise the root mean square, and sample paths."""
        n = int(SPAN / h + 1e-9)
        solver = SCHEMES[scheme][1]
        if isinstance(solver, AdamsBashforth):  # past slopes that begin with the exact solution
            past = [complex(np.exp(-lam * h * j)) for j in range(solver.order)]
            x, weights = [1.0 + 0j], stability.adams_weights(solver.order)
            for _ in range(n):
                x.append(x[-1] + h * lam * sum(w * v for w, v in zip(weights, past, strict=True)))
                past = [x[-1], *past[:-1]]
                x[-1] = complex(max(-1e9, min(1e9, x[-1].real)), max(-1e9, min(1e9, x[-1].imag)))
            return torch.tensor([[v.real for v in x]], dtype=torch.float64)
        power = torch.arange(n + 1, dtype=torch.float64)
        if scheme not in NOISY:
            z = torch.tensor(lam * h, dtype=torch.complex128)
            R = solver(z) if isinstance(solver, Callable) else stability.one_step(solver, z)
            return _kept((R**power).real[None])
        mean_square = factor(scheme, torch.tensor(lam * h + 0j), mu * h**0.5) ** power
        W = math.sqrt(h) * normal((PATHS, n), self._seed, dtype=torch.float64)
        step = 1 + lam * h + mu * W + (mu**2 / 2 * (W**2 - h) if scheme == "milstein" else 0.0)
        paths = torch.cat([torch.ones(PATHS, 1, dtype=step.dtype), step.cumprod(1)], 1).real
        return _kept(torch.cat([mean_square[None], paths]))

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """The region with z, and the run, at one step size."""
        k, (left, right) = self.frame, figure.subplots(1, 2, width_ratios=[1, 1.7])
        h, (re, im) = float(frames["t"][k]), (float(v) for v in frames["lam"])
        whole = np.concatenate([frames["region"][::-1], frames["region"]])
        bound = (1 - float(frames["noise"][k])) ** 0.5 if frames["noise"][k] < 1 else 0.0
        side = {"extent": (CENTRE - HALF, CENTRE + HALF, -HALF, HALF), "origin": "lower"}
        left.imshow(np.where(whole <= bound, 1.0, 0.0), cmap="Greens", vmin=0, vmax=2.2, **side)
        left.axhline(0, color="0.7", lw=0.6)
        left.axvline(0, color="0.7", lw=0.6)
        left.plot([h * re], [h * im], "o", color="#c25700")
        left.set(title=f"z = h lam, h = {h:.2f}", xlim=side["extent"][:2], ylim=side["extent"][2:])
        lo, hi = (int(v) for v in frames["start"][k : k + 2])
        t = np.arange(hi - lo) * h
        fine = np.linspace(0, SPAN, 400)
        right.plot(fine, np.exp(re * fine) * np.cos(im * fine), color="#1b2430", lw=1)
        right.plot(t, frames["x"][lo:hi], "o-", color="#0072b2", ms=3, lw=1)
        right.set(title=self.choice["scheme"], xlabel="time", ylim=(-2.5, 2.5))
        for ax in (left, right):
            ax.tick_params(labelsize=8)
            ax.title.set_fontsize(10)


def _plane() -> Tensor:
    """The cells' centres in the upper half, less CENTRE: rows upwards from the real axis."""
    at = ((torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 - 1) * HALF
    return torch.complex(at[None, :].expand(CELLS // 2, -1), at[CELLS // 2 :, None].expand(-1, CELLS))


def _noise(scheme: str, m: Tensor) -> Tensor:
    """What noise adds to E|R|^2 beside |1 + z|^2."""
    return m**2 + (m**4 / 2 if scheme == "milstein" else 0.0)


def _kept(x: Tensor) -> Tensor:
    return x.nan_to_num(nan=0.0, posinf=1e9, neginf=-1e9)
