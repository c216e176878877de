"""Bayesian optimization in a box: one loop for all models, which propose a point at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm, qmc
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks._data import Array
from skrelu import ExponentialReLURegressor

# Candidates of an acquisition: points of a sequence in the box, and around the best rows.
N_SPREAD, N_AROUND, AROUND, N_BEST = 500, 500, (1e-6, 0.1), 5
# Iterations of the descent from the best candidate.
N_STEPS = 10
# A proposal nearer than this to a row, in units of the box, is replaced by a random point.
NEAREST = 1e-6
Score = Callable[[Array], Array]


@dataclass(frozen=True)
class Strategy:
    """How the next point is chosen: a model, and what is maximized."""

    make: Callable[[int, int], Any] | None = None  # of the number of inputs and a seed
    thompson: bool = False  # whether a draw is minimized, or expected improvement maximized


def minimized(f: Score, n_inputs: int, n_rows: int, strategy: Strategy, seed: int) -> Array:
    """Return the values of a function on the unit cube, in the order of their evaluation."""
    X = initial(n_inputs, seed)
    y = f(X)
    rng = np.random.default_rng(seed)
    while len(y) < n_rows:
        x = rng.uniform(size=n_inputs)
        if strategy.make is not None:
            model = strategy.make(n_inputs, seed + len(y)).fit(X, warped(y))
            x = proposed(model, strategy.thompson, X, warped(y), rng, x)
        X = np.vstack([X, x])
        y = np.append(y, f(x[None]))
    return y


def initial(n_inputs: int, seed: int) -> Array:
    """Return the rows with which all methods begin: 2 an input, and 2 more."""
    return qmc.LatinHypercube(n_inputs, seed=seed).random(2 * n_inputs + 2)


def proposed(
    model, thompson: bool, X: Array, y: Array, rng: np.random.Generator, other: Array
) -> Array:
    """Return the next row by a fitted model, or the other one if it is already there."""
    points = candidates(X, y, rng)
    if thompson:
        x = points[drawn(model, points, int(rng.integers(2**31))).argmin()]
    else:
        x = best(improvement(model, X, y), points)
    return x if np.abs(X - x).max(1).min() > NEAREST else other


def warped(y: Array) -> Array:
    """Return values in which large ones count less: standardized, and logarithmic above."""
    z = (y - np.median(y)) / max(np.std(y), 1e-300)
    return np.where(z > 0, np.log1p(np.maximum(z, 0)), z)


def noise_of(model, n_inputs: int) -> float:
    """Return the variance of the noise: what two targets at a point do not share."""
    _, covariance = model.predict(np.full((2, n_inputs), 0.5), return_cov=True)
    return float(covariance[0, 0] - covariance[0, 1])


def improvement(model, X: Array, y: Array) -> Score:
    """Return minus the logarithm of the expected improvement on the best row."""
    least, noise = y.min(), noise_of(model, X.shape[1])

    def score(points: Array) -> Array:
        mean, deviation = model.predict(points, return_std=True)
        deviation = np.sqrt(np.maximum(deviation**2 - noise, 1e-24))
        z = (least - mean) / deviation
        # log(phi + z Phi), by the ratio of Mills where both cancel
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.log(norm.pdf(z) + z * norm.cdf(z))
        far = norm.logpdf(z) - 2 * np.log(np.maximum(-z, 1))
        return -(np.log(deviation) + np.where(z > -6, near, far))

    return score


def drawn(model, points: Array, seed: int) -> Array:
    """Return values of a function, without noise, drawn from the distribution of the model."""
    if isinstance(model, ExponentialReLURegressor):
        return model.sample_network(seed).predict(points)
    mean, covariance = model.predict(points, return_cov=True)
    noise = noise_of(model, points.shape[1])
    # The rest is nearly singular: a Cholesky factor would need something like noise again.
    sizes, axes = np.linalg.eigh(covariance - noise * np.eye(len(points)))
    root = axes * np.sqrt(sizes.clip(0))
    return mean + root @ np.random.default_rng(seed).standard_normal(len(points))


def candidates(X: Array, y: Array, rng: np.random.Generator) -> Array:
    """Return points of the cube: spread out, and around the best rows."""
    n = X.shape[1]
    spread = rng.uniform(size=(N_SPREAD, n))
    centers = X[np.argsort(y)[rng.integers(min(N_BEST, len(y)), size=N_AROUND)]]
    sizes = np.exp(rng.uniform(*np.log(AROUND), size=(N_AROUND, 1)))
    around = centers + sizes * rng.standard_normal((N_AROUND, n))
    return np.vstack([spread, around]).clip(0, 1)


def best(score: Score, points: Array) -> Array:
    """Return the minimum of a score: the best candidate after a few steps of descent."""
    values = score(points)
    start = points[values.argmin()]
    found = minimize(
        by_differences(score), start, jac=True, method="L-BFGS-B",
        bounds=[(0, 1)] * points.shape[1], options={"maxiter": N_STEPS, "maxfun": 2 * N_STEPS},
    )  # fmt: skip
    return found.x if found.fun < values.min() else start


def by_differences(score: Score, step: float = 1e-6):
    """Return a function that returns a score and its derivatives, from one batch."""

    def value(x: Array) -> tuple[float, Array]:
        steps = step * np.where(x < 0.5, 1, -1)
        values = score(np.vstack([x, x + np.diag(steps)]))
        return values[0], (values[1:] - values[0]) / steps

    return value


def gaussian_process(n_inputs: int, seed: int) -> GaussianProcessRegressor:
    """Return a Gaussian process with a length for each input, and little noise."""
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern([0.5] * n_inputs, (0.05, 20), nu=2.5)
    kernel = kernel + WhiteKernel(1e-6, (1e-9, 1e-2))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
