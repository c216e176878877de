"""Measure `ExponentialReLURegressor`: time, accuracy, exactness of the conversions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3, make_regression
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV

from benchmarks import _data
from benchmarks._command import main, named
from benchmarks._data import split
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._lowering import lowering
from benchmarks._peers import OURS, REGRESSORS, Peer
from benchmarks._standings import by_table
from benchmarks._text import Target, summary

SKRELU, BOOSTING = REGRESSORS[OURS], REGRESSORS["HistGB"]
MLP, SCALED_MLP = REGRESSORS["MLP, X as it is"], REGRESSORS["MLP"]


def fit_time(quick: bool) -> Experiment:
    """Time default fits next to MLPRegressor on 200 rows of 10 features."""
    n_repeats, n_seeds = (3, 2) if quick else (7, 5)

    def measure(problem: tuple[int, int], peer: Peer, repeat: int) -> Row:
        noise, seed = problem
        X, y = make_regression(200, 10, noise=noise, random_state=seed)
        for _ in range(1 if repeat else 2):  # the first fit warms up
            _, seconds = timed(lambda: peer().fit(X, y))
        return {"noise": noise, **seconds}

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        medians = rows.groupby(["noise", "problem", "method"], sort=False)["wall_seconds"].median()
        by_seed, frames = medians.unstack(), {}
        for noise, found in by_seed.groupby(level=0, sort=False):
            each, (ours, theirs) = found[OURS] / found["MLP"], found[[OURS, "MLP"]].median()
            spread = f"{each.min():.2f} to {each.max():.2f}"
            frames[f"noise={noise}"] = [ours, theirs, ours / theirs, spread]
        columns = ["skrelu s", "MLP s", "ratio", "ratio by data set"]
        frame = pd.DataFrame(frames, index=columns).T
        return frame.rename_axis("make_regression(200, 10)")

    return Experiment(
        problems={f"noise={n}, {seed}": (n, seed) for n in (0, 20) for seed in range(n_seeds)},
        methods={OURS: SKRELU, "MLP": MLP}, measure=measure, scores=("noise",), repeats=n_repeats,
        table=table, note=f"Medians of {n_repeats} fits in turns, then over {n_seeds} data sets.",
        targets=lambda rows: [Target("ratio without noise", table(rows)["ratio"]["noise=0"], 2)],
    )  # fmt: skip


def concrete(quick: bool) -> Experiment:
    """Cross-validate default estimators on a table with noise."""
    n_splits = 1 if quick else 3

    def measure(data, peer: Peer, fold: int) -> Row:
        X, y = data
        train, test = split(X, y, fold)
        model, seconds = timed(lambda: peer().fit(X[train], y[train]))
        predicted = model.predict(X[test])
        rmse = root_mean_squared_error(y[test], predicted)
        return {"R2": r2_score(y[test], predicted), "RMSE": rmse, **seconds}

    def four_digits(of):
        return "R2", lambda r2: f"{of(r2.to_numpy()):.4f}"

    columns = {"R^2": four_digits(np.mean), "sd": four_digits(np.std), "min": four_digits(np.min),
               "RMSE": ("RMSE", "mean"), "s a fit": ("wall_seconds", "median")}  # fmt: skip
    return Experiment(
        problems={"concrete": _data.concrete},
        methods={
            OURS: SKRELU, "MLP": MLP, "MLP, X scaled": REGRESSORS["MLP, X scaled"],
            "MLP, X and y scaled": SCALED_MLP, "HistGradientBoosting": BOOSTING,
            "RandomForest": REGRESSORS["random forest"],
        },
        measure=measure, scores=("R2", "RMSE"), repeats=5 * n_splits,
        table=summary(["method"], columns, "concrete"),
        note=f"Means over 5 folds, {n_splits} shuffles; median seconds.",
        targets=lambda rows: [Target(
            "R^2 of skrelu", rows[rows["method"] == OURS]["R2"].mean(), 0.91, at_least=True)],
    )  # fmt: skip


def friedman(quick: bool) -> Experiment:
    """Compare errors on smooth functions of several inputs, without noise."""
    methods = {OURS: SKRELU, "MLP": MLP, "MLP, scaled": SCALED_MLP, "HistGB": BOOSTING}
    peers = ["MLP", "HistGB"]

    def measure(problem, peer: Peer, repeat: int) -> Row:
        name, make, seed = problem
        X, y = make(11000, random_state=seed)
        model, seconds = timed(lambda: peer().fit(X[:1000], y[:1000]))
        error = 1 - float(r2_score(y[1000:], model.predict(X[1000:])))
        return {"error": error, "function": name, **seconds}

    def with_ratios(errors: pd.DataFrame) -> pd.DataFrame:
        of = {"ratio to default peers": peers, "to all": [*peers, "MLP, scaled"]}
        ratios = {name: errors[OURS] / errors[names].min(axis=1) for name, names in of.items()}
        return errors[list(methods)].assign(**ratios)

    def medians(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.groupby(["function", "method"], sort=False)["error"].median().unstack()
        return with_ratios(found.reindex(rows["function"].unique()))

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        middle = medians(rows).rename(index="{}, median".format)
        both = pd.concat([with_ratios(by_table(rows, "error")), middle])
        order = [name for f in rows["function"].unique() for name in both.index if f in name]
        return both.loc[order].rename_axis("1 - R^2")

    makers = (make_friedman1, make_friedman2, make_friedman3)
    return Experiment(
        problems={
            f"friedman{i}, {seed}": (f"friedman{i}", make, seed)
            for i, make in enumerate(makers, 1) for seed in range(1 if quick else 3)
        },
        methods=methods, measure=measure, scores=("error", "function"), table=table,
        note="1000 training rows, 10000 test rows; data set's seed after its name.",
        targets=lambda rows: [
            Target(f"{name}, ratio of medians", ratio, 0.2)
            for name, ratio in medians(rows)["ratio to default peers"].items()
        ],
    )  # fmt: skip


def grid_search(quick: bool) -> Experiment:
    """Search over the depth with one and with two processes."""
    depths = range(1, 4) if quick else range(1, 9)

    def measure(data, n_jobs: int, repeat: int) -> list[Row]:
        X, y = data
        order = np.random.RandomState(0).permutation(len(X))  # neighbours in the table are alike
        search = GridSearchCV(SKRELU(), {"depth": depths}, cv=3, n_jobs=n_jobs)
        search, seconds = timed(search.fit, X[order], y[order])
        found = search.cv_results_
        columns = depths, found["mean_test_score"], found["mean_fit_time"]
        return [{"depth": d, "R2": r2, "fit_seconds": s, **seconds}
                for d, r2, s in zip(*columns, strict=True)]  # fmt: skip

    def r2(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.pivot(index="depth", columns="method", values="R2")

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        frame = r2(rows).map("{:.4f}".format).add_prefix("R^2, ")
        first = rows[rows["method"] == "n_jobs=1"].set_index("depth")
        return frame.assign(**{"s a fit": first["fit_seconds"]})

    def seconds(rows: pd.DataFrame) -> str:
        found = rows.groupby("method")["wall_seconds"].first()
        each = ", ".join(f"{value:.1f} with {name}" for name, value in found.items())
        return f"Seconds of the search, shuffled rows, cv=3: {each}."

    def apart(rows: pd.DataFrame) -> float:
        found = r2(rows)
        return float((found.max(axis=1) - found.min(axis=1)).max())

    return Experiment(
        problems={"concrete": _data.concrete}, methods={"n_jobs=1": 1, "n_jobs=2": 2},
        measure=measure, scores=("depth", "R2", "fit_seconds"), table=table, report=seconds,
        targets=lambda rows: [Target("largest difference", apart(rows), 0)],
    )  # fmt: skip


EXPERIMENTS = named(fit_time, concrete, friedman, lowering, grid_search)

if __name__ == "__main__":
    main("estimator", __doc__ or "", EXPERIMENTS)
