"""Shares: the weights of the starts in the average that is the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skrelu._data.table import Array
from skrelu._data.torch_interop import to_numpy
from skrelu._fit import tuning
from skrelu._solvers.progress import Result
from skrelu._solvers.rows import Rows

# Added to losses, so that exact fits have equal shares whatever their rounding errors.
EXACT = 1e-24


def shares_of(result: Result, standard_error: float = 0.0) -> Array:
    """Return the share of each start in the average; shares sum to 1.

    Without held-out rows, the start with the lowest training loss has a share of 1.
    """
    if not result.validation_loss.isnan().all():
        return shares_by(result.validation_loss, standard_error)
    loss = np.nan_to_num(to_numpy(result.loss), nan=np.inf, posinf=np.inf)
    return (np.arange(len(loss)) == loss.argmin()).astype(float)


def shares_by(error: Tensor, standard_error: float = 0.0, noise: float = 0.0) -> Array:
    """Return shares in proportion to the inverse of errors on other rows.

    These are best for estimates with independent errors. The noise of the targets is common to
    all, so it does not count. Failed starts have a share of 0.

    Parameters
    ----------
    error : Tensor of shape (n_starts,)
    standard_error : float, default=0.0
        Standard error of the errors. Smaller differences are due to chance.
    noise : float, default=0.0
        The part of the errors that is noise.
    """
    loss = np.nan_to_num(to_numpy(error), nan=np.inf, posinf=np.inf)
    loss = np.maximum(loss, 0)  # rounding errors of exact fits reach -1e-17
    known = np.isfinite(loss)
    if not known.any():  # no start has taken a step
        return np.full(len(loss), 1 / len(loss))
    median = np.median(np.where(known, loss, loss[known].max()))
    shares = np.where(
        loss <= tuning.FAILED_START * (median + standard_error),
        1 / (np.maximum(loss - noise, 0) + standard_error + EXACT),
        0.0,
    )
    return shares / shares.sum()


def noise_of(loss: Tensor, error: Tensor) -> float:
    """Return the noise, as the least of the starts: between their losses and errors on other rows.

    With n rows and d degrees of freedom, losses are about 1 - d / n and errors 1 + d / n times it.

    Parameters
    ----------
    loss : Tensor of shape (n_starts,)
        On training rows.
    error : Tensor of shape (n_starts,)
    """
    return float((loss * error).clamp_min(0).sqrt().nan_to_num(torch.inf).amin())


def standard_error_of(rows: Rows, raw: Tensor) -> float:
    """Return the standard error of held-out losses, as the median over the starts.

    Parameters
    ----------
    raw : Tensor of shape (n_starts, n_outputs, n_samples)
        Raw values of the starts.
    """
    if rows.validation is None or rows.null is None:
        return 0.0
    everything = torch.arange(len(raw), device=raw.device)
    values = rows.loss.values(raw, rows.y, rows.scale(raw, everything)) / rows.loss.unit(raw)
    values = values.mean(-2) / rows.null[:, None]
    mean = (rows.validation * values).sum(1, keepdim=True)
    errors = (rows.validation * (values - mean)).square().sum(1).sqrt()
    return float(errors.nan_to_num(0.0, 0.0).median())
