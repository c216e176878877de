r"""Ridge penalties that follow from the data: the evidence framework.

The weights come in groups, each gaussian with a precision :math:`\alpha_g` of its own, the
noise has the precision :math:`\beta`. The most probable weights minimise

.. math::   \beta \sum_i r_i^2 + \sum_g \alpha_g \|\theta_g\|^2,

and the precisions are those that make the data most probable given the network (MacKay 1992),
with the Gauss-Newton matrix for the Hessian (Foresee and Hagan 1997). All rows train: with
:math:`\gamma` the number of weights that the data determine, the error on other rows is estimated
by :math:`n \sum_i r_i^2 / (n - \gamma)^2` (Golub, Heath and Wahba 1979). Other losses stand for
:math:`r_i^2`, with their curvatures in the matrix. Of cross-entropies :math:`\beta` is known, and
each determined weight fits :math:`1 / \beta` of the noise, which other rows have once more. Steps
follow the bend of the path to second order (Transtrum and Sethna 2012).

References
----------
MacKay, "Bayesian interpolation", 1992, https://doi.org/10.1162/neco.1992.4.3.415

Foresee and Hagan, "Gauss-Newton approximation to Bayesian learning", 1997,
https://doi.org/10.1109/ICNN.1997.614194

Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge
parameter", 1979, https://doi.org/10.1080/00401706.1979.10489751

Transtrum, Sethna, "Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares
minimization", 2012, https://arxiv.org/abs/1201.5885
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from skrelu._networks.shapes import Bounds
from skrelu._solvers.levenberg_marquardt import (
    Damping,
    Equations,
    NormalEquations,
    levenberg_marquardt,
)
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Evaluation, Options, Result
from skrelu._solvers.regression import LossProblem, Network
from skrelu._solvers.rows import Rows

# Steps are bent along the path only where its second part is so small beside the first.
MOST_BENT = 0.75
ALPHA_START, BETA_START = 1e-3, 1.0
ALPHA_MIN, ALPHA_MAX, BETA_MAX = 1e-8, 1e8, 1e12
# The noise is not estimated from less than this fraction of the rows.
FREE_ROWS = 0.05
# A start has ended when the estimated error fell by less than this fraction over so many
# steps taken.
END = (0.5, 20)


class Precisions:
    """The precisions of a batch of starts, and what they say about the error.

    Parameters
    ----------
    groups : Tensor of shape (n_groups, n_parameters)
        1 where a parameter belongs to a group.
    n_rows : Tensor of shape (n_starts,)
        Number of residuals.
    known : float, optional
        beta, where it follows from the loss.
    """

    def __init__(self, groups: Tensor, n_rows: Tensor, known: float | None = None) -> None:
        self.groups, self.n_rows, self.known = groups, n_rows, known
        self.beta = torch.full_like(n_rows, BETA_START if known is None else known)
        self.alpha = n_rows.new_full((len(n_rows), len(groups)), ALPHA_START)
        self.error = torch.full_like(n_rows, torch.inf)  # estimated loss on other rows

    def estimate(self, gram: Tensor, theta: Tensor, loss: Tensor, starts: Tensor) -> None:
        """Make the data most probable.

        Parameters
        ----------
        gram : Tensor of shape (n_active, n_parameters, n_parameters)
        theta : Tensor of shape (n_active, n_parameters)
        loss : Tensor of shape (n_active,)
        starts : Tensor of shape (n_active,)
        """
        alpha, beta, n_rows = self.alpha[starts], self.beta[starts], self.n_rows[starts]
        # In single precision gram is not positive definite where alpha is small.
        rounding = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=-1, dim2=-2).sum(-1)
        ridge = alpha @ self.groups + (beta * rounding)[:, None]
        hessian = beta[:, None, None] * gram + torch.diag_embed(ridge)
        factor, info = torch.linalg.cholesky_ex(hessian)
        good = info == 0
        factor = torch.where(good[:, None, None], factor, torch.eye(factor.shape[-1]).to(factor))
        variances = torch.cholesky_inverse(factor).diagonal(dim1=-1, dim2=-2)
        each = self.groups.sum(-1) - alpha * (variances @ self.groups.T)
        n_free = n_rows - each.sum(-1) - (theta.shape[-1] - self.groups.sum())
        determined, n_free = n_rows - n_free, torch.maximum(n_free, FREE_ROWS * n_rows)
        squares = n_rows * loss
        new = each.clamp_min(1e-3) / (theta**2 @ self.groups.T).clamp_min(1e-30)
        good &= torch.isfinite(new).all(-1)
        self.alpha[starts] = torch.where(good[:, None], new.clamp(ALPHA_MIN, ALPHA_MAX), alpha)
        if self.known is None:
            found = (n_free / squares.clamp_min(1e-30)).clamp_max(BETA_MAX)
            self.beta[starts] = torch.where(good, found, beta)
            error = n_rows * squares / n_free**2
        else:
            error = loss + 2 * determined / (beta * n_rows)
        self.error[starts] = torch.where(good, error, self.error[starts])


class BentNetwork(Network, Protocol):
    """A network whose parameters come in groups, and whose outputs bend along a step."""

    def groups(self) -> list[int]:
        """Return the number of parameters of each group; the last has no penalty."""

    def bounds(self, like: Tensor) -> Bounds | None:
        """Return what every parameter must not be below and above, if anything."""

    def curvature(self, theta: Tensor, step: Tensor, X: Tensor) -> Tensor:
        """Return the second derivative of the outputs along a step."""

    def pullback(self, theta: Tensor, X: Tensor, by_outputs: Tensor) -> Tensor:
        """Return the derivatives of sum(by_outputs * f(X)), (n_starts, n_parameters)."""


def fit_by_evidence(
    network: BentNetwork, theta: Tensor, rows: Rows, options: Options, enough: float = 0.0
) -> Result:
    """Fit a batch of networks.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Where to start.
    rows : Rows
        Held-out rows, if any, only choose the best iteration.
    options : Options
        An iteration is a trial step of every start; ``tol`` and ``patience`` are `END`.
    enough : float, default=0
        Errors below are alike.

    Returns
    -------
    Result
        Each start's best point, by held-out rows or the estimated error.
    """
    tol, patience = END
    options = replace(options, tol=tol, patience=patience, steps_count=True, together=True)
    return levenberg_marquardt(
        EvidenceProblem(network, rows), theta, replace(options, enough=enough)
    )


class EvidenceProblem(LossProblem):
    """The problem of a batch of starts, with precisions that each new point changes.

    Sums are over rows weighted so that the weights add up to the number of rows.
    """

    damping, estimates = Damping(1.0, 0.5, 3.0, 1e-10, 1e10), True

    def __init__(self, network: BentNetwork, rows: Rows) -> None:
        n_starts, loss = len(rows.training), rows.loss
        if isinstance(loss, SquaredError):  # the best constant's is 1 but for rounding
            rows = replace(rows, loss=replace(loss, null=(1.0,) * len(rows.y)))
        penalty = rows.X.new_zeros(n_starts, network.n_parameters)
        super().__init__(network, rows, 0.0, penalty, network.bounds(rows.X))
        self.dual, self.sampled, self.bent = False, loss.coupled, network
        n_effective = 1 / rows.training.square().sum(-1)
        self.weights = n_effective[:, None] * rows.training
        sizes = torch.tensor(network.groups())
        ids = torch.arange(len(sizes)).repeat_interleave(sizes)
        groups = torch.nn.functional.one_hot(ids).T[:-1].to(rows.X)
        known = 2 * loss.null[0] / len(rows.y) if loss.classes else None
        self.precisions = Precisions(groups, n_effective * len(rows.y), known)

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return losses; the state is the values and the size of residuals of the trained rows."""
        theta = self.retracted(theta)
        raw = self._values(theta)
        loss, validation = self.rows.evaluated(raw, starts)
        state = (raw[..., : self.rows.n_trained], self.rows.scale(raw, starts))
        return self._judged(Evaluation(theta, loss, loss, validation, loss, state), starts)

    def _judged(self, at: Evaluation, starts: Tensor) -> Evaluation:
        """Return values with the cost and the error that the precisions give."""
        precisions = self.precisions
        penalty = precisions.alpha[starts] @ precisions.groups
        squares = precisions.n_rows[starts] * at.loss
        cost = precisions.beta[starts] * squares + (penalty * at.theta**2).sum(-1)
        return at._replace(cost=cost, error=precisions.error[starts])

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Make the data most probable, and return the equations with these precisions."""
        precisions = self.precisions
        residual, weights = self._working(at.state[0], at.state[1], starts)
        nothing, root = torch.zeros_like(at.theta), weights.sqrt()
        matrix, gradient = self._sums(at.theta, at.state[0], root * residual, root, nothing)
        if earlier is not None:  # not yet at a random point
            precisions.estimate(matrix, at.theta, at.loss, starts)
        beta, penalty = precisions.beta[starts], precisions.alpha[starts] @ precisions.groups
        hessian = beta[:, None, None] * matrix + torch.diag_embed(penalty)
        slope = beta[:, None] * gradient + penalty * at.theta
        lengths = hessian.diagonal(dim1=-1, dim2=-2)
        equations = self.held(NormalEquations(hessian, slope, lengths), at)
        return equations, self._judged(at, starts)

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return damped steps, and half of their bend along the path where that is small."""
        assert isinstance(equations, NormalEquations)
        factor, _ = equations.factor(damping)
        gradient = equations.gradient[:, None, :, None].expand(*factor.shape[:-1], 1)
        step = -torch.cholesky_solve(gradient, factor)[..., 0]
        pull = torch.stack([self._pull(at, one, starts) for one in step.unbind(1)], 1)
        bend = -torch.cholesky_solve(pull[..., None], factor)[..., 0]
        lengths = equations.scale[:, None]
        sizes = [(lengths * part.square()).sum(-1).sqrt() for part in (bend, step)]
        bent = 2 * sizes[0] <= MOST_BENT * sizes[1]  # False for NaN
        return step + torch.where(bent[..., None], bend / 2, 0)

    def _pull(self, at: Evaluation, step: Tensor, starts: Tensor) -> Tensor:
        """Return beta J'f'', with f'' the second derivative of the outputs along a step."""
        _, weights = self._working(at.state[0], at.state[1], starts)
        total = torch.zeros_like(step)
        for chunk in self.rows.chunks(self.chunk, trained=True):
            X = self.rows.X[:, chunk]
            second = self.bent.curvature(at.theta, step, X)
            if self.rows.loss.coupled:
                cotangents = self._cotangents(at.state[0][..., chunk], weights[..., chunk].sqrt())
                along = (cotangents * second[:, None]).sum(2, keepdim=True)
                second = (cotangents * along).sum(1)
            else:
                second = second * weights[..., chunk]
            total += self.bent.pullback(at.theta, X, second)
        return self.precisions.beta[starts, None] * total
