"""A job: the tables of a fit, rows of each start, options of each stage, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import PART, Array, Table
from skrelu._data.torch_interop import to_numpy, to_tensor, working_dtype
from skrelu._fit import tuning
from skrelu._fit.earlier import Earlier
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.folds import folds_of
from skrelu._fit.plan import Plan, Settings
from skrelu._fit.report import Report, Step, timed
from skrelu._solvers.progress import Options, Progress, Result, Status
from skrelu._solvers.rows import Rows

# Returns the score of held-out rows, the higher the better, given X (n_rows, n_features), y and raw
# outputs (n_rows, n_outputs) in the units of the data, and weights (n_rows,).
Score = Callable[[Array, Array, Array, Array], float]


@dataclass(frozen=True)
class Job:
    """The arguments of a fit, see `fit_network`."""

    training: Table
    validation: Table | None
    settings: Settings
    warm: Earlier | None
    device: torch.device
    generator: torch.Generator
    report: Report | None
    score: Score | None = None
    known_scalings: tuple[Scaling, Scaling] | None = None  # None: those of the table

    def options(
        self,
        solver: str,
        stage: str,
        max_iter: int,
        fitted: Callable[[Result], Fitted] | None = None,
        then: tuple[str, ...] | None = None,
    ) -> Options:
        """Return the options of a stage; ``fitted`` turns its result into a model for callbacks.

        ``then`` are the stages that may follow, None if unknown.
        """

        def report(progress: Progress) -> bool:
            assert self.report is not None
            if fitted is None:
                return self.report(stage, progress, None)
            return self.report(stage, progress, lambda: fitted(progress.result(Status.MAX_ITER)))

        settings, n_rows = self.settings, len(self.training.X)
        batch_size, learning_rate = settings.batch_size, settings.learning_rate
        if batch_size == "auto":
            batch_size = max(
                tuning.LEAST_BATCH, min(n_rows // 125, tuning.MOST_BATCH), n_rows // 500
            )
        batch_size = min(int(batch_size), n_rows)
        if learning_rate == "auto":
            learning_rate = tuning.LEARNING_RATE * np.clip(
                batch_size, tuning.LEAST_BATCH, tuning.MOST_BATCH
            )
            learning_rate /= tuning.LEAST_BATCH
        return Options(
            solver=solver,
            max_iter=max_iter,
            tol=settings.tol,
            patience=settings.n_iter_no_change,
            learning_rate=float(learning_rate),
            batch_size=batch_size,
            generator=self.generator,
            negligible=settings.loss.negligible,
            report=None if self.report is None else report,
            score=None if self.score is None else self._scores,
            then=then,
        )

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Return a context that reports a step without iterations, see `timed`."""
        return timed(self.report, name)

    def _scores(self, raw: Tensor, rows: Rows) -> Tensor:
        """Return the score of the rows that each start holds out, (n_starts,)."""
        assert self.score is not None
        assert rows.validation is not None
        of_X, of_y = self.scalings
        y = to_numpy(rows.y).T
        if self.settings.loss.log_link:
            y = y * np.exp(of_y.mean)
        elif not self.settings.loss.classes:
            y = of_y.undo(y)
        found = []
        for values, weights in zip(raw, to_numpy(rows.validation), strict=True):
            held = weights > 0
            X = of_X.undo(to_numpy(rows.X).T[held])
            values = of_y.undo(to_numpy(values).T[held])
            found.append(float(self.score(X, y[held], values, weights[held])))
        return torch.tensor(found, dtype=working_dtype(raw.device), device=raw.device)

    @property
    def n_effective(self) -> float:
        """Return the effective number of training rows: fewer than all if weights differ."""
        return 1 / float(np.square(self.training.weights).sum())

    @property
    def alpha(self) -> float:
        """Return the strength of the ridge for solvers.

        The parameter is relative to the sum of the losses in units of the noise: half of squared
        errors, or cross-entropies, whose noise is known. Solvers minimise means of losses.
        """
        if self.settings.loss.classes:
            return self.settings.alpha
        return 2 * self.settings.alpha * float(np.square(self.training.weights).sum())

    @property
    def ridge_factor(self) -> float:
        """Return the factor on ridges that left-out rows choose: 1 by default.

        For classes it is larger if the sample weights are below 1 on average.
        """
        factor = self.settings.alpha / tuning.DEFAULT_ALPHA
        if not self.settings.loss.classes:
            return factor
        return factor * max(1.0, len(self.training.X) / self.training.total)

    @cached_property
    def scalings(self) -> tuple[Scaling, Scaling]:
        """Return the standardizations of X and y."""
        if self.known_scalings is not None:
            return self.known_scalings
        X, y, weights = self.training.X, self.training.y, self.training.weights
        loss = self.settings.loss
        if loss.classes:
            target = Scaling.of_frequencies(y, weights)
        elif loss.log_link:
            target = Scaling.of_logarithms(y, weights)
        elif loss.centers is not None:
            target = Scaling.of_quantiles(y, weights, loss.centers)
        else:
            target = Scaling.of(y, weights)
        return Scaling.of(X, weights), target

    def targets(self, y: Array) -> Array:
        """Return targets in units for which raw values of 0 are the best constant."""
        scaling = self.scalings[1]
        if self.settings.loss.classes:
            return y
        return y / np.exp(scaling.mean) if self.settings.loss.log_link else scaling.apply(y)

    def rows(self, n_starts: int, hold_out: bool, most: int) -> Rows:
        """Standardize the tables, and give each start its training and held-out weights.

        A random part is taken of more than ``most`` training rows.
        """
        training = self.training
        if len(training.X) > most:
            kept = torch.randperm(len(training.X), generator=self.generator)[:most].numpy()
            weights = training.weights[kept]
            part = weights.sum()
            training = Table(
                training.X[kept], training.y[kept], weights / part, training.total * part
            )
        rows = self._without_features(training, n_starts, hold_out)
        X = torch.empty(training.X.shape[1], rows.n_samples, dtype=rows.y.dtype, device=self.device)
        tables = [training.X, *([] if self.validation is None else [self.validation.X])]
        parts = (X[begin : begin + PART] for X in tables for begin in range(0, len(X), PART))
        end = 0
        for part in map(self.scalings[0].apply, parts):
            end += len(part)
            X[:, end - len(part) : end] = to_tensor(part.T, self.device)
        return replace(rows, X=X)

    def rows_in_parts(self, n_starts: int, hold_out: bool) -> Rows:
        """Return all rows without features; `features` returns those of some rows."""
        return self._without_features(self.training, n_starts, hold_out)

    def features(self, index: slice | Tensor) -> Tensor:
        """Return standardized features of some of all rows, (n_features, n_chosen).

        Rows are those of the training table and then those of the validation table.
        """
        n, place = len(self.training.X), index if isinstance(index, slice) else index.cpu().numpy()
        if self.validation is None:
            X = self.training.X[place]
        else:
            places = np.arange(n + len(self.validation.X))[place]
            X = np.empty((len(places), self.training.X.shape[1]))
            X[places < n] = self.training.X[places[places < n]]
            X[places >= n] = self.validation.X[places[places >= n] - n]
        return to_tensor(self.scalings[0].apply(X).T, self.device)

    def _without_features(self, training: Table, n_starts: int, hold_out: bool) -> Rows:
        """Return rows with targets and weights of each start; X is empty."""
        validation, y = self.validation, self.targets(training.y)
        loss = self.settings.loss.fitted_to(
            torch.tensor(y.T), torch.tensor(training.weights), training.total
        )
        n, held_out = len(y), None
        weights = np.tile(training.weights, (n_starts, 1))
        if validation is not None:
            y = np.concatenate([y, self.targets(validation.y)])
            held_out = np.concatenate([np.zeros(n), validation.weights])
            held_out = np.tile(held_out, (n_starts, 1))
            weights = np.pad(weights, [(0, 0), (0, len(validation.X))])
        elif hold_out:
            fraction = self.settings.validation_fraction
            folds = folds_of(training.y, n_starts, fraction, self.generator)
            held_out = weights * folds
            weights *= ~folds
            held_out /= held_out.sum(1, keepdims=True)
        weights /= weights.sum(1, keepdims=True)
        rows = Rows(
            X=to_tensor(training.X[:0].T, self.device),
            y=to_tensor(y.T, self.device),
            training=to_tensor(weights, self.device),
            validation=None if held_out is None else to_tensor(held_out, self.device),
            n_trained=n,
            loss=loss,
            base=to_tensor(training.weights / training.weights.sum(), self.device),
        )
        return rows if held_out is None else replace(rows, null=_null(rows))

    def fitted(
        self,
        plan: Plan,
        weights: Weights,
        shares: Array,
        error: Tensor,
        pretraining: Result | None,
        refinement: Result | None,
    ) -> Fitted:
        """Return the outcome of a fit, without the starts whose share is 0.

        ``error`` is the loss of each start on other rows.
        """
        kept = torch.from_numpy(shares.nonzero()[0]).to(self.device)
        return Fitted(
            *self.scalings,
            to_numpy(weights.pretrained[kept]),
            to_numpy(weights.relu[kept]),
            to_numpy(weights.penalty[kept]),
            shares[shares > 0],
            np.ones(plan.relu.n_outputs),
            float(error.median()),
            plan,
            pretraining,
            refinement,
        )


def _null(rows: Rows) -> Tensor:
    """Return the loss of the best constant on the held-out rows of each start, (n_starts,).

    With few held-out rows it is shrunk towards 1, its loss on all rows.
    """
    assert rows.validation is not None
    starts = torch.arange(len(rows.training), device=rows.y.device)
    raw = torch.zeros_like(rows.y).expand(len(starts), *rows.y.shape)
    _, null = rows.evaluated(raw, starts)
    n_rows = (rows.validation > 0).sum(1).to(null)
    return (n_rows * null.nan_to_num(1.0, 1.0) + tuning.NULL_ROWS) / (n_rows + tuning.NULL_ROWS)
