"""WhereFrom: pick a noisy point, see which data points it may have come from, their weights, mean and the score."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from .. import distributions
from .._checks import named
from ..process import Process
from .choices import LAWS, NEAR, frame_times, labels, process_labels, processes_of, sized, window
from .player import Player, bundle, menu

WORDS = {
    "noisy": {
        "ja": "ノイズの乗った点 x（二重丸）と候補 αx₀。破線は σ と 2σ の円",
        "en": "noisy point x (double ring), candidates αx₀; dashed: σ and 2σ",
    },
    "data": {"ja": "候補 x₀ⁱ の重み p(x₀ⁱ | x)", "en": "weights p(x₀ⁱ | x) of the data points x₀ⁱ"},
    "candidates": {"ja": "実質的な候補の数", "en": "effective number of candidates"},
    "likeliest": {"ja": "最大の重み", "en": "greatest weight"},
    "denoised": {"ja": "事後平均 D(x, t)", "en": "posterior mean D(x, t)"},
    "score": {"ja": "スコア (αD − x)/σ²", "en": "score (αD − x)/σ²"},
    "mean": {"ja": "データの平均", "en": "mean of the data"},
    "window": {"ja": "t = 0 の窓", "en": "window of t = 0"},
    "point": {"ja": "点 x", "en": "point x"},
    "hint": {
        "ja": "点をドラッグ、または図を選んで矢印キーで動かす。ほかでは ← → で t を1コマ、スペースで再生",
        "en": "Drag the point, or focus its picture and use the arrow keys. Elsewhere ← → change t, Space plays",
    },
}


class WhereFrom(Player):
    """Which data points a noisy point may have come from: p(x_0^i | x_t) of an empirical law, softmax of distances.

    With the law (1/n) sum_i delta(x_0 - x_0^i) the weights are softmax_i(-|x - alpha x_0^i|^2 / (2 sigma^2)), the
    posterior mean is D = sum_i w_i x_0^i, and the score is (alpha D - x) / sigma^2 = sum_i w_i (alpha x_0^i - x) /
    sigma^2: the average of the targets of denoising score matching (Vincent, 2011). The page computes all this for the
    point that the reader moves, with or without a kernel.

    law, process: the first choices. laws: names of ``sd.distributions.table``, of which ``points`` are drawn with
    ``seed``, or a dict name -> Tensor (n, 2) of data points. processes: as in ReverseExplorer. point: the noisy point.
    steps: number of noise levels. precompute, lang: as in DensityExplorer. Raises ValueError.

    >>> sd.widgets.WhereFrom(law="ring", point=(0.0, 0.4)).posterior(t=0.3)["candidates"]
    """

    _esm = bundle("mixture.mjs", "plane.mjs", "where_from.mjs")
    point = traitlets.List(traitlets.Float(), [0.0, 0.0]).tag(sync=True)  # the noisy point

    def __init__(
        self,
        law: str = "moons",
        process: str = "vp",
        *,
        laws: Iterable[str] | Mapping[str, Tensor] = ("moons", "ring", "spiral"),
        processes: Iterable[str] | Mapping[str, Process] = ("vp", "ve", "flow"),
        points: int = 100,
        point: Iterable[float] = (1.0, 0.75),
        steps: int = 40,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        sized(points=(points, 2), steps=(steps, 2))
        self._steps, self._processes = steps, processes_of(processes)
        self._data = {name: _points(name, x) for name, x in laws.items()} if isinstance(laws, Mapping) else {
            name: named(distributions.table, name, "law")().sample(points, seed=seed, dtype=torch.float64)
            for name in laws
        }  # fmt: skip
        controls = [
            menu("law", {"ja": "データ", "en": "data"}, labels(self._data, LAWS)),
            menu("process", {"ja": "過程", "en": "process"}, process_labels(self._processes)),
        ]
        super().__init__(
            title={"ja": "この点はどこから来たか", "en": "Where does this point come from?"},
            controls=controls,
            words=WORDS,
            choice={"law": law, "process": process},
            precompute=precompute,
            frame=round(0.25 * steps) if frame is None else frame,
            lang=lang,
        )
        self.point = list(point)

    @traitlets.validate("point")
    def _valid_point(self, proposal: Any) -> list[float]:
        point = proposal["value"]
        if len(point) != 2 or not all(map(math.isfinite, point)):
            raise ValueError(f"point is two finite numbers, not {point!r}")
        return point

    def data(self, choice: dict | None = None) -> Tensor:
        """The data points of a choice, (n, 2), float64."""
        return self._data[self._checked(choice or self.choice)["law"]]

    def process(self, choice: dict | None = None) -> Process:
        """The process of a choice."""
        return self._processes[self._checked(choice or self.choice)["process"]]

    def times(self, choice: dict | None = None) -> Tensor:
        """The noise levels of the frames, growing; t = 0 is left out, since one point has all the weight there."""
        return frame_times(self.process(choice), self._steps).flip(0)[1:]

    def posterior(self, x: Any = None, t: float | None = None) -> dict[str, Any]:
        """Weights (n,), D (2,), score (2,) and candidates = exp(entropy of the weights), for the current choice.

        x (2,): by default the point shown; t > 0: by default the time shown. Raises ValueError if sigma(t) = 0.
        """
        x = torch.as_tensor(self.point if x is None else x, dtype=torch.float64)
        if x.shape != (2,) or not x.isfinite().all():
            raise ValueError(f"x is a point of the plane, two finite numbers; got {x.tolist()}")
        t = float(self.times()[self.frame]) if t is None else t
        data, process = self.data(), self.process()
        alpha, sigma = process.alpha(t), process.sigma(t)
        if not sigma > 0:
            raise ValueError(f"at t = {t} there is no noise: take t > 0")
        w = (-((x - alpha * data) ** 2).sum(1) / (2 * sigma**2)).softmax(0)
        D = w @ data
        score = (alpha * D - x) / sigma**2
        return {"weights": w, "D": D, "score": score, "candidates": float(torch.special.entr(w).sum().exp())}

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """t, alpha, sigma, half (F,), half the width of the picture; weights (n,) and means (n, 2) of the data."""
        times, process, data = self.times(choice), self.process(choice), self.data(choice)
        alpha, sigma = process.alpha(times), process.sigma(times)
        half = window(alpha, sigma, NEAR)
        return {
            "t": times, "alpha": alpha, "sigma": sigma, "half": half,
            "weights": torch.full((len(data),), 1 / len(data)), "means": data,
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """The point, the candidates by their weights and the arrow to their mean, at four noise levels."""
        last = len(frames["t"]) - 1
        for axes, k in zip(figure.subplots(1, 4), (last // 10, last // 4, last // 2, last), strict=True):
            t, alpha, half = float(frames["t"][k]), float(frames["alpha"][k]), float(frames["half"][k])
            found = self.posterior(t=t)
            axes.scatter(*(alpha * self.data()).T, s=2, color="#9aa7b4", linewidths=0)
            size = 60 * found["weights"] / found["weights"].max()
            axes.scatter(*(alpha * self.data()).T, s=size, color="#0072b2", alpha=0.5, linewidths=0)
            axes.annotate(
                "", (alpha * found["D"]).tolist(), self.point, arrowprops={"arrowstyle": "->", "color": "#c25700"}
            )
            axes.plot(*self.point, "o", mfc="white", mec="#c25700", ms=5)
            axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=f"t = {t:.2f}")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=8)


def _points(name: str, x: Any) -> Tensor:
    x = torch.as_tensor(x, dtype=torch.float64)
    if x.ndim != 2 or x.shape[1] != 2 or len(x) < 2 or not x.isfinite().all():
        raise ValueError(f"data {name!r} must be at least two finite points of the plane, (n, 2); got {tuple(x.shape)}")
    return x
