r"""Periodic waves along random directions that are as close to a gaussian process as they can be.

Waves along directions and with phases that are drawn once have random sums with nearly the
covariance of a gaussian process (`skrelu._fit.gaussian_process`), but with few waves only nearly.
Their span holds much closer functions. So the process is fitted first, and its posterior projected:
the coefficients are those with which waves come closest, by least squares, to its mean at the rows
and at points between them, in units of its standard deviation there. Each draw of the posterior has
such coefficients, and the covariance of the coefficients is that of all draws. The distance that is
left makes it wider, and adds to the errors of rows that are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._fit.gaussian_process import Process, fit_process
from skrelu._fit.projection import RIDGES, Span, points_at
from skrelu._networks.smooth_waves import Ripple
from skrelu._solvers.posterior import Posterior

# A ridge is taken if it adds less than this part of the variance of the posterior, and of what no
# coefficients can hold, to the square of the distance.
CLOSE, CLOSE_TO_MISSED = 1e-3, 0.1


class RandomWaves(NamedTuple):
    """Directions and offsets of waves, and coefficients of x, the waves and 1."""

    directions: Tensor  # (n_waves, n_features)
    offsets: Tensor  # (n_waves,)
    coef: Tensor  # (n_features + n_waves + 1,)
    left_out: Tensor  # (n_samples,), what all other rows predict of a row
    variance: Tensor  # (n_samples,), of this prediction, without the noise
    posterior: Posterior


def fit_random_waves(
    X: Tensor,
    y: Tensor,
    weights: Tensor,
    n_waves: int,
    n_chosen: int,
    seed: int,
    most_size: float = math.inf,
) -> RandomWaves | None:
    """Fit a gaussian process and project it on waves; None if rounding errors prevent it.

    Parameters
    ----------
    X, y, weights, n_chosen
        See `fit_process`.
    n_waves : int
        Powers of two are spread best.
    seed : int
    most_size : float, default=inf
        Largest sum of absolute values of the coefficients, unless the largest ridge exceeds it.
    """
    generator = torch.Generator().manual_seed(seed)
    process = fit_process(X, y, weights, n_chosen, generator)
    if process is None:
        return None
    engine = torch.quasirandom.SobolEngine(len(X) + 2, scramble=True, seed=seed)
    # The first point would have the precision that is torch's default.
    draws = engine.fast_forward(1).draw(n_waves, dtype=X.dtype).clamp(1e-6, 1 - 1e-6)
    directions = process.kernel.directions(draws[:, :-1]) / process.lengths / math.pi
    offsets = 2 * draws[:, -1]
    points = points_at(X, len(X) + n_waves + 1, generator)
    waves = Ripple().derivatives(directions @ points + offsets[:, None], 1)[0]
    columns = torch.cat([points, waves, torch.ones_like(points[:1])])
    projected = _projected(process, points, columns, most_size)
    posterior = Posterior(projected.root, 1 / process.noise, torch.zeros_like(projected.coef))
    left_out, variance = process.left_out()
    errors = y - left_out
    apart = projected.distance * (variance + process.noises)
    left_out = y - torch.copysign((errors.square() + apart).sqrt(), errors)
    variance = projected.wider * variance
    return RandomWaves(directions, offsets, projected.coef, left_out, variance, posterior)


class _Projected(NamedTuple):
    coef: Tensor  # (n_columns,)
    root: Tensor  # (n_columns, n_columns), of their covariance, see `Posterior`
    distance: Tensor  # (), mean square of what is left of the mean, in variances
    wider: Tensor  # (), by which this covariance was multiplied


def _projected(process: Process, points: Tensor, columns: Tensor, most_size: float) -> _Projected:
    """Return the coefficients that come closest to the posterior.

    Parameters
    ----------
    process : Process
    points : Tensor of shape (n_features, n_points)
    columns : Tensor of shape (n_columns, n_points)
        Fewer than points.
    most_size : float
        Of the coefficients.
    """
    mean, covariance = process.mean(points), process.covariance(points)
    unit = (covariance.diagonal().clamp_min(0) + process.noise).rsqrt()
    mean, covariance = unit * mean, unit[:, None] * covariance * unit
    span = Span.of(columns * unit)
    along = span.basis.mT @ mean
    missed = (mean.square().sum() - along.square().sum()).clamp_min(0)
    kept: tuple[Tensor, Tensor, Tensor] | None = None
    for ridge in RIDGES:
        share = span.share(ridge)
        coef = span.by_basis.mT @ (share * along)
        if kept is not None and coef.abs().sum() > most_size:
            break
        kept = share, coef, missed + ((1 - share) * along).square().sum()
        if kept[-1] - missed <= CLOSE * len(mean) + CLOSE_TO_MISSED * missed:
            break
    assert kept is not None
    share, coef, apart = kept
    root, wider = span.root(covariance, share, apart)
    return _Projected(coef, root, apart / len(mean), wider)
