"""Reproduce the paper's experiments beside skrelu's own fit, and go on from there.

Milkert, Hyde and Laine (2025), https://arxiv.org/abs/2311.18022. Each experiment writes its table
to docs/tables/paper_NAME.csv and its picture to docs/images/paper_NAME.png.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from benchmarks import _data
from benchmarks._command import main, named
from benchmarks._cost import cost
from benchmarks._curve_fits import fitted_by, smoothing_spline
from benchmarks._curves import DEPTH_CURVES, PAPER_CURVES, Curve
from benchmarks._data import Array, grid, split
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._networks import Dense, default, plain, rai, recipe, staged, torch_default
from benchmarks._pictures import BLUE, GREY, RED, dots, legend, panels
from benchmarks._text import Target, summary, table

RECIPE, DEFAULT, THEIRS = "paper's recipe", "skrelu's default", "the paper's"
STATISTICS = ("min", "median", "mean", "max")
SECONDS = {"s a fit": ("wall_seconds", "mean")}
N_SUBNETWORKS = 32  # of the table
SPLINES = {curve.name: curve.spline_mse(32) for curve in PAPER_CURVES}
# The paper's figures, minimum and mean of 30 (of the sparse points minimum of the test MSE), in the
# order of `PAPER_CURVES`.
PAPER_RECIPE = "with Theorem 3.1"
PAPER = {
    "PyTorch default": ((2.11e-5, 2.19e-5, 4.50e-5, 5.75e-5), (7.20e-2, 2.82e-2, 1.15e-1, 1.96e-1)),
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
PAPER_SPARSE = {
    "PyTorch default": (2.41e-4, 2.14e-3, 2.27e-5, 1.60e-4),
    PAPER_RECIPE: (5.65e-6, 6.53e-4, 7.92e-7, 5.09e-6),
}
# Minimum training MSE of 30.
PAPER_TWO = {"x^3 - x": 5.52e-7, "r^3": 3.5e-6}
TARGET_TWO = {"x^3 - x": 5e-8, "r^3": 1e-7}


def fitted(X: Array, y: Array, method, seeds, *points: Array):
    """Return seeds, predictions (n_seeds, n_samples) at points, and seconds a fit."""
    model = method(seeds)
    _, seconds = timed(model.fit, X, y)
    of = seeds if isinstance(seeds, list) else [seeds]
    return of, [np.atleast_2d(model.predict(x)) for x in points], {
        name: value / len(of) for name, value in seconds.items()
    }  # fmt: skip


def by_start(of, seconds: Row, **scores: Array) -> list[Row]:
    """Return a row for each start."""
    names = list(scores)
    return [
        {"repeat": seed, **dict(zip(names, map(float, values), strict=True)), **seconds}
        for seed, *values in zip(of, *scores.values(), strict=True)
    ]


def spread(score: str, more: Mapping[str, tuple[str, str]], corner=("curve", "fit")):
    """Return a function from rows to a frame: statistics of a score, and of other columns."""
    columns = {how: (score, how) for how in STATISTICS}
    return summary(["problem", "method"], {**columns, **more}, corner)


def drawn(name: str, score: str, xlabel: str, frame, line=None, **more) -> Experiment:
    """Return an experiment whose table is paper_NAME.csv, and whose picture has a dot a fit."""
    return Experiment(
        table=frame, files={f"paper_{name}": frame},
        pictures={f"paper_{name}": lambda rows: dots(rows, score, xlabel, line)}, **more,
    )  # fmt: skip


def with_line(frame, label: str, column: str, values):
    """Return a function that adds a row to a frame for each problem."""

    def made(rows: pd.DataFrame) -> pd.DataFrame:
        table = frame(rows)
        for problem in table.index.unique(0):
            table.loc[(problem, label), column] = values[problem]
        order = {problem: i for i, problem in enumerate(rows["problem"].unique())}
        return table.sort_index(level=0, key=lambda names: names.map(order), kind="stable",
                                sort_remaining=False)  # fmt: skip

    return made


def dense(quick: bool) -> Experiment:
    """Compare training and maximum errors of ten ways to fit four curves."""
    n_starts, n_steps = (5, 100) if quick else (30, 2000)
    started, by_stages = partial(plain, n_steps=n_steps), partial(staged, n_steps=n_steps)
    batched = {
        "PyTorch default, Adam": partial(started, draw=torch_default),
        "PyTorch default, standardized, Adam": partial(
            started, draw=torch_default, standardize=True
        ),
        "PyTorch default, standardized, LM": partial(
            started, draw=torch_default, standardize=True, solver="lm"
        ),
        "RAI, Adam": partial(started, draw=rai),
        "pretraining skipped, one draw": partial(by_stages, pretraining=0.0, screened=False),
        "pretraining skipped": partial(by_stages, pretraining=0.0),
        "free scales": partial(by_stages, smooth=False),
        "paper's recipe, one draw": partial(by_stages, screened=False),
    }

    def measure(curve: Curve, method, repeat) -> list[Row]:
        X, points = grid(500), grid(20_001)
        y = curve.value(X[:, 0])
        of, (near, far), seconds = fitted(X, y, method, repeat, X, points)
        error = np.abs(far - curve.value(points[:, 0])).max(1)
        return by_start(of, seconds, mse=np.mean((near - y) ** 2, 1), max_error=error)

    errors = {"max error, median": ("max_error", "median"), "worst": ("max_error", "max")}
    frame = spread("mse", errors | SECONDS)
    header = [f"{of} {curve.name}" for of in ("min", "mean") for curve in PAPER_CURVES]
    figures = [[name, *low, *mean] for name, (low, mean) in PAPER.items()]
    return drawn(
        "dense", "mse", "training MSE",
        with_line(frame, "best spline", "min", SPLINES), ("best spline of 32 pieces", SPLINES),
        problems={curve.name: curve for curve in PAPER_CURVES},
        methods={**batched, RECIPE: partial(recipe, n_steps=n_steps), DEFAULT: default},
        measure=measure, scores=("mse", "max_error"), repeats=n_starts, batched=list(batched),
        report=lambda rows: table(["the paper's figures", *header], figures),
        targets=lambda rows: [t for curve in frame(rows).index.unique(0)
                              for t in _dense_targets(curve, frame(rows).loc[curve])],
        note=f"""\
Training MSE of one network of 5 layers of 4 neurons, 500 evenly spaced points on [0, 1]; max
error on 20001 points. Adam: {n_steps} full-batch steps at 1e-3, the best step kept, in float64.
LM: at most 500 trial steps. The estimator standardizes X and y; networks that start from
PyTorch's or RAI weights take them as they are, as in the paper, unless the name says so.
Stages get half of the steps each. 'One draw': random peaks; otherwise the best of 64 such
draws by least squares, as in the estimator. In both, the coefficients start at their least
squares. Seconds a fit on one thread: for the last two ways the mean of {n_starts} fits one by one
(random_state 0, 1, ...); for the others, which it flatters, those of one batch of all starts over
their number. Spline: the best with 32 pieces; refinement may make more, so it is no bound.""",
    )  # fmt: skip


def _dense_targets(curve: str, found: pd.DataFrame) -> list[Target]:
    """Return the targets of one curve; found has statistics by method."""
    targets, at = [], list(SPLINES).index(curve)
    if RECIPE in found.index:
        for name, theirs in zip(("min", "mean"), PAPER[PAPER_RECIPE], strict=True):
            ratio = found.loc[RECIPE, name] / theirs[at]
            targets.append(Target(f"{curve}, {RECIPE}, {name} over the paper's", ratio, 3))
    if DEFAULT in found.index:
        ours = found.loc[DEFAULT]
        for name, limit in zip(STATISTICS, (1, 3, 5, 100), strict=True):
            what = f"{curve}, {DEFAULT}, {name} over the best spline"
            targets.append(Target(what, ours[name] / SPLINES[curve], limit))
        targets.append(Target(f"{curve}, {DEFAULT}, seconds a fit", ours["s a fit"], 0.3))
    return targets


def least(rows: pd.DataFrame, score: str, limits: dict[str, float]) -> list[Target]:
    """Return targets for the minima of skrelu's default."""
    lowest = rows[rows["method"] == DEFAULT].groupby("problem", sort=False)[score].min()
    return [
        Target(f"{problem}, {DEFAULT}, min", value, limits[problem])
        for problem, value in lowest.items()
    ]


def sparse(quick: bool) -> Experiment:
    """Fit ten points and test on ten between them."""
    n_starts, n_steps = (5, 100) if quick else (30, 2000)
    X, index = grid(20), np.arange(20)
    train = (index % 2 == 0) ^ (index >= 10)  # both ends train
    paper = dict(zip(SPLINES, PAPER_SPARSE[PAPER_RECIPE], strict=True))

    def measure(curve: Curve, method, repeat) -> list[Row]:
        y = curve.value(X[:, 0])
        of, (values,), seconds = fitted(X[train], y[train], method, repeat, X)
        squares = (values - y) ** 2
        test, training = squares[:, ~train].mean(1), squares[:, train].mean(1)
        return by_start(of, seconds, test_mse=test, training_mse=training)

    frame = spread("test_mse", {"training, median": ("training_mse", "median")} | SECONDS)
    by_torch = partial(plain, draw=torch_default, n_steps=n_steps)
    by_recipe = partial(recipe, n_steps=n_steps)
    return drawn(
        "sparse", "test_mse", "test MSE", frame, ("the paper's minimum", paper),
        problems={curve.name: curve for curve in PAPER_CURVES},
        methods={"PyTorch default, Adam": by_torch, RECIPE: by_recipe, DEFAULT: default},
        measure=measure, scores=("test_mse", "training_mse"), repeats=n_starts,
        batched=["PyTorch default, Adam"],
        report=lambda rows: table(["the paper's minima", *SPLINES],
                                  [[name, *values] for name, values in PAPER_SPARSE.items()]),
        targets=lambda rows: least(rows, "test_mse", {c: v / 3 for c, v in paper.items()}),
        note=f"""\
Test MSE. 20 evenly spaced points on [0, 1]: every other one trains, with the turns changed in
the middle so that both ends train and every test point lies between training points.
One 4x5 network, {n_starts} starts; Adam: {n_steps} full-batch steps at 1e-3.""",
    )  # fmt: skip


def gaussian(y: Array, rng: np.random.Generator) -> Array:
    """Return y with gaussian noise of 5 % of its standard deviation."""
    return y + 0.05 * y.std() * rng.normal(size=len(y))


def outliers(y: Array, rng: np.random.Generator) -> Array:
    """Return y with 5 % of the rows moved up or down by 2 standard deviations."""
    moved = rng.choice(len(y), len(y) // 20, replace=False)
    noisy = y.copy()
    noisy[moved] += 2 * y.std() * rng.choice([-1, 1], len(moved))
    return noisy


def noise(quick: bool) -> Experiment:
    """Fit curves with noise and with outliers; measure against the clean curve."""
    n_draws, n_steps = (2, 100) if quick else (6, 2000)
    X, points = grid(500), grid(20_001)

    def measure(problem, method, draw: int) -> list[Row]:
        curve, spoil = problem
        y, truth = curve.value(X[:, 0]), curve.value(points[:, 0])
        noisy = spoil(y, np.random.default_rng(draw))
        of, (values,), seconds = fitted(X, noisy, method, draw, points)
        return by_start(of, seconds, error=np.mean((values - truth) ** 2, 1) / y.var())

    frame = spread("error", {}, ("curve and noise", "fit"))
    return drawn(
        "noise", "error", "1 - R² on the clean curve", frame,
        problems={f"{curve.name}, {spoil.__name__}": (curve, spoil)
                  for curve in PAPER_CURVES for spoil in (gaussian, outliers)},
        methods={
            "PyTorch default, Adam": partial(
                plain, draw=torch_default, standardize=True, n_steps=n_steps),
            RECIPE: partial(recipe, n_steps=n_steps),
            f"{DEFAULT}, n_init=1": default,
            DEFAULT: partial(default, n_init="auto"),
            "smoothing spline": fitted_by(smoothing_spline),
        },
        measure=measure, scores=("error",), repeats=n_draws,
        note=f"""\
1 - R^2: mean squared error against the clean curve on 20001 points of [0, 1], over its
variance. 500 training points; gaussian: of 5 % of the standard deviation of y (0.0025
of its variance); outliers: 5 % of the rows moved by 2 standard deviations.
{n_draws} draws, each with its own random_state. One 4x5 network, but for the default
without n_init=1, which averages several; Adam: {n_steps} full-batch steps at 1e-3,
PyTorch's on standardized data.""",
    )  # fmt: skip


def train_mse(problem, method, repeat) -> list[Row]:
    """Return the training MSE of each start."""
    X, y = problem
    of, (values,), seconds = fitted(X, y, method, repeat, X)
    return by_start(of, seconds, mse=np.mean((values - y) ** 2, 1))


def learning_rate(quick: bool) -> Experiment:
    """Vary the learning rate of the paper's recipe."""
    n_starts, n_steps = (3, 100) if quick else (10, 2000)
    rates = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    methods = {f"{r:g}": partial(staged, n_steps=n_steps, learning_rate=r) for r in rates}
    frame = spread("mse", {}, ("curve", "learning rate"))
    return drawn(
        "learning_rate", "mse", "training MSE, by learning rate", frame,
        ("best spline of 32 pieces", SPLINES),
        problems={c.name: (grid(500), c.value(grid(500)[:, 0])) for c in PAPER_CURVES},
        methods=methods, measure=train_mse, scores=("mse",), repeats=n_starts,
        batched=list(methods),
        note=f"""\
Training MSE on 500 points, one 4x5 network, {n_starts} starts in one batch; the
paper's recipe, {n_steps} full-batch steps of Adam, half in each stage.""",
    )  # fmt: skip


def several(quick: bool) -> Experiment:
    """Fit two sub-networks to a curve with an inflection and to a function of two inputs."""
    n_starts, n_steps = (3, 100) if quick else (30, 2000)
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
        },
        measure=train_mse, scores=("mse",), repeats=n_starts,
        targets=lambda rows: least(rows, "mse", TARGET_TWO),
        note=f"""\
Training MSE. Two sub-networks of depth 5; 500 evenly spaced points on [-1, 1], and a grid of
40 x 40 points on [-1, 1]^2 with r = sqrt(x^2 + y^2). {n_starts} fits, random_state 0, 1, ...;
the recipe takes {n_steps} full-batch steps of Adam at 1e-3.""",
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
    depths, n_seeds = (range(1, 4), 2) if quick else (range(1, 13), 3)

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
    mse, seconds = found["mse"].median(), found["wall_seconds"].mean()
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


EXPERIMENTS = named(dense, sparse, noise, learning_rate, several, concrete, depth, cost)

if __name__ == "__main__":
    main("paper", __doc__ or "", EXPERIMENTS)
