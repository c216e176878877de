r"""Losses of regression and classification, with residuals and curvatures for second-order steps.

Outputs of a network are called *raw*: they are predictions, their logarithms (log link) or logits.
For a step d, the loss is approximated by :math:`h (d + e)^2` plus a constant. Here h is the
*curvature*, and :math:`e = g / h` is the *working residual*, where g is half the derivative.
Gauss-Newton with these residuals and row weights h is Newton's method on the loss (iteratively
reweighted least squares). Where a loss has kinks or steep sides, h is the curvature of a parabola
that nowhere lies below the loss, or that limits the length of steps (Hunter and Lange 2000).

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

# Smallest absolute residual in the curvature of a pinball loss, as a fraction of the mean one.
KINK = 0.1
# Residual above which Huber's loss is linear, in units of the residual scale, as in scikit-learn's
# HuberRegressor. The scale of gaussian noise is 0.68 standard deviations: 0.92 of these, which is
# 89 % efficient.
HUBER_THRESHOLD = 1.35
# Iterations that find the residual scale of Huber's loss.
HUBER_ITER = 30
# Largest noise of classes, for rows of hardly any weight: single precision must not overflow.
LARGEST_NOISE = 1e20
# Longest Newton step on a cross-entropy, in units of logits.
LARGEST_STEP = 4.0
# Most iterations that shift mean probabilities to the class frequencies.
FREQUENCY_ITER = 50
# Largest shift of raw values.
FARTHEST = 30.0
# Smallest residual, curvature and class frequency; targets are standardized.
SMALLEST = 1e-10


@dataclass(frozen=True)
class Loss:
    """A loss, relative to its value for the best constants.

    Parameters
    ----------
    null : tuple of float
        Loss of the best constant, for each output.
    noise : float, optional
        Noise that the ridge is relative to, in units of the loss. None for the loss itself, which
        then estimates the noise.
    """

    null: tuple[float, ...] = (1.0,)
    noise: float | None = None
    log_link: ClassVar[bool] = False
    zeros: ClassVar[bool] = True  # whether targets may be 0 with a log link
    classes: ClassVar[bool] = False
    negligible: ClassVar[float] = 0.0  # relative loss at which a start ends

    @property
    def centers(self) -> tuple[float, ...] | None:
        """Quantile levels of raw 0, one for each output or for all; None if raw 0 is the mean."""
        return None

    def fitted_to(self, y: Tensor, weights: Tensor, n: float) -> Loss:
        """Return the loss with the constants of given targets, whose best raw constant is 0.

        Parameters
        ----------
        y : Tensor of shape (n_outputs, n_samples)
        weights : Tensor of shape (n_samples,)
            Sum to 1.
        n : float
            Sum of the sample weights.
        """
        raw = torch.zeros_like(y)
        null = self.values(raw, y, self.scale(raw, y, weights)) @ weights
        return replace(self, null=tuple(torch.where(null > 2 * SMALLEST, null, 1).tolist()))

    @property
    def central(self) -> bool:
        """Whether predictions are means, medians or, with Huber's loss, between them."""
        return self.centers in (None, (0.5,))

    @property
    def coupled(self) -> bool:
        """Whether the outputs have one loss together; otherwise it is the mean of their losses."""
        return False

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the probabilities of classes, of the shape of raw."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Name of the loss in messages."""
        return type(self).__name__

    def unit(self, raw: Tensor) -> Tensor:
        """Return `null` as a column."""
        return raw.new_tensor(self.null)[:, None]

    def scale(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the residual scale, (..., n_outputs, 1); 1 if the loss needs none.

        Parameters
        ----------
        weights : Tensor of shape (..., n_samples)
            Sum to 1.
        """
        return raw.new_ones(*raw.shape[:-1], 1)

    def shift(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return shifts of raw values after which predictions have the mean of y, (n_outputs,).

        They are 0 if predictions are no means.

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
    """Squared error, for means."""

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
    """Pinball loss, for quantiles: one level for each output, or one for all."""

    quantiles: tuple[float, ...] = (0.5,)

    @property
    def centers(self) -> tuple[float, ...]:
        """The quantile levels."""
        return self.quantiles

    def scale(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return mean absolute residuals."""
        return ((raw - y).abs() @ weights[..., None]).clamp_min(SMALLEST)

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return q (y - raw) where y is above, (1 - q) (raw - y) where it is below."""
        residual = raw - y
        return residual.abs() / 2 + (0.5 - self._level(raw)) * residual

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the parabola that touches the loss at the residual r and at -r."""
        residual = raw - y
        size = torch.maximum(residual.abs(), KINK * scale)
        return residual + (1 - 2 * self._level(raw)) * size, 1 / (4 * size)

    def _level(self, raw: Tensor) -> Tensor:
        return raw.new_tensor(self.quantiles)[:, None]


@dataclass(frozen=True)
class Huber(Loss):
    r"""Huber's loss: squares of small residuals and absolute values of large ones.

    The residual scale s is estimated, too (Huber's proposal 2):

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
        weight = HUBER_THRESHOLD * scale / residual.abs().clamp_min(SMALLEST)
        return residual, weight.clamp_max(1) / scale


@dataclass(frozen=True)
class Poisson(Loss):
    """Poisson deviance with a log link, for means of counts and of other targets >= 0."""

    log_link: ClassVar[bool] = True

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return 2 (y log(y / mu) - y + mu)."""
        return 2 * (torch.xlogy(y, y) - y * raw - y + raw.exp())

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of half the derivative, mu - y, for steps of at most 2."""
        mean = raw.exp()
        curvature = torch.maximum(mean, (mean + y) / 2)
        return (mean - y) / curvature, curvature


@dataclass(frozen=True)
class Gamma(Loss):
    """Gamma deviance with a log link, for positive targets with noise proportional to the mean."""

    log_link: ClassVar[bool] = True
    zeros: ClassVar[bool] = False

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return 2 (log(mu / y) + y / mu - 1)."""
        return 2 * (raw - y.log() + y * (-raw).exp() - 1)

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of half the derivative, 1 - y / mu, for steps of at most 2."""
        ratio = y * (-raw).exp()
        curvature = torch.maximum(torch.ones_like(ratio), (1 + ratio) / 2)
        return (1 - ratio) / curvature, curvature


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy: y is 0 or 1, or one-hot; raw are logits minus those of the frequencies."""

    logits: tuple[float, ...] = (0.0,)
    classes: ClassVar[bool] = True
    negligible: ClassVar[float] = 1e-7  # classes are separated: logits would grow without end

    def fitted_to(self, y: Tensor, weights: Tensor, n: float) -> Loss:
        """Return the loss with the logits of the class frequencies."""
        several = len(y) > 1
        frequency = (y @ weights).clamp(SMALLEST, 1 - SMALLEST)
        logits = frequency.log() if several else frequency.logit()
        loss = replace(self, logits=tuple(logits.tolist()))
        null = float((loss.values(torch.zeros_like(y), y, y[:, :1]) @ weights).mean())
        null = null if null > 2 * SMALLEST else 1.0
        # The noise of classes is known, so it is not estimated.
        return replace(loss, null=(null,) * len(y), noise=min(len(y) / (n * null), LARGEST_NOISE))

    @property
    def coupled(self) -> bool:
        """Whether the outputs are logits of a softmax."""
        return len(self.logits) > 1

    def values(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log of the probability of y, as the mean over the outputs if they are coupled."""
        if not self.coupled:
            return torch.nn.functional.softplus((1 - 2 * y) * self._moved(raw))
        return -len(self.logits) * y * self._moved(raw).log_softmax(-2)

    def working(self, raw: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of half the derivative, p - y, for steps of at most `LARGEST_STEP`.

        With several outputs, they go with the derivative of each output minus the mean of all,
        weighted by `probabilities`.
        """
        p = self.probabilities(raw)
        own = p if self.coupled else p * (1 - p)
        curvature = torch.maximum(own, (p - y).abs() / LARGEST_STEP).clamp_min(SMALLEST)
        return (p - y) / curvature, len(self.logits) / 2 * curvature

    def shift(self, raw: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return shifts of logits after which mean probabilities are the class frequencies."""
        wanted, shift = y @ weights, torch.zeros_like(raw[:, 0])
        for _ in range(FREQUENCY_ITER):
            found = self.probabilities(raw + shift[:, None]) @ weights
            step = wanted.logit() - found.logit() if len(y) == 1 else (wanted / found).log()
            shift = (shift + step.nan_to_num(0, 0, 0)).clamp(-FARTHEST, FARTHEST)
            if bool((step.abs() < 1e-9).all()):
                break
        return shift

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the probabilities of classes."""
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
