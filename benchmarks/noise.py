"""What noise costs and buys: distance to the law against network calls, with exact and with damaged scores.

``far``: sliced W1 of end points at t_min to the exact law there, in units of "chance", which is what an exact sample of
that size shows on average; five seeds. Of several grids the one with the least mean over the seeds is kept, and
SOLVER@GRID is a solver on that grid alone. "exact samples" is the floor, "fault" a planted one. Damages are made to the
exact denoiser, or the score is that of a wrong law; "learned" are five small networks, "half learned" the same after
150 steps of training instead of 2000. ``pc``: predictors with Langevin correctors of three sizes, on one grid.
"""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import sdelab as sd
from sdelab.distributions import GaussianMixture
from sdelab.solvers.corrector import PC, LangevinCorrector

from . import RESULTS, keep, kept
from .laws import F64, aniso5, balls64

FILE = RESULTS / "noise.json"
SAMPLES, SEEDS, VP = 2000, range(5), sd.process.VP()
FINE = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LONG = (192, 256, 384, 768)
MORE = {  # budgets beyond, for those that need them
    ("ring8", "euler_maruyama@uniform"): LONG,
    ("ring8, EDM", "euler_maruyama@uniform"): LONG,
    ("balls64", "euler_maruyama"): LONG[:1],
}
COARSE = (10, 20, 40, 80)
RING = sd.distributions.ring()
PROBLEMS = {
    "ring8": (RING, VP),
    "ring8, EDM": (RING, sd.process.EDM()),
    "aniso5": (aniso5(), VP),
    "balls64": (balls64(), VP),
}
BOTH = ("logsnr", "karras")
ODE = ("ddim", "dpmpp_2m", "exp_adams_3", "edm_heun")
SDE = ("euler_maruyama", "ddpm", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "sa_solver", "er_sde_3",
       "seeds_1", "seeds_2", "seeds_3", "edm_heun_churn", "karras_ve", "restart")  # fmt: skip
FEW = ("ddim", "dpmpp_2m", "ddpm", "dpmpp_2m_sde", "dpmpp_sde", "edm_heun_churn", "restart")
FASTER = ("dpmpp_2m", "euler_maruyama", "euler_maruyama@uniform", "ddpm", "dpmpp_sde", "dpmpp_2m_sde", "sa_solver",
          "er_sde_3", "seeds_1", "seeds_2", "seeds_3", "edm_heun_churn")  # fmt: skip
Denoise = Callable[[Tensor, Any], Tensor]


def ratio(t: float) -> float:
    return float(VP.sigma(t) / VP.alpha(t))


def off(law: GaussianMixture, change: Callable[[Tensor, float], Tensor | float]) -> Denoise:
    """The exact denoiser with ``change`` added to its predicted noise."""
    exact = law.denoiser(VP)
    return lambda x, t: exact(x, t) - ratio(t) * change(x, t)


def scaled(law: GaussianMixture, factor: float) -> Denoise:
    """Predicted noise times ``factor``: above 1, the network takes away too much."""
    exact = law.denoiser(VP)
    return lambda x, t: x / float(VP.alpha(t)) * (1 - factor) + factor * exact(x, t)


def overconfident(law: GaussianMixture) -> Denoise:
    """Posterior odds of the components squared (isotropic ones)."""
    std2 = law.covs[0, 0, 0]

    def denoise(x: Tensor, t: float) -> Tensor:
        a = float(VP.alpha(t))
        v = a * a * std2 + float(VP.var(t))
        away = x[:, None] - a * law.means
        odds = (2 * (law.weights.log() - away.square().sum(2) / (2 * v))).softmax(1)
        return (odds[..., None] * (law.means + a * std2 / v * away)).sum(1)

    return denoise


@functools.cache
def network(seed: int, steps: int = 2000) -> Denoise:
    """A small network trained on the ring."""
    start = sd.nets.Denoiser(sd.nets.MLP(2, 64, 3, seed=seed).float(), VP)
    data = functools.partial(RING.sample, seed=100 + seed, dtype=torch.float32)
    rate = sd.train.cosine(1e-2, steps)
    net = sd.train.fit(start, data, steps=steps, batch=512, lr=rate, times="lognormal", ema=0.99, seed=seed).ema
    return lambda x, t: net(x.float(), t).double()


def scores(name: str) -> dict[str, Callable[[int], Denoise]]:
    """Scores of a law by name, each a function of the seed."""
    law, process = PROBLEMS[name]
    exact = law.denoiser(process)
    blurred = GaussianMixture(law.weights, law.means, law.covs + 0.1**2 * torch.eye(law.dim, dtype=F64))
    pushed = off(law, lambda x, t: 0.1)
    found: dict[str, Callable[[int], Denoise]] = {
        "exact": lambda seed: exact,
        "smoothed": lambda seed: blurred.denoiser(VP),
        "push": lambda seed: pushed,
        "push, high": lambda seed: off(law, lambda x, t: 0.2 * (ratio(t) > 1)),
        "push, low": lambda seed: off(law, lambda x, t: 0.2 * (ratio(t) <= 1)),
        "wave": lambda seed: off(law, lambda x, t: 0.3 * torch.sin(3 * x + 1)),
        "scaled": lambda seed: scaled(law, 1.05),
    }
    if name == "ring8":
        found |= {
            "finite": lambda seed: GaussianMixture(
                torch.ones(40), law.sample(40, seed=200 + seed, dtype=F64), 0.05).denoiser(VP),
            "overconfident": lambda seed: overconfident(law),
            "learned": network,
            "half learned": lambda seed: network(seed, 150),
        }  # fmt: skip
    return found


def samples(name: str) -> int:
    return SAMPLES if PROBLEMS[name][0].dim == 2 else SAMPLES // 2


def at_end(name: str) -> GaussianMixture:
    law, process = PROBLEMS[name]
    return law.at(process, process.t_min)


@functools.cache
def reference(name: str) -> tuple[Tensor, float, list[float]]:
    """Exact draws at t_min; the mean distance of fresh exact samples to them; and that of five others over it."""
    law, count = at_end(name), samples(name)
    draws = law.sample(4 * count, seed=7, dtype=F64)
    far = [float(_w1(law.sample(count, seed=300 + s, dtype=F64), draws)) for s in range(25)]
    chance = sum(far[:20]) / 20
    return draws, chance, [round(d / chance, 4) for d in far[20:]]


def _w1(x: Tensor, y: Tensor) -> Tensor:
    return sd.metrics.sliced_wasserstein(x, y, 32, p=1)


def distance(x: Tensor, name: str) -> float:
    draws, chance, _ = reference(name)
    return round(float(_w1(x, draws)) / chance, 4) if x.isfinite().all() else math.nan


def start(name: str, seed: int) -> Tensor:
    law, process = PROBLEMS[name]
    return sd.noise.prior(process, (samples(name), law.dim), seed=seed, dtype=F64)


def sampled(name: str, make: Callable[[int], Denoise], key: str, grid: str, calls: int) -> list[float] | None:
    out = []
    for seed in SEEDS:
        try:
            x = sd.sample(make(seed), PROBLEMS[name][1], start(name, seed), solver=key, grid=grid, nfe=calls,
                          seed=50 + seed, final="stop", progress=False)  # fmt: skip
        except (ValueError, FloatingPointError):
            return None
        out.append(distance(x, name))
    return out


def best(name: str, make: Callable[[int], Denoise], key: str, calls: int, grids: tuple[str, ...]) -> dict | None:
    tries = {
        g: sampled(name, make, key.partition("@")[0], g, calls)
        for g in ((key.partition("@")[2],) if "@" in key else grids)
    }
    found = {g: d for g, d in tries.items() if d is not None}
    if not found:
        return None
    grid = min(found, key=lambda g: sum(found[g]))
    return {"grid": grid, "far": found[grid]}


def corrected(make: Callable[[int], Denoise], eta: float, snr: float | None, calls: int) -> list[float]:
    """One-node predictor with the noise dial eta, corrected at every step (snr) or not, at equal calls."""
    solver = sd.ExpEuler() if snr is None else PC(sd.ExpEuler(), LangevinCorrector(snr))
    times = sd.grids.logsnr(VP, calls // solver.nfe)
    return [
        distance(sd.solve(sd.Reverse(VP, make(s), eta), solver, start("ring8", s), times, 50 + s), "ring8")
        for s in SEEDS
    ]


Job = tuple[str, str, tuple[str, ...], tuple[int, ...], tuple[str, ...]]


def jobs() -> list[Job]:
    """Problem, score, solvers, budgets and grids."""
    long: list[Job] = [
        ("ring8", "exact", (*ODE, *SDE, "euler_maruyama@uniform"), FINE, BOTH),
        ("ring8", "learned", (*ODE, *SDE, "euler_maruyama@uniform"), FINE, BOTH),
        ("ring8, EDM", "exact", FASTER, FINE, BOTH),
        ("balls64", "exact", FASTER, FINE, BOTH[:1]),
    ]
    short: list[Job] = [("ring8", s, FEW, COARSE, BOTH[:1]) for s in scores("ring8") if s not in ("exact", "learned")]
    short += [("aniso5", s, FEW, COARSE, BOTH[:1]) for s in ("exact", "push", "wave", "scaled", "smoothed")]
    return long + short


def table(job: Job) -> dict[str, dict[str, dict | None]]:
    """By solver and network calls: the grid and the distances of the five seeds."""
    name, score, keys, budgets, grids = job
    make, more = scores(name)[score], MORE if budgets is FINE else {}
    ns = {key: (*budgets, *more.get((name, key), ())) for key in keys}
    rows = {key: {str(n): best(name, make, key, n, grids) for n in ns[key]} for key in keys}
    for key, row in rows.items():
        print(name, score, f"{key:20}", *(f"{sum(v['far']) / 5:.2f}" if v else "–" for v in row.values()),
              file=sys.stderr)  # fmt: skip
    return rows


def correctors() -> dict:
    """By score, noise dial of the predictor, size of the corrector and calls: distances of the five seeds."""
    return {
        score: {
            f"eta {eta:g}": {
                str(snr): {str(n): corrected(scores("ring8")[score], eta, snr, n) for n in (20, 40, 160)}
                for snr in (None, 0.05, 0.1, 0.2)
            }
            for eta in (0.0, 1.0)
        }
        for score in ("exact", "push, high", "push, low", "wave", "learned")
    }


def main(only: Sequence[str] = ()) -> None:
    """Everything, or the scores named alone ("pc": the correctors), the rest as it was kept."""
    torch.set_num_threads(1)
    out: dict = kept(FILE, {}) | {"samples": SAMPLES, "seeds": len(SEEDS)}
    problems = out.setdefault("problems", {})
    for job in jobs():
        if not only or job[1] in only:
            problem = problems.setdefault(job[0], {"scores": {}})
            _, problem["chance"], problem["exact samples"] = reference(job[0])
            problem["scores"][job[1]] = table(job)
    if not only or "pc" in only:
        wrong = off(RING, lambda x, t: 0.05 / ratio(t) * (ratio(t) < 0.1))
        out["fault"] = {"dpmpp_2m_sde": sampled("ring8", lambda seed: wrong, "dpmpp_2m_sde", "logsnr", 80)}
        out["pc"] = correctors()
    keep(FILE, out)


if __name__ == "__main__":
    main(sys.argv[1:])
