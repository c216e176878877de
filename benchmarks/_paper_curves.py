"""The paper's curves: many starts, few points, noise, learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from benchmarks._curve_fits import fitted_by, smoothing_spline
from benchmarks._curves import PAPER_CURVES, Curve
from benchmarks._data import Array, grid
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._networks import any_size, default, plain, rai, recipe, staged, torch_default
from benchmarks._pictures import dots
from benchmarks._text import Target, summary, table

RECIPE, DEFAULT, THEIRS = "paper's recipe", "skrelu's default", "the paper's"
ANY_SIZE = "skrelu, any size"
STATISTICS = ("min", "median", "mean", "max")
SECONDS = {"s a fit": ("seconds", "mean")}
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
    n_starts, n_steps = (2, 100) if quick else (30, 2000)
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
        problems={curve.name: curve for curve in PAPER_CURVES[: 1 if quick else None]},
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
    """Return targets for the minima of skrelu's default, and of skrelu without a given size."""
    ours = rows[rows["method"].isin((DEFAULT, ANY_SIZE))]
    lowest = ours.groupby(["method", "problem"], sort=False)[score].min()
    return [
        Target(f"{problem}, {method}, min", value, limits[problem])
        for (method, problem), value in lowest.items()
    ]


def sparse(quick: bool) -> Experiment:
    """Fit ten points and test on ten between them."""
    n_starts, n_steps = (2, 100) if quick else (30, 2000)
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
        problems={curve.name: curve for curve in PAPER_CURVES[: 1 if quick else None]},
        methods={"PyTorch default, Adam": by_torch, RECIPE: by_recipe, DEFAULT: default,
                 ANY_SIZE: any_size},
        measure=measure, scores=("test_mse", "training_mse"), repeats=n_starts,
        batched=["PyTorch default, Adam"],
        report=lambda rows: table(["the paper's minima", *SPLINES],
                                  [[name, *values] for name, values in PAPER_SPARSE.items()]),
        targets=lambda rows: least(rows, "test_mse", {c: v / 3 for c, v in paper.items()}),
        note=f"""\
Test MSE. 20 evenly spaced points on [0, 1]: every other one trains, with the turns changed in
the middle so that both ends train and every test point lies between training points.
One 4x5 network, {n_starts} starts; Adam: {n_steps} full-batch steps at 1e-3. Any size: the
estimator as it comes, which takes about 15 sub-networks.""",
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
