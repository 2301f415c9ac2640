"""Grids by their formulas, written out again from the papers and from what the image tools do."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import sdelab as sd
from sdelab.grids import published

F64 = torch.float64
FLOW, EDM, VP, CHAIN = sd.process.RectifiedFlow(), sd.process.EDM(), sd.process.VP(), sd.process.DiscreteBetas()


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=F64), rtol=tolerance, atol=1e-14)


def ratio(process, times):
    return torch.exp(-process.lam(times))


def test_every_grid_says_in_one_line_what_it_is():
    for name, grid in sd.grids.table.items():
        first = (grid.__doc__ or "").split("\n")[0]
        assert 16 < len(first) <= 120 and first.endswith("."), name


@pytest.mark.parametrize("n", (1, 3, 4, 7, 10, 20))
def test_spacings_by_hand(n):
    """In numbers of the knots of a chain of 1000, by integer arithmetic."""

    def knots(grid, **parameters):
        return (1000 * sd.grids.make(grid, CHAIN, n, zero=True, **parameters)).tolist()

    up = [1000 - (k * 1000) // n for k in range(n)] + [0]
    assert knots("simple") == pytest.approx(up, abs=1e-9)
    near = [round(1000 - k * 1000 / n) for k in range(n)] + [0]
    assert knots("trailing") == pytest.approx(near, abs=1e-9)
    for offset in (0, 1):
        below = [(n - 1 - k) * (1000 // n) + 1 + offset for k in range(n)] + [0]
        assert knots("leading", offset=offset) == pytest.approx(below, abs=1e-9)
    assert knots("ddim_uniform") == pytest.approx(below, abs=1e-9)
    assert knots("sgm_uniform") == pytest.approx([1000 - 999 * k / n for k in range(n)] + [0])
    stop = sd.grids.sgm_uniform(CHAIN, n)
    close(stop, sd.grids.uniform(CHAIN, n))
    assert torch.equal(sd.grids.normal(VP, n), sd.grids.uniform(VP, n))
    if n > 1:
        rounded = [*(np.round(999 * k / (n - 1)) + 1 for k in range(n - 1, -1, -1)), 0]
        assert knots("linspace") == pytest.approx(rounded, abs=1e-9)


def test_spacings_on_other_clocks_and_ranges():
    short = sd.process.DiscreteBetas(sd.process.ddpm_betas(50))
    assert (50 * sd.grids.trailing(short, 7, zero=True)).tolist() == pytest.approx([50, 43, 36, 29, 21, 14, 7, 0])
    close(sd.grids.trailing(EDM, 4, zero=True), [80, 60, 40, 20, 0])
    close(sd.grids.leading(EDM, 4, t_start=40.0, zero=True), [0.08 * k for k in (377, 252, 127, 2, 0)])
    close(sd.grids.trailing(VP, 3, t_start=0.9, t_end=0.3, zero=True), [0.9, 0.6, 0.3, 0.0])


@pytest.mark.parametrize("n", (2, 5, 12))
def test_quantiles_by_hand(n):
    """Beta in t as ComfyUI takes it; Laplace and KL-optimal in sigma/alpha."""
    k = np.arange(n)
    close(sd.grids.beta(VP, n, zero=True), [*stats.beta.ppf(1 - k / n, 0.6, 0.6), 0.0], 1e-9)
    ends = ratio(EDM, torch.tensor([80.0, 0.002], dtype=F64)).tolist()
    r = np.arange(n + 1) / n
    angles = np.tan(r * np.arctan(ends[1]) + (1 - r) * np.arctan(ends[0]))
    close(sd.grids.kl_optimal(EDM, n), angles, 1e-9)
    for process in (VP, EDM):
        inner = ratio(process, sd.grids.laplace(process, n, mu=0.2, b=0.4))[1:-1].log().numpy()
        guarded = r[1:-1] + 0.5e-5 * np.sign(0.5 - r[1:-1])  # the published rule keeps its logarithm from 0
        np.testing.assert_allclose(stats.laplace.sf(inner, 0.2, 0.4), guarded, atol=1e-9)


def test_kl_optimal_needs_no_finite_lam():
    ts = sd.grids.kl_optimal(FLOW, 6, t_end=0.0)
    close(torch.atan2(ts, 1 - ts), torch.linspace(math.pi / 2, 0, 7, dtype=F64))


def test_shifts_by_hand():
    for n, shift in ((4, 3.0), (9, 0.5), (9, 1.0)):
        t = 1 - torch.arange(n + 1, dtype=F64) / n
        close(sd.grids.flow_shift(FLOW, n, zero=True, shift=shift), shift * t / (1 + (shift - 1) * t))
    assert sd.grids.dynamic_shift(256) == pytest.approx(math.exp(0.5))
    assert sd.grids.dynamic_shift(4096) == pytest.approx(math.exp(1.15))
    ours = sd.grids.flow_shift(VP, 8, shift=2.0, t_end=0.01)  # elsewhere: the same sigma/alpha
    ends = [float(ratio(VP, t)) for t in (torch.tensor(1.0, dtype=F64), torch.tensor(0.01, dtype=F64))]
    u = torch.linspace(ends[0] / (2 + ends[0]), ends[1] / (2 + ends[1]), 9, dtype=F64)
    close(ratio(VP, ours), 2 * u / (1 - u), 1e-9)


def test_curves_by_hand():
    r = torch.linspace(0, 1, 9, dtype=F64)
    close(sd.grids.cosine(FLOW, 8, zero=True)[:-1], torch.cos(0.5 * math.pi * r)[:-1])
    close(sd.grids.cosine(FLOW, 8, zero=True, sway=0.0), 1 - r)
    half, rest = sd.grids.linear_quadratic(FLOW, 8, zero=True).tensor_split([5])
    close(half, 1 - 0.025 * torch.arange(5, dtype=F64) / 4)
    both = torch.cat([half[-2:], rest])
    close(both[1:].diff().diff(), both[1:].diff().diff()[:1].expand(3), 1e-9)  # one parabola from there on
    close(sd.grids.linear_quadratic(FLOW, 1, zero=True), [1.0, 0.0])


def test_vp_on_other_processes():
    """Its noise levels are those of the linear VP's uniform grid, whatever the process."""
    wide = sd.process.EDM(float(ratio(VP, torch.tensor(1.0, dtype=F64))))
    end = float(ratio(VP, torch.tensor(1e-3, dtype=F64)))
    close(sd.grids.vp(wide, 10, t_end=end), ratio(VP, sd.grids.uniform(VP, 10)), 1e-9)


def test_printed_levels():
    """At their own step count as printed, the last one 0; elsewhere log-linear between neighbours."""
    latent = sd.process.make("sd")
    for grid, levels in (("ays_sd15", published.AYS["sd15"]), ("ays_sdxl", published.AYS["sdxl"])):
        ts = sd.grids.make(grid, latent, 10, zero=True)
        close(ratio(latent, ts)[1:-1], levels[1:-1], 1e-9)
        assert ts[0] == 1 and ts[-1] == 0
        fine = ratio(latent, sd.grids.make(grid, latent, 20))
        close(fine[2:-1:2], levels[1:-1], 1e-9)
        close(fine[3:-2:2] ** 2, fine[2:-3:2] * fine[4:-1:2], 1e-9)
    for levels in published.GITS:
        ts = sd.grids.gits_sd15(latent, len(levels) - 1, zero=True)
        close(ratio(latent, ts)[1:-1], levels[1:-1], 1e-9)
        top, bottom = ratio(latent, torch.tensor([1.0, 0.001], dtype=F64)).tolist()
        assert (levels[0], levels[-1]) == pytest.approx(
            (top, bottom), rel=2e-5
        )  # the chain's own ends, in single precision


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sd.grids.trailing(CHAIN, 2000, zero=True), "another number of steps"),
        (lambda: sd.grids.ays_svd(sd.process.VE(), 10), "no 10 decreasing steps .* 've'"),
        (lambda: sd.grids.ays_sd15(VP, 10, t_start=0.2), "another range"),
        (lambda: sd.grids.flow_shift(FLOW, 5, shift=0.0), "shift multiplies"),
        (lambda: sd.grids.beta(FLOW, 5, a=0.0), "a, b > 0"),
        (lambda: sd.grids.leading(CHAIN, 5, offset=-1), "offset counts knots"),
        (lambda: sd.grids.cosine(FLOW, 5, sway=2.0), "sway must lie"),
        (lambda: sd.grids.make("trailling", FLOW, 5), "did you mean 'trailing'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
