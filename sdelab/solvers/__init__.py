"""Solvers: one class each, and the table of the names that users know."""

from .adams_bashforth import AdamsBashforth
from .adaptive import Adaptive
from .adaptive_sde import AdaptiveEM
from .amed import AMED, fit_amed
from .analytic import AnalyticDPM, posterior_variance
from .ancestral import Ancestral
from .classical import EulerMaruyama, Milstein
from .corrector import HMC, MALA, PC, AnnealedLangevin, LangevinCorrector
from .discrete import DDIM, DDPM, LearnedDDPM, ReverseDiffusion
from .dpm import DPMAdaptive, DPMFast, Singlestep
from .dpm_v3 import DPMSolverV3, calibrate
from .dpmpp_sde import DPMpp2MSDE, DPMpp3MSDE, DPMppSDE, SDEDPMSolver
from .er_sde import ERSDE
from .exp_rk import ExpRK, Tableau
from .exponential import DPMpp2M, DPMpp3M, ExpAdams, ExpEuler
from .flow import FlowSDE, FlowSDEHeun, SiTHeun
from .implicit import Implicit
from .implicit_sde import ImplicitEM
from .invertible import BDIA, BELM, EDICT, DDIMInverse
from .multistep import DEIS, IPNDM, LMS, DEISTime, GradientEstimation, IPNDMv
from .parallel import Picard
from .pndm import FON, PLMS, PNDM
from .row import Row
from .runge_kutta import RK3, RK4, Bosh3, Dopri5, Euler, Heun, Midpoint, Ralston, RungeKutta, Tsit5
from .sa import SASolver, StochasticAdams
from .seeds import SEEDS
from .sigma import DPM2, HeunPP2, SigmaRK, TwoStage
from .table import row, table
from .taylor import Taylor2
from .tuned import Tuned
from .unipc import UniC, UniPC
from .wrappers import Churn, Restart

__all__ = [
    "AMED",
    "BDIA",
    "BELM",
    "DDIM",
    "DDPM",
    "DEIS",
    "DPM2",
    "EDICT",
    "ERSDE",
    "FON",
    "HMC",
    "IPNDM",
    "LMS",
    "MALA",
    "PC",
    "PLMS",
    "PNDM",
    "RK3",
    "RK4",
    "SEEDS",
    "AdamsBashforth",
    "Adaptive",
    "AdaptiveEM",
    "AnalyticDPM",
    "Ancestral",
    "AnnealedLangevin",
    "Bosh3",
    "Churn",
    "DDIMInverse",
    "DEISTime",
    "DPMAdaptive",
    "DPMFast",
    "DPMSolverV3",
    "DPMpp2M",
    "DPMpp2MSDE",
    "DPMpp3M",
    "DPMpp3MSDE",
    "DPMppSDE",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExpAdams",
    "ExpEuler",
    "ExpRK",
    "FlowSDE",
    "FlowSDEHeun",
    "GradientEstimation",
    "Heun",
    "HeunPP2",
    "IPNDMv",
    "Implicit",
    "ImplicitEM",
    "LangevinCorrector",
    "LearnedDDPM",
    "Midpoint",
    "Milstein",
    "Picard",
    "Ralston",
    "Restart",
    "ReverseDiffusion",
    "Row",
    "RungeKutta",
    "SASolver",
    "SDEDPMSolver",
    "SiTHeun",
    "SigmaRK",
    "Singlestep",
    "StochasticAdams",
    "Tableau",
    "Taylor2",
    "Tsit5",
    "Tuned",
    "TwoStage",
    "UniC",
    "UniPC",
    "calibrate",
    "fit_amed",
    "posterior_variance",
    "row",
    "table",
]  # fmt: skip
