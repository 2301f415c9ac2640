"""Encodings against the closed form of Gaussian laws, round trips, and the ways between two encodings."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial import geometric_slerp

import sdelab as sd
from sdelab.encoding import Angle, decode, encode, interpolate, span

F64 = torch.float64
NAMES = ("vp", "subvp", "ve", "edm", "cosine", "flow", "zero_snr", "trig", "trigflow", "polynomial")
PROCESSES = [sd.process.make(name) for name in (*NAMES, "ddpm", "sd", "sd_zero_snr")]
by_name = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
MEAN = torch.tensor([0.7, -1.1, 0.2], dtype=F64)
X = sd.noise.normal((6, 3), 1, dtype=F64)


def gaussian(process):
    """N(MEAN, C), and its flow in closed form: along an axis of variance c, x_t - alpha_t m grows as its deviation."""
    A = sd.noise.normal((3, 3), 2, dtype=F64)
    C = 0.3 * A @ A.T + 0.02 * torch.eye(3, dtype=F64)
    c, Q = torch.linalg.eigh(C)
    law = sd.distributions.GaussianMixture([1.0], MEAN[None], C[None])

    def exact(x, s, t):
        alpha, var = ([float(f(u)) for u in (s, t)] for f in (process.alpha, process.var))
        before, after = (a * a * c + v for a, v in zip(alpha, var, strict=True))
        return alpha[1] * MEAN + (x - alpha[0] * MEAN) @ Q * (after / before).sqrt() @ Q.T

    return sd.Reverse(process, law.denoiser(process), 0.0), exact


# --- there and back ---------------------------------------------------------------------------------------------------
@by_name
@pytest.mark.parametrize("low", [None, 0.0], ids=["t_min", "zero"])
def test_encodings_and_decodings_of_a_gaussian_law_are_the_closed_form(process, low):
    ode, exact = gaussian(process)
    s = process.t_min if low is None else low
    scale = float(process.sigma(process.T))
    run = {"rtol": 1e-8, "atol": 1e-8}
    z = exact(X, s, process.T)
    assert (encode(ode, X, t_start=low, **run) - z).abs().max() < 1e-6 * scale
    x = decode(ode, z, t_end=low, **run)
    assert (x - X).abs().max() < 1e-6
    assert (encode(ode, 1.0003 * X, t_start=low, **run) - z).abs().max() > 1e-5 * scale  # what 1e-6 tells apart


def test_rounding_beyond_the_ends_of_a_run_is_taken_back():
    """A stage at s + 1.0 h may lie an ulp beyond pi/2, where the tangent is negative, or before the first time."""
    process = sd.process.RectifiedFlow()
    way = Angle(gaussian(process)[0], [0.25, 1.0])
    assert way.at(0.5 * math.pi * (1 + 1e-15)) == way.at(math.inf) == (1.0, 1.0)
    assert way.at(math.nextafter(way.phis[0], 0)) == (0.25, math.hypot(0.75, 0.25))
    assert abs(way.at(0.25 * math.pi)[0] - 0.5) < 1e-15
    assert span(way.ode, None, [0.25, 1 + 5e-8]) == [0.25, 1.0]  # a T that went through single precision


def test_round_trip_to_the_tolerance():
    law, process = sd.distributions.moons(), sd.process.VP()
    ode, x = sd.Reverse(process, law.denoiser(process), 0.0), law.sample(100, seed=3, dtype=F64)
    errors = []
    for tol in (1e-4, 1e-6, 1e-8):
        run = {"rtol": tol, "atol": tol}
        errors.append(float((decode(ode, encode(ode, x, **run), **run) - x).abs().max()))
        assert errors[-1] < 100 * tol
    assert errors[0] > 1e-7 and errors[0] > 100 * errors[2]  # it is the tolerance that decides


def test_one_encoding_for_every_process():
    """In u the flow is one and the same: from t = 0 all processes without data left at T give one encoding, up to the
    noise's deviation there."""
    law = sd.distributions.ring()
    x = law.sample(20, seed=3, dtype=F64)
    zs = []
    for name in ("flow", "trig", "polynomial", "zero_snr", "sd_zero_snr"):
        process = sd.process.make(name)
        ode = sd.Reverse(process, law.denoiser(process), 0.0)
        zs.append(encode(ode, x, t_start=0.0, rtol=1e-8, atol=1e-8) / float(process.sigma(process.T)))
    assert max(float((z - zs[0]).abs().max()) for z in zs) < 1e-6


@pytest.mark.parametrize("process", PROCESSES[: len(NAMES)], ids=lambda p: p.name)
def test_the_field_is_that_of_the_reverse_equation(process):
    """Against a run of sd.solve in t itself (where the drift of a chain would have a kink at each of its knots)."""
    law = sd.distributions.ring()
    ode = sd.Reverse(process, law.denoiser(process), 0.0)
    low, high = 0.3 * process.T, 0.8 * process.T
    x = law.at(process, high).sample(10, seed=3, dtype=F64)
    there = sd.solve(ode, sd.Adaptive(sd.Dopri5(), 1e-9, 1e-9), x, [high, low])
    ours = decode(ode, x, times=[high, low], solver=sd.Adaptive(sd.Dopri5(), 1e-9, 1e-9))
    assert (ours - there).abs().max() < 1e-6 * float(x.abs().max())


def test_fixed_grids_gradients_and_precision():
    process = sd.process.RectifiedFlow()
    ode, exact = gaussian(process)
    times = torch.linspace(0.0, 1.0, 101, dtype=F64)
    z = exact(X, 0.0, 1.0)
    assert (encode(ode, X, times=times) - z).abs().max() < 1e-5
    assert (decode(ode, z, times=times.flip(0)) - X).abs().max() < 1e-5
    euler = (encode(ode, X, times=times, solver=sd.Euler()) - z).abs().max()
    assert 1e-2 < euler < 1
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(encode(ode, x, times=times)[:, 0].sum(), x)
    h = 1e-3 * torch.eye(3, dtype=F64)
    slope = torch.stack([(exact(X + e, 0.0, 1.0) - exact(X - e, 0.0, 1.0))[:, 0] / 2e-3 for e in h], 1)
    assert (g - slope).abs().max() < 1e-4
    single = encode(ode, X.float(), t_start=0.0)
    assert single.dtype == torch.float32 and (single - z).abs().max() < 1e-4


# --- between two encodings --------------------------------------------------------------------------------------------
Z0, Z1 = sd.noise.normals((4000, 64), 5, (0, 1), dtype=F64)
WEIGHTS = torch.linspace(0, 1, 9, dtype=F64)


@pytest.mark.parametrize("kind", ["spherical", "gaussian", "linear"])
def test_every_way_starts_and_ends_at_its_ends(kind):
    z = Z0[:12].reshape(3, 4, 8, 8), Z1[:12].reshape(3, 4, 8, 8)
    out = interpolate(*z, [0.0, 0.5, 1.0], kind)
    assert out.shape == (3, 3, 4, 8, 8)
    assert (out[0] - z[0]).abs().max() < 1e-14 and (out[2] - z[1]).abs().max() < 1e-14
    assert (interpolate(z[0], z[0], [0.3], "spherical")[0] - z[0]).abs().max() < 1e-14
    assert torch.equal(interpolate(z[0], 2 * z[0], [0.3], "linear")[0], 0.7 * z[0] + 0.3 * (2 * z[0]))


def test_spherical_is_scipys_on_the_sphere_and_keeps_the_norm():
    e0, e1 = (z / z.norm(dim=1, keepdim=True) for z in (Z0[:20, :3], Z1[:20, :3]))
    ours = interpolate(e0, e1, WEIGHTS)
    for i in range(20):
        scipys = geometric_slerp(e0[i].numpy(), e1[i].numpy(), WEIGHTS.numpy())
        assert np.abs(ours[:, i].numpy() - scipys).max() < 1e-12
    assert (ours.norm(dim=2) - 1).abs().max() < 1e-13
    assert (interpolate(3 * e0, 3 * e1, WEIGHTS) - 3 * ours).abs().max() < 1e-13
    near = e0 + 1e-9 * e1
    assert (interpolate(e0, near, [0.5])[0] - 0.5 * (e0 + near)).abs().max() < 1e-14


def shell(z):
    """p-value of |z|^2 being chi-squared with as many degrees of freedom as dimensions."""
    return stats.kstest(z.square().sum(1).numpy(), stats.chi2(z.shape[1]).cdf).pvalue


def mean_is(z, share):
    """Whether the mean of |z|^2 is ``share`` of the prior's, at level 1e-5."""
    q = z.square().sum(1)
    return abs(float(q.mean()) - share * z.shape[1]) < float(stats.norm.isf(0.5e-5)) * float(q.std()) / math.sqrt(
        len(q)
    )


def test_norms_between_independent_encodings():
    """The prior's own law ("gaussian"); its mean norm, and half its variance in the middle ("spherical"); half of the
    mean in the middle ("linear")."""
    ways = {kind: interpolate(Z0, Z1, [0.25, 0.5], kind) for kind in ("spherical", "gaussian", "linear")}
    assert shell(Z0) > 1e-5 and all(shell(z) > 1e-5 for z in ways["gaussian"])
    assert all(mean_is(z, 1.0) for kind in ("spherical", "gaussian") for z in ways[kind])
    assert not any(mean_is(1.03 * z, 1.0) for kind in ("spherical", "gaussian") for z in ways[kind])  # planted
    assert mean_is(ways["linear"][0], 0.625) and mean_is(ways["linear"][1], 0.5)
    assert shell(ways["linear"][1]) < 1e-5 and shell(ways["spherical"][1]) < 1e-5
    half = ways["spherical"][1].square().sum(1).var() / (2 * 64)
    assert 0.45 < half < 0.55
    gone = ways["linear"][1].norm(dim=1) < 0.8 * 8  # the ends never are: chi-squared below 0.64 * 64 has mass 0.01
    assert gone.double().mean() > 0.9 and (Z0.norm(dim=1) < 0.8 * 8).double().mean() < 0.03
    assert (ways["spherical"][1].norm(dim=1) < 0.8 * 8).double().mean() < 0.03


def test_messages():
    process = sd.process.VP()
    ode = sd.Reverse(process, lambda x, t: x, 0.0)
    z = Z0[:3]
    for told, call in [
        ("no inverse", lambda: encode(sd.Reverse(process, lambda x, t: x, 0.5), X)),
        ("no inverse", lambda: decode(sd.Reverse(process, lambda x, t: x, 0.5), X)),
        ("from noise to data to decode", lambda: decode(ode, X, times=[0.1, 1.0])),
        ("from data to noise to encode", lambda: encode(ode, X, times=[1.0, 0.1])),
        ("give either times or", lambda: decode(ode, X, t_end=0.1, times=[1.0, 0.1])),
        ("not at t = -0.1", lambda: decode(ode, X, t_end=-0.1)),
        ("Euler takes the steps it is given", lambda: decode(ode, X, solver=sd.Euler())),
        ("needs a Reverse equation", lambda: encode(ode, X, times=[0.1, 1.0], solver=sd.ExpEuler())),
        ("must have one shape", lambda: interpolate(z, z[:2], [0.5])),
        ("vector of finite numbers", lambda: interpolate(z, z, 0.5)),
        ("vector of finite numbers", lambda: interpolate(z, z, [math.nan])),
        ("did you mean 'spherical'", lambda: interpolate(z, z, [0.5], "sphericl")),
        ("opposite directions", lambda: interpolate(z, -2 * z, [0.5])),
        ("opposite directions", lambda: interpolate(z.float(), -2 * z.float(), [0.5])),
        ("norm 0", lambda: interpolate(z, 0 * z, [0.5])),
        ("z1 holds NaN", lambda: interpolate(z, z * math.nan, [0.5])),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=told):
            call()
    with pytest.raises(TypeError, match="Reverse with eta = 0, not OU"):
        encode(sd.OU(), X)  # pyright: ignore[reportArgumentType]
