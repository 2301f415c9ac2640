"""Error per network call: every deterministic row of ours and every configuration of the peers, on every problem.

Each sampler runs on every standard grid and both ends (m: stops at t_min; 0: ends at zero with a denoising step) at
each budget of network calls; its error is the mean distance to the converged solution at the time where it stops.
The peers run in their most favourable form: float64, the denoiser at the scheduler's exact noise level, no clipping.
"""

import contextlib
import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import sdelab as sd

from . import RESULTS, keep, kept
from .laws import BUDGETS, F64, LAWS, PROCESSES, Problem, distance, problem
from .peers import ModelK, k_diffusion

GRIDS = ("karras", "exponential", "beta", "linspace")
FILE = RESULTS / "race.json"
ENDS = {"m": False, "0": True}


@contextlib.contextmanager
def double() -> Iterator[None]:
    """diffusers makes its coefficients in the default type, and casts states to torch.float32 by name."""
    default, single = torch.get_default_dtype(), torch.float32
    torch.set_default_dtype(F64)
    torch.float32 = F64  # type: ignore[misc]
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        torch.float32 = single  # type: ignore[misc]


Denoise = Callable[[Tensor, float], Tensor]  # D of y = x/alpha and sigma/alpha
Run = Callable[[Denoise, Tensor, Tensor], Tensor]  # (denoise, y, noise levels) -> y at the last level


def _diffusers(name: str, tell_end: bool = True, **options) -> Run:
    """A multistep or single-step scheduler of diffusers, driven by its ``sigmas``; its state is x of a VP process."""
    module = importlib.import_module("diffusers")

    def run(denoise: Denoise, y: Tensor, sigmas: Tensor) -> Tensor:
        end = {"final_sigmas_type": "zero" if float(sigmas[-1]) == 0 else "sigma_min"} if tell_end else {}
        scheduler = getattr(module, name)(prediction_type="sample", **end, **options)
        steps = len(sigmas) - 1
        scheduler.set_timesteps(steps)
        scheduler.sigmas, scheduler.timesteps = sigmas, torch.arange(steps, 0, -1)
        x = y / (1 + sigmas[0] ** 2).sqrt()
        for sigma, label in zip(sigmas.tolist(), scheduler.timesteps, strict=False):
            x = scheduler.step(denoise(x * (1 + sigma**2) ** 0.5, sigma), label, x).prev_sample
        return x * (1 + sigmas[-1] ** 2).sqrt()

    return run


def _k(name: str, **options) -> Run:
    """A sampler of k-diffusion."""

    def run(denoise: Denoise, y: Tensor, sigmas: Tensor) -> Tensor:
        return getattr(k_diffusion(), f"sample_{name}")(ModelK(denoise), y, sigmas, disable=True, **options)

    return run


def _fast(denoise: Denoise, y: Tensor, sigmas: Tensor) -> Tensor:
    """DPM fast chooses its own times between the ends."""
    return k_diffusion().sample_dpm_fast(
        ModelK(denoise), y, float(sigmas[-1]), float(sigmas[0]), len(sigmas) - 1, disable=True
    )


@functools.cache
def peers() -> dict[str, tuple[Run, int]]:
    """Every deterministic configuration of the peers: name -> (run, network calls per step)."""
    multi, single = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
    plus: dict[str, Any] = {"algorithm_type": "dpmsolver++"}
    eps: dict[str, Any] = {"algorithm_type": "dpmsolver"}
    found: dict[str, tuple[Run, int]] = {
        "diffusers DDIM": (_diffusers(multi, solver_order=1, **plus), 1),
        "diffusers DPM++ 2M": (_diffusers(multi, solver_order=2, **plus), 1),
        "diffusers DPM++ 2M heun": (_diffusers(multi, solver_order=2, solver_type="heun", **plus), 1),
        "diffusers DPM++ 3M": (_diffusers(multi, solver_order=3, **plus), 1),
        "diffusers DPM 2M": (_diffusers(multi, solver_order=2, **eps), 1),
        "diffusers DPM 3M": (_diffusers(multi, solver_order=3, **eps), 1),
        "diffusers DPM++ 2S": (_diffusers(single, solver_order=2, **plus), 1),
        "diffusers DPM++ 3S": (_diffusers(single, solver_order=3, **plus), 1),
        "diffusers DPM 2S": (_diffusers(single, solver_order=2, **eps), 1),
        "diffusers DPM 3S": (_diffusers(single, solver_order=3, **eps), 1),
        "diffusers SA-ODE 2": (_sa(2), 1),
        "diffusers SA-ODE 3": (_sa(3), 1),
        "k-diffusion Euler": (_k("euler"), 1),
        "k-diffusion Heun": (_k("heun"), 2),
        "k-diffusion DPM2": (_k("dpm_2"), 2),
        "k-diffusion LMS": (_k("lms"), 1),
        "k-diffusion 2M": (_k("dpmpp_2m"), 1),
        "k-diffusion 2M SDE, eta 0": (_k("dpmpp_2m_sde", eta=0.0), 1),
        "k-diffusion 3M SDE, eta 0": (_k("dpmpp_3m_sde", eta=0.0), 1),
        "k-diffusion 2S, eta 0": (_k("dpmpp_2s_ancestral", eta=0.0), 2),
        "k-diffusion DPM fast": (_fast, 1),
    }
    for order in (2, 3):
        found[f"diffusers DEIS {order}"] = (_diffusers("DEISMultistepScheduler", False, solver_order=order), 1)
        for kind in ("bh1", "bh2"):
            options: dict[str, Any] = {"solver_order": order, "solver_type": kind}
            found[f"diffusers UniPC {order} {kind}"] = (_diffusers("UniPCMultistepScheduler", **options), 1)
    return found


def _sa(order: int) -> Run:
    return _diffusers(
        "SASolverScheduler", tell_end=False, predictor_order=order, corrector_order=order, tau_func=lambda t: 0.0,
    )  # fmt: skip


def noise_levels(process, times: Tensor) -> Tensor:
    return (
        torch.cat([(-process.lam(times[:-1])).exp(), times.new_zeros(1)])
        if times[-1] == 0
        else (-process.lam(times)).exp()
    )


def peer_error(run: Run, problem: Problem, times: Tensor) -> float:
    """One peer on one grid; infinite where it fails or returns NaN."""
    process = problem.process
    denoise = problem.law.denoiser(process)

    def of_ratio(y: Tensor, sigma: float) -> Tensor:
        t = float(process.t_of_lam(-torch.tensor(sigma, dtype=F64).log()))
        return denoise(y * float(process.alpha(t)), t)

    try:
        with double():
            y = run(of_ratio, problem.x_T / float(process.alpha(process.T)), noise_levels(process, times))
    except (ValueError, IndexError, RuntimeError, AssertionError, ZeroDivisionError):
        return float("inf")
    zero = float(times[-1]) == 0
    x = y * (1.0 if zero else float(process.alpha(times[-1])))
    error = distance(x, problem.at_zero if zero else problem.at_min)
    return error if error == error else float("inf")


def our_error(row, problem: Problem, grid: str, budget: int, zero: bool) -> tuple[float, int]:
    """(error, network calls spent) of one of our rows at a budget."""
    counter = sd.NFE(problem.law.denoiser(problem.process))
    try:
        x = sd.sample(counter, problem.process, problem.x_T, solver=row.key, grid=grid, nfe=budget,
                      final="denoise" if zero else "stop", progress=False)  # fmt: skip
    except (ValueError, FloatingPointError):
        return float("inf"), counter.count
    return distance(x, problem.at_zero if zero else problem.at_min), counter.count


def grid_times(problem: Problem, grid: str, steps: int, zero: bool) -> Tensor:
    return sd.grids.make(grid, problem.process, steps, zero=zero)


def race_peers(problem: Problem, budgets=BUDGETS, grids=GRIDS) -> list[dict]:
    """One record per (peer, grid, end, budget)."""
    out = []
    for budget in budgets:
        for grid in grids:
            for end, zero in ENDS.items():
                for name, (run, nfe) in peers().items():
                    steps = (budget - zero) // nfe + zero
                    if steps < 1 + zero:
                        continue
                    try:
                        times = grid_times(problem, grid, steps, zero)
                    except ValueError:
                        continue
                    out.append({"sampler": name, "grid": grid, "end": end, "nfe": budget,
                                "error": peer_error(run, problem, times)})  # fmt: skip
    return out


def race_ours(problem: Problem, budgets=BUDGETS, grids=GRIDS, rows=None) -> list[dict]:
    """One record per (row, grid, end, budget) of our deterministic rows."""
    rows = rows or [r for r in sd.solvers.table if not (r.stochastic or r.adaptive)]
    out = []
    for budget in budgets:
        for grid in grids:
            for end, zero in ENDS.items():
                for row in rows:
                    error, spent = our_error(row, problem, grid, budget, zero)
                    out.append(
                        {"sampler": row.key, "grid": grid, "end": end, "nfe": budget, "spent": spent, "error": error}
                    )
    return out


def best(records: list[dict], budget: int) -> dict:
    return min((r for r in records if r["nfe"] == budget), key=lambda r: r["error"])


def main(names: list[str]) -> None:
    """All problems, or those named LAW:PROCESS; results go into benchmarks/results/race.json problem by problem."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    importlib.import_module("diffusers").utils.logging.set_verbosity_error()
    for name in names or [f"{law}:{process}" for law in LAWS for process in PROCESSES]:
        made = problem(*name.split(":"))
        theirs, mine = race_peers(made), race_ours(made)
        rows = {row: {str(b): min(r["error"] for r in mine if (r["sampler"], r["nfe"]) == (row, b)) for b in BUDGETS}
                for row in dict.fromkeys(r["sampler"] for r in mine)}  # fmt: skip
        result = {
            "starts": len(made.x_T),
            "best": {str(b): {"peer": best(theirs, b), "ours": best(mine, b)} for b in BUDGETS},
            "rows": {
                key: {b: e if e < float("inf") else None for b, e in errors.items()} for key, errors in rows.items()
            },
        }
        keep(FILE, kept(FILE, {}) | {name: result})
        for b in BUDGETS:
            peer, our = (result["best"][str(b)][side] for side in ("peer", "ours"))
            told = (f"{r['error']:.2e} {r['sampler']} {r['grid']} {r['end']}" for r in (peer, our))
            print(name, b, " | ".join(told), f"ratio {our['error'] / peer['error']:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
