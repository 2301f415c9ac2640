"""ThreeViews: one density seen three ways - particles, Fokker-Planck grid, closed form - and how far they are apart."""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import fokker_planck
from ..distributions import GaussianMixture
from ..process import VP, Process, Time, as_time
from ..solve import trajectory
from ..solvers import EulerMaruyama
from .packing import quantise
from .player import Player, bundle, menu

LO, HI, BINS, DOTS = -6.0, 6.0, 48, 60  # the box, bars of the histogram, particles drawn one by one


@dataclass(frozen=True)
class Brownian(Process):
    """dx = dw: x_t = x_0 + sqrt(t) eps. Its Fokker-Planck equation is the heat equation."""

    name = "brownian"

    def log_alpha(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def f(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def var(self, t: Time) -> Tensor:
        return as_time(t)

    def d_var(self, t: Time) -> Tensor:
        return torch.ones_like(as_time(t))


PROCESSES: dict[str, Process] = {
    "brownian": Brownian(),
    "ou": VP(beta_min=4.0, beta_max=4.0),  # a constant beta is the OU process dx = -2 x dt + 2 dw
    "vp": VP(),
}
LAWS = {
    "peaks": GaussianMixture([0.35, 0.65], [[-1.5], [1.1]], 0.25),
    "skewed": GaussianMixture([0.5, 0.3, 0.2], [[-1.4], [-0.7], [0.6]], torch.tensor([0.25, 0.35, 0.7])),
    "gaussian": GaussianMixture([1.0], [[1.8]], 0.3),
}
LABELS = {
    "peaks": {"ja": "二つの山", "en": "two peaks"},
    "skewed": {"ja": "歪んだ山", "en": "skewed"},
    "gaussian": {"ja": "ガウス分布", "en": "Gaussian"},
    "brownian": {"ja": "ブラウン運動 dx = dw", "en": "Brownian motion dx = dw"},
    "ou": {"ja": "OU過程 dx = −2x dt + 2 dw", "en": "OU process dx = −2x dt + 2 dw"},
    "vp": {"ja": "VP (DDPM)", "en": "VP (DDPM)"},
}
WORDS = {
    "particles": {"ja": "粒子", "en": "particles"},
    "grid": {"ja": "格子", "en": "grid"},
    "closed": {"ja": "閉形式", "en": "closed form"},
    "method_particles": {"ja": "SDE（オイラー・丸山法）", "en": "the SDE, by Euler–Maruyama"},
    "method_grid": {"ja": "フォッカー・プランク方程式（有限体積法）", "en": "Fokker–Planck, by finite volumes"},
    "method_closed": {"ja": "混合ガウス分布の厳密な pₜ", "en": "exact pₜ of the mixture"},
    "residual": {"ja": "閉形式との全変動距離", "en": "total variation from the closed form"},
    "chance": {"ja": "偶然だけなら", "en": "chance alone"},
    "greatest": {"ja": "格子の密度の最大差", "en": "greatest difference of the grid"},
}


class ThreeViews(Player):
    """Particles (Euler-Maruyama), a Fokker-Planck grid and the closed form of p_t on a line, with their distances.

    law: "peaks", "skewed" or "gaussian"; process: "brownian", "ou" or "vp"; particles: 1000, 10000 or (with a kernel)
    100000; cells of the grid: 48, 96 or 192. The distances are total variations, 1/2 sum |P - Q| over the bars (or
    cells), P and Q probabilities of a bar. steps: frames less one; substeps: steps of both methods for each frame.
    seed: of the particles. precompute: as in DensityExplorer. Raises ValueError for what is not in the menus.

    >>> views = sd.widgets.ThreeViews(process="ou"); views.frames()["tv_grid"].max()
    """

    _esm = bundle("three_views.mjs")

    def __init__(
        self,
        law: str = "peaks",
        process: str = "ou",
        particles: int = 10_000,
        cells: int = 96,
        *,
        steps: int = 32,
        substeps: int = 8,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        self._steps, self._substeps, self._seed = steps, substeps, seed
        self._paths = functools.cache(self._simulate)  # a choice of cells or of particles shares them
        self._solution = functools.cache(self._solve)
        if precompute == "menus":
            precompute = [
                {"law": a, "process": p, "particles": n, "cells": m}
                for a, p, n, m in itertools.product(LAWS, PROCESSES, (1000, 10_000), (48, 96, 192))
            ]
        numbers = {n: {"ja": f"{n:,}", "en": f"{n:,}"} for n in (48, 96, 192, 1000, 10_000, 100_000)}
        controls = [
            menu("law", {"ja": "初期分布", "en": "initial law"}, {name: LABELS[name] for name in LAWS}),
            menu("process", {"ja": "過程", "en": "process"}, {name: LABELS[name] for name in PROCESSES}),
            menu("particles", {"ja": "粒子の数", "en": "particles"}, {n: numbers[n] for n in (1000, 10_000, 100_000)}),
            menu("cells", {"ja": "セルの数", "en": "cells"}, {n: numbers[n] for n in (48, 96, 192)}),
        ]
        super().__init__(
            title={"ja": "粒子 = 格子 = 閉形式", "en": "Particles = grid = closed form"},
            controls=controls,
            words=WORDS,
            choice={"law": law, "process": process, "particles": particles, "cells": cells},
            precompute=precompute,
            frame=steps // 4 if frame is None else frame,
            lang=lang,
        )
        self._paths.cache_clear()

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them.

        t (F,); bars (F, 48), grid (F, cells): densities from particles and from the grid; closed (F, 193): the exact
        one at equal steps from -6 to 6; dots (F, 60): some of the particles; tv_particles, tv_grid (F,): total
        variations from the closed form; chance (F,): the expected one of as many exact draws;
        max_grid (F,): greatest difference of grid and closed form, as mean densities of a cell.
        """
        choice = self._checked(choice or self.choice)
        law, process, n = choice["law"], choice["process"], choice["particles"]
        x = self._paths(law, process, n)
        grid = fokker_planck.Grid(LO, HI, choice["cells"])
        exact = torch.stack([_masses(self._at(law, process, t), BINS) for t in self.times])
        cell_exact = torch.stack([_masses(self._at(law, process, t), choice["cells"]) for t in self.times])
        counted = torch.stack([torch.histc(row, BINS, LO, HI) for row in x]) / n
        solved = self._solution(law, process, choice["cells"]) * grid.volume
        at = torch.linspace(LO, HI, 193, dtype=torch.float64)[:, None]
        closed = torch.stack([self._at(law, process, t).log_prob(at).exp() for t in self.times])
        bars, cells = counted * BINS / (HI - LO), solved / grid.volume
        top = float(max(bars.max(), cells.max(), closed.max()))
        return {
            "t": self.times,
            "bars": quantise(bars, 0, top, 4095, delta=(1,)),
            "grid": quantise(cells, 0, top, 4095, delta=(1,)),
            "closed": quantise(closed, 0, top, 4095, delta=(1,)),
            "dots": quantise(x[:, :DOTS], LO, HI, 1023, delta=(0,)),
            "tv_particles": (counted - exact).abs().sum(1) / 2,
            "tv_grid": (solved - cell_exact).abs().sum(1) / 2,
            # the mean of |count/n - P| is near sqrt(2 P (1 - P) / (pi n))
            "chance": torch.sqrt(2 * exact * (1 - exact) / (math.pi * n)).sum(1) / 2,
            "max_grid": (solved - cell_exact).abs().amax(1) / grid.volume,
        }

    @property
    def times(self) -> Tensor:
        """The times of the frames, equal steps from 0 to 1."""
        return torch.linspace(0, 1, self._steps + 1, dtype=torch.float64)

    def _at(self, law: str, process: str, t: Tensor) -> GaussianMixture:
        return LAWS[law].at(PROCESSES[process], float(t))

    def _simulate(self, law: str, process: str, n: int) -> Tensor:
        """Paths of n particles at the frames' times, (F, n)."""
        fine = torch.linspace(0, 1, self._steps * self._substeps + 1, dtype=torch.float64)
        x = LAWS[law].sample(n, seed=self._seed, dtype=torch.float64)
        path = trajectory(PROCESSES[process].sde(), EulerMaruyama(), x, fine, self._seed)
        return torch.stack([x[:, 0] for _, x in itertools.islice(path, 0, None, self._substeps)])

    def _solve(self, law: str, process: str, cells: int) -> Tensor:
        """Densities of the grid at the frames' times, (F, cells), from the exact means over the cells."""
        grid = fokker_planck.Grid(LO, HI, cells)
        start = _masses(LAWS[law], cells) / grid.volume
        sde = PROCESSES[process].sde()
        return fokker_planck.forward(sde, start, grid, self.times, scheme="sdirk2", substeps=self._substeps)

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """The three views at one time, and the distances over all times."""
        k, axes = self.frame, figure.subplots(1, 4)
        x = torch.linspace(LO, HI, frames["closed"].shape[1])
        for ax, name, colour in zip(axes, ("bars", "grid", "closed"), ("#0072b2", "#c25700", "#007a5a"), strict=False):
            if name == "closed":
                ax.fill_between(x, frames[name][k], color=colour, alpha=0.35)
            else:
                edges = torch.linspace(LO, HI, frames[name].shape[1] + 1)
                ax.stairs(frames[name][k], edges, fill=True, color=colour, alpha=0.45)
            ax.plot(x, frames["closed"][k], color="#1b2430", lw=1, ls="-" if name == "closed" else "--")
            title = {"bars": "particles", "grid": "grid", "closed": "closed form"}[name]
            ax.set(title=f"{title}, t = {float(frames['t'][k]):.2f}", xlim=(-4, 4), ylim=(0, None))
        axes[3].semilogy(frames["t"], frames["tv_particles"], color="#0072b2", label="particles")
        axes[3].semilogy(frames["t"][1:], frames["tv_grid"][1:], color="#c25700", label="grid")
        axes[3].set(title="total variation", xlabel="t")
        axes[3].legend(fontsize=7)
        for ax in axes:
            ax.tick_params(labelsize=8)
            ax.locator_params(axis="x", nbins=4)
            ax.title.set_fontsize(10)


def _masses(law: GaussianMixture, cells: int) -> Tensor:
    """Exact probabilities of equal cells from LO to HI, by the normal distribution function."""
    edges = torch.linspace(LO, HI, cells + 1, dtype=torch.float64)
    below = torch.special.ndtr((edges[:, None] - law.means[:, 0]) / law.covs[:, 0, 0].sqrt()) @ law.weights
    return below.diff()
