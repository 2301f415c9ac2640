"""FlowMap: the probability-flow ODE as a map of noise to data, with cells of equal probability, and log p_t."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from ..distributions import GaussianMixture
from ..process import Process
from ..reverse import Reverse
from ..solve import trajectory
from ..solvers import ExpAdams
from .choices import NEAR, LawAndProcess, components, fine_times, frame_times, laws_of, processes_of, sized, window
from .packing import quantise
from .player import bundle, menu

EDGE = 0.005  # the cells leave out this much of the probability on each of the four sides
REACH = 1.3  # nodes are stored as far out as this many half widths
STEP = 0.2  # of the solver in lam, at most
WORDS = {
    "data": {
        "ja": "時刻 t: 確率フローODEで運ばれた格子",
        "en": "time t: the cells, carried by the probability-flow ODE",
    },
    "noise": {"ja": "ノイズ z = x_T: もとの格子", "en": "noise z = x_T: where the cells start"},
    "along": {"ja": "選んだセルの対数尤度", "en": "log-likelihood of the chosen cell"},
    "areas": {"ja": "セルの面積から log(確率/面積)", "en": "from its area, log(mass/area)"},
    "exact": {"ja": "厳密な log pₜ", "en": "exact log pₜ"},
    "mass": {"ja": "セルの確率", "en": "mass of a cell"},
    "area": {"ja": "面積", "en": "area"},
    "scale": {"ja": "対数尤度 log pₜ(x)", "en": "log-likelihood log pₜ(x)"},
    "window": {"ja": "t = 0 の窓", "en": "window of t = 0"},
    "hint": {
        "ja": "ノイズの図を押すか、図を選んで矢印キーでセルを選ぶ。ほかでは ← → で t を1コマ、スペースで再生",
        "en": "Choose a cell in the picture of the noise: press it, or focus it and use arrows. Elsewhere ← → change t",
    },
}


class FlowMap(LawAndProcess):
    """The map of noise to data by dx/dt = f x - g^2 score / 2: cells of the noise, their images, the likelihood.

    The noise is cut into cells x cells rectangles of (nearly) equal probability, and the probability of a cell stays
    what it is while the flow deforms it: p_T(z) dz = p_t(x) dx, so log(mass/area) of a small cell is the log-likelihood
    of its points. Views: the cells coloured by where they come from, log(mass/area) of each, or the exact log p_t.

    law, process, laws, processes: as in ReverseExplorer. cells (a side), steps (frames less one): sizes. cell: the
    chosen one, (column, row) from the lower left. precompute, lang: as in DensityExplorer. Raises ValueError.

    >>> sd.widgets.FlowMap(law="ring").carry(torch.zeros(1, 2))[-1]
    """

    _esm = bundle("mixture.mjs", "plane.mjs", "flow_map.mjs")
    cell = traitlets.List(traitlets.Int(), [0, 0]).tag(sync=True)  # the chosen cell, column and row

    def __init__(
        self,
        law: str = "moons",
        process: str = "vp",
        *,
        laws: Iterable[str] | Mapping[str, GaussianMixture] = ("ring", "moons", "grid"),
        processes: Iterable[str] | Mapping[str, Process] = ("vp", "ve", "flow"),
        cells: int = 20,
        steps: int = 24,
        cell: Iterable[int] | None = None,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        sized(cells=(cells, 2), steps=(steps, 2))
        self._laws, self._processes, self._cells, self._steps = laws_of(laws), processes_of(processes), cells, steps
        controls = [
            *self._menus(),
            menu("show", {"ja": "表示", "en": "show"}, {
                "cells": {"ja": "セルの色", "en": "cells"},
                "areas": {"ja": "面積による対数尤度", "en": "log-likelihood by areas"},
                "exact": {"ja": "厳密な対数尤度", "en": "exact log-likelihood"},
            }, local=True),
        ]  # fmt: skip
        super().__init__(
            title={"ja": "ノイズからデータへの写像", "en": "The map from noise to data"},
            controls=controls,
            words=WORDS,
            choice={"law": law, "process": process},
            precompute=precompute,
            frame=round(0.8 * steps) if frame is None else frame,
            lang=lang,
        )
        self.cell = [2 * cells // 3, 2 * cells // 3] if cell is None else list(cell)

    @traitlets.validate("cell")
    def _valid_cell(self, proposal: Any) -> list[int]:
        cell = proposal["value"]
        if len(cell) != 2 or not all(0 <= i < self._cells for i in cell):
            raise ValueError(f"cell is a column and a row from 0 to {self._cells - 1}, not {cell!r}")
        return cell

    def times(self, choice: dict | None = None) -> Tensor:
        """The times of the frames, (F,), from T to 0."""
        return frame_times(self.process(choice), self._steps)

    def carry(self, z: Tensor, choice: dict | None = None) -> Tensor:
        """Where the probability-flow ODE has taken the noise z (n, 2) at the frames' times: (F, n, 2) in z's dtype."""
        law, process, times = self.law(choice), self.process(choice), self.times(choice)
        equation = Reverse(process, law.denoiser(process), 0.0)
        path = trajectory(equation, ExpAdams(2), z, fine_times(process, times, STEP), progress=False)
        wanted = set(times.tolist())
        return torch.stack([x for t, x in path if t in wanted])

    def noise(self, choice: dict | None = None) -> Tensor:
        """Corners, midpoints of edges and centres of the cells, (2 cells + 1, 2 cells + 1, 2): rows are z_2 upwards.

        The lines lie at equal steps of probability of a Gaussian with the variance of x_T.
        """
        law, process = self.law(choice), self.process(choice)
        std = torch.sqrt(process.alpha(process.T) ** 2 * law.cov.trace() / 2 + process.var(process.T))
        line = std * torch.special.ndtri(torch.linspace(EDGE, 1 - EDGE, 2 * self._cells + 1, dtype=torch.float64))
        return torch.stack(torch.meshgrid(line, line, indexing="xy"), 2)

    @property
    def mass(self) -> float:
        """Probability of a cell under that Gaussian."""
        return ((1 - 2 * EDGE) / self._cells) ** 2

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them, from t = T to t = 0.

        t, alpha, sigma (F,); half (F,): half the width of the picture; mesh (F, 2 cells + 1, 2 cells + 1, 2): the
        points of :meth:`noise`, carried along, in units of half; mass (F,): of a cell; weights, means, covs: the law.
        """
        law, process, times = self.law(choice), self.process(choice), self.times(choice)
        alpha, sigma = process.alpha(times), process.sigma(times)
        half = window(alpha, sigma, NEAR)
        z = self.noise(choice)
        x = self.carry(z.reshape(-1, 2).float(), choice).double() / half[:, None, None]
        return {
            "t": times, "alpha": alpha, "sigma": sigma, "half": half,
            "mesh": quantise(x.reshape(len(times), *z.shape), -REACH, REACH, 4095, delta=(0, 1)),
            "mass": torch.full_like(times, self.mass),
            **components(law),
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """The cells at four times."""
        last, n = len(frames["t"]) - 1, self._cells
        colours = [colour(c / (n - 1), r / (n - 1), (c + r) % 2) for r in range(n) for c in range(n)]
        for axes, k in zip(figure.subplots(1, 4), (0, last // 2, 3 * last // 4, last), strict=True):
            half = float(frames["half"][k])
            polygons = list(half * outlines(frames["mesh"][k]))
            axes.add_collection(PolyCollection(polygons, facecolors=colours, edgecolors=colours, linewidths=0.2))
            axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=f"t = {float(frames['t'][k]):.2f}")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=8)


def outlines(mesh: Any) -> np.ndarray:
    """Outlines of the cells of one frame's mesh, (cells * cells, 8, 2), anticlockwise, by rows."""
    mesh = np.asarray(mesh)
    steps = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    last = len(mesh) - 1
    sides = [mesh[r : last + r - 1 : 2, c : last + c - 1 : 2] for r, c in steps]
    return np.stack(sides, 2).reshape(-1, 8, 2)


def colour(c: float, r: float, odd: int) -> np.ndarray:
    """Of the cell at column c and row r (0 to 1): blue to orange, dark to light, and chequered."""
    hue = (1 - c) * np.array([0.0, 0.45, 0.70]) + c * np.array([0.90, 0.55, 0.0])
    return (hue * (0.55 + 0.45 * r) + 0.65 * r * r * (1 - hue)) * (0.85 if odd else 1)
