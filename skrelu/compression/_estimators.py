"""Estimators that fit another one and keep a small network of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.array_api import as_numpy
from skrelu._estimators.base import DOC_LINK, ExponentialReLUEstimator
from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor
from skrelu._estimators.sklearn_private import CallbackSupportMixin, with_callbacks
from skrelu.compression._compress import compress


class _Compressed(CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit an estimator and compress it."""

    _default: type[ExponentialReLUEstimator]
    _doc_link_module, _doc_link_template = DOC_LINK

    def __init__(
        self,
        estimator=None,
        *,
        n_parameters="auto",
        max_loss="auto",
        n_subnetworks=None,
        depth=None,
        verbose=0,
        random_state=None,
    ):
        self.estimator = estimator
        self.n_parameters = n_parameters
        self.max_loss = max_loss
        self.n_subnetworks = n_subnetworks
        self.depth = depth
        self.verbose = verbose
        self.random_state = random_state

    def __getattr__(self, name):
        if not name.startswith("_") and hasattr(self._default, name):
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}: its fitted estimator_ is the small "
                f"network, so use estimator_.{name}."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @with_callbacks
    def fit(self, X, y, sample_weight=None):
        """Fit the estimator, and a small network to its predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the fit of the estimator.

        Returns
        -------
        self
            The fitted meta-estimator.
        """
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        data = {"X": X, "y": y, "metadata": metadata}
        tasks = self._init_callback_context(max_subtasks=2)
        tasks.call_on_fit_task_begin(estimator=self, **data)
        rng = check_random_state(self.random_state)
        model = self._default() if self.estimator is None else clone(self.estimator)
        if "random_state" in model.get_params() and model.random_state is None:
            model.set_params(random_state=rng.randint(2**31))
        task = tasks.subcontext(task_name="fit the estimator")
        task.call_on_fit_task_begin(estimator=self, **data)
        with task.propagate_callback_context(model):
            model.fit(X, y, **metadata)
        task.call_on_fit_task_end(estimator=self, **data)
        task = tasks.subcontext(task_name="compress")
        task.call_on_fit_task_begin(estimator=self, **data)
        if sample_weight is not None:
            X = X if hasattr(X, "__getitem__") else np.asarray(X)
            X = _safe_indexing(X, np.flatnonzero(np.asarray(sample_weight) > 0))
        self.estimator_ = compress(
            model,
            X,
            n_parameters=self.n_parameters,
            max_loss=self.max_loss,
            n_subnetworks=self.n_subnetworks,
            depth=self.depth,
            verbose=self.verbose,
            random_state=rng,
        )
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        for context in (task, tasks):
            context.call_on_fit_task_end(
                estimator=self, **data, reconstruction_attributes=lambda: vars(self).copy()
            )
        return self

    def predict(self, X):
        """Predict with the small network; see the estimator's `predict`."""
        check_is_fitted(self)
        return self.estimator_.predict(as_numpy(X))

    def __sklearn_tags__(self):
        tags = get_tags(self._default() if self.estimator is None else self.estimator)
        return replace(tags, array_api_support=False)


class CompressedRegressor(RegressorMixin, _Compressed):
    """Regressor that fits an estimator and keeps a small network that predicts the same.

    It is `compress` for pipelines and searches, which can search over ``n_parameters``.

    Parameters
    ----------
    estimator : ExponentialReLURegressor, default=None
        What is fitted. None is one with its defaults.

    n_parameters : int or "auto", default="auto"
        Most weights and biases that are not 0, see `compress`.

    max_loss : float or "auto", default="auto"
        Difference from the predictions of the estimator that is small enough, see `compress`.

    n_subnetworks : int, default=None
        Number of sub-networks of triangle waves to begin with, see `compress`.

    depth : int, default=None
        Number of their hidden layers (1 to 52), see `compress`.

    verbose : int, default=0
        See `compress`.

    random_state : int, RandomState instance or None, default=None
        Determines the fit, unless the estimator has its own ``random_state``, and the compression.

    Attributes
    ----------
    estimator_ : ExponentialReLURegressor
        The small network as an estimator, with its exports, slopes and importances.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    compress : The same for an estimator that is fitted already.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrelu import CompressedRegressor
    >>> X = np.random.default_rng(0).uniform(size=(200, 2))
    >>> y = X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=200)
    >>> small = CompressedRegressor(n_parameters=50, random_state=0).fit(X, y)
    >>> bool(small.estimator_.n_parameters_ <= 50)
    True
    """

    __module__ = "skrelu"  # saved models name the public place, wherever the code is

    _default = ExponentialReLURegressor


class CompressedClassifier(ClassifierMixin, _Compressed):
    """Classifier that fits an estimator and keeps a small network that predicts the same.

    It is `compress` for pipelines and searches, which can search over ``n_parameters``.

    Parameters
    ----------
    estimator : ExponentialReLUClassifier, default=None
        What is fitted. None is one with its defaults.

    n_parameters : int or "auto", default="auto"
        Most weights and biases that are not 0, see `compress`.

    max_loss : float or "auto", default="auto"
        Difference from the predictions of the estimator that is small enough, see `compress`.

    n_subnetworks : int, default=None
        Number of sub-networks of triangle waves to begin with, see `compress`.

    depth : int, default=None
        Number of their hidden layers (1 to 52), see `compress`.

    verbose : int, default=0
        See `compress`.

    random_state : int, RandomState instance or None, default=None
        Determines the fit, unless the estimator has its own ``random_state``, and the compression.

    Attributes
    ----------
    estimator_ : ExponentialReLUClassifier
        The small network as an estimator, with its exports, slopes and importances.

    classes_ : ndarray of shape (n_classes,)
        Labels of the classes.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    compress : The same for an estimator that is fitted already.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrelu import CompressedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> small = CompressedClassifier(n_parameters=200, random_state=0).fit(X, y)
    >>> bool(small.score(X, y) > 0.9)
    True
    """

    __module__ = "skrelu"  # saved models name the public place, wherever the code is

    _default = ExponentialReLUClassifier

    def predict_proba(self, X):
        """Return the probabilities of the classes; see the estimator's `predict_proba`."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(as_numpy(X))

    def predict_log_proba(self, X):
        """Return logarithms of probabilities; see the estimator's `predict_log_proba`."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(as_numpy(X))

    def decision_function(self, X):
        """Return logits; see the estimator's `decision_function`."""
        check_is_fitted(self)
        return self.estimator_.decision_function(as_numpy(X))
