"""What several widgets offer and draw: laws, processes and their labels, the window, the frames from noise to data."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import distributions
from .._checks import named
from ..distributions import GaussianMixture
from ..process import VE, Process
from ..process import table as process_table
from .player import Player, menu

HALF, NEAR = 3.3, 2.9  # half the width of the picture where the scale of x is 1
LAWS = {
    "ring": {"ja": "輪", "en": "ring"},
    "moons": {"ja": "二つの月", "en": "two moons"},
    "spiral": {"ja": "渦巻き", "en": "spiral"},
    "checkerboard": {"ja": "市松模様", "en": "checkerboard"},
    "grid": {"ja": "格子", "en": "grid"},
    "gaussian": {"ja": "ガウス分布", "en": "Gaussian"},
}
PROCESSES = {
    "vp": {"ja": "VP (DDPM)", "en": "VP (DDPM)"},
    "subvp": {"ja": "sub-VP", "en": "sub-VP"},
    "ve": {"ja": "VE (SMLD)", "en": "VE (SMLD)"},
    "cosine": {"ja": "コサイン", "en": "cosine"},
    "flow": {"ja": "整流フロー", "en": "rectified flow"},
    "edm": {"ja": "EDM", "en": "EDM"},
}
SMALL = {"ve": lambda: VE(sigma_max=5.0)}  # of sigma_max = 50 nothing but the noise would be seen
NOISY, CLEAN = 12.0, 1 / 120  # sigma/alpha above which D hardly moves, and from which it leads to t = 0 in one step


def labels(names: Iterable[str], known: dict[str, dict]) -> dict[str, dict]:
    """Labels of the names of a menu; what is not known is its own label."""
    return {name: known.get(name, {"ja": name, "en": name}) for name in names}


def laws_of(laws: Iterable[str] | Mapping[str, GaussianMixture]) -> dict[str, GaussianMixture]:
    """Laws by name, or as given, of the plane; anything else raises ``ValueError`` or ``TypeError``."""
    made = dict(laws) if isinstance(laws, Mapping) else {n: named(distributions.table, n, "law")() for n in laws}
    for name, law in made.items():
        if not isinstance(law, GaussianMixture):
            raise TypeError(f"law {name!r} must be a GaussianMixture, not {type(law).__name__}")
        if law.dim != 2:
            raise ValueError(f"the widget draws the plane; law {name!r} has dimension {law.dim}")
        if (torch.linalg.det(law.covs) <= 0).any():
            raise ValueError(f"law {name!r} has a component without a density: give each a positive spread")
    return made


def processes_of(processes: Iterable[str] | Mapping[str, Process]) -> dict[str, Process]:
    """Processes by name (VE with sigma_max = 5), or as given."""
    made = {}
    if not isinstance(processes, Mapping):
        processes = {name: SMALL.get(name, named(process_table, name, "process"))() for name in processes}
    for name, process in processes.items():
        if not isinstance(process, Process):
            raise TypeError(f"process {name!r} must be a Process, not {type(process).__name__}")
        made[name] = process
    return made


def process_labels(made: Mapping[str, Process]) -> dict[str, dict]:
    """Labels of processes, with the end of the noise where it is not the usual one."""
    texts = labels(made, PROCESSES)
    for name, process in made.items():
        if isinstance(process, VE):
            texts[name] = {key: f"VE (σ_max = {process.sigma_max:g})" for key in ("ja", "en")}
    return texts


class LawAndProcess(Player):
    """A player whose menus choose a law of the plane and a process; a subclass fills in both before ``__init__``."""

    _laws: dict[str, GaussianMixture]
    _processes: dict[str, Process]

    def _menus(self) -> list[dict]:
        return [
            menu("law", {"ja": "データの分布", "en": "data law"}, labels(self._laws, LAWS)),
            menu("process", {"ja": "過程", "en": "process"}, process_labels(self._processes)),
        ]

    def law(self, choice: dict | None = None) -> GaussianMixture:
        """The law of the data of a choice (the current one if none is given)."""
        return self._laws[self._checked(choice or self.choice)["law"]]

    def process(self, choice: dict | None = None) -> Process:
        """The process of a choice."""
        return self._processes[self._checked(choice or self.choice)["process"]]


def window(alpha: Tensor, sigma: Tensor, half: float = HALF) -> Tensor:
    """Half the width of the picture where x_t = alpha x_0 + sigma eps is seen."""
    return half * torch.sqrt(alpha**2 + sigma**2).clamp_min(1)


def frame_times(process: Process, steps: int) -> Tensor:
    """Times of the frames from T to 0, (steps + 1,), finer towards the data, most where t is the noise level itself."""
    return process.T * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** (1.5 if process.T <= 1 else 3)


def fine_times(process: Process, frames: Tensor, h: float) -> list[float]:
    """The frames' times, and between neighbours as many more, equal in lam, as keep the steps of lam below ``h``.

    Even steps matter to multistep methods on noisy paths, whose slope over a short step is nothing but noise.
    """
    lams = process.lam(frames).clamp(-math.log(NOISY), -math.log(CLEAN)).tolist()
    between = []
    for a, b in itertools.pairwise(lams):
        n = max(1, math.ceil((b - a) / h))
        between += [a + (b - a) * i / n for i in range(1, n)]
    between.append(-math.log(CLEAN))
    inner = process.t_of_lam(torch.tensor(between, dtype=torch.float64)).tolist()
    return sorted({*frames.tolist(), *inner}, reverse=True)


def components(law: GaussianMixture) -> dict[str, Tensor]:
    """The mixture for the page (mixture.mjs): weights (K,), means (K, 2), covs (K, 3) = C_11, C_12, C_22."""
    covs = law.covs
    return {
        "weights": law.weights,
        "means": law.means,
        "covs": torch.stack([covs[:, 0, 0], covs[:, 0, 1], covs[:, 1, 1]], 1),
    }


def sized(**sizes: Any) -> None:
    """Sizes are whole numbers of at least the value given: ``sized(particles=(n, 1))``."""
    for name, (value, least) in sizes.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is a whole number of at least {least}; got {value!r}")
