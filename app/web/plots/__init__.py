"""Small plots made on the server: pure functions from numbers to geometry.

`templates/shared/_plots.html` draws what they return. Every place is a percentage of the plotting
area and every letter has the size of the page's own text, so that one drawing is crisp on a phone
and on a wide screen. A plot says in a sentence what it shows (`finding`) and keeps the numbers
behind it as a table.
"""

from app.web.plots.bars import (
    BarPlot,
    Sparkline,
    plot_days,
    plot_histogram,
    spark_days,
)
from app.web.plots.calibration import CalibrationBin, CalibrationPlot, plot_calibration
from app.web.plots.cloud import CloudPart, CloudPlot, plot_cloud
from app.web.plots.intervals import (
    ForestPlot,
    LinePlot,
    leaves_out,
    lies_below,
    plot_forest,
    plot_weeks,
)
from app.web.plots.matrix import HeatMatrix, plot_matrix
from app.web.plots.mirrored import MirroredPlot, plot_mirrored
from app.web.plots.scales import (
    Interval,
    as_count,
    as_decimal,
    as_percent,
    as_seconds,
    describe_interval,
)
from app.web.plots.scatter import ScatterPlot, ScatterPoint, plot_scatter

__all__ = [
    "BarPlot",
    "CalibrationBin",
    "CalibrationPlot",
    "CloudPart",
    "CloudPlot",
    "ForestPlot",
    "HeatMatrix",
    "Interval",
    "LinePlot",
    "MirroredPlot",
    "ScatterPlot",
    "ScatterPoint",
    "Sparkline",
    "as_count",
    "as_decimal",
    "as_percent",
    "as_seconds",
    "describe_interval",
    "leaves_out",
    "lies_below",
    "plot_calibration",
    "plot_cloud",
    "plot_days",
    "plot_forest",
    "plot_histogram",
    "plot_matrix",
    "plot_mirrored",
    "plot_scatter",
    "plot_weeks",
    "spark_days",
]
