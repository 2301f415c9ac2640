"""What fitted times, a path and adaptive steps come to in the stored measurements, for `decision`."""

import math

import numpy as np

import sdelab as sd

from . import by_grid
from .decision_tables import GRIDS, geometric, mean, three


def fitted(made: dict) -> list[dict]:
    """How many times smaller the error is on fitted times than on the best grid made by hand, for the same solvers."""
    out = []
    for budget in sorted({r["nfe"] for r in made["optimised"]}):
        gains = [r["standard"]["error"] / r["times"]["error"] for r in made["optimised"] if r["nfe"] == budget]
        equal = [r["standard"]["error"] / r["equal"]["error"] for r in made["optimised"] if r["nfe"] == budget]
        out.append(gain("exact", budget, gains, equal))
    known: dict[int, tuple[list, list]] = {}
    for told in made["learned"].values():
        for budget, leaves in told.get("fitted", {}).get("dpmpp_2m", {}).get("optimised", {}).items():
            hand = [told["rows"]["dpmpp_2m"][g][budget][0] for g in GRIDS]
            even = told["fitted"]["dpmpp_2m"]["equal_error"][budget][0]
            for n, error in enumerate(leaves[0]):
                gains, equal = known.setdefault(int(budget), ([], []))
                gains.append(min(h[n] for h in hand) / error)
                equal.append(min(h[n] for h in hand) / even[n])
    out += [gain("learned", n, *known[n]) for n in sorted(known)]
    for budget, errors in made["latent"]["steps"]["errors"]["dpmpp_2m"].items():
        hand, of = errors[by_hand(errors)], [errors["fitted, dpmpp_2m"], errors["equal_error"]]
        out.append(gain("latent", int(budget), *([h / e for h, e in zip(hand, each, strict=True)] for each in of)))
    return out


def by_hand(errors: dict[str, list[float]]) -> str:
    """The grid of the library's table with the least mean error."""
    return min((g for g in errors if g in sd.grids.table), key=lambda g: mean(errors[g]))


def hand_on_latents(made: dict) -> dict:
    """On the latent model, by solver and calls: the best grid of the table, and how many times worse Karras is."""
    out: dict = {}
    for key, budgets in made["latent"]["steps"]["errors"].items():
        for budget, errors in budgets.items():
            best = by_hand(errors)
            out.setdefault(key, {})[budget] = {
                "grid": best,
                "karras": three(mean(errors["karras"]) / mean(errors[best])),
            }
    return out


def gain(kind: str, calls: int, gains: list[float], equal: list[float]) -> dict:
    told = {"optimised": geometric(gains), "least": min(gains), "equal_error": geometric(equal)}
    return {"kind": kind, "calls": calls, "problems": len(gains)} | {k: three(v) for k, v in told.items()}


def on_a_path(made: dict) -> dict:
    """How far the end at a budget is from that of many steps, on one Brownian path: mean over networks, by row."""
    fresh = [v for name, told in made["learned"].items() if name != "setup" for (v,) in told["path"]["fresh noise"]]
    out: dict = {"budgets": list(by_grid.PATH_BUDGETS), "fresh noise": three(mean(fresh)), "rows": {}}
    parts = [told["path"] for name, told in made["learned"].items() if name != "setup"]
    for key in parts[0]:
        runs = [run for part in parts for run in part.get(key, [])]
        if key != "fresh noise" and None not in runs and all(None not in run for run in runs):
            out["rows"][key] = [three(mean(run[k] for run in runs)) for k in range(len(by_grid.PATH_BUDGETS))]
    return out


def adaptive(made: dict) -> dict:
    """Calls of adaptive rows over those of exp_adams_2c on a fixed grid with the same error, by interpolation."""
    ratios, keys = [], {row.key for row in sd.solvers.table}
    for records in made["adaptive"].values():
        fixed = sorted((r["nfe"], r["error"]) for r in records if r["what"].startswith("exp_adams_2c"))
        calls, errors = (np.log([pair[k] for pair in fixed]) for k in (0, 1))
        for r in records:
            at = math.log(r["error"])
            if "tol" in r and r["what"] in keys and errors.min() <= at <= errors.max():
                ratios.append(r["nfe"] / math.exp(float(np.interp(-at, -errors, calls))))
    return {"runs": len(ratios), "least": three(min(ratios)), "median": three(float(np.median(ratios)))}
