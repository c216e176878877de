"""The estimators for dask: they check partitions, fit, and hold an ordinary estimator."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, ClassVar

import dask
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from skrelu._data.columns import levels_of
from skrelu._estimators.attributes import attributes_of, limits_of
from skrelu._estimators.base import transactional
from skrelu._estimators.callbacks import stage_of
from skrelu._estimators.classifier import (
    ExponentialReLUClassifier,
    check_sortable,
    own_of_classes,
)
from skrelu._estimators.parameters import make_loss, several
from skrelu._estimators.regressor import (
    ExponentialReLURegressor,
    own_of_numbers,
    precision_of,
)
from skrelu._estimators.sklearn_private import Interval, StrOptions
from skrelu._estimators.tables import set_features
from skrelu._fit.plan import Settings
from skrelu._solvers.losses import CrossEntropy
from skrelu.dask._fit import Choices, Trained, counted, fit_partitions
from skrelu.dask._members import VALUES_AT_ONCE
from skrelu.dask._partitions import mapped, partitions_of
from skrelu.dask._reading import Counts, Reader

# Fraction of the variance of a column between partitions, from which rows seem to be sorted.
SORTED = 0.1


class _DaskEstimator(BaseEstimator):
    """Common part: the passes over partitions, and the estimator that they make."""

    _parameter_constraints: ClassVar[dict] = {
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "n_passes": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "gather_rows": [Interval(Integral, 0, None, closed="left")],
    }
    _own: ClassVar[tuple[str, ...]] = ("n_members", "n_passes", "gather_rows")
    _kind: ClassVar[Any]

    def _ordinary(self) -> Any:
        """Return the ordinary estimator with the same parameters, not fitted."""
        given = self.get_params(deep=False)
        model = self._kind(**{name: v for name, v in given.items() if name not in self._own})
        model._validate_params()
        return model

    def fit(self, X, y, sample_weight=None):
        """Fit the model to all partitions.

        A fit that raises an error leaves the estimator as it was.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Training inputs. Partitions may have unknown lengths. They are read once for each pass:
            `persist` them if the workers can hold them all.

        y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_outputs)
            Targets, in the same partitions as X. Labels of a classifier are a vector.

        sample_weight : dask array or series of shape (n_samples,), default=None
            Sample weights, at least 0: the number of rows that each row stands for. None weighs all
            rows by 1.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if partitions of X, y and weights do not have
            the same rows. The message names the parameter, column or partition.
        TypeError
            If an argument is no dask array or dataframe.

        Warns
        -----
        UserWarning
            If rows seem to be sorted: a tenth or more of the variance of a column or of y is
            between partitions, not within, and several partitions cannot be mixed in memory.
        """
        return self._fit(X, y, sample_weight)

    @transactional
    def _fit(self, X, y, sample_weight):
        self._validate_params()
        model = self._ordinary()
        given = partitions_of(X, y, sample_weight, model)
        set_features(model, given.empty, "X", reset=True)
        counts = counted(given.parts, model, self._kind is ExponentialReLURegressor)
        n_rows = sum(counts.rows)
        if not n_rows:
            raise ValueError("No partition has a row of positive weight.")
        if n_rows <= max(1, self.gather_rows):
            arrays = dask.compute(*given.collections)
            model.fit(*arrays)
        else:
            _learn_columns(model, counts)
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            choices = Choices(seed, self.n_members, self.n_passes, self.gather_rows)
            reader, settings = self._reader(model, counts, y)
            trained = fit_partitions(given.parts, reader, counts, settings, choices)
            self._store(model, trained, reader, np.ndim(y))
            self._warn_of_order(trained, counts)
        self.gathered_ = n_rows <= max(1, self.gather_rows)
        self.model_ = model
        self.n_rows_ = n_rows
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        return self

    def _reader(self, model: Any, counts: Counts, y: Any) -> tuple[Reader, Settings]:
        raise NotImplementedError

    def _store(self, model: Any, trained: Trained, reader: Reader, ndim: int) -> None:
        """Set the fitted attributes of the ordinary estimator."""
        own = self._of_targets(model, trained, reader, ndim)
        limits = limits_of(trained.fitted, trained.limits, self.extrapolation)
        model._keep({**attributes_of(trained.fitted), **limits, **own}, trained.kept.X)
        model.stages_ = [stage_of(*stage) for stage in trained.stages]

    def _of_targets(self, model: Any, trained: Trained, reader: Reader, ndim: int) -> dict:
        raise NotImplementedError

    def _warn_of_order(self, trained: Trained, counts: Counts) -> None:
        mixed = sum(counts.rows) * trained.kept.X.shape[1] <= VALUES_AT_ONCE
        by_minibatches = trained.fitted.encoded is not None
        if by_minibatches and trained.between.max() > SORTED and not mixed:
            warnings.warn(
                f"Rows seem to be sorted: {trained.between.max():.0%} of the variance of a column "
                "or of y is between partitions. Minibatches are of neighbouring rows then, and the "
                "fit is worse: shuffle the rows first, for example by X.shuffle in dask.dataframe.",
                stacklevel=4,
            )

    def _mapped(self, function: str, X: Any, dtype: Any, tail: tuple[int, ...]) -> Any:
        check_is_fitted(self, "model_")
        return mapped(function, self.model_, X, dtype, tail)


class DaskExponentialReLURegressor(_DaskEstimator):
    """Predict numbers by a ReLU network that is fitted to partitions on dask.

    The rows may be more than the memory of a worker, or of all workers. With squared errors, and
    features that are numbers without missing values, `skrelu.ExponentialReLURegressor` is first
    fitted to a random sample of ``gather_rows`` rows. If targets are smooth, this fit is of
    composed sub-networks alone. They go on by at most 10 steps of Levenberg-Marquardt whose sums
    are over all rows, and so are their ridge penalties. Each step reads the rows once.

    Otherwise the sample has no effect, and networks on encoded columns are fitted, as
    `skrelu.ExponentialReLURegressor` fits them to large tables. First three passes
    over the partitions find the levels of categories, means and standard deviations, a
    random sample, and the additive model, all but the sample as sums over all rows. Then each
    member of the average visits all partitions in a random order of its own; a round is a visit of
    each member. What it has learned goes to the next partition. The average is one network, held by
    an ordinary estimator.

    Any scheduler of dask will do. With a `distributed.Client` members are trained on different
    workers: use as many members as workers, or more. The result depends on ``random_state`` and on
    the partitions, but not on the scheduler, on the number of workers, or on workers that are lost.

    Parameters
    ----------
    depth : int or "auto", default="auto"
        Number of hidden layers of waves, as for `skrelu.ExponentialReLURegressor`: "auto" is 1.

    validation_fraction : float, default=0.1
        Fraction of the rows that each member holds out, in (0, 1), but at most 5000 rows. They
        choose its best iteration.

    loss : {"squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"}, \
            default="squared_error"
        Loss, as for `skrelu.ExponentialReLURegressor`. Constants of the losses "absolute_error",
        "huber" and "quantile" are those of the sample.

    quantile : float or list of float, default=None
        Quantiles for ``loss="quantile"``, in (0, 1), increasing.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        Predictions outside the training range, as for `skrelu.ExponentialReLURegressor`.

    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Features that are categories, as for `skrelu.ExponentialReLURegressor`.

    n_members : int, default=4
        Number of networks in the average. Up to so many workers train at once. More are more
        accurate, in proportion more work.

    n_passes : int or "auto", default="auto"
        Number of times that each member sees all rows. "auto" makes it about as many minibatches as
        in an ordinary fit, at most 6000, but at least one pass.

    gather_rows : int, default=50_000
        Up to so many rows are gathered, and an ordinary fit is made of them in the process that
        calls `fit`. ``n_members`` and ``n_passes`` have no effect then. Of more rows, so many are
        the sample that tells smooth targets: fewer with more than 74 features, none with 1000 or
        more. With 0 none are gathered, and there is no such sample.

    random_state : int, RandomState instance or None, default=None
        Seed of the samples, of the held-out rows, of starting points and of the order of the rows.

    Attributes
    ----------
    model_ : ExponentialReLURegressor
        The fitted model as an ordinary estimator: it predicts, explains, exports and pickles
        without dask. `set_params(warm_start=True)` does not go on with its encoded networks. Its
        ``kinds_`` are empty if it is of composed sub-networks.

    gathered_ : bool
        Whether the rows were gathered.

    n_rows_ : int
        Number of rows of positive weight.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all are strings.

    See Also
    --------
    DaskExponentialReLUClassifier : The same for classes.
    skrelu.ExponentialReLURegressor : For data in the memory of one machine.

    Notes
    -----
    A missing number is replaced by the mean of the known ones; the ordinary estimator takes the
    mean of distinct values. Equal rows are not merged.

    Composed sub-networks keep the standardization of their sample. Their error bars are those of a
    fit to all rows, estimated by at most 4000 random rows, which are not of the sample if there
    are enough. Their ``stages_`` are the fit of the sample, and the steps on all rows, whose losses
    are relative to the variance of y in the sample.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrelu.dask import DaskExponentialReLURegressor
    >>> X = da.random.default_rng(0).uniform(size=(2000, 2), chunks=(500, 2))
    >>> y = (X[:, 0] > 0.5) + X[:, 1]
    >>> model = DaskExponentialReLURegressor(
    ...     gather_rows=0, n_members=2, n_passes=4, random_state=0
    ... )
    >>> predictions = model.fit(X, y).predict(X)  # lazy
    >>> bool(abs(predictions - y).mean().compute() < 0.1)
    True
    >>> model.model_.predict([[0.75, 0.5], [0.25, 0.5]]).round(1)
    array([1.5, 0.5])
    """

    _kind = ExponentialReLURegressor

    def __init__(  # noqa: PLR0913  # scikit-learn wants them here
        self,
        depth="auto",
        *,
        validation_fraction=0.1,
        loss="squared_error",
        quantile=None,
        extrapolation="auto",
        categorical_features="from_dtype",
        n_members=4,
        n_passes="auto",
        gather_rows=50_000,
        random_state=None,
    ):
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.loss = loss
        self.quantile = quantile
        self.extrapolation = extrapolation
        self.categorical_features = categorical_features
        self.n_members = n_members
        self.n_passes = n_passes
        self.gather_rows = gather_rows
        self.random_state = random_state

    def predict(self, X):
        """Predict means, medians or quantiles of the targets, depending on ``loss``.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Inputs. Others than dask's are predicted at once, by `model_`.

        Returns
        -------
        dask array of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, not computed yet. Their chunks are the partitions of X.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        """
        check_is_fitted(self, "model_")
        tail = () if self.model_._y_ndim == 1 else (self.model_.n_outputs_,)
        return self._mapped("predict", X, np.dtype(float), tail)

    def _reader(self, model: Any, counts: Counts, y: Any) -> tuple[Reader, Settings]:
        loss, levels = make_loss(self.loss, self.quantile), several(self.quantile)
        if levels and counts.n_outputs > 1:
            raise ValueError(
                f"y has {counts.n_outputs} columns, but several quantiles are of one target: pass "
                "a vector."
            )
        n_outputs = len(self.quantile) if levels else counts.n_outputs
        return Reader(model, n_outputs, loss.log_link, loss.zeros), model._settings(loss, levels)

    def _of_targets(self, model: Any, trained: Trained, reader: Reader, ndim: int) -> dict:
        sizes = np.concatenate([trained.kept.y, trained.limits.y])
        return own_of_numbers(self.quantile, ndim, precision_of(sizes))


class DaskExponentialReLUClassifier(_DaskEstimator):
    """Predict classes by a ReLU network that is fitted to partitions on dask.

    As `DaskExponentialReLURegressor`, with the cross-entropy as the loss.

    Parameters
    ----------
    depth : int or "auto", default="auto"
        Number of hidden layers of waves, as for `skrelu.ExponentialReLUClassifier`: "auto" is 1.

    validation_fraction : float, default=0.1
        Fraction of the rows that each member holds out, in (0, 1), but at most 5000 rows. They
        choose its best iteration.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as for `skrelu.ExponentialReLUClassifier`.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        Predictions outside the training range, as for `skrelu.ExponentialReLUClassifier`.

    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Features that are categories, as for `skrelu.ExponentialReLUClassifier`.

    n_members : int, default=4
        Number of networks in the average. Up to so many workers train at once. More are more
        accurate, in proportion more work.

    n_passes : int or "auto", default="auto"
        Number of times that each member sees all rows. "auto" makes it about as many minibatches as
        in an ordinary fit, at most 6000, but at least one pass.

    gather_rows : int, default=50_000
        Up to so many rows are gathered, and an ordinary fit is made of them in the process that
        calls `fit`. ``n_members`` and ``n_passes`` have no effect then. With 0 none are gathered.

    random_state : int, RandomState instance or None, default=None
        Seed of the sample, of the held-out rows, of starting points and of the order of the rows.

    Attributes
    ----------
    model_ : ExponentialReLUClassifier
        The fitted model as an ordinary estimator: it predicts, explains, exports and pickles
        without dask.

    classes_ : ndarray of shape (n_classes,)
        Labels of the classes.

    gathered_ : bool
        Whether the rows were gathered.

    n_rows_ : int
        Number of rows of positive weight.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all are strings.

    See Also
    --------
    DaskExponentialReLURegressor : The same for numbers, with more about the fit.
    skrelu.ExponentialReLUClassifier : For data in the memory of one machine.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrelu.dask import DaskExponentialReLUClassifier
    >>> X = da.random.default_rng(0).uniform(size=(2000, 2), chunks=(500, 2))
    >>> y = X[:, 0] > X[:, 1]
    >>> model = DaskExponentialReLUClassifier(
    ...     gather_rows=0, n_members=2, n_passes=4, random_state=0
    ... )
    >>> probabilities = model.fit(X, y).predict_proba(X)  # lazy
    >>> bool((model.predict(X) == y).mean().compute() > 0.95)
    True
    """

    _kind = ExponentialReLUClassifier

    def __init__(  # noqa: PLR0913  # scikit-learn wants them here
        self,
        depth="auto",
        *,
        validation_fraction=0.1,
        class_weight=None,
        extrapolation="auto",
        categorical_features="from_dtype",
        n_members=4,
        n_passes="auto",
        gather_rows=50_000,
        random_state=None,
    ):
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.extrapolation = extrapolation
        self.categorical_features = categorical_features
        self.n_members = n_members
        self.n_passes = n_passes
        self.gather_rows = gather_rows
        self.random_state = random_state

    def predict(self, X):
        """Predict the most probable class.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Inputs. Others than dask's are predicted at once, by `model_`.

        Returns
        -------
        dask array of shape (n_samples,)
            Predicted labels, not computed yet.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        """
        check_is_fitted(self, "model_")
        return self._mapped("predict", X, self.classes_.dtype, ())

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Inputs. Others than dask's are predicted at once, by `model_`.

        Returns
        -------
        dask array of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``, not computed yet. Rows sum to 1.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        """
        check_is_fitted(self, "model_")
        return self._mapped("predict_proba", X, np.dtype(float), (len(self.classes_),))

    def _reader(self, model: Any, counts: Counts, y: Any) -> tuple[Reader, Settings]:
        check_sortable(np.array(list(counts.labels), object))
        classes = np.array(sorted(counts.labels))
        if len(classes) < 2:
            raise ValueError(
                "y has one class only among rows of positive weight, but two or more are needed "
                "to tell apart."
            )
        weights = compute_class_weight(
            self.class_weight,
            classes=classes,
            y=classes,
            sample_weight=np.array([counts.labels[label] for label in classes.tolist()]),
        )
        n_outputs = len(classes) if len(classes) > 2 else 1
        reader = Reader(model, n_outputs, classes=classes, class_weights=weights)
        return reader, model._settings(CrossEntropy())

    def _of_targets(self, model: Any, trained: Trained, reader: Reader, ndim: int) -> dict:
        return own_of_classes(reader.classes)


def _learn_columns(model: Any, counts: Counts) -> None:
    """Set the levels of categories and how features become columns, from counts of all rows."""
    n_features = len(counts.known)
    levels: list[list | None] = [None] * n_features
    n_levels, fills = [0] * n_features, np.where(counts.missing, counts.means, 0.0).tolist()
    for j, found in counts.levels.items():
        kept = levels[j] = levels_of(list(found), np.array(list(found.values())))
        n_levels[j] = max(2, len(kept) + (len(found) > len(kept)))
        fills[j] = 0.0
    model.categories_ = levels
    model._columns = {
        "n_levels": n_levels,
        "fills": fills,
        "marked": [bool(missing) for missing in counts.missing],
    }
