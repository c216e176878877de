"""The common part of the estimators: validate, convert, fit and store."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skrelu._data.columns import Columns
from skrelu._data.neighbours import noise_by_neighbours
from skrelu._data.scaling import Scaling
from skrelu._data.table import Table, canonical_rows
from skrelu._data.torch_interop import make_generator, resolve_device
from skrelu._estimators.array_api import of_arrays, of_no_arrays
from skrelu._estimators.attributes import CONTINUED, READABLE, attributes_of, limits_of
from skrelu._estimators.callbacks import FitTasks
from skrelu._estimators.exports import ExportsMixin
from skrelu._estimators.parameters import check_signs, make_shape
from skrelu._estimators.scoring import CONSTRAINT, make_score
from skrelu._estimators.sklearn_private import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _check_monotonic_cst,
)
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._estimators.tables import as_integer, columns_of, validated_data, validated_inputs
from skrelu._fit import tuning
from skrelu._fit.earlier import Earlier, read
from skrelu._fit.fit_network import fit_network
from skrelu._fit.fitted import Fitted
from skrelu._fit.plan import Settings
from skrelu._fit.stream import seen
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.plain_model import PlainModel
from skrelu._networks.relu_network import ReLUNetwork, ReLUWeights
from skrelu._networks.shapes import Shape
from skrelu._networks.triangle import MAX_DEPTH
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Status
from skrelu.regions import as_piecewise_linear

# Largest alpha. Above it the model is a constant, and the penalty overflows in single precision.
LARGEST_ALPHA = 1e10
# For the link of the HTML representation: the package, and the address of a class.
DOC_LINK = "skrelu", "https://skrelu.github.io/skrelu/generated/skrelu.{estimator_name}.html"
# Number of stack frames from warnings.warn to the caller of fit.
STACKLEVEL = 8


class ExponentialReLUEstimator(ExportsMixin, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators, which add how to read targets and how to return predictions."""

    _doc_link_module, _doc_link_template = DOC_LINK
    _parameter_constraints: ClassVar[dict] = {
        "depth": [Interval(Integral, 1, MAX_DEPTH, closed="both"), StrOptions({"auto"})],
        "n_subnetworks": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_levels": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_init": [Interval(Integral, 1, 10_000, closed="both"), StrOptions({"auto"})],
        "smooth": ["boolean"],
        "alpha": [Interval(Real, 0, LARGEST_ALPHA, closed="both")],
        "solver": [StrOptions({"auto", "lm", "adam"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "refine": ["boolean"],
        "refine_max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "scoring": CONSTRAINT,
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "convexity": [StrOptions({"convex", "concave"}), dict, None],
        "monotonic_cst": ["array-like", dict, None],
        "extrapolation": [StrOptions({"auto", "linear", "constant"})],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "device": [str, torch.device],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.array_api_support = True
        return tags

    def _fit(self, data: dict, training: Table, validation: Table | None, settings: Settings, own):
        """Fit the network and store it.

        Parameters
        ----------
        data : dict
            X, y and metadata of the call, for callbacks.
        training, validation : Table
        settings : Settings
        own : dict
            Further fitted attributes, by name.
        """
        columns = columns_of(self)
        if not columns.plain:
            training = replace(training, groups=tuple(columns.owners))
        held_out = validation is not None or self.early_stopping is not False
        score = make_score(self, held_out, own, settings.loss.log_link)
        if score is not None:
            settings = replace(settings, early_stopping=True)
        device = resolve_device(self.device)
        warm = self._read_earlier() if self.warm_start and hasattr(self, "_earlier") else None
        generator = make_generator(check_random_state(self.random_state))

        def attributes(fitted: Fitted) -> dict:
            limits = limits_of(fitted, training, self.extrapolation)
            return {**attributes_of(fitted), **limits, **own}

        tasks = FitTasks(self, data, attributes, int(self.verbose))
        fitted = fit_network(
            training,
            validation,
            settings,
            warm=warm,
            device=device,
            generator=generator,
            report=tasks,
            score=score,
        )
        self._keep(attributes(fitted), training.X)
        if self.solver == "adam":
            self._seen = seen(training, settings, fitted)
        self.stages_ = tasks.stages
        tasks.end(fitted)
        self._warn(fitted)
        free = (
            settings.shape is None and self.alpha <= tuning.STRONG_ALPHA and not fitted.interrupted
        )
        counted = not settings.loss.classes or training.total >= len(training.X)
        if free and counted and settings.loss.central:
            self._warn_of_structure(training)
        return self

    def _keep(self, attributes: dict, X) -> None:
        """Set fitted attributes, by name, with importances over some of the rows of X."""
        for name, value in attributes.items():
            setattr(self, name, value)
        for name in ("compression_loss_", "_stream", "_seen"):  # of another model
            if hasattr(self, name):
                delattr(self, name)
        sizes = self._stored().importances(X[:: -(-len(X) // tuning.SLOPES_ROWS)])
        owners = columns_of(self).owners
        self.feature_importances_ = np.bincount(owners, sizes, self.n_features_in_)

    def _read_earlier(self) -> Earlier:
        """Return the previous fit, for a warm start."""
        if self._format not in CONTINUED:
            raise ValueError(
                "warm_start=True cannot go on from a model that an earlier version of skrelu has "
                "fitted: set warm_start=False to start anew."
            )
        scalings = Scaling(self.X_mean_, self.X_scale_), Scaling(self.y_mean_, self.y_scale_)
        return read(self._earlier, *scalings)

    def __setstate__(self, state) -> None:
        if "intercept_" in state and state.get("_format") not in READABLE:
            raise ValueError(
                f"This {type(self).__name__} was fitted by another version of skrelu, which kept "
                "models in another format: fit it again, or load it with that version."
            )
        # Parameters that the version before did not have are as it was.
        given = signature(type(self)).parameters.values()
        defaults = {p.name: p.default for p in given if p.default is not Parameter.empty}
        super().__setstate__({**defaults, **state})

    def _settings(self, loss: Loss, sorted_outputs: bool = False) -> Settings:
        """Return the validated parameters of a fit."""
        names = Settings.__dataclass_fields__.keys() - {
            "loss",
            "shape",
            "encoded_depth",
            "exact_depth",
        }
        chosen = {name: as_integer(getattr(self, name)) for name in names}
        chosen["encoded_depth"], chosen["exact_depth"] = chosen["depth"], self.depth != "auto"
        if self.depth == "auto":
            chosen["depth"], chosen["encoded_depth"] = tuning.DEPTH, tuning.ENCODED_DEPTH
        check_signs(self.monotonic_cst)
        monotonic = _check_monotonic_cst(self, self.monotonic_cst)
        feature_names = getattr(self, "feature_names_in_", None)
        shape = make_shape(
            self.convexity, monotonic, feature_names, loss, sorted_outputs, self.smooth
        )
        if self.extrapolation == "constant" and shape is not None and any(shape.convexity):
            raise ValueError(
                "extrapolation='constant' does not go with convexity, which holds everywhere: "
                "set extrapolation to 'linear' or 'auto'."
            )
        if shape is not None:
            shape = _of_columns(shape, columns_of(self))
        return Settings(**chosen, loss=loss, shape=shape)

    def _validation_arrays(self, X, y, weights, numeric: bool):
        """Return validation data and weights as arrays, None if there are none."""
        if X is None and y is None:
            if weights is not None:
                raise ValueError("sample_weight_val needs X_val and y_val.")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val go together: give both or neither.")
        return validated_data(self, X, y, weights, suffix="_val", numeric=numeric)

    def _checked(self, X):
        """Check that the model is fitted and return its inputs as an array."""
        check_is_fitted(self, "intercept_")
        return validated_inputs(self, X)

    def _as_precise(self, values, X):
        """Return values in the wider dtype of the inputs and targets, clipped to its range."""
        values = values[:, 0] if self._y_ndim == 1 else values
        dtype = np.result_type(X.dtype, self._dtype)
        largest = np.finfo(dtype).max
        return np.clip(values, -largest, largest).astype(dtype, copy=False)

    def _outputs(self, X):
        """Return the outputs of the stored network, (n_samples,) or (n_samples, n_outputs)."""
        X = self._checked(X)
        return self._as_precise(self._stored().predict(X, resolve_device(self.device)), X)

    @of_arrays
    def predict_gradient(self, X):
        """Return the exact derivatives of the predictions with respect to the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, n_outputs, n_features)
            Slopes in units of the targets per unit of the feature, with the dtype of the
            predictions. For a classifier they are the slopes of its `decision_function`. They are
            constant on each linear region (with a log link they are the predictions times a
            constant). Where two regions meet, they are the slopes of one of them. They are 0 where
            the feature or the prediction is clipped.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X is invalid; the message names the column.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> model.predict_gradient([[0.25, 0.75]]).round(2)  # x_1, x_0
        array([[0.75, 0.25]])
        """
        X = self._checked(X)
        slopes = self._stored().gradient(X, resolve_device(self.device))
        columns = columns_of(self)
        if not columns.plain:
            slopes = columns.by_feature(slopes, X)
        return self._as_precise(slopes, X)

    @of_arrays
    def predict_contributions(self, X):
        """Return the contributions of the linear part and each sub-network to the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, 1 + `n_subnetworks_`) or \
                (n_samples, n_outputs, 1 + `n_subnetworks_`)
            Contributions in units of the targets: first of the linear part with the intercept, then
            of the sub-networks in their order. Their sum is the prediction before it is clipped and
            quantiles are sorted. With ``loss="poisson"`` and "gamma" it is the logarithm of the
            prediction, and for a classifier its `decision_function`.
            `skrelu.inspection.SubnetworkDisplay` draws them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X is invalid; the message names the column.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> parts = model.predict_contributions(X)
        >>> parts.shape == (200, 1 + model.n_subnetworks_)
        True
        >>> bool(np.allclose(parts.sum(1), model.predict(X)))
        True
        """
        X = self._checked(X)
        parts = self._stored().contributions(X, resolve_device(self.device))
        return self._as_precise(parts, X)

    @of_arrays
    def encode(self, X):
        """Return the numeric columns that the network reads.

        They are the features themselves if none is a category or has missing values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Features in order. Missing numbers are the mean of the feature's distinct values. A
            category has a column
            of zeros and ones for each of ``categories_`` (one column for two levels, which is 1
            for the second), and one for all further levels if there are more than 255. A feature
            with missing values in `fit` has a further column that marks them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X is invalid; the message names the column.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skrelu import ExponentialReLURegressor
        >>> X = pd.DataFrame({"size": [1.0, None, 3.0, 4.0] * 10})
        >>> X["color"] = pd.Categorical(["red", "blue", "green", "red"] * 10)
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, np.arange(40.0))
        >>> model.encode(X)[:2].round(2)  # size, is it missing, blue, green, red
        array([[1.  , 0.  , 0.  , 0.  , 1.  ],
               [2.67, 1.  , 1.  , 0.  , 0.  ]])
        """
        return self._checked(X)

    @of_no_arrays
    def linear_regions(self):
        """Return the exact piecewise-linear form of a model of one feature.

        Returns
        -------
        skrelu.regions.PiecewiseLinear
            The same function as `predict` (with a log link its logarithm, for a classifier its
            `decision_function`), evaluated by interpolation. Linear regions meet at its
            ``breakpoints``; ``slopes`` has the slope of each region.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If the model has several features. See `skrelu.regions.regions_along` for regions along
            lines and `skrelu.regions.regions_in_plane` for regions in planes.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.linspace(0, 1, 200)[:, None]
        >>> model = ExponentialReLURegressor(
        ...     depth=5, n_subnetworks=1, n_init=1, refine=False, random_state=0
        ... )
        >>> model.fit(X, X[:, 0] ** 3).linear_regions().n_linear_regions
        32
        """
        check_is_fitted(self, "intercept_")
        if len(self.X_mean_) != 1:
            raise ValueError(
                f"The model has {len(self.X_mean_)} features or columns, but the piecewise-linear "
                "form is of one; see skrelu.regions.regions_along and regions_in_plane."
            )
        scale = self.X_scale_[0] if self.X_scale_[0] > 0 else 1.0
        function = as_piecewise_linear(self, center=self.X_mean_[0], scale=scale)
        if function.values.ndim < self._y_ndim:  # a single target given as a column
            function = replace(
                function,
                values=function.values[:, None],
                left=function.left[None],
                right=function.right[None],
            )
        return function

    def _warn(self, fitted: Fitted) -> None:
        if fitted.interrupted:
            warnings.warn(
                "Training interrupted by user; the best so far is kept.", stacklevel=STACKLEVEL
            )
        stages = {"max_iter": fitted.pretraining, "refine_max_iter": fitted.refinement}
        for name, stage in stages.items():
            limited = stage is not None and stage.status is Status.MAX_ITER
            if limited and getattr(self, name) != "auto":
                assert stage is not None
                self._not_converged(
                    f"{stage.status.message} ({name}={getattr(self, name)}) and the fit has not "
                    f"converged; raise {name} or tol.".capitalize()
                )
        if not np.isfinite(self.loss_curve_).all():
            advice = f"Raise alpha={self.alpha}."
            if self.solver_ == "adam":
                advice = f"Lower learning_rate={self.learning_rate}."
                if self.learning_rate == "auto":
                    advice = f"Set learning_rate below {tuning.LEARNING_RATE}."
            self._not_converged(
                f"The loss became infinite or NaN in {self.solver_!r}; the best before is kept. "
                f"{advice}"
            )

    def _warn_of_structure(self, training: Table) -> None:
        """Warn if the unexplained variance is far above the noise estimated from neighbours."""
        X, y = training.X[: tuning.COMPARED_ROWS], training.y[: tuning.COMPARED_ROWS]
        noise = noise_by_neighbours(Scaling(self.X_mean_, self.X_scale_).apply(X), y)
        if noise is None:
            return
        noise = noise.mean()
        unit = np.abs(y).max(0)  # squares of 1e300 would overflow
        unexplained = ((self._means(X) - y) / unit).var(0) / (y / unit).var(0)
        if unexplained.mean() > max(tuning.UNEXPLAINED, tuning.NOISE_TO_WARN * noise):
            self._not_converged(
                f"The fit leaves {unexplained.mean():.0%} of the variance of y on its own rows, of "
                f"which neighbouring rows show at most {noise:.0%} to be noise: y bends more often "
                f"than the model follows. Raise n_subnetworks={self.n_subnetworks!r} or "
                f"max_iter={self.max_iter}, or leave sizes, n_init and solver at 'auto'."
            )

    def _not_converged(self, message: str) -> None:
        warnings.warn(message, ConvergenceWarning, stacklevel=STACKLEVEL + 1)

    def _stored(self) -> StoredNetwork:
        """Return the network with the steps of `predict` before and after it."""
        depth = len(self.hidden_weights_) // self.n_levels_
        kept = getattr(self, "_encoded", None)  # models of earlier formats have none
        return StoredNetwork(
            ReLUNetwork(
                len(self.X_mean_), self.n_subnetworks_, depth, self.n_outputs_, self.n_levels_
            ),
            ReLUWeights(
                self.hidden_weights_,
                self.hidden_biases_,
                self.output_weights_,
                self.linear_weights_,
                self.intercept_,
            ),
            Scaling(self.X_mean_, self.X_scale_),
            Scaling(self.y_mean_, self.y_scale_),
            self.X_limits_,
            self.y_limits_,
            ordered=self._ordered and self.n_outputs_ > 1,
            log_link=self._log_link,
            added=None if kept is None else _of_arrays(kept),
        )


def _of_arrays(kept: dict) -> EncodedModel | PlainModel:
    return (PlainModel if "matrices" in kept else EncodedModel).of_arrays(kept)


def _of_columns(shape: Shape, columns: Columns) -> Shape:
    """Return a shape of columns, given that of features."""
    signs = [0] * len(columns.owners)
    for feature, (sign, column) in enumerate(zip(shape.monotonic, columns.valued, strict=True)):
        if column is not None:
            signs[column] = sign
        elif sign:
            raise ValueError(
                f"monotonic_cst of feature {feature} is {sign}, but it is a category: set 0."
            )
    return Shape(tuple(signs), tuple(shape.convexity[owner] for owner in columns.owners))


def transactional(fit: Callable) -> Callable:
    """Decorate a fit so that the estimator is left as it was if the fit raises an error."""

    @wraps(fit)
    def fit_or_undo(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            self.__dict__ = before
            raise

    return fit_or_undo


def canonical_table(X, y, weights) -> Table:
    """Return canonical rows with weights that sum to 1.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples, n_outputs)
    weights : ndarray of shape (n_samples,)
    """
    if not np.any(weights) or not np.isfinite(weights).all():
        raise ValueError("Weights of samples times those of classes must be finite, and not all 0.")
    X, y, weights = canonical_rows(X, y, weights)
    largest = weights.max()
    weights = weights / largest  # the sum of weights of 1e308 would overflow
    total = weights.sum()
    weights = weights / total
    kept = weights > 0  # a weight may have been rounded to 0
    if not kept.all():
        X, y, weights = X[kept], y[kept], weights[kept]
    return Table(X, y, weights, float(largest * total))
