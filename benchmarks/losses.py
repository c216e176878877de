"""Compare losses, prediction intervals and shapes with gradient boosting's on real tables."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score, d2_tweedie_score
from sklearn.model_selection import ShuffleSplit

from benchmarks._command import main, named
from benchmarks._data import SEED, folds, split
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._peers import OURS, REGRESSORS, Peer
from benchmarks._sources import TABLES
from benchmarks._standings import by_table
from benchmarks._text import Target

SOURCES = TABLES["choose"] | TABLES["confirm"]
# Tables of both tiers with positive targets; no default was chosen by the second three.
NAMES = ["auto_mpg", "diabetes", "boston", "penguins", "College", "births14"]
LEVELS = (0.05, 0.5, 0.95)
SCORES = {
    "absolute_error": ({}, d2_absolute_error_score),
    "quantile 0.05": ({"quantile": 0.05}, partial(d2_pinball_score, alpha=0.05)),
    "quantile 0.95": ({"quantile": 0.95}, partial(d2_pinball_score, alpha=0.95)),
    "poisson": ({}, partial(d2_tweedie_score, power=1)),
    "gamma": ({}, partial(d2_tweedie_score, power=2)),
}
KNOWN = {
    "auto_mpg": {"weight": -1, "horsepower": -1, "year": 1},
    "diabetes": {"bmi": 1, "bp": 1},
    "boston": {"lstat": -1, "rm": 1},
    "concrete": {"cement": 1, "water": -1, "age": 1},
}
FEW = 100  # rows to learn a shape from
METHODS = {name: REGRESSORS[name] for name in (OURS, "HistGB")}


def losses(quick: bool) -> Experiment:
    """Score the fit of each loss by that loss, relative to the best constant's."""

    def measure(problem, peer: Peer, fold: int) -> Row:
        name, label = problem
        (parameters, score), (X, y) = SCORES[label], SOURCES[name]()
        train, test = split(X, y, fold)
        peer = peer.set(loss=label.split()[0], **parameters)
        model, seconds = timed(lambda: peer.encoded().fit(X.iloc[train], y[train]))
        d2 = score(y[test], model.predict(X.iloc[test]))
        return {"D2": d2, "table": name, "loss": label, **seconds}

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.pivot_table(["D2", "seconds"], ["table", "loss"], "method", sort=False)
        pairs = [("D2", OURS), ("D2", "HistGB"), ("seconds", OURS), ("seconds", "HistGB")]
        return found[pairs].set_axis(["D^2 of skrelu", "of HistGB", "s", "s of HistGB"], axis=1)

    def targets(rows: pd.DataFrame) -> list[Target]:
        found = table(rows)
        share = (found["D^2 of skrelu"] > found["of HistGB"]).mean()
        return [Target("share of rows where skrelu is better", share, 0.5, at_least=True)]

    return Experiment(
        problems={f"{name}, {label}": (name, label)
                  for name in NAMES[: 1 if quick else None] for label in SCORES},
        methods=METHODS, measure=measure, scores=("D2", "table", "loss"), repeats=1 if quick else 5,
        table=table, targets=targets,
        note="1 - loss / loss of the best constant, means over 5 folds; seconds a fit, one thread.",
    )  # fmt: skip


def intervals(quick: bool) -> Experiment:
    """Count how many targets 90 % intervals hold, and how wide they are."""

    def quantiles(peer: Peer, X, y, test):
        if not peer.mixed:
            return peer.set(quantile=list(LEVELS)).encoded().fit(X, y).predict(test)
        levels = [peer.set(quantile=level).encoded().fit(X, y).predict(test) for level in LEVELS]
        return np.column_stack(levels)

    def measure(data, peer: Peer, repeat: int) -> Row:
        X, y = data
        peer, found, tested, total = peer.set(loss="quantile"), [], [], {}
        for train, test in list(folds(5).split(X))[: 1 if quick else None]:
            given = X.iloc[train], y[train], X.iloc[test]
            values, seconds = timed(quantiles, peer, *given)
            found.append(values)
            tested.append(y[test])
            total = {name: total.get(name, 0) + value for name, value in seconds.items()}
        values, y = np.concatenate(found), np.concatenate(tested)
        low, _, high = values.T
        return {
            "held": float(np.mean((low <= y) & (y <= high))),
            "width": float(np.mean(high - low) / y.std()),
            "crossed": float(np.mean((np.diff(values) < 0).any(1))),
            **total,
        }

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.set_index(["problem", "method"])
        names = {
            OURS: ("held", "width", "crossed"),
            "HistGB": ("held by HistGB", "width ", "crossed "),
        }
        parts = [
            found.xs(method, level=1)[["held", "width", "crossed"]].set_axis(columns, axis=1)
            for method, columns in names.items()
        ]
        return pd.concat(parts, axis=1).rename_axis("table")

    return Experiment(
        problems={name: SOURCES[name] for name in NAMES[: 1 if quick else None]}, methods=METHODS,
        measure=measure, scores=("held", "width", "crossed"), table=table,
        targets=lambda rows: [Target(
            "most that the share held is off 0.9", (table(rows)["held"] - 0.9).abs().max(), 0.03)],
        note="""\
5 % to 95 % quantiles: share of targets held over 5 folds, mean width over the standard
deviation of y, share of crossed quantiles.""",
    )  # fmt: skip


def shapes(quick: bool) -> Experiment:
    """Learn from few rows, with and without knowing with which features the target rises."""

    def measure(name: str, method, draw: int) -> Row:
        peer, monotone = method
        X, y = SOURCES[name]()
        X = X.select_dtypes("number")
        signs = np.array([KNOWN[name].get(column, 0) for column in X.columns])
        splits = ShuffleSplit(2 if quick else 10, train_size=FEW, random_state=SEED).split(X)
        train, test = list(splits)[draw]
        peer, X = peer.set(monotonic_cst=signs if monotone else None), X.to_numpy()
        model, seconds = timed(lambda: peer().fit(X[train], y[train]))
        return {"R2": model.score(X[test], y[test]), **seconds}

    known = "; ".join(
        f"{name}: " + ", ".join(f"{'+' if sign > 0 else '-'}{c}" for c, sign in signs.items())
        for name, signs in KNOWN.items()
    )
    return Experiment(
        problems={name: name for name in list(KNOWN)[: 1 if quick else None]},
        methods={f"{name}{', monotone' * monotone}": (peer, monotone)
                 for name, peer in METHODS.items() for monotone in (False, True)},
        measure=measure, scores=("R2",), repeats=2 if quick else 10,
        table=lambda rows: by_table(rows, "R2").rename_axis("table"),
        note=f"R^2, means over 10 draws of {FEW} rows to learn from. Known:\n{known}.",
    )  # fmt: skip


EXPERIMENTS = named(losses, intervals, shapes)

if __name__ == "__main__":
    main("losses", __doc__ or "", EXPERIMENTS)
