"""The rows of one fit as tensors, with the weights of training and held-out rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Standardized data of a batch of starts; samples are the last dimension.

    Each start has its own weights, so each can hold out other rows. The training weights
    of a start sum to 1, and so do its validation weights.
    """

    X: Tensor  # (n_features, n_samples)
    y: Tensor  # (n_outputs, n_samples)
    training: Tensor  # (n_starts, n_samples)
    validation: Tensor | None  # (n_starts, n_samples)
    n_trained: int  # rows after these train no start

    @property
    def n_samples(self) -> int:
        """Number of rows, held-out ones included."""
        return self.X.shape[-1]

    def of(self, starts: Tensor) -> Rows:
        """Return the rows for some of the starts."""
        validation = None if self.validation is None else self.validation[starts]
        return replace(self, training=self.training[starts], validation=validation)

    def part(self, kept: Tensor) -> Rows:
        """Return the rows with only some of those that train; ``kept`` are their indices."""
        others = torch.arange(self.n_trained, self.n_samples, device=kept.device)
        index = torch.cat([kept, others])

        def weights(all_rows: Tensor) -> Tensor:
            return all_rows[:, index] / all_rows[:, index].sum(1, keepdim=True)

        validation = None if self.validation is None else weights(self.validation)
        X, y = self.X[:, index], self.y[:, index]
        return Rows(X, y, weights(self.training), validation, len(kept))

    def repeated(self, n: int) -> Rows:
        """Return the rows for a batch in which each start stands ``n`` times in a row."""
        starts = torch.arange(len(self.training), device=self.training.device)
        return self.of(starts.repeat_interleave(n))

    def chunks(self, size: int, *, trained: bool = False) -> Iterator[slice]:
        """Yield slices of at most ``size`` rows; of the trained ones only if asked."""
        stop = self.n_trained if trained else self.n_samples
        for begin in range(0, stop, size):
            yield slice(begin, min(begin + size, stop))

    def losses(self, squares: Tensor, rows: slice, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Sum weighted squared errors of some rows.

        Parameters
        ----------
        squares : Tensor of shape (n_active, n_rows)
            Squared error, averaged over the outputs.

        Returns
        -------
        training, validation : Tensor of shape (n_active,)
        """
        training = (self.training[starts, rows] * squares).sum(-1)
        if self.validation is None:
            return training, torch.full_like(training, torch.nan)
        return training, (self.validation[starts, rows] * squares).sum(-1)
