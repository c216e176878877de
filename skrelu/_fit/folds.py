"""Folds: the rows that each start holds out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skrelu._data.table import Array


def folds_of(
    y: Array, n_starts: int, fraction: float, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Mark the rows that each start holds out, disjoint as long as there are enough rows.

    All folds have about the same distribution of targets, with rare classes spread evenly.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_outputs)

    Returns
    -------
    ndarray of shape (n_starts, n_samples)
    """
    n_samples = len(y)
    size = min(max(1, round(fraction * n_samples)), n_samples - 1)
    folds = np.zeros((n_starts, n_samples), bool)
    order = np.empty(0, np.int64)
    for fold in folds:
        if len(order) < size:
            order = _stratified_order(y, size, generator)
        fold[order[:size]] = True
        order = order[size:]
    return folds


def _stratified_order(y: Array, size: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Return an order of rows in which every ``size`` rows have about the targets of all."""
    n_samples = len(y)
    shuffled = torch.randperm(n_samples, generator=generator).numpy()
    by_target = shuffled[np.lexsort(y[shuffled].T[::-1])]
    n_folds = -(-n_samples // size)
    # Each fold gets one of every n_folds rows with neighbouring targets.
    places = torch.rand(n_samples, generator=generator, dtype=torch.float64).numpy()
    block = np.arange(n_samples) // n_folds
    within = np.lexsort([places, block])
    rank = np.arange(n_samples) % n_folds
    fold = np.empty(n_samples, np.int64)
    fold[within] = rank
    return by_target[np.lexsort([block, fold])]
