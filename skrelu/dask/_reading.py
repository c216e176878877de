"""Rows of a partition as numbers, read on the worker that has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skrelu._data.columns import is_missing
from skrelu._data.table import Array
from skrelu._estimators.tables import as_weights, columns_of, read_inputs, validated_data
from skrelu.dask._partitions import Part, lengths_checked


class Numbers(NamedTuple):
    """Rows as numbers, without those of weight 0."""

    X: Array  # (n_samples, n_columns)
    y: Array  # (n_samples, n_outputs), 0 and 1 for classes
    weights: Array  # (n_samples,)


@dataclass(frozen=True)
class Reader:
    """How partitions are read.

    Parameters
    ----------
    model : estimator
        An estimator of skrelu that knows its features and their categories.
    n_outputs : int
    log_link, zeros : bool
        Whether targets must not be negative, and whether they may be 0.
    classes : ndarray of shape (n_classes,) or None
    class_weights : ndarray of shape (n_classes,) or None
    """

    model: Any
    n_outputs: int
    log_link: bool = False
    zeros: bool = True
    classes: Any = None
    class_weights: Any = None

    def read(self, part: Part) -> Numbers:
        """Return a partition as numbers."""
        with naming(part):
            lengths_checked(part)
            if is_empty(part):
                n_columns = len(columns_of(self.model).owners)
                return Numbers(np.empty((0, n_columns)), np.empty((0, self.n_outputs)), np.empty(0))
            X, y, weights = validated_data(
                self.model,
                part.X,
                part.y,
                part.weights,
                suffix="_val",
                numeric=self.classes is None,
            )
            y, weights = self._targets(y, weights)
        X, kept = X.astype(float, copy=False), weights > 0
        return Numbers(X, y, weights) if kept.all() else Numbers(X[kept], y[kept], weights[kept])

    def _targets(self, y: Any, weights: Array) -> tuple[Array, Array]:
        if self.classes is None:
            y = y.reshape(len(y), -1).astype(float)
            if self.log_link and np.any((y < 0) if self.zeros else (y <= 0)):
                raise ValueError(f"The loss needs y {'>=' if self.zeros else '>'} 0.")
            return np.broadcast_to(y, (len(y), self.n_outputs)), weights
        index = np.searchsorted(self.classes, y)
        several = len(self.classes) > 2
        targets = index[:, None] == (np.arange(len(self.classes)) if several else [1])
        return targets.astype(float), weights * self.class_weights[index]


class Counts(NamedTuple):
    """What the first pass counts: rows, levels of categories, missing values, labels."""

    rows: tuple[int, ...]  # of positive weight in each partition
    weight: float
    squares: float  # of the weights
    n_outputs: int
    levels: dict[int, dict[Any, float]]  # weights of the levels of each category
    missing: Any  # (n_features,), whether values are missing
    known: Array  # (n_features,), numbers of known values
    means: Array  # (n_features,), of known values
    labels: dict[Any, float]  # weights of the labels

    @classmethod
    def of(cls, model: Any, part: Part, numeric: bool) -> Counts:
        """Count the rows of a partition."""
        with naming(part):
            lengths_checked(part)
            n_features = part.X.shape[1]
            if is_empty(part):
                none = np.zeros(n_features)
                return cls((0,), 0.0, 0.0, 0, {}, none > 0, none, none, {})
            table, categories = read_inputs(model, part.X, "X", check=False)
            weights = as_weights(part.weights, "sample_weight", len(table))
            kept = weights > 0
            levels = {
                j: _counted((v for v in values), weights, skip_missing=True)
                for j, values in categories.items()
            }
            table = table if kept.all() else table[kept]
            known, means = np.full(n_features, float(len(table))), table.mean(0)
            for j in np.flatnonzero(np.isnan(means)):
                x = table[~np.isnan(table[:, j]), j]
                known[j], means[j] = len(x), x.mean() if len(x) else 0.0
            any_missing = known < len(table)
            for j, values in categories.items():
                pairs = zip(values, kept, strict=True)
                any_missing[j] = any(is_missing(v) and k for v, k in pairs)
            labels = {} if numeric else _labels(part.y, weights)
            n_outputs = 1 if np.ndim(part.y) == 1 else part.y.shape[1]
        n_rows = int(kept.sum())
        weight, squares = float(weights.sum()), float(np.square(weights).sum())
        return cls((n_rows,), weight, squares, n_outputs, levels, any_missing, known, means, labels)

    def plus(self, other: Counts) -> Counts:
        """Return the counts of two lots of partitions, in order."""
        levels = {
            j: _added(self.levels.get(j, {}), other.levels.get(j, {}))
            for j in self.levels.keys() | other.levels.keys()
        }
        known = self.known + other.known
        part = other.known / np.maximum(known, 1)
        return Counts(
            self.rows + other.rows,
            self.weight + other.weight,
            self.squares + other.squares,
            max(self.n_outputs, other.n_outputs),
            levels,
            self.missing | other.missing,
            known,
            self.means + (other.means - self.means) * part,
            _added(self.labels, other.labels),
        )


def is_empty(part: Part) -> bool:
    """Return whether no row of a partition has a weight."""
    return not len(part.X) or (part.weights is not None and not np.any(np.asarray(part.weights)))


@contextmanager
def naming(part: Part) -> Iterator[None]:
    """Let errors name the partition."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        text = str(error).replace("_val", "")
        raise kind(f"Partition {part.number}: {text}") from None


def _labels(y: Any, weights: Array) -> dict[Any, float]:
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = labels.reshape(len(labels), -1)
        if labels.shape[1] > 1:
            raise ValueError(f"y has {labels.shape[1]} columns, but labels are a vector.")
        labels = labels[:, 0]
    check_classification_targets(labels)
    return _counted(labels.tolist(), weights)


def _counted(values: Any, weights: Array, skip_missing: bool = False) -> dict[Any, float]:
    counts: dict[Any, float] = {}
    for value, weight in zip(values, weights.tolist(), strict=True):
        if weight > 0 and not (skip_missing and is_missing(value)):
            counts[value] = counts.get(value, 0.0) + weight
    return counts


def _added(one: dict[Any, float], other: dict[Any, float]) -> dict[Any, float]:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in {**one, **other}}
