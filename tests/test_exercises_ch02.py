"""Every checker of chapter 2: right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import math

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed
from torch.nn.functional import pad


def d(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


def rhs(drift=-1.0, half=0.5, power=2):
    return lambda p, f, g, x: drift * d(f(x) * p(x), x) + half * d(d(g(x) ** power * p(x), x), x)


def ring(sign=1.0, uphill=1.0, divide=True, turn=1):
    def step(p, f_faces, D, dx, dt):
        right = torch.roll(p, -1)
        J = f_faces * (p + right) / 2 - uphill * D * (right - p) / dx
        change = (J - torch.roll(J, 1)) if turn == 1 else (torch.roll(J, -1) - J)
        return p - sign * dt / (dx if divide else 1) * change

    return step


def ring_closed(p, f_faces, D, dx, dt):
    J = f_faces[:-1] * (p[1:] + p[:-1]) / 2 - D * p.diff() / dx
    return p - dt / dx * pad(J, (1, 1)).diff()


def ring_leaky(p, f_faces, D, dx, dt):
    right, left = p.roll(-1), p.roll(1)
    return p + dt * (-f_faces * (right - left) / (2 * dx) + D * (right - 2 * p + left) / dx**2)


def ring_wrong_face(p, f_faces, D, dx, dt):
    J = f_faces * (p + p.roll(1)) / 2 - D * (p - p.roll(1)) / dx
    return p - dt / dx * (J.roll(-1) - J)


def ring_flux(flux):
    def step(p, f_faces, D, dx, dt):
        J = flux(p, p.roll(-1), f_faces, D, dx)
        return p - dt / dx * (J - J.roll(1))

    return step


def bernoulli(p, right, f, D, dx):
    """The fitted flux in its other form, D/dx (B(-z) p - B(z) right), B(z) = z / (e^z - 1)."""
    z = f * dx / D
    return D / dx * (-z / torch.expm1(-z) * p - z / torch.expm1(z) * right)


def flux_step(p, x, f, D, dt, sign=1.0):
    dx = x[1] - x[0]
    J = f((x[1:] + x[:-1]) / 2) * (p[1:] + p[:-1]) / 2 - D * p.diff() / dx
    return p - sign * dt / dx * pad(J, (1, 1)).diff()


def fitted_step(p, x, f, D, dt):
    dx = x[1] - x[0]
    c = f((x[1:] + x[:-1]) / 2)
    e = torch.exp(-c * dx / D)
    J = torch.where(c.abs() < 1e-9, -D * p.diff() / dx, c * (p[:-1] - e * p[1:]) / (1 - e))
    return p - dt / dx * pad(J, (1, 1)).diff()


def expanded(p, x, f, D, dt, product_rule=True):
    dx = x[1] - x[0]
    q = pad(p, (1, 1))
    y = x.clone().requires_grad_()
    change = -f(x) * (q[2:] - q[:-2]) / (2 * dx) + D * (q[2:] - 2 * p + q[:-2]) / dx**2
    return p + dt * (change - product_rule * d(f(y), y).detach() * p)


def colleague(p, x, f, D, dt):
    p = expanded(p, x, f, D, dt, product_rule=False)
    return p / (p.sum() * (x[1] - x[0]))


def colleague_old_mass(p, x, f, D, dt):
    q = expanded(p, x, f, D, dt, product_rule=False)
    return q * p.sum() / q.sum()


def centred_open(p, x, f, D, dt):
    dx = x[1] - x[0]
    fp, q = pad(f(x) * p, (1, 1)), pad(p, (1, 1))
    return p + dt * (-(fp[2:] - fp[:-2]) / (2 * dx) + D * (q[2:] - 2 * p + q[:-2]) / dx**2)


def open_walls(p, x, f, D, dt):
    dx = x[1] - x[0]
    J = f((x[1:] + x[:-1]) / 2) * (p[1:] + p[:-1]) / 2 - D * p.diff() / dx
    return p - dt / dx * torch.cat([-p[:1], J, p[-1:]]).diff()


def gibbs(exponent, unit=True, dx=True):
    def density(V, g, x):
        p = torch.exp(exponent(V(x), g))
        return p / (p.sum() * ((x[1] - x[0]) if dx else 1)) if unit else p

    return density


def safe_gibbs(V, g, x):
    log_p = -2 * V(x) / g**2
    p = torch.exp(log_p - log_p.max())
    return p / (p.sum() * (x[1] - x[0]))


def velocity(factor=-0.5, of=lambda p, t: p.g2(t)):
    return lambda x, t, p, score: p.f(t) * x + factor * of(p, t) * score(x, t)


def value(mean2, var):
    return lambda x, t: mean2(1 - t) * x**2 + var(1 - t)


def E2(s):
    return math.exp(-2 * s)


RIGHT = {
    "ch02-rhs": [rhs()],
    "ch02-ring": [ring()],
    "ch02-fault": [flux_step, fitted_step],
    "ch02-stationary": [safe_gibbs],
    "ch02-velocity": [velocity(), lambda x, t, p, score: p.f(t) * x - p.g(t) ** 2 * score(x, t) / 2],
    "ch02-backward": [value(E2, lambda s: 1 - E2(s)), lambda x, t: 1 + torch.exp(-2 * (1 - t)) * (x**2 - 1)],
}

MUTANTS = [
    ("ch02-rhs", rhs(drift=1.0), "drift term has the wrong sign"),
    ("ch02-rhs", rhs(half=-0.5), "two minuses cancel"),
    ("ch02-rhs", rhs(half=1.0), "1/2 missing"),
    ("ch02-rhs", rhs(power=1), "g is not squared"),
    ("ch02-rhs", rhs(half=0.0), "diffusion term is missing"),
    ("ch02-rhs", rhs(drift=0.0), "drift term is missing"),
    ("ch02-rhs", rhs(drift=1.0, half=-0.5), "-dp/dt"),
    ("ch02-rhs", lambda p, f, g, x: -d(f(x) * p(x), x) + g(x) ** 2 * d(d(p(x), x), x) / 2, "outside the second"),
    ("ch02-rhs", lambda p, f, g, x: -f(x) * d(p(x), x) + d(d(g(x) ** 2 * p(x), x), x) / 2, "-f' p is missing"),
    ("ch02-rhs", lambda p, f, g, x: f(x) * d(p(x), x) + g(x) ** 2 * d(d(p(x), x), x) / 2, "generator"),
    ("ch02-rhs", lambda p, f, g, x: -d(f(x) * p(x), x) + d(g(x) ** 2 * d(p(x), x), x) / 2, "between the derivatives"),
    ("ch02-rhs", lambda p, f, g, x: -d(f(x) * p(x), x) + d(g(x) * d(g(x) * p(x), x), x) / 2, "Stratonovich"),
    ("ch02-ring", ring(turn=-1), "roll goes the wrong way"),
    ("ch02-ring", ring(sign=-1.0), "leaves the cell"),
    ("ch02-ring", ring(uphill=-1.0), "uphill"),
    ("ch02-ring", ring(divide=False), "divide the difference"),
    ("ch02-ring", ring_closed, "the ends are closed"),
    ("ch02-ring", ring_leaky, "mass is not kept"),
    ("ch02-ring", ring_wrong_face, "between cells i and i+1"),
    ("ch02-ring", lambda p, *a: ring()(p, *a) - p, "add it to p"),
    ("ch02-ring", ring_flux(lambda p, r, f, D, dx: f * (p + r) - D * (r - p) / dx), "half their sum"),
    ("ch02-ring", ring_flux(lambda p, r, f, D, dx: f * (p + r) / 2 - D * (r - p)), "divided by dx"),
    ("ch02-ring", ring_flux(lambda p, r, f, D, dx: f * p - D * (r - p) / dx), "p_i alone"),
    ("ch02-ring", ring_flux(bernoulli), "fitted flux"),
    ("ch02-fault", colleague, "still normalises"),
    ("ch02-fault", colleague_old_mass, "still missing, and normalising"),
    ("ch02-fault", centred_open, "outer walls"),
    ("ch02-fault", lambda *a: expanded(*a, product_rule=False), "-f' p is still missing"),
    ("ch02-fault", expanded, "mass changes at rate"),
    ("ch02-fault", open_walls, "outer walls"),
    ("ch02-fault", lambda *a: flux_step(*a, sign=-1.0), "back in time"),
    ("ch02-stationary", gibbs(lambda V, g: -V / g**2), "half the right one"),
    ("ch02-stationary", gibbs(lambda V, g: -4 * V / g**2), "twice the right one"),
    ("ch02-stationary", gibbs(lambda V, g: -2 * V / g), "not squared"),
    ("ch02-stationary", gibbs(lambda V, g: -V), "noise does not enter"),
    ("ch02-stationary", gibbs(lambda V, g: 2 * V / g**2), "sign of V"),
    ("ch02-stationary", gibbs(lambda V, g: -2 * V / g**2, dx=False), "sum to 1"),
    ("ch02-stationary", gibbs(lambda V, g: -2 * V / g**2, unit=False), "not normalised"),
    ("ch02-stationary", gibbs(lambda V, g: -2 * V / g**2), "underflows"),
    ("ch02-velocity", velocity(-1.0), "reverse SDE"),
    ("ch02-velocity", velocity(0.5), "sign of the score"),
    ("ch02-velocity", velocity(of=lambda p, t: p.g(t)), "g is not squared"),
    ("ch02-velocity", velocity(of=lambda p, t: p.g2(t) ** 2), "squared already"),
    ("ch02-velocity", lambda x, t, p, score: p.f(t) - p.g2(t) * score(x, t) / 2, "multiply it by x"),
    ("ch02-velocity", lambda x, t, p, score: -p.g2(t) * score(x, t) / 2, "f x is missing"),
    ("ch02-velocity", lambda *a: -velocity()(*a), "time reversed"),
    ("ch02-velocity", lambda x, t, p, score: -p.f(t) * x + p.g2(t) * score(x, t), "in reversed time"),
    ("ch02-backward", lambda x, t: x * E2((1 - t) / 2), "the mean of X_T"),
    ("ch02-backward", value(E2, lambda s: (1 - E2(s)) / 2), "half the exact one"),
    ("ch02-backward", value(lambda s: E2(-s), lambda s: 1 - E2(-s)), "exponent's sign"),
    ("ch02-backward", lambda x, t: E2(t) * x**2 + 1 - E2(t), "time to go"),
    ("ch02-backward", value(E2, lambda s: 0.0), "variance is missing"),
    ("ch02-backward", value(E2, lambda s: 2 * (1 - E2(s))), "twice the exact one"),
    ("ch02-backward", value(lambda s: E2(s / 2), lambda s: 1 - E2(s)), "must be squared"),
    ("ch02-backward", value(lambda s: E2(s / 2), lambda s: 1 - E2(s / 2)), "variance decays"),
    ("ch02-backward", value(lambda s: 1.0, lambda s: 2 * s), "drift -X is missing"),
    ("ch02-backward", value(lambda s: 1.0, lambda s: 0.0), "h itself"),
    ("ch02-backward", value(lambda s: 1.0, lambda s: 1.0), "u(x, T) must be"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s}" for k, _, s in MUTANTS])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    assert_nonsense_is_told(key, RIGHT[key][0], capsys)


NAMES = {
    "rhs": "my_rhs", "ring": "my_ring_step", "fault": "my_repair", "stationary": "my_stationary",
    "velocity": "my_velocity", "backward": "my_u",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "02_fokker_planck", {"torch": torch, "math": math, "d": d}, helper="def central(")
    for key, name in NAMES.items():
        assert_passes(f"ch02-{key}", space[name], capsys)
