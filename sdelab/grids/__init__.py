"""Where to evaluate: decreasing times from noise (t_start, default T) to data (t_end, default the process's t_min).

Every grid returns ``steps + 1`` float64 times on the CPU. ``zero=True`` spends the last step on t = 0, where it is a
denoising step: ``steps`` times from t_start to t_end, then 0. Rules that live in the noise-to-signal ratio
sigma/alpha = e^{-lam} start where alpha > 0 and put the first time at t_start itself.
"""

from .base import make, table
from .rules import exponential, karras, logsnr, polyexponential, quadratic, uniform

__all__ = ["exponential", "karras", "logsnr", "make", "polyexponential", "quadratic", "table", "uniform"]
