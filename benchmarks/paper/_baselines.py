"""The ways to fit that the tables compare, behind one signature.

A `Method` fits a network to a table from each of several seeds. What the public estimator
can do is done with it, fit by fit. Networks that start from other weights or leave out a
stage run as one batch of starts in skrelu's own solvers, which keep the best step met.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from benchmarks.paper._plain_network import Draw, PlainNetwork
from skrelu import ExponentialReLURegressor
from skrelu._data.scaling import Scaling
from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.pretraining import pretrain, random_starts
from skrelu._fit.refinement import refine
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows

Array = NDArray[np.float64]

RECIPE, DEFAULT = "paper's recipe", "skrelu's default"
DEPTH = 5
LEARNING_RATE = 1e-3


class Fits(NamedTuple):
    """Fitted networks, one a seed."""

    predict: Callable[[Array], Array]  # (n_samples, n_features) -> (n_seeds, n_samples)
    seconds: float  # a fit, mean


class Method(Protocol):
    """A way to fit a table from several seeds, in ``n_steps`` steps if by Adam."""

    def __call__(self, X: Array, y: Array, seeds: range, n_steps: int) -> Fits:
        """Fit one network a seed to X (n_samples, n_features) and y (n_samples,)."""


def one_by_one(fit: Callable[[int], ExponentialReLURegressor], seeds: range) -> Fits:
    """Fit an estimator for each seed."""
    begin = perf_counter()
    models = [fit(seed) for seed in seeds]
    seconds = (perf_counter() - begin) / len(seeds)
    return Fits(lambda points: np.stack([model.predict(points) for model in models]), seconds)


def default(X: Array, y: Array, seeds: range, n_steps: int, **parameters) -> Fits:
    """Fit the estimator as it comes, but for its size: one start of one sub-network."""
    parameters = {"depth": DEPTH, "n_subnetworks": 1, "n_init": 1, **parameters}
    return one_by_one(
        lambda seed: ExponentialReLURegressor(**parameters, random_state=seed).fit(X, y), seeds
    )


def recipe(X: Array, y: Array, seeds: range, n_steps: int, **parameters) -> Fits:
    """Fit by the paper's recipe: full-batch Adam, half of the steps in each stage."""
    return one_by_one(
        lambda seed: fit_recipe(
            X,
            y,
            seed,
            max_iter=n_steps // 2,
            refine_max_iter=n_steps - n_steps // 2,
            **parameters,
        ),
        seeds,
    )


def fit_recipe(
    X: Array, y: Array, seed: int, callbacks: tuple = (), **parameters
) -> ExponentialReLURegressor:
    """Fit an estimator by full-batch Adam that takes all of its steps."""
    parameters = {"depth": DEPTH, "n_subnetworks": 1, "n_init": 1, **parameters}
    model = ExponentialReLURegressor(
        **parameters,
        alpha=0,
        solver="adam",
        tol=0,
        n_iter_no_change=sys.maxsize,  # no stop before the last step
        early_stopping=False,
        learning_rate=LEARNING_RATE,
        batch_size=len(X),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # follows from tol=0
        return model.set_callbacks(*callbacks).fit(X, y)


def staged(
    X: Array,
    y: Array,
    seeds: range,
    n_steps: int,
    *,
    smooth: bool = True,
    pretraining: float = 0.5,
    screened: bool = True,
    learning_rate: float = LEARNING_RATE,
) -> Fits:
    """Fit one sub-network as `recipe` does, all starts in one batch.

    Parameters
    ----------
    X, y, seeds, n_steps
        See `Method`.
    smooth : bool, default=True
        Whether the scales follow from the peaks (Theorem 3.1) in pretraining.
    pretraining : float, default=0.5
        Fraction of the steps that pretraining gets; 0 lowers the random starts as they are.
    screened : bool, default=True
        Whether each start is the best of many random draws, as in the estimator, or one.
    learning_rate : float, default=1e-3
    """
    triangles = TriangleNetwork(X.shape[1], 1, DEPTH, smooth=smooth)
    n_first = round(pretraining * n_steps)

    def fit(rows: Rows, generator: torch.Generator) -> tuple[ReLUNetwork, Tensor]:
        first, second = (
            _adam(n, rows, generator, learning_rate) for n in (n_first, n_steps - n_first)
        )
        model = TriangleModel(triangles, 1)
        start = None if screened else random_starts(model, rows, 0.0, generator, n_screened=1)
        network, theta = model.to_relu(pretrain(model, rows, start, 0.0, first).theta)
        free = refine(network, theta, rows, 0.0, torch.zeros_like(theta), second)
        return network, free.theta

    return _in_one_batch(fit, X, y, seeds, standardize=True)


def plain(
    X: Array,
    y: Array,
    seeds: range,
    n_steps: int,
    *,
    draw: Draw,
    solver: str = "adam",
    standardize: bool = False,
    depth: int = DEPTH,
) -> Fits:
    """Fit a plain 4-wide ReLU network from random weights, all starts in one batch.

    Parameters
    ----------
    X, y, seeds, n_steps
        See `Method`.
    draw : callable
        `torch_default` or `rai`.
    solver : {"adam", "lm"}, default="adam"
        "lm" with the limits of the estimator's refinement instead of ``n_steps``.
    standardize : bool, default=False
        Whether to bring X and y to mean 0 and standard deviation 1, as the estimator does.
    depth : int, default=5
    """
    network = PlainNetwork(X.shape[1], 1, depth, 1)

    def fit(rows: Rows, generator: torch.Generator) -> tuple[ReLUNetwork, Tensor]:
        theta = network.random(draw, len(seeds), generator)
        options = _adam(n_steps, rows, generator)
        if solver == "lm":
            options = replace(
                options,
                solver="lm",
                max_iter=tuning.MAX_REFINEMENT,
                tol=1e-4,
                patience=20,
                trials=tuning.REFINEMENT_TRIALS,
            )
        free = refine(network, theta, rows, 0.0, torch.zeros_like(theta), options)
        return network, free.theta

    return _in_one_batch(fit, X, y, seeds, standardize=standardize)


def _adam(
    n_steps: int, rows: Rows, generator: torch.Generator, learning_rate: float = LEARNING_RATE
) -> Options:
    return Options(
        solver="adam",
        max_iter=n_steps,
        tol=0.0,
        patience=sys.maxsize,
        learning_rate=learning_rate,
        batch_size=rows.n_trained,
        generator=generator,
    )


def _in_one_batch(
    fit: Callable[[Rows, torch.Generator], tuple[ReLUNetwork, Tensor]],
    X: Array,
    y: Array,
    seeds: range,
    *,
    standardize: bool,
) -> Fits:
    """Run all starts at once, seeded by the first seed; seconds are those of the batch / n."""
    n, n_features = X.shape
    X_scaling = Scaling(np.zeros(n_features), np.ones(n_features))
    y_scaling = Scaling(np.zeros(1), np.ones(1))
    weights = np.full(n, 1 / n)
    if standardize:
        X_scaling, y_scaling = Scaling.of(X, weights), Scaling.of(y[:, None], weights)
    rows = Rows(
        torch.from_numpy(X_scaling.apply(X).T.copy()),
        torch.from_numpy(y_scaling.apply(y[:, None]).T.copy()),
        training=torch.from_numpy(np.tile(weights, (len(seeds), 1))),
        validation=None,
        n_trained=n,
    )
    generator = torch.Generator().manual_seed(seeds[0])
    with threads(0.0):  # one
        begin = perf_counter()
        network, theta = fit(rows, generator)
        seconds = (perf_counter() - begin) / len(seeds)

    def predict(points: Array) -> Array:
        inputs = torch.from_numpy(X_scaling.apply(points).T.copy())
        with torch.no_grad():
            return y_scaling.undo(network.forward(theta, inputs)[:, 0].numpy())

    return Fits(predict, seconds)
