r"""Variable projection: pretraining as a separable least-squares problem.

The model is :math:`\Phi(\theta)\,c` with :math:`\Phi = [1, x, F_1, \dots, F_K]`. The cost is

.. math::   \text{loss} \cdot (1 + \alpha N), \qquad N = c^T V c,

The diagonal matrix V has the variances of the columns of Phi, plus squared changes of the F_k
outside their windows (`BEYOND`). The ridge is relative to the loss, which estimates the noise as in
Bayesian ridge regression, so it vanishes if y can be fitted exactly. For given theta the
coefficients solve a small linear system,

.. math::   (\Phi^T W \Phi + \lambda V)\,c = \Phi^T W y, \qquad
            \lambda = \alpha\,\text{loss} / (1 + \alpha N),

with lambda from the last accepted point. So the search is over theta alone (Golub and Pereyra
1973). If G has the derivatives of the F_k by their own parameters, Kaufman's simplification of the
Jacobian gives

.. math::

    J^T J = \left(G^T W G - G^T W \Phi (\Phi^T W \Phi + \lambda V)^{-1} \Phi^T W G\right)
            \circ C C^T, \qquad
    J^T r = -\textstyle\sum_o C_o \circ G^T W (y_o - \Phi c_o),

where C repeats the coefficients of each sub-network for all its parameters. All sums over rows are
taken in chunks, so memory does not grow with the number of rows.

References
----------
Golub and Pereyra, "Separable nonlinear least squares: the variable projection method and
its applications", 2003, https://doi.org/10.1088/0266-5611/19/2/201
"""

from __future__ import annotations

import torch
from torch import Tensor

from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.gram import gram
from skrelu._solvers.levenberg_marquardt import Damping, Equations, NormalEquations, running_scale
from skrelu._solvers.progress import Evaluation, chunk_size
from skrelu._solvers.rows import Rows

# Added to the unit diagonal of the linear problem, to keep it positive definite despite rounding;
# at least the rounding of as many numbers as there are columns.
JITTER = 1e-13
# Distance from its window at which a sub-network is also penalized, as a fraction of the window.
# Otherwise steep parts beyond the rows would cost nothing and ruin predictions there.
BEYOND = 0.05
# Iterations of `settle`. With an exactly linear target, the loss is alpha^2, alpha^6, alpha^14, ...
SETTLING = 3


class SeparableProblem:
    """The pretraining problem of a batch of starts.

    Parameters
    ----------
    model : TriangleModel
        Without a shape.
    rows : Rows
    alpha : float
        Strength of the ridge, relative to the loss; the intercept has none.
    """

    damping, estimates = Damping(), False

    def __init__(self, model: TriangleModel, rows: Rows, alpha: float) -> None:
        self.model, self.network, self.rows, self.alpha = model, model.triangles, rows, alpha
        network = self.network
        n_values = rows.training.shape[0] * (2 * network.n_parameters + network.n_features)
        self.chunk = chunk_size(n_values, rows.X.dtype)
        self.n_columns = 1 + network.n_features + network.n_subnetworks  # of Phi
        self.ridge = torch.full_like(rows.training[:, 0], alpha)  # lambda of each start

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Solve for coefficients; the state is variances, Cholesky factor and 1 / column sizes."""
        inner = self.model.unpack(theta)[0].contiguous()
        phi = self._all_columns(inner)
        products, moment = self._sums(inner, starts, phi)
        diagonal = products.diagonal(dim1=-1, dim2=-2)
        variance = (diagonal - products[..., 0] ** 2).clamp_min(0)  # weights sum to 1
        left, right = self.network.outer_slopes(inner)
        outside = torch.nn.functional.pad(left**2 + right**2, (1 + self.network.n_features, 0))
        variance = variance + BEYOND**2 * outside
        ridge = self.ridge[starts, None] * variance
        size = torch.where(diagonal > 0, diagonal, 1).rsqrt()  # unit diagonal
        jitter = max(JITTER, self.n_columns * torch.finfo(products.dtype).eps)
        matrix = size[..., :, None] * size[..., None, :] * (products + torch.diag_embed(ridge))
        matrix = matrix + jitter * torch.eye(matrix.shape[-1]).to(matrix)
        # A failed factorization leaves NaN behind, which Levenberg-Marquardt rejects.
        factor, info = torch.linalg.cholesky_ex(matrix)
        coef = size[..., None] * torch.cholesky_solve(size[..., None] * moment, factor)
        coef = torch.where((info == 0)[:, None, None], coef, torch.nan)
        loss, validation = self._losses(inner, coef, starts, phi)
        cost = self.rows.penalized(loss, self.alpha * _norm(coef, variance))
        theta = self.model.pack(inner, coef, inner[..., :0])
        error = cost if self.rows.validation is None else validation
        return Evaluation(theta, cost, loss, validation, error, (variance, factor, size))

    def settle(self, theta: Tensor, starts: Tensor) -> None:
        """Iterate lambda to the fixed point where it agrees with the loss at a first point."""
        for _ in range(SETTLING):
            self._update_ridge(self.evaluate(theta, starts), starts)

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Return Kaufman's equations for the nonlinear parameters."""
        _, factor, size = at.state
        theta, coef = (part.contiguous() for part in self.model.unpack(at.theta)[:2])
        self._update_ridge(at, starts)
        inner = theta.new_zeros(len(theta), theta.shape[-1], theta.shape[-1])
        cross = theta.new_zeros(len(theta), theta.shape[-1], coef.shape[-2])
        moment = theta.new_zeros(len(theta), theta.shape[-1], coef.shape[-1])
        for chunk in self.rows.chunks(self.chunk, trained=True):
            X, root = self.rows.X[:, chunk], self.rows.training[starts, None, chunk].sqrt()
            phi = self._columns(theta, X)
            residual = self.rows.y[:, chunk] - coef.mT @ phi
            derivatives = self.network.basis_derivatives(theta, X).mul_(root)
            inner += gram(derivatives)
            cross += derivatives @ (root * phi).mT
            moment += derivatives @ (root * residual).mT
        cross = cross * size[..., None, :]
        inner -= cross @ torch.cholesky_solve(cross.mT, factor)
        n_each = self.network.n_parameters // self.network.n_subnetworks
        spread = coef[..., -self.network.n_subnetworks :, :].repeat_interleave(n_each, -2)
        matrix = inner * (spread @ spread.mT)
        gradient = -(spread * moment).sum(-1)
        diagonal = matrix.diagonal(dim1=-1, dim2=-2).clamp_min(0)
        scale = None if earlier is None else earlier.scale
        return NormalEquations(matrix, gradient, running_scale(diagonal, scale)), at

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return damped steps of the nonlinear parameters; coefficients are solved for."""
        n_solved = self.model.n_parameters - self.network.n_parameters
        return torch.nn.functional.pad(equations.step(damping), (0, n_solved))

    def _update_ridge(self, at: Evaluation, starts: Tensor) -> None:
        _, coef, _ = self.model.unpack(at.theta)
        norm = self.alpha * _norm(coef, at.state[0])
        self.ridge[starts] = self.alpha * self.rows.ridge(at.loss, norm)

    def _columns(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return Phi' = [1, x, F], shape (n_active, 1 + n_features + K, n_rows)."""
        known = torch.cat([torch.ones_like(X[:1]), X])
        return torch.cat([known.expand(len(theta), *known.shape), self.network.basis(theta, X)], -2)

    def _all_columns(self, theta: Tensor) -> Tensor | None:
        """Return Phi' for all rows, None if that takes more memory than a chunk."""
        n_values = len(theta) * self.n_columns
        fits = self.rows.n_samples <= chunk_size(n_values, self.rows.X.dtype)
        return self._columns(theta, self.rows.X) if fits else None

    def _columns_in(self, chunk: slice, theta: Tensor, known: Tensor | None) -> Tensor:
        """Return Phi' for some rows, as a part of ``known`` if it is given."""
        return self._columns(theta, self.rows.X[:, chunk]) if known is None else known[..., chunk]

    def _sums(self, theta: Tensor, starts: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
        n_columns = self.n_columns
        inner = theta.new_zeros(len(theta), n_columns, n_columns)
        moment = theta.new_zeros(len(theta), n_columns, len(self.rows.y))
        for chunk in self.rows.chunks(self.chunk, trained=True):
            root = self.rows.training[starts, None, chunk].sqrt()
            phi = root * self._columns_in(chunk, theta, known)
            inner += phi @ phi.mT
            moment += phi @ (root * self.rows.y[:, chunk]).mT
        return inner, moment

    def _losses(
        self, theta: Tensor, coef: Tensor, starts: Tensor, known: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        loss = validation = torch.zeros_like(theta[:, 0])
        for chunk in self.rows.chunks(self.chunk):
            residual = self.rows.y[:, chunk] - coef.mT @ self._columns_in(chunk, theta, known)
            parts = self.rows.losses(residual.square().mean(-2), chunk, starts)
            loss, validation = loss + parts[0], validation + parts[1]
        return loss, validation


def _norm(coef: Tensor, variance: Tensor) -> Tensor:
    """Return N, the weighted sum of squared coefficients, averaged over the outputs."""
    return (variance * coef.square().mean(-1)).sum(-1)
