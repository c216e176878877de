"""Forward selection of columns by what they explain for their cost."""

from __future__ import annotations

import torch
from torch import Tensor

# A column is left out if less than this fraction of it is not in the span of those chosen.
SPANNED = 1e-8


def forward_selection(
    columns: Tensor, base: Tensor, targets: Tensor, costs: Tensor, budget: float
) -> list[int]:
    """Choose columns one after the other, as orthogonal matching pursuit does.

    Each step takes the column by which the squared error of linear least squares falls most for
    its cost.

    Parameters
    ----------
    columns : Tensor of shape (n_samples, n_columns)
        Overwritten.
    base : Tensor of shape (n_samples, n_base)
        Columns that are always there.
    targets : Tensor of shape (n_samples, n_outputs)
    costs : Tensor of shape (n_columns,)
    budget : float
        Largest sum of costs.

    Returns
    -------
    list of int
        Indices of columns in the order of choice.

    References
    ----------
    Pati, Rezaiifar, Krishnaprasad, "Orthogonal matching pursuit", 1993,
    https://doi.org/10.1109/ACSSC.1993.342465
    """
    q = torch.linalg.qr(base).Q
    whole = columns.square().sum(0)
    columns -= q @ (q.T @ columns)
    residual = targets - q @ (q.T @ targets)
    size, gains = columns.square().sum(0), columns.T @ residual
    free = torch.ones_like(size, dtype=torch.bool)
    chosen: list[int] = []
    while True:
        allowed = free & (size > SPANNED * whole) & (costs <= budget)
        if not allowed.any():
            return chosen
        value = gains.square().sum(1) / size.clamp_min(1e-300) / costs
        best = int(torch.where(allowed, value, -1.0).argmax())
        chosen.append(best)
        free[best] = False
        budget -= float(costs[best])
        unit = columns[:, best] / size[best].sqrt()
        along, part = unit @ columns, unit @ residual
        columns.addr_(unit, along, alpha=-1)
        gains.addr_(along, part, alpha=-1)
        residual = residual - unit[:, None] * part
        size = (size - along.square()).clamp_min(0)
