"""What the measurements make of their errors: statistics, CSV files, pictures of all runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from benchmarks._report import ROOT, TABLES, table

Array = NDArray[np.float64]

STATISTICS = ("min", "median", "mean", "max")
GREY, BLUE, RED = "#b8c0c8", "#2a6ea6", "#b8433a"


def statistics(values: Array) -> list[float]:
    """Return minimum, median, mean and maximum."""
    return [float(reduce(values)) for reduce in (np.min, np.median, np.mean, np.max)]


def tables(what: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a text table for each value of the first column, which goes into its title."""
    return "\n\n".join(
        table([f"{title}, {what}", *header[2:]], [row[1:] for row in group])
        for title, group in groupby(rows, lambda row: row[0])
    )


def save_table(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write docs/tables/paper_NAME.csv, floats with three significant digits."""
    with (TABLES / f"paper_{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(
            [f"{value:.3g}" if isinstance(value, float) else value for value in row] for row in rows
        )


def save_dots(
    name: str,
    panels: Mapping[str, Mapping[str, Array]],
    xlabel: str,
    *,
    line: tuple[str, Mapping[str, float]] | None = None,
) -> None:
    """Draw docs/images/paper_NAME.png: every run a dot on a log scale, the median marked.

    Parameters
    ----------
    name : str
    panels : mapping of titles to mappings of row labels to ndarray of shape (n_runs,)
        The rows are the same in every panel.
    xlabel : str
    line : (label, mapping of titles to values), optional
        A reference, dashed.
    """
    labels = list(next(iter(panels.values())))
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    size = (2.5 + 3.6 * n_columns, 0.7 + n_rows * (0.7 + 0.3 * len(labels)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for axis, (title, groups) in zip(axes.flat, panels.items(), strict=True):
        jitter = np.random.default_rng(0)
        for place, label in enumerate(labels):
            values = groups[label]
            heights = place + jitter.uniform(-0.22, 0.22, len(values))
            axis.plot(values, heights, "o", color=GREY, ms=4, mew=0, label="_")
            axis.plot([np.median(values)] * 2, [place - 0.32, place + 0.32], color=BLUE, lw=2.5)
        if line is not None:
            axis.axvline(line[1][title], color=RED, ls="--", lw=1.2)
        axis.set(xscale="log", title=title)
        axis.xaxis.set_minor_formatter(NullFormatter())
        low, high = axis.get_xlim()
        if high < 100 * low:  # few powers of ten to label
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(labels)), labels)
        axis.grid(axis="x", color="#e6e9ec")
        axis.set_axisbelow(True)
    axes[0, 0].invert_yaxis()  # shared
    for axis in axes[-1]:
        axis.set_xlabel(xlabel)
    axes[0, 0].plot([], [], "o", color=GREY, ms=4, label="a run")
    axes[0, 0].plot([], [], color=BLUE, lw=2.5, label="median")
    if line is not None:
        axes[0, 0].plot([], [], color=RED, ls="--", lw=1.2, label=line[0])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(ROOT / "docs" / "images" / f"paper_{name}.png", dpi=100)
