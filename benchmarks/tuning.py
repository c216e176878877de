"""Measure another value of a number in `skrelu._fit.tuning`.

    python -m benchmarks.tuning NAME VALUE [VALUE ...] [--rows 3000] [--repeats 2]

Fits the tables that defaults are chosen on, never those that confirm them, and three smooth
functions with the value that is set and with each other one, one after the other, and prints losses
and CPU seconds as ratios to those of the value that is set. Values are Python literals.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.datasets import make_friedman1, make_friedman2
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import train_test_split

from benchmarks._data import numbers
from benchmarks._experiment import Experiment, Row, run, timed
from benchmarks._sources import LABELLED, TABLES, two_spirals
from benchmarks._standings import by_table
from benchmarks._store import Store
from benchmarks._text import machine, shown
from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import tuning

LEAST = 1e-12  # added to losses: fits of curves without noise may have none
REGRESSOR, CLASSIFIER = ExponentialReLURegressor, ExponentialReLUClassifier


def problems(rows: int) -> Iterator[tuple[str, Any]]:
    """Yield names, and functions that return estimator, X and y; a random part of larger tables."""

    def part(estimator, load):
        X, y = load()
        X = numbers().fit_transform(X) if hasattr(X, "columns") else X
        kept = np.random.default_rng(0).permutation(len(X))[:rows]
        return estimator, X[kept], y[kept]

    for name, source in TABLES["choose"].items():
        yield name, partial(part, REGRESSOR, source)
    for name, source in LABELLED["choose"].items():
        yield name, partial(part, CLASSIFIER, source.labelled)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(500, 1))
    curve = np.sin(20 * x[:, 0]) + 0.1 * rng.normal(size=500)
    yield "friedman1", (REGRESSOR, *make_friedman1(1000, random_state=0))
    yield "friedman2", (REGRESSOR, *make_friedman2(1000, noise=50, random_state=0))
    yield "curve", (REGRESSOR, x, curve)
    yield "spirals", (CLASSIFIER, *two_spirals(noise=0.1, random_state=0))


def measure(name: str, problem, value: Any, seed: int) -> Row:
    """Return the loss on a fifth of the rows and the seconds of a fit to the others."""
    estimator, X, y = problem
    stratify = y if is_classifier(estimator()) else None
    parts = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=stratify)
    X, X_test, y, y_test = parts
    now = getattr(tuning, name)
    setattr(tuning, name, value)
    try:
        model, seconds = timed(estimator(random_state=seed).fit, X, y)
    finally:
        setattr(tuning, name, now)
    if stratify is not None:
        loss = log_loss(y_test, model.predict_proba(X_test), labels=model.classes_)
    else:
        loss = mean_squared_error(y_test, model.predict(X_test)) / np.var(y_test)
    return {"loss": loss, **seconds}


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Return losses and CPU seconds relative to those of the first value, that is set."""
    now, *others = rows["method"].unique()
    losses = rows.pivot(index=["problem", "repeat"], columns="method", values="loss") + LEAST
    logs = np.log(losses.div(losses[now], axis=0)).groupby(level=0, sort=False).mean()
    seconds = by_table(rows, "cpu_seconds")
    times = seconds.div(seconds[now], axis=0)[others].add_prefix("s, ")
    found = pd.concat([np.exp(logs)[others].add_prefix("loss, "), times], axis=1)
    frame = pd.DataFrame({f"loss, {now}": by_table(rows, "loss")[now], "s": seconds[now]})
    frame = frame.join(found).reindex(rows["problem"].unique())
    frame.loc["geometric mean"] = np.exp(np.log(found).mean())
    return frame


def compare(name: str, values: list[Any], rows: int, repeats: int) -> str:
    """Return a table of ratios to the value that is set."""
    experiment = Experiment(
        problems=dict(problems(rows)),
        methods={str(value): value for value in [getattr(tuning, name), *values]},
        measure=partial(measure, name), scores=("loss",), repeats=repeats,
    )  # fmt: skip
    store = Store(None, experiment.scores, quick=False)
    run(experiment, name, store)
    return shown(ratios(store.rows([name])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [name for name in vars(tuning) if name.isupper()]
    parser.add_argument("name", choices=names, metavar="NAME")
    parser.add_argument("values", nargs="+", type=ast.literal_eval, metavar="VALUE")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=2)
    chosen = parser.parse_args()
    print(machine(), compare(chosen.name, chosen.values, chosen.rows, chosen.repeats), sep="\n\n")
