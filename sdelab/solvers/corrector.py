"""Correctors, chains that leave the law of x_t alone and mend what a predictor got wrong; and predictor–corrector.

A corrector runs at one time. With the score s(x) = -(x - alpha D(x, t))/sigma^2 a Langevin step is

    x <- x + e s(x) + sqrt(2 e) z

As a solver of its own it does this at every time of the grid, with no predictor between ("corrector only"): the times
must lie close, the more so on a process whose alpha changes, where the state lags behind in scale as well.

What must be known about the size e:
- A step of fixed size has the stationary variance v/(1 - e/(2 v)) on N(m, v), not v: the error of a corrector does not
  shrink with more steps of the grid. Its order is 0, and a smaller ``snr`` is the only cure (or an accept-reject step:
  :class:`HMC`).
- Song's e = 2 (r |z|/|s|)^2 takes the mean of both norms over the batch, so that a sample depends on its neighbours.
  With norms of each sample alone e depends on x and z, and for small r the chain's law is not p but proportional to
  |s|^2 p^{d/(d+2)}: its variance is off by about 4/d in d dimensions, nothing for an image and everything in the plane.
  The default is what the mean over a large batch tends to where D knows x_0 well, |s| = |z|/sigma: e = 2 (r sigma)^2.
- Algorithm 5 of Song et al. multiplies e by alpha_i = 1 - beta_i, which belongs to their chain of 1000 links and is 1
  in continuous time: give ``snr`` as a function of t to have it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..reverse import Reverse
from .classical import EulerMaruyama
from .discrete import DDPM, ReverseDiffusion
from .exponential import ExpEuler
from .linear import Entry, Point, points
from .row import Row


def _per_sample(x: Tensor) -> Tensor:
    """x as (n, features)."""
    return x.flatten(1) if x.ndim > 1 else x[:, None]


def _norm(x: Tensor) -> Tensor:
    """|x_i| of each sample, shaped to multiply x."""
    return torch.linalg.vector_norm(_per_sample(x), dim=1).reshape((-1,) + (1,) * (x.ndim - 1))


class Corrector:
    """Base: a step goes to the time t of its entry, and applies :meth:`correct` there ``repeats`` times."""

    order, ode_only, in_time, noisy = 0, False, False, True
    repeats, calls_each = 1, 1

    @property
    def nfe(self) -> int:
        return self.repeats * self.calls_each

    def correct(self, equation: Reverse, x: Tensor, at: Point, draw) -> Tensor:
        raise NotImplementedError

    def plan(self, equation, times) -> list[Point]:
        if not isinstance(equation, Reverse):
            raise ValueError(f"{type(self).__name__} needs a Reverse equation (denoiser and process), not any SDE")
        return points(equation.process, times[1:])

    def start(self):
        return {}

    def step(self, equation, x: Tensor, entry: Point, memory, draw) -> Tensor:
        for _ in range(self.repeats):
            x = self.correct(equation, x, entry, draw)
        return x


class LangevinCorrector(Corrector):
    """Langevin steps at a signal-to-noise ratio r = ``snr``: x <- x + e s(x) + sqrt(2 e) z, ``repeats`` times.

    norm="level":  e = 2 (r sigma_t)^2, the same for every sample; linear in x.
    norm="sample": e = 2 (r |z_i|/|s_i|)^2 for sample i: Song's rule for a batch of one.
    norm="batch":  the means of |z| and |s| over the batch, as published; a split batch then gives other samples.
    ``snr`` is a number or a function of t. The module's docstring tells what each does to the law.

    Order: 0 (the error of the step size remains). NFE: ``repeats``.
    Reference: Song et al. (2021), algorithms 4 and 5. Raises ``ValueError`` for another norm, snr <= 0, repeats < 1.
    """

    def __init__(self, snr: float | Callable[[float], float] = 0.16, repeats: int = 1, norm: str = "level"):
        if norm not in ("level", "sample", "batch"):
            raise ValueError(f"norm must be 'level', 'sample' or 'batch', not {norm!r}")
        if not callable(snr) and not 0 < snr < math.inf:
            raise ValueError(f"snr is a positive number or a function of t, not {snr!r}")
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, not {repeats}")
        self.snr, self.repeats, self.norm = snr, repeats, norm

    def correct(self, equation: Reverse, x: Tensor, at: Point, draw) -> Tensor:
        D = equation.denoise(x, at.t)
        z, scale = draw(None, None, x, 1.0)
        r = self.snr(at.t) if callable(self.snr) else self.snr
        if self.norm == "level":  # e s = -2 r^2 (x - alpha D)
            e = 2 * r * r
            return torch.mul(x, 1 - e).add_(D, alpha=e * at.alpha).add_(z, alpha=scale * 2 * r * at.sigma)
        s = (at.alpha * D - x) / at.sigma**2
        norms = _norm(z), _norm(s)
        top, bottom = (n.mean() for n in norms) if self.norm == "batch" else norms
        root = r * scale * top / bottom  # sqrt(e/2)
        return x + 2 * root**2 * s + 2 * root * scale * z


class AnnealedLangevin(LangevinCorrector):
    """Langevin dynamics at every noise level in turn, with steps in proportion to its variance.

    x <- x + a/2 s(x) + sqrt(a) z,   a = 2 ``step`` sigma_t^2,   ``repeats`` times per level

    Song & Ermon (2019) take a = epsilon sigma_i^2/sigma_L^2: ``step`` is epsilon/(2 sigma_L^2), 0.1 for their
    epsilon = 2e-5 and sigma_L = 0.01. There is no predictor between the levels, so they must lie close.

    Order: 0. NFE: ``repeats``. Reference: Song & Ermon (2019), algorithm 1. Raises ``ValueError`` unless 0 < step < 1.
    """

    def __init__(self, step: float = 0.1, repeats: int = 100):
        if not 0 < step < 1:
            raise ValueError(f"step is a fraction of the noise variance between 0 and 1, not {step!r}")
        super().__init__(math.sqrt(step / 2), repeats)


class HMC(Corrector):
    """Hamiltonian Monte Carlo at one noise level: ``leaps`` leapfrog steps of ``step`` sigma_t, then accept or not.

    p ~ N(0, I);   p += l/2 s(x), x += l p, p += l/2 s(x) (repeated);   accept with probability min(1, e^{-dH})
    dH = |p'|^2/2 - |p|^2/2 - log p_t(x')/p_t(x)

    The density ratio: with ``log_prob(x, t) -> (n,)`` it is exact and so is the stationary law. Without, it is the
    score's line integral along the leaps by the trapezium rule, from scores that are at hand: exact for Gaussian p_t,
    an error of O(l^2) else, symmetric under reversal. A network's score need not be a gradient; then no ratio exists,
    and the line integral is a convention. One step size serves the batch, each sample accepts on its own.

    Order: 0. NFE: ``repeats`` (leaps + 1). The last acceptance rate is in ``.accepted`` (a tensor).
    Reference: Neal (2011), "MCMC using Hamiltonian dynamics", section 5.2.
    """

    def __init__(self, step: float = 0.5, leaps: int = 5, repeats: int = 1, log_prob: Callable | None = None):
        if not 0 < step < math.inf or leaps < 1 or repeats < 1:
            raise ValueError(f"need step > 0, leaps >= 1, repeats >= 1, not {step!r}, {leaps!r}, {repeats!r}")
        self.length, self.leaps, self.repeats, self.log_prob = step, leaps, repeats, log_prob
        self.calls_each = leaps + 1
        self.accepted = torch.tensor(torch.nan)

    def correct(self, equation: Reverse, x: Tensor, at: Point, draw) -> Tensor:
        def score(y: Tensor) -> Tensor:
            return torch.mul(equation.denoise(y, at.t), at.alpha).sub_(y).div_(at.sigma**2)

        z, scale = draw(None, None, x, 1.0)
        p = z * scale
        y, p_new, gain = self.leap(score, x, p, self.length * at.sigma)
        if self.log_prob is not None:
            gain = self.log_prob(y, at.t) - self.log_prob(x, at.t)
        log_ratio = gain + 0.5 * (_per_sample(p).square() - _per_sample(p_new).square()).sum(1)
        u, spread = draw(None, None, log_ratio, 1.0)
        accept = torch.special.log_ndtr((u * spread).double()) < log_ratio
        self.accepted = accept.double().mean()
        return torch.where(accept.reshape((-1,) + (1,) * (x.ndim - 1)), y, x)

    def leap(self, score, x: Tensor, p: Tensor, l: float) -> tuple[Tensor, Tensor, Tensor]:
        """(x', p', line integral of the score from x to x') of the leapfrog steps of length l."""
        s, gain = score(x), x.new_zeros(len(x))
        for _ in range(self.leaps):
            p = torch.add(p, s, alpha=0.5 * l)
            y = torch.add(x, p, alpha=l)
            s_new = score(y)
            gain = gain + 0.5 * _per_sample((s + s_new) * (y - x)).sum(1)
            x, p, s = y, torch.add(p, s_new, alpha=0.5 * l), s_new
        return x, p, gain


class MALA(HMC):
    """Metropolis-adjusted Langevin: a Langevin step of e = (``step`` sigma_t)^2/2, accepted or not; one-leap HMC.

    Order: 0. NFE: 2 ``repeats``. Reference: Roberts & Tweedie (1996), section 1.4; density ratio as in :class:`HMC`.
    """

    def __init__(self, step: float = 0.5, repeats: int = 1, log_prob: Callable | None = None):
        super().__init__(step, 1, repeats, log_prob)


class PC:
    """Predictor–corrector: after every step of the predictor, the corrector at the new time.

    Any solver is a predictor, any :class:`Corrector` a corrector; a predictor of the ODE (eta = 0) gets its noise from
    the corrector alone. Values that a multistep predictor remembers belong to states before their correction.

    Order: 0, since the corrector's own error remains when steps shrink. NFE: predictor's + corrector's.
    Reference: Song et al. (2021), algorithm 1 and appendix G.
    """

    order, noisy = 0, True

    def __init__(self, predictor=None, corrector: Corrector | None = None):
        self.predictor, self.corrector = predictor or ReverseDiffusion(), corrector or LangevinCorrector()
        if not isinstance(self.corrector, Corrector) or isinstance(self.predictor, (Corrector, PC)):
            raise TypeError(
                "PC(predictor, corrector): a solver, and a corrector such as LangevinCorrector(), not the other way"
            )
        if getattr(self.predictor, "rewinds", False):
            raise ValueError(
                "this predictor replays one Brownian path, and no path drives a corrector: take fixed steps"
            )
        self.ode_only, self.in_time = self.predictor.ode_only, self.predictor.in_time

    @property
    def nfe(self) -> int:
        return self.predictor.nfe + self.corrector.nfe

    def calls(self, steps: int) -> int:
        """Network calls of a run of that many steps."""
        own = getattr(self.predictor, "calls", lambda n: n * self.predictor.nfe)
        return own(steps) + self.corrector.nfe * steps

    def plan(self, equation, times) -> list[tuple]:
        ends = self.corrector.plan(equation, times)
        entries = self.predictor.plan(equation, times)
        if any(isinstance(e, Entry) and (e.correct, e.hold) != (None, None) for e in entries):
            raise ValueError(
                "this predictor corrects its own steps (PEC), which would undo PC's: use it without corrector"
            )
        return list(zip(entries, ends, strict=True))

    def start(self):
        return {"predictor": self.predictor.start()}

    def step(self, equation, x: Tensor, entry: tuple, memory, draw) -> Tensor:
        mine = memory["predictor"]
        mine["keep_states"] = memory["keep_states"]
        x = self.predictor.step(equation, x, entry[0], mine, draw)
        return self.corrector.step(equation, x, entry[1], memory, draw)


def _pc(key: str, name: str, predictor, paper: str, note: str = "", **more) -> Row:
    return Row(key, name, "predictor-corrector", lambda: PC(predictor()), 0, 2, paper, True, measure=_FROM_NOISE,
               note=_BIAS + note, **more)  # fmt: skip


_BIAS = "The corrector's step has a bias of its own, which stays when the grid is refined; a smaller snr shrinks it."
_BATCH = " diffusers' norms over the batch are norm='batch'."
# near pure noise, where the law hardly moves and the corrector's bias is all that is left of the error
_FROM_NOISE = {"weak_range": (0.9, 0.8), "weak_steps": (200, 400, 800)}
_SONG = "Song et al. (2021), alg. 1 and 4"

ROWS = (
    Row("langevin", "Langevin (corrector only)", "predictor-corrector", LangevinCorrector, 0, 1,
        "Song et al. (2021), alg. 4–5", True, oracle="diffusers ScoreSdeVeScheduler.step_correct",
        note=_BIAS + _BATCH, measure=_FROM_NOISE),
    Row("annealed_langevin", "annealed Langevin", "predictor-corrector", lambda: AnnealedLangevin(0.062, 5), 0, 5,
        "Song & Ermon (2019), alg. 1; (2020), CIFAR-10 settings", True, note=_BIAS, measure=_FROM_NOISE),
    _pc("pc_reverse_langevin", "PC: reverse diffusion + Langevin", ReverseDiffusion, _SONG, _BATCH,
        oracle="diffusers ScoreSdeVeScheduler"),
    _pc("pc_ancestral_langevin", "PC: ancestral + Langevin", DDPM, _SONG),
    _pc("pc_euler_langevin", "PC: Euler–Maruyama + Langevin", EulerMaruyama, _SONG),
    _pc("pc_ddim_langevin", "PC: DDIM + Langevin", ExpEuler, "Song et al. (2021), alg. 1, with another predictor",
        dial=0.0),
)  # fmt: skip
