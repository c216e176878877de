"""What the solvers share: options, progress, results, reasons for stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

# Rows taken at a time at least, see `chunk_size`.
FEWEST_CHUNKED = 64


class Status(IntEnum):
    """Why a solver stopped."""

    MAX_ITER = 0
    CONVERGED = 1
    NO_IMPROVEMENT = 2
    INTERRUPTED = 3
    STOPPED = 4

    @property
    def message(self) -> str:
        """A sentence for the reader."""
        return {
            Status.MAX_ITER: "the maximum number of iterations was reached",
            Status.CONVERGED: "the training loss stopped decreasing",
            Status.NO_IMPROVEMENT: "the validation loss stopped decreasing",
            Status.INTERRUPTED: "interrupted by the user",
            Status.STOPPED: "stopped by a callback",
        }[self]


class Evaluation(NamedTuple):
    """A problem's value at a batch of points; further fields belong to the problem."""

    cost: Tensor  # (n_starts,) what is minimised
    loss: Tensor  # (n_starts,) mean squared error on training rows
    validation_loss: Tensor  # (n_starts,) on held-out rows; NaN where there are none
    eliminated: Tensor  # (n_starts, ...) what was solved for at the points; may be empty
    state: tuple[Tensor, ...] = ()  # each (n_starts, ...)


@dataclass
class Result:
    """Outcome of a solver on a batch of starts.

    ``theta`` is the best point met by each start: by validation loss where there are
    held-out rows, else the last. Curves are means over the starts.
    """

    theta: Tensor  # (n_starts, n_parameters)
    loss: Tensor  # (n_starts,), training loss at theta
    validation_loss: Tensor  # (n_starts,), NaN without held-out rows
    eliminated: Tensor  # (n_starts, ...), at theta
    status: Status
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)

    @property
    def watched(self) -> Tensor:
        """The loss that tells good starts from bad: on held-out rows where there are any."""
        held_out = not bool(torch.isnan(self.validation_loss).any())
        return self.validation_loss if held_out else self.loss

    @property
    def interrupted(self) -> bool:
        """Whether the user ended it."""
        return self.status is Status.INTERRUPTED

    def to(self, dtype: torch.dtype) -> Result:
        """Return the result in another precision."""
        return replace(
            self,
            theta=self.theta.to(dtype),
            loss=self.loss.to(dtype),
            validation_loss=self.validation_loss.to(dtype),
            eliminated=self.eliminated.to(dtype),
        )

    def take(self, starts: Tensor) -> Result:
        """Return the result of some starts; curves stay means over all."""
        return replace(
            self,
            theta=self.theta[starts],
            loss=self.loss[starts],
            validation_loss=self.validation_loss[starts],
            eliminated=self.eliminated[starts],
        )

    def beside(self, more: Result) -> Result:
        """Return the results of these starts and of more, run later, with its status."""
        return replace(
            more.after(self),
            theta=torch.cat([self.theta, more.theta]),
            loss=torch.cat([self.loss, more.loss]),
            validation_loss=torch.cat([self.validation_loss, more.validation_loss]),
            eliminated=torch.cat([self.eliminated, more.eliminated]),
        )

    def after(self, earlier: Result | None) -> Result:
        """Return this result with the iterations and curves of an earlier one before it."""
        if earlier is None:
            return self
        return replace(
            self,
            n_iter=earlier.n_iter + self.n_iter,
            loss_curve=earlier.loss_curve + self.loss_curve,
            validation_curve=earlier.validation_curve + self.validation_curve,
        )


@dataclass(frozen=True)
class Options:
    """How to search, for both solvers.

    Parameters
    ----------
    solver : {"lm", "adam"}
    max_iter : int
        Most iterations: trial steps of "lm", passes over the data of "adam".
    tol, patience : float, int
        A start ends when its loss falls by less than ``tol`` (relative) over
        ``patience`` iterations.
    learning_rate, batch_size : float, int
        Step size and rows of a step of "adam".
    generator : torch.Generator
        On the CPU, so that results do not depend on the device.
    trials : tuple of float
        Multiples of the damping that "lm" tries at once. Kinks make the best damping
        jump; where the equations cost much more than a value, trying several pays.
    negligible : float
        A start whose training loss is no more than this has ended.
    report : callable, optional
        Called with the `Progress` at the start and after each iteration; True ends the solver.
    """

    solver: str
    max_iter: int
    tol: float
    patience: int
    learning_rate: float
    batch_size: int
    generator: torch.Generator
    trials: tuple[float, ...] = (1.0,)
    negligible: float = 0.0
    report: Callable[[Progress], bool] | None = None

    def stops(self, progress: Progress) -> bool:
        """Report, and tell whether to stop."""
        return self.report is not None and self.report(progress)


class Progress:
    """Best point so far of each start, and when to stop looking for a better one.

    A start has ended when what is watched (the loss on held-out rows where there are any, else
    the cost) fell by less than ``tol`` relative over ``patience`` iterations, or when its
    training loss is zero to rounding.
    """

    def __init__(self, theta: Tensor, evaluation: Evaluation, options: Options) -> None:
        self.tol, self.patience, self.negligible = options.tol, options.patience, options.negligible
        self.max_iter, self.begin = options.max_iter, time.perf_counter()
        self.theta = theta.clone()
        self.eliminated = evaluation.eliminated.clone()
        self.loss, self.validation_loss = (
            evaluation.loss.clone(),
            evaluation.validation_loss.clone(),
        )
        self.current, self.current_validation = self.loss.clone(), self.validation_loss.clone()
        self.validated = not bool(torch.isnan(evaluation.validation_loss).all())
        self.best = self._watched(evaluation).clone()
        self.reference = self.best.clone()
        self.waited = torch.zeros(theta.shape[0], dtype=torch.int64, device=theta.device)
        self.loss_curve: list[float] = []
        self.validation_curve: list[float] = []
        self.n_iter = 0
        self._record(self.current, self.current_validation)

    def _watched(self, evaluation: Evaluation) -> Tensor:
        watched = evaluation.validation_loss if self.validated else evaluation.cost
        return watched.nan_to_num(torch.inf, torch.inf)  # so that whatever is finite is better

    def _record(self, loss: Tensor, validation_loss: Tensor) -> None:
        self.loss_curve.append(float(loss.mean()))
        if self.validated:
            self.validation_curve.append(float(validation_loss.mean()))

    def update(self, theta: Tensor, evaluation: Evaluation, starts: Tensor) -> None:
        """Take in the points of the active starts after one iteration.

        An interrupt may come at any moment: all is computed first and taken in at once, so that
        coefficients, losses and points belong together.
        """
        watched = self._watched(evaluation)
        mask = watched < self.best[starts]
        better = starts[mask]
        notable = watched < (1 - self.tol) * self.reference[starts]
        reference = torch.where(notable, watched, self.reference[starts])
        waited = torch.where(notable, 0, self.waited[starts] + 1)
        validation_loss = evaluation.validation_loss
        now = {
            "best": self.best.index_copy(0, better, watched[mask]),
            "theta": self.theta.index_copy(0, better, theta[mask]),
            "loss": self.loss.index_copy(0, better, evaluation.loss[mask]),
            "validation_loss": self.validation_loss.index_copy(0, better, validation_loss[mask]),
            "eliminated": self.eliminated.index_copy(0, better, evaluation.eliminated[mask]),
            "current": self.current.index_copy(0, starts, evaluation.loss),
            "current_validation": self.current_validation.index_copy(0, starts, validation_loss),
            "reference": self.reference.index_copy(0, starts, reference),
            "waited": self.waited.index_copy(0, starts, waited),
        }
        self._record(now["current"], now["current_validation"])
        vars(self).update(now, n_iter=self.n_iter + 1)

    @property
    def seconds_left(self) -> float:
        """Seconds that the iterations left will take, if none ends early."""
        seconds = (time.perf_counter() - self.begin) / max(1, self.n_iter)
        return seconds * (self.max_iter - self.n_iter)

    def active(self) -> Tensor:
        """Return the starts that go on."""
        # Losses are relative to the variance of y: below this little but rounding is left.
        exact = self.current <= max(self.negligible, torch.finfo(self.theta.dtype).eps ** 1.5)
        return ((self.waited < self.patience) & ~exact).nonzero()[:, 0]

    def result(self, status: Status) -> Result:
        """Return the outcome; of an iteration that was interrupted nothing is part."""
        n_values = self.n_iter + 1
        return Result(
            theta=self.theta,
            loss=self.loss,
            validation_loss=self.validation_loss,
            status=status,
            eliminated=self.eliminated,
            n_iter=self.n_iter,
            loss_curve=self.loss_curve[:n_values],
            validation_curve=self.validation_curve[:n_values],
        )

    def ended(self) -> Status:
        """Return why no start is active any more."""
        return Status.NO_IMPROVEMENT if self.validated else Status.CONVERGED


def chunk_size(n_values_per_row: int, dtype: torch.dtype) -> int:
    """Return how many rows to take at a time so that a chunk fills about 64 MB."""
    return max(FEWEST_CHUNKED, math.floor(64e6 / (n_values_per_row * dtype.itemsize)))
