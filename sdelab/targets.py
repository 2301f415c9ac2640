"""What a network may predict: x_0, eps, v, velocity or score, all of them y = p x_0 + q eps.

Together with x = alpha x_0 + sigma eps this is a 2x2 linear system, so every conversion is one change of basis.
"""

import math
from collections.abc import Callable

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


class Preconditioning:
    """D(x, t) = c_skip x + c_out F(c_in x, c_noise), in which a network F sees and predicts numbers of unit size.

    For data of standard deviation d and any process, with r = sqrt(alpha^2 d^2 + sigma^2), the deviation of x_t,

        c_in = 1/r      c_skip = alpha d^2/r^2      c_out = sigma d/r      c_noise = log(sigma/alpha)/4

    are EDM's where alpha = 1, finite where alpha = 0, and make F = -v on variance-preserving processes with d = 1.
    Each is a function of t. ``c_noise``: another function of t for the network, e.g. t itself on flows.

    Karras et al. (2022), table 1 and appendix B.6.
    """

    def __init__(self, process: Process, sigma_data: float = 0.5, c_noise: Callable[[Time], Tensor] | None = None):
        if not 0 < sigma_data < math.inf:
            raise ValueError(f"sigma_data is the data's standard deviation: it must be positive, not {sigma_data}")
        self.process, self.sigma_data = process, sigma_data
        self.c_noise = c_noise or (lambda t: -0.25 * process.lam(t))

    def _size(self, t: Time) -> Tensor:
        return (self.process.alpha(t) ** 2 * self.sigma_data**2 + self.process.var(t)).sqrt()

    def c_in(self, t: Time) -> Tensor:
        """Brings x to unit variance."""
        return 1 / self._size(t)

    def c_skip(self, t: Time) -> Tensor:
        """The best linear denoiser, so that c_out amplifies F's errors as little as possible."""
        return self.process.alpha(t) * self.sigma_data**2 / self._size(t) ** 2

    def c_out(self, t: Time) -> Tensor:
        """Standard deviation of what the linear denoiser leaves."""
        return self.process.sigma(t) * self.sigma_data / self._size(t)

    def target(self, x0: Tensor, x: Tensor, t: Time) -> Tensor:
        """What F is trained on, (x_0 - c_skip x)/c_out, of unit variance; the loss on D has the weight 1/c_out^2."""
        return (x0 - like(self.c_skip(t), x) * x) / like(self.c_out(t), x)

    def denoiser(self, network: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Time], Tensor]:
        """The denoiser D(x, t) around ``network(c_in x, c_noise)``."""

        def denoise(x: Tensor, t: Time) -> Tensor:
            t = as_time(t)
            F = network(like(self.c_in(t), x) * x, self.c_noise(t).to(x))
            return like(self.c_skip(t), x) * x + like(self.c_out(t), x) * F

        return denoise
