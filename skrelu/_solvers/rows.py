"""The rows of one fit as tensors, with the weights of training and held-out rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._solvers.losses import SQUARED_ERROR, Loss

# In single precision values are cut here: their squares times weights stay in range.
LARGEST_SINGLE = 1e9


@dataclass(frozen=True)
class Rows:
    """Standardized data of a batch of starts; samples are the last dimension.

    Each start has its own weights, so each can hold out other rows. The training weights
    of a start sum to 1, and so do its validation weights. Losses of held-out rows are relative to
    what the best constant of all rows loses on the same: then starts can be compared.
    """

    X: Tensor  # (n_features, n_samples)
    y: Tensor  # (n_outputs, n_samples)
    training: Tensor  # (n_starts, n_samples)
    validation: Tensor | None  # (n_starts, n_samples)
    n_trained: int  # rows after these train no start
    loss: Loss = SQUARED_ERROR
    base: Tensor | None = None  # (n_trained,) weights of the rows in the table
    null: Tensor | None = None  # (n_starts,), loss of the best constant on held-out rows; None: 1

    @property
    def n_samples(self) -> int:
        """Number of rows, held-out ones included."""
        return self.X.shape[-1]

    def to(self, dtype: torch.dtype) -> Rows:
        """Return the rows in another precision."""
        validation = None if self.validation is None else self.validation.to(dtype)
        base = None if self.base is None else self.base.to(dtype)
        null = None if self.null is None else self.null.to(dtype)
        X, y, training = self.X, self.y, self.training.to(dtype)
        if dtype == torch.float32:
            X, y = (part.clamp(-LARGEST_SINGLE, LARGEST_SINGLE) for part in (X, y))
        X, y = X.to(dtype), y.to(dtype)
        return replace(
            self, X=X, y=y, training=training, validation=validation, base=base, null=null
        )

    def of(self, starts: Tensor) -> Rows:
        """Return the rows for some of the starts."""
        validation = None if self.validation is None else self.validation[starts]
        null = None if self.null is None else self.null[starts]
        return replace(self, training=self.training[starts], validation=validation, null=null)

    def part(self, kept: Tensor) -> Rows:
        """Return the rows with only some of those that train; ``kept`` are their indices."""
        others = torch.arange(self.n_trained, self.n_samples, device=kept.device)
        index = torch.cat([kept, others])

        def weights(all_rows: Tensor) -> Tensor:
            return all_rows[:, index] / all_rows[:, index].sum(1, keepdim=True)

        validation = None if self.validation is None else weights(self.validation)
        X, y = self.X[:, index], self.y[:, index]
        return replace(
            self,
            X=X,
            y=y,
            training=weights(self.training),
            validation=validation,
            n_trained=len(kept),
            base=None if self.base is None else self.base[kept] / self.base[kept].sum(),
        )

    def repeated(self, n: int) -> Rows:
        """Return the rows for a batch in which each start stands ``n`` times in a row."""
        starts = torch.arange(len(self.training), device=self.training.device)
        return self.of(starts.repeat_interleave(n))

    def chunks(self, size: int, *, trained: bool = False) -> Iterator[slice]:
        """Yield slices of at most ``size`` rows; of the trained ones only if asked."""
        stop = self.n_trained if trained else self.n_samples
        for begin in range(0, stop, size):
            yield slice(begin, min(begin + size, stop))

    def scale(self, raw: Tensor, starts: Tensor) -> Tensor:
        """Return the size of residuals of the rows that train, see `Loss.scale`."""
        trained = slice(self.n_trained)
        y, weights = self.y[:, trained], self.training[starts, trained]
        return self.loss.scale(raw[..., trained], y, weights)

    def evaluated(self, raw: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return training and validation losses, given a network's values at all rows.

        Parameters
        ----------
        raw : Tensor of shape (n_active, n_outputs, n_samples)

        Returns
        -------
        training, validation : Tensor of shape (n_active,)
        """
        values = self.loss.values(raw, self.y, self.scale(raw, starts)) / self.loss.unit(raw)
        return self.losses(values.mean(-2), slice(None), starts)

    def penalized(self, loss: Tensor, penalty: Tensor) -> Tensor:
        """Return the cost: the penalty counts relative to the noise, of which the loss tells.

        Parameters
        ----------
        loss, penalty : Tensor of shape (n_active,)
        """
        return loss + penalty * (loss if self.loss.noise is None else self.loss.noise)

    def ridge(self, loss: Tensor, penalty: Tensor) -> Tensor:
        """Return the derivative of the cost by the penalty over that by the loss."""
        if self.loss.noise is None:
            return loss / (1 + penalty)
        return torch.full_like(loss, self.loss.noise)

    def losses(self, values: Tensor, rows: slice, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Sum weighted losses of some rows.

        Parameters
        ----------
        values : Tensor of shape (n_active, n_rows)
            Averaged over the outputs.

        Returns
        -------
        training, validation : Tensor of shape (n_active,)
        """
        training = _mean(values, self.training[starts, rows])
        if self.validation is None:
            return training, torch.full_like(training, torch.nan)
        validation = _mean(values, self.validation[starts, rows])
        return training, validation if self.null is None else validation / self.null[starts]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return weighted means of the last dimension; values of no weight may be infinite."""
    return torch.where(weights > 0, weights * values, 0.0).sum(-1)
