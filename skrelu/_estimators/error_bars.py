"""Error bars of fitted regressors: standard deviations, intervals and draws."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skrelu._data.scaling import MOST, Scaling
from skrelu._data.torch_interop import (
    isolated,
    resolve_device,
    to_numpy,
    to_tensor,
    working_dtype,
)
from skrelu._estimators.array_api import of_arrays, of_no_arrays
from skrelu._estimators.attributes import network_attributes
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._fit.conformal import score_limits
from skrelu._fit.earlier import read
from skrelu._fit.error_bars import ErrorBars, Predictive
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.members import Members, Starts

Array = NDArray[np.float64]


def bars_of(model: Any) -> ErrorBars:
    """Return what a fit has stored for error bars."""
    check_is_fitted(model, "intercept_")
    kept = getattr(model, "_error_bars", None)  # models of earlier versions have none
    if kept is not None:
        return ErrorBars(**kept)
    if hasattr(model, "compression_loss_"):
        raise ValueError(
            "Compressed models have no error bars: ask the model that was compressed for them."
        )
    if hasattr(model, "_stream"):
        raise ValueError("Models of partial_fit have no error bars: fit all rows by fit.")
    raise ValueError(
        "This model has no error bars: no rows were left out in the fit, or it is a draw, or an "
        "earlier version of skrelu has fitted it. Fit it with early_stopping='auto' or True."
    )


def limits_of_scores(model: Any, coverage: float, two_sided: bool) -> tuple[Array, Array]:
    """Return the scores between which a new row is with a probability of ``coverage``."""
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise ValueError(f"coverage={coverage!r} is a probability: pass a number between 0 and 1.")
    bars = bars_of(model)
    return score_limits(bars.scores, bars.weights, coverage, two_sided)


class ErrorBarsMixin:
    """Methods of a regressor that tell how sure it is."""

    X_mean_: Array
    X_scale_: Array
    y_mean_: Array
    y_scale_: Array
    device: Any
    loss: str
    predict: Callable
    _stored: Callable[[], StoredNetwork]
    _checked: Callable
    _as_precise: Callable
    _log_link: bool
    _levels: tuple[float, ...] | None
    _y_ndim: int
    _dtype: str

    @of_no_arrays
    def sample_network(self, random_state=None):
        """Draw a model from the distribution of functions that the data leave possible.

        Parameters
        ----------
        random_state : int, RandomState instance or None, default=None
            Seed of the draw.

        Returns
        -------
        ExponentialReLURegressor
            A fitted model of the same class, without error bars of its own. It has all methods:
            its gradients are those of the draw, and it can be exported. The mean and the variance
            of many draws are those of `predict` with ``return_std=True``, without the noise.
            It holds up to three networks more than the model has starts, and may have more layers.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If ``loss`` is not "squared_error", or if the model has no error bars.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.linspace(0, 1, 60)[:, None]
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, np.sin(5 * X[:, 0]))
        >>> draw = model.sample_network(random_state=0)
        >>> draw.predict_gradient([[0.5]]).shape
        (1, 1)
        """
        distribution = self._predictive()
        if distribution.members.starts.model.shape is not None:
            raise ValueError(
                "Models with convexity or monotonic_cst have no draws, because these would not "
                "keep the shape."
            )
        members = _drawn(distribution, check_random_state(random_state))
        new = copy(self)
        vars(new).update(network_attributes(members, Scaling(self.X_mean_, self.X_scale_)))
        vars(new).update(_error_bars=None, noise_=None)
        del vars(new)["_earlier"]  # a warm start would go on from the model, not from the draw
        return new

    @of_arrays
    def sample_y(self, X, n_samples=1, random_state=None):
        """Return the predictions of models drawn by `sample_network`.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
            Inputs.

        n_samples : int, default=1
            Number of draws, at least 1.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_outputs, n_samples)
            Values of the drawn functions, without noise.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            As in `sample_network`, and if X or ``n_samples`` is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.linspace(0, 1, 60)[:, None]
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, np.sin(5 * X[:, 0]))
        >>> model.sample_y(X[:10], n_samples=3, random_state=0).shape
        (10, 3)
        """
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples={n_samples!r}, but it must be an integer of at least 1.")
        random_state = check_random_state(random_state)
        draws = [self.sample_network(random_state).predict(X) for _ in range(n_samples)]
        return np.stack(draws, -1)

    @of_arrays
    def predict_interval(self, X, coverage=0.9):
        """Predict intervals that contain a new target with a given probability.

        They come from the errors of rows that were left out in the fit, without a second fit, and
        need no assumption on the distribution of the noise (split conformal prediction). If the
        errors of a new row are like those of the left-out rows, then the probability is at least
        ``coverage``, on average over fits and rows. Left-out rows are not entirely independent of
        the fit: they choose its best iteration, and smooth fits estimate their errors from
        leverages. So the probability is approximate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        coverage : float, default=0.9
            Probability in (0, 1). Errors of both signs have half of the rest each.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper limits. Squared errors, absolute errors, Huber's loss and single
            quantiles: widths are proportional to standard deviations of the predictions, and follow
            the sizes of errors above and below. "poisson": to roots of the mean. "gamma": to the
            mean. Several quantiles have one interval, around the lowest and the highest of them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X or ``coverage`` is invalid, or if too few rows were left out: for a coverage of
            0.9 at least 19.

        References
        ----------
        Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, "Distribution-free predictive inference for
        regression", 2018, https://arxiv.org/abs/1604.04173

        Romano, Patterson, Candes, "Conformalized quantile regression", 2019,
        https://arxiv.org/abs/1905.03222

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(size=(500, 1))
        >>> y = X[:, 0] ** 2 + 0.1 * rng.normal(size=500)
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, y)
        >>> low, high = model.predict_interval([[0.5]], coverage=0.9)[0]
        >>> bool(0.25 < high - low < 0.4)  # 0.33 would contain 90 % of the noise
        True
        """
        check_is_fitted(self, "intercept_")
        several = self._levels is not None
        low, high = limits_of_scores(self, coverage, two_sided=not several)
        X = self._checked(X)
        center = self._stored().predict(X, resolve_device(self.device))
        if several:
            width = high[0] * self.y_scale_[0]
            limits = np.stack([center[:, 0] - width, center[:, -1] + width], -1)
        else:
            limits = self._limits(X, center, low, high)
        return self._as_precise(np.clip(limits, -MOST, MOST), X)

    def _limits(self, X: Array, center: Array, low: Array, high: Array) -> Array:
        """Return the limits of each output, (n_samples, n_outputs, 2)."""
        if not self._log_link:
            sizes = self._deviations(X, Predictive(_members(self), bars_of(self)))
            return np.stack([center + low * sizes, center + high * sizes], -1)
        if self.loss == "gamma":
            limits = [center * low, center * high]
        else:
            root = np.sqrt(center * np.exp(self.y_mean_))
            limits = [center + low * root, center + high * root]
        return np.clip(np.stack(limits, -1), 0, None)

    def _with_deviations(self, X):
        """Return predictions and their standard deviations."""
        distribution = self._predictive()
        X = self._checked(X)
        mean = self._stored().predict(X, resolve_device(self.device))
        deviations = np.clip(self._deviations(X, distribution), 0, MOST)
        return self._as_precise(mean, X), self._as_precise(deviations, X)

    def _with_covariances(self, X):
        """Return predictions and their covariances."""
        distribution = self._predictive()
        X = self._checked(X)
        mean = self._stored().predict(X, resolve_device(self.device))
        found = self._covariances(X, distribution)
        found = found[..., 0] if self._y_ndim == 1 else found
        return self._as_precise(mean, X), found.astype(np.result_type(X.dtype, self._dtype))

    @isolated()
    def _deviations(self, X: Array, distribution: Predictive) -> Array:
        """Return standard deviations of targets, (n_samples, n_outputs)."""
        variance = to_numpy(distribution.variance(self._standardized(X))).T
        return np.sqrt(variance) * self.y_scale_

    @isolated()
    def _covariances(self, X: Array, distribution: Predictive) -> Array:
        """Return covariances of targets, (n_samples, n_samples, n_outputs)."""
        covariance = to_numpy(distribution.covariance(self._standardized(X)))
        return np.moveaxis(covariance, 0, -1) * np.square(self.y_scale_)

    def _standardized(self, X: Array) -> Tensor:
        """Return X for the members, in double precision; it is not clipped."""
        device = resolve_device(self.device)
        device = torch.device("cpu") if working_dtype(device) == torch.float32 else device
        return to_tensor(Scaling(self.X_mean_, self.X_scale_).apply(X).T, device)

    def _predictive(self) -> Predictive:
        """Return the distribution of predictions, for squared errors only."""
        bars = bars_of(self)
        if self.loss != "squared_error":
            raise ValueError(
                "Standard deviations and draws need loss='squared_error', but "
                f"loss={self.loss!r}: use predict_interval, which works with any loss."
            )
        return Predictive(_members(self), bars)


def _members(model: Any) -> Members:
    """Return the networks whose weighted average is a fitted model."""
    X_scaling, y_scaling = (
        Scaling(model.X_mean_, model.X_scale_), Scaling(model.y_mean_, model.y_scale_)
    )  # fmt: skip
    earlier = read(model._earlier, X_scaling, y_scaling)
    gain = earlier.kinds.get("waves", 0.0) if earlier.kinds else 1.0
    shares = earlier.shares[:, None] * np.broadcast_to(gain, earlier.network.n_outputs)
    parts = (earlier.pretrained, earlier.relu, shares)
    starts = Starts(earlier.model, earlier.network, *(torch.tensor(part) for part in parts))
    encoded = None if model._encoded is None else EncodedModel.of_arrays(model._encoded)
    return Members(starts, encoded)


@isolated()
def _drawn(distribution: Predictive, random_state: np.random.RandomState) -> Members:
    return distribution.draw(random_state)
