"""Draw the comparison on real tables: by table, and ranks against seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks._tables_methods import OURS

INK, RED, GRID = "#22303c", "#d1542c", "#e6e9ec"
STYLES = {
    OURS: (RED, "o"),
    "CatBoost": ("#123f6b", "D"),
    "LightGBM": ("#6fb3e3", "s"),
    "HistGB": ("#1f6fb4", "s"),
    "random forest": ("#3a8f5c", "^"),
    "EBM": ("#6a3d9a", "P"),
    "kernel ridge": ("#7d8790", "X"),
    "RealMLP": ("#c76bb0", "p"),
    "MLP": ("#c9a227", "v"),
    "MLP tuned": ("#c9a227", "^"),
    "Ridge": ("#aab3bb", "d"),
}
BELOW = {"kernel ridge", "HistGB"}  # their names would meet others above
LEAST = -0.3  # difference of R^2 that is drawn; those below are marked at the edge
Table = tuple[str, Mapping[str, float]]  # its name, R^2 of every method
Point = tuple[float, float]  # median seconds, mean rank


def draw(
    tiers: Mapping[str, Sequence[Table]], ranks: Mapping[str, Mapping[str, Point]], path: Path
) -> None:
    """Draw the tables of each tier to the left, methods by seconds and rank to the right.

    Parameters
    ----------
    tiers : mapping of titles to tables
    ranks : mapping of titles to mappings of methods to points
    path : Path
    """
    n_rows = sum(map(len, tiers.values())) + 2 * len(tiers)
    figure = Figure(figsize=(12, 1.6 + 0.22 * n_rows), layout="constrained")
    grid = figure.add_gridspec(len(ranks), 2, width_ratios=[1.35, 1])
    axis = figure.add_subplot(grid[:, 0])
    _draw_tables(axis, tiers)
    for row, (title, points) in enumerate(ranks.items()):
        _draw_ranks(figure.add_subplot(grid[row, 1]), title, points)
    handles = {label: h for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    shown = [name for name in STYLES if name in handles]
    figure.legend(
        [handles[name] for name in shown], shown,
        loc="outside upper center", ncols=len(shown), frameon=False, handletextpad=0.1,
        columnspacing=1.2, markerscale=1.2,
    )  # fmt: skip
    figure.savefig(path, dpi=100)


def _draw_tables(axis: Axes, tiers: Mapping[str, Sequence[Table]]) -> None:
    """Draw R^2 minus that of the best peer, a table in a row, best for skrelu first."""
    places, names, place = [], [], 0.0
    for title, tables in tiers.items():
        axis.text(1.08 * LEAST, place, f" tables {title}", va="center", style="italic", color=INK)
        place += 1
        for margin, name, differences in sorted(map(_differences, tables), reverse=True):
            axis.plot([0, margin], [place] * 2, color=RED, lw=2, zorder=3)
            for method, difference in differences.items():
                _mark(axis, method, difference, place)
            places.append(place)
            names.append(name)
            place += 1
        place += 0.6
    axis.axvline(0, color=INK, lw=1, zorder=1.5)
    axis.set_yticks(places, names)
    axis.set_ylim(place - 1.1, -0.8)
    axis.set_xscale("symlog", linthresh=0.02, linscale=0.8)
    axis.set_xlim(1.08 * LEAST, 0.06)
    axis.set_xticks(ticks := [-0.2, -0.1, -0.05, -0.02, -0.01, 0, 0.01, 0.02, 0.05],
                    [f"{tick:+g}" if tick else "best peer" for tick in ticks])  # fmt: skip
    axis.set_xticks([], minor=True)
    axis.set_xlabel("$R^2$ minus that of the best peer")
    _tidy(axis)


def _differences(table: Table) -> tuple[float, str, dict[str, float]]:
    """Return by how much skrelu is ahead, the table's name and all differences."""
    name, r2 = table
    best = max(value for method, value in r2.items() if method != OURS)
    return r2[OURS] - best, name, {method: value - best for method, value in r2.items()}


def _mark(axis: Axes, method: str, difference: float, place: float) -> None:
    color, marker = STYLES[method]
    ours = method == OURS
    if difference < LEAST:
        axis.plot(LEAST, place, "<", color=color, ms=6, mew=0, clip_on=False, zorder=4)
        return
    axis.plot(
        difference, place, marker, color=color, ms=8.5 if ours else 5.5, mec="white", mew=0.6,
        zorder=5 if ours else 4, label=method,
    )  # fmt: skip


def _draw_ranks(axis: Axes, title: str, points: Mapping[str, Point]) -> None:
    """Draw mean ranks, the best on top, against seconds of a fit."""
    for method, (seconds, rank) in points.items():
        color, marker = STYLES[method]
        ours = method == OURS
        axis.plot(seconds, rank, marker, color=color, ms=11 if ours else 7, mec="white", mew=0.6)
        axis.annotate(
            method, (seconds, rank), xytext=(0, -15 if method in BELOW else 8),
            textcoords="offset points", ha="center", fontsize=9, color=INK,
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.margins(x=0.12, y=0.16)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10, color=INK)
    axis.set(xlabel="median seconds of a fit", ylabel="mean rank, best on top")
    _tidy(axis)


def _tidy(axis: Axes) -> None:
    axis.grid(color=GRID)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
