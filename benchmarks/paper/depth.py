"""How fast the error falls with depth: single 4-wide networks beside the best spline."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks._report import ROOT, table, verdict
from benchmarks.paper._baselines import DEFAULT, Method, default, plain
from benchmarks.paper._curves import DEPTH_CURVES, Curve, grid
from benchmarks.paper._plain_network import torch_default
from benchmarks.paper._results import BLUE, GREY, RED, save_table

Array = NDArray[np.float64]

OTHER = "PyTorch default weights, LM"
SPLINE = "best spline of 2^depth pieces"
SMOOTH_CONVEX = ("x^2", "x^3", "exp(x)")
COLORS = {DEFAULT: BLUE, OTHER: GREY, SPLINE: RED}
NOTES = """\
One network of 4 neurons a layer; min(4096, max(500, 4 * 2^depth)) evenly spaced points on
[0, 1], MSE on 20001 points, medians (and minima) of {n_seeds} fits. PyTorch's default weights:
standardized X and y, at most 500 trial steps of LM, starts in one batch. A fitted network may
have more than 2^depth linear regions, so the spline is no bound. Ratio: MSE of one layer fewer
over that of this depth, by the medians."""


def depth(quick: bool) -> str:
    """Fit curves with networks of 1 to 12 layers."""
    depths, n_seeds = (range(1, 4), 2) if quick else (range(1, 13), 3)
    rows, lines = [], []
    found: dict[str, dict[str, Array]] = {}
    for curve in DEPTH_CURVES:
        measured = [_measure(curve, n_layers, n_seeds) for n_layers in depths]
        runs, others, seconds = (np.array(part) for part in zip(*measured, strict=True))
        medians = np.median(runs, 1)
        ratios = [None, *map(float, medians[:-1] / medians[1:])]
        spline = np.array([curve.spline_mse(2**n_layers) for n_layers in depths])
        found[curve.name] = {DEFAULT: medians, OTHER: np.median(others, 1), SPLINE: spline}
        for i, n_layers in enumerate(depths):
            values = (medians[i], runs[i].min(), seconds[i], np.median(others[i]), spline[i])
            row = list(map(float, values))
            rows.append([curve.name, n_layers, *row[:2], ratios[i], *row[2:]])
        if not quick:
            lines += _verdicts(curve, ratios, medians)
    header = ["curve", "depth", DEFAULT, "min", "ratio", "s a fit", OTHER, SPLINE]
    if not quick:
        save_table("depth", header, rows)
        _save_picture(depths, found)
    return "\n".join([table(header, rows), "", NOTES.format(n_seeds=n_seeds), *lines])


def _measure(curve: Curve, n_layers: int, n_seeds: int) -> tuple[Array, Array, float]:
    """Return the MSE of each of our fits and of the others, and our seconds a fit."""
    X, points = grid(min(4096, max(500, 4 * 2**n_layers))), grid(20_001)
    y, truth = curve.value(X[:, 0]), curve.value(points[:, 0])
    ours: Method = partial(default, depth=n_layers)
    other: Method = partial(
        plain, draw=torch_default, standardize=True, solver="lm", depth=n_layers
    )
    fits = [method(X, y, range(n_seeds), 0) for method in (ours, other)]
    mse = [np.mean((fit.predict(points) - truth) ** 2, 1) for fit in fits]
    return mse[0], mse[1], fits[0].seconds


def _verdicts(curve: Curve, ratios: list[float | None], medians: Array) -> list[str]:
    if curve.name not in SMOOTH_CONVEX:
        return []
    later = [ratio for ratio in ratios[2:10] if ratio is not None]  # depth 2 to 10
    name = f"{curve.name}, one layer more divides the MSE"
    lines = [
        verdict(f"{name}, depth 2 to 10, least", min(later), 10, at_least=True),
        verdict(f"{name}, geometric mean", float(np.prod(later) ** (1 / 8)), 10, at_least=True),
    ]
    if curve.name == "exp(x)":
        lines.append(verdict("exp(x), depth 10, median", float(medians[9]), 1e-13))
    return lines


def _save_picture(depths: range, found: dict[str, dict[str, Array]]) -> None:
    figure = Figure(figsize=(9.7, 6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for axis, (title, curves) in zip(axes.flat, found.items(), strict=True):
        for name, values in curves.items():
            dashed = "--" if name == SPLINE else "-"
            marker = "" if name == SPLINE else "o"
            axis.plot(depths, values, dashed, marker=marker, ms=4, color=COLORS[name], label=name)
        axis.set(yscale="log", title=title, xticks=depths)
        axis.grid(color="#e6e9ec")
    for axis in axes[-1]:
        axis.set_xlabel("depth")
    for axis in axes[:, 0]:
        axis.set_ylabel("MSE, median")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    figure.savefig(ROOT / "docs" / "images" / "paper_depth.png", dpi=100)
