"""Every row on small trained networks: the error against the network's own ODE, the distance to the true law.

`python -m benchmarks.learned [LAW:PROCESS ...]`. Two laws of the plane, several trainings each (other weights, other
data, other starts). "converged" is the distance of the network's ODE, finely solved, from the same starts, and
"converged SDE" that of its reverse SDE; "floor" is that of exact samples. What lies between floor and converged is the
network's fault.
"""

import functools
import platform
import sys
import time

import torch

import sdelab as sd

from . import RESULTS, by_grid, keep, kept
from .by_grid import BUDGETS, F64, GRIDS, STARTS, converged, digits, rms

FILE = RESULTS / "learned.json"
PROBLEMS = {"ring8:VP": (sd.distributions.ring, "vp"), "moons:EDM": (sd.distributions.moons, "edm")}
SEEDS = {"ring8:VP": 5, "moons:EDM": 3}
STEPS, BATCH, RATE, WIDTH, DEPTH = 2000, 256, 4e-3, 64, 3
NOISY = ("karras", "exponential")  # grids of the stochastic rows
FINE, COARSER = 240, 160  # steps of the converged ODE, and of the one that tells how well it has converged
FITTED = {"dpmpp_2m": (5, 10, 20)}  # budgets at which times are fitted for it
CALIBRATION = 128


def trained(problem: str, seed: int):
    """(denoiser, process, law), the denoiser's weights being a function of the arguments alone."""
    make, name = PROBLEMS[problem]
    law, process = make(), sd.process.make(name)
    start = sd.nets.Denoiser(sd.nets.MLP(law.dim, WIDTH, DEPTH, seed=seed), process)
    data = functools.partial(law.sample, seed=1000 + seed, dtype=torch.float32)
    run = sd.train.fit(start, data, steps=STEPS, batch=BATCH, lr=sd.train.cosine(RATE, STEPS), seed=seed,
                       times="lognormal", ema=0.995, progress=False)  # fmt: skip
    return run.ema, process, law


def fitted(denoise, process, x_T, truth, measure, seed: int) -> dict:
    """[error, distance] of a few rows on times found for the model, with calibration starts of their own."""
    other = sd.noise.prior(process, (CALIBRATION, x_T.shape[1]), seed=500 + seed, dtype=F64)
    found: dict[str, dict] = {}
    for key, budgets in FITTED.items():
        for budget in budgets:
            solver = sd.solvers.row(key).make()
            equal = sd.grids.equal_error(denoise, process, budget - 1, other)
            times = {
                "equal_error": torch.cat([equal, equal.new_zeros(1)]),
                "optimised": sd.grids.optimise(denoise, process, solver, budget, other, t_end=0.0, progress=False),
            }
            for way, at in times.items():
                x = sd.solve(sd.Reverse(process, denoise, 0.0), solver, x_T, at, progress=False)
                told = [digits(rms(x - truth)), digits(measure.distance(x))]
                found.setdefault(key, {}).setdefault(way, {})[str(budget)] = told
    return found


@torch.no_grad()
def measured(problem: str, seed: int, measure) -> dict:
    """All figures of one trained network."""
    clock = time.process_time()
    with torch.enable_grad():
        denoise, process, law = trained(problem, seed)
    seconds = time.process_time() - clock
    x_T = sd.noise.prior(process, (STARTS, law.dim), seed=11 + seed, dtype=F64)
    truth = converged(denoise, process, x_T, FINE)
    sde = sd.sample(denoise, process, x_T, solver="dpmpp_2m_sde", grid="exponential", nfe=400, seed=seed,
                    progress=False)  # fmt: skip
    ends = lambda x: [rms(x - truth), measure.distance(x)]  # noqa: E731
    near = lambda x: [measure.distance(x)]  # noqa: E731
    out = {
        "floor": measure.floor(seed),
        "converged": measure.distance(truth),
        "converged SDE": measure.distance(sde),
        "truth": rms(truth - converged(denoise, process, x_T, COARSER)),
        "rows": by_grid.runs(by_grid.deterministic(), denoise, process, x_T, GRIDS, BUDGETS, ends),
        "noisy": by_grid.runs(by_grid.stochastic(), denoise, process, x_T, NOISY, BUDGETS, near, seed),
        "path": by_grid.on_a_path(denoise, process, x_T, seed),
        "fitted": fitted(denoise, process, x_T, truth, measure, seed),
    }
    told = [round(out[k], 4) for k in ("floor", "converged", "converged SDE", "truth")]
    print(problem, seed, told, f"training {seconds:.0f} s, all {time.process_time() - clock:.0f} s", flush=True)
    return out


def together(parts: list[dict]) -> dict:
    """The figures of several networks (or seeds), beside each other."""
    out: dict = {
        name: [digits(part[name]) for part in parts] for name in ("floor", "converged", "converged SDE", "truth")
    }
    out |= {"rows": by_grid.merged([part["rows"] for part in parts], 2)}
    out |= {"noisy": by_grid.merged([part["noisy"] for part in parts], 1)}
    for name, width in (("path", 0), ("fitted", 2)):
        if name not in parts[0]:
            continue
        out[name] = (
            by_grid.merged([part[name] for part in parts], width) if width
            else {key: [part[name].get(key) for part in parts] for key in parts[0][name]}
        )  # fmt: skip
    return out


def main(names: list[str] | None = None) -> None:
    torch.set_num_threads(1)
    setup = {
        "laws": {name: make.__name__ for name, (make, _) in PROBLEMS.items()}, "seeds": SEEDS,
        "starts": STARTS, "steps": STEPS, "batch": BATCH, "rate": RATE, "width": WIDTH, "depth": DEPTH,
        "torch": torch.__version__.partition("+")[0], "sdelab": sd.__version__, "python": platform.python_version(),
    }  # fmt: skip
    for problem in names or PROBLEMS:
        measure, parts = by_grid.Law(PROBLEMS[problem][0]()), []
        for seed in range(SEEDS[problem]):
            parts.append(measured(problem, seed, measure))
            keep(FILE, kept(FILE, {}) | {"setup": setup, problem: together(parts)})


if __name__ == "__main__":
    main(sys.argv[1:])
