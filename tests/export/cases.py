"""Fitted models of all kinds, with points to predict and the columns that exports read."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from tests.paths import MODELS, SMALL, few_waves, make_table, targets


def _regressor(**parameters):
    return ExponentialReLURegressor(**{**SMALL, **parameters})


def _mixed():
    """Return a table with a number, a category and missing values, and targets."""
    rng = np.random.default_rng(0)
    size, kind = rng.uniform(size=200), rng.integers(0, 3, size=200)
    y = np.sin(3 * size) + kind + 0.1 * rng.normal(size=200)
    X = pd.DataFrame({"size": np.where(rng.random(200) < 0.2, np.nan, size)})
    X["kind"] = pd.Categorical(np.array(["a", "b", "c"])[kind])
    return X, y


X, Y = make_table()
MIXED = _mixed()
ENCODED = {"max_iter": 5, "random_state": 0}
MORE = make_table(120)[0]
STEEP = np.sign(MORE[:, 0] - 0.5) + 0.3 * np.random.default_rng(1).normal(size=120)
CURVE = np.linspace(0, 1, 200)[:, None]
FURTHER = {
    "several outputs": (_regressor(n_levels=1), X, np.column_stack([Y, Y**2, -3 * Y])),
    "several outputs, composed": (_regressor(n_levels=2), X, np.column_stack([Y, Y**2])),
    "gamma": (_regressor(loss="gamma"), X, Y),
    "three quantiles": (_regressor(loss="quantile", quantile=[0.1, 0.5, 0.9]), X, Y),
    "constant outside": (_regressor(extrapolation="constant"), X, Y),
    "constant outside, poisson": (_regressor(extrapolation="constant", loss="poisson"), X, Y),
    "linear outside, poisson": (_regressor(extrapolation="linear", loss="poisson"), X, Y),
    "windows": (ExponentialReLURegressor(random_state=0), CURVE, np.sin(60 * CURVE[:, 0])),
    "far from 0": (_regressor(n_levels=1), X + np.array([1e6, 0, 0]), Y),
    "mixed": (_regressor(n_levels=1), *MIXED),
    "mixed classes": (ExponentialReLUClassifier(**SMALL), MIXED[0], MIXED[1] > 1),
    "named classes": (ExponentialReLUClassifier(**SMALL), X, np.array(["ü", "b", "a"] * 20)),
    "encoded": (ExponentialReLURegressor(**ENCODED), MORE, STEEP),
    "encoded, mixed": (ExponentialReLURegressor(**ENCODED), *MIXED),
    "encoded, several": (
        ExponentialReLURegressor(**ENCODED),
        MORE,
        np.column_stack([STEEP, -STEEP]),
    ),
    "encoded classes": (ExponentialReLUClassifier(**ENCODED), MORE, np.digitize(STEEP, [-1, 1])),
    "huge": (_regressor(n_levels=1), X * 1e300, Y * 1e300),
    "tiny": (_regressor(n_levels=1), X * 1e-300, Y * 1e-300),
}
LARGE = ("default", "encoded", "encoded, mixed", "encoded, several", "encoded classes")
NAMES = [
    pytest.param(
        name,
        marks=[pytest.mark.slow] * (name in LARGE)
        + [pytest.mark.long] * (name in ("default", "encoded")),
    )
    for name in (*MODELS, *FURTHER)
]
# Doubles only: others lose digits of inputs or overflow.
DOUBLE = ("far from 0", "huge", "tiny")


@cache
def case(name):
    """Return a fitted model, points, the columns that exports read there, and outputs there."""
    with few_waves(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if name in FURTHER:
            model, inputs, y = FURTHER[name]
            model.fit(inputs, y)
        else:
            inputs = X
            model = MODELS[name]("cpu").fit(X, targets(name, Y))
    points = inputs
    if isinstance(inputs, np.ndarray):
        center = inputs.mean(0)
        points = np.concatenate([inputs, center + 1.5 * (inputs - center)])
    columns = np.ascontiguousarray(model.encode(points))
    classifies = hasattr(model, "classes_")
    outputs = model.decision_function(points) if classifies else model.predict(points)
    return model, points, columns, outputs.reshape(len(columns), -1)


def predictions(name):
    """Return probabilities, or predictions as a table."""
    model, points, _, outputs = case(name)
    return model.predict_proba(points) if hasattr(model, "classes_") else outputs


@cache
def summands(name):
    """Return how much is summed to a value, where it exceeds the value by far.

    The default fit of so few rows is a sum of 128 periodic waves, which nearly cancel.
    """
    if name != "default":
        return 0.0
    model, points, *_ = case(name)
    return np.abs(model.predict_contributions(points)).sum(1).max()


def assert_same(found, expected, digits=1e-12, name=None):
    """Check values up to rounding, relative to the largest one of each column.

    With the name of a case, the rounding of what is summed to a value is allowed, too.
    """
    dtype = getattr(found, "dtype", np.dtype(float))
    found, expected = np.asarray(found, dtype=float), np.asarray(expected)
    assert found.shape == expected.shape
    size = np.abs(expected).max(0)
    with np.errstate(under="ignore"):
        room = digits * size + 5 * np.finfo(dtype).eps * summands(name)
        apart = np.abs(found - expected)
        assert (apart <= room).all(), apart.max(0) / np.where(size > 0, size, 1)
