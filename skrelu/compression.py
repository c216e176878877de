"""Small networks that predict what a fitted model predicts."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skrelu._data.points import points_between, points_in_box
from skrelu._data.torch_interop import isolated, make_generator
from skrelu._estimators.base import ExponentialReLUEstimator
from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor
from skrelu._estimators.tables import columns_of
from skrelu._fit import tuning
from skrelu._fit.compression import Small, Task, chosen_kinks, shrunk_waves
from skrelu._fit.plan import Settings
from skrelu._networks.plain_model import PlainModel
from skrelu._solvers.losses import SQUARED_ERROR

__all__ = ["compress"]

Array = NDArray[np.float64]


@isolated()
def compress(
    model: ExponentialReLUEstimator,
    X=None,
    *,
    n_parameters: int | str = "auto",
    max_loss: float | str = "auto",
    n_subnetworks: int | None = None,
    depth: int | None = None,
    random_state=None,
) -> ExponentialReLUEstimator:
    """Return a small network that predicts what a fitted model predicts."""
    check_is_fitted(model, "intercept_")
    stored = model._stored()
    rng = check_random_state(random_state)
    generator = make_generator(rng)
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    Z = _rows(model, X, rng)
    smooth = model.X_limits_ is None or n_subnetworks is not None or depth is not None
    if smooth:
        n = tuning.COMPRESSION_SMOOTH_POINTS
        half = points_in_box(Z.min(0), Z.max(0), n - n // 2, rng)
        points = np.concatenate([points_between(Z, n // 2, rng), half])
    else:
        points = points_between(Z, tuning.COMPRESSION_POINTS, rng)

    def weigh(values: Array) -> Array:
        if isinstance(model, ExponentialReLUClassifier):
            logits = stored.y_scaling.undo(values)
            chances = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
            return (chances * (1 - chances)).mean(1) + 1e-4
        if model._log_link:
            return np.exp(values).mean(1)
        return np.ones(len(values))

    few = ExponentialReLURegressor(
        n_levels=1, n_init=2, early_stopping=False, refine_max_iter=tuning.COMPRESSION_START_ITER
    )
    names = Settings.__dataclass_fields__.keys() - {"depth", "encoded_depth", "loss", "shape"}
    chosen = {name: getattr(few, name) for name in names}
    own = Settings(**chosen, depth=1, encoded_depth=1, loss=SQUARED_ERROR, shape=None)
    task = Task(
        stored.standardized, stored.standardized_slopes, weigh, Z, points, own, rng, generator
    )
    if max_loss == "auto":
        known = model.best_validation_score_
        error = 0.0 if known is None else 1 - known
        max_loss = max(tuning.COMPRESSION_LOSS * error, tuning.COMPRESSION_LEAST_LOSS)
    if smooth:
        sizes = tuning.COMPRESSION_SIZES if n_parameters == "auto" else (int(n_parameters),)
        best = None
        k, d = n_subnetworks or tuning.COMPRESSION_SUBNETWORKS, depth or tuning.COMPRESSION_DEPTH
        for small in shrunk_waves(task, k, d, sizes):
            if best is None or small.loss <= max(max_loss, best.loss):
                best = small
            if small.loss > max_loss:
                break
        small = best
    else:
        most = tuning.COMPRESSION_MOST if n_parameters == "auto" else int(n_parameters)
        small = chosen_kinks(task, most, float(max_loss) if n_parameters == "auto" else 0.0)
    return _with(model, small, Z)


def _rows(model, X, rng: np.random.Generator) -> Array:
    """Return standardized rows, clipped as `predict` does."""
    stored = model._stored()
    if X is None:
        n = len(model.X_mean_)
        half = np.sqrt(3.0) * np.ones(n)
        return points_in_box(-half, half, 500, rng)
    X = model._checked(X)
    if model.X_limits_ is not None:
        X = np.clip(X, *model.X_limits_)
    Z = stored.X_scaling.apply(X)
    return Z if len(Z) <= 5000 else Z[rng.permutation(len(Z))[:5000]]


def _with(model, small: Small, Z: Array):
    """Return the model with another network."""
    new = copy(model)
    n, o = len(model.X_mean_), model.n_outputs_
    kept = PlainModel(small.network, small.theta)
    attributes = {
        "_encoded": kept.arrays(),
        "kinds_": {"compressed": 1.0},
        "peaks_": None,
        "scales_": None,
        "directions_": np.zeros((0, n)),
        "offsets_": np.zeros(0),
        "hidden_weights_": [np.zeros((0, 4, n))],
        "hidden_biases_": [np.zeros((0, 4))],
        "output_weights_": np.zeros((0, 4, o)),
        "linear_weights_": np.zeros((n, o)),
        "intercept_": np.zeros(o),
        "n_subnetworks_": 0,
        "n_levels_": 1,
        "n_starts_": 1,
        "n_parameters_": kept.n_parameters,
        "compression_loss_": small.loss,
    }
    vars(new).update(attributes)
    del new._earlier
    sizes = new._stored().importances(new._stored().X_scaling.undo(Z[:1000]))
    new.feature_importances_ = np.bincount(columns_of(new).owners, sizes, new.n_features_in_)
    return new
