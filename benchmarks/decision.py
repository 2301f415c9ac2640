"""Which sampler: what the stored measurements come to, for the book's page. `python -m benchmarks decision` (seconds).

Three kinds of model: exact laws (exact.json), small trained networks (learned.json), the latent model (latent.json).

A choice is a row on a grid. Its regret on a problem is its error over the least error of all choices there, at equal
network calls. The recommended choice has the least geometric mean of regrets over the problems; those within 10 % of it
are told with it, and so is its worst regret. Over the three kinds each kind counts the same. Where figures are
distances of finite samples, "tied" counts those further off whose paired difference may be chance on every problem
(Student's 95 % interval). Rows that need derivatives of the network are left out.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

import sdelab as sd

from . import RESULTS, keep
from .decision_gains import adaptive, fitted, hand_on_latents, on_a_path
from .decision_tables import (
    BUDGETS,
    GRIDS,
    KINDS,
    Choice,
    Table,
    end_points,
    geometric,
    mean,
    read,
    three,
    to_the_law,
)  # fmt: skip

FILE = RESULTS / "decision.json"
CLOSE = 1.1
NAMED = [(key, "karras") for key in ("ddim", "dpmpp_2m", "unipc", "deis_3", "edm_heun", "plms", "lms")]
CROSSED = ("ipndm", "plms", "deis_3", "unipc", "unipc_3_bh2", "exp_adams_2c", "dpmpp_2m", "dpmpp_3m", "lms", "ddim")
NAMED_LAW = [(key, "karras") for key in ("ddim", "dpmpp_2m", "edm_heun", "euler_ancestral", "dpmpp_sde", "dpmpp_2m_sde",
                                         "dpmpp_3m_sde", "er_sde_3", "sa_solver", "restart")]  # fmt: skip


def regrets(table: Table, budget: str) -> dict[Choice, dict[str, float]]:
    """choice: problem: its figure over the least one, for choices that ran on every problem."""
    problems = [name for name in table if budget in table[name]]
    common = set.intersection(*(set(table[name][budget]) for name in problems))
    means = {name: {c: mean(table[name][budget][c]) for c in table[name][budget]} for name in problems}
    least = {name: min(means[name].values()) for name in problems}
    return {c: {name: means[name][c] / least[name] for name in problems} for c in sorted(common)}


def chance(d: np.ndarray) -> float:
    """How far from 0 the mean of paired differences may be by chance: Student's 95 % interval."""
    return float(student.ppf(0.975, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d)))


def noisy_tie(table: Table, budget: str, one: Choice, other: Choice) -> bool:
    """Whether on every problem the mean paired difference of two choices may be chance."""
    for at in table.values():
        pairs = at.get(budget, {})
        if one not in pairs or other not in pairs:
            return False
        d = np.array(pairs[other]) - np.array(pairs[one])
        if len(d) < 2 or d.mean() > chance(d):
            return False
    return True


def ranking(of: dict[Choice, float], worst: dict[Choice, float], named, tie: Callable[[Choice, Choice], bool]) -> dict:
    """The recommended choice with its company, and what readers of other tools lose."""
    best = min(of, key=lambda c: (of[c], worst[c], c))
    within = [
        c for c in sorted(of, key=lambda c: (of[c], c)) if c != best and (of[c] <= CLOSE * of[best] or tie(best, c))
    ]
    return {
        "choice": list(best), "regret": three(of[best]), "worst": three(worst[best]),
        "within": [list(c) for c in within if of[c] <= CLOSE * of[best]],
        "alike": 1 + len(within),
        "tied": len([c for c in within if of[c] > CLOSE * of[best]]),
        "named": {f"{key} {grid}": three(of[key, grid]) for key, grid in named if (key, grid) in of},
        "median": three(float(np.median(list(of.values())))), "last": three(max(of.values())), "choices": len(of),
    }  # fmt: skip


def by_budget(tables: dict[str, Table], named, budgets=None, noise: bool = False) -> dict:
    """Of each kind and budget, and over all kinds where they share a budget: the ranking."""
    out: dict = {kind: {} for kind in KINDS} | {"all": {}}
    for kind, table in tables.items():
        for budget in sorted(set.union(*(set(at) for at in table.values())), key=int):
            found = regrets(table, budget)
            tie = (lambda a, b, t=table, n=budget: noisy_tie(t, n, a, b)) if noise else (lambda a, b: False)
            of = {c: geometric(r.values()) for c, r in found.items()}
            worst = {c: max(r.values()) for c, r in found.items()}
            told = ranking(of, worst, named, tie)
            error = geometric(mean(at[budget][tuple(told["choice"])]) for at in table.values())
            out[kind][budget] = told | {"problems": len(table), "error": three(error)}
            if not noise or budget != "5":
                firsts = {name: min(at[budget], key=lambda c: mean(at[budget][c])) for name, at in table.items()}
                out[kind][budget]["first"] = {name: list(c) for name, c in firsts.items()}
                out[kind][budget]["winners"] = len(set(firsts.values()))
    for budget in budgets or BUDGETS:
        parts = [regrets(table, budget) for table in tables.values()]
        common = sorted(set.intersection(*(set(part) for part in parts)))
        of = {c: geometric(geometric(part[c].values()) for part in parts) for c in common}
        worst = {c: max(max(part[c].values()) for part in parts) for c in common}
        out["all"][budget] = ranking(of, worst, named, lambda a, b: False)
    return out


def crossed(tables: dict[str, Table], budgets=("10", "20")) -> dict:
    """Known solvers on each grid, over all kinds: their regrets, the least of each grid and the most."""
    out: dict = {}
    for budget in budgets:
        parts = [regrets(table, budget) for table in tables.values()]
        rows = {
            key: {g: three(geometric(geometric(part[key, g].values()) for part in parts)) for g in GRIDS}
            for key in CROSSED
        }
        ends = {g: [f(row[g] for row in rows.values()) for f in (min, max)] for g in GRIDS}
        out[budget] = {
            "rows": rows,
            "least": {g: e[0] for g, e in ends.items()},
            "most": {g: e[1] for g, e in ends.items()},
        }
    return out


def one_for_all(tables: dict[str, Table], budgets=("10", "20", "35")) -> dict:
    """The choice with the least mean regret over several budgets at once, of each kind and of all."""
    out, parts = {}, {}
    for kind, table in tables.items():
        at = [regrets(table, budget) for budget in budgets]
        common = set.intersection(*(set(part) for part in at))
        parts[kind] = {c: [r for part in at for r in part[c].values()] for c in sorted(common)}
    common = set.intersection(*(set(part) for part in parts.values()))
    for kind in (*KINDS, "all"):
        sides = [parts[kind]] if kind != "all" else list(parts.values())
        here = parts[kind] if kind != "all" else common
        of = {c: geometric(geometric(side[c]) for side in sides) for c in sorted(here)}
        worst = {c: max(max(side[c]) for side in sides) for c in of}
        out[kind] = ranking(of, worst, NAMED, lambda a, b: False)
    return out


def shares(tables: dict[str, Table], budgets=("10", "20", "35")) -> dict:
    """Of the variance of log error over rows, grids and budgets, what each factor alone explains, and what is left.

    A balanced analysis of variance on each problem, averaged over the problems of a kind: rows that ran everywhere.
    """
    out = {}
    for kind, table in tables.items():
        found = []
        for at in table.values():
            keys = {key for key, _ in at[budgets[0]]}
            keys = [k for k in sorted(keys) if all((k, g) in at.get(b, {}) for g in GRIDS for b in budgets)]
            logs = np.log([[[mean(at[b][k, g]) for b in budgets] for g in GRIDS] for k in keys])
            total = logs.var()
            ways = ((1, 2), (0, 2), (0, 1))  # what is averaged over, for solver, grid and budget
            found.append([logs.mean(axis=axes).var() / total for axes in ways])
        solver, grid, budget = np.mean(found, 0)
        told = {"solver": solver, "grid": grid, "budget": budget, "together": 1 - solver - grid - budget}
        out[kind] = {name: round(float(v), 2) + 0.0 for name, v in told.items()}
    return out


def noise_pays(tables: dict[str, Table], made: dict) -> list[dict]:
    """Per problem and budget, the best choice without noise and the best with, and whether they differ beyond chance.

    The figure of a seed is that of the choice that is best on the other seeds, so that luck in choosing does not count.
    """
    noisy = {row.key for row in sd.solvers.table if row.stochastic}
    out = []
    for kind, table in tables.items():
        for problem, at in table.items():
            base = made[kind].get(problem, {}) if kind != "latent" else {}
            for budget in sorted(at, key=int):
                sides = [{c: v for c, v in at[budget].items() if (c[0] in noisy) == side} for side in (False, True)]
                best = [min(side, key=lambda c: mean(side[c])) for side in sides]
                ode, sde = (fair(side) for side in sides)
                d = np.array(sde) - np.array(ode)
                word = "same" if abs(d.mean()) <= chance(d) else "noise" if d.mean() < 0 else "no noise"
                told = {"kind": kind, "problem": problem, "calls": int(budget), "better": word}
                told |= {"ode": list(best[0]), "sde": list(best[1])}
                told |= {"ode distance": three(mean(ode)), "sde distance": three(mean(sde))}
                for name in ("floor", "converged", "converged SDE"):
                    if name in base:
                        told[name] = three(mean(base[name]))
                if "floor" in base:
                    told["floors"] = [three(min(base["floor"])), three(max(base["floor"]))]
                out.append(told)
    return out


def fair(side: dict[Choice, list[float]]) -> list[float]:
    """Of each seed, the figure of the choice that is best on the other seeds."""
    seeds = range(len(next(iter(side.values()))))
    return [side[min(side, key=lambda c: sum(v for k, v in enumerate(side[c]) if k != n))][n] for n in seeds]


def compute(made: dict) -> dict:
    """Everything that the page shows, from the stored measurements alone."""
    ends, near, gains = end_points(made), to_the_law(made), fitted(made)
    return {
        "budgets": list(BUDGETS),
        "end": by_budget(ends, NAMED),
        "law": by_budget(near, NAMED_LAW, ("10", "20", "35"), noise=True),
        "one": one_for_all(ends),
        "shares": shares(ends),
        "cross": crossed(ends),
        "noise": noise_pays(near, made),
        "fitted": gains,
        "fitted latent": {str(r["calls"]): r["optimised"] for r in gains if r["kind"] == "latent"},
        "latent grids": hand_on_latents(made),
        "path": on_a_path(made),
        "adaptive": adaptive(made),
        "setup": {"learned": made["learned"].get("setup"), "exact": made["exact"].get("setup"),
                  "draws": len(next(itertools.chain.from_iterable(
                      b.values() for b in made["latent"]["samplers"].values())))},
    }  # fmt: skip


def main() -> None:
    made = read()
    if missing := [name for name, content in made.items() if not content]:
        raise SystemExit(f"nothing measured of {', '.join(missing)}: run `python -m benchmarks {' '.join(missing)}`")
    found = compute(made)
    keep(FILE, found)
    for budget, told in found["end"]["all"].items():
        print("end", budget, *told["choice"], told["regret"], told["worst"], told["named"])
    for budget, told in found["law"]["all"].items():
        print("law", budget, *told["choice"], told["regret"], told["worst"], told["named"])


if __name__ == "__main__":
    main()
