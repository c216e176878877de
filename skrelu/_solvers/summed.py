r"""Evidence of squared errors from sums over rows that are not in memory.

A step needs of the rows only the Gauss-Newton sums :math:`\sum_i w_i J_i J_i'`,
:math:`\sum_i w_i r_i J_i` and :math:`\sum_i w_i r_i^2` of each output, which any split of the rows
adds up to. Steps have no geodesic acceleration, which would read the rows once more. All rows
train, and the loss of all rows chooses the best point: the geometric mean over the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._solvers.evidence import CurvedNetwork, EvidenceProblem, geometric_mean
from skrelu._solvers.gram import gram
from skrelu._solvers.levenberg_marquardt import Equations, levenberg_marquardt
from skrelu._solvers.progress import Evaluation, Options, Result, chunk_size
from skrelu._solvers.regression import Network
from skrelu._solvers.rows import Rows


@dataclass(frozen=True)
class Sums:
    """Weighted Gauss-Newton sums of each output over some rows, at a batch of points."""

    weight: float  # sum of the weights
    squares: Tensor  # (n_starts, n_outputs), of the residuals
    matrices: Tensor  # (n_starts, n_outputs, n_parameters, n_parameters), J'J
    gradients: Tensor  # (n_starts, n_outputs, n_parameters), J'r

    @classmethod
    def of(cls, network: Network, theta: Tensor, X: Tensor, y: Tensor, weights: Tensor) -> Sums:
        """Return the sums of some rows.

        Parameters
        ----------
        network : Network
        theta : Tensor of shape (n_starts, n_parameters)
        X : Tensor of shape (n_features, n_samples)
        y : Tensor of shape (n_outputs, n_samples)
        weights : Tensor of shape (n_samples,)
        """
        n_starts, n_parameters = theta.shape
        gradients = theta.new_zeros(n_starts, len(y), n_parameters)
        matrices = theta.new_zeros(*gradients.shape, n_parameters)
        squares = theta.new_zeros(n_starts, len(y))
        size = chunk_size(2 * theta.numel(), theta.dtype)
        for begin in range(0, X.shape[1], size):
            rows = slice(begin, begin + size)
            root = weights[rows].sqrt()
            residual = root * (network.forward(theta, X[:, rows]) - y[:, rows])
            squares += residual.square().sum(-1)
            jacobians = network.jacobians(theta, X[:, rows], root.expand_as(residual))
            for output, jacobian in enumerate(jacobians):
                of = network.of_output(output)
                matrices[:, output, of[:, None], of] += gram(jacobian)
                gradients[:, output, of] += (jacobian @ residual[:, output, :, None])[..., 0]
        return cls(float(weights.sum()), squares, matrices, gradients)

    def plus(self, other: Sums) -> Sums:
        """Return the sums of two lots of rows."""
        return Sums(
            self.weight + other.weight,
            self.squares + other.squares,
            self.matrices + other.matrices,
            self.gradients + other.gradients,
        )


# Returns the sums of all rows at points of shape (n_starts, n_parameters).
SumsAt = Callable[[Tensor], Sums]


class SummedProblem(EvidenceProblem):
    """The problem of `EvidenceProblem`, whose sums come from a function of points.

    Parameters
    ----------
    network : CurvedNetwork
    sums : callable
    like : Rows
        Only its loss and the numbers of its outputs and starts are read.
    n_effective : float
        Effective number of rows.
    resumed : float
        First damping.
    """

    def __init__(
        self,
        network: CurvedNetwork,
        sums: SumsAt,
        like: Rows,
        n_effective: float,
        resumed: float,
    ) -> None:
        self.sums, self.n_effective = sums, n_effective
        none = like.X[:, :0]
        rows = replace(
            like, X=none, y=like.y[:, :0], training=like.training[:, :0], validation=None,
            n_trained=0, base=None, null=None,
        )  # fmt: skip
        super().__init__(network, rows, resumed)

    def _effective_rows(self) -> Tensor:
        return self.rows.training.new_full((len(self.rows.training),), self.n_effective)

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return losses; the state is J'J and J'r, and losses of each output."""
        theta = self.retracted(theta)
        found = self.sums(theta)
        each = found.squares / found.weight
        factor = self.n_effective / found.weight
        unknown = torch.full_like(each, torch.nan)
        state = (factor * found.matrices, factor * found.gradients, each, unknown)
        loss = each.mean(-1)
        return self._judged(Evaluation(theta, loss, loss, unknown[:, 0], loss, state), starts)

    def _judged(self, at: Evaluation, starts: Tensor) -> Evaluation:
        return super()._judged(at, starts)._replace(error=geometric_mean(at.state[2]))

    def _products(self, at: Evaluation, starts: Tensor) -> tuple[Tensor, Tensor]:
        matrices, gradients, *_ = at.state
        of_outputs = self.precisions.of_outputs[starts]
        matrix = torch.einsum("so,sopq->spq", of_outputs, matrices)
        return matrix, torch.einsum("so,sop->sp", of_outputs, gradients)

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return damped steps."""
        return equations.step(damping)


def fit_by_sums(
    network: CurvedNetwork,
    theta: Tensor,
    sums: SumsAt,
    like: Rows,
    n_effective: float,
    options: Options,
    resumed: float,
) -> Result:
    """Go on with fits by evidence, with sums over all rows.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Results of a fit.
    sums, like, n_effective, resumed
        See `SummedProblem`. `sums` is called once, and once an iteration.
    options : Options

    Returns
    -------
    Result
        The point of each start with the lowest loss. Its error is the loss on other rows, by
        generalized cross-validation.
    """
    problem = SummedProblem(network, sums, like, n_effective, resumed)
    options = replace(options, steps_count=True, together=True)
    result = levenberg_marquardt(problem, theta, options)
    precisions = problem.precisions
    free = precisions.n_free / precisions.n_rows
    return replace(result, error=result.loss / free.square())
