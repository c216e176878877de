"""What must hold for every fitted case."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight

from benchmarks.fuzz.cases import Case, exactly_linear, far_inputs
from benchmarks.fuzz.outcomes import OF_RANGE, OF_SIZE, Finding, differs, finding_of
from benchmarks.fuzz.tables import LARGEST

WIDEST = 1e300  # what is larger may overflow on the way
# Predictions may depend on the last digits of the inputs, but only so far.
NUDGE, ENLARGED, MOST_ROUNDING = 2.0**-51, 10, 0.05
REFITTED = 5  # one case in so many is fitted twice


class Fit:
    """A fitted case, with what checks compare."""

    def __init__(self, case: Case, model: Any) -> None:
        self.case, self.model = case, model
        values = np.asarray(case.targets.values)
        self.n, self.p = case.inputs.shape
        self.values = values.astype(float).reshape(self.n, -1)
        several = np.ndim(case.parameters.get("quantile")) > 0
        self.y_shape = (self.n, 3) if several else values.shape
        if case.classifies:
            n_classes = len(np.unique(values))
            self.y_shape = (self.n,) if n_classes == 2 else (self.n, n_classes)
        weights = np.broadcast_to(np.asarray(case.data.get("sample_weight", 1.0), float), self.n)
        with np.errstate(all="ignore"):
            self.weights = weights / weights.max()
            self.weights = self.weights / self.weights.sum()

    def raw(self, X: Any) -> Any:
        """Return predictions, or logits of a classifier."""
        return (self.model.decision_function if self.case.classifies else self.model.predict)(X)

    @property
    def known(self) -> Any:
        """Inputs in float64, with names if the model knows some."""
        seen, names = self.case.inputs.seen, getattr(self.model, "feature_names_in_", None)
        return seen if names is None else pd.DataFrame(seen, columns=names)

    @property
    def chosen_freely(self) -> bool:
        """Whether nothing keeps training rows from counting: no odd fractions or data."""
        fraction = self.case.parameters.get("validation_fraction", 0.1)
        return self.case.has("validation", "none") and 1e-3 < fraction <= 0.5


def _predictions(fit: Fit) -> Iterator[Finding]:
    """Predictions are finite, of the right shape, and do not depend on the container."""
    case, X = fit.case, fit.case.inputs.X
    predicted, raw = fit.model.predict(X), fit.raw(X)
    if raw.shape != fit.y_shape:
        yield Finding("wrong shape", f"{raw.shape}, not {fit.y_shape}")
    if not np.isfinite(raw).all():
        yield Finding("non-finite", f"predictions of training rows of dtype {raw.dtype}")
    elif case.inputs.seen is not None:
        single = raw.dtype == np.float32
        difference = differs(raw, fit.raw(fit.known), OF_SIZE, 1e-6 if single else OF_SIZE)
        if difference:
            yield Finding("container matters", difference)
    if case.classifies:
        if predicted.shape != (fit.n,) or not np.isin(predicted, fit.model.classes_).all():
            yield Finding("wrong shape", "labels")
        shares = fit.model.predict_proba(X)
        if shares.shape != (fit.n, len(fit.model.classes_)):
            yield Finding("wrong shape", f"probabilities {shares.shape}")
        if not (np.abs(shares.sum(1) - 1) < 1e-6).all() or (shares < 0).any():
            yield Finding("non-finite", "probabilities do not sum to 1")


def _far_predictions(fit: Fit) -> Iterator[Finding]:
    """Predictions far out are finite, and on the line if targets are."""
    case, parameters = fit.case, fit.case.parameters
    if case.inputs.seen is None:
        return
    free = parameters.get("extrapolation") == "linear" or "convexity" in parameters
    exponential = parameters.get("loss") in ("poisson", "gamma")
    predicted = fit.raw(far_inputs(case))
    may_overflow = (exponential and free) or np.abs(fit.values).max() > WIDEST
    if not np.isfinite(predicted).all() and not may_overflow:
        yield Finding("non-finite", "predictions at 10 times the range")
    plain = set(parameters) == {"random_state"} and case.has(
        "weights", "none", "number", "ones", "uniform", "counts", "list"
    )
    if plain and fit.chosen_freely and exactly_linear(case):
        error = np.abs(predicted - case.targets.far).max() / np.abs(case.targets.far).max()
        if error > 1e-9:
            yield Finding("not linear", f"{error:.0e} off a line at 10 times the range")


def _to_torch(fit: Fit) -> Iterator[Finding]:
    if fit.case.inputs.seen is None:
        return
    with torch.no_grad():
        columns = torch.tensor(fit.model.encode(fit.known))
        exported = fit.model.to_torch()(columns).numpy()
    raw = fit.raw(fit.known)
    # Another order of sums gives the same but for rounding, which deep networks enlarge.
    nudged = copy(fit.model)
    nudged.X_scale_ = fit.model.X_scale_ * (1 + NUDGE)
    with np.errstate(all="ignore"):
        size = np.abs(raw).max() or 1.0
        moved = np.abs(Fit(fit.case, nudged).raw(fit.known) / size - raw / size).max()
        own = ENLARGED * moved / (np.ptp(raw / size) or 1.0)
    limits = 0.0 if fit.case.classifies else np.abs(fit.values).max() / size  # added, subtracted
    of_range, of_size = OF_RANGE + min(own, MOST_ROUNDING), OF_SIZE * max(1.0, limits)
    difference = differs(exported.reshape(fit.y_shape), raw, of_range, of_size)
    if difference:
        yield Finding("to_torch differs", difference)


def _parts(fit: Fit) -> Iterator[Finding]:
    """Slopes, parts and importances are finite, and parts sum to the prediction."""
    model, X = fit.model, fit.known if fit.case.inputs.seen is not None else fit.case.inputs.X
    slopes, parts = model.predict_gradient(X), model.predict_contributions(X)
    importances = model.feature_importances_
    with np.errstate(all="ignore"):
        scales = model.X_scale_[model.X_scale_ > 0]
        steepest = np.abs(fit.values).max() / scales.min(initial=1)
    if slopes.shape != (*fit.y_shape, fit.p):
        yield Finding("wrong shape", f"gradient {slopes.shape}")
    if steepest < WIDEST and not np.isfinite(slopes).all():
        yield Finding("non-finite", "gradient")
    total = importances.sum()
    if importances.shape != (fit.p,) or not (total == 0 or abs(total - 1) < 1e-9):
        yield Finding("non-finite", f"importances sum to {total}")
    with np.errstate(all="ignore"):
        largest = np.abs(parts).max() or 1.0
        summed = (parts / largest).sum(-1) * largest  # sums on the way may overflow
        if getattr(model, "y_limits_", None) is not None:
            low, high = model.y_limits_
            summed = np.clip(summed.reshape(fit.n, -1), low, high).reshape(summed.shape)
        if fit.case.parameters.get("loss") in ("poisson", "gamma"):
            summed = np.exp(summed)
        if np.ndim(fit.case.parameters.get("quantile")):
            summed = np.sort(summed, axis=-1)
        predicted = fit.raw(X)
        cancelled = largest / max(np.abs(predicted).max(), 1e-300)
    if not np.isfinite(parts).all():
        yield Finding("non-finite", "contributions")
    elif largest < LARGEST and (
        difference := differs(summed, predicted, OF_RANGE, OF_SIZE * max(1.0, cancelled))
    ):
        yield Finding("parts differ", difference)


def _pickled(fit: Fit) -> Iterator[Finding]:
    again = pickle.loads(pickle.dumps(fit.model))
    X = fit.case.inputs.X
    if not np.array_equal(again.predict(X), fit.model.predict(X)):
        yield Finding("pickle differs", "predictions")


def _refitted(fit: Fit) -> Iterator[Finding]:
    if fit.case.number % REFITTED or fit.case.earlier is not None:
        return
    again = clone(fit.model).fit(**deepcopy(fit.case.data))
    if not np.array_equal(again.predict(fit.case.inputs.X), fit.model.predict(fit.case.inputs.X)):
        yield Finding("refit differs", "predictions")


def _unbiased(fit: Fit) -> Iterator[Finding]:
    """Training rows are met no worse than by a constant, and in total."""
    if not fit.chosen_freely or fit.n < 2:
        return
    with np.errstate(all="ignore"):
        if fit.case.classifies:
            yield from _worse_than_shares(fit)
            return
        size = np.abs(fit.values).max(0)
        y = fit.values / np.where(size > 0, size, 1)
        predicted = fit.raw(fit.case.inputs.X).reshape(fit.n, -1)
        predicted = predicted / np.where(size > 0, size, 1)
    loss, weights = fit.case.parameters.get("loss", "squared_error"), fit.weights[:, None]
    if loss == "squared_error":
        mean = (weights * y).sum(0)
        best = (weights * (y - mean) ** 2).sum(0)
        left = (weights * (y - predicted) ** 2).sum(0)
        if (left > 1.05 * best + 1e-12).any():
            ratio = (left / np.maximum(best, 1e-12)).max()
            yield Finding("biased", f"R^2 {1 - ratio:.2g} on training rows")
    elif loss in ("poisson", "gamma") and not fit.case.has("parameters", "convexity"):
        parts = fit.model.predict_contributions(fit.case.inputs.X).sum(-1).reshape(fit.n, -1)
        limits = fit.model.y_limits_
        if limits is not None and not ((limits[0] < parts) & (parts < limits[1])).all():
            return  # clipped
        totals = [(weights * predicted).sum() / (weights * y).sum()]
        if loss == "gamma":  # what its best constant meets
            totals.append((weights * y / predicted).sum() / weights.sum())
        if min(abs(total - 1) for total in totals) > 0.02:
            yield Finding("biased", f"total {totals[0]:.3g} of that of the targets")


def _worse_than_shares(fit: Fit) -> Iterator[Finding]:
    codes, chosen = fit.values[:, 0], fit.case.parameters.get("class_weight")
    labels = fit.model.classes_
    if labels.dtype.kind not in "biuf":  # "class 10" is before "class 2"
        codes = codes.astype(int).astype(str)
    classes, index = np.unique(codes, return_inverse=True)
    shares = np.bincount(index, fit.weights)
    factors = 1 / np.where(shares > 0, shares, np.inf)
    if chosen != "balanced":
        factors = compute_class_weight(chosen, classes=labels, y=labels)
    weights = fit.weights * factors[index]
    weights /= weights.sum()
    shares = np.bincount(index, weights, len(classes))
    best = -(weights[weights > 0] * np.log(shares[index][weights > 0])).sum()
    logs = fit.model.predict_log_proba(fit.case.inputs.X)[np.arange(fit.n), index]
    left = -(weights[weights > 0] * logs[weights > 0]).sum()
    if not left <= 1.001 * best + 1e-9:
        yield Finding("biased", f"log-loss {left / best:.3g} times that of the shares")


CHECKS = (_predictions, _far_predictions, _to_torch, _parts, _unbiased, _pickled, _refitted)


def checked(case: Case, model: Any) -> Iterator[Finding]:
    """Return what is wrong with a fitted model."""
    if case.reasons:  # what to compare with is not known
        yield Finding("not refused", "; ".join(case.reasons))
        return
    fit = Fit(case, model)
    for check in CHECKS:
        try:
            yield from check(fit)
        except Exception as error:
            found = finding_of(error, "raises later")
            yield Finding(found.outcome, f"{check.__name__}: {found.text}", found.detail)
