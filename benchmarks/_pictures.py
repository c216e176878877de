"""What pictures share: a grid, a legend above, every run a dot on a log scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

GREY, BLUE, RED, GRID = "#b8c0c8", "#2a6ea6", "#b8433a", "#e6e9ec"


def panels(n_rows: int, n_columns: int, size: tuple[float, float], **shared):
    """Return a figure and its axes (n_rows, n_columns), each with a grid behind."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, **shared)
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def tidy(axis: Axes, direction: str = "both") -> None:
    """Draw a grid behind everything else."""
    axis.grid(axis=direction, color=GRID)
    axis.set_axisbelow(True)


def legend(figure: Figure, axis: Axes, n_columns: int = 0, place: str = "upper") -> None:
    """Put the legend of an axis outside."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc=f"outside {place} center", ncols=n_columns or len(labels),
        frameon=False,
    )  # fmt: skip


def dots(
    rows: pd.DataFrame, score: str, xlabel: str, line: tuple[str, Mapping[str, float]] | None = None
) -> Figure:
    """Draw a panel for each problem, a line of dots for each method, the median marked.

    ``line`` is a label, and by problem where it stands, dashed.
    """
    problems, labels = (list(rows[name].unique()) for name in ("problem", "method"))
    n_columns = min(2, len(problems))
    n_rows = -(-len(problems) // n_columns)
    size = (2.5 + 3.6 * n_columns, 0.7 + n_rows * (0.7 + 0.3 * len(labels)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    found = rows.groupby(["problem", "method"])[score]
    for axis, problem in zip(axes.flat, problems, strict=True):
        jitter = np.random.default_rng(0)
        for place, label in enumerate(labels):
            if (problem, label) not in found.groups:
                continue  # not measured
            values = found.get_group((problem, label)).to_numpy()
            heights = place + jitter.uniform(-0.22, 0.22, len(values))
            axis.plot(values, heights, "o", color=GREY, ms=4, mew=0, label="_")
            axis.plot([np.median(values)] * 2, [place - 0.32, place + 0.32], color=BLUE, lw=2.5)
        if line is not None:
            axis.axvline(line[1][problem], color=RED, ls="--", lw=1.2)
        axis.set(xscale="log", title=problem)
        _label_powers(axis)
        axis.set_yticks(range(len(labels)), labels)
        tidy(axis, "x")
    axes[0, 0].invert_yaxis()  # shared
    for axis in axes[-1]:
        axis.set_xlabel(xlabel)
    axes[0, 0].plot([], [], "o", color=GREY, ms=4, label="a run")
    axes[0, 0].plot([], [], color=BLUE, lw=2.5, label="median")
    if line is not None:
        axes[0, 0].plot([], [], color=RED, ls="--", lw=1.2, label=line[0])
    legend(figure, axes[0, 0], 3)
    return figure


def _label_powers(axis: Axes) -> None:
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = axis.get_xlim()
    if high < 100 * low:  # few powers of ten to label
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
