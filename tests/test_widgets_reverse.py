"""ReverseExplorer, WhereFrom, FlowMap: frames against exact laws by another route, with planted faults that show."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import special, stats

from sdelab import Reverse, distributions
from sdelab.process import VE, VP, RectifiedFlow
from sdelab.widgets import FlowMap, ReverseExplorer, WhereFrom, choices, flow_map, reverse_explorer
from sdelab.widgets.packing import unpack
from sdelab.widgets.player import plain

ONE = {"gaussian": distributions.gaussian(std=0.6)}


# ---- ReverseExplorer


def explorer(crowd: int = 20_000, **about) -> ReverseExplorer:
    about = {"laws": ("ring",), "law": "ring", "particles": 30, "steps": 6, "seed": 3, "precompute": ()} | about
    return ReverseExplorer(crowd=crowd, **about)


@pytest.mark.parametrize(
    ("process", "eta"), [("vp", 0.0), ("vp", 1.0), ("vp", 2.0), ("ve", 0.0), ("ve", 1.0), ("flow", 0.0), ("flow", 1.0)]
)
def test_every_eta_has_the_marginals_of_the_forward_process(process, eta, monkeypatch):
    """Variances at every frame, 4.5 standard errors of a normal crowd (flatter laws have smaller); 4 % wider fails."""
    monkeypatch.setattr(reverse_explorer, "STEP", 0.05)
    n = 20_000
    widget = explorer(n, process=process, eta=eta)
    times, x = widget.paths()
    assert times[0] == widget.process().T and times[-1] == 0
    for t, states in zip(times.tolist(), x, strict=True):
        exact = widget.law().at(widget.process(), t).cov
        error = 4.5 * (2 / n) ** 0.5 * float(exact[0, 0])
        for i in (0, 1):
            assert abs(float(states[:, i].var()) - float(exact[i, i])) < error, (t, i)
        assert abs(float((1.04 * states).var(0).mean()) - float(exact[0, 0])) > error, t


@pytest.mark.parametrize("process", ["vp", "ve", "flow"])
def test_histogram_is_that_of_the_exact_law(process, monkeypatch):
    """Chi-squared of the counts with scipy's normal distribution function, where 20 or more are expected."""
    monkeypatch.setattr(reverse_explorer, "STEP", 0.05)
    n = 20_000
    widget = explorer(n, process=process, eta=1.0)
    frames, law, made = widget.frames(), widget.law(), widget.process()
    fault = {}
    for k, t in enumerate(frames["t"].tolist()):
        alpha, sigma, half = float(made.alpha(t)), float(made.sigma(t)), float(frames["half"][k])
        scale = np.sqrt(alpha**2 * 0.1**2 + sigma**2)
        edges = np.linspace(-half, half, 25)[:, None]
        shares = np.diff(stats.norm.cdf(edges, alpha * law.means[:, 0].numpy(), scale) @ law.weights.numpy())
        counts = frames["counts"].values[k]
        assert counts.sum() <= n
        few = shares * n < 20
        observed = np.array([*counts[~few], n - counts[~few].sum()])
        expected = n * np.array([*shares[~few], 1 - shares[~few].sum()])
        if expected[-1] < 20:
            observed, expected = observed[:-1], expected[:-1] * observed[:-1].sum() / expected[:-1].sum()
        assert stats.chisquare(observed, expected).pvalue > 1e-5, t
        shifted = np.roll(shares, 1)[~few]
        fault[t] = stats.chisquare(counts[~few], shifted / shifted.sum() * counts[~few].sum()).pvalue
        assert np.abs(counts / n - shares).sum() / 2 == pytest.approx(float(frames["tv"][k]), abs=1e-9)
        assert 0.3 < float(frames["tv"][k] / frames["chance"][k]) < 2.2
    assert max(fault.values()) < 1e-5  # bars one place further on


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_distance_shows_a_wrong_score(monkeypatch, eta):
    """A score 20 % too large: the particles leave the exact law."""
    frames = explorer(4000, eta=eta).frames()
    assert float((frames["tv"] / frames["chance"]).max()) < 2.2

    def wrong(process, denoise, eta):
        return Reverse(process, lambda x, t: 1.2 * denoise(x, t) - 0.2 * x / float(process.alpha(t)), eta)

    monkeypatch.setattr(reverse_explorer, "Reverse", wrong)
    frames = explorer(4000, eta=eta).frames()
    assert float((frames["tv"] / frames["chance"]).max()) > 4


@pytest.mark.parametrize("process", [VE(sigma_max=5.0), VP(beta_max=3.0)])
def test_same_marginals_other_joint_law(process):
    """Of Gaussian data corr(x_T, x_t) = c^(eta^2), c that of the forward process: alpha_T/alpha_t std_t/std_T."""
    n = 20_000
    for eta in (0.0, 0.5, 1.0, 1.5):
        about = {"laws": ONE, "law": "gaussian", "processes": {"mine": process}, "process": "mine", "eta": eta}
        frames = explorer(n, **about).frames()
        for k, t in enumerate(frames["t"].tolist()):
            alpha, alpha_T = float(process.alpha(t)), float(process.alpha(process.T))
            variance, variance_T = (a**2 * 0.36 + float(process.var(s)) for a, s in ((alpha, t), (alpha_T, process.T)))
            forward = alpha_T / alpha * math.sqrt(variance / variance_T)
            assert abs(float(frames["corr"][k]) - forward ** (eta**2)) < 4.5 / math.sqrt(n), (eta, t)
        wrong = forward ** (2 * eta**2)  # (1 + eta^2) g^2 in place of half of it, say
        assert eta not in (0.5, 1.0) or abs(float(frames["corr"][-1]) - wrong) > 4.5 / math.sqrt(n)


def test_every_eta_has_the_same_starts():
    first = {eta: plain(explorer(200, eta=eta).frames()["particles"])[0] for eta in (0.0, 1.0, 2.0)}
    np.testing.assert_array_equal(first[0.0], first[2.0])
    last = {eta: plain(explorer(200, eta=eta).frames()["particles"])[-1] for eta in (0.0, 1.0)}
    assert np.abs(last[0.0] - last[1.0]).mean() > 0.1


def test_stored_etas_and_those_of_the_kernel():
    widget = ReverseExplorer(laws=("ring",), law="ring", processes=("vp",), eta=0.7, etas=(0, 1), crowd=50, particles=9,
                             steps=4)  # fmt: skip
    assert [entry["choice"]["eta"] for entry in widget.shelf] == [0.0, 0.7, 1.0]
    assert widget.picture == b""
    widget.choose(eta=1.35)
    header, frames = unpack(widget.picture)
    assert header["choice"]["eta"] == 1.35
    assert frames["particles"].shape == (5, 9, 2) and frames["counts"].shape == (5, reverse_explorer.BINS)
    assert {len(frames[name]) for name in ("t", "alpha", "sigma", "half", "tv", "chance", "corr")} == {5}
    exact = plain(widget.frames()["particles"])
    np.testing.assert_array_equal(frames["particles"], exact)


@pytest.mark.parametrize("process", ["subvp", "cosine", "edm", "ddpm"])
def test_other_processes_have_all_their_frames(process):
    widget = explorer(500, processes=(process,), process=process, eta=1.0)
    frames = widget.frames()
    assert len(frames["t"]) == 7 and frames["particles"].levels.shape == (7, 30, 2)
    assert float((frames["tv"] / frames["chance"]).max()) < 2.2
    assert len(FlowMap(processes=(process,), process=process, cells=2, steps=4, precompute=()).frames()["t"]) == 5


# ---- the law as the page gets it


def test_components_are_the_law():
    covs = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.4]]], dtype=torch.float64)
    law = distributions.GaussianMixture([1, 3], [[0.0, 1.0], [-1.0, 0.5]], covs)
    given = choices.components(law)
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    density = sum(
        w * stats.multivariate_normal(m, np.array([[a, b], [b, c]])).pdf(x[0])  # type: ignore[arg-type]
        for w, m, (a, b, c) in zip(*(given[name].tolist() for name in ("weights", "means", "covs")), strict=True)
    )
    assert density == pytest.approx(float(law.log_prob(x).exp()), rel=1e-12)


# ---- WhereFrom


@pytest.mark.parametrize("process", ["vp", "ve", "flow"])
@pytest.mark.parametrize("law", ["moons", "spiral"])
def test_posterior_is_that_of_the_empirical_law(law, process):
    widget = WhereFrom(law, process, precompute=())
    data, made = widget.data(), widget.process()
    exact = distributions.empirical(data)
    for t in (0.05, 0.3, 0.9):
        for x in ([0.0, 0.0], [1.3, -0.4], [-2.0, 2.0]):
            found = widget.posterior(x, t)
            at = torch.tensor([x], dtype=torch.float64)
            torch.testing.assert_close(found["D"], exact.denoiser(made)(at, t)[0], rtol=1e-9, atol=1e-10)
            torch.testing.assert_close(found["score"], exact.at(made, t).score(at)[0], rtol=1e-8, atol=1e-9)
            alpha, sigma = float(made.alpha(t)), float(made.sigma(t))
            joint = stats.norm.logpdf(np.array(x), alpha * data.numpy(), sigma).sum(1)  # Bayes, equal prior weights
            weights = np.exp(joint - special.logsumexp(joint))
            np.testing.assert_allclose(found["weights"], weights, rtol=1e-8, atol=1e-12)
            assert found["candidates"] == pytest.approx(np.exp(stats.entropy(weights)), rel=1e-9)
            # the score is the mean of the targets of denoising score matching, and not the target of the likeliest
            targets = (alpha * data.numpy() - x) / sigma**2
            np.testing.assert_allclose(found["score"], weights @ targets, rtol=1e-8, atol=1e-8)
            if found["candidates"] > 2:
                assert np.abs(targets[weights.argmax()] - found["score"].numpy()).max() > 1e-3


def test_candidates_run_from_one_to_all():
    widget = WhereFrom(points=80, precompute=())
    near = widget.data()[7] * float(widget.process().alpha(0.001))
    assert widget.posterior(near, 0.001)["candidates"] < 1.5
    assert int(widget.posterior(near, 0.001)["weights"].argmax()) == 7
    assert widget.posterior(near, 1.0)["candidates"] == pytest.approx(80, rel=1e-3)


def test_own_data_and_the_point_shown():
    data = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.5]])
    widget = WhereFrom("mine", laws={"mine": data}, point=(0.5, 0.25), steps=8, frame=3)
    assert torch.equal(widget.data(), data.double())
    t = float(widget.times()[3])
    torch.testing.assert_close(widget.posterior()["weights"], widget.posterior((0.5, 0.25), t)["weights"])
    _, frames = unpack(widget.library)
    np.testing.assert_array_equal(frames["means"], data)
    assert frames["t"].shape == (8,) and (np.diff(frames["t"]) > 0).all() and frames["sigma"].min() > 0
    widget.set_state({"point": [-1.0, 0.5]})  # as the page tells it
    assert int(widget.posterior(t=0.01)["weights"].argmax()) == 2


# ---- FlowMap


def conserved(widget: FlowMap) -> np.ndarray:
    """log of p_T(z) dz / (p_t(x) dx) for small triangles, (F, n): 0 along the flow, whatever the law."""
    z = widget.law().at(widget.process(), widget.process().T).sample(40, seed=1, dtype=torch.float64)
    h = 1e-6
    corners = torch.cat([z, z + torch.tensor([h, 0.0]), z + torch.tensor([0.0, h])])
    a, b, c = widget.carry(corners).unflatten(1, (3, 40)).unbind(1)
    u, v = b - a, c - a
    area = (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / h**2  # signed: the map keeps the orientation
    at = [widget.law().at(widget.process(), t).log_prob(x) for t, x in zip(widget.times().tolist(), a, strict=True)]
    return (at[0] - torch.stack(at) - area.log()).numpy()


@pytest.mark.parametrize("process", ["vp", "ve", "flow"])
@pytest.mark.parametrize("law", ["ring", "moons"])
def test_flow_conserves_probability(law, process, monkeypatch):
    widget = FlowMap(law, process, precompute=())
    as_shown = np.abs(conserved(widget))
    assert np.median(as_shown) < 0.01 and np.quantile(as_shown, 0.9) < 0.05
    monkeypatch.setattr(flow_map, "STEP", 0.02)
    finer = np.abs(conserved(widget))
    assert finer[-1].max() < 0.03 and finer[:-1].max() < 0.015


def test_conservation_shows_a_wrong_score(monkeypatch):
    """A denoiser 3 % too small: the areas no longer agree with the density."""
    monkeypatch.setattr(
        flow_map, "Reverse", lambda process, denoise, eta: Reverse(process, lambda x, t: 0.97 * denoise(x, t), eta)
    )
    assert np.median(np.abs(conserved(FlowMap("ring", "vp", steps=6, precompute=()))[-1])) > 0.1


@pytest.mark.parametrize("process", ["vp", "ve", "flow"])
def test_cells_carry_equal_mass_and_tell_the_likelihood(process):
    """From the frames as stored: masses by the normal distribution function, areas by the shoelace rule."""
    widget = FlowMap("moons", process, steps=8, precompute=())
    law, made = widget.law(), widget.process()
    lines = widget.noise()[0, ::2, 0].numpy()
    noise = law.at(made, made.T)
    below = special.ndtr((lines[:, None, None] - noise.means.numpy()) / np.sqrt(noise.covs[0, 0, 0].item()))
    columns, rows = np.diff(below, axis=0).transpose(2, 0, 1)
    masses = np.einsum("k,rk,ck->rc", noise.weights.numpy(), rows, columns)
    assert np.abs(masses / widget.mass - 1).max() < (0.06 if process == "ve" else 1e-3)
    assert masses.sum() == pytest.approx(0.99**2, rel=1e-3)

    _, frames = unpack(widget.picture)
    differences = []
    for k, t in enumerate(frames["t"].tolist()):
        mesh = frames["half"][k] * frames["mesh"][k]
        x, y = flow_map.outlines(mesh).transpose(2, 0, 1)
        area = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1) / 2
        centres = torch.from_numpy(mesh[1::2, 1::2].reshape(-1, 2))
        differences.append(np.log(widget.mass / np.abs(area)) - law.at(made, t).log_prob(centres).numpy())
        if k == 0:
            assert (area > 0).all()
            assert area.sum() == pytest.approx((lines[-1] - lines[0]) ** 2, rel=2e-3)
    # cells are small where the density is smooth; at t = 0 they are as wide as the moons
    assert all(np.median(np.abs(each)) < 0.12 for each in differences)
    assert all(np.median(np.abs(each + np.log(1.4))) > 0.12 for each in differences)  # masses 40 % off
    assert np.median(np.abs(differences[0])) < 0.02 < np.median(np.abs(differences[0] + np.log(1.05)))


def test_gaussian_data_is_stretched_alike_everywhere():
    """The flow of N(0, s^2) is x = z std_0/std_T, a closed form."""
    process = VE(sigma_max=5.0)
    widget = FlowMap("gaussian", "ve", laws=ONE, processes={"ve": process}, cells=4, steps=5, precompute=())
    z = widget.noise().reshape(-1, 2)
    x = widget.carry(z)
    for t, states in zip(widget.times().tolist(), x, strict=True):
        factor = math.sqrt((0.36 + float(process.var(t))) / (0.36 + float(process.var(1.0))))
        torch.testing.assert_close(states, factor * z, rtol=4e-3, atol=1e-4)


def test_other_choices_are_computed_when_asked_for():
    widget = FlowMap(laws=("ring", "grid"), law="ring", cells=3, steps=4, precompute=[{}])
    widget.choose(law="grid", process="flow")
    _, frames = unpack(widget.picture)
    assert frames["mesh"].shape == (5, 7, 7, 2) and frames["weights"].shape == (9,)
    assert frames["t"][0] == 1 and frames["t"][-1] == 0 and RectifiedFlow.T == 1


# ---- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReverseExplorer("rign", precompute=()), "unknown law 'rign'; did you mean 'ring'"),
        (lambda: ReverseExplorer(processes=["vpp"], precompute=()), "unknown process 'vpp'; did you mean 'vp'"),
        (lambda: ReverseExplorer(eta=2.5, precompute=()), "eta is a number from 0 to 2; got 2.5"),
        (lambda: ReverseExplorer(crowd=10, particles=20), "crowd is a whole number of at least 20; got 10"),
        (lambda: ReverseExplorer(laws={"cube": distributions.gaussian((0, 0, 0))}), "law 'cube' has dimension 3"),
        (
            lambda: FlowMap(laws={"dots": distributions.empirical(torch.zeros(2, 2))}),
            "law 'dots' has a component without a density",
        ),
        (lambda: FlowMap("ring", laws=["moons", "rings"]), "unknown law 'rings'; did you mean 'ring'"),
        (lambda: FlowMap(cells=1), "cells is a whole number of at least 2; got 1"),
        (lambda: FlowMap(cells=4, cell=(4, 0), precompute=()), "cell is a column and a row from 0 to 3, not [4, 0]"),
        (lambda: WhereFrom(laws={"one": torch.zeros(1, 2)}), "data 'one' must be at least two finite points"),
        (lambda: WhereFrom(laws={"line": torch.zeros(5)}), "data 'line' must be at least two finite points"),
        (lambda: WhereFrom(point=(1.0, math.nan), precompute=()), "point is two finite numbers"),
        (lambda: WhereFrom(precompute=()).posterior((0.0, 0.0), 0.0), "at t = 0.0 there is no noise: take t > 0"),
        (lambda: WhereFrom(precompute=()).posterior((0.0, 0.0, 1.0), 0.5), "x is a point of the plane"),
        (lambda: WhereFrom("moon", precompute=()), "unknown law 'moon'; did you mean 'moons'"),
    ],
)
def test_errors_name_what_was_wrong(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    "make",
    [lambda: FlowMap(laws={"ring": torch.zeros(3, 2)}), lambda: ReverseExplorer(processes={"vp": "vp"}, precompute=())],
)
def test_errors_of_kind(make):
    with pytest.raises(TypeError, match="must be a"):
        make()
