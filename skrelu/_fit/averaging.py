"""The share of each start in the average that is the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skrelu._data.table import Array
from skrelu._data.torch_interop import to_numpy
from skrelu._fit import tuning
from skrelu._solvers.progress import Result
from skrelu._solvers.rows import Rows

EXACT = 1e-24  # losses below are alike


def shares_of(result: Result, doubt: float = 0.0) -> Array:
    """Return the share of each start in the average that is the model; they sum to 1.

    Without held-out rows, the start with the lowest training loss is the model.
    """
    if not result.validation_loss.isnan().all():
        return shares_by(result.validation_loss, doubt)
    loss = np.nan_to_num(to_numpy(result.loss), nan=np.inf, posinf=np.inf)
    return (np.arange(len(loss)) == loss.argmin()).astype(float)


def shares_by(error: Tensor, doubt: float = 0.0) -> Array:
    """Return shares that go with the inverse of errors on other rows.

    The best average of estimates with independent errors has them so, but failures get none.

    Parameters
    ----------
    error : Tensor of shape (n_starts,)
    doubt : float, default=0.0
        Standard error of the errors: smaller differences are chance.
    """
    loss = np.nan_to_num(to_numpy(error), nan=np.inf, posinf=np.inf)
    loss = np.maximum(loss, 0)  # those of exact fits round to -1e-17
    known = np.isfinite(loss)
    if not known.any():  # no start has taken a step
        return np.full(len(loss), 1 / len(loss))
    usual = np.median(np.where(known, loss, loss[known].max()))
    shares = np.where(
        loss <= tuning.FAILED_START * (usual + doubt), 1 / (loss + doubt + EXACT), 0.0
    )
    return shares / shares.sum()


def doubt_of(rows: Rows, raw: Tensor) -> float:
    """Return the standard error of the starts' losses on held-out rows, their median.

    Parameters
    ----------
    raw : Tensor of shape (n_starts, n_outputs, n_samples)
    """
    if rows.validation is None or rows.null is None:
        return 0.0
    everything = torch.arange(len(raw), device=raw.device)
    values = rows.loss.values(raw, rows.y, rows.scale(raw, everything)) / rows.loss.unit(raw)
    values = values.mean(-2) / rows.null[:, None]
    mean = (rows.validation * values).sum(1, keepdim=True)
    errors = (rows.validation * (values - mean)).square().sum(1).sqrt()
    return float(errors.nan_to_num(0.0, 0.0).median())
