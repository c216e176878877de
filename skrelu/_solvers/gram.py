"""Products of matrices with their own transposes, and their inverses, at half the usual cost."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg.blas import dsyrk, ssyrk
from scipy.linalg.lapack import dtrtri, strtri
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
    return product.add_(product.tril(-1).mT)


def inverse_diagonal(factor: Tensor) -> Tensor:
    """Return the diagonal of the inverse of L L', given the lower triangular L.

    It has the squared norms of the columns of the inverse of L, which LAPACK computes in half the
    time of the whole inverse. On other devices it is the diagonal of that.

    Parameters
    ----------
    factor : Tensor of shape (n_matrices, n_rows, n_rows)

    Returns
    -------
    Tensor of shape (n_matrices, n_rows)
    """
    if factor.device.type != "cpu" or factor.shape[-1] == 0:
        return torch.cholesky_inverse(factor).diagonal(dim1=-1, dim2=-2)
    trtri = dtrtri if factor.dtype == torch.float64 else strtri
    # LAPACK is column-major: it sees the transposes, and inverts upper triangles.
    upper = [trtri(matrix.T)[0] for matrix in factor.contiguous().numpy()]
    return torch.from_numpy(np.stack([np.square(part).sum(1) for part in upper]))
