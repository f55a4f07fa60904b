"""Draws what `plots.py` says, with matplotlib: SVG on white, text as text, the same bytes again."""

from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tests.bench.plots import Bars, Panel, Plot, Shares, shares, tick

COLOURS: Final = ("#999999", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
"""Okabe and Ito's, which everybody can tell apart."""

_STYLE: Final = {
    "svg.hashsalt": "xmpprelay",  # else ids are made anew each time
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
}
_WIDTH, _HEIGHT = 4.2, 3.4  # inches, of a panel


def draw(plot: Plot, file: Path) -> None:
    """Write a plot to a file."""
    title, panels = plot
    with mpl.rc_context(_STYLE):
        width = max(_WIDTH * len(panels), 5.5)
        figure = Figure(figsize=(width, _HEIGHT + 0.6), layout="constrained")
        figure.suptitle(title, fontsize=11)
        known: set[tuple[str, ...]] = set()
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, axes in zip(panels, all_axes, strict=True):
            _panel(panel, axes)
            names = tuple(panel.series)
            if names not in known:  # else it is beside it already
                axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16))
            known.add(names)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _panel(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title, fontsize=9)
    if isinstance(panel, Bars):
        _bars(panel, axes)
    else:
        _shares(panel, axes)


def _bars(panel: Bars, axes: Axes) -> None:
    width = 0.8 / len(panel.series)
    for at, (name, values) in enumerate(panel.series.items()):
        places = [group + (at + 0.5) * width - 0.4 for group in range(len(panel.groups))]
        heights = [0.0 if value is None else value for value in values]
        bars = axes.bar(places, heights, width * 0.94, label=name, color=COLOURS[at])
        axes.bar_label(bars, labels=panel.labels[name], fontsize=6.5, padding=1)
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(panel.unit)
    if panel.log:
        axes.set_yscale("log")
    axes.margins(y=0.12)
    _ticks(axes.yaxis, log=panel.log)


def _shares(panel: Shares, axes: Axes) -> None:
    for at, (name, values) in enumerate(panel.series.items()):
        points = shares(values)
        axes.plot(
            [value for value, _ in points],
            [percent for _, percent in points],
            label=name,
            color=COLOURS[at],
            linewidth=1.4,
        )
    axes.set_xlabel(panel.unit)
    axes.set_ylabel("% of them")
    axes.set_ylim(0, 101)
    if panel.log:
        axes.set_xscale("log")
    _ticks(axes.xaxis, log=panel.log)


def _ticks(axis: Axis, *, log: bool) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    if log:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
