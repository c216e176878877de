r"""Periodic waves along random directions: least squares with the most probable lengths.

Waves along directions and with phases that are drawn once, and stay as they are, have random sums
with nearly the covariance of a gaussian process (Rahimi and Recht 2007). With waves close to
cosines and gaussian directions that is

.. math::   k(x, x') = a^2 \exp\Big(-\sum_i (x_i - x'_i)^2 / 2 l_i^2\Big).

Directions of Student's distribution with 5 degrees of freedom have a Matern covariance of order
5/2 instead. A linear function with coefficients of variance :math:`a^2` is added. The kernel and
the lengths l of the features are those for which the data are most probable with this covariance,
times a prior that keeps the lengths near the size of the data. Then the amplitude a, the variance
of the noise and a common factor of the lengths are those for which they are most probable with the
covariance of the waves.

References
----------
Rahimi, Recht, "Random features for large-scale kernel machines", 2007,
https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines

Rasmussen, Williams, "Gaussian processes for machine learning", 2006, sections 5.4.1 and 5.4.2,
https://gaussianprocess.org/gpml
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import chi2
from torch import Tensor

from skrelu._networks.smooth_waves import Ripple
from skrelu._solvers.posterior import Posterior, of_few_rows

# Prior of the logarithm of a length: mean and standard deviation, for standardized features.
LENGTH, SPREAD = math.log(2.4), 1.5
# Where the search begins: lengths over the root of their number, and variances of the noise.
BEGINNINGS = ((1.7, 1e-4), (5.0, 1e-2))
# Bounds of lengths, of their common factor, of the amplitude, and of the variance of the noise.
LENGTHS, FACTORS, AMPLITUDES, NOISES = (0.1, 200.0), (0.4, 2.5), (0.05, 30.0), (1e-10, 2.0)
# Most iterations for the lengths from each beginning, and for their common factor.
MAX_ITER, MAX_ITER_OF_WAVES = 60, 20
# Solutions of the linear system, each of what the earlier ones leave.
N_REFINED = 4

# A covariance of targets, and a function from derivatives by it to those by its parameters.
Covariance = tuple[Tensor, Callable[[Tensor], Tensor]]


class Kernel(Protocol):
    """A covariance that depends on distances, and random directions of waves that have it."""

    def of(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return values at squares of distances, and derivatives by them."""

    def directions(self, draws: Tensor) -> Tensor:
        """Return directions, (n_waves, n_features), from uniform draws with one column more."""


@dataclass(frozen=True)
class Gaussian:
    """exp(-r^2 / 2)."""

    def of(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return values at squares of distances, and derivatives by them."""
        values = torch.exp(-squares / 2)
        return values, -values / 2

    def directions(self, draws: Tensor) -> Tensor:
        """Return gaussian directions."""
        return torch.special.ndtri(draws[:, 1:])


@dataclass(frozen=True)
class Matern:
    """Of order 5/2: for functions with two continuous derivatives."""

    def of(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return values at squares of distances, and derivatives by them."""
        z = (5 * squares).sqrt()
        decay = torch.exp(-z)
        return (1 + z + z * z / 3) * decay, -5 / 6 * (1 + z) * decay

    def directions(self, draws: Tensor) -> Tensor:
        """Return directions of Student's distribution with 5 degrees of freedom."""
        squares = torch.from_numpy(chi2.ppf(draws[:, :1].numpy(), 5))
        return Gaussian().directions(draws) * (5 / squares).sqrt()


KERNELS: tuple[Kernel, ...] = (Gaussian(), Matern())


class RandomWaves(NamedTuple):
    """Directions and offsets of waves, and coefficients of x, the waves and 1."""

    directions: Tensor  # (n_waves, n_features)
    offsets: Tensor  # (n_waves,)
    coef: Tensor  # (n_features + n_waves + 1,)
    # (n_samples,) each: what all other rows predict of a row, and the variance without the noise.
    left_out: Tensor
    variance: Tensor
    posterior: Posterior


def fit_random_waves(
    X: Tensor, y: Tensor, weights: Tensor, n_waves: int, n_chosen: int, seed: int
) -> RandomWaves | None:
    """Fit waves along random directions; None if rounding errors prevent it.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        Standardized features.
    y : Tensor of shape (n_samples,)
        Standardized targets.
    weights : Tensor of shape (n_samples,)
        Number of rows that each counts for, above 0.
    n_waves : int
        Powers of two are spread best.
    n_chosen : int
        How many random rows choose the lengths, the amplitude and the noise, at most.
    seed : int
    """
    chosen = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))[:n_chosen]
    some = X[:, chosen], y[chosen], weights[chosen]
    process = _most_probable_process(*some)
    if process is None:
        return None
    kernel, by_kernel = process
    lengths = by_kernel[:-2].exp()
    engine = torch.quasirandom.SobolEngine(len(X) + 2, scramble=True, seed=seed)
    # The first point would have the precision that is torch's default.
    draws = engine.fast_forward(1).draw(n_waves, dtype=X.dtype).clamp(1e-6, 1 - 1e-6)
    directions, offsets = kernel.directions(draws[:, :-1]) / lengths, 2 * draws[:, -1:]
    of_rows = partial(_covariance_of_waves, directions / math.pi, offsets)
    begin = torch.cat([by_kernel.new_zeros(1), by_kernel[-2:]])
    bounds = FACTORS, AMPLITUDES, NOISES
    of_some = partial(of_rows, some[0], some[2])
    found, _ = _most_probable(of_some, *some[1:], begin, bounds, MAX_ITER_OF_WAVES)
    if found is None:
        return None
    factor, info = torch.linalg.cholesky_ex(of_rows(X, weights, found)[0])
    if info:
        return None
    directions = torch.exp(-found[0]) * directions / math.pi
    waves = Ripple().derivatives(directions @ X + offsets, 1)[0]
    columns = torch.cat([X, waves, torch.ones_like(X[:1])])
    parts = found.new_ones(len(X)), found.new_full((n_waves,), float(n_waves)), found.new_ones(1)
    penalties = torch.cat(parts) * torch.exp(-2 * found[1])
    smooth = columns / penalties[:, None]
    coef, by_row = columns.new_zeros(len(columns)), torch.zeros_like(y)
    noise = found[2].exp() / weights
    for _ in range(N_REFINED):  # with few digits of the covariance, the first one is not exact
        rest = y - coef @ columns - by_row * noise
        by_row = by_row + torch.cholesky_solve(rest[:, None], factor)[:, 0]
        coef = smooth @ by_row
    half = torch.linalg.solve_triangular(factor, torch.eye(len(y)).to(y), upper=False)
    variances = 1 / half.square().sum(0)
    return RandomWaves(
        directions=directions,
        offsets=offsets[:, 0],
        coef=coef,
        left_out=y - by_row * variances,
        variance=(variances - noise).clamp_min(0),
        posterior=of_few_rows(columns * weights.sqrt(), torch.exp(-found[2]), penalties),
    )


def _most_probable_process(X: Tensor, y: Tensor, weights: Tensor) -> tuple[Kernel, Tensor] | None:
    """Return the kernel and the logarithms of lengths, amplitude and noise."""
    bounds = *[LENGTHS] * len(X), AMPLITUDES, NOISES
    each = []
    for kernel, (length, noise) in product(KERNELS, BEGINNINGS):
        begin = X.new_tensor([length * len(X) ** 0.5] * len(X) + [math.e, noise]).log()
        covariance = partial(_covariance, X, weights, kernel)
        found, cost = _most_probable(covariance, y, weights, begin, bounds, MAX_ITER, len(X))
        each.append((cost, found, kernel))
    _, found, kernel = min(each, key=lambda one: one[0])
    return None if found is None else (kernel, found)


def _covariance(X: Tensor, weights: Tensor, kernel: Kernel, p: Tensor) -> Covariance:
    """Return the covariance of a gaussian process."""
    Z = X * torch.exp(-p[: len(X), None])
    squares = Z.square()
    norms = squares.sum(0)
    distances = (norms[:, None] + norms - 2 * Z.mT @ Z).clamp_min(0)
    values, slopes = kernel.of(distances)
    size, noise = torch.exp(2 * p[-2]), p[-1].exp() / weights
    smooth = size * (values + X.mT @ X + 1)

    def by_p(g: Tensor) -> Tensor:
        by_distance = g * slopes
        # The sum of W_jk (z_j - z_k)^2 for each feature.
        sums = 2 * (squares @ by_distance.sum(0) - (Z @ by_distance * Z).sum(1))
        ends = torch.stack([2 * (g * smooth).sum(), (g.diagonal() * noise).sum()])
        return torch.cat([-2 * size * sums, ends])

    return smooth + noise.diag(), by_p


def _covariance_of_waves(
    directions: Tensor, offsets: Tensor, X: Tensor, weights: Tensor, p: Tensor
) -> Covariance:
    """Return the covariance of x, the waves and 1."""
    z = torch.exp(-p[0]) * (directions @ X)
    values, slopes = Ripple().derivatives(z + offsets, 1)
    size, noise = torch.exp(2 * p[1]), p[2].exp() / weights
    share = size / len(directions)
    smooth = size * (X.mT @ X + 1) + share * values.mT @ values

    def by_p(g: Tensor) -> Tensor:
        by_factor = -2 * share * ((slopes * z) @ g * values).sum()
        return torch.stack([by_factor, 2 * (g * smooth).sum(), (g.diagonal() * noise).sum()])

    return smooth + noise.diag(), by_p


def _most_probable(
    covariance: Callable[[Tensor], Covariance],
    y: Tensor,
    weights: Tensor,
    begin: Tensor,
    bounds: Sequence[tuple[float, float]],
    max_iter: int,
    n_lengths: int = 0,
) -> tuple[Tensor | None, float]:
    """Return the parameters of a covariance that make targets most probable, and their cost.

    Parameters
    ----------
    covariance : callable
        Returns the covariance of the targets given logarithms of the parameters.
    y : Tensor of shape (n_samples,)
    weights : Tensor of shape (n_samples,)
        Number of rows that each counts for.
    begin : Tensor of shape (n_parameters,)
        Logarithms. The last one is that of the variance of the noise.
    bounds : sequence of tuple
        Of each parameter itself.
    max_iter : int
    n_lengths : int, default=0
        How many of the parameters, the first ones, have the prior of lengths.
    """
    # A row that counts for w has w parts of the probability of the noise.
    n_more = float((weights - 1).sum())

    eye = torch.eye(len(y)).to(y)

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.from_numpy(values)
        matrix, by_p = covariance(p)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if info:
            return math.inf, np.zeros_like(values)
        half = torch.linalg.solve_triangular(factor, eye, upper=False)
        inverse, white = half.mT @ half, half @ y
        by_row = torch.cholesky_solve(y[:, None], factor)[:, 0]
        slope = by_p(inverse - by_row[:, None] * by_row)
        prior = (p[:n_lengths] - LENGTH) / SPREAD
        slope[:n_lengths] += 2 * prior / SPREAD
        slope[-1] += n_more
        logdet = 2 * factor.diagonal().log().sum()
        total = white @ white + logdet + prior.square().sum() + n_more * p[-1]
        return total.item() / 2, slope.numpy() / 2

    found = minimize(
        cost, begin.numpy(), jac=True, method="L-BFGS-B", bounds=np.log(bounds),
        options={"maxiter": max_iter},
    )  # fmt: skip
    return (torch.from_numpy(found.x) if math.isfinite(found.fun) else None), float(found.fun)
