"""The variance of the noise in a target, estimated from neighbouring rows.

Each row is compared with a linear fit to the rows around it (Gasser, Sroka and Jennen-Steinmetz
1986). This needs one feature or two: with more features, rows are too far from each other.

References
----------
Gasser, Sroka, Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear
regression", 1986, https://doi.org/10.1093/biomet/73.3.625
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

MOST_FEATURES = 2
# Largest number of rows compared, number of neighbours by number of features, fewest rows.
MOST_ROWS, N_NEIGHBOURS, FEWEST_ROWS = 5000, {1: 2, 2: 8}, 30
# Ridge of the linear fits, relative to the squared distances of neighbours. It keeps a fit solvable
# if the neighbours lie on a line or point.
JITTER = 1e-6


def noise_by_neighbours(X: Array, y: Array) -> Array | None:
    """Estimate the variance of the noise of each output, relative to that of y.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardized features; rows in random order.
    y : ndarray of shape (n_samples, n_outputs)
        Targets.

    Returns
    -------
    ndarray of shape (n_outputs,) or None
        It is an upper estimate: curvature between neighbours counts as noise. None if there are no
        or more than two features, fewer than 30 rows, or a constant target.
    """
    X, y = X[:MOST_ROWS], y[:MOST_ROWS]
    n_samples, n_features = X.shape
    y = y / np.where(np.abs(y).max(0) > 0, np.abs(y).max(0), 1)  # squares of 1e300 would overflow
    variance = y.var(0)
    if not 1 <= n_features <= MOST_FEATURES or n_samples < FEWEST_ROWS or not variance.all():
        return None
    n_neighbours = N_NEIGHBOURS[n_features]
    if n_features == 1:
        order = X[:, 0].argsort(kind="stable")
        rows = order[1:-1]
        around = np.stack([order[:-2], order[2:]], 1)
    else:
        rows = np.arange(n_samples)
        around = cKDTree(X).query(X, n_neighbours + 1)[1][:, 1:]
    gaps = X[around] - X[rows, None]  # (n_rows, n_neighbours, n_features)
    design = np.concatenate([np.ones_like(gaps[..., :1]), gaps], -1)
    size = (gaps**2).mean((1, 2), keepdims=True) + np.finfo(float).tiny
    ridge = JITTER * size * np.eye(1 + n_features) * (np.arange(1 + n_features) > 0)
    normal = design.mT @ design + ridge
    # The value of the fit at a row is a weighted sum over its neighbours.
    weights = np.linalg.solve(normal, design.mT)[:, 0]  # (n_rows, n_neighbours)
    gap = y[rows] - np.einsum("rk,rko->ro", weights, y[around])
    squares = (gap**2).T / (1 + (weights**2).sum(1))
    return squares.mean(1) / variance
