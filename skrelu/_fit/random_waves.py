r"""Periodic waves along random directions: least squares with the most probable lengths.

Waves along directions and with phases that are drawn once, and stay as they are, have random sums
with nearly the covariance of a gaussian process (Rahimi and Recht 2007). With waves close to
cosines and gaussian directions that is

.. math::   k(x, x') = a^2 \exp\Big(-\sum_i (x_i - x'_i)^2 / 2 l_i^2\Big).

A linear function with coefficients of variance :math:`a^2` is added. The lengths l of the features
are those for which the data are most probable with this covariance, times a prior that keeps them
near the size of the data. Then the amplitude a, the variance of the noise and a common factor of
the lengths are those for which they are most probable with the covariance of the waves.

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
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
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


class RandomWaves(NamedTuple):
    """Directions and offsets of waves, and coefficients of x, the waves and 1."""

    directions: Tensor  # (n_waves, n_features)
    offsets: Tensor  # (n_waves,)
    coef: Tensor  # (n_features + n_waves + 1,)
    left_out: Tensor  # (n_samples,), what all other rows predict of each
    posterior: Posterior


def fit_random_waves(
    X: Tensor, y: Tensor, weights: Tensor, n_waves: int, seed: int
) -> RandomWaves | None:
    """Fit waves along random directions to few rows; None if rounding errors prevent it.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        Standardized features.
    y : Tensor of shape (n_samples,)
        Standardized targets.
    weights : Tensor of shape (n_samples,)
        Number of rows that each counts for, above 0.
    n_waves : int
        A power of two, above the number of rows.
    seed : int
    """
    process = _process(X, y, weights)
    if process is None:
        return None
    lengths = process[:-2].exp()
    engine = torch.quasirandom.SobolEngine(len(X) + 1, scramble=True, seed=seed)
    # The first point would have the precision that is torch's default.
    draws = engine.fast_forward(1).draw(n_waves, dtype=X.dtype).clamp(1e-6, 1 - 1e-6)
    directions, offsets = torch.special.ndtri(draws[:, :-1]) / lengths, 2 * draws[:, -1]

    def columns(p: Tensor) -> Tensor:
        """Return x, the waves and 1; the waves have period 2."""
        z = torch.exp(-p[0]) * (directions @ X) / math.pi + offsets[:, None]
        return torch.cat([X, Ripple().derivatives(z)[0], torch.ones_like(X[:1])])

    def penalties(p: Tensor) -> Tensor:
        others = p.new_ones(len(X)), p.new_full((n_waves,), float(n_waves)), p.new_ones(1)
        return torch.cat(others) * torch.exp(-2 * p[1])

    def covariance(p: Tensor) -> Tensor:
        half = columns(p) / penalties(p).sqrt()[:, None]
        return half.mT @ half + torch.diag(p[2].exp() / weights)

    begin = torch.cat([process.new_zeros(1), process[-2:]])
    bounds = FACTORS, AMPLITUDES, NOISES
    found, _ = _most_probable(covariance, y, weights, begin, bounds, MAX_ITER_OF_WAVES)
    if found is None:
        return None
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance(found)))
    rows, by_row = columns(found), inverse @ y
    return RandomWaves(
        directions=torch.exp(-found[0]) * directions / math.pi,
        offsets=offsets,
        coef=rows @ by_row / penalties(found),
        left_out=y - by_row / inverse.diagonal(),
        posterior=of_few_rows(rows * weights.sqrt(), torch.exp(-found[2]), penalties(found)),
    )


def _process(X: Tensor, y: Tensor, weights: Tensor) -> Tensor | None:
    """Return logarithms of the lengths, the amplitude and the noise of a gaussian process."""
    n, line = len(X), X.mT @ X + 1

    def covariance(p: Tensor) -> Tensor:
        Z = X * torch.exp(-p[:n, None])
        squares = Z.square().sum(0)
        distances = (squares[:, None] + squares - 2 * Z.mT @ Z).clamp_min(0)
        smooth = torch.exp(2 * p[-2]) * (torch.exp(-distances / 2) + line)
        return smooth + torch.diag(p[-1].exp() / weights)

    bounds = *[LENGTHS] * n, AMPLITUDES, NOISES
    each = []
    for length, noise in BEGINNINGS:
        begin = X.new_tensor([length * n**0.5] * n + [math.e, noise]).log()
        each.append(_most_probable(covariance, y, weights, begin, bounds, MAX_ITER, n_lengths=n))
    return min(each, key=lambda one: one[1])[0]


def _most_probable(
    covariance: Callable[[Tensor], Tensor],
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
        Returns the covariance of the targets, (n_samples, n_samples), given logarithms.
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

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(values, dtype=y.dtype, requires_grad=True)
        factor, info = torch.linalg.cholesky_ex(covariance(p))
        if info:
            return math.inf, np.zeros_like(values)
        white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
        prior = ((p[:n_lengths] - LENGTH) / SPREAD).square().sum()
        total = white.square().sum() + 2 * factor.diagonal().log().sum() + prior + n_more * p[-1]
        (slope,) = torch.autograd.grad(total, p)
        return total.item() / 2, slope.numpy() / 2

    with torch.enable_grad():
        found = minimize(
            cost, begin.numpy(), jac=True, method="L-BFGS-B", bounds=np.log(bounds),
            options={"maxiter": max_iter},
        )  # fmt: skip
    return (torch.from_numpy(found.x) if math.isfinite(found.fun) else None), float(found.fun)
