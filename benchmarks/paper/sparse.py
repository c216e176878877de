"""Curves from few points and from noisy ones, and the learning rate of the recipe."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from benchmarks._report import table, verdict
from benchmarks.paper._baselines import (
    DEFAULT,
    RECIPE,
    Fits,
    Method,
    default,
    plain,
    recipe,
    staged,
)
from benchmarks.paper._curves import PAPER_CURVES, grid
from benchmarks.paper._plain_network import torch_default
from benchmarks.paper._results import (
    STATISTICS,
    save_dots,
    save_table,
    statistics,
    tables,
)

Array = NDArray[np.float64]

SPARSE_METHODS: dict[str, Method] = {
    "PyTorch default, Adam": partial(plain, draw=torch_default),
    RECIPE: recipe,
    DEFAULT: default,
}
# Minimum test MSE of 30, in the order of `PAPER_CURVES`.
PAPER_SPARSE = {
    "PyTorch default": (2.41e-4, 2.14e-3, 2.27e-5, 1.60e-4),
    "with Theorem 3.1": (5.65e-6, 6.53e-4, 7.92e-7, 5.09e-6),
}
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def sparse(quick: bool) -> str:
    """Fit ten points and test on ten between them."""
    n_starts, n_steps = (5, 100) if quick else (30, 2000)
    X = grid(20)
    index = np.arange(20)
    train = (index % 2 == 0) ^ (index >= 10)  # both ends train
    rows, lines = [], []
    panels: dict[str, dict[str, Array]] = {}
    for place, curve in enumerate(PAPER_CURVES):
        y = curve.value(X[:, 0])
        panels[curve.name] = {}
        for name, method in SPARSE_METHODS.items():
            fits = method(X[train], y[train], range(n_starts), n_steps)
            squares = (fits.predict(X) - y) ** 2
            test = squares[:, ~train].mean(1)
            panels[curve.name][name] = test
            training = float(np.median(squares[:, train].mean(1)))
            rows.append([curve.name, name, *statistics(test), training, fits.seconds])
        if not quick:  # the figures are of 30 starts
            limit = PAPER_SPARSE["with Theorem 3.1"][place] / 3
            lowest = float(panels[curve.name][DEFAULT].min())
            lines.append(verdict(f"{curve.name}, {DEFAULT}, min", lowest, limit))
    header = ["curve", "fit", *STATISTICS, "training, median", "s a fit"]
    if not quick:
        save_table("sparse", header, rows)
        paper = {
            c.name: v for c, v in zip(PAPER_CURVES, PAPER_SPARSE["with Theorem 3.1"], strict=True)
        }
        save_dots("sparse", panels, "test MSE", line=("the paper's minimum", paper))
    notes = (
        "20 evenly spaced points on [0, 1]: every other one trains, with the turns changed in\n"
        "the middle so that both ends train and every test point lies between training points.\n"
        f"One 4x5 network, {n_starts} starts; Adam: {n_steps} full-batch steps at 1e-3."
    )
    names = ["the paper's minima", *(curve.name for curve in PAPER_CURVES)]
    paper_table = table(names, [[name, *values] for name, values in PAPER_SPARSE.items()])
    return "\n".join([tables("test MSE", header, rows), "", notes, "", paper_table, *lines])


def smoothing_spline(X: Array, y: Array, seeds: range, n_steps: int) -> Fits:
    """Fit a cubic smoothing spline, its penalty by generalized cross-validation."""
    spline = make_smoothing_spline(X[:, 0], y)
    return Fits(lambda points: spline(points[:, 0])[None], 0.0)


NOISE_METHODS: dict[str, Method] = {
    "PyTorch default, Adam": partial(plain, draw=torch_default, standardize=True),
    RECIPE: recipe,
    f"{DEFAULT}, n_init=1": default,
    DEFAULT: partial(default, n_init="auto"),
    "smoothing spline": smoothing_spline,
}


def gaussian(y: Array, rng: np.random.Generator) -> Array:
    """Return y with gaussian noise of 5 % of its standard deviation."""
    return y + 0.05 * y.std() * rng.normal(size=len(y))


def outliers(y: Array, rng: np.random.Generator) -> Array:
    """Return y with 5 % of the rows moved up or down by 2 standard deviations."""
    moved = rng.choice(len(y), len(y) // 20, replace=False)
    noisy = y.copy()
    noisy[moved] += 2 * y.std() * rng.choice([-1, 1], len(moved))
    return noisy


def noise(quick: bool) -> str:
    """Fit curves with noise and with outliers; measure against the clean curve."""
    n_draws, n_steps = (2, 100) if quick else (6, 2000)
    X, points = grid(500), grid(20_001)
    rows = []
    panels: dict[str, dict[str, Array]] = {}
    for curve in PAPER_CURVES:
        for spoil in (gaussian, outliers):
            y, truth = curve.value(X[:, 0]), curve.value(points[:, 0])
            title = f"{curve.name}, {spoil.__name__}"
            panels[title] = {}
            for name, method in NOISE_METHODS.items():
                errors = []
                for draw in range(n_draws):
                    noisy = spoil(y, np.random.default_rng(draw))
                    fits = method(X, noisy, range(draw, draw + 1), n_steps)
                    errors.append(np.mean((fits.predict(points) - truth) ** 2) / y.var())
                panels[title][name] = np.array(errors)
                rows.append([title, name, *statistics(panels[title][name])])
    header = ["curve and noise", "fit", *STATISTICS]
    if not quick:
        save_table("noise", header, rows)
        save_dots("noise", panels, "1 - R² on the clean curve")
    notes = (
        "Mean squared error against the clean curve on 20001 points of [0, 1], over its\n"
        "variance. 500 training points; gaussian: of 5 % of the standard deviation of y (0.0025\n"
        "of its variance); outliers: 5 % of the rows moved by 2 standard deviations.\n"
        f"{n_draws} draws, each with its own random_state. One 4x5 network, but for the default\n"
        f"without n_init=1, which averages several; Adam: {n_steps} full-batch steps at 1e-3,\n"
        "PyTorch's on standardized data."
    )
    return "\n".join([tables("1 - R^2", header, rows), "", notes])


def learning_rate(quick: bool) -> str:
    """Vary the learning rate of the paper's recipe."""
    n_starts, n_steps = (3, 100) if quick else (10, 2000)
    X = grid(500)
    rows = []
    panels: dict[str, dict[str, Array]] = {}
    for curve in PAPER_CURVES:
        y = curve.value(X[:, 0])
        panels[curve.name] = {}
        for rate in LEARNING_RATES:
            fits = staged(X, y, range(n_starts), n_steps, learning_rate=rate)
            mse = np.mean((fits.predict(X) - y) ** 2, 1)
            panels[curve.name][f"{rate:g}"] = mse
            rows.append([curve.name, f"{rate:g}", *statistics(mse)])
    header = ["curve", "learning rate", *STATISTICS]
    if not quick:
        save_table("learning_rate", header, rows)
        splines = {curve.name: curve.spline_mse(32) for curve in PAPER_CURVES}
        label = "training MSE, by learning rate"
        save_dots("learning_rate", panels, label, line=("best spline of 32 pieces", splines))
    notes = (
        f"Training MSE on 500 points, one 4x5 network, {n_starts} starts in one batch; the\n"
        f"paper's recipe, {n_steps} full-batch steps of Adam, half in each stage."
    )
    return "\n".join([tables("training MSE", header, rows), "", notes])
