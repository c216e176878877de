"""Measure another value of a number in `skrelu._fit.tuning`.

    python -m benchmarks.tuning NAME VALUE [VALUE ...] [--rows 3000] [--repeats 2]

Fits the tables that defaults are chosen on, never those that confirm them, and three smooth
functions with the value that is set and with each other one, one after the other, and prints losses
and CPU seconds as ratios to those of the value that is set. Values are Python literals.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.datasets import make_friedman1, make_friedman2
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import train_test_split

from benchmarks._classification_sources import LABELLED, two_spirals
from benchmarks._columns import columns
from benchmarks._comparison import one_silent_thread
from benchmarks._report import machine, table
from benchmarks._tables_sources import TIERS
from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import tuning

Problem = tuple[str, type, Any, NDArray]
LEAST = 1e-12  # added to losses: fits of curves without noise may have none


def problems(rows: int) -> Iterator[Problem]:
    """Yield name, estimator, X and y; of larger tables a random part."""
    rng = np.random.default_rng(0)
    for name, source in TIERS["choose"].items():
        X, y = source.load()
        yield name, ExponentialReLURegressor, *_part(X, y, rows)
    for name, source in LABELLED["choose"].items():
        X, y = source.load()
        yield name, ExponentialReLUClassifier, *_part(X, y, rows)
    yield "friedman1", ExponentialReLURegressor, *make_friedman1(1000, random_state=0)
    yield "friedman2", ExponentialReLURegressor, *make_friedman2(1000, noise=50, random_state=0)
    x = rng.uniform(size=(500, 1))
    yield "curve", ExponentialReLURegressor, x, np.sin(20 * x[:, 0]) + 0.1 * rng.normal(size=500)
    yield "spirals", ExponentialReLUClassifier, *two_spirals(noise=0.1, random_state=0)


def _part(X, y, rows: int) -> tuple[NDArray, NDArray]:
    """Return numbers, of a random part of the rows if there are more."""
    X = columns().fit_transform(X) if hasattr(X, "columns") else X
    kept = np.random.default_rng(0).permutation(len(X))[:rows]
    return X[kept], y[kept]


def measured(estimator: type, X, y, seed: int) -> tuple[float, float]:
    """Return the loss on a fifth of the rows and the CPU seconds of a fit to the others."""
    stratify = y if is_classifier(estimator()) else None
    parts = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=stratify)
    X, X_test, y, y_test = parts
    begin = time.process_time()
    model = estimator(random_state=seed).fit(X, y)
    seconds = time.process_time() - begin
    if stratify is not None:
        return log_loss(y_test, model.predict_proba(X_test), labels=model.classes_), seconds
    return mean_squared_error(y_test, model.predict(X_test)) / np.var(y_test), seconds


def compare(name: str, values: list[Any], rows: int, repeats: int) -> str:
    """Return a table of ratios to the value that is set."""
    now = getattr(tuning, name)
    lines, logs = [], []
    for problem, estimator, X, y in problems(rows):
        found = []
        for value in [now, *values]:
            setattr(tuning, name, value)
            with one_silent_thread():
                found.append([measured(estimator, X, y, seed) for seed in range(repeats)])
        setattr(tuning, name, now)
        losses, seconds = np.moveaxis(np.array(found), -1, 0)
        ratios = (losses[1:] + LEAST) / (losses[0] + LEAST)
        log = np.log(ratios).mean(1)
        times = seconds[1:].sum(1) / seconds[0].sum()
        logs.append(np.concatenate([log, np.log(times)]))
        lines.append([problem, losses[0].mean(), seconds[0].mean(), *np.exp(log), *times])
        print(
            f"{problem}: {np.exp(log).round(3)} of the loss, {times.round(2)} of the time",
            flush=True,
        )
    header = [
        "",
        f"loss, {now}",
        "s",
        *(f"loss, {v}" for v in values),
        *(f"s, {v}" for v in values),
    ]
    mean = np.exp(np.mean(logs, axis=0))
    return table(header, [*lines, ["geometric mean", "", "", *mean]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "name", choices=[name for name in vars(tuning) if name.isupper()], metavar="NAME"
    )
    parser.add_argument("values", nargs="+", type=ast.literal_eval, metavar="VALUE")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=2)
    chosen = parser.parse_args()
    print(machine(), compare(chosen.name, chosen.values, chosen.rows, chosen.repeats), sep="\n\n")
