"""What every way to fit needs: tables, rows of a start, options of a stage, the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._fitted import Array, Fitted, Table
from skrelu._plan import Plan, Settings
from skrelu._rows import Rows
from skrelu._scaling import Scaling
from skrelu._solvers import Options, Progress, Result, Status
from skrelu._torch_interop import to_numpy, to_tensor

# Takes a stage's name, how far it is and, where there is one, a function that returns the
# network as it is then; tells whether to end the stage.
Report = Callable[[str, Progress, Callable[[], Fitted] | None], bool]

# A start whose validation loss is so many times the median has gone wrong.
FAILURE = 3.0
EXACT = 1e-24  # losses below are alike


@dataclass(frozen=True)
class Job:
    """A table to fit and how, see `fit_network`."""

    training: Table
    validation: Table | None
    settings: Settings
    warm: Fitted | None
    device: torch.device
    generator: torch.Generator
    report: Report | None

    def options(
        self,
        solver: str,
        stage: str,
        max_iter: int,
        fitted: Callable[[Result], Fitted] | None = None,
    ) -> Options:
        """Return the options of a stage, with a function that tells what it has led to."""

        def report(progress: Progress) -> bool:
            assert self.report is not None
            if fitted is None:
                return self.report(stage, progress, None)
            return self.report(stage, progress, lambda: fitted(progress.result(Status.MAX_ITER)))

        settings, n_rows = self.settings, len(self.training.X)
        batch_size = settings.batch_size
        if batch_size == "auto":
            batch_size = max(200, n_rows // 500)
        return Options(
            solver=solver,
            max_iter=max_iter,
            tol=settings.tol,
            patience=settings.n_iter_no_change,
            learning_rate=settings.learning_rate,
            batch_size=min(int(batch_size), n_rows),
            generator=self.generator,
            negligible=settings.loss.negligible,
            report=None if self.report is None else report,
        )

    @cached_property
    def scalings(self) -> tuple[Scaling, Scaling]:
        """Return the standardization of X and of y."""
        X, y, weights = self.training.X, self.training.y, self.training.weights
        loss = self.settings.loss
        if loss.classes:
            target = Scaling.of_shares(y, weights)
        elif loss.log_link:
            target = Scaling.of_logarithms(y, weights)
        elif loss.centers is not None:
            target = Scaling.of_quantiles(y, weights, loss.centers)
        else:
            target = Scaling.of(y, weights)
        return Scaling.of(X, weights), target

    def targets(self, y: Array) -> Array:
        """Return targets in units in which 0 is the best constant of the raw values."""
        scaling = self.scalings[1]
        if self.settings.loss.classes:
            return y
        return y / np.exp(scaling.mean) if self.settings.loss.log_link else scaling.apply(y)

    def rows(self, n_starts: int, hold_out: bool, most: int) -> Rows:
        """Standardize the tables and weigh training and held-out rows for each start.

        Of more than ``most`` training rows a random part is taken.
        """
        training, validation, scalings = self.training, self.validation, self.scalings
        if len(training.X) > most:
            kept = torch.randperm(len(training.X), generator=self.generator)[:most].numpy()
            weights = training.weights[kept]
            part = weights.sum()
            training = Table(
                training.X[kept], training.y[kept], weights / part, training.total * part
            )
        X, y = scalings[0].apply(training.X), self.targets(training.y)
        loss = self.settings.loss.fitted_to(
            torch.tensor(y.T), torch.tensor(training.weights), training.total
        )
        n, held_out = len(X), None
        weights = np.tile(training.weights, (n_starts, 1))
        if validation is not None:
            X = np.concatenate([X, scalings[0].apply(validation.X)])
            y = np.concatenate([y, self.targets(validation.y)])
            held_out = np.concatenate([np.zeros(n), validation.weights])
            held_out = np.tile(held_out, (n_starts, 1))
            weights = np.pad(weights, [(0, 0), (0, len(validation.X))])
        elif hold_out:
            folds = _folds(n, n_starts, self.settings.validation_fraction, self.generator)
            held_out = weights * folds
            weights = weights * ~folds
            held_out /= held_out.sum(1, keepdims=True)
        weights /= weights.sum(1, keepdims=True)
        return Rows(
            X=to_tensor(X.T, self.device),
            y=to_tensor(y.T, self.device),
            training=to_tensor(weights, self.device),
            validation=None if held_out is None else to_tensor(held_out, self.device),
            n_trained=n,
            loss=loss,
        )

    def fitted(
        self,
        plan: Plan,
        pretrained: Tensor,
        coef: Tensor | None,
        relu: Tensor,
        penalty: Tensor,
        shares: Array,
        error: Tensor,
        pretraining: Result | None,
        refinement: Result | None,
    ) -> Fitted:
        """Return what a fit ended with, without the starts that have no share.

        ``error`` is the loss that each start leaves on other rows.
        """
        kept = torch.from_numpy(shares.nonzero()[0]).to(self.device)
        return Fitted(
            *self.scalings,
            to_numpy(pretrained[kept]),
            None if coef is None else to_numpy(coef[kept]),
            to_numpy(relu[kept]),
            to_numpy(penalty[kept]),
            shares[shares > 0],
            float(error.median()),
            plan,
            pretraining,
            refinement,
        )


def shares_of(result: Result) -> Array:
    """Return the share of each start in the average that is the model; they sum to 1.

    Without held-out rows, the start with the lowest training loss is the model.
    """
    if not result.validation_loss.isnan().all():
        return shares_by(result.validation_loss)
    loss = to_numpy(result.loss)
    return (np.arange(len(loss)) == np.nanargmin(loss)).astype(float)


def shares_by(error: Tensor) -> Array:
    """Return shares that go with the inverse of errors on other rows.

    The best average of estimates with independent errors has them so, but failures get none.
    """
    loss = np.maximum(to_numpy(error), 0)  # deviances of exact fits round to -1e-17
    shares = np.where(loss <= FAILURE * np.nanmedian(loss), 1 / (loss + EXACT), 0.0)
    if not shares.any():  # no start has taken a step
        shares = np.ones_like(shares)
    return shares / shares.sum()


def _folds(
    n_samples: int, n_starts: int, fraction: float, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Mark the rows that each start holds out: disjoint ones as long as rows last."""
    size = min(max(1, round(fraction * n_samples)), n_samples - 1)
    folds = np.zeros((n_starts, n_samples), bool)
    order = np.empty(0, np.int64)
    for fold in folds:
        if len(order) < size:
            order = torch.randperm(n_samples, generator=generator).numpy()
        fold[order[:size]] = True
        order = order[size:]
    return folds
