"""The notation table held to its own formulas, to round trips on every process, and to each system's definition."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import sdelab as sd
from sdelab import letters, notation

PROCESSES = {name: cls() for name, cls in sd.process.table.items()}
KEYS = [row.key for row in notation.TABLE]


def ours(process, t):
    """Every letter of ours that a row may ask for, at one time, straight from the process."""
    return {
        "alpha": float(process.alpha(t)),
        "sigma": float(process.sigma(t)),
        "lam": float(process.lam(t)),
        "d_alpha": float(process.d_alpha(t)),
        "d_sigma": float(process.d_sigma(t)),
        "alpha_next": float(process.alpha(min(1.01 * t, 0.99 * process.T))),
        "sigma_0": 0.01,
        "x": 1.3,
        "velocity": -0.7,
        "t": t,
        "T": process.T,
        "N": 1000,
    }


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 0.98))
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_every_row_comes_back_on_every_process(name, key, fraction):
    process, row = PROCESSES[name], notation.row(key)
    t = process.t_min + fraction * (process.T - process.t_min)
    if notation.applies(row, process, t):
        assert notation.faults(row, ours(process, t)) == []


@settings(max_examples=200, deadline=None)
@given(alpha=st.floats(1e-3, 1.0), sigma=st.floats(1e-6, 1e3), rate=st.floats(-50, 50), growth=st.floats(-50, 50))
def test_conversions_that_hold_for_any_pair(alpha, sigma, rate, growth):
    torch.testing.assert_close(letters.from_book(*letters.to_book(alpha, sigma))[1].item(), sigma, rtol=1e-12, atol=0)
    start = (alpha, sigma, rate, growth)
    back = [v.item() for v in letters.from_rates(*letters.to_rates(*start))]
    scale = max(1.0, abs(rate) * sigma / alpha, abs(growth))  # f sigma cancels inside sigma'
    assert max(abs(a - b) for a, b in zip(start, back, strict=True)) < 1e-12 * scale


@settings(max_examples=200, deadline=None)
@given(lam=st.floats(-12, 12))
def test_variance_preserving_pairs_come_back_from_lambda_integral_and_alpha_bar(lam):
    pair = letters.from_lambda(lam)
    assert letters.to_lambda(*pair)[0].item() == pytest.approx(lam, rel=1e-12, abs=1e-12)
    L = letters
    for there, back in ((L.to_vp_integral, L.from_vp_integral), (L.to_alpha_bar, L.from_alpha_bar)):
        torch.testing.assert_close(back(*there(*pair)), pair, rtol=1e-12, atol=1e-15)


# --- the same letters by each system's own definition ---------------------------------------------------------------
def book_by_quadrature(process, t, t0=1e-9):
    """p. 70: s = exp int f, sigma^2 = int g^2/s^2, integrated numerically from (almost) the data."""
    s = lambda u: math.exp(quad(lambda v: float(process.f(v)), 0.0, u, epsabs=1e-13, epsrel=1e-12)[0])  # noqa: E731
    variance = quad(lambda u: float(process.g2(u)) / s(u) ** 2, t0, t, epsabs=1e-13, epsrel=1e-11, limit=200)[0]
    return {"s": s(t), "sigma_book": math.sqrt(variance)}


@pytest.mark.parametrize("name", ["vp", "subvp", "cosine", "flow"])
def test_the_textbooks_letters_are_the_integrals_of_f_and_g(name):
    process, t = PROCESSES[name], 0.4
    assert notation.faults(notation.row("book"), ours(process, t), book_by_quadrature(process, t)) == []


def test_the_textbooks_sigma_taken_for_ours_is_caught():
    """The planted fault. Wrong both ways, it survives the round trip: only the definition catches it."""
    process, t = PROCESSES["vp"], 0.4
    same = lambda a, b: (letters._tensor(a), letters._tensor(b))  # noqa: E731
    formulas = {"forward": ("alpha", "sigma"), "inverse": ("s", "sigma_book")}
    wrong = replace(notation.row("book"), to_theirs=same, to_ours=same, **formulas)
    assert notation.faults(wrong, ours(process, t)) == []
    found = notation.faults(wrong, ours(process, t), book_by_quadrature(process, t))
    assert len(found) == 1 and "sigma_book" in found[0] and "by its definition" in found[0]


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_function_or_formula_is_caught_in_every_row(key):
    process, t = PROCESSES["vp"], 0.4
    row = notation.row(key)
    if not notation.applies(row, process, t):
        process, t = PROCESSES["edm"], 2.0
    values = ours(process, t)
    half = lambda function: lambda *a: tuple(v * 1.001 for v in map(letters._tensor, function(*a)))  # noqa: E731
    assert notation.faults(replace(row, to_theirs=half(row.to_theirs)), values)
    assert notation.faults(replace(row, to_ours=half(row.to_ours)), values)
    assert notation.faults(replace(row, forward=tuple(f"1.001*({f})" for f in row.forward)), values)
    assert notation.faults(replace(row, inverse=tuple(f"1.001*({f})" for f in row.inverse)), values)


def test_songs_vp_letters_by_definition():
    process, t = sd.process.VP(beta_min=0.1, beta_max=20.0), 0.3
    known = {"beta": 0.1 + t * 19.9, "B": 0.1 * t + 19.9 * t**2 / 2}
    for key in ("vp_beta", "vp_integral"):
        assert notation.faults(notation.row(key), ours(process, t), known) == []


def test_ddpms_letters_by_definition():
    betas = sd.process.ddpm_betas(1000).double()
    process, n = sd.process.DiscreteBetas(betas), 250
    t = letters.from_index(n, T=process.T)[0].item()
    alpha_bar = torch.cumprod(1 - betas, 0)[n - 1].item()
    values = {**ours(process, t), "alpha_next": float(process.alpha(letters.from_index(n + 1, T=process.T)[0].item()))}
    known = {"alpha_bar": alpha_bar, "beta_n": betas[n].item(), "n": n}
    for key in ("alpha_bar", "beta_n", "index"):
        assert notation.faults(notation.row(key), values, known) == []


def test_edm_divides_the_state_by_the_signal():
    x0, eps = torch.tensor(0.8, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    process, t = PROCESSES["vp"], 0.6
    x_hat, _, sigma = letters.to_edm(process.perturb(x0, t, eps), process.alpha(t), process.sigma(t))
    torch.testing.assert_close(x_hat, x0 + sigma * eps, rtol=1e-13, atol=1e-13)


def test_flow_matching_runs_the_other_way():
    """On the straight path the velocity towards the data is x0 - eps; ours, with the data at t = 0, is eps - x0."""
    process, x0, eps, t = sd.process.RectifiedFlow(), 0.8, -1.1, 0.3
    velocity = float(process.d_alpha(t)) * x0 + float(process.d_sigma(t)) * eps
    assert letters.to_flow_velocity(velocity)[0].item() == pytest.approx(x0 - eps, abs=1e-14)
    assert letters.to_flow_time(0.0)[0].item() == 1.0


def test_songs_ve_kernel_keeps_the_variance_difference():
    alpha, sigma, _ = letters.from_ve(5.0, 3.0)
    assert (alpha.item(), sigma.item()) == (1.0, 4.0)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: letters.to_book(0.0, 1.0), "infinite at alpha = 0"),
        (lambda: letters.to_rates(0.0, 1.0, -1.0, 1.0), "infinite at alpha = 0"),
        (lambda: letters.from_rates(1.0, 0.0, -1.0, 1.0), "sigma > 0"),
        (lambda: letters.to_lambda(0.9, 0.9), "alpha^2 + sigma^2 = 1"),
        (lambda: letters.to_alpha_bar(1.0, 2.0), "alpha^2 + sigma^2 = 1"),
        (lambda: letters.to_ve(0.5, 2.0), "alpha = 1"),
        (lambda: letters.from_ve(1.0, 2.0), "negative"),
        (lambda: notation.row("sigma"), "alpha_bar"),
    ],
)
def test_misuse_says_what_to_do(call, says):
    with pytest.raises(ValueError, match=says.replace("^", r"\^").replace("+", r"\+")):
        call()


def test_tensors_keep_their_dtype_and_shape():
    pair = torch.tensor([[0.5, 0.8], [0.5, 0.6]], dtype=torch.float32)
    _, sigma = letters.to_book(*pair)
    assert sigma.dtype == torch.float32 and sigma.shape == (2,)


def test_the_table_prints_one_line_a_row_and_no_bare_names():
    shown = notation.table()._repr_html_()
    assert shown.count("<tr>") == len(notation.TABLE) + 1
    assert "sqrt" not in shown and "alpha" not in shown and "_book" not in shown and "σ<sub>book</sub>" in shown
    assert repr(notation.table()).count("\n") == len(notation.TABLE) - 1
