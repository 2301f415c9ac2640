"""Grids and weights fitted to the model at hand, and files that keep them; also reached as ``sd.grids.optimise`` …"""

from .dynamic import ays, equal_error, gits
from .optimise import optimise
from .shooting import reference
from .store import load, save
from .tune import tune

__all__ = ["ays", "equal_error", "gits", "load", "optimise", "reference", "save", "tune"]
