"""One Brownian path at its default depth under runs of 5 to 1000 steps, whatever the grid, the clock and the batch."""

import pytest
import torch

import sdelab as sd
from sdelab.solvers.linear import clock

F64 = torch.float64
LAW = sd.distributions.gaussian((0.5, -0.3), 0.4)
STEPS = (5, 10, 50, 100, 1000)


def on_path(name, key, grid, rows=slice(0, 40)):
    """(equation, solver, x, path, grids): the path of the rows asked for, on the solver's clock."""
    process, solver = sd.process.make(name), sd.solvers.row(key).make()
    times = [sd.grids.make(grid, process, n, t_start=0.98 * process.T, t_end=0.02 * process.T) for n in STEPS]
    ends = [float(times[0][0]), float(times[0][-1])]
    if not solver.in_time:
        ends = [clock(1.0, float(process.lam(t))) for t in ends]
    x = sd.noise.prior(process, (40, 2), seed=1, dtype=F64)[rows]
    path = sd.Brownian(x.shape, *ends, seed=9, dtype=F64, first=rows.start)
    return sd.Reverse(process, LAW.denoiser(process), 1.0), solver, x, path, times


# Uniform steps in sigma have not settled at a thousand; Karras's on the flow begin shorter than the leaves are, and the
# path says so (test_noise.py).
GRIDS = [("vp", "karras"), ("vp", "logsnr"), ("vp", "uniform"), ("edm", "karras"), ("edm", "logsnr"),
         ("flow", "logsnr"), ("flow", "uniform")]  # fmt: skip


@pytest.mark.parametrize("name, grid", GRIDS)
@pytest.mark.parametrize("key", ["ddpm", "euler_maruyama", "dpmpp_2m_sde"])
def test_five_to_a_thousand_steps(key, name, grid):
    """The runs approach each other; on another path they do not; and half a batch sees its half of the path."""
    equation, solver, x, path, times = on_path(name, key, grid)
    runs = [sd.solve(equation, solver, x, ts, brownian=path) for ts in times]
    gaps = [float((out - runs[-1]).abs().mean()) for out in runs[:-1]]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 0.2 * gaps[0], gaps
    other = sd.solve(equation, solver, x, times[-1], seed=4)
    assert float((other - runs[-1]).abs().mean()) > 2 * gaps[-1]
    half = on_path(name, key, grid, slice(25, 40))
    for ts, out in zip(times, runs, strict=True):
        part = sd.solve(equation, solver, half[2], ts, brownian=half[3])
        torch.testing.assert_close(part, out[25:], rtol=1e-10, atol=1e-10)
