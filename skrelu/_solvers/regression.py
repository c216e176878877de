"""The Levenberg-Marquardt problem of any loss and any network, in all parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from skrelu._networks.shapes import Bounds
from skrelu._solvers.gram import gram
from skrelu._solvers.levenberg_marquardt import (
    Damping,
    DualEquations,
    Equations,
    NormalEquations,
    running_scale,
    without_held,
)
from skrelu._solvers.progress import Evaluation, chunk_size
from skrelu._solvers.rows import Rows


class Network(Protocol):
    """A function of one vector of parameters, with derivatives."""

    @property
    def n_parameters(self) -> int:
        """Length of the vector."""

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return raw outputs (n_starts, n_outputs, n_samples)."""

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return derivatives (n_starts, n_parameters, n_samples) of a combination of outputs."""

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of each output by the parameters of `of_output`."""


class LossProblem:
    """The problem of a penalized loss in all parameters, for a batch of starts.

    Parameters
    ----------
    network : Network
    rows : Rows
    alpha : float
        Strength of the ridge alpha * sum_i penalty_i theta_i**2, see `Rows.penalized`.
    penalty : Tensor of shape (n_starts, network.n_parameters)
        Weight of the square of each parameter.
    bounds : tuple of Tensor of shape (network.n_parameters,), optional
        Lower and upper bounds.
    """

    damping, estimates = Damping(), False

    def __init__(
        self,
        network: Network,
        rows: Rows,
        alpha: float,
        penalty: Tensor,
        bounds: Bounds | None = None,
    ) -> None:
        self.bounds = bounds
        self.network, self.rows, self.alpha, self.penalty = network, rows, alpha, penalty
        self.weights = rows.training
        self.chunk = chunk_size(2 * penalty.numel(), rows.X.dtype)
        self.penalized = (penalty > 0).any(0).nonzero()[:, 0]
        n_residuals = rows.n_trained * len(rows.y) + len(self.penalized)
        self.dual = n_residuals < network.n_parameters
        self.sampled = rows.loss.coupled and not self.dual
        self.generator = torch.Generator().manual_seed(0)
        # Parameters of each output, if outputs have parameters of their own.
        separate = len(rows.y) > 1 and not rows.loss.coupled
        n_outputs = len(rows.y) if separate else 0
        self.of_outputs = [network.of_output(o).to(rows.X.device) for o in range(n_outputs)]

    def _penalty(self, theta: Tensor, starts: Tensor) -> Tensor:
        """Return the weight of the square of each parameter at theta."""
        return self.penalty[starts]

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return losses; the state is raw values and scales of training rows, and the norm."""
        theta = self.retracted(theta)
        raw = self._values(theta)
        loss, validation = self.rows.evaluated(raw, starts)
        norm = (self._penalty(theta, starts) * theta**2).sum(-1)
        cost = self.rows.penalized(loss, self.alpha * norm)
        state = (raw[..., : self.rows.n_trained], self.rows.scale(raw, starts), norm)
        error = cost if self.rows.validation is None else validation
        return Evaluation(theta, cost, loss, validation, error, state)

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Return the normal or the dual equations, whichever have the smaller matrix."""
        raw, residual_scale, norm = at.state
        residual, weights = self._working(raw, residual_scale, starts)
        root = weights.sqrt()
        residual = root * residual
        ridge = self.alpha * self.rows.ridge(at.loss, self.alpha * norm)
        # The equations sum over the outputs, the loss is their mean.
        penalty = len(self.rows.y) * ridge[:, None] * self._penalty(at.theta, starts)
        scale = None if earlier is None else earlier.scale
        if self.dual:
            return self.held(self._dual(at.theta, raw, residual, root, penalty, scale), at), at
        matrix, gradient = self._sums(at.theta, raw, residual, root, penalty)
        scale = running_scale(matrix.diagonal(dim1=-1, dim2=-2), scale)
        return self.held(NormalEquations(matrix, gradient, scale), at), at

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return damped steps."""
        return equations.step(damping)

    def retracted(self, theta: Tensor) -> Tensor:
        """Return points clipped to the bounds."""
        return theta if self.bounds is None else theta.clamp(*self.bounds)

    def held(self, equations: Equations, at: Evaluation) -> Equations:
        """Return equations whose steps stay within the bounds."""
        if self.bounds is None:
            return equations
        return without_held(equations, at.theta, self.bounds)

    def _values(self, theta: Tensor) -> Tensor:
        """Return raw values of all rows."""
        chunks = self.rows.chunks(self.chunk)
        return torch.cat([self.network.forward(theta, self.rows.X[:, c]) for c in chunks], -1)

    def _sums(
        self, theta: Tensor, raw: Tensor, residual: Tensor, root: Tensor, penalty: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return J'J and J'r, with the penalty on the squares of the parameters."""
        matrix, gradient = torch.diag_embed(penalty), penalty * theta
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
        return matrix, gradient

    def _cotangents(self, raw: Tensor, root: Tensor) -> Tensor:
        """Return the weights of the outputs in the derivative of each residual.

        Returns
        -------
        Tensor of shape (n_active, n_residuals, n_outputs, n_samples)
            There are as many residuals as outputs.
        """
        eye = torch.eye(len(self.rows.y)).to(raw)[..., None]
        if self.rows.loss.coupled:
            eye = eye - self.rows.loss.probabilities(raw)[:, None]
        return eye * root[:, :, None]

    def _signs(self, cotangents: Tensor) -> Tensor:
        """Draw random signs: in expectation, squares of signed sums are sums of squares."""
        shape = cotangents.shape[1], 1, cotangents.shape[3]
        return (2 * torch.randint(2, shape, generator=self.generator) - 1).to(cotangents)

    def _working(self, raw: Tensor, scale: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return working residuals and their weights, (n_active, n_outputs, n_trained)."""
        rows, trained = self.rows, slice(self.rows.n_trained)
        residual, curvature = rows.loss.working(raw, rows.y[:, trained], scale)
        return residual, self.weights[starts, None, trained] * (curvature / rows.loss.unit(raw))

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
        # The penalty adds the residuals sqrt(penalty) * theta.
        root_penalty = penalty[:, self.penalized].sqrt()
        ridge = theta.new_zeros(*theta.shape, len(self.penalized))
        ridge[:, self.penalized] = torch.diag_embed(root_penalty)
        jacobian = torch.cat([*parts, ridge], -1)
        residual = torch.cat([residual.flatten(-2), root_penalty * theta[:, self.penalized]], -1)
        scale = running_scale(jacobian.square().sum(-1), scale)
        transposed = (jacobian / scale.sqrt()[..., None]).mT.contiguous()
        return DualEquations(transposed.mT, gram(transposed), residual, scale)
