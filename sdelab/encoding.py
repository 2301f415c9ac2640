"""The probability-flow ODE as an invertible map: data to its encoding x_T, back again, and the way between two.

In the plane of (alpha, sigma) take polar coordinates, alpha = r cos phi and sigma = r sin phi. Then u = x/r obeys

    u = cos(phi) x_0 + sin(phi) eps        du/dphi = -sin(phi) D + cos(phi) eps = (cos(phi) u - D)/sin(phi)

whatever the process: each is the trigonometric flow in disguise. The field is finite where alpha = 0 (phi = pi/2, the
noise end of flows) and, for data with a smooth density, where sigma = 0: there D = (u + sin^2(phi) score)/cos(phi), and
du/dphi = -tan(phi)(u + score) vanishes. Of the coordinates that were tried, among them t with x, lam with x and
sigma/alpha with x/alpha, an adaptive solver needs the fewest calls in these, or as few as in any other.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import _checks
from .process import Process
from .reverse import Reverse
from .sde import SDE
from .solve import solve
from .solvers import RK4, Adaptive, Dopri5

ZERO = 1e-12  # an angle that is 0 up to rounding: cos(phi) u - D has no digit left, and du/dphi is 0 as in the limit


class Angle:
    """The ODE in u = x/r on the clock phi; ``times`` are known to be reached, and need no inversion."""

    def __init__(self, ode: Reverse, times: Sequence[float]):
        self.ode = ode
        self.phis, self.radii = map(list, zip(*(polar(ode.process, t) for t in times), strict=True))
        self._times = dict(zip(self.phis, times, strict=True))
        self._low, self._high = min(self.phis), max(self.phis)

    def at(self, phi: float) -> tuple[float, float]:
        """(t, r) where sigma/alpha = tan(phi), the ends of the run where rounding has led beyond them."""
        phi = min(max(phi, self._low), self._high)
        t = self._times.get(phi)
        if t is None:
            t = float(self.ode.process.t_of_lam(-math.log(math.tan(phi))))
        return t, polar(self.ode.process, t)[1]

    def velocity(self, u: Tensor, phi: float) -> Tensor:
        """du/dphi."""
        if phi < ZERO:
            return torch.zeros_like(u)
        t, r = self.at(phi)
        return (math.cos(phi) * u - self.ode.denoise(r * u, t)) / math.sin(phi)

    def carry(self, field, state: Tensor, solver, rtol: float, atol: float, on_grid: bool) -> Tensor:
        """Solve d state/dphi = field(state, phi) over the whole way; by default adaptively, or by RK4 on a grid."""
        solver = solver or (RK4() if on_grid else Adaptive(Dopri5(), rtol, atol))
        if not on_grid and not isinstance(solver, Adaptive):
            raise ValueError(
                f"{type(solver).__name__} takes the steps it is given: pass times= as well, or use an sd.Adaptive"
            )
        try:
            return solve(SDE(field), solver, state, self.phis)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} (the clock of this run is the angle phi = atan(sigma/alpha))") from error


def polar(process: Process, t: float) -> tuple[float, float]:
    """(phi, r) of alpha = r cos(phi), sigma = r sin(phi)."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    return math.atan2(sigma, alpha), math.hypot(alpha, sigma)


def span(ode: Reverse, low: float | None, times, *, decreasing: bool = False) -> list[float]:
    """The times of a run between ``low`` (by default the process's t_min) and T, checked; increasing unless asked."""
    if not isinstance(ode, Reverse):
        raise TypeError(f"the ODE is a Reverse with eta = 0, not {type(ode).__name__}")
    if ode.eta:
        raise ValueError(f"eta = {ode.eta} makes noise, and a random path has no inverse: use sd.Reverse(..., eta=0.0)")
    T = float(ode.process.T)
    if times is None:
        low = float(ode.process.t_min if low is None else low)
        if not 0 <= low < T:
            raise ValueError(f"the data's end of the run must lie in [0, T = {T}), not at t = {low}")
        ts = [low, T]
        return ts[::-1] if decreasing else ts
    if low is not None:
        raise ValueError("times has both ends of the run in it: give either times or the data's end")
    ts = _checks.monotone(times)
    if (ts[0] > ts[-1]) != decreasing:
        raise ValueError("times run from data to noise to encode, and from noise to data to decode")
    if min(ts) < 0 or max(ts) > T * (1 + 1e-7):
        raise ValueError(f"times must lie in [0, T = {T}], not [{min(ts)}, {max(ts)}]")
    return [min(t, T) for t in ts]  # a T that went through single precision


def _flow(ode, x, low, times, solver, rtol, atol, decreasing) -> Tensor:
    ts = span(ode, low, times, decreasing=decreasing)
    angle = Angle(ode, ts)
    u = angle.carry(angle.velocity, _checks.state(x) / angle.radii[0], solver, rtol, atol, times is not None)
    return u * angle.radii[-1]


def encode(
    ode: Reverse, x: Tensor, *, rtol: float = 1e-6, atol: float = 1e-6, t_start: float | None = None, solver=None,
    times=None,
) -> Tensor:  # fmt: skip
    """The encodings x_T of the states x (n, ...), along the probability-flow ODE from ``t_start`` to T.

        du/dphi = (cos(phi) u - D)/sin(phi),      u = x/sqrt(alpha^2 + sigma^2),   tan(phi) = sigma/alpha

    t_start: by default the process's t_min; 0 where the data have a smooth density. Steps are chosen by ``solver``, by
    default Dormand and Prince's pair to the tolerances rtol and atol; on increasing ``times`` any classical solver
    takes them, by default RK4. Differentiable. ``ValueError`` for eta > 0 and for times that are not increasing within
    [0, T].

    Reference: Song et al. (2021), section 4.3 and appendix D.
    """
    return _flow(ode, x, t_start, times, solver, rtol, atol, decreasing=False)


def decode(
    ode: Reverse, z: Tensor, *, rtol: float = 1e-6, atol: float = 1e-6, t_end: float | None = None, solver=None,
    times=None,
) -> Tensor:  # fmt: skip
    """The states at ``t_end`` whose encodings are z (n, ...): the inverse of :func:`encode`, to the tolerance.

    No denoising step is added at the end. ``times`` must decrease; all else as in :func:`encode`.
    """
    return _flow(ode, z, t_end, times, solver, rtol, atol, decreasing=True)


def interpolate(z0: Tensor, z1: Tensor, weights, kind: str = "spherical") -> Tensor:
    """States between the encodings z0 and z1 (n, ...), one for each of ``weights`` (m,) in [0, 1]: shape (m, n, ...).

        "spherical"   sin((1-w) O)/sin(O) z0 + sin(w O)/sin(O) z1,    O the angle between z0 and z1
        "gaussian"    cos(pi w/2) z0 + sin(pi w/2) z1
        "linear"      (1-w) z0 + w z1

    Encodings in d dimensions lie near the shell |z| = sigma_T sqrt(d). The spherical way keeps to it (it keeps the norm
    where both ends share one); the second is exactly N(0, sigma_T^2 I) again for independent ends of that law. The
    linear one leaves it: the mean of |z|^2 falls to (1-w)^2 + w^2 of the shell's, half of it in the middle, where the
    prior has next to no mass. ``ValueError`` for other kinds, for shapes that differ, and spherically for ends that are
    0 or opposite, between which no arc is the shortest.

    Reference: Shoemake (1985); White (2016), "Sampling generative networks", section 2.1.
    """
    way = _checks.named(_WAYS, kind, "kind of interpolation")
    if _checks.state(z0, "z0").shape != _checks.state(z1, "z1").shape:
        raise ValueError(f"z0 and z1 must have one shape, not {tuple(z0.shape)} and {tuple(z1.shape)}")
    w = torch.as_tensor(weights, dtype=z0.dtype, device=z0.device)
    if w.ndim != 1 or not w.isfinite().all():
        raise ValueError(f"weights must be a vector of finite numbers, not of shape {tuple(w.shape)}")
    w = w.reshape(-1, *[1] * z0.ndim)
    a, b = way(z0, z1, w)
    return a * z0 + b * z1


def _spherical(z0: Tensor, z1: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, z0.ndim))
    norms = [z.square().sum(axes, keepdim=True).sqrt() for z in (z0, z1)]
    if any((norm == 0).any() for norm in norms):
        raise ValueError("an encoding of norm 0 has no direction: interpolate linearly")
    e0, e1 = z0 / norms[0], z1 / norms[1]
    apart, along = ((e0 + sign * e1).square().sum(axes, keepdim=True).sqrt() for sign in (-1, 1))
    if (along < 1e-3 * torch.finfo(z0.dtype).eps ** 0.25).any():
        raise ValueError("z0 and z1 point in opposite directions: no arc between them is the shortest")
    angle = 2 * torch.atan2(apart, along)  # Kahan's: exact to rounding near 0 too
    angle = angle.clamp_min(torch.finfo(z0.dtype).eps)  # and at 0 the weights are the linear ones
    return torch.sin((1 - w) * angle) / angle.sin(), torch.sin(w * angle) / angle.sin()


_WAYS = {
    "spherical": _spherical,
    "gaussian": lambda z0, z1, w: (torch.cos(0.5 * math.pi * w), torch.sin(0.5 * math.pi * w)),
    "linear": lambda z0, z1, w: (1 - w, w),
}
