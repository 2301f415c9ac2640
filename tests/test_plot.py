"""The drawings draw what they are given: checked on the artists, and looked at once by eye."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab import plot
from sdelab.cells import Grid


@pytest.fixture
def ax():
    with plt.rc_context():
        plot.style()
        figure, axes = plot.figure()
        yield axes
        plt.close(figure)


def bump(x):
    """A density high on the right and low down: its picture must not be turned or mirrored."""
    return torch.exp(-4 * ((x - torch.tensor([1.5, -1.0])) ** 2).sum(-1))


def test_density_in_the_plane_is_neither_turned_nor_mirrored(ax):
    image = plot.density(ax, bump)
    values = image.get_array()
    row, column = np.unravel_index(values.argmax(), values.shape)
    left, right, bottom, top = image.get_extent()
    n, m = values.shape
    assert left + (column + 0.5) * (right - left) / m == pytest.approx(1.5, abs=0.05)
    assert bottom + (row + 0.5) * (top - bottom) / n == pytest.approx(-1.0, abs=0.05)
    assert image.origin == "lower"


def test_density_takes_laws_functions_and_arrays(ax):
    law, grid = sd.distributions.ring(), Grid((-3, -3), (3, 3), 120)
    a = plot.density(ax, law).get_array()
    b = plot.density(ax, grid.density(law), grid).get_array()
    assert np.array_equal(a, b)
    line = plot.density(ax, lambda x: torch.exp(-(x**2)), Grid(-4, 4, 50))
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1, abs=1e-6)


def test_particles_in_one_and_two_dimensions(ax):
    x = sd.distributions.ring().sample(300, seed=0)
    assert np.allclose(plot.particles(ax, x, most=100).get_offsets(), x[:100])
    bars = plot.particles(ax, x[:, 0], bins=10)
    assert sum(b.get_height() * b.get_width() for b in bars) == pytest.approx(1)


def test_paths_against_time_and_in_the_plane(ax):
    times = np.linspace(0, 1, 5)
    x = torch.arange(40.0).reshape(5, 8)
    lines = plot.paths(ax, times, x, most=3)
    assert len(lines) == 3 and np.array_equal(lines[1].get_ydata(), x[:, 1])
    lines = plot.paths(ax, times, torch.stack([x, -x], -1), most=2)
    assert len(lines) == 2 and np.array_equal(lines[1].get_ydata(), -x[:, 1])


def test_field_draws_the_vectors_at_their_points(ax):
    quiver = plot.field(ax, lambda x: torch.stack([-x[:, 1], x[:, 0]], -1), arrows=5)
    assert np.allclose(quiver.U, -quiver.Y) and np.allclose(quiver.V, quiver.X)


@pytest.mark.parametrize("claimed", [0.5, 1, 2, 3])
def test_order_measures_and_draws_the_claimed_slope(ax, claimed):
    h = np.array([0.1, 0.05, 0.025, 0.0125])
    assert plot.order(ax, h, 3 * h**claimed, claimed) == pytest.approx(claimed)
    assert plot.slope(h, h ** (1.03 * claimed)) != pytest.approx(claimed, rel=0.02)
    x, y = ax.lines[1].get_data()
    assert np.log(y[2] / y[0]) / np.log(x[2] / x[0]) == pytest.approx(claimed)
    assert (np.asarray(y) < np.interp(x, h[::-1], (3 * h**claimed)[::-1])).all()  # below the curve, not on it


def test_images_are_laid_out_row_by_row(ax):
    x = torch.stack([torch.full((1, 4, 4), float(k)) for k in range(5)])
    sheet = plot.images(ax, x, columns=3, vmin=-1, vmax=9).get_array()
    assert sheet.shape == (10, 15)
    assert [sheet[1, 1], sheet[1, 6], sheet[1, 11], sheet[6, 1], sheet[6, 6], sheet[6, 11]] == [0, 1, 2, 3, 4, -1]


def test_figures_are_the_same_bytes_at_every_run_and_fit_the_page():
    def once():
        with plt.rc_context():
            plot.style()
            figure, axes = plot.figure(3)
            plot.density(axes[0], sd.distributions.ring())
            plot.particles(axes[1], sd.distributions.ring().sample(50, seed=1))
            plot.order(axes[2], [0.1, 0.05], [0.01, 0.0025], 2)
            out = {kind: io.BytesIO() for kind in ("svg", "png")}
            for kind, file in out.items():
                figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
            size = figure.get_size_inches()
            plt.close(figure)
            return out["svg"].getvalue(), out["png"].getvalue(), tuple(size)

    first = once()
    assert first == once() and first[2] == (7.0, 3.2)


BAD_CALLS = [
    (lambda ax: plot.particles(ax, torch.zeros(4, 3)), r"x has shape \(4, 3\)"),
    (lambda ax: plot.paths(ax, [0, 1], torch.zeros(3, 4)), "do not fit 2 times"),
    (lambda ax: plot.field(ax, lambda x: x[:, 0]), "the field has shape"),
    (lambda ax: plot.order(ax, [0.1, 0.2], [0.0, 1.0]), "positive errors"),
    (lambda ax: plot.images(ax, torch.zeros(3, 3, 4, 4)), "images need shape"),
    (lambda ax: plot.density(ax, torch.zeros(3, 4), Grid((0, 0), (1, 1), 5)), "the density has shape"),
]


@pytest.mark.parametrize("call, message", BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_bad_input_is_named(ax, call, message):
    with pytest.raises(ValueError, match=message):
        call(ax)
