"""Live figures for the chapters: computed in Python, shown by one small player in the page."""

from .density_explorer import DensityExplorer
from .flow_map import FlowMap
from .latent_playground import LatentPlayground
from .reverse_explorer import ReverseExplorer
from .schedule_designer import ScheduleDesigner
from .solver_race import SolverRace
from .stability_explorer import StabilityExplorer
from .three_views import ThreeViews
from .where_from import WhereFrom

__all__ = [
    "DensityExplorer",
    "FlowMap",
    "LatentPlayground",
    "ReverseExplorer",
    "ScheduleDesigner",
    "SolverRace",
    "StabilityExplorer",
    "ThreeViews",
    "WhereFrom",
]
