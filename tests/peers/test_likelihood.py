"""Log-likelihoods and the probability-flow ODE against torchdiffeq, on the same network and in other coordinates."""

import math

import pytest
import torch
import torchdiffeq

import sdelab as sd
from tests.test_likelihood import Net

F64 = torch.float64
PROCESSES = [sd.process.VP(), sd.process.EDM(), sd.process.VE(), sd.process.RectifiedFlow()]
by_name = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
X = sd.noise.normal((5, 3), 1, dtype=F64)
LOW = 0.02  # as a fraction of T on VP and flow


def start(process):
    return 0.05 if process.name in ("ve", "edm") else LOW


def velocity(process, net, x, t):
    """dx/dt = f x - g^2/2 score in t and x (Song et al. 2021, eq. 13); where f is infinite, the flow's own formula."""
    t = float(t)
    D = net(x, t)
    if process.name == "flow":
        return (x - D) / t
    score = (float(process.alpha(t)) * D - x) / float(process.var(t))
    return float(process.f(t)) * x - 0.5 * float(process.g2(t)) * score


def trace(v, x):
    """The sum of the partial derivatives, coordinate by coordinate."""
    rows = [torch.autograd.grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return torch.stack(rows).sum(0)


def theirs(process, net, x, low, high):
    """(z, log p) by torchdiffeq's dopri5 on (x, int div v dt)."""

    def field(t, state):
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            v = velocity(process, net, x, t)
            return v.detach(), trace(v, x)

    ends = torch.tensor([low, high], dtype=F64)
    z, change = torchdiffeq.odeint(
        field, (x, torch.zeros(len(x), dtype=F64)), ends, rtol=1e-9, atol=1e-9, method="dopri5"
    )
    sigma = float(process.sigma(process.T))
    log_z = torch.distributions.Normal(torch.zeros(3, dtype=F64), sigma).log_prob(z[-1]).sum(1)
    return z[-1], log_z + change[-1]


@by_name
def test_likelihood_and_encoding_of_a_network(process):
    net, low, high = Net(process, 3), start(process), float(process.T)
    ode = sd.Reverse(process, net, 0.0)
    z, log_p = theirs(process, net, X, low, high)
    r = sd.likelihood.log_prob(ode, X, t_start=low, rtol=1e-9, atol=1e-9)
    scale = float(process.sigma(high))
    assert (r.value - log_p).abs().max() < 1e-6 and (r.z - z).abs().max() < 1e-6 * scale
    assert (sd.encoding.encode(ode, X, t_start=low, rtol=1e-9, atol=1e-9) - z).abs().max() < 1e-6 * scale
    off = sd.likelihood.log_prob(sd.Reverse(process, lambda x, t: 1.0001 * net(x, t), 0.0), X, t_start=low)
    assert (off.value - log_p).abs().max() > 1e-5  # what 1e-6 tells apart


@by_name
@torch.no_grad()
def test_decoding_by_the_probability_flow(process):
    net, low, high = Net(process, 3), start(process), float(process.T)
    z = X * float(process.sigma(high))
    ends = torch.tensor([high, low], dtype=F64)
    path = torchdiffeq.odeint(lambda t, x: velocity(process, net, x, t), z, ends, rtol=1e-9, atol=1e-9, method="dopri5")
    assert isinstance(path, torch.Tensor)
    x = path[-1]
    ode = sd.Reverse(process, net, 0.0)
    assert (sd.encoding.decode(ode, z, t_end=low, rtol=1e-9, atol=1e-9) - x).abs().max() < 1e-6
    ours = sd.solve(ode, sd.Adaptive(sd.Dopri5(), 1e-9, 1e-9), z, ends)
    assert (ours - x).abs().max() < 1e-6


def test_hutchinson_by_the_same_probes():
    """v' J v along their path, with our probes: each estimate is the same number, not merely the same on average."""
    process = sd.process.VP()
    net = Net(process, 3)
    v = sd.likelihood.draw_probes("gaussian", X.shape, 2, seed=4, dtype=F64)
    r = sd.likelihood.log_prob(sd.Reverse(process, net, 0.0), X, divergence="gaussian", probes=2, seed=4, t_start=LOW,
                               rtol=1e-9, atol=1e-9)  # fmt: skip

    # in x and t the field is r' u + r dphi/dt du/dphi: the term of r' has v'v where ours has the d of d log r
    def field(t, state):
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            f = velocity(process, net, x, t)
            s, a = float(process.sigma(t)), float(process.alpha(t))
            rate = (s * float(process.d_sigma(t)) + a * float(process.d_alpha(t))) / (a * a + s * s)
            rows = [(torch.autograd.grad(f, x, w, retain_graph=True)[0] * w).sum(1) - rate * (w * w).sum(1) for w in v]
            return f.detach(), torch.stack(rows)

    ends = torch.tensor([LOW, 1.0], dtype=F64)
    z, change = torchdiffeq.odeint(
        field, (X, torch.zeros(2, 5, dtype=F64)), ends, rtol=1e-9, atol=1e-9, method="dopri5"
    )
    sigma, radii = (
        float(process.sigma(1.0)),
        [math.hypot(float(process.alpha(t)), float(process.sigma(t))) for t in (LOW, 1)],
    )
    log_z = torch.distributions.Normal(torch.zeros(3, dtype=F64), sigma).log_prob(z[-1]).sum(1)
    assert (r.samples - (log_z + 3 * math.log(radii[1] / radii[0]) + change[-1])).abs().max() < 1e-6
