"""Models, boxes and constraints as graphs and programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import csr_array, eye_array, issparse, vstack
from sklearn.neural_network import MLPRegressor
from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.array_api import in_numpy
from skrelu._estimators.base import ExponentialReLUEstimator
from skrelu._estimators.tables import columns_of
from skrelu._export.graph import ReLUGraph
from skrelu.optimize._graphs import affine, chained
from skrelu.optimize._program import Array, Program
from skrelu.optimize._waves import wave_graph
from skrelu.regions._checks import as_floats
from skrelu.regions._layers import Layers, layers_of

# Largest size of bounds: HiGHS takes 1e20 to be infinite.
LARGEST = 1e15
# Largest size of weights. Sums of products with larger ones might overflow.
LARGEST_WEIGHT = 1e280


@dataclass(frozen=True)
class Model:
    """A model as graphs that are applied one after the other, and its predictions.

    Parameters
    ----------
    graphs : list of ReLUGraph
        They give the raw outputs.
    values : callable
        Predictions of X, (n_samples, n_outputs).
    log_link : bool
        Whether predictions are exponentials of raw outputs.
    """

    graphs: list[ReLUGraph]
    values: Callable[[Array], Array]
    log_link: bool

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.graphs[0].n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.graphs[-1].n_outputs


def read(model) -> Model:
    """Read a fitted estimator or a torch module."""
    if isinstance(model, ExponentialReLUEstimator):
        check_is_fitted(model, "intercept_")
        if not columns_of(model).plain:
            raise ValueError(
                f"The {type(model).__name__} has categories or missing values among its features, "
                "so its inputs are no numbers in a box. Optimize over its columns instead: "
                "model.to_torch() reads what model.encode returns; levels are integers from 0 to "
                "1, and a constraint says that those of a category sum to 1."
            )
        stored = in_numpy(model)._stored()

        def predict(X: Array) -> Array:
            return stored.predict(X, torch.device("cpu"))

        return Model(stored.graphs(), predict, stored.log_link)
    layers = layers_of(model)
    graphs = [affine(np.eye(layers.n_features), -layers.center * np.ones(layers.n_features))]
    graphs.append(_of_layers(layers))

    log_link = getattr(model, "out_activation_", "") == "exp"  # MLPRegressor(loss="poisson")

    def values(X: Array) -> Array:
        if isinstance(model, MLPRegressor):
            return model.predict(X).reshape(len(X), -1)
        return chained(graphs)(X)

    return Model(graphs, values, log_link)


def shortest(model, found: Model, low: Array, high: Array) -> list[ReLUGraph]:
    """Return the graphs of a model, between bounds, with the fewest neurons."""
    if isinstance(model, ExponentialReLUEstimator):
        waves = wave_graph(model, low, high)
        if waves is not None:
            return [waves]
    return found.graphs


def _of_layers(layers: Layers) -> ReLUGraph:
    """Return layers as a graph; a leaky neuron is leak * p + (1 - leak) * max(p, 0)."""
    n, n_all = layers.n_features, layers.n_features + layers.n_neurons
    values, shift = eye_array(n, n_all, format="csr"), np.zeros(n)
    rows, biases, first = [csr_array((0, n_all))], [np.zeros(0)], n
    for matrix, bias, leak in zip(
        layers.matrices[:-1], layers.biases[:-1], layers.leaks, strict=True
    ):
        row, given = csr_array(csr_array(matrix) @ values), bias + matrix @ shift
        rows.append(row)
        biases.append(given)
        own = eye_array(len(bias), n_all, k=first, format="csr")
        values, shift = csr_array(leak * row + (1 - leak) * own), leak * given
        first += len(bias)
    last, bias = layers.matrices[-1], layers.biases[-1]
    weights = csr_array(vstack(rows, format="csr"))
    output = csr_array(csr_array(last) @ values)
    return ReLUGraph(weights, np.concatenate(biases), output, bias + last @ shift)


@dataclass(frozen=True)
class Domain:
    """The set of x, as x = middle + half * u with u in [-1, 1], or shifted integers.

    Parameters
    ----------
    low, high : ndarray of shape (n_features,)
    integer : ndarray of bool of shape (n_features,)
    matrix : csr_array of shape (n_rows, n_features)
    least, most : ndarray of shape (n_rows,)
    """

    low: Array
    high: Array
    integer: NDArray[np.bool_]
    matrix: csr_array
    least: Array
    most: Array

    @classmethod
    def of(cls, n: int, bounds, constraints, integrality) -> Domain:
        """Check and collect what a caller gives for n features."""
        low, high = _box(bounds, n)
        integer = _integer(integrality, n)
        low, high = np.where(integer, np.ceil(low), low), np.where(integer, np.floor(high), high)
        return cls(low, high, integer, *_rows(constraints, n))

    @cached_property
    def half(self) -> Array:
        """Units of u."""
        half = (self.high - self.low) / 2
        return np.where(self.integer | (half <= 0), 1.0, half)

    @cached_property
    def middle(self) -> Array:
        """The x of u = 0."""
        middle = self.low + (self.high - self.low) / 2
        return np.where(self.integer, np.round(middle), middle)

    @property
    def empty(self) -> bool:
        """Whether the box is empty, as it is without an integer between two bounds."""
        return bool(np.any(self.low > self.high))

    def graph(self, graphs: Sequence[ReLUGraph]) -> ReLUGraph:
        """Return graphs that are applied to x one after the other as one graph that reads u."""
        with np.errstate(over="ignore"):
            found = chained([affine(csr_array(np.diag(self.half)), self.middle), *graphs])
        parts = (found.weights.data, found.biases, found.output.data, found.intercept)
        if not all(np.abs(part).max(initial=0.0) < LARGEST_WEIGHT for part in parts):
            raise ValueError(
                f"The network has weights above {LARGEST_WEIGHT:g} in these bounds: rescale y."
            )
        return found

    def program(self) -> Program:
        """Return the set of u."""
        low, high = (self.low - self.middle) / self.half, (self.high - self.middle) / self.half
        program = Program.box(low, high, self.integer)
        if not len(self.least):
            return program
        matrix = csr_array(self.matrix.multiply(self.half[None]))
        size = np.sqrt((matrix.multiply(matrix)).sum(1))
        size = np.where(size > 0, size, 1.0)
        shift = self.matrix @ self.middle
        rows = csr_array(matrix.multiply(1 / size[:, None]))
        return program.with_rows(rows, (self.least - shift) / size, (self.most - shift) / size)

    def to_x(self, u: Array) -> Array:
        """Return x within bounds, and whole where it has to be; u may be off by rounding."""
        x = np.clip(self.middle + self.half * u, self.low, self.high)
        return np.where(self.integer, np.round(x), x)


def _box(bounds, n: int) -> tuple[Array, Array]:
    if isinstance(bounds, Bounds):
        low, high = (
            np.broadcast_to(as_floats(part, "bounds", finite=False), (n,))
            for part in (bounds.lb, bounds.ub)
        )
    else:
        array = as_floats(bounds, "bounds", finite=False)
        if array.shape != (n, 2):
            raise ValueError(
                f"bounds has shape {array.shape}, but has to be ({n}, 2): the least and the "
                "largest value of each feature."
            )
        low, high = array.T
    for j in np.flatnonzero(~((np.abs(low) <= LARGEST) & (np.abs(high) <= LARGEST))):
        raise ValueError(
            f"Feature {j} has bounds {low[j]:g} and {high[j]:g}, but they have to be finite and at "
            f"most {LARGEST:g} in size: give the range in which to search."
        )
    for j in np.flatnonzero(low > high):
        raise ValueError(f"Feature {j} has a lower bound {low[j]:g} above the upper, {high[j]:g}.")
    return low.copy(), high.copy()


def _integer(integrality, n: int) -> NDArray[np.bool_]:
    given = as_floats(0 if integrality is None else integrality, "integrality")
    if given.shape not in ((), (n,)) or not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"integrality has to be 0 (any number) or 1 (an integer), for all or each of the {n} "
            "features."
        )
    return np.broadcast_to(given == 1, (n,)).copy()


def _rows(constraints, n: int) -> tuple[csr_array, Array, Array]:
    several = constraints if isinstance(constraints, Sequence) else [constraints]
    parts, least, most = [csr_array((0, n))], [np.zeros(0)], [np.zeros(0)]
    for each in several:
        if not isinstance(each, LinearConstraint):
            raise TypeError(
                f"constraints has a {type(each).__name__}, but may have only "
                "scipy.optimize.LinearConstraint: constraints have to be linear in x."
            )
        matrix = csr_array(each.A if issparse(each.A) else np.atleast_2d(each.A).astype(float))
        if matrix.shape[1] != n:
            raise ValueError(
                f"A constraint has {matrix.shape[1]} columns, but there are {n} features."
            )
        if np.isnan(each.lb).any() or np.isnan(each.ub).any() or not np.isfinite(matrix.data).all():
            raise ValueError("A constraint has coefficients or limits that are no numbers.")
        parts.append(matrix)
        least.append(np.broadcast_to(each.lb, matrix.shape[0]).astype(float))
        most.append(np.broadcast_to(each.ub, matrix.shape[0]).astype(float))
    return csr_array(vstack(parts, format="csr")), np.concatenate(least), np.concatenate(most)


def checked_norm(norm) -> float:
    """Return the norm of distances, 1 or infinity."""
    if isinstance(norm, str) or norm not in (1, np.inf):
        raise ValueError(f"norm={norm!r} has to be 1 or inf (numpy.inf).")
    return float(norm)


def checked_scale(scale, n: int) -> Array:
    """Return units of n features."""
    if scale is None:
        return np.ones(n)
    units = as_floats(scale, "scale")
    if units.shape != (n,) or not (units > 0).all():
        raise ValueError(f"scale has to be {n} numbers above 0, one for each feature.")
    return units
