r"""The effect of single features on predictions.

The effect of a value v of feature j is its partial dependence (Friedman 2001) minus the mean
prediction,

    e_j(v) = mean_i f(x_i with v in place of x_ij) - mean_i f(x_i).

If f is a sum of functions of single features, this is the summand of feature j minus its mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skrelu._data.columns import Columns
from skrelu._estimators.tables import columns_of
from skrelu.regions._checks import as_integer, checked_count, shown

Array = NDArray[np.float64]

# Most rows that are averaged over.
MOST_ROWS = 200
# Most values of a number that are all computed, and the number of quantiles if there are more.
MOST_VALUES, N_QUANTILES = 100, 50
# Smallest distance of values, relative to their range: closer ones differ by rounding.
LEAST_GAP = 1e-9
# Rows of a batch of predictions.
BATCH = 8192


@dataclass(frozen=True)
class FeatureEffect:
    """The effect of a feature on predictions, in their units.

    Parameters
    ----------
    name : str
        Name of the feature.
    values : ndarray of shape (n_values,) or list
        Increasing numbers, or the levels of a category as a list.
    effects : ndarray of shape (n_values,)
        Mean prediction if all rows have the value, minus the mean prediction.
    missing : float or None, default=None
        The same if the feature is missing; None if it never was.
    deciles : ndarray of shape (n_deciles,) or None, default=None
        Deciles of a number in the data.

    Examples
    --------
    >>> from skrelu.inspection import FeatureEffect
    >>> FeatureEffect("color", ["blue", "red"], np.array([-1.0, 1.0])).categorical
    True
    """

    name: str
    values: Array | list
    effects: Array
    missing: float | None = None
    deciles: Array | None = None

    @property
    def categorical(self) -> bool:
        """Whether the feature is a category."""
        return isinstance(self.values, list)


class Effects:
    """Computes effects of features on one output of a fitted model.

    Parameters
    ----------
    estimator : ExponentialReLUEstimator
    X : array-like of shape (n_samples, n_features)
    names : list of str
        Names of the features.
    """

    def __init__(self, estimator, X, names: list[str]) -> None:
        self.estimator, self.names = estimator, names
        self.columns: Columns = columns_of(estimator)
        self.table = np.asarray(estimator.encode(X), float)  # (n_samples, n_columns)
        self.rows = sampled(self.table, MOST_ROWS)
        self.means = estimator._means(self.rows).mean(0)  # (n_outputs,)
        self.knots = estimator._stored().knots()  # of each column

    def of(self, feature: int, output: int) -> FeatureEffect:
        """Return the effect of a feature."""
        column = self.columns.valued[feature]
        deciles = None
        if column is None:
            levels = self.estimator.categories_[feature]
            pooled = self.columns.n_levels[feature] > max(2, len(levels))
            values: Array | list = [*levels, "other"] if pooled else [*levels]
            codes = np.arange(len(values), dtype=float)
        else:
            x = self.table[:, column]
            if self.columns.marked[feature]:
                x = x[self.table[:, column + 1] == 0]
            values = codes = grid(x, self.knots[column])
            deciles = np.quantile(x, np.arange(1, 10) / 10) if len(x) else None
        marked = self.columns.marked[feature]
        effects = self._means_at(feature, np.append(codes, [np.nan] * marked))[:, output]
        effects = effects - self.means[output]
        missing = float(effects[-1]) if marked else None
        return FeatureEffect(self.names[feature], values, effects[: len(codes)], missing, deciles)

    def _means_at(self, feature: int, codes: Array) -> Array:
        """Return mean predictions if a feature has the same code in all rows.

        Parameters
        ----------
        feature : int
        codes : ndarray of shape (n_values,)
            Numbers or codes of levels; NaN is missing.

        Returns
        -------
        ndarray of shape (n_values, n_outputs)
        """
        probes = np.zeros((len(codes), len(self.names)))
        probes[:, feature] = codes
        owned = np.flatnonzero(np.array(self.columns.owners) == feature)
        points = self.columns.expand(probes)[:, owned]
        found = np.empty((len(codes), len(self.means)))
        size = max(1, BATCH // len(self.rows))
        for begin in range(0, len(points), size):
            part = points[begin : begin + size]
            batch = np.repeat(self.rows[None], len(part), 0)  # (n_values, n_rows, n_columns)
            batch[..., owned] = part[:, None]
            means = self.estimator._means(batch.reshape(-1, batch.shape[-1]))
            found[begin : begin + size] = means.reshape(*batch.shape[:2], -1).mean(1)
        return found


def sampled(table: Array, most: int) -> Array:
    """Return all rows, or so many random ones, which are the same in each call.

    Rows at even distances could miss every second level of a regular design.
    """
    if len(table) <= most:
        return table
    return table[np.random.default_rng(0).choice(len(table), most, replace=False, shuffle=False)]


def grid(x: Array, knots: Array) -> Array:
    """Return all values of a number, or knots within their range and quantiles if they are many."""
    values = np.unique(x)
    if len(values) > MOST_VALUES:
        low, high = values[[0, -1]]
        quantiles = np.quantile(x, np.linspace(0, 1, N_QUANTILES))
        values = np.unique([*quantiles, *knots[(low < knots) & (knots < high)]])
        apart = np.diff(values, prepend=-np.inf) > LEAST_GAP * (high / 2 - low / 2)
        values = values[apart]
    return values


def chosen(features, names: list[str], importances: Array) -> list[int]:
    """Return indices of the most important features, or of those that are named.

    Parameters
    ----------
    features : int, or list of str or int
        How many, or which ones.
    names : list of str
    importances : ndarray of shape (n_features,)

    Raises
    ------
    ValueError
        If there is no such feature, or none at all.
    """
    if as_integer(features) is not None:
        n = checked_count(features, "features")
        return np.argsort(-importances, kind="stable")[:n].tolist()
    if np.ndim(features) != 1 or not len(features):
        raise ValueError(
            f"features={shown(features)} has to be a number of features, or a list of names or "
            "indices."
        )
    found = []
    for key in features:
        index = names.index(key) if isinstance(key, str) and key in names else as_integer(key)
        if index is None or not -len(names) <= index < len(names):
            raise ValueError(f"features has {shown(key)}, but the model reads {shown(names)}.")
        found.append(index % len(names))
    return found
