"""Live figures for the chapters: computed in Python, shown by one small player in the page."""

from .density_explorer import DensityExplorer
from .three_views import ThreeViews

__all__ = ["DensityExplorer", "ThreeViews"]
