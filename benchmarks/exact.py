"""Every row on exact laws, by grid: what `race` tells of the best grid only, and the distance to the law beside it.

`python -m benchmarks.exact [LAW:PROCESS ...]`. rows: the error of every deterministic row against the converged ODE,
on the laws and processes of the race. near, noisy: the distance to the law of deterministic rows that other tools have
or that this book recommends, and of every stochastic row, on two of them from several starts.
"""

import sys
import time

import torch

import sdelab as sd

from . import RESULTS, by_grid, keep, kept, laws
from .by_grid import BUDGETS, F64, GRIDS, NAMED, STARTS, digits, rms

FILE = RESULTS / "exact.json"
FEWER = 256  # starts of the errors
DISTANCES = ("ring8:VP", "aniso5:EDM")
SEEDS = 5
OURS = ("exp_adams_2", "exp_adams_3", "exp_adams_2c", "exp_adams_3c", "deis_rhork_3", "dpm_solver_v3")
NOISY = ("karras", "exponential")  # grids of the stochastic rows


def errors(problem: str) -> dict:
    made = laws.problem(*problem.split(":"), FEWER)
    of = lambda x: [rms(x - made.at_zero)]  # noqa: E731
    denoise = made.law.denoiser(made.process)
    found = by_grid.runs(by_grid.deterministic(), denoise, made.process, made.x_T, GRIDS, BUDGETS, of)
    return by_grid.merged([found], 1)


def distances(problem: str) -> dict:
    law, process = (table[name]() for table, name in zip((laws.LAWS, laws.PROCESSES), problem.split(":"), strict=True))
    measure, denoise, parts = by_grid.Law(law), law.denoiser(process), []
    near = lambda x: [measure.distance(x)]  # noqa: E731
    rows = [sd.solvers.row(key) for key in (*NAMED, *OURS)]
    for seed in range(SEEDS):
        x_T = sd.noise.prior(process, (STARTS, law.dim), seed=11 + seed, dtype=F64)
        fine = sd.grids.make("exponential", process, 400, zero=True)
        ode = sd.solve(sd.Reverse(process, denoise, 0.0), sd.ExpAdams(3, corrector=True), x_T, fine, progress=False)
        parts.append({
            "floor": measure.floor(seed), "converged": measure.distance(ode),
            "rows": by_grid.runs(rows, denoise, process, x_T, GRIDS, BUDGETS, near),
            "noisy": by_grid.runs(by_grid.stochastic(), denoise, process, x_T, NOISY, BUDGETS, near, seed),
        })  # fmt: skip
    told = {name: [digits(part[name]) for part in parts] for name in ("floor", "converged")}
    near_rows, noisy = (by_grid.merged([part[name] for part in parts], 1) for name in ("rows", "noisy"))
    return told | {"near": near_rows, "noisy": noisy}


def main(names: list[str] | None = None) -> None:
    torch.set_num_threads(1)
    for problem in names or [f"{law}:{process}" for law in laws.LAWS for process in laws.PROCESSES]:
        clock = time.process_time()
        found = {"rows": errors(problem)} | (distances(problem) if problem in DISTANCES else {})
        keep(FILE, kept(FILE, {}) | {"setup": {"starts": FEWER, "starts of distances": STARTS}, problem: found})
        print(problem, f"{time.process_time() - clock:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
