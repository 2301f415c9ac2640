"""The measured order of every row, beside what is claimed: benchmarks/results/orders.json for the book's page.

    python -m benchmarks.orders [KEY ...]      all rows, or the named ones measured anew

The unit tests measure every row again and hold this file to what they see.
"""

import sys

import torch
from tqdm import tqdm

import sdelab as sd
from sdelab import orders

from . import RESULTS, keep, kept

FILE = RESULTS / "orders.json"
PROCESSES = ("vp", "edm", "flow")


def measured(row) -> dict[str, float]:
    """Orders by kind: "vp", "edm", "flow" for the ODE error, "weak" and "strong" for stochastic rows."""
    if row.adaptive:
        return {}
    if not row.stochastic:
        return {name: round(orders.ode_order(row, name), 3) for name in row.measure.get("processes", PROCESSES)}
    found = {"weak": round(orders.weak_order(row), 3)}
    return found if row.strong is None else found | {"strong": round(orders.strong_order(row), 3)}


def main(keys: list[str]) -> None:
    torch.set_num_threads(1)
    rows = [sd.solvers.row(key) for key in keys] or list(sd.solvers.table)
    known = kept(FILE, {}) if keys else {}
    for row in tqdm(rows, desc="orders"):
        known[row.key] = measured(row)
    keep(FILE, {row.key: known[row.key] for row in sd.solvers.table if row.key in known})


if __name__ == "__main__":
    main(sys.argv[1:])
