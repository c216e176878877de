"""Reproduce the paper's experiments beside skrelu's own fit, and go on from there.

Milkert, Hyde and Laine (2025), https://arxiv.org/abs/2311.18022. Each experiment writes its table
to docs/tables/paper_NAME.csv and its picture to docs/images/paper_NAME.png.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from benchmarks import _data, _paper_curves
from benchmarks._command import main, named
from benchmarks._cost import cost
from benchmarks._curves import DEPTH_CURVES
from benchmarks._data import grid, split
from benchmarks._experiment import Experiment, Row
from benchmarks._networks import (
    Dense,
    any_size,
    compressed,
    default,
    plain,
    recipe,
    torch_default,
)
from benchmarks._paper_curves import (
    ANY_SIZE,
    DEFAULT,
    RECIPE,
    SECONDS,
    STATISTICS,
    THEIRS,
    by_start,
    drawn,
    fitted,
    least,
    spread,
    train_mse,
    with_line,
)
from benchmarks._pictures import BLUE, GREY, RED, dots, legend, panels
from benchmarks._text import Target, summary

N_SUBNETWORKS = 32  # of the table
# Minimum training MSE of 30.
PAPER_TWO = {"x^3 - x": 5.52e-7, "r^3": 3.5e-6}
TARGET_TWO = {"x^3 - x": 5e-8, "r^3": 1e-7}
COMPRESSED = "default fit, compressed to two"


def several(quick: bool) -> Experiment:
    """Fit two sub-networks to a curve with an inflection and to a function of two inputs."""
    n_starts, n_steps = (1, 100) if quick else (30, 2000)
    line = np.linspace(-1, 1, 500)[:, None]
    square = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 2), -1).reshape(-1, 2)
    frame = with_line(spread("mse", SECONDS, ("target", "fit")), THEIRS, "min", PAPER_TWO)
    return drawn(
        "several", "mse", "training MSE", frame, ("the paper's minimum", PAPER_TWO),
        problems={
            "x^3 - x": (line, line[:, 0] ** 3 - line[:, 0]),
            "r^3": (square, np.hypot(*square.T) ** 3),
        },
        methods={
            RECIPE: partial(recipe, n_subnetworks=2, n_steps=n_steps),
            DEFAULT: partial(default, n_subnetworks=2),
            COMPRESSED: compressed,
            ANY_SIZE: any_size,
        },
        measure=train_mse, scores=("mse",), repeats=n_starts,
        skip=lambda problem, method: method == COMPRESSED and (quick or problem != "r^3"),
        targets=lambda rows: least(rows, "mse", TARGET_TWO),
        note=f"""\
Training MSE. Two sub-networks of depth 5; 500 evenly spaced points on [-1, 1], and a grid of
40 x 40 points on [-1, 1]^2 with r = sqrt(x^2 + y^2). {n_starts} fits, random_state 0, 1, ...;
the recipe takes {n_steps} full-batch steps of Adam at 1e-3. Compressed: at most 400 weights and
biases in two sub-networks whose layers are released to dense ones, from a default fit.
Any size: the estimator as it comes.""",
    )  # fmt: skip


def concrete(quick: bool) -> Experiment:
    """Compare block-diagonal with dense hidden layers on a table with noise."""
    n_folds, n_steps = (1, 20) if quick else (5, 2000)
    ours = partial(default, n_subnetworks=N_SUBNETWORKS)
    by_layers = partial(Dense, n_steps=n_steps, n_subnetworks=N_SUBNETWORKS)

    def measure(data, method, fold: int) -> Row:
        X, y = data
        train, test = split(X, y, fold)
        X = StandardScaler().fit(X[train]).transform(X)
        mean, scale = y[train].mean(), y[train].std()
        goal = (y[train] - mean) / scale
        _, (values,), seconds = fitted(X[train], goal, lambda fold: method(0), fold, X)
        squares = (scale * values[0] + mean - y) ** 2
        scores = {"test_mse": squares[test].mean(), "training_mse": squares[train].mean()}
        return {**scores, **seconds}

    columns = {**{how: ("test_mse", how) for how in STATISTICS},
               "training MSE": ("training_mse", "mean"), **SECONDS}  # fmt: skip
    frame = summary(["method"], columns, "test MSE of")

    def picture(rows: pd.DataFrame):
        rows = rows.assign(problem=(title := "concrete, 5 folds"))
        return dots(rows, "test_mse", "test MSE", ("target", {title: 22.0}))

    return Experiment(
        problems={"concrete": _data.concrete},
        methods={
            "skrelu, n_init=1, refine=False": partial(ours, refine=False),
            "skrelu, n_init=1": ours,
            "skrelu, n_init=1, refine_max_iter=60": partial(ours, refine_max_iter=60),
            "skrelu, refine=False": partial(ours, n_init="auto", refine=False),
            "skrelu": partial(ours, n_init="auto"),
            RECIPE: partial(recipe, n_subnetworks=N_SUBNETWORKS, n_steps=n_steps),
            "recipe, released to dense": partial(by_layers, released=True),
            "dense, PyTorch default": by_layers,
        },
        measure=measure, scores=("test_mse", "training_mse"), repeats=n_folds, table=frame,
        targets=lambda rows: [Target("skrelu, mean test MSE", frame(rows)["mean"]["skrelu"], 22)],
        files={"paper_concrete": frame},
        pictures={"paper_concrete": picture},
        note=f"""\
KFold(5, shuffle=True, random_state=0); 32 sub-networks of depth 5, which is 128 neurons
a layer (130 where dense: two carry the linear part). skrelu without n_init=1 averages
several starts; every other row is one network. By default skrelu does not refine where
held-out rows show noise, as here. X and y are standardized for all rows.
Adam: {n_steps} full-batch steps at 1e-3 in total. Released: half of them as triangle
waves, then all weights of the dense layers, in float32 as PyTorch's. The best step on
the training rows is kept by skrelu's Adam, the last one by PyTorch's. The paper: 30.1
block-diagonal (40.8 from PyTorch default weights), 22.3 dense (21.2).""",
    )  # fmt: skip


OTHER, SPLINE = "PyTorch default weights, LM", "best spline of 2^depth pieces"
SMOOTH_CONVEX = ("x^2", "x^3", "exp(x)")


def depth(quick: bool) -> Experiment:
    """Fit curves with networks of 1 to 12 layers."""
    depths, n_seeds = (range(1, 3), 1) if quick else (range(1, 13), 3)

    def measure(problem, method, repeat) -> list[Row]:
        curve, n_layers = problem
        X, points = grid(min(4096, max(500, 4 * 2**n_layers))), grid(20_001)
        y, truth = curve.value(X[:, 0]), curve.value(points[:, 0])
        of, (values,), seconds = fitted(X, y, partial(method, depth=n_layers), repeat, points)
        rows = by_start(of, seconds, mse=np.mean((values - truth) ** 2, 1))
        return [{**row, "curve": curve.name, "depth": n_layers} for row in rows]

    return Experiment(
        problems={f"{curve.name}, depth {d}": (curve, d) for curve in DEPTH_CURVES for d in depths},
        methods={
            DEFAULT: default,
            OTHER: partial(plain, draw=torch_default, standardize=True, solver="lm"),
        },
        measure=measure, scores=("mse", "curve", "depth"), repeats=n_seeds, batched=[OTHER],
        table=by_depth,
        targets=lambda rows: [t for c in SMOOTH_CONVEX for t in _depth_targets(c, by_depth(rows))],
        files={"paper_depth": lambda rows: by_depth(rows).reset_index()},
        pictures={"paper_depth": draw_depth},
        note=f"""\
One network of 4 neurons a layer; min(4096, max(500, 4 * 2^depth)) evenly spaced points on
[0, 1], MSE on 20001 points, medians (and minima) of {n_seeds} fits. PyTorch's default weights:
standardized X and y, at most 500 trial steps of LM, starts in one batch. A fitted network may
have more than 2^depth linear regions, so the spline is no bound. Ratio: MSE of one layer fewer
over that of this depth, by the medians.""",
    )  # fmt: skip


def by_depth(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians by curve and depth, and the best spline's."""
    found = rows.groupby(["method", "curve", "depth"], sort=False)
    mse, seconds = found["mse"].median(), found["seconds"].mean()
    ours = mse[DEFAULT]
    frame = pd.DataFrame({DEFAULT: ours, "min": found["mse"].min()[DEFAULT]})
    frame["ratio"] = ours.groupby(level=0, sort=False).shift() / ours
    frame["s a fit"] = seconds[DEFAULT]
    frame[OTHER] = mse[OTHER] if OTHER in mse.index else np.nan
    curves = {curve.name: curve for curve in DEPTH_CURVES}
    frame[SPLINE] = [curves[name].spline_mse(2**n_layers) for name, n_layers in frame.index]
    return frame


def _depth_targets(curve: str, frame: pd.DataFrame) -> list[Target]:
    if curve not in frame.index.unique(0):
        return []
    found = frame.loc[curve]
    later = found["ratio"].loc[3:10] if 3 in found.index else found["ratio"]
    name = f"{curve}, one layer more divides the MSE"
    mean = float(np.exp(np.log(later).mean()))
    targets = [
        Target(f"{name}, depth 2 to 10, least", later.min(), 10, at_least=True),
        Target(f"{name}, geometric mean", mean, 10, at_least=True),
    ]
    if curve == "exp(x)":
        median = found[DEFAULT].get(10, np.nan)
        targets.append(Target("exp(x), depth 10, median", median, 1e-13))
    return targets


def draw_depth(rows: pd.DataFrame):
    """Draw the error of each curve against the depth."""
    frame, colors = by_depth(rows), {DEFAULT: BLUE, OTHER: GREY, SPLINE: RED}
    figure, axes = panels(2, 3, (9.7, 6), sharex=True)
    for axis, (title, found) in zip(axes.flat, frame.groupby(level=0, sort=False), strict=True):
        depths = found.index.get_level_values(1)
        for name, color in colors.items():
            line, marker = ("--", "") if name == SPLINE else ("-", "o")
            axis.plot(depths, found[name], line, marker=marker, ms=4, color=color, label=name)
        axis.set(yscale="log", title=title, xticks=depths)
    for axis in axes[-1]:
        axis.set_xlabel("depth")
    for axis in axes[:, 0]:
        axis.set_ylabel("MSE, median")
    legend(figure, axes[0, 0])
    return figure


EXPERIMENTS = named(
    *(_paper_curves.dense, _paper_curves.sparse, _paper_curves.noise, _paper_curves.learning_rate),
    *(several, concrete, depth, cost),
)

if __name__ == "__main__":
    main("paper", __doc__ or "", EXPERIMENTS)
