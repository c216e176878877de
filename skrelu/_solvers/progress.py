"""Options, stopping rules and results of the solvers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrelu._solvers.rows import Rows

# Fewest rows in a chunk, see `chunk_size`.
FEWEST_CHUNKED = 64


class Status(IntEnum):
    """Why a solver stopped."""

    MAX_ITER = 0
    CONVERGED = 1
    NO_IMPROVEMENT = 2
    INTERRUPTED = 3
    STOPPED = 4
    DONE = 5
    NO_BETTER_SCORE = 6

    @property
    def message(self) -> str:
        """The reason in words, for messages."""
        return {
            Status.MAX_ITER: "the maximum number of iterations was reached",
            Status.CONVERGED: "the training loss stopped decreasing",
            Status.NO_IMPROVEMENT: "the validation loss stopped decreasing",
            Status.INTERRUPTED: "interrupted by the user",
            Status.STOPPED: "stopped by a callback",
            Status.DONE: "all steps were done",
            Status.NO_BETTER_SCORE: "the validation score stopped rising",
        }[self]


class Evaluation(NamedTuple):
    """Values of a problem at a batch of points."""

    theta: Tensor  # (n_starts, n_parameters), points within bounds, with the best coefficients
    cost: Tensor  # (n_starts,), what is minimised
    loss: Tensor  # (n_starts,), on training rows
    validation_loss: Tensor  # (n_starts,), on held-out rows; NaN if there are none
    error: Tensor  # (n_starts,), chooses the best point: often the cost, or the loss held out
    state: tuple[Tensor, ...] = ()  # each (n_starts, ...), for the problem only


@dataclass
class Result:
    """Outcome of a solver on a batch of starts.

    ``theta`` is the point of each start with the lowest error. Curves are means over the
    starts whose loss is finite.
    """

    theta: Tensor  # (n_starts, n_parameters)
    loss: Tensor  # (n_starts,), training loss at theta
    validation_loss: Tensor  # (n_starts,), NaN without held-out rows
    error: Tensor  # (n_starts,), the value that theta was chosen by; a score with its sign changed
    status: Status
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    score_curve: list[float] = field(default_factory=list)

    @property
    def watched(self) -> Tensor:
        """Loss by which starts are compared: on held-out rows, or on training rows if none are."""
        held_out = not bool(torch.isnan(self.validation_loss).any())
        return self.validation_loss if held_out else self.loss

    @property
    def interrupted(self) -> bool:
        """Whether the user interrupted it."""
        return self.status is Status.INTERRUPTED

    def _each(self, changed: Callable[[str, Tensor], Tensor]) -> Result:
        names = ("theta", "loss", "validation_loss", "error")
        parts: Any = {name: changed(name, getattr(self, name)) for name in names}
        return replace(self, **parts)

    def to(self, dtype: torch.dtype) -> Result:
        """Return the result in another precision."""
        return self._each(lambda _, part: part.to(dtype))

    def take(self, starts: Tensor) -> Result:
        """Return the result of some starts; curves stay means over all starts."""
        return self._each(lambda _, part: part[starts])

    def beside(self, more: Result) -> Result:
        """Append the result of more starts, fitted later; the status is theirs."""
        return more._each(lambda name, part: torch.cat([getattr(self, name), part])).after(self)

    def after(self, earlier: Result | None) -> Result:
        """Prepend the iterations and curves of an earlier result."""
        if earlier is None:
            return self
        return replace(
            self,
            n_iter=earlier.n_iter + self.n_iter,
            loss_curve=earlier.loss_curve + self.loss_curve,
            validation_curve=earlier.validation_curve + self.validation_curve,
            score_curve=earlier.score_curve + self.score_curve,
        )


@dataclass(frozen=True)
class Options:
    """Options of a solver.

    Parameters
    ----------
    solver : {"lm", "adam"}
    max_iter : int
        Maximum number of iterations: trial steps of "lm", or passes over the data of "adam".
    tol, patience : float, int
        A start ends if its loss falls by less than the fraction ``tol`` over ``patience``
        iterations.
    learning_rate, batch_size : float, int
        Learning rate of "adam", and rows of a minibatch.
    generator : torch.Generator
        On the CPU, so that results do not depend on the device.
    trials : tuple of float
        Multiples of the damping that "lm" tries at once. Kinks make the best damping vary, so
        several pay if the equations cost much more than an evaluation.
    negligible, enough : float
        A start ends if its training loss is at most ``negligible``, or if its error (its loss on
        held-out rows, if there are any) is at most ``enough``.
    steps_count, together : bool
        Whether ``patience`` counts successful steps only, and whether starts go on until all have
        ended.
    report : callable, optional
        Called with the `Progress` at the start and after each iteration; True ends the solver.
    score : callable, optional
        Maps raw outputs (n_starts, n_outputs, n_samples) and rows to scores of the rows that each
        start holds out, (n_starts,); for "adam". Then ``tol`` is absolute.
    then : tuple of str, optional
        Names of the stages with iterations that may follow in the fit; None if unknown.
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
    enough: float = 0.0
    steps_count: bool = False
    together: bool = False
    report: Callable[[Progress], bool] | None = None
    score: Callable[[Tensor, Rows], Tensor] | None = None
    then: tuple[str, ...] | None = None

    def stops(self, progress: Progress) -> bool:
        """Report, and return whether to stop."""
        return self.report is not None and self.report(progress)


class Patience(NamedTuple):
    """Number of iterations since the error of each start last fell by a fraction."""

    tol: float  # of the error, or of 1 if ``absolute``
    iterations: int
    reference: Tensor  # (n_starts,), errors at that time
    waited: Tensor  # (n_starts,), iterations since then
    absolute: bool = False

    @classmethod
    def from_now(
        cls, tol: float, iterations: int, error: Tensor, absolute: bool = False
    ) -> Patience:
        """Start counting."""
        return cls(tol, iterations, error, torch.zeros_like(error, dtype=torch.int64), absolute)

    def after(self, error: Tensor, counted: Tensor) -> Patience:
        """Return the numbers after one more iteration, which counts where ``counted`` is true."""
        limit = self.reference - self.tol if self.absolute else (1 - self.tol) * self.reference
        fell = error < limit
        reference = torch.where(fell, error, self.reference)
        return self._replace(
            reference=reference, waited=torch.where(fell, 0, self.waited + counted)
        )

    @property
    def over(self) -> Tensor:
        """Which starts have waited for ``iterations``."""
        return self.waited >= self.iterations


class Progress:
    """Best point of each start so far, and whether the start has ended.

    The best point has the lowest error, see `Evaluation`. A start has ended if this value fell by
    less than the fraction ``tol`` over ``patience`` iterations, if it is at most ``enough``, or if
    the training loss is zero to rounding. Errors may be scores with their sign changed.
    """

    def __init__(self, evaluation: Evaluation, options: Options) -> None:
        self.options, self.max_iter = options, options.max_iter
        self.begin = time.perf_counter()
        # Fraction of all steps, for a solver whose iterations differ and which does them all.
        self.fraction: float | None = None
        self.theta = evaluation.theta.clone()
        self.loss, self.validation_loss = (
            evaluation.loss.clone(),
            evaluation.validation_loss.clone(),
        )
        self.current, self.current_validation = self.loss.clone(), self.validation_loss.clone()
        self.validated = not bool(torch.isnan(evaluation.validation_loss).all())
        self.scored = options.score is not None
        self.watched = _finite(evaluation.error).clone()
        self.best = self.watched.clone()
        self.taken = self.stuck = torch.zeros_like(self.best, dtype=torch.bool)
        self.patience = Patience.from_now(options.tol, options.patience, self.best, self.scored)
        self.loss_curve: list[float] = []
        self.validation_curve: list[float] = []
        self.score_curve: list[float] = []
        self.n_iter = 0
        self._record(self.current, self.current_validation, self.watched)

    def _record(self, loss: Tensor, validation_loss: Tensor, watched: Tensor) -> None:
        self.loss_curve.append(_mean_of_finite(loss))
        if self.validated:
            self.validation_curve.append(_mean_of_finite(validation_loss))
        if self.scored:
            self.score_curve.append(-float(watched.mean()))

    def update(
        self,
        evaluation: Evaluation,
        starts: Tensor,
        taken: Tensor | None = None,
        stuck: Tensor | None = None,
    ) -> None:
        """Record the points of the active starts after one iteration.

        An interrupt may come at any moment. Everything is computed first and then stored at once,
        so that losses and points belong together.

        Parameters
        ----------
        evaluation : Evaluation
            Of the active starts.
        starts : Tensor of shape (n_active,)
            Their indices.
        taken, stuck : Tensor of bool of shape (n_active,), optional
            Which of them took a step, and which can take no more; by default all and none.
        """
        everything, nothing = torch.ones_like(starts, dtype=torch.bool), ~self.taken & self.taken
        taken = everything if taken is None else taken
        watched = _finite(evaluation.error)
        mask = watched < self.best[starts]
        better = starts[mask]
        validation_loss = evaluation.validation_loss
        all_watched = self.watched.index_copy(0, starts, watched)
        counted = nothing.index_copy(0, starts, taken if self.options.steps_count else everything)
        now: dict[str, Any] = {
            "watched": all_watched,
            "best": self.best.index_copy(0, better, watched[mask]),
            "theta": self.theta.index_copy(0, better, evaluation.theta[mask]),
            "loss": self.loss.index_copy(0, better, evaluation.loss[mask]),
            "validation_loss": self.validation_loss.index_copy(0, better, validation_loss[mask]),
            "current": self.current.index_copy(0, starts, evaluation.loss),
            "current_validation": self.current_validation.index_copy(0, starts, validation_loss),
            "patience": self.patience.after(all_watched, counted),
            "taken": nothing.index_copy(0, starts, taken),
        }
        if stuck is not None:
            now["stuck"] = self.stuck.index_copy(0, starts, stuck)
        self._record(now["current"], now["current_validation"], all_watched)
        vars(self).update(now, n_iter=self.n_iter + 1)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds of the remaining iterations, if no start ends early.

        None before the first iteration.
        """
        if self.over:
            return 0.0
        fraction = self.fraction or self.n_iter / max(1, self.max_iter)
        return self.seconds * (1 / fraction - 1) if fraction else None

    @property
    def ends_fit(self) -> bool:
        """Whether no other stage can follow, so that the time left is that of the fit."""
        return self.options.then == ()

    @property
    def seconds(self) -> float:
        """Seconds since the first evaluation."""
        return time.perf_counter() - self.begin

    @property
    def over(self) -> bool:
        """Whether no iteration follows, unless an interrupt or a callback ends the stage."""
        if self.n_iter >= self.max_iter:
            return True
        return self.fraction is None and not len(self.active())

    @property
    def ended(self) -> Tensor:
        """Which starts have ended, (n_starts,)."""
        # Relative losses below this are mostly rounding errors.
        rounding = torch.finfo(self.theta.dtype).eps ** 1.5
        exact = self.current <= max(self.options.negligible, rounding)
        enough = (self.best <= self.options.enough) & (not self.scored)
        return self.patience.over | exact | enough | self.stuck

    def active(self) -> Tensor:
        """Return the indices of the starts that go on."""
        ended = self.ended
        if self.options.together and not ended.all():
            ended = torch.zeros_like(ended)
        return (~ended).nonzero()[:, 0]

    def result(self, status: Status) -> Result:
        """Return the outcome, without an interrupted iteration."""
        n_values = self.n_iter + 1
        return Result(
            theta=self.theta,
            loss=self.loss,
            validation_loss=self.validation_loss,
            error=self.best,
            status=status,
            n_iter=self.n_iter,
            loss_curve=self.loss_curve[:n_values],
            validation_curve=self.validation_curve[:n_values],
            score_curve=self.score_curve[:n_values],
        )

    def why(self) -> Status:
        """Return why it ended, if neither a user nor a callback ended it."""
        if len(self.active()):
            return Status.MAX_ITER
        if self.scored:
            return Status.NO_BETTER_SCORE
        return Status.NO_IMPROVEMENT if self.validated else Status.CONVERGED


def _mean_of_finite(loss: Tensor) -> float:
    """Return the mean over the starts that have not failed, NaN if all have."""
    return float(loss[loss.isfinite()].mean())


def _finite(error: Tensor) -> Tensor:
    """Return errors of which any finite one is better than those that are not."""
    return error.nan_to_num(torch.inf, torch.inf)


def chunk_size(n_values_per_row: int, dtype: torch.dtype) -> int:
    """Return the number of rows in a chunk of about 64 MB."""
    return max(FEWEST_CHUNKED, math.floor(64e6 / (n_values_per_row * dtype.itemsize)))
