"""Grids and weights fitted to the model, beside the best of the peers: `python -m benchmarks.optimised`.

For every law, process and budget of network calls: the best configuration of the peers (run live, on standard grids
and both ends), and one of our solvers on standard grids, AYS's bound, the GITS-style dynamic programme, equal local
errors, optimised times, and times with weights. Calibration starts and test starts are apart; of several solvers the
one with the smallest calibration error is reported, so the test starts decide nothing. Errors are mean distances to
the converged solution at the time where the sampler stops. The table prints as Markdown, and the figures take the
place of older ones of the same law, process and budget in results/optimised.json (or the file named).
"""

import argparse
import sys
import time
from pathlib import Path

import torch

import sdelab as sd

from . import RESULTS, keep, kept, race
from .laws import BUDGETS, F64, LAWS, PROCESSES, Problem, distance, problem

CALIBRATION, FITTED, SEED = 128, 1024, 5  # starts for the times, for the weights, and their seed (tests take another)
COLUMNS = ("peer", "standard", "ays", "gits", "equal", "times", "tuned")


def peer(made: Problem, budget: int, grids, names) -> dict:
    """The best of the peers at a budget; ``names`` keeps those that contain one of these words."""
    kept = {name: run for name, run in race.peers().items() if not names or any(word in name for word in names)}
    found = []
    for grid in grids:
        for end, zero in race.ENDS.items():
            for name, (run, nfe) in kept.items():
                steps = (budget - zero) // nfe + zero
                if steps > zero:
                    error = race.peer_error(run, made, race.grid_times(made, grid, steps, zero))
                    found.append({"error": error, "what": f"{name} {grid} {end}"})
    return min(found, key=lambda record: record["error"])


def recorded(made: Problem, law: str, process: str, budget: int) -> dict | None:
    """The best of the peers on the same starts, where `python -m benchmarks.race` has run them all already."""
    known = kept(race.FILE, {}).get(f"{law}:{process}", {"starts": None})
    if known["starts"] != len(made.x_T) or str(budget) not in known["best"]:
        return None
    best = known["best"][str(budget)]["peer"]
    return {"error": best["error"], "what": f"{best['sampler']} {best['grid']} {best['end']}"}


def ours(made: Problem, budget: int, keys, fitted: int) -> dict[str, dict]:
    """Per way of choosing times (and weights): the test error of the solver that did best in calibration."""
    process = made.process
    denoise = made.law.denoiser(process)
    ode = sd.Reverse(process, denoise, 0.0)
    x = sd.noise.prior(process, (fitted, made.law.dim), seed=SEED, dtype=F64)
    with torch.no_grad():
        truth = sd.fit.reference(ode, x, process.T, process.t_min)
    data = made.law.sample(fitted, seed=SEED, dtype=F64)
    fixed = {grid: sd.grids.make(grid, process, budget) for grid in ("exponential", "karras")}
    fixed |= {"ays": sd.grids.ays(denoise, process, budget, data)}
    fixed |= {"gits": sd.grids.gits(denoise, process, budget, x[:CALIBRATION])}
    fixed |= {"equal": sd.grids.equal_error(denoise, process, budget, x[:CALIBRATION])}
    out: dict[str, dict] = {}

    def enter(way: str, key: str, solver, times, seconds: float = 0.0, grid: str = "") -> None:
        calibration = distance(sd.solve(ode, solver, x, times), truth)
        if way not in out or calibration < out[way]["calibration"]:
            test = distance(sd.solve(ode, solver, made.x_T, times), made.at_min)
            told = {"what": f"{key} {grid}".strip(), "times": times.tolist()}
            out[way] = {"error": test, "calibration": calibration, "seconds": seconds, **told}

    for key in keys:
        solver = sd.solvers.row(key).make()
        for name, times in fixed.items():
            enter(name if name in COLUMNS else "standard", key, solver, times, grid=name)
        clock = time.thread_time()
        times = sd.grids.optimise(denoise, process, solver, budget, x[:CALIBRATION])
        seconds = time.thread_time() - clock
        enter("times", key, solver, times, seconds)
        tuned = sd.grids.tune(denoise, process, solver, budget, x, times=times)
        enter("tuned", key, tuned, tuned.times, time.thread_time() - clock)
    return out


def table(records: list[dict]) -> str:
    """Markdown: errors, and how many times below the best peer the last two are."""
    lines = ["| law | process | calls | " + " | ".join(COLUMNS) + " | peer/times | peer/tuned |"]
    lines.append("| --- " * (len(COLUMNS) + 5) + "|")
    for r in records:
        errors = " | ".join(f"{r[way]['error']:.1e}" for way in COLUMNS)
        gains = " | ".join(f"{r['peer']['error'] / r[way]['error']:.1f}" for way in ("times", "tuned"))
        lines.append(f"| {r['law']} | {r['process']} | {r['nfe']} | {errors} | {gains} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fitted grids and weights beside the best of the peers.")
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    parser.add_argument("--processes", nargs="+", default=list(PROCESSES))
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS)
    parser.add_argument("--solvers", nargs="+", default=["exp_adams_2c", "exp_adams_3c"])
    parser.add_argument("--starts", type=int, help="test starts (default: 4096, 1024 in 64 dimensions)")
    parser.add_argument("--fitted", type=int, default=FITTED, help="calibration starts for the weights")
    parser.add_argument("--peers", nargs="+", default=[], help="words in the names of the peers to run (default: all)")
    parser.add_argument("--grids", nargs="+", default=race.GRIDS, help="grids for the peers")
    parser.add_argument("--json", type=Path, default=RESULTS / "optimised.json", help="where the figures go")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    records = []
    for law in asked.laws:
        for process in asked.processes:
            made = problem(law, process, asked.starts)
            for budget in asked.budgets:
                best = recorded(made, law, process, budget) or peer(made, budget, asked.grids, asked.peers)
                record = {"law": law, "process": process, "nfe": budget, "peer": best}
                records.append(record | ours(made, budget, asked.solvers, asked.fitted))
                print(table(records[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
                known = {(r["law"], r["process"], r["nfe"]): r for r in [*kept(asked.json, []), *records]}
                order = [(law, process, n) for law in LAWS for process in PROCESSES for n in BUDGETS]
                keep(asked.json, sorted(known.values(), key=lambda r: order.index((r["law"], r["process"], r["nfe"]))))
    print(table(records))


if __name__ == "__main__":
    main()
