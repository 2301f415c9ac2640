"""One row of the table of solvers: what a name stands for, and what is claimed and stated about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A solver under the name that users know; rows drive tests, menus, citations, benchmarks and the book's page.

    order: the order that we state and measure: of the ODE error, or of the weak error where ``stochastic``.
    nfe: network calls per step (per attempt, where ``adaptive``). paper: authors, year, equation or algorithm.
    strong: strong order on one Brownian path, None if no path drives it. claimed: the paper's order where it is another
    one (a fraction is a strong order), and then ``note`` says why. oracle: the public twin it agrees with, or the route
    that checks it. dial: eta of the equation where it is not 1 for stochastic rows and 0 for the others. measure: what
    :mod:`sdelab.orders` shall use instead of its defaults (steps, range, grid, processes; weak_steps, weak_range;
    strong_steps, strong_range, clock="t" for a path in t, truth="own" for noise that makes another SDE).
    """

    key: str
    name: str
    family: str
    make: Callable
    order: float
    nfe: int
    paper: str
    stochastic: bool = False
    strong: float | None = None
    claimed: float | None = None
    oracle: str = "closed form"
    note: str = ""
    dial: float | None = None
    adaptive: bool = False
    measure: Mapping = field(default_factory=dict)

    @property
    def eta(self) -> float:
        """The noise dial that the row runs at."""
        return float(self.stochastic) if self.dial is None else self.dial

    def calls(self, steps: int) -> int:
        """Network calls of a run of that many steps (a solver with a costlier start says so by its own ``calls``)."""
        solver = self.make()
        return solver.calls(steps) if hasattr(solver, "calls") else self.nfe * steps

    def fit(self, budget: int) -> tuple[object, int]:
        """(solver, steps) for a budget of network calls, none left over that would make another step."""
        solver = self.make()
        if hasattr(solver, "fit"):
            return solver.fit(budget)
        steps = budget // self.nfe
        while steps > 0 and self.calls(steps) > budget:
            steps -= 1
        return solver, steps
