"""Where a run's noise comes from: fresh normals of a seed, or the increments of a Brownian path.

``drawer(n)`` makes the ``draw`` of step n, and ``draw(a, b, x, std, area=False)`` gives (z, scale) with scale * z ~
N(0, std^2): see :mod:`sdelab.solve`.
"""

import math
from collections.abc import Sequence
from typing import SupportsIndex

from torch import Tensor

from . import noise

_AHEAD = 1 << 17  # numbers drawn in one go where states are small: a call has its price


def fresh(seed: SupportsIndex, first: SupportsIndex, steps: int):
    """Noise from the seed: step n has the key (STEP, n), its further draws (STEP, n, 1), (STEP, n, 2), …"""
    blocks: dict[int, tuple[int, Sequence[Tensor]]] = {}  # of the j-th draws: the first step, and one for each step

    def drawer(n: int):
        j = -1

        def draw(a: float | None, b: float | None, x: Tensor, std: float, area: bool = False) -> tuple[Tensor, float]:
            nonlocal j
            j += 1
            start, block = blocks.pop(j, (0, ()))
            if not 0 <= n - start < len(block):
                ahead = range(n, min(steps, n + max(1, _AHEAD // max(1, x.numel()))))
                keys = [(noise.STEP, m, j) if j else (noise.STEP, m) for m in ahead]
                start, block = n, noise.normals(x.shape, seed, keys, first, x.dtype, x.device).unbind()
            if len(block) > 1:
                blocks[j] = start, block
            return block[n - start], std

        return draw

    return drawer


def driven(brownian):
    """Noise from a path: W(b) - W(a) on the solver's clock, or the space-time Lévy area over [a, b]."""

    def draw(a: float | None, b: float | None, x: Tensor, std: float, area: bool = False) -> tuple[Tensor, float]:
        if a is None or b is None:
            raise ValueError("no Brownian path drives this solver's noise: pass seed= instead of brownian=")
        if a == b:
            raise ValueError(f"the solver's clock stands still at {a}: eta is too large for a path; pass seed=")
        if area and not hasattr(brownian, "area"):
            raise ValueError("this solver needs the path's space-time Lévy area: pass sd.LevyBrownian(...), or seed=")
        w = (brownian.area if area else brownian)(a, b).to(x)
        if w.shape != x.shape:
            raise ValueError(f"the path has shape {tuple(w.shape)} and x {tuple(x.shape)}: they must be the same")
        return w, std / math.sqrt(abs(b - a) / (12 if area else 1))

    return lambda n: draw
