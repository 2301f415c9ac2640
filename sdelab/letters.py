"""Conversions between our letters and those of the textbook and the papers: plain functions, each with its inverse.

Ours:  x_t = alpha(t) x_0 + sigma(t) eps,  lam = log(alpha/sigma),  data at t = 0, noise at t = T.
``to_*`` goes from ours to theirs, ``from_*`` comes back. Numbers or tensors in; numbers become float64 tensors, tensors
keep their dtype. A letter that a conversion leaves alone is carried along, so that every conversion can be undone.
`sdelab.notation` sets them out as the table of chapter 0.
"""

from __future__ import annotations

from typing import Any

import torch

TOLERANCE = 1e-9  # how closely alpha^2 + sigma^2 = 1 (or alpha = 1) must hold before it is relied upon


def _tensor(x: Any) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else torch.as_tensor(x, dtype=torch.float64)


def _require(ok: torch.Tensor, message: str) -> None:
    if not bool(torch.as_tensor(ok).all()):
        raise ValueError(message)


def _variance_preserving(alpha: torch.Tensor, sigma: torch.Tensor, letter: str) -> None:
    _require(
        (alpha**2 + sigma**2 - 1).abs() < TOLERANCE,
        f"{letter} alone fixes alpha and sigma only where alpha^2 + sigma^2 = 1; "
        "divide x by sqrt(alpha^2 + sigma^2) first, or keep both letters",
    )


# --- the textbook, p. 70:  dx = f x dt + g dw,  x(t) ~ N(s x0, s^2 sigma_book^2 I) ---------------------------------
def to_book(alpha, sigma):
    """s = alpha,  sigma_book = sigma/alpha.  Raises ValueError where alpha = 0 (sigma_book is infinite there)."""
    alpha, sigma = _tensor(alpha), _tensor(sigma)
    _require(alpha > 0, "sigma/alpha is infinite at alpha = 0: stop a little before the last time")
    return alpha, sigma / alpha


def from_book(s, sigma_book):
    """alpha = s,  sigma = s sigma_book."""
    s, sigma_book = _tensor(s), _tensor(sigma_book)
    return s, s * sigma_book


def to_rates(alpha, sigma, d_alpha, d_sigma):
    """f = alpha'/alpha,  g^2 = (sigma^2)' - 2 f sigma^2;  returns (alpha, sigma, f, g2)."""
    alpha, sigma = _tensor(alpha), _tensor(sigma)
    _require(alpha > 0, "f = alpha'/alpha is infinite at alpha = 0: stop a little before the last time")
    f = _tensor(d_alpha) / alpha
    return alpha, sigma, f, 2 * sigma * _tensor(d_sigma) - 2 * f * sigma**2


def from_rates(alpha, sigma, f, g2):
    """alpha' = f alpha,  sigma' = f sigma + g^2/(2 sigma);  returns (alpha, sigma, d_alpha, d_sigma)."""
    alpha, sigma, f = _tensor(alpha), _tensor(sigma), _tensor(f)
    _require(sigma > 0, "sigma' = f sigma + g^2/(2 sigma) needs sigma > 0: start a little after t = 0")
    return alpha, sigma, f * alpha, f * sigma + _tensor(g2) / (2 * sigma)


# --- Song et al. (2021) ---------------------------------------------------------------------------------------------
def to_vp_beta(alpha, d_alpha):
    """VP SDE: beta(t) = -2 alpha'/alpha  (dx = -beta/2 x dt + sqrt(beta) dw);  returns (alpha, beta)."""
    alpha = _tensor(alpha)
    _require(alpha > 0, "beta is infinite at alpha = 0: stop a little before the last time")
    return alpha, -2 * _tensor(d_alpha) / alpha


def from_vp_beta(alpha, beta):
    """alpha' = -beta alpha / 2;  returns (alpha, d_alpha)."""
    alpha = _tensor(alpha)
    return alpha, -_tensor(beta) * alpha / 2


def to_vp_integral(alpha, sigma):
    """VP SDE: B(t) = int_0^t beta = log(1 + sigma^2/alpha^2); VP only. The form keeps small sigma to rounding."""
    alpha, sigma = _tensor(alpha), _tensor(sigma)
    _variance_preserving(alpha, sigma, "B")
    return (torch.log1p((sigma / alpha) ** 2),)


def from_vp_integral(B):
    """alpha = exp(-B/2),  sigma = sqrt(1 - exp(-B))."""
    B = _tensor(B)
    return torch.exp(-B / 2), torch.sqrt(-torch.expm1(-B))


def to_ve(alpha, sigma, sigma_0=0.0):
    """VE SDE: sigma_song(t)^2 = sigma^2 + sigma_0^2, where sigma_0 = sigma_song(0); needs alpha = 1.

    Song's kernel is N(x0, (sigma_song(t)^2 - sigma_song(0)^2) I); returns (sigma_song, sigma_0).
    """
    alpha, sigma, sigma_0 = _tensor(alpha), _tensor(sigma), _tensor(sigma_0)
    _require((alpha - 1).abs() < TOLERANCE, "the VE SDE has alpha = 1: divide x by alpha, then sigma is sigma/alpha")
    return torch.sqrt(sigma**2 + sigma_0**2), sigma_0


def from_ve(sigma_song, sigma_0=0.0):
    """alpha = 1,  sigma = sqrt(sigma_song^2 - sigma_0^2);  returns (alpha, sigma, sigma_0)."""
    sigma_song, sigma_0 = _tensor(sigma_song), _tensor(sigma_0)
    _require(sigma_song >= sigma_0, "sigma_song(t) below sigma_song(0): the kernel's variance would be negative")
    return torch.ones_like(sigma_song), torch.sqrt((sigma_song - sigma_0) * (sigma_song + sigma_0)), sigma_0


# --- EDM, Karras et al. (2022), and the samplers of image tools -----------------------------------------------------
def to_edm(x, alpha, sigma):
    """x_hat = x/s = x0 + sigma_edm eps, with s = alpha and sigma_edm = sigma/alpha;  returns (x_hat, s, sigma_edm)."""
    s, sigma_edm = to_book(alpha, sigma)
    return _tensor(x) / s, s, sigma_edm


def from_edm(x_hat, s, sigma_edm):
    """x = s x_hat,  alpha = s,  sigma = s sigma_edm;  returns (x, alpha, sigma)."""
    return (_tensor(x_hat) * _tensor(s), *from_book(s, sigma_edm))


# --- DPM-Solver (Lu et al. 2022), variational diffusion (Kingma et al. 2021) ----------------------------------------
def to_lambda(alpha, sigma):
    """lambda = log(alpha/sigma), our lam; the pair comes back only where alpha^2 + sigma^2 = 1."""
    alpha, sigma = _tensor(alpha), _tensor(sigma)
    _variance_preserving(alpha, sigma, "lambda")
    return (torch.log(alpha) - torch.log(sigma),)


def from_lambda(lam):
    """alpha^2 = 1/(1 + e^{-2 lam}),  sigma^2 = 1/(1 + e^{2 lam})."""
    lam = _tensor(lam)
    return torch.sigmoid(2 * lam) ** 0.5, torch.sigmoid(-2 * lam) ** 0.5


def to_logsnr(lam):
    """The log-SNR is log(alpha^2/sigma^2) = 2 lam."""
    return (2 * _tensor(lam),)


def from_logsnr(logsnr):
    """lam = (log-SNR)/2."""
    return (_tensor(logsnr) / 2,)


def to_gamma(lam):
    """Variational diffusion models write gamma = -log SNR = -2 lam."""
    return (-2 * _tensor(lam),)


def from_gamma(gamma):
    """lam = -gamma/2."""
    return (-_tensor(gamma) / 2,)


# --- DDPM (Ho et al. 2020), DDIM (Song J. et al. 2021): discrete times ----------------------------------------------
def to_alpha_bar(alpha, sigma):
    """alpha_bar_n = alpha^2 (the DDIM paper calls the same number alpha_n); VP only. Also returns 1 - alpha_bar_n."""
    alpha, sigma = _tensor(alpha), _tensor(sigma)
    _variance_preserving(alpha, sigma, "alpha_bar")
    return alpha**2, sigma**2


def from_alpha_bar(alpha_bar, one_minus=None):
    """alpha = sqrt(alpha_bar),  sigma = sqrt(1 - alpha_bar); give 1 - alpha_bar too where it is known exactly."""
    alpha_bar = _tensor(alpha_bar)
    rest = 1 - alpha_bar if one_minus is None else _tensor(one_minus)
    return torch.sqrt(alpha_bar), torch.sqrt(rest)


def to_beta_n(alpha, alpha_next):
    """beta_n = 1 - (alpha(t_n)/alpha(t_{n-1}))^2 from neighbouring alphas;  returns (alpha, beta_n)."""
    alpha, ratio = _tensor(alpha), _tensor(alpha_next) / _tensor(alpha)
    return alpha, (1 - ratio) * (1 + ratio)


def from_beta_n(alpha, beta_n):
    """alpha(t_n) = sqrt(1 - beta_n) alpha(t_{n-1});  returns (alpha, alpha_next)."""
    alpha = _tensor(alpha)
    return alpha, alpha * torch.sqrt(1 - _tensor(beta_n))


def to_index(t, T=1.0, N=1000):
    """n = N t/T, so that n = 0 is the data and n = N the noise; libraries count n - 1 = 0 ... N - 1."""
    return _tensor(t) * N / T, T, N


def from_index(n, T=1.0, N=1000):
    """t = T n/N."""
    return _tensor(n) * T / N, T, N


# --- flow matching (Lipman et al. 2023; Liu et al. 2023): data at tau = 1 -------------------------------------------
def to_flow_time(t, T=1.0):
    """tau = 1 - t/T: noise at tau = 0, data at tau = 1."""
    return 1 - _tensor(t) / T, T


def from_flow_time(tau, T=1.0):
    """t = T (1 - tau)."""
    return T * (1 - _tensor(tau)), T


def to_flow_velocity(velocity, T=1.0):
    """u(x, tau) = dx/dtau = -T dx/dt: turning time round turns the velocity's sign."""
    return -T * _tensor(velocity), T


def from_flow_velocity(u, T=1.0):
    """dx/dt = -u/T."""
    return -_tensor(u) / T, T
