"""Refinement: all weights of the lowered network, released.

The second stage starts from the pretrained network lowered exactly, so the loss does not
move at the switch. Where the later peaks are 1/2, it first goes to the limit of infinite
depth (`refine_in_limit`), which ends where all layers are released. The ridge penalty of
pretraining moves along: it is spread over the output weights so that it, too, has the same
value at each switch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.adam import adam
from skrelu._solvers.gram import gram
from skrelu._solvers.levenberg_marquardt import (
    DualEquations,
    NormalEquations,
    levenberg_marquardt,
    running_scale,
)
from skrelu._solvers.progress import Evaluation, Options, Result, chunk_size
from skrelu._solvers.rows import Rows

# The limit is left for the network with so many more layers. More leave errors of the first
# layers that the last ones cannot repair (5 or 6 at depth 8: twice the median error or more);
# fewer take longer and gained little.
UNFOLDED_LAYERS = 3
# Most iterations of each fit in the limit: its weights are few, and going on gains
# little once all are released.
LIMIT_ITER = 40
# Iterations at full depth after which the best branch of a start shows.
BRANCH_ITER = 40


class Network(Protocol):
    """A function of one vector of parameters."""

    @property
    def n_parameters(self) -> int:
        """Length of the vector."""

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return values (n_starts, n_outputs, n_samples)."""

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return derivatives (n_starts, n_parameters, n_samples) of a combination of outputs."""

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield derivatives of each output, by those parameters."""


class FreeProblem:
    """The refinement problem of a batch of starts.

    Parameters
    ----------
    network : Network
    rows : Rows
    alpha : float
        Ridge penalty: `Rows.penalized` by alpha * sum_i penalty_i theta_i**2.
    penalty : Tensor of shape (n_starts, network.n_parameters)
        Weight of the square of each parameter, see `released_penalty`.
    """

    def __init__(self, network: Network, rows: Rows, alpha: float, penalty: Tensor) -> None:
        self.network, self.rows, self.alpha, self.penalty = network, rows, alpha, penalty
        self.chunk = chunk_size(2 * penalty.numel(), rows.X.dtype)
        self.penalized = (penalty > 0).any(0).nonzero()[:, 0]
        n_residuals = rows.n_trained * len(rows.y) + len(self.penalized)
        self.dual = n_residuals < network.n_parameters
        self.sampled = rows.loss.coupled and not self.dual
        self.generator = torch.Generator().manual_seed(0)
        # Parameters that matter to each output, where outputs have some of their own.
        separate = len(rows.y) > 1 and not rows.loss.coupled
        n_outputs = len(rows.y) if separate else 0
        self.of_outputs = [network.of_output(o).to(rows.X.device) for o in range(n_outputs)]

    def _penalty(self, theta: Tensor, starts: Tensor) -> Tensor:
        """Return the weight of the square of each parameter."""
        return self.penalty[starts]

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return losses; the state is the values and the size of residuals of the trained rows."""
        chunks = self.rows.chunks(self.chunk)
        raw = torch.cat([self.network.forward(theta, self.rows.X[:, c]) for c in chunks], -1)
        loss, validation = self.rows.evaluated(raw, starts)
        norm = (self._penalty(theta, starts) * theta**2).sum(-1)
        cost = self.rows.penalized(loss, self.alpha * norm)
        state = (raw[..., : self.rows.n_trained], self.rows.scale(raw, starts), norm)
        return Evaluation(cost, loss, validation, theta[:, :0], state)

    def linearize(
        self, theta: Tensor, evaluation: Evaluation, starts: Tensor, scale: Tensor | None
    ) -> NormalEquations | DualEquations:
        """Return the equations with the smaller matrix."""
        raw, scale_of_rows, norm = evaluation.state
        residual, root = self._working(raw, scale_of_rows, starts)
        ridge = self.alpha * self.rows.ridge(evaluation.loss, self.alpha * norm)
        # Sums over outputs below, means in the loss.
        penalty = len(self.rows.y) * ridge[:, None] * self._penalty(theta, starts)
        if self.dual:
            return self._dual(theta, raw, residual, root, penalty, scale)
        matrix = torch.diag_embed(penalty)
        gradient = penalty * theta
        for chunk in self.rows.chunks(self.chunk, trained=True):
            X, size = self.rows.X[:, chunk], root[..., chunk]
            cotangents = self._cotangents(raw[..., chunk], size)
            if self.sampled:
                gradient += self.network.jacobian(theta, X, size * residual[..., chunk]).sum(-1)
                signs = self._signs(cotangents)
                matrix += gram(self.network.jacobian(theta, X, (signs * cotangents).sum(1)))
                continue
            if self.of_outputs:
                jacobians = self.network.jacobians(theta, X, size)
            else:
                jacobians = (self.network.jacobian(theta, X, c) for c in cotangents.unbind(1))
            for output, jacobian in enumerate(jacobians):
                right = (jacobian @ residual[:, output, chunk, None])[..., 0]
                if self.of_outputs:
                    of = self.of_outputs[output]
                    matrix[:, of[:, None], of] += gram(jacobian)
                    gradient[:, of] += right
                else:
                    matrix += gram(jacobian)
                    gradient += right
        diagonal = matrix.diagonal(dim1=-1, dim2=-2)
        return NormalEquations(matrix, gradient, running_scale(diagonal, scale))

    def _cotangents(self, raw: Tensor, root: Tensor) -> Tensor:
        """Return the combinations of outputs that go with the residuals.

        Returns
        -------
        Tensor of shape (n_active, n_residuals, n_outputs, n_samples)
            With as many residuals as outputs.
        """
        eye = torch.eye(len(self.rows.y)).to(raw)[..., None]
        if self.rows.loss.coupled:
            eye = eye - self.rows.loss.shares(raw)[:, None]
        return eye * root[:, :, None]

    def _signs(self, cotangents: Tensor) -> Tensor:
        """Draw signs of residuals: the squares of their sums are sums of squares in the mean."""
        shape = cotangents.shape[1], 1, cotangents.shape[3]
        return (2 * torch.randint(2, shape, generator=self.generator) - 1).to(cotangents)

    def _working(self, raw: Tensor, scale: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weighted working residuals and roots of weights, (n_active, n_outputs, n)."""
        rows, trained = self.rows, slice(self.rows.n_trained)
        residual, curvature = rows.loss.working(raw, rows.y[:, trained], scale)
        weights = rows.training[starts, None, trained] * (curvature / rows.loss.unit(raw))
        root = weights.sqrt()
        return root * residual, root

    def _dual(
        self,
        theta: Tensor,
        raw: Tensor,
        residual: Tensor,
        root: Tensor,
        penalty: Tensor,
        scale: Tensor | None,
    ) -> DualEquations:
        X = self.rows.X[:, : self.rows.n_trained]
        cotangents = self._cotangents(raw, root).unbind(1)
        parts = [self.network.jacobian(theta, X, cotangent) for cotangent in cotangents]
        # The penalty as further residuals sqrt(penalty) * theta.
        root_penalty = penalty[:, self.penalized].sqrt()
        ridge = theta.new_zeros(*theta.shape, len(self.penalized))
        ridge[:, self.penalized] = torch.diag_embed(root_penalty)
        jacobian = torch.cat([*parts, ridge], -1)
        residual = torch.cat([residual.flatten(-2), root_penalty * theta[:, self.penalized]], -1)
        scale = running_scale(jacobian.square().sum(-1), scale)
        transposed = (jacobian / scale.sqrt()[..., None]).mT.contiguous()
        return DualEquations(transposed.mT, gram(transposed), residual, scale)


def released_penalty(network: ReLUNetwork, theta: Tensor, coef: Tensor, variance: Tensor) -> Tensor:
    """Turn the ridge on the coefficients into one on the weights of a lowered network.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
    coef : Tensor of shape (n_starts, 1 + n_features + n_subnetworks, n_outputs)
    variance : Tensor of shape (n_starts, 1 + n_features + n_subnetworks)
        Weight of the square of each coefficient, averaged over the outputs.

    Returns
    -------
    Tensor of shape (n_starts, network.n_parameters)
    """
    variance = variance / network.n_outputs
    _, linear, subnetworks = variance.split([1, network.n_features, network.n_subnetworks], -1)
    squares = coef[..., -network.n_subnetworks :, :].square().sum(-1)
    return _spread_penalty(network, theta, squares * subnetworks, linear)


def _spread_penalty(network: ReLUNetwork, theta: Tensor, sizes: Tensor, linear: Tensor) -> Tensor:
    """Spread the penalty of each sub-network evenly over its output weights.

    Parameters
    ----------
    sizes : Tensor of shape (n_starts, n_subnetworks)
        What the penalty of a sub-network is to be at theta.
    linear : Tensor of shape (n_starts, n_features)
        Weight of the squares of the linear part.
    """
    weights = network.unpack(theta)
    released = weights.output.square().sum((-1, -2))
    share = torch.where(released > 0, sizes / released, 0)
    zeros = network.unpack(torch.zeros_like(theta))
    return network.pack(
        zeros._replace(
            output=share[..., None, None].expand_as(weights.output),
            linear=linear[..., None].expand_as(weights.linear),
        )
    )


def refine(
    network: ReLUNetwork,
    theta: Tensor,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
) -> Result:
    """Fit all weights of a batch of ReLU networks.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Where to start.
    penalty : Tensor of shape (n_starts, network.n_parameters)
        See `released_penalty`.
    """
    if options.solver == "adam":
        return adam(network, theta, rows, alpha, penalty, options)
    return levenberg_marquardt(FreeProblem(network, rows, alpha, penalty), theta, options)


def refine_in_limit(
    network: ParabolicNetwork,
    theta: Tensor,
    depth: int,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    n_branches: int = 1,
) -> tuple[Result, Tensor, Tensor]:
    """Fit the first layers with the later ones at their limit, then unfold those.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Where to start.
    depth : int
        Number of hidden layers to end with.
    penalty : Tensor of shape (n_starts, network.relu.n_parameters)
        See `released_penalty`.
    options : Options
        ``max_iter`` counts what follows, too.
    n_branches : int, default=1
        Each start goes on in so many branches with other random neurons, of which the one
        that fits best after a few iterations at full depth is kept.

    Returns
    -------
    result : Result
        Of the last fit, after those before it.
    theta, penalty : Tensor of shape (n_starts, n_parameters)
        Of the `ReLUNetwork` of that depth to refine further.
    """
    deepest = max(network.relu.depth, depth - UNFOLDED_LAYERS)
    n_fits = deepest - network.relu.depth + 1
    in_limit = replace(options, max_iter=min(LIMIT_ITER, options.max_iter // (2 * n_fits)))
    afterwards = replace(options, max_iter=min(BRANCH_ITER, options.max_iter // 4))
    X, generator = rows.X, options.generator
    rows = rows.repeated(n_branches)
    theta, penalty = (part.repeat_interleave(n_branches, 0) for part in (theta, penalty))
    theta = network.revive(theta, X, generator)
    sizes = _sizes(network.relu, _without_parabolas(network, theta), penalty)
    result: Result | None = None
    for _ in range(n_fits):
        if result is not None:
            network, theta = network.deepen(theta, X, generator)
        penalty = _spread_penalty(network.relu, _without_parabolas(network, theta), *sizes)
        n_tail = network.n_parameters - network.relu.n_parameters
        problem = FreeProblem(network, rows, alpha, torch.nn.functional.pad(penalty, (0, n_tail)))
        result = levenberg_marquardt(problem, theta, in_limit).after(result)
        theta = result.theta
        sizes = _sizes(network.relu, _without_parabolas(network, theta), penalty)
        if result.interrupted:
            break
    assert result is not None
    relu, theta = network.unfold(theta, X, depth)
    penalty = _spread_penalty(relu, theta, *sizes)
    if n_branches == 1 or result.interrupted:
        return result, theta, penalty
    result = refine(relu, theta, rows, alpha, penalty, afterwards).after(result)
    best = result.watched.nan_to_num(torch.inf).view(-1, n_branches).argmin(1)
    best = best + n_branches * torch.arange(len(best), device=best.device)
    return result.take(best), result.theta[best], penalty[best]


def _without_parabolas(network: ParabolicNetwork, theta: Tensor) -> Tensor:
    return theta[:, : network.relu.n_parameters]


def _sizes(network: ReLUNetwork, theta: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Return the penalty of each sub-network and the weights on the linear part."""
    weights, shares = network.unpack(theta), network.unpack(penalty)
    return (shares.output * weights.output**2).sum((-1, -2)), shares.linear[..., 0]
