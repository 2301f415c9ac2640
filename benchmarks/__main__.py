"""All benchmarks, or those named: `python -m benchmarks [NAME ...]`. Each keeps its figures in results/NAME.json."""

import sys

from . import (
    adaptive,
    decision,
    early_exit,
    exact,
    latent,
    learned,
    noise,
    optimised,
    orders,
    overhead,
    race,
    schedules,
    stochastic,
)

SOLVERS = {  # what the book's page of solvers tells
    "orders": lambda: orders.main([]),
    "overhead": overhead.main,
    "race": lambda: race.main([]),
    "stochastic": stochastic.main,
    "adaptive": adaptive.main,
    "optimised": lambda: optimised.main([]),
}
BENCHMARKS = SOLVERS | {
    "latent": lambda: latent.main([]),
    "early_exit": lambda: early_exit.main([]),
    "exact": lambda: exact.main([]),
    "learned": lambda: learned.main([]),
    "noise": noise.main,
    "schedules": lambda: schedules.main([]),
    "decision": decision.main,  # reads what others have kept
}


def main(names: list[str]) -> None:
    """Run them one after the other; an unknown name stops before anything runs."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        BENCHMARKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
