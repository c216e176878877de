"""Curves on 500 points: one 4x5 network from many starts, by the paper's ways and by ours."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks._report import table, verdict
from benchmarks.paper._baselines import (
    DEFAULT,
    RECIPE,
    Method,
    default,
    plain,
    recipe,
    staged,
)
from benchmarks.paper._curves import PAPER_CURVES, Curve, grid
from benchmarks.paper._plain_network import rai, torch_default
from benchmarks.paper._results import (
    STATISTICS,
    save_dots,
    save_table,
    statistics,
    tables,
)

Array = NDArray[np.float64]

METHODS: dict[str, Method] = {
    "PyTorch default, Adam": partial(plain, draw=torch_default),
    "PyTorch default, standardized, Adam": partial(plain, draw=torch_default, standardize=True),
    "PyTorch default, standardized, LM": partial(
        plain, draw=torch_default, standardize=True, solver="lm"
    ),
    "RAI, Adam": partial(plain, draw=rai),
    "pretraining skipped, one draw": partial(staged, pretraining=0.0, screened=False),
    "pretraining skipped": partial(staged, pretraining=0.0),
    "free scales": partial(staged, smooth=False),
    "paper's recipe, one draw": partial(staged, screened=False),
    RECIPE: recipe,
    DEFAULT: default,
}
# The paper's figures, minimum and mean of 30, in the order of `PAPER_CURVES`.
PAPER_RECIPE = "with Theorem 3.1"
PAPER = {
    "PyTorch default": (
        (2.11e-5, 2.19e-5, 4.50e-5, 5.75e-5),
        (7.20e-2, 2.82e-2, 1.15e-1, 1.96e-1),
    ),
    "RAAI": ((2.14e-5, 4.40e-5, 3.59e-5, 1.09e-5), (3.97e-2, 4.12e-2, 3.63e-2, 2.31e-2)),
    "pretraining skipped": (
        (7.63e-7, 1.86e-5, 1.96e-7, 1.07e-6),
        (3.89e-5, 3.56e-4, 1.93e-5, 8.38e-5),
    ),
    "without Theorem 3.1": (
        (1.64e-7, 3.20e-6, 4.41e-8, 1.49e-7),
        (1.02e-5, 3.73e-5, 1.47e-5, 3.81e-4),
    ),
    PAPER_RECIPE: ((7.86e-8, 8.86e-7, 5.06e-8, 6.82e-8), (5.27e-7, 7.87e-6, 2.21e-7, 8.42e-7)),
}
NOTES = """\
One network of 5 layers of 4 neurons, 500 evenly spaced points on [0, 1]; MSE on these, max
error on 20001 points. Adam: {n_steps} full-batch steps at 1e-3, the best step kept, in float64.
LM: at most 500 trial steps. The estimator standardizes X and y; networks that start from
PyTorch's or RAI weights take them as they are, as in the paper, unless the name says so.
Stages get half of the steps each. 'One draw': random peaks; otherwise the best of 64 such
draws by least squares, as in the estimator. In both, the coefficients start at their least
squares. Seconds a fit on one thread: for the last two ways the mean of {n_starts} fits one by one
(random_state 0..{last}); for the others, which it flatters, those of one batch of all starts over
their number. Spline: the best with 32 pieces; refinement may make more, so it is no bound."""


def dense(quick: bool) -> str:
    """Compare training and maximum errors of ten ways to fit four curves."""
    n_starts, n_steps = (5, 100) if quick else (30, 2000)
    rows: list[list] = []
    lines: list[str] = []
    panels: dict[str, dict[str, Array]] = {}
    recipe(grid(500), grid(500)[:, 0], range(1), 2)  # torch postpones some of its imports
    for place, curve in enumerate(PAPER_CURVES):
        runs, found = {}, {}
        for name, method in METHODS.items():
            runs[name], found[name] = _measure(curve, method, n_starts, n_steps)
        panels[curve.name] = runs
        rows += [[curve.name, name, *columns] for name, columns in found.items()]
        rows.append([curve.name, "best spline", curve.spline_mse(32), *[None] * 6])
        if not quick:  # the targets are over 30 starts
            lines += _verdicts(curve, place, found)
    header = ["curve", "fit", *STATISTICS, "max error, median", "worst", "s a fit"]
    if not quick:
        save_table("dense", header, rows)
        splines = {curve.name: curve.spline_mse(32) for curve in PAPER_CURVES}
        save_dots("dense", panels, "training MSE", line=("best spline of 32 pieces", splines))
    notes = NOTES.format(n_steps=n_steps, n_starts=n_starts, last=n_starts - 1)
    return "\n".join([tables("training MSE", header, rows), "", notes, "", _paper_table(), *lines])


def _measure(
    curve: Curve, method: Method, n_starts: int, n_steps: int
) -> tuple[Array, list[float]]:
    """Return the training MSE of each start, and the columns of the table."""
    X, points = grid(500), grid(20_001)
    y = curve.value(X[:, 0])
    fits = method(X, y, range(n_starts), n_steps)
    mse = np.mean((fits.predict(X) - y) ** 2, 1)
    error = np.abs(fits.predict(points) - curve.value(points[:, 0])).max(1)
    rest = [float(np.median(error)), float(error.max()), fits.seconds]
    return mse, [*statistics(mse), *rest]


def _verdicts(curve: Curve, place: int, found: dict[str, list[float]]) -> list[str]:
    paper_min, paper_mean = (part[place] for part in PAPER[PAPER_RECIPE])
    low, _, mean, *_ = found[RECIPE]
    lines = [
        verdict(f"{curve.name}, {RECIPE}, {of} over the paper's", ratio, 3)
        for of, ratio in [("min", low / paper_min), ("mean", mean / paper_mean)]
    ]
    spline = curve.spline_mse(32)
    limits = zip(STATISTICS, found[DEFAULT], (1, 3, 5, 100), strict=False)
    lines += [
        verdict(f"{curve.name}, {DEFAULT}, {of} over the best spline", value / spline, limit)
        for of, value, limit in limits
    ]
    return [*lines, verdict(f"{curve.name}, {DEFAULT}, seconds a fit", found[DEFAULT][-1], 0.3)]


def _paper_table() -> str:
    header = ["the paper's figures"]
    header += [f"{of} {curve.name}" for of in ("min", "mean") for curve in PAPER_CURVES]
    return table(header, [[name, *low, *mean] for name, (low, mean) in PAPER.items()])
