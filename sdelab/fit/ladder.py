"""A grid as a vector of unknowns: the logarithms of its steps in lam, so that times stay in order whatever they are."""

import math
import operator
from typing import SupportsIndex

import torch
from torch import Tensor

from ..grids.base import make, ratio_range
from ..process import Process

STARTS = (("exponential", {}), ("polyexponential", {"rho": 1.3}), ("karras", {}), ("karras", {"rho": 3.0}))


class Ladder:
    """Grids of ``steps`` steps from t_start to t_end: lam_n = lam_0 + sum of e^{u_j}, scaled to end where it must.

    Where t_end = 0 the last step is the denoising one, and the time before it is free. Where alpha(t_start) = 0, lam_0
    is taken a thousandth inside; the first time is t_start itself.
    """

    def __init__(self, process: Process, steps: int, t_start: float, t_end: float):
        self.process, self.steps, self.t_start, self.t_end = process, steps, t_start, t_end
        self.zero = t_end == 0
        self.unknowns = steps - self.zero
        high, low = ratio_range(process, t_start, process.t_min if self.zero else t_end)
        self.top, self.span = -math.log(high), math.log(high / low)

    def times(self, u: Tensor) -> Tensor:
        h = u.exp() if self.zero else u.softmax(0) * self.span
        inner = self.process.t_of_lam(self.top + h.cumsum(0))
        start, end = u.new_tensor([self.t_start]), u.new_tensor([self.t_end])
        return torch.cat([start, inner if self.zero else inner[:-1], end])

    def u(self, times: Tensor) -> Tensor:
        lam = self.process.lam(times[: -1 if self.zero else None])
        return torch.cat([lam.new_tensor([self.top]), lam[1:]]).diff().log()

    def starts(self) -> list[Tensor]:
        """Well-known grids, to start from."""
        ends = {"t_start": self.t_start, "t_end": None if self.zero else self.t_end, "zero": self.zero}
        return [self.u(make(name, self.process, self.steps, **ends, **more)) for name, more in STARTS]


def ladder(process: Process, steps: SupportsIndex, t_start: float | None = None, t_end: float | None = None) -> Ladder:
    """The checked :class:`Ladder`; by default from T to the process's t_min."""
    start = process.T if t_start is None else float(t_start)
    end = process.t_min if t_end is None else float(t_end)
    if not hasattr(steps, "__index__") or operator.index(steps) < 2:
        raise ValueError(f"an optimised grid needs at least two steps (one has no inner time), not {steps!r}")
    if not 0 <= end < start <= process.T:
        raise ValueError(f"need 0 <= t_end < t_start <= T = {process.T}, not t_end = {end}, t_start = {start}")
    return Ladder(process, operator.index(steps), start, end)
