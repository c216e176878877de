r"""Losses: how errors count, with what steps of second order need.

Values of a network are called *raw*: they are predictions, or with a log link their logarithms.
Near a point each loss is taken for :math:`h e^2` up to a constant, with a curvature h and the
*working residual* :math:`e = g / h`, g being half the derivative. Gauss-Newton with these residuals
and row weights h is then Newton's method on the loss (iteratively reweighted least squares). Where
a loss has kinks or steep sides, h is the curvature of a parabola that is nowhere below it, or of
one that asks for steps of bounded length (Hunter and Lange 2000).

y and raw are (..., n_outputs, n_samples).

References
----------
Hunter, Lange, "Quantile regression via an MM algorithm", 2000,
https://doi.org/10.1080/10618600.2000.10474866

Huber, "Robust Statistics", 1981, chapter 7, https://doi.org/10.1002/0471725250

McCullagh, Nelder, "Generalized Linear Models", 1989, https://doi.org/10.1201/9780203753736
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

# A quantile's loss is taken for a parabola where residuals are below this part of their mean.
KINK = 0.1
# From so many standard deviations on Huber's loss is linear: 95 % efficient for gaussian noise.
HUBER_THRESHOLD = 1.35
HUBER_ITER = 30
# Rows of hardly any weight leave the constants; more would overflow in single precision.
LARGEST_NOISE = 1e20
# Newton's steps on cross-entropies are so long at most.
LARGEST_STEP = 4.0
# Rounds in which shares of classes are brought to those of the rows, and how far raw values move.
SHARE_ITER, FARTHEST = 50, 30.0
# Residuals of standardized targets are not told from 0 below.
SMALLEST = 1e-10


@dataclass(frozen=True)
class Loss:
    """What is minimised, relative to its value for the best constants.

    Parameters
    ----------
    null : tuple of float
        Value for the best constant of each output.
    noise : float, optional
        What penalties are relative to, in units of the loss; None for the loss itself, which
        tells how large errors are.
    """

    null: tuple[float, ...] = (1.0,)
    noise: float | None = None
    log_link: ClassVar[bool] = False
    zeros: ClassVar[bool] = True  # with a log link: whether targets may be 0, or must be above
    classes: ClassVar[bool] = False
    negligible: ClassVar[float] = 0.0  # relative to the best constant's

    @property
    def centers(self) -> tuple[float, ...] | None:
        """Quantiles that raw 0 stands for, one an output or one for all; None for the mean."""
        return None

    def fitted_to(self, y: Tensor, weights: Tensor, n: float) -> Loss:
        """Return the loss for targets of which 0 is the best raw constant.

        Parameters
        ----------
        y : Tensor of shape (n_outputs, n_samples)
        weights : Tensor of shape (n_samples,)
            Sum to 1.
        n : float
            Number of rows that they stand for.
        """
        raw = torch.zeros_like(y)
        null = self.values(raw, y, self.scale(raw, y, weights)) @ weights
        return replace(self, null=tuple(torch.where(null > 2 * SMALLEST, null, 1).tolist()))

    @property
    def central(self) -> bool:
        """Whether predictions are means, or about in the middle."""
        return self.centers in (None, (0.5,))

    @property
    def coupled(self) -> bool:
        """Whether the loss is one of all outputs together, not a mean of theirs."""
        return False

    def shares(self, raw: Tensor) -> Tensor:
        """Return the weights of outputs in the mean that is taken off where they are coupled."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return type(self).__name__

    def unit(self, raw: Tensor) -> Tensor:
        """Return `null` as a column."""
        return raw.new_tensor(self.null)[:, None]

    def scale(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the size of residuals where the loss depends on it, (..., n_outputs, 1).

        Parameters
        ----------
        weights : Tensor of shape (..., n_samples)
            Sum to 1.
        """
        return raw.new_ones(*raw.shape[:-1], 1)

    def shift(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return what to add to raw values so that predictions have the mean of y, (n_outputs,).

        0 where predictions are no means.

        Parameters
        ----------
        raw, y : Tensor of shape (n_outputs, n_samples)
        weights : Tensor of shape (n_samples,)
            Sum to 1.
        """
        if not self.log_link:
            return torch.zeros_like(raw[:, 0])
        means = (y @ weights).log(), (raw.exp() @ weights).log()
        return (means[0] - means[1]).clamp(-FARTHEST, FARTHEST)

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return the loss of each output and row."""
        raise NotImplementedError

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return working residuals and curvatures."""
        raise NotImplementedError


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared residuals, for means."""

    def shift(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the mean residual."""
        return (y - raw) @ weights

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return (raw - y)^2."""
        return (raw - y).square()

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals, and ones."""
        return raw - y, torch.ones_like(scale)


@dataclass(frozen=True)
class Pinball(Loss):
    """Absolute residuals, weighted by their sign: for quantiles, one an output or one for all."""

    quantiles: tuple[float, ...] = (0.5,)

    @property
    def centers(self) -> tuple[float, ...]:
        """The quantiles."""
        return self.quantiles

    def scale(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return mean absolute residuals."""
        return ((raw - y).abs() @ weights[..., None]).clamp_min(SMALLEST)

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return q (y - raw) where y is above, (1 - q) (raw - y) where it is below."""
        residual = raw - y
        return residual.abs() / 2 + (0.5 - self._level(raw)) * residual

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the parabola that touches the loss at the residual and its mirror."""
        residual = raw - y
        size = torch.maximum(residual.abs(), KINK * scale)
        return residual + (1 - 2 * self._level(raw)) * size, 1 / (4 * size)

    def _level(self, raw: Tensor) -> Tensor:
        return raw.new_tensor(self.quantiles)[:, None]


@dataclass(frozen=True)
class Huber(Loss):
    r"""Squares of small residuals and absolute values of large ones.

    With the scale s of the residuals estimated along (Huber's proposal 2):

    .. math::   \min_s \; s + \sum_i w_i\, s\, H(r_i / s), \qquad
                H(u) = u^2 \text{ for } |u| \le 1.35, \text{ else } 2.7 |u| - 1.35^2.
    """

    @property
    def centers(self) -> tuple[float, ...]:
        """The median."""
        return (0.5,)

    def scale(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return s, where the mean of min(|r| / s, 1.35)^2 is 1."""
        size, column = (raw - y).abs(), weights[..., None]
        scale = (size @ column).clamp_min(SMALLEST)
        for _ in range(HUBER_ITER):
            inside = (size / scale).clamp_max(HUBER_THRESHOLD).square()
            scale = (scale * (inside @ column).sqrt()).clamp_min(SMALLEST)
        return scale

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return s + s H(r / s)."""
        size = (raw - y).abs() / scale
        inside = size.clamp_max(HUBER_THRESHOLD)
        return scale * (1 + inside * (2 * size - inside))

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals, and the curvature of the parabola that touches H there."""
        residual = raw - y
        share = HUBER_THRESHOLD * scale / residual.abs().clamp_min(SMALLEST)
        return residual, share.clamp_max(1) / scale


@dataclass(frozen=True)
class Poisson(Loss):
    """Poisson deviance with a log link, for means of counts and of other targets >= 0."""

    log_link: ClassVar[bool] = True

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return 2 (y log(y / mu) - y + mu)."""
        return 2 * (torch.xlogy(y, y) - y * raw - y + raw.exp())

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those with half the derivative mu - y, and steps of 2 at most."""
        mean = raw.exp()
        curvature = torch.maximum(mean, (mean + y) / 2)
        return (mean - y) / curvature, curvature


@dataclass(frozen=True)
class Gamma(Loss):
    """Gamma deviance with a log link, for means of positive targets with relative noise."""

    log_link: ClassVar[bool] = True
    zeros: ClassVar[bool] = False

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return 2 (log(mu / y) + y / mu - 1)."""
        return 2 * (raw - y.log() + y * (-raw).exp() - 1)

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those with half the derivative 1 - y / mu, and steps of 2 at most."""
        ratio = y * (-raw).exp()
        curvature = torch.maximum(torch.ones_like(ratio), (1 + ratio) / 2)
        return (1 - ratio) / curvature, curvature


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy: y is 0 or 1, or one-hot; raw are logits less those of the best constants."""

    logits: tuple[float, ...] = (0.0,)
    classes: ClassVar[bool] = True
    negligible: ClassVar[float] = 1e-7  # all classes are told apart; logits would grow on and on

    def fitted_to(self, y: Tensor, weights: Tensor, n: float) -> Loss:
        """Return the loss for targets, with logits of the classes' shares."""
        several = len(y) > 1
        share = (y @ weights).clamp(SMALLEST, 1 - SMALLEST)
        logits = share.log() if several else share.logit()
        loss = replace(self, logits=tuple(logits.tolist()))
        null = float((loss.values(torch.zeros_like(y), y, y[:, :1]) @ weights).mean())
        null = null if null > 2 * SMALLEST else 1.0
        # Errors of logits have a known size: no estimate of it is needed.
        return replace(loss, null=(null,) * len(y), noise=min(len(y) / (n * null), LARGEST_NOISE))

    @property
    def coupled(self) -> bool:
        """Whether outputs are softmaxed together."""
        return len(self.logits) > 1

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log of the probability of y; of several outputs it is the mean."""
        if not self.coupled:
            return torch.nn.functional.softplus((1 - 2 * y) * self._moved(raw))
        return -len(self.logits) * y * self._moved(raw).log_softmax(-2)

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those with half the derivative p - y, and steps of `LARGEST_STEP` at most.

        Those of several outputs are for derivatives less their mean by `shares`.
        """
        p = self.shares(raw)
        own = p if self.coupled else p * (1 - p)
        curvature = torch.maximum(own, (p - y).abs() / LARGEST_STEP).clamp_min(SMALLEST)
        return (p - y) / curvature, len(self.logits) / 2 * curvature

    def shift(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return what to add to logits so that probabilities have the shares of the classes."""
        wanted, shift = y @ weights, torch.zeros_like(raw[:, 0])
        for _ in range(SHARE_ITER):
            found = self.shares(raw + shift[:, None]) @ weights
            step = wanted.logit() - found.logit() if len(y) == 1 else (wanted / found).log()
            shift = (shift + step.nan_to_num(0, 0, 0)).clamp(-FARTHEST, FARTHEST)
            if bool((step.abs() < 1e-9).all()):
                break
        return shift

    def shares(self, raw: Tensor) -> Tensor:
        """Return probabilities."""
        moved = self._moved(raw)
        return moved.softmax(-2) if self.coupled else moved.sigmoid()

    def _moved(self, raw: Tensor) -> Tensor:
        return raw + raw.new_tensor(self.logits)[:, None]


SQUARED_ERROR = SquaredError()
LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": Pinball,
    "huber": Huber,
    "quantile": Pinball,
    "poisson": Poisson,
    "gamma": Gamma,
}
