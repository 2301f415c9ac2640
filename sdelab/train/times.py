"""At which times a batch is noised: uniform in t, in lam, or log-normal in sigma/alpha."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import noise
from .._checks import named
from ..process import Process

# Keys of the draws of training: (noise.TRAIN, step, what is drawn).
ROWS, EPS, CLOCK, DROP = range(4)

# EDM's training noise: log(sigma/alpha) ~ N(-1.2, 1.2^2). Karras et al. (2022), table 1.
P_MEAN, P_STD = -1.2, 1.2


def _uniform(process: Process, u: Tensor) -> Tensor:
    """t uniform between t_min and T."""
    return process.t_min + u * (process.T - process.t_min)


def _ends(process: Process) -> tuple[float, float]:
    """lam at T and at t_min; at least -6, where the signal is a 400th of the noise and may be gone altogether at T."""
    return max(float(process.lam(process.T)), -6.0), float(process.lam(process.t_min))


def _logsnr(process: Process, u: Tensor) -> Tensor:
    """lam uniform between its ends."""
    low, high = _ends(process)
    return process.t_of_lam(high - u * (high - low))


def _lognormal(process: Process, u: Tensor, P_mean: float = P_MEAN, P_std: float = P_STD) -> Tensor:
    """log(sigma/alpha) = -lam ~ N(P_mean, P_std^2), cut off at the ends of the process."""
    low, high = _ends(process)
    return process.t_of_lam((-P_mean - P_std * torch.special.ndtri(u)).clamp(low, high))


def lognormal(process: Process, P_mean: float = P_MEAN, P_std: float = P_STD) -> Callable[[Tensor], Tensor]:
    """The law of times with log(sigma/alpha) ~ N(P_mean, P_std^2), for ``fit(..., times=...)``.

    EDM's -1.2 and 1.2 are for data of standard deviation 1/2; shift P_mean with the logarithm of that.
    """
    if not P_std > 0:
        raise ValueError(f"P_std must be positive, not {P_std}")
    return lambda u: _lognormal(process, u, P_mean, P_std).clamp(process.t_min, process.T)


_LAWS: dict[str, Callable[[Process, Tensor], Tensor]] = {
    "uniform": _uniform, "logsnr": _logsnr, "lognormal": _lognormal,
}  # fmt: skip
TIMES = tuple(_LAWS)


def draw_times(
    process: Process | None,
    n: int,
    times: str | Callable[[Tensor], Tensor] = "uniform",
    *,
    seed: int,
    step: int = 0,
    stratified: bool = True,
) -> Tensor:
    """n times t (n,), float64, a function of (seed, step): quantiles of the law ``times`` at uniform u in (0, 1).

    times: "uniform" (in t, from t_min to T), "logsnr" (uniform in lam), "lognormal" (EDM's: log(sigma/alpha) ~
    N(-1.2, 1.2^2)), or a function u -> t. stratified: u_i = (u_0 + i/n) mod 1 with one random u_0, so that every batch
    covers all times evenly and the loss fluctuates less; otherwise the u_i are independent. The first is Kingma et al.
    (2021), appendix I.1.
    """
    u = noise.uniform((1 if stratified else n,), seed, (noise.TRAIN, step, CLOCK), dtype=torch.float64)
    if stratified:
        u = (u + torch.arange(n, dtype=torch.float64) / n) % 1
        u = u.clamp(2.0**-34, 1 - 2.0**-34)  # the sum may round to 0
    if callable(times):
        return times(u)
    law = named(_LAWS, times, "law of times")
    if process is None:
        raise ValueError(f"the law of times {times!r} needs a process: give the model one, or a function u -> t")
    return law(process, u).clamp(process.t_min, process.T)
