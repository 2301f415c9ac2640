"""Distance to the law: every stochastic row beside the peers' samplers, at equal network calls.

Sliced Wasserstein distance of SAMPLES end points to the exact law at the time where the sampler stops, on the two
standard grids; "floor" is what two exact samples of that size show. Ours with seed 0; the peers with noise of ours,
fresh for each draw, so that both are judged on equally good normals.
"""

import functools
import itertools
import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

import sdelab as sd

from .laws import F64, LAWS, PROCESSES
from .peers import ModelK, k_diffusion

FILE = Path(__file__).parent / "results" / "stochastic.json"
BUDGETS, SAMPLES, GRIDS = (5, 10, 20, 50), 16384, ("karras", "exponential")
PEERS = {"euler_ancestral": 1, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2, "dpmpp_sde": 2, "dpmpp_2m_sde": 1,
         "dpmpp_3m_sde": 1}  # fmt: skip


@functools.cache
def exact(law: str, process: str) -> tuple[Tensor, float]:
    """An exact sample at t_min, and its distance to another one."""
    path = PROCESSES[process]()
    at_end = LAWS[law]().at(path, path.t_min)
    one, two = (at_end.sample(SAMPLES, seed=seed, dtype=F64) for seed in (1, 2))
    return one, float(sd.metrics.sliced_wasserstein(one, two))


def peer(name: str, law: str, process: str, grid: str, steps: int) -> float:
    """One sampler of k-diffusion, run in y = x/alpha."""
    path, keys = PROCESSES[process](), itertools.count()
    denoise = LAWS[law]().denoiser(path)
    times = sd.grids.make(grid, path, steps)

    def model(y: Tensor, sigma: float) -> Tensor:
        t = float(path.t_of_lam(-torch.tensor(sigma, dtype=F64).log()))
        return denoise(y * float(path.alpha(t)), t)

    def noise(a, b) -> Tensor:
        return sd.noise.normal((SAMPLES, 2), 0, (-99, next(keys)), dtype=F64)

    x_T = sd.noise.prior(path, (SAMPLES, 2), seed=0, dtype=F64)
    y = getattr(k_diffusion(), f"sample_{name}")(
        ModelK(model), x_T / float(path.alpha(path.T)), (-path.lam(times)).exp(), disable=True, noise_sampler=noise
    )
    return float(sd.metrics.sliced_wasserstein(y * float(path.alpha(times[-1])), exact(law, process)[0]))


def ours(row, law: str, process: str, grid: str, budget: int) -> float | None:
    path = PROCESSES[process]()
    x_T = sd.noise.prior(path, (SAMPLES, 2), seed=0, dtype=F64)
    try:
        x = sd.sample(LAWS[law]().denoiser(path), path, x_T, solver=row.key, grid=grid, nfe=budget, final="stop",
                      progress=False)  # fmt: skip
    except (ValueError, FloatingPointError):
        return None
    return float(sd.metrics.sliced_wasserstein(x, exact(law, process)[0]))


def least(values) -> float | None:
    return min((v for v in values if v is not None and v == v), default=None)


def main() -> None:
    torch.set_num_threads(1)
    out = {}
    rows = [r for r in sd.solvers.table if r.stochastic and not r.adaptive]
    for law, process in (("ring8", "VP"), ("aniso5", "EDM")):
        peers = {
            f"k-diffusion {name}": {
                str(b): least(peer(name, law, process, g, b // calls) for g in GRIDS) for b in BUDGETS if b // calls > 1
            }
            for name, calls in PEERS.items()
        }
        mine = {r.key: {str(b): least(ours(r, law, process, g, b) for g in GRIDS) for b in BUDGETS} for r in rows}
        out[f"{law}:{process}"] = {
            "floor": exact(law, process)[1], "samples": SAMPLES, "peers": peers, "ours": mine,
        }  # fmt: skip
        scratch = FILE.with_suffix(".new")
        scratch.write_text(json.dumps(out, indent=1) + "\n")
        os.replace(scratch, FILE)
        for side in (peers, mine):
            for name, errors in side.items():
                print(law, process, f"{name:28}", *(f"{e:.3f}" if e else "–" for e in errors.values()), file=sys.stderr)


if __name__ == "__main__":
    main()
