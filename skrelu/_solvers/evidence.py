r"""Ridge penalties estimated from the data: the evidence framework.

The weights of group g are gaussian with precision :math:`\lambda_g`, and the noise has precision
:math:`\tau`. The most probable weights minimise

.. math::   \tau \sum_i r_i^2 + \sum_g \lambda_g \|\theta_g\|^2.

Groups are told by what they read: with a precision for each feature, features of no use lose all of
their weights (automatic relevance determination, MacKay 1994). The precisions maximise the
probability of the data given the network (MacKay 1992), with the
Gauss-Newton matrix in place of the Hessian (Foresee and Hagan 1997). All rows train. The error on
other rows is estimated by generalized cross-validation, :math:`n \sum_i r_i^2 / (n - \gamma)^2`,
where :math:`\gamma` is the effective number of weights (Golub, Heath and Wahba 1979). Other losses
take the place of :math:`r_i^2`, and their curvatures enter the matrix. For cross-entropies
:math:`\tau` is known, and the estimate is the mean loss plus :math:`2 \gamma / (n \tau)`. Steps
include their geodesic acceleration, a second-order term (Transtrum and Sethna 2012).

Several outputs with squared errors have noise of different precisions, so that noise of one does
not spoil another: those that are most probable are the inverse mean squares of their residuals.
Then the geometric mean of the losses falls, and it is the loss and the estimated error here. At
random starting points all precisions are equal for some iterations.

References
----------
MacKay, "Bayesian interpolation", 1992, https://doi.org/10.1162/neco.1992.4.3.415

MacKay, "Bayesian nonlinear modeling for the prediction competition", ASHRAE Transactions 100, 1994

Foresee and Hagan, "Gauss-Newton approximation to Bayesian learning", 1997,
https://doi.org/10.1109/ICNN.1997.614194

Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge
parameter", 1979, https://doi.org/10.1080/00401706.1979.10489751

Transtrum, Sethna, "Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares
minimization", 2012, https://arxiv.org/abs/1201.5885
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from skrelu._networks.shapes import Bounds
from skrelu._solvers.gram import inverse_diagonal
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

# Largest ratio of twice the acceleration to the step, by length, for which it is included.
MOST_ACCELERATION = 0.75
# Precisions of the weights: the first, the smallest and the largest.
FIRST_OF_WEIGHTS, LEAST_OF_WEIGHTS, MOST_OF_WEIGHTS = 1e-3, 1e-8, 1e8
# Precision of the noise: the first and the largest.
FIRST_OF_NOISE, MOST_OF_NOISE = 1.0, 1e12
# Linearization from which outputs have precisions of their own, if the starting point is random: at
# first those that are learned soonest would leave nothing for others.
BALANCED_FROM = 12
# Largest ratio of the precisions of two outputs, times the rounding of their numbers.
MOST_ROUNDING = 100
# Fewest degrees of freedom from which the noise is estimated, as a fraction of the rows.
FREE_ROWS = 0.05
# (fraction, steps): a start ends if its estimated error falls by less than this fraction over so
# many successful steps. The second one is for classes.
END, END_OF_CLASSES = (0.3, 15), (0.5, 20)
# After so many linearizations penalties and degrees of freedom change slowly: they are estimated at
# every fourth one, which takes 0.87 of the time. The noise follows the loss.
SETTLED_FROM, EVERY = 20, 4


class Precisions:
    """Precisions of the weights and the noise of a batch of starts, and estimated errors.

    Parameters
    ----------
    groups : Tensor of shape (n_groups, n_parameters)
        1 where a parameter belongs to a group.
    n_rows : Tensor of shape (n_starts,)
        Number of residuals.
    known : float, optional
        Precision of the noise, if it follows from the loss.
    n_outputs : int, default=1
    """

    def __init__(
        self, groups: Tensor, n_rows: Tensor, known: float | None = None, n_outputs: int = 1
    ) -> None:
        self.groups, self.n_rows, self.known = groups, n_rows, known
        self.of_noise = torch.full_like(n_rows, FIRST_OF_NOISE if known is None else known)
        self.of_weights = n_rows.new_full((len(n_rows), len(groups)), FIRST_OF_WEIGHTS)
        self.n_free = n_rows.clone()  # degrees of freedom
        self.error = torch.full_like(n_rows, torch.inf)  # estimated loss on other rows
        # Precision of the noise of each output, relative to their geometric mean, `of_noise`.
        self.of_outputs = n_rows.new_ones(len(n_rows), n_outputs)

    def begin_at(self, theta: Tensor, loss: Tensor) -> None:
        """Set the precisions that parameters (n_starts, n_parameters) have, if all are determined.

        ``loss`` is their loss, (n_starts,).
        """
        new = self.groups.sum(-1) / (theta**2 @ self.groups.T).clamp_min(1e-30)
        self.of_weights = new.clamp(LEAST_OF_WEIGHTS, MOST_OF_WEIGHTS)
        if self.known is None:
            self.of_noise = (1 / loss.clamp_min(1e-30)).clamp_max(MOST_OF_NOISE)

    def balance(self, losses: Tensor, starts: Tensor) -> None:
        """Set the precisions of outputs to the inverse of their losses, (n_active, n_outputs)."""
        rounding = MOST_ROUNDING * torch.finfo(losses.dtype).eps
        least = (rounding * losses.amax(1, keepdim=True)).clamp_min(1e-30)
        balanced = 1 / losses.clamp_min(least)
        self.of_outputs[starts] = balanced / geometric_mean(balanced)[:, None]

    def estimate(self, gram: Tensor, theta: Tensor, loss: Tensor, starts: Tensor) -> None:
        """Update the precisions by one step towards the largest evidence.

        Parameters
        ----------
        gram : Tensor of shape (n_active, n_parameters, n_parameters)
        theta : Tensor of shape (n_active, n_parameters)
        loss : Tensor of shape (n_active,)
        starts : Tensor of shape (n_active,)
        """
        of_weights, of_noise = self.of_weights[starts], self.of_noise[starts]
        n_rows = self.n_rows[starts]
        # In single precision gram is not positive definite where precisions are small.
        rounding = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=-1, dim2=-2).sum(-1)
        ridge = of_weights @ self.groups + (of_noise * rounding)[:, None]
        hessian = of_noise[:, None, None] * gram + torch.diag_embed(ridge)
        factor, info = torch.linalg.cholesky_ex(hessian)
        good = info == 0
        factor = torch.where(good[:, None, None], factor, torch.eye(factor.shape[-1]).to(factor))
        variances = inverse_diagonal(factor)
        each = self.groups.sum(-1) - of_weights * (variances @ self.groups.T)
        n_free = n_rows - each.sum(-1) - (theta.shape[-1] - self.groups.sum())
        determined, n_free = n_rows - n_free, torch.maximum(n_free, FREE_ROWS * n_rows)
        squares = n_rows * loss
        self.n_free[starts] = torch.where(good, n_free, self.n_free[starts])
        new = each.clamp_min(1e-3) / (theta**2 @ self.groups.T).clamp_min(1e-30)
        good &= torch.isfinite(new).all(-1)
        new = new.clamp(LEAST_OF_WEIGHTS, MOST_OF_WEIGHTS)
        self.of_weights[starts] = torch.where(good[:, None], new, of_weights)
        if self.known is None:
            found = (n_free / squares.clamp_min(1e-30)).clamp_max(MOST_OF_NOISE)
            self.of_noise[starts] = torch.where(good, found, of_noise)
            error = n_rows * squares / n_free**2
        else:
            error = loss + 2 * determined / (of_noise * n_rows)
        self.error[starts] = torch.where(good, error, self.error[starts])

    def follow(self, loss: Tensor, starts: Tensor) -> None:
        """Update the noise and the error for a loss, with the degrees of freedom found last."""
        n_rows, n_free = self.n_rows[starts], self.n_free[starts]
        squares = n_rows * loss
        self.of_noise[starts] = (n_free / squares.clamp_min(1e-30)).clamp_max(MOST_OF_NOISE)
        self.error[starts] = n_rows * squares / n_free**2


def geometric_mean(losses: Tensor) -> Tensor:
    """Return the geometric means of the rows of positive numbers."""
    return losses.clamp_min(1e-30).log().mean(-1).exp()


class CurvedNetwork(Network, Protocol):
    """A network with groups of parameters, and with second derivatives along a step."""

    def groups(self, by_feature: bool) -> Tensor:
        """Return the group of each parameter, -1 if it has no penalty."""

    def bounds(self, like: Tensor) -> Bounds | None:
        """Return lower and upper bounds of the parameters, None if there are none."""

    def curvature(
        self, theta: Tensor, step: Tensor, X: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the second derivative of the outputs along a step, and a pullback.

        This returns the derivatives of sum(by_outputs * f(X)), (n_starts, n_parameters).
        """


def fit_by_evidence(
    network: CurvedNetwork,
    theta: Tensor,
    rows: Rows,
    options: Options,
    *,
    resumed: float | None = None,
) -> Result:
    """Fit a batch of networks with ridge penalties estimated from the data.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Starting points.
    rows : Rows
        Held-out rows, if any, only choose the best iteration.
    options : Options
        An iteration is a trial step of every start; ``tol`` and ``patience`` are `END`.
    resumed : float, optional
        First damping if the starting points are results of a fit. Their precisions are estimated
        at once. Those of random points begin with fixed values, which would undo a fit.

    Returns
    -------
    Result
        The best point of each start, by held-out rows or else by the estimated error.
    """
    tol, patience = END_OF_CLASSES if rows.loss.classes else END
    options = replace(options, tol=tol, patience=patience, steps_count=True, together=True)
    return levenberg_marquardt(EvidenceProblem(network, rows, resumed), theta, options)


class EvidenceProblem(LossProblem):
    """The problem of a batch of starts whose precisions are estimated at each new point.

    Row weights are multiplied by the effective number of rows, so that they sum to it.
    """

    damping, estimates = Damping(1.0, 0.5, 3.0, 1e-10, 1e10), True

    def __init__(self, network: CurvedNetwork, rows: Rows, resumed: float | None = None) -> None:
        n_starts, loss = len(rows.training), rows.loss
        if isinstance(loss, SquaredError):  # 1 but for rounding
            rows = replace(rows, loss=replace(loss, null=(1.0,) * len(rows.y)))
        penalty = rows.X.new_zeros(n_starts, network.n_parameters)
        super().__init__(network, rows, 0.0, penalty, network.bounds(rows.X))
        self.dual, self.sampled, self.curved = False, loss.coupled, network
        self.resumed = resumed is not None
        if resumed is not None:
            self.damping = self.damping._replace(start=resumed)
        n_effective = self._effective_rows()
        self.weights = n_effective[:, None] * rows.training
        ids = network.groups(by_feature=not loss.classes)
        groups = torch.nn.functional.one_hot(ids + 1).T[1:].to(rows.X)
        known = 2 * loss.null[0] / len(rows.y) if loss.classes else None
        # Where J'J and J'r of each start were computed last, and these.
        self.places = torch.full_like(penalty, torch.nan)
        self.matrices, self.gradients = torch.diag_embed(penalty), penalty.clone()
        n_rows = n_effective * len(rows.y)
        self.precisions = Precisions(groups, n_rows, known, len(rows.y))
        self.several = len(rows.y) > 1 and isinstance(loss, SquaredError)
        self.balances, self.n_linearized = False, 0

    def _effective_rows(self) -> Tensor:
        """Return the effective number of rows of each start, (n_starts,)."""
        return 1 / self.rows.training.square().sum(-1)

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return losses; the state is raw values, residual scales, and losses of each output."""
        theta = self.retracted(theta)
        raw = self._values(theta)
        values = self.rows.values(raw, starts)
        each = self.rows.losses(values, slice(None), starts)
        loss, validation = (part.mean(-1) for part in each)
        trained = raw[..., : self.rows.n_trained]
        state = (trained, self.rows.scale(raw, starts), *each)
        return self._judged(Evaluation(theta, loss, loss, validation, loss, state), starts)

    def _judged(self, at: Evaluation, starts: Tensor) -> Evaluation:
        """Return the evaluation with the cost and the error that the precisions give."""
        precisions = self.precisions
        penalty = precisions.of_weights[starts] @ precisions.groups
        _, _, each, held_out = at.state
        squares = precisions.n_rows[starts] * self._weighted(each, starts)
        cost = precisions.of_noise[starts] * squares + (penalty * at.theta**2).sum(-1)
        error = precisions.error[starts]
        if self.rows.validation is not None:
            error = geometric_mean(held_out) if self.balances else held_out.mean(-1)
        return at._replace(cost=cost, error=error)

    def _weighted(self, losses: Tensor, starts: Tensor) -> Tensor:
        """Return the mean loss of the outputs, weighted by the precisions of their noise."""
        if self.balances:
            losses = self.precisions.of_outputs[starts] * losses
        return losses.mean(-1)

    def _working(self, raw: Tensor, scale: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        residual, weights = super()._working(raw, scale, starts)
        if self.balances:
            weights = self.precisions.of_outputs[starts, :, None] * weights
        return residual, weights

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Estimate the precisions, and return the equations with them."""
        precisions = self.precisions
        self.n_linearized += 1
        if self.n_linearized > BALANCED_FROM or self.resumed:
            self.balances = self.several
        if self.balances:
            precisions.balance(at.state[2], starts)
        matrix, gradient = self._products(at, starts)
        loss = self._weighted(at.state[2], starts)
        if earlier is None and self.resumed:
            precisions.begin_at(at.theta, loss)
        if earlier is not None or self.resumed:  # not at a random starting point
            settled = self.n_linearized > SETTLED_FROM and precisions.known is None
            if settled and self.n_linearized % EVERY:
                precisions.follow(loss, starts)
            else:
                precisions.estimate(matrix, at.theta, loss, starts)
        of_noise = precisions.of_noise[starts]
        penalty = precisions.of_weights[starts] @ precisions.groups
        hessian = of_noise[:, None, None] * matrix + torch.diag_embed(penalty)
        slope = of_noise[:, None] * gradient + penalty * at.theta
        lengths = hessian.diagonal(dim1=-1, dim2=-2)
        equations = self.held(NormalEquations(hessian, slope, lengths), at)
        return equations, self._judged(at, starts)

    def _products(self, at: Evaluation, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return J'J and J'r; those of starts that have not moved are known."""
        moved = (at.theta != self.places[starts]).any(-1)
        those = starts[moved]
        if len(those):
            theta, raw, scale = at.theta[moved], at.state[0][moved], at.state[1][moved]
            residual, weights = self._working(raw, scale, those)
            root = weights.sqrt()
            nothing = torch.zeros_like(theta)
            matrix, gradient = self._sums(theta, raw, root * residual, root, nothing)
            self.places[those], self.matrices[those] = theta, matrix
            self.gradients[those] = gradient
        return self.matrices[starts], self.gradients[starts]

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return damped steps, with their geodesic acceleration where it is short enough."""
        assert isinstance(equations, NormalEquations)
        factor, _ = equations.factor(damping)
        gradient = equations.gradient[:, None, :, None].expand(*factor.shape[:-1], 1)
        step = -torch.cholesky_solve(gradient, factor)[..., 0]
        pull = torch.stack([self._pull(at, one, starts) for one in step.unbind(1)], 1)
        acceleration = -torch.cholesky_solve(pull[..., None], factor)[..., 0]
        lengths = equations.scale[:, None]
        sizes = [(lengths * part.square()).sum(-1).sqrt() for part in (acceleration, step)]
        short = 2 * sizes[0] <= MOST_ACCELERATION * sizes[1]  # False for NaN
        return step + torch.where(short[..., None], acceleration / 2, 0)

    def _pull(self, at: Evaluation, step: Tensor, starts: Tensor) -> Tensor:
        """Return tau J'f'', where f'' is the second derivative of the outputs along a step."""
        _, weights = self._working(at.state[0], at.state[1], starts)
        total = torch.zeros_like(step)
        for chunk in self.rows.chunks(self.chunk, trained=True):
            X = self.rows.X[:, chunk]
            second, pullback = self.curved.curvature(at.theta, step, X)
            if self.rows.loss.coupled:
                cotangents = self._cotangents(at.state[0][..., chunk], weights[..., chunk].sqrt())
                along = (cotangents * second[:, None]).sum(2, keepdim=True)
                second = (cotangents * along).sum(1)
            else:
                second = second * weights[..., chunk]
            total += pullback(second)
        return self.precisions.of_noise[starts, None] * total
