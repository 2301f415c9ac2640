"""The theta-Euler–Maruyama family: implicit in the drift, for stiff equations."""

import torch
from torch import Tensor

from .row import Row
from .scheme import Form, Named, Scheme, additive

_DENSE = 256  # numbers per sample up to which Newton's matrices are made


class ImplicitEM(Scheme):
    """x_t = x + h [(1 - theta) a(x, s) + theta a(x_t, t)] + b W, the drift at the end being implicit.

    On :class:`sdelab.Reverse` a = p x + q D, and its stiff part p x is treated in closed form, D explicitly:

        y = (x + h (1 - theta) (p_s x + q_s D_s) + b W + h theta q_t D) / (1 - h theta p_t)

    with D = D(x, s) at first and then ``sweeps`` times D = D(y, t) at the last y: fixed-point iteration stopped after
    a fixed number, so that the price of a step is known. On any other SDE the equation for x_t is solved to ``tol``
    (1 + |x_t|), by Newton's method (d forward-mode derivatives of the drift, samples of d numbers) or, with
    ``newton=False``, by fixed-point iteration, which needs h theta |a'| < 1 and so is not for stiff equations.
    Noise that does not depend on the state enters as b = (1 - theta) b(s) + theta b(t); other noise as b(x, s).
    With Newton A-stable for theta >= 1/2 (on Reverse as far as p x is what is stiff); theta = 1 damps what is stiff,
    theta = 1/2 does not.

    Order: weak 1, strong 1/2 (1 with additive noise); theta = 1/2 (on Reverse with sweeps >= 1): 2 without noise, and
    weak 2 with additive noise. NFE on Reverse: 1 + sweeps.
    Reference: Kloeden & Platen (1992), 12.2 and 15.4; Higham (2000), "Mean-square and asymptotic stability of the
    stochastic theta method". ``FloatingPointError`` where the iteration does not converge; ``ValueError`` for theta
    outside (0, 1], and for samples too large for Newton's matrices.
    """

    def __init__(self, theta: float = 1.0, sweeps: int | None = None, newton: bool = True, tol: float = 1e-11,
                 iterations: int = 50):  # fmt: skip
        if not 0 < theta <= 1:
            raise ValueError(f"theta must lie in (0, 1] (0 is EulerMaruyama), not {theta!r}")
        sweeps = int(theta == 0.5) if sweeps is None else sweeps
        if not isinstance(sweeps, int) or sweeps < 0 or tol <= 0 or iterations < 1:
            raise ValueError(f"need sweeps >= 0, tol > 0 and iterations >= 1, not {sweeps}, {tol} and {iterations}")
        self.theta, self.sweeps, self.newton, self.tol, self.iterations = theta, sweeps, newton, tol, iterations
        self.order, self.nfe = 2 if theta == 0.5 and sweeps else 1, 1 + sweeps

    def advance(self, sde, x, s, t, W, H):
        if isinstance(sde, Named):
            return self.split(sde, x, s, t, W)
        h, b = t - s, sde.diffusion(x, s)
        if additive(b, x):
            b = (1 - self.theta) * b + self.theta * sde.diffusion(x, t)
        known = x + b * W
        if self.theta < 1:
            known = known + (h * (1 - self.theta)) * sde.drift(x, s)
        return self.solved(sde, x, known, t, h * self.theta)

    def split(self, named: Named, x: Form, s: float, t: float, W: Form) -> Form:
        """The step on a Reverse, in names."""
        h, theta, (p, q, b), (p_t, q_t, b_t) = t - s, self.theta, named.rates(s), named.rates(t)
        D = named.D(x, s)
        known = x + (h * (1 - theta)) * (p * x + q * D) + ((1 - theta) * b + theta * b_t) * W
        y = (known + (h * theta * q_t) * D) / (1 - h * theta * p_t)
        for _ in range(self.sweeps):
            y = (known + (h * theta * q_t) * named.D(y, t)) / (1 - h * theta * p_t)
        return y

    def solved(self, sde, x: Tensor, known: Tensor, t: float, k: float) -> Tensor:
        """y with y = known + k a(y, t), from x on."""
        d = x[:1].numel()
        if self.newton and d > _DENSE:
            raise ValueError(f"samples of {d} numbers are too large for Newton (at most {_DENSE}): pass newton=False")
        wide = torch.promote_types(x.dtype, torch.float32)  # there is no linear algebra in half precision
        tol, y, off = max(self.tol, 8 * torch.finfo(x.dtype).eps), x, float("inf")
        for _ in range(self.iterations):
            residual = known + k * sde.drift(y, t) - y
            delta = _newton(sde, y, residual, t, k, wide) if self.newton else residual
            y = y + delta
            off = float((delta.detach().abs() / (1 + y.detach().abs())).max()) if d * len(x) else 0.0
            if off <= tol:
                return y
            if not off < float("inf"):
                break
        how = "take smaller steps" if self.newton else "take smaller steps, or newton=True"
        raise FloatingPointError(
            f"the implicit step that ends at t = {t:.6g} did not converge (still off by {off:.2g}): {how}"
        )


def _newton(sde, y: Tensor, residual: Tensor, t: float, k: float, wide: torch.dtype) -> Tensor:
    """(I - k a'(y))^-1 residual, for each sample."""
    d = y[:1].numel()
    basis = torch.eye(d, dtype=y.dtype, device=y.device).reshape(d, 1, *y.shape[1:]).expand(d, *y.shape)
    columns = [torch.func.jvp(lambda u: sde.drift(u, t), (y,), (e.contiguous(),))[1] for e in basis]
    J = torch.stack(columns, -1).reshape(len(y), d, d).to(wide)
    M = torch.eye(d, dtype=wide, device=y.device) - k * J
    return torch.linalg.solve(M, residual.reshape(len(y), d, 1).to(wide)).reshape(y.shape).to(y.dtype)


_ADDITIVE = "Weak order 1 is for any noise; the noise of a reverse diffusion is additive, and there it measures 2."
_EXPLICIT = "On a reverse diffusion p x is implicit in closed form and D explicit; sweeps= iterates on D."

ROWS = (
    Row("implicit_em", "implicit Euler–Maruyama", "classical", ImplicitEM, 1, 1, "Kloeden & Platen (1992), 12.2",
        True, 1.0, note=_EXPLICIT),
    Row("theta_half", "theta-Euler–Maruyama (1/2)", "classical", lambda: ImplicitEM(0.5), 2, 2,
        "Kloeden & Platen (1992), 12.2", True, 1.0, claimed=1, note=_ADDITIVE),
)  # fmt: skip
