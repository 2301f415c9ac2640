"""What a run holds: tensors of the state's size alive at once, counted after every operation."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sdelab as sd
from sdelab import draws

SHAPE, BYTES = (32, 32), 4 * 32 * 32
PROCESS = sd.process.VP()


class Census(TorchDispatchMode):
    """The most states alive at once, of those made under it, by the size of their memory."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if torch.is_tensor(tensor) and tensor.untyped_storage()._cdata not in given:
                self.count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def count(self, memory) -> None:
        key, states = memory._cdata, memory.nbytes() // BYTES
        if states and key not in self.alive:
            self.now += states
            self.alive[key] = weakref.ref(memory, lambda _: self.gone(key, states))

    def gone(self, key, states) -> None:
        del self.alive[key]
        self.now -= states


def peak(equation, solver, steps: int) -> int:
    """States alive at most in a run: the one it starts from, its own, and what the network returns."""
    times = sd.grids.logsnr(PROCESS, steps, t_start=0.9).tolist()
    for dtype in (torch.float64, torch.float32):  # what the noise writes over is kept from run to run, of one type
        sd.noise.normal(SHAPE, 0, dtype=dtype, device=torch.device("cpu"))
    with Census() as census:
        sd.solve(equation, solver, torch.ones(SHAPE), times, seed=0, progress=False)
    return census.peak


# Above the network's output and six states, and why. Slopes: every one is needed until the last.
ABOVE = {
    "dopri5": 9, "tsit5": 9,  # six slopes
    "hochbruck_ostermann_4": 8,  # five slopes
    "seeds_3": 9,  # three values and three normals of a step
    "sra3": 8,  # three values and two normals
    "rk4_ancestral": 8,  # four slopes and a normal
    "reversible_heun": 8,  # a second state with its slope, and the start of the run
    "rk45": 15, "tsit5_adaptive": 15, "bosh23": 12,  # slopes, both solutions and the error between them
    "dpm_adaptive": 8, "dpm_adaptive_2": 9,  # both solutions, the last one and the values of a step tried again
    "ttm2": 12, "exp_taylor_2": 12,  # the network's derivative along the trajectory
}  # fmt: skip
WHOLE = {"picard"}  # all steps of its window at once are what it is


@pytest.mark.parametrize("row", [r for r in sd.solvers.table if r.key not in WHOLE], ids=lambda r: r.key)
def test_memory_does_not_grow_with_the_steps(row, monkeypatch):
    """And without history it is at most the network's output and six states, the caller's first one included; a solver
    that goes back along a Brownian path holds the path as well, as many states as its tree is deep."""
    monkeypatch.setattr(draws, "_AHEAD", 1)  # small states are drawn several steps at once
    equation = sd.Reverse(PROCESS, lambda x, t: x * 0.5, row.eta)
    few, many = (peak(equation, row.make(), steps) for steps in (6, 12))
    assert many <= few
    solver = row.make()
    if not (getattr(solver, "history", 0) or getattr(solver, "rewinds", False)):
        assert few <= ABOVE.get(row.key, 7)


def test_the_census_counts_what_a_careless_sampler_holds():
    kept = []
    equation = sd.Reverse(PROCESS, lambda x, t: kept.append(x * 0.5) or kept[-1], 0.0)
    assert peak(equation, sd.ExpEuler(), 18) - peak(equation, sd.ExpEuler(), 6) == 12
