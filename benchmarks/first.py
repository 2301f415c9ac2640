"""The first solvers side by side: error at equal network calls, and overhead per step. `make bench` prints JSON.

error     ODE rows: root mean square distance to a fine Dormand–Prince solution from the same x_T, at each budget of
          network calls; stochastic rows: Frobenius distance of the sample covariance to the exact one ("floor" is
          what exact samples of the same size show).
overhead  time of one step / time of its bound: the step's network calls and one torch.lerp. The network here is a
          single multiplication of an image batch, so this is the worst case; with a real network the ratio is near 1.
All figures come from one run on this machine; compare ratios, not seconds.
"""

import json
import platform
import sys
import time

import torch

import sdelab as sd
from sdelab.solve import NFE

BUDGETS = (10, 20, 40, 80)
PARTICLES, REPEATS, STEPS = 4096, 7, 20


def errors(law, process, denoise) -> dict:
    """Error of every row at every budget, with the calls really made."""
    x_T = sd.noise.prior(process, (PARTICLES, law.dim), seed=0, dtype=torch.float64)
    fine = sd.grids.logsnr(process, 400)
    truth = sd.solve(sd.Reverse(process, denoise, eta=0.0), sd.solvers.row("dopri5").make(), x_T, fine)
    exact = law.at(process, process.t_min)
    out: dict = {"floor": float((exact.sample(PARTICLES, seed=1).T.cov() - exact.cov).norm())}
    for row in sd.solvers.table:
        out[row.key] = []
        for budget in BUDGETS:
            if budget // row.nfe < 2:
                continue
            counter = NFE(denoise)
            equation = sd.Reverse(process, counter, eta=row.eta)
            x = sd.solve(equation, row.make(), x_T, sd.grids.logsnr(process, budget // row.nfe), seed=0)
            error = (x.T.cov() - exact.cov).norm() if row.stochastic else (x - truth).square().sum(1).mean().sqrt()
            out[row.key].append({"nfe": counter.count, "error": float(error)})
    return out


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def overheads(process) -> dict:
    """Time of a step over the time of its bound, the best of several interleaved runs."""
    x_T = sd.noise.prior(process, (64, 3, 32, 32), seed=0, dtype=torch.float32)
    times = sd.grids.logsnr(process, STEPS)

    def network(x, t):
        return x * 0.5

    def bound(calls: int) -> None:
        x = x_T
        for t in times[1:]:
            for _ in range(calls):
                D = network(x, t)
            x = torch.lerp(x, D, 0.1)

    out = {}
    for row in sd.solvers.table:
        equation, solver = sd.Reverse(process, network, eta=row.eta), row.make()
        runs = [lambda e=equation, s=solver: sd.solve(e, s, x_T, times, seed=0), lambda n=row.nfe: bound(n)]
        best = [min(pair) for pair in zip(*([seconds(run) for run in runs] for _ in range(REPEATS)), strict=True)]
        out[row.key] = round(best[0] / best[1], 2)
    return out


def main() -> None:
    torch.set_num_threads(1)
    law, process = sd.distributions.ring(), sd.process.VP()
    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": 1,
    }
    result = {
        "machine": machine,
        "problem": {"law": "ring", "process": process.name, "grid": "logsnr", "particles": PARTICLES},
        "error": errors(law, process, law.denoiser(process)),
        "overhead": {"batch": [64, 3, 32, 32], "steps": STEPS, "ratio": overheads(process)},
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
