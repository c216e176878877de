r"""A gaussian process: the lengths for which the data are most probable, and its posterior.

The covariance of two values is

.. math::   k(x, x') = a^2 \big(1 + c(r)\big), \qquad r^2 = \sum_i (x_i - x'_i)^2 / l_i^2,

where c is gaussian, or a Matern covariance of order 5/2. The kernel, the lengths l of the features,
the amplitude a and the variance of the noise are those for which the targets are most probable,
times a prior that keeps the lengths near the size of the data. There is no linear part of its own,
for long lengths make one: with coefficients of all features that have one variance, the targets are
less probable (friedman1 with 40 rows: a log evidence of -31 rather than -12).

References
----------
Rasmussen, Williams, "Gaussian processes for machine learning", 2006, sections 2.2, 5.4.1 and 5.4.2,
https://gaussianprocess.org/gpml
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import chi2
from torch import Tensor


class Prior(NamedTuple):
    """Prior of the logarithm of a length, for standardized features."""

    mean: float
    below: float  # standard deviation of shorter lengths
    above: float  # standard deviation of longer lengths
    longest: float


# Of so many rows at most, and of more. On 21 functions with 40 and 100 rows, with and without
# noise, targets are likelier than those of scikit-learn's process in 50 of 84 cases with the first
# one. Without the constant in the covariance it is 46, then with 3 in place of 1.5 44, and without
# a prior 42. With the second one errors are 0.93 times (40 rows), 0.91 times (100) and 0.88 times
# (300 rows, without noise), but targets of 40 rows are less likely (7 functions, more likely 3).
FEW_ROWS = 100
FEW, MORE = Prior(math.log(2.4), 1.5, 1.5, 200.0), Prior(math.log(2.4), 1.5, 3.0, 2000.0)
# Where the search begins: lengths over the root of their number, and variances of the noise. With
# more rows the gaussian kernel also begins at this part of the best lengths of Matern's, which are
# found more surely: errors of two of 21 functions fell to 0.11 and 0.7 times.
BEGINNINGS = ((1.7, 1e-4), (5.0, 1e-2))
SHORTER = 0.4
# Bounds of lengths (the upper one is that of the prior), of the amplitude, and of the noise.
SHORTEST, AMPLITUDES, NOISES = 0.1, (0.05, 100.0), (1e-10, 2.0)
# Most iterations from each beginning.
MAX_ITER = 60
# Most rows to which parameters are fitted from each beginning; with more, those that make these
# most probable go on with all. Errors are 1.02 (300 rows, no noise), 1.07 (300, 10 % of noise) and
# 1.01 times (1000, 10 %) those from each beginning with all rows, in 0.4 of the time.
FIRST_ROWS = 150
# Solutions of the linear system, each of what the earlier ones leave.
N_REFINED = 4

# A covariance of targets, and a function from derivatives by it to those by its parameters.
Covariance = tuple[Tensor, Callable[[Tensor], Tensor]]


class Kernel(Protocol):
    """A covariance that depends on distances, and random directions of waves that have it.

    Waves along such directions and with random phases have random sums with nearly the covariance
    of the process (Rahimi and Recht 2007, "Random features for large-scale kernel machines",
    https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines).
    """

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


KERNELS: tuple[Kernel, ...] = (Matern(), Gaussian())  # in the order of the search


class Process(NamedTuple):
    """A gaussian process, given targets."""

    X: Tensor  # (n_features, n_samples)
    y: Tensor  # (n_samples,)
    kernel: Kernel
    lengths: Tensor  # (n_features,)
    amplitude: Tensor  # ()
    noise: Tensor  # (), variance of the targets of rows of weight 1
    noises: Tensor  # (n_samples,), variances
    factor: Tensor  # (n_samples, n_samples), lower triangular, of the covariance of the targets
    solved: Tensor  # (n_samples,), the inverse of this covariance times the targets

    @property
    def parameters(self) -> Tensor:
        """Logarithms of lengths, amplitude and noise, (n_features + 2,)."""
        return torch.cat([self.lengths, self.amplitude[None], self.noise[None]]).log()

    def mean(self, X: Tensor) -> Tensor:
        """Return the mean of the posterior, (n_points,), of points (n_features, n_points)."""
        return self._between(X, self.X) @ self.solved

    def covariance(self, X: Tensor) -> Tensor:
        """Return the covariance of the posterior, without the noise, (n_points, n_points)."""
        half = torch.linalg.solve_triangular(self.factor, self._between(self.X, X), upper=False)
        return self._between(X, X) - half.mT @ half

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Return what all other rows predict of each row, and its variance without the noise."""
        variances = 1 / torch.cholesky_inverse(self.factor).diagonal()
        return self.y - self.solved * variances, (variances - self.noises).clamp_min(0)

    def _between(self, X: Tensor, other: Tensor) -> Tensor:
        unit = self.lengths[:, None]
        return self.amplitude**2 * (1 + self.kernel.of(_squares(X / unit, other / unit))[0])


def fit_process(
    X: Tensor,
    y: Tensor,
    weights: Tensor,
    n_chosen: int,
    generator: torch.Generator,
    begin: Process | None = None,
) -> Process | None:
    """Fit a gaussian process; None if rounding errors prevent it.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        Standardized features.
    y : Tensor of shape (n_samples,)
        Standardized targets.
    weights : Tensor of shape (n_samples,)
        Number of rows that each counts for, above 0.
    n_chosen : int
        How many random rows choose the lengths, the amplitude and the noise, at most.
    generator : torch.Generator
        Draws these rows.
    begin : Process, optional
        Whose kernel is taken, and from whose parameters the search begins. By default at most
        `FIRST_ROWS` of the rows choose them.
    """
    chosen = torch.randperm(len(y), generator=generator)[:n_chosen]
    of = _Search(X[:, chosen], y[chosen], weights[chosen], MORE if len(y) > FEW_ROWS else FEW)
    found = of.first() if begin is None else (begin.kernel, begin.parameters)
    if found is not None and (begin is not None or len(chosen) > FIRST_ROWS):
        kernel, p = found
        better, _ = of.best(kernel, p)
        found = None if better is None else (kernel, better)
    if found is None:
        return None
    kernel, p = found
    matrix, _ = _covariance(X, weights, kernel, p)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if info:
        return None
    solved = torch.zeros_like(y)
    for _ in range(N_REFINED):  # with few digits of the covariance, the first one is not exact
        rest = y - matrix @ solved
        solved = solved + torch.cholesky_solve(rest[:, None], factor)[:, 0]
    *lengths, amplitude, noise = p.exp()
    return Process(
        X, y, kernel, torch.stack(lengths), amplitude, noise, noise / weights, factor, solved
    )


class _Search(NamedTuple):
    """The search of the parameters that make the targets of some rows most probable."""

    X: Tensor
    y: Tensor
    weights: Tensor
    prior: Prior

    def first(self) -> tuple[Kernel, Tensor] | None:
        """Return the kernel and the logarithms of lengths, amplitude and noise, by few rows."""
        X, rows = self.X, slice(FIRST_ROWS)
        few = _Search(X[:, rows], self.y[rows], self.weights[rows], self.prior)
        begins = [
            X.new_tensor([length * len(X) ** 0.5] * len(X) + [math.e, noise]).log()
            for length, noise in BEGINNINGS
        ]
        each = []
        for kernel in KERNELS:
            found, cost = min((few.best(kernel, begin) for begin in begins), key=itemgetter(1))
            each.append((cost, found, kernel))
            if found is not None and self.prior is MORE:
                shorter = torch.full_like(found, math.log(SHORTER))
                shorter[-2:] = 0
                begins = [*begins, found + shorter]
        _, found, kernel = min(each, key=itemgetter(0))
        return None if found is None else (kernel, found)

    def best(self, kernel: Kernel, begin: Tensor) -> tuple[Tensor | None, float]:
        """Return the parameters and their cost, from a beginning."""
        covariance = partial(_covariance, self.X, self.weights, kernel)
        return _most_probable(covariance, self.y, self.weights, begin, self.prior)


def optimism(n_samples: int, n_parameters: int) -> float:
    """Return the factor on left-out errors, because the parameters have seen these rows, too.

    Each of them has a leverage of 1 / n_samples on a row, on average.
    """
    return n_samples / (n_samples - min(n_parameters, n_samples / 2))


def _squares(X: Tensor, other: Tensor) -> Tensor:
    """Return the squares of distances."""
    norms = X.square().sum(0)[:, None] + other.square().sum(0)
    return (norms - 2 * X.mT @ other).clamp_min(0)


def _covariance(X: Tensor, weights: Tensor, kernel: Kernel, p: Tensor) -> Covariance:
    """Return the covariance of targets with given logarithms of the parameters."""
    Z = X * torch.exp(-p[:-2, None])
    values, slopes = kernel.of(_squares(Z, Z))
    size, noise = torch.exp(2 * p[-2]), p[-1].exp() / weights
    smooth = size * (values + 1)

    def by_p(g: Tensor) -> Tensor:
        by_distance = g * slopes
        # The sum of W_jk (z_j - z_k)^2 for each feature.
        sums = 2 * (Z.square() @ by_distance.sum(0) - (Z @ by_distance * Z).sum(1))
        ends = torch.stack([2 * (g * smooth).sum(), (g.diagonal() * noise).sum()])
        return torch.cat([-2 * size * sums, ends])

    return smooth + noise.diag(), by_p


def _most_probable(
    covariance: Callable[[Tensor], Covariance],
    y: Tensor,
    weights: Tensor,
    begin: Tensor,
    prior: Prior,
) -> tuple[Tensor | None, float]:
    """Return the parameters that make targets most probable, and their cost.

    Parameters
    ----------
    covariance : callable
        See `_covariance`; of the logarithms of the parameters.
    y : Tensor of shape (n_samples,)
    weights : Tensor of shape (n_samples,)
        Number of rows that each counts for.
    begin : Tensor of shape (n_parameters,)
        Logarithms of lengths, amplitude and noise.
    prior : Prior
        Of the lengths.
    """
    # A row that counts for w has w parts of the probability of the noise.
    n_more = float((weights - 1).sum())

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.from_numpy(values)
        matrix, by_p = covariance(p)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if info:
            return math.inf, np.zeros_like(values)
        by_row = torch.cholesky_solve(y[:, None], factor)[:, 0]
        slope = by_p(torch.cholesky_inverse(factor) - by_row[:, None] * by_row)
        away = p[:-2] - prior.mean
        spread = torch.where(away > 0, prior.above, prior.below)
        slope[:-2] += 2 * away / spread.square()
        slope[-1] += n_more
        logdet = 2 * factor.diagonal().log().sum()
        total = y @ by_row + logdet + (away / spread).square().sum() + n_more * p[-1]
        return total.item() / 2, slope.numpy() / 2

    bounds = *[(SHORTEST, prior.longest)] * (len(begin) - 2), AMPLITUDES, NOISES
    found = minimize(
        cost, begin.numpy(), jac=True, method="L-BFGS-B", bounds=np.log(bounds),
        options={"maxiter": MAX_ITER},
    )  # fmt: skip
    return (torch.from_numpy(found.x) if math.isfinite(found.fun) else None), float(found.fun)
