"""The rows of a fit as tensors, with the weights of training and held-out rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._solvers.losses import SQUARED_ERROR, Loss

# Largest value in single precision, where its square times a weight must not overflow.
LARGEST_SINGLE = 1e9


@dataclass(frozen=True)
class Rows:
    """Standardized data of a batch of starts; samples are the last dimension.

    Each start has its own weights, so it can hold out its own rows. The training weights of a start
    sum to 1, and so do its validation weights. Held-out losses are relative to the loss of the best
    constant (of all rows) on the same rows, so that starts can be compared.
    """

    X: Tensor  # (n_features, n_samples)
    y: Tensor  # (n_outputs, n_samples)
    training: Tensor  # (n_starts, n_samples)
    validation: Tensor | None  # (n_starts, n_samples)
    n_trained: int  # number of first rows that may train; the others train no start
    loss: Loss = SQUARED_ERROR
    base: Tensor | None = None  # (n_trained,) weights of the rows in the table
    null: Tensor | None = None  # (n_starts,), loss of the best constant on held-out rows; None: 1

    @property
    def n_samples(self) -> int:
        """Number of rows, held-out ones included."""
        return self.y.shape[-1]

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
        """Return the rows with the training rows ``kept`` (indices) and all held-out rows."""
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
        """Return the rows of a batch with ``n`` copies of each start, one after the other."""
        starts = torch.arange(len(self.training), device=self.training.device)
        return self.of(starts.repeat_interleave(n))

    def chunks(self, size: int, *, trained: bool = False) -> Iterator[slice]:
        """Yield slices of at most ``size`` rows, of training rows only if ``trained``."""
        stop = self.n_trained if trained else self.n_samples
        for begin in range(0, stop, size):
            yield slice(begin, min(begin + size, stop))

    def scale(self, raw: Tensor, starts: Tensor) -> Tensor:
        """Return the residual scale of the training rows, see `Loss.scale`."""
        trained = slice(self.n_trained)
        y, weights = self.y[:, trained], self.training[starts, trained]
        return self.loss.scale(raw[..., trained], y, weights)

    def evaluated(self, raw: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return training and validation losses, given the raw values of all rows.

        Parameters
        ----------
        raw : Tensor of shape (n_active, n_outputs, n_samples)

        Returns
        -------
        training, validation : Tensor of shape (n_active,)
        """
        return self.losses(self.values(raw, starts).mean(-2), slice(None), starts)

    def values(self, raw: Tensor, starts: Tensor) -> Tensor:
        """Return the loss of each output and row, (n_active, n_outputs, n_samples)."""
        return self.loss.values(raw, self.y, self.scale(raw, starts)) / self.loss.unit(raw)

    def penalized(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Return the cost: the loss plus ``norm`` times the noise, which the loss estimates.

        Parameters
        ----------
        loss : Tensor of shape (n_active,)
        norm : Tensor of shape (n_active,)
            alpha times the weighted sum of the squares of the parameters.
        """
        return loss + norm * (loss if self.loss.noise is None else self.loss.noise)

    def ridge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Return the derivative of the cost by ``norm``, divided by that by the loss."""
        if self.loss.noise is None:
            return loss / (1 + norm)
        return torch.full_like(loss, self.loss.noise)

    def losses(self, values: Tensor, rows: slice, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return training and validation losses, as weighted sums over some rows.

        Parameters
        ----------
        values : Tensor of shape (n_active, n_rows) or (n_active, n_outputs, n_rows)
            Losses, averaged over the outputs or of each.

        Returns
        -------
        training, validation : Tensor of shape (n_active,) or (n_active, n_outputs)
        """
        shape = -1, *[1] * (values.ndim - 2), values.shape[-1]
        training = _weighted_sum(values, self.training[starts, rows].view(shape))
        if self.validation is None:
            return training, torch.full_like(training, torch.nan)
        validation = _weighted_sum(values, self.validation[starts, rows].view(shape))
        if self.null is None:
            return training, validation
        return training, validation / self.null[starts].view(shape[:-1])


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums over the last dimension; values of no weight may be infinite."""
    return torch.where(weights > 0, weights * values, 0.0).sum(-1)
