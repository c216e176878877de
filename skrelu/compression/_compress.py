"""Small networks that predict what a fitted model predicts."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skrelu._data.points import points_between, points_in_box
from skrelu._data.table import canonical_rows
from skrelu._data.torch_interop import isolated, make_generator
from skrelu._estimators.array_api import as_numpy, in_numpy
from skrelu._estimators.base import ExponentialReLUEstimator
from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor
from skrelu._estimators.tables import columns_of
from skrelu._estimators.verbose import Lines
from skrelu._fit import tuning
from skrelu._fit.compression import Small, Task, chosen_kinks, shrunk_waves
from skrelu._fit.plan import Settings
from skrelu._fit.report import Report, timed
from skrelu._networks.plain_model import PlainModel
from skrelu._networks.triangle import MAX_DEPTH
from skrelu._solvers.losses import SQUARED_ERROR

__all__ = ["compress"]

Array = NDArray[np.float64]

# Fewest parameters that may be asked for, and rows that are used.
FEWEST, MOST_ROWS = 10, 5000
# Points whose slopes make importances.
SLOPES_ROWS = 1000


@isolated()
def compress(
    model,
    X=None,
    *,
    n_parameters: int | str = "auto",
    max_loss: float | str = "auto",
    n_subnetworks: int | None = None,
    depth: int | None = None,
    verbose: int = 0,
    random_state=None,
):
    """Return a small network that predicts what a fitted model predicts.

    The model is a teacher that knows no noise: it is asked for its values and slopes at the rows of
    X and at thousands of points between them, and a small network is trained on these. If the model
    found a smooth function, a few sub-networks of triangle waves are fitted, all their weights are
    released, and those that matter least are removed. If it found noise, or irregular columns,
    neurons are chosen among the kinks of the model and trained. A guaranteed shape stays
    guaranteed: then few sub-networks of that shape are fitted.

    Parameters
    ----------
    model : ExponentialReLURegressor or ExponentialReLUClassifier
        Fitted model. It stays as it is.

    X : array-like of shape (n_samples, n_features), default=None
        Inputs like those that the model is for; best its training inputs. No targets are needed.
        None draws points from the range of the training inputs if the model stores it, else from
        1.7 standard deviations around their means. Then the model needs to be of numbers without
        missing values.

    n_parameters : int or "auto", default="auto"
        Most weights and biases that are not 0, at least 10 for each output. "auto" is 800 for
        smooth functions and 1500 for others.

    max_loss : float or "auto", default="auto"
        Mean squared difference from the predictions of the model that is small enough, as a
        fraction of their variance, on points that are held out; at least 0. Of networks of
        ``n_parameters``, half of it, a quarter, and so on, the smallest that is so close is
        returned. If none is, the closest is. For a classifier these are differences of logits,
        weighted with p (1 - p), and with a log link differences of logarithms. "auto" is a
        hundredth of the error of the model on left-out rows, if it is known, and at least 1e-5.
        With a given ``n_parameters`` it is 0.

    n_subnetworks, depth : int, default=None
        Number of sub-networks of triangle waves to begin with, and their hidden layers (1 to 52).
        None is 4 and 4; with a guaranteed shape, 1, 2, 4, ... sub-networks are tried. If one is
        given, the network is made of waves also for noisy tables.

    verbose : int, default=0
        If 1, print a line at the end of each stage and a summary. If 2, also a line an iteration.

    random_state : int, RandomState instance or None, default=None
        Determines the points and the starts. Pass an int for reproducible results.

    Returns
    -------
    ExponentialReLURegressor or ExponentialReLUClassifier
        Fitted model with the same parameters as ``model``, whose `fit` would fit anew, at full
        size. All methods work but those of error bars and draws. It has no sub-networks
        (``n_subnetworks_`` is 0) unless its shape is guaranteed. ``n_parameters_`` is the number
        of its weights and biases that are not 0, and ``compression_loss_`` the loss that
        ``max_loss`` bounds.

    Raises
    ------
    TypeError
        If the model is of another kind. Of a pipeline, give the last step and X as it sees it.
    ValueError
        If a parameter or X is invalid.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.

    Warns
    -----
    ConvergenceWarning
        If a given ``max_loss`` was not reached.

    References
    ----------
    Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015,
    https://arxiv.org/abs/1503.02531

    Examples
    --------
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor, compress
    >>> X = np.random.default_rng(0).uniform(size=(300, 2))
    >>> y = np.sin(3 * X[:, 0]) * X[:, 1]
    >>> model = ExponentialReLURegressor(random_state=0).fit(X, y)
    >>> small = compress(model, X, n_parameters=200, n_subnetworks=2, depth=3, random_state=0)
    >>> bool(small.n_parameters_ <= 200 < model.n_parameters_)
    True
    >>> bool(small.score(X, y) > 0.999)
    True
    """
    _check(model, n_parameters, max_loss, n_subnetworks, depth, verbose)
    begin, report = time.perf_counter(), Lines(verbose)
    model, X = in_numpy(model), as_numpy(X)
    generator = make_generator(check_random_state(random_state))
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    waves = n_subnetworks is not None or depth is not None
    wanted = _Wanted(
        n_parameters=None if n_parameters == "auto" else int(n_parameters),
        max_loss=_max_loss(model, n_parameters, max_loss),
        n_subnetworks=n_subnetworks,
        depth=depth or tuning.COMPRESSION_DEPTH,
        smooth=model.X_limits_ is None or waves,
    )
    Z = _standardized_rows(model, X, rng)
    shaped = model.convexity is not None or _any_sign(model.monotonic_cst)
    if shaped:
        small = _of_same_shape(model, Z, wanted, rng, report)
    else:
        small = _with_network(model, _found(model, Z, wanted, rng, generator, report), Z)
    if max_loss != "auto" and small.compression_loss_ > wanted.max_loss:
        warnings.warn(
            f"The loss is {small.compression_loss_:.2g} with {small.n_parameters_} parameters, "
            f"above max_loss={max_loss}: raise n_parameters or max_loss.",
            ConvergenceWarning,
            stacklevel=3,
        )
    report.summarize(
        f"compressed from {model.n_parameters_} to {small.n_parameters_} parameters; "
        f"relative loss = {small.compression_loss_:.3g}",
        time.perf_counter() - begin,
    )
    return small


@dataclass(frozen=True)
class _Wanted:
    """What a small network is to be like; see `compress`."""

    n_parameters: int | None
    max_loss: float
    n_subnetworks: int | None
    depth: int
    smooth: bool

    def sizes(self, most: int) -> list[int]:
        """Return numbers of parameters to try, from the largest on; ``most`` is the default."""
        size = self.n_parameters or most
        found = [size]
        while self.max_loss > 0 and size // 2 >= most // 16:
            size //= 2
            found.append(size)
        return found


def _check(model, n_parameters, max_loss, n_subnetworks, depth, verbose) -> None:
    """Raise an error for arguments that are not valid."""
    if not isinstance(model, ExponentialReLUEstimator):
        raise TypeError(
            f"Cannot compress a {type(model).__name__}; give a fitted ExponentialReLURegressor or "
            "ExponentialReLUClassifier: of a pipeline the last step, of a search its "
            "best_estimator_, with X as that sees it."
        )
    check_is_fitted(model, "intercept_")
    fewest = FEWEST * model.n_outputs_
    limits = {"n_parameters": (n_parameters, fewest, np.inf), "depth": (depth, 1, MAX_DEPTH)}
    limits["n_subnetworks"] = (n_subnetworks, 1, np.inf)
    limits["verbose"] = (int(verbose) if isinstance(verbose, bool) else verbose, 0, np.inf)
    for name, (value, low, high) in limits.items():
        if value is None or (name == "n_parameters" and isinstance(value, str) and value == "auto"):
            continue
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or not low <= int(value) <= high:
            most = "" if high == np.inf else f" and at most {high}"
            raise ValueError(f"{name}={value!r}, but it needs an integer of at least {low}{most}.")
    if isinstance(max_loss, str) and max_loss == "auto":
        return
    number = isinstance(max_loss, Real) and not isinstance(max_loss, bool)
    if not number or not 0 <= float(max_loss) < np.inf:
        raise ValueError(f"max_loss={max_loss!r}, but it needs a number of at least 0 or 'auto'.")


def _any_sign(monotonic_cst) -> bool:
    """Return whether a monotonic constraint says anything."""
    if monotonic_cst is None:
        return False
    signs = monotonic_cst.values() if isinstance(monotonic_cst, dict) else monotonic_cst
    return any(int(sign) != 0 for sign in signs)


def _max_loss(model, n_parameters, max_loss) -> float:
    """Return the loss that is small enough."""
    if max_loss != "auto":
        return float(max_loss)
    if n_parameters != "auto":
        return 0.0
    known = model.best_validation_score_
    error = 0.0 if known is None else 1 - known
    return max(tuning.COMPRESSION_LOSS * error, tuning.COMPRESSION_LEAST_LOSS)


def _standardized_rows(model, X, rng: np.random.Generator) -> Array:
    """Return standardized rows, clipped as `predict` does."""
    scaling, limits = model._stored().X_scaling, model.X_limits_
    if X is not None:
        X = np.asarray(model._checked(X), dtype=float)
        # Neither the order of rows nor equal ones make a difference.
        X, _, _ = canonical_rows(X, X[:, :0], np.ones(len(X)))
        X = X if limits is None else np.clip(X, *limits)
        if len(X) > MOST_ROWS:
            X = X[rng.permutation(len(X))[:MOST_ROWS]]
        return scaling.apply(X)
    if not columns_of(model).plain:
        raise ValueError("The model has categories or missing values: give X.")
    half = np.full(len(scaling.mean), np.sqrt(3.0)) * (scaling.scale > 0)
    low, high = (-half, half) if limits is None else scaling.apply(limits)
    return points_in_box(low, high, SLOPES_ROWS, rng)


def _points(model, Z: Array, smooth: bool, rng: np.random.Generator) -> Array:
    """Return points between rows and, for smooth functions, anywhere in their box."""
    owners = np.asarray(columns_of(model).owners)
    if not smooth:
        n = max(tuning.COMPRESSION_POINTS_OF_ROW * len(Z), tuning.COMPRESSION_FEWEST_POINTS)
        return points_between(Z, owners, min(n, tuning.COMPRESSION_POINTS), rng)
    n = tuning.COMPRESSION_SMOOTH_POINTS // 2
    anywhere = points_in_box(Z.min(0), Z.max(0), n, rng)
    return np.concatenate([points_between(Z, owners, n, rng), anywhere])


def _weigher(model) -> Callable[[Array], Array]:
    """Return the curvature of the loss as a function of standardized raw outputs."""
    scaling = model._stored().y_scaling

    def weigh(values: Array) -> Array:
        if isinstance(model, ExponentialReLUClassifier):
            logits = scaling.undo(values)
            chances = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
            curvature = (chances * (1 - chances)).mean(1)
            return curvature + tuning.COMPRESSION_CERTAIN * curvature.mean() + 1e-300
        if model._log_link and model.loss == "poisson":
            return np.exp(np.clip(values, -50, 50)).mean(1)
        return np.ones(len(values))

    return weigh


def _found(
    model,
    Z: Array,
    wanted: _Wanted,
    rng: np.random.Generator,
    generator: torch.Generator,
    report: Report,
) -> Small:
    """Return the smallest network that is close enough, or the closest."""
    stored = model._stored()
    few = ExponentialReLURegressor(
        n_levels=1, n_init=2, early_stopping=False, refine_max_iter=tuning.COMPRESSION_START_ITER
    )
    own: dict[str, Any] = {"depth": 1, "exact_depth": True, "encoded_depth": 1, "shape": None}
    own["loss"] = SQUARED_ERROR
    names = Settings.__annotations__.keys() - own
    chosen: dict[str, Any] = {name: getattr(few, name) for name in names} | own
    task = Task(
        values=stored.standardized,
        slopes=stored.standardized_slopes,
        weigh=_weigher(model),
        Z=Z,
        points=_points(model, Z, wanted.smooth, rng),
        settings=Settings(**chosen),
        rng=rng,
        generator=generator,
        report=report,
    )
    if not wanted.smooth:
        size = wanted.n_parameters or tuning.COMPRESSION_MOST
        return chosen_kinks(task, size, wanted.max_loss)
    sizes = wanted.sizes(tuning.COMPRESSION_MOST_SMOOTH)
    n_subnetworks = wanted.n_subnetworks or tuning.COMPRESSION_SUBNETWORKS
    found = shrunk_waves(task, n_subnetworks, wanted.depth, sizes)
    return _smallest(found, lambda small: small.loss, wanted.max_loss)


def _smallest(candidates: Iterator, loss: Callable, enough: float):
    """Return the last of the candidates, which get smaller, that is close enough, or the best."""
    best = next(candidates)
    if loss(best) > enough:
        return min([best, *candidates], key=loss)
    for candidate in candidates:
        if loss(candidate) > enough:
            break
        best = candidate
    return best


def _with_network(model, small: Small, Z: Array):
    """Return the model with another network."""
    new, kept = copy(model), PlainModel(tuple(small.network.unpack(small.theta)))
    n, n_outputs = len(model.X_mean_), model.n_outputs_
    vars(new).update(
        _encoded=kept.arrays(),
        kinds_={},
        peaks_=None,
        scales_=None,
        directions_=np.zeros((0, n)),
        offsets_=np.zeros(0),
        hidden_weights_=[np.zeros((0, 4, n))],
        hidden_biases_=[np.zeros((0, 4))],
        output_weights_=np.zeros((0, 4, n_outputs)),
        linear_weights_=np.zeros((n, n_outputs)),
        intercept_=np.zeros(n_outputs),
        n_subnetworks_=0,
        n_levels_=1,
        n_starts_=1,
        n_parameters_=kept.n_parameters,
        compression_loss_=small.loss,
    )
    for name in ("_earlier", "_stream", "_seen"):  # a warm start begins anew
        vars(new).pop(name, None)
    vars(new)["_error_bars"] = None
    if hasattr(model, "noise_"):
        new.noise_ = None
    if new.y_limits_ is None and new.X_limits_ is not None:  # logits
        of_rows = model._stored().standardized(Z)
        new.y_limits_ = model._stored().y_scaling.undo(np.array([of_rows.min(0), of_rows.max(0)]))
    stored = new._stored()
    sizes = stored.importances(stored.X_scaling.undo(Z[:SLOPES_ROWS]))
    new.feature_importances_ = np.bincount(columns_of(new).owners, sizes, new.n_features_in_)
    return new


def _of_same_shape(model, Z: Array, wanted: _Wanted, rng: np.random.Generator, report: Report):
    """Return few sub-networks of the same guaranteed shape, fitted to the model."""
    if not columns_of(model).plain:
        raise ValueError(
            "Shapes are kept for models of numbers without missing values only: this one has "
            "categories or missing values."
        )
    if getattr(model, "_levels", None) is not None and len(model._levels) > 1:
        raise ValueError("Shapes of several quantiles are not kept: compress a model of each.")
    scaling, limits = model._stored().X_scaling, model.X_limits_
    X = scaling.undo(np.concatenate([Z, _points(model, Z, wanted.smooth, rng)]))
    X = (X if limits is None else np.clip(X, *limits))[rng.permutation(len(X))]
    trained, held_out = np.split(X, [len(X) - len(X) // tuning.COMPRESSION_HELD_OUT])
    best, least = None, 0
    counts = tuning.COMPRESSION_SHAPED
    for n_subnetworks in counts if wanted.n_subnetworks is None else (wanted.n_subnetworks,):
        sizes = {"n_levels": 1, "n_subnetworks": n_subnetworks, "depth": wanted.depth}
        how = {"n_init": 2, "refine": False, "early_stopping": False, "warm_start": False}
        new = clone(model).set_params(
            **sizes, **how, verbose=0, random_state=int(rng.integers(2**31))
        )
        with timed(report, f"the same shape with n_subnetworks={n_subnetworks}"):
            _fit_to(new, model, trained)
        least = least or new.n_parameters_
        if new.n_parameters_ > (wanted.n_parameters or tuning.COMPRESSION_MOST):
            break
        expected = _raw(model, held_out)
        difference = (_raw(new, held_out) - expected).var() / (expected.var() or 1.0)
        new.compression_loss_ = float(difference)
        if best is None or new.compression_loss_ < best.compression_loss_:
            best = new
        if best.compression_loss_ <= wanted.max_loss:
            break
    if best is None:
        raise ValueError(
            f"{wanted.n_subnetworks or 1} sub-networks of this shape and depth {wanted.depth} "
            f"have {least} parameters: raise n_parameters, or lower n_subnetworks or depth."
        )
    kept = ("feature_names_in_", "_levels", "_dtype", "_y_ndim")
    vars(best).update({name: vars(model)[name] for name in kept if name in vars(model)})
    return best.set_params(**model.get_params())


def _fit_to(new, model, X: Array) -> None:
    """Fit a model to the predictions of another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if isinstance(model, ExponentialReLUClassifier):
            chances = model.predict_proba(X)
            labels = np.repeat(model.classes_, len(X))
            new.set_params(class_weight=None)
            new.fit(np.concatenate([X, X]), labels, sample_weight=chances.T.ravel())
            return
        if not model._log_link:
            new.set_params(loss="squared_error", quantile=None)
        new.fit(X, model.predict(X))


def _raw(model, X: Array) -> Array:
    """Return raw outputs."""
    if isinstance(model, ExponentialReLUClassifier):
        return model.decision_function(X)
    return np.log(model.predict(X)) if model._log_link else model.predict(X)
