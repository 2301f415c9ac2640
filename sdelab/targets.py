"""What a network may predict: x_0, eps, v, velocity or score, all of them y = p x_0 + q eps.

Together with x = alpha x_0 + sigma eps this is a 2x2 linear system, so every conversion is one change of basis.
"""

from torch import Tensor

from ._checks import named
from .process import Process, Time, as_time, like

_BASES = {
    "x0": lambda process, t: (1.0, 0.0),
    "eps": lambda process, t: (0.0, 1.0),
    "v": lambda process, t: (-process.sigma(t), process.alpha(t)),  # Salimans & Ho (2022), section 4
    "velocity": lambda process, t: (process.d_alpha(t), process.d_sigma(t)),  # dx_t/dt along a conditional path
    "score": lambda process, t: (0.0, -1 / process.sigma(t)),
}
NAMES = tuple(_BASES)


def basis(process: Process, t: Time, name: str) -> tuple[Tensor, Tensor]:
    """(p, q) with y = p x_0 + q eps for the target ``name`` at time t."""
    t = as_time(t)
    p, q = named(_BASES, name, "target")(process, t)
    zero = 0 * t
    return p + zero, q + zero


def convert(y: Tensor, x: Tensor, t: Time, process: Process, source: str, target: str) -> Tensor:
    """Turn a prediction y of kind ``source`` at state x and time t into one of kind ``target``; shapes (n, ...).

    Solves x = alpha x_0 + sigma eps, y = p x_0 + q eps for (x_0, eps). Raises ``ValueError`` where y carries no
    information beyond x, e.g. an eps-prediction where alpha = 0.
    """
    if y.shape != x.shape:
        raise ValueError(f"a prediction has the shape of its state: not {tuple(y.shape)} for x {tuple(x.shape)}")
    t = as_time(t)
    alpha, sigma = process.alpha(t), process.sigma(t)
    p, q = basis(process, t, source)
    det = alpha * q - sigma * p
    if (det == 0).any() or not det.isfinite().all():
        raise ValueError(
            f"a {source!r} prediction does not determine x_0 at t = {t.tolist()} (alpha q - sigma p = {det.tolist()}): "
            "use another target there, e.g. 'v' or 'x0' where alpha = 0 and 'eps' where sigma = 0"
        )
    x0 = (like(q, x) * x - like(sigma, x) * y) / like(det, x)
    eps = (like(alpha, x) * y - like(p, x) * x) / like(det, x)
    P, Q = basis(process, t, target)
    return like(P, x) * x0 + like(Q, x) * eps
