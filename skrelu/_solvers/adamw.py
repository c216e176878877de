"""AdamW on minibatches for encoded networks, with a cosine rate and held-out rows.

All members see the same minibatches. A row has weight 0 for the members that hold it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Evaluation, Options, Progress, Result, Status

# Decay rates of Adam's moments: gradients change fast in short fits.
BETAS = (0.9, 0.95)
# Added to root mean squares of gradients.
TINY = 1e-8
# Fraction of the steps in which the rate grows from 0.
WARM_UP = 0.05
# Looks at held-out rows, and the power of their spacing: more of them near the end.
LOOKS, SPACING = 12, 0.7
# Weight of the mean over all members of a kind in the error of a member: few rows choose by chance.
POOLED = 0.5


class Batch(NamedTuple):
    """Rows as members see them, see `EncodedNetwork.forward`."""

    columns: Tensor  # (n_samples, n_columns) or (n_members, n_samples, n_columns)
    curves: Tensor  # (n_members, n_samples, n_curves)
    y: Tensor  # (n_members, n_outputs, n_samples)
    weights: Tensor  # (n_members, n_samples), sum to 1, or to 0 for a member with no such rows


class Minibatches(Protocol):
    """The rows that members are fitted to."""

    @property
    def n_rows(self) -> int:
        """Number of rows that may train."""

    def take(self, index: Tensor) -> Batch:
        """Return some of the rows."""

    def held_out(self) -> Batch | None:
        """Return the rows that each member holds out, None if there are none."""


class Moments(NamedTuple):
    """Points of all members and the moments of their gradients, after some steps.

    All are (n_members * n_parameters,), see `EncodedNetwork.unpack`.
    """

    theta: Tensor
    mean: Tensor
    square: Tensor
    taken: int  # steps

    @classmethod
    def at(cls, theta: Tensor) -> Moments:
        """Return those before the first step."""
        return cls(theta.clone(), torch.zeros_like(theta), torch.zeros_like(theta), 0)

    def copy(self) -> Moments:
        """Return a copy."""
        return Moments(self.theta.clone(), self.mean.clone(), self.square.clone(), self.taken)


@dataclass(frozen=True)
class Schedule:
    """Rates of all steps: they grow from 0, and then fall as a cosine.

    Parameters
    ----------
    n_steps : int
    rate : float
        Largest rate.
    decay : float
        Decay of the weights, as a fraction of the rate.
    """

    n_steps: int
    rate: float
    decay: float

    def at(self, step: int) -> float:
        """Return the rate of a step, from 0 on."""
        warm = min(1.0, (step + 1) / (WARM_UP * self.n_steps + 1))
        falling = (1 + math.cos(math.pi * step / self.n_steps)) / 2
        return self.rate * warm * falling

    def looks(self) -> list[int]:
        """Return the numbers of steps before the looks at held-out rows, which increase."""
        return [round(self.n_steps * (k / LOOKS) ** SPACING) for k in range(LOOKS + 1)]


class Descent:
    """Steps of AdamW for all members at once.

    Parameters
    ----------
    network : EncodedNetwork
    loss : Loss
    schedule : Schedule
    begin : Moments
        Where to go on; its tensors are changed in place.
    """

    def __init__(
        self, network: EncodedNetwork, loss: Loss, schedule: Schedule, begin: Moments
    ) -> None:
        self.network, self.loss, self.schedule, self.moments = network, loss, schedule, begin
        self._gradient = torch.zeros_like(begin.theta)
        self._weights, self._into = network.unpack(begin.theta), network.unpack(self._gradient)

    def step(self, batch: Batch) -> None:
        """Take a step on a minibatch."""

        def slopes(raw: Tensor) -> Tensor:
            scale = self.loss.scale(raw, batch.y, batch.weights)
            residual, curvature = self.loss.working(raw, batch.y, scale)
            unit = 2 / (self.loss.unit(raw) * raw.shape[-2])
            return residual * curvature * (batch.weights[:, None] * unit)

        self.network.differentiate(self._weights, self._into, batch.columns, batch.curves, slopes)
        theta, mean, square, step = self.moments
        rate, gradient = self.schedule.at(step), self._gradient
        # torch.optim takes more than a second to import.
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        root = square.sqrt().mul_((1 - BETAS[1] ** (step + 1)) ** -0.5).add_(TINY)
        theta.mul_(1 - rate * self.schedule.decay)
        theta.addcdiv_(mean, root, value=-rate / (1 - BETAS[0] ** (step + 1)))
        self.moments = self.moments._replace(taken=step + 1)


def adamw(
    network: EncodedNetwork,
    theta: Tensor,
    data: Minibatches,
    loss: Loss,
    options: Options,
    *,
    n_kinds: int,
    decay: float,
) -> Result:
    """Minimise the loss of all members.

    Parameters
    ----------
    network : EncodedNetwork
    theta : Tensor of shape (n_members * n_parameters,)
        Starting points.
    data : Minibatches
    loss : Loss
    options : Options
        ``max_iter`` is the number of steps. An iteration of the result is one of `LOOKS` looks.
    n_kinds : int
        Members are ordered by kind. A kind's members share half of their errors.
    decay : float
        Decay of the weights, as a fraction of the rate.

    Returns
    -------
    Result
        ``theta`` has a member in a row, see `EncodedNetwork.by_member`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019,
    https://arxiv.org/abs/1711.05101
    """
    schedule = Schedule(options.max_iter, options.learning_rate, decay)
    descent = Descent(network, loss, schedule, Moments.at(theta))
    theta, held_out, looks = descent.moments.theta, data.held_out(), set(schedule.looks())
    batches = _drawn(data, min(options.batch_size, data.n_rows), options.generator)
    progress: Progress | None = None
    everything = torch.arange(len(theta) // network.n_parameters, device=theta.device)
    try:
        for step in range(schedule.n_steps + 1):
            batch = next(batches)
            if step in looks:
                now = _evaluate(network, theta, batch, held_out, loss, n_kinds, step)
                if progress is None:
                    progress = Progress(now, options)
                    progress.max_iter = len(looks) - 1
                else:
                    progress.update(now, everything)
                progress.fraction = step / schedule.n_steps
                if options.stops(progress):
                    return progress.result(Status.STOPPED)
            if step < schedule.n_steps:
                descent.step(batch)
    except KeyboardInterrupt:
        if progress is None:
            raise
        return progress.result(Status.INTERRUPTED)
    assert progress is not None
    return progress.result(Status.DONE)


def _drawn(data: Minibatches, size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield minibatches without end; a pass leaves out the rows that do not fill one."""
    while True:
        order = torch.randperm(data.n_rows, generator=generator)
        for begin in range(0, data.n_rows - size + 1, size):
            yield data.take(order[begin : begin + size])


def _evaluate(
    network: EncodedNetwork,
    theta: Tensor,
    batch: Batch,
    held_out: Batch | None,
    loss: Loss,
    n_kinds: int,
    look: int,
) -> Evaluation:
    """Return the losses on a minibatch and on held-out rows."""
    fitted = losses(network, theta, batch, loss)
    own = None if held_out is None else losses(network, theta, held_out, loss)
    return evaluation(network.by_member(theta), fitted, own, n_kinds, look)


def evaluation(
    theta: Tensor, fitted: Tensor, held_out: Tensor | None, n_kinds: int, look: int
) -> Evaluation:
    """Return what a look has found.

    Parameters
    ----------
    theta : Tensor of shape (n_members, n_parameters)
    fitted : Tensor of shape (n_members,)
        Losses on a minibatch.
    held_out : Tensor of shape (n_members,) or None
        Losses on held-out rows.
    n_kinds, look : int
    """
    # Without held-out rows the last look is taken.
    validation, error = torch.full_like(fitted, torch.nan), torch.full_like(fitted, -float(look))
    if held_out is not None:
        own = held_out.view(n_kinds, -1)
        validation = error = torch.lerp(own, own.mean(1, keepdim=True), POOLED).flatten()
    return Evaluation(theta, fitted, fitted, validation, error)


def losses(network: EncodedNetwork, theta: Tensor, batch: Batch, loss: Loss) -> Tensor:
    """Return the loss of each member, (n_members,)."""
    raw = network.forward(network.unpack(theta), batch.columns, batch.curves)
    scale = loss.scale(raw, batch.y, batch.weights)
    values = (loss.values(raw, batch.y, scale) / loss.unit(raw)).mean(-2)
    return (values * batch.weights).sum(-1)
