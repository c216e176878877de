r"""Levenberg-Marquardt with ridge penalties that follow from the data.

The weights come in groups, each gaussian with a precision :math:`\alpha_g` of its own, the
noise has the precision :math:`\beta`. The most probable weights minimise

.. math::   \beta \sum_i r_i^2 + \sum_g \alpha_g \|\theta_g\|^2,

and the precisions are those that make the data most probable given the network (MacKay 1992),
with the Gauss-Newton matrix for the Hessian (Foresee and Hagan 1997). All rows train: with
:math:`\gamma` the number of weights that the data determine, the error on other rows is estimated
by :math:`n \sum_i r_i^2 / (n - \gamma)^2` (Golub, Heath and Wahba 1979). Steps follow the bend
of the path to second order (Transtrum and Sethna 2012).

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

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.gram import gram
from skrelu._solvers.progress import Evaluation, Options, Progress, Result, Status, chunk_size
from skrelu._solvers.rows import Rows

DAMPING_START, DAMPING_DOWN, DAMPING_UP = 1.0, 0.5, 3.0
DAMPING_MIN, DAMPING_MAX = 1e-10, 1e10
# Steps are bent along the path only where its second part is so small beside the first.
MOST_BENT = 0.75
ALPHA_START, BETA_START = 1e-3, 1.0
ALPHA_MIN, ALPHA_MAX, BETA_MAX = 1e-8, 1e8, 1e12
# The noise is not estimated from less than this fraction of the rows.
FREE_ROWS = 0.05
# A start has ended when the estimated error fell by less than this fraction over so many
# steps taken.
END = (0.5, 20)
# A start that looks for noise has slowed down when its error fell by less than this fraction over
# so many steps taken, and is below the second number: above, it may not have begun to learn.
SLOW, BEGUN = (0.15, 4), 0.8


@dataclass
class Precisions:
    """The precisions of a batch of starts, and what they say about the error."""

    alpha: Tensor  # (n_starts, n_groups)
    beta: Tensor  # (n_starts,)
    error: Tensor  # (n_starts,), estimated mean squared error on other rows

    def estimate(
        self, gram: Tensor, theta: Tensor, squares: Tensor, n_rows: Tensor, groups: Tensor
    ) -> None:
        """Make the data most probable.

        Parameters
        ----------
        gram : Tensor of shape (n_starts, n_parameters, n_parameters)
        theta : Tensor of shape (n_starts, n_parameters)
        squares : Tensor of shape (n_starts,)
            Sums of squared residuals.
        n_rows : Tensor of shape (n_starts,)
            Number of residuals.
        groups : Tensor of shape (n_groups, n_parameters)
            1 where a parameter belongs to a group.
        """
        # In single precision gram is not positive definite where alpha is small.
        rounding = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=-1, dim2=-2).sum(-1)
        ridge = self.alpha @ groups + (self.beta * rounding)[:, None]
        hessian = self.beta[:, None, None] * gram + torch.diag_embed(ridge)
        factor, info = torch.linalg.cholesky_ex(hessian)
        good = info == 0
        factor = torch.where(good[:, None, None], factor, torch.eye(factor.shape[-1]).to(factor))
        variances = torch.cholesky_inverse(factor).diagonal(dim1=-1, dim2=-2)
        determined = groups.sum(-1) - self.alpha * (variances @ groups.T)
        alpha = determined.clamp_min(1e-3) / (theta**2 @ groups.T).clamp_min(1e-30)
        n_free = n_rows - determined.sum(-1) - (theta.shape[-1] - groups.sum())
        n_free = torch.maximum(n_free, FREE_ROWS * n_rows)
        beta = n_free / squares.clamp_min(1e-30)
        good &= torch.isfinite(alpha).all(-1)
        alpha, beta = alpha.clamp(ALPHA_MIN, ALPHA_MAX), beta.clamp_max(BETA_MAX)
        self.alpha = torch.where(good[:, None], alpha, self.alpha)
        self.beta = torch.where(good, beta, self.beta)
        self.error = torch.where(good, n_rows * squares / n_free**2, self.error)


def fit_by_evidence(
    network: ComposedNetwork,
    theta: Tensor,
    rows: Rows,
    options: Options,
    floor: float = 0.0,
    noise: float | None = None,
) -> tuple[Result, Tensor]:
    """Fit a batch of composed networks.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Where to start.
    rows : Rows
        Held-out rows, if any, only choose the best iteration.
    options : Options
        An iteration is a trial step of every start.
    floor : float, default=0
        Errors below are alike.
    noise : float, optional
        Only look whether a start gets below this error, or all slow down above it.

    Returns
    -------
    result : Result
        Each start's best point, by held-out rows or the estimated error.
    error : Tensor of shape (n_starts,)
        Estimated mean squared error on other rows at the best points.
    """
    problem = _Problem(network, rows)
    groups = _groups(network, theta)
    beta = torch.full_like(theta[:, 0], BETA_START)
    alpha = torch.full_like(theta[:, : len(groups)], ALPHA_START)
    precisions = Precisions(alpha, beta, torch.full_like(beta, torch.inf))
    damping = torch.full_like(beta, DAMPING_START)
    now = problem.evaluate(theta)
    progress = Progress(theta, now.evaluation(precisions.error), options)
    whole, short = _Patience(*END, precisions.error), _Patience(*SLOW, precisions.error)
    status, taken = Status.MAX_ITER, torch.ones_like(beta, dtype=torch.bool)
    slow = ~taken
    try:
        matrix, gradient = problem.linearize(now.theta, now.residual)
        if options.stops(progress):
            return progress.result(Status.STOPPED), progress.best
        while progress.n_iter < options.max_iter:
            penalty, beta = precisions.alpha @ groups, precisions.beta
            hessian = beta[:, None, None] * matrix + torch.diag_embed(penalty)
            slope = beta[:, None] * gradient + penalty * now.theta
            step = _step(problem, now.theta, hessian, slope, damping, beta)
            trial = problem.evaluate(now.theta + step)
            taken = trial.cost(beta, penalty) < now.cost(beta, penalty)  # False for NaN
            now = _where(taken, trial, now)
            damping = torch.where(taken, DAMPING_DOWN * damping, DAMPING_UP * damping)
            damping = damping.clamp(DAMPING_MIN, DAMPING_MAX)
            if taken.any():
                matrix, gradient = problem.linearize(now.theta, now.residual)
                precisions.estimate(matrix, now.theta, now.squares, problem.n_rows, groups)
            progress.update(now.theta, now.evaluation(precisions.error), problem.everything)
            watched = now.validation_loss if progress.validated else precisions.error
            whole.update(watched, taken)
            short.update(watched, taken)
            if options.stops(progress):
                status = Status.STOPPED
                break
            ended = whole.over | (progress.best <= floor) | (damping >= DAMPING_MAX)
            slow |= short.over & (progress.best < BEGUN)
            if noise is not None:
                ended |= slow | (progress.best <= noise).any()
            if ended.all():
                status = progress.ended()
                break
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return progress.result(status), progress.best


class _Patience:
    """Whether the error of a start fell by less than a fraction over so many steps taken."""

    def __init__(self, least: float, steps: int, error: Tensor) -> None:
        self.least, self.steps = least, steps
        self.reference, self.waited = error, torch.zeros_like(error)

    def update(self, error: Tensor, taken: Tensor) -> None:
        """Take in the errors after an iteration."""
        notable = error < (1 - self.least) * self.reference
        self.reference = torch.where(notable, error, self.reference)
        self.waited = torch.where(notable, 0, self.waited + taken)

    @property
    def over(self) -> Tensor:
        """Tell which starts have waited long enough."""
        return self.waited >= self.steps


class _Point(NamedTuple):
    theta: Tensor  # (n_starts, n_parameters)
    residual: Tensor  # (n_starts, n_outputs, n_trained)
    squares: Tensor  # (n_starts,), sums over rows and outputs
    loss: Tensor  # (n_starts,)
    validation_loss: Tensor  # (n_starts,)

    def evaluation(self, error: Tensor) -> Evaluation:
        """Return losses; what is watched without held-out rows is the estimated error."""
        return Evaluation(error, self.loss, self.validation_loss, self.theta[:, :0])

    def cost(self, beta: Tensor, penalty: Tensor) -> Tensor:
        """Return what a step must lower, (n_starts,)."""
        return beta * self.squares + (penalty * self.theta**2).sum(-1)


def _where(mask: Tensor, new: _Point, old: _Point) -> _Point:
    """Return the points of some starts from one batch and the others from another."""
    pairs = zip(new, old, strict=True)
    return _Point(*(torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))


class _Problem:
    """Sums over the rows, each weighted so that the weights add up to the number of rows."""

    def __init__(self, network: ComposedNetwork, rows: Rows) -> None:
        self.network, self.rows = network, rows
        self.everything = torch.arange(len(rows.training), device=rows.X.device)
        n_effective = 1 / rows.training.square().sum(-1)
        self.n_rows = n_effective * len(rows.y)  # (n_starts,), of residuals
        self.weights = n_effective[:, None] * rows.training[:, : rows.n_trained]
        self.chunk = chunk_size(2 * len(rows.training) * network.n_parameters, rows.X.dtype)

    def evaluate(self, theta: Tensor) -> _Point:
        loss = validation = torch.zeros_like(theta[:, 0])
        residuals = []
        for chunk in self.rows.chunks(self.chunk):
            residual = self.network.forward(theta, self.rows.X[:, chunk]) - self.rows.y[:, chunk]
            parts = self.rows.losses(residual.square().mean(-2), chunk, self.everything)
            loss, validation = loss + parts[0], validation + parts[1]
            residuals.append(residual)
        residual = torch.cat(residuals, -1)[..., : self.rows.n_trained]
        return _Point(theta, residual, self.n_rows * loss, loss, validation)

    def linearize(self, theta: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return J'J and J'r."""
        n_parameters = theta.shape[-1]
        matrix = theta.new_zeros(len(theta), n_parameters, n_parameters)
        gradient = torch.zeros_like(theta)
        for chunk in self.rows.chunks(self.chunk, trained=True):
            root = self.weights[:, None, chunk].sqrt()
            for output in range(len(self.rows.y)):
                cotangent = root.new_zeros(len(theta), *self.rows.y[:, chunk].shape)
                cotangent[:, output] = root[:, 0]
                jacobian = self.network.jacobian(theta, self.rows.X[:, chunk], cotangent)
                matrix += gram(jacobian)
                right = (root[:, 0] * residual[:, output, chunk])[..., None]
                gradient += (jacobian @ right)[..., 0]
        return matrix, gradient

    def bend(self, theta: Tensor, step: Tensor) -> Tensor:
        """Return J'f'', with f'' the second derivative of the outputs along a step."""
        total = torch.zeros_like(theta)
        for chunk in self.rows.chunks(self.chunk, trained=True):
            X = self.rows.X[:, chunk]
            second = self.network.curvature(theta, step, X) * self.weights[:, None, chunk]
            total += self.network.pullback(theta, X, second)
        return total


def _step(
    problem: _Problem,
    theta: Tensor,
    hessian: Tensor,
    slope: Tensor,
    damping: Tensor,
    beta: Tensor,
) -> Tensor:
    """Return a damped step, and half its second derivative along the path if that is small."""
    lengths = hessian.diagonal(dim1=-1, dim2=-2)
    factor, _ = torch.linalg.cholesky_ex(hessian + torch.diag_embed(damping[:, None] * lengths))
    step = -torch.cholesky_solve(slope[..., None], factor)[..., 0]
    pull = beta[:, None] * problem.bend(theta, step)
    bend = -torch.cholesky_solve(pull[..., None], factor)[..., 0]
    sizes = [(lengths * part.square()).sum(-1).sqrt() for part in (bend, step)]
    bent = 2 * sizes[0] <= MOST_BENT * sizes[1]  # False for NaN
    return step + torch.where(bent[:, None], bend / 2, 0)


def _groups(network: ComposedNetwork, theta: Tensor) -> Tensor:
    """Mark the weights of each group, (n_groups, n_parameters); the intercepts have none."""
    sizes = torch.tensor(network.sizes)
    ids = torch.arange(len(sizes)).repeat_interleave(sizes)
    return torch.nn.functional.one_hot(ids).T[:-1].to(theta)
