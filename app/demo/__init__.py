"""A demo project, and simulated labelers to see the loop whole without an afternoon of ranking."""

from app.demo.labelers import SimulationProgress, SimulationReport, simulate_labelers
from app.demo.project import create_demo_project
from app.demo.run import run_demo

__all__ = [
    "SimulationProgress",
    "SimulationReport",
    "create_demo_project",
    "run_demo",
    "simulate_labelers",
]
