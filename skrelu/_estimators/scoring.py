"""Early stopping by a scorer of scikit-learn instead of the loss."""

from __future__ import annotations

from copy import copy
from inspect import Parameter, signature

import numpy as np
from sklearn.metrics import check_scoring, get_scorer_names

from skrelu._data.table import Array
from skrelu._estimators.sklearn_private import StrOptions
from skrelu._fit.job import Score

# What the parameter may be.
CONSTRAINT = [StrOptions({"loss", *get_scorer_names()}), callable, None]
# Relative difference up to which weights are equal.
ROUNDING = 1e-9


def make_score(model, held_out: bool, own: dict, log_link: bool) -> Score | None:
    """Return the score of held-out rows, None if the loss is to be used.

    Parameters
    ----------
    model : estimator
    held_out : bool
        Whether there are held-out rows.
    own : dict
        Attributes that predictions need, by name.
    log_link : bool
        Whether predictions are exponentials of the outputs.

    Raises
    ------
    ValueError
        If no iteration is chosen by held-out rows alone.
    """
    if isinstance(model.scoring, str) and model.scoring == "loss":
        return None
    if model.solver != "adam":
        raise ValueError(
            f"scoring={model.scoring!r} needs solver='adam', but solver={model.solver!r}: other "
            "solvers, and the choice between kinds of networks, compare losses. Set solver='adam', "
            "or scoring='loss'."
        )
    if not held_out:
        raise ValueError(
            f"scoring={model.scoring!r} needs held-out rows, but early_stopping=False: set "
            "early_stopping=True, or give X_val and y_val."
        )
    scorer = check_scoring(model, model.scoring)

    def score(X: Array, y: Array, raw: Array, weights: Array) -> float:
        alike = np.ptp(weights) <= ROUNDING * weights.max()
        metadata = {} if alike else {"sample_weight": weights / weights.min()}
        if metadata and not _takes_weights(scorer):
            raise ValueError(
                f"scoring={model.scoring!r} has no argument sample_weight, but rows have different "
                "weights (equal rows count as one row of their total weight): give it one."
            )
        known = _with_outputs(model, raw, own, log_link)
        return scorer(known, X, _as_given(y, own), **metadata)

    return score


def _with_outputs(model, raw: Array, own: dict, log_link: bool):
    """Return a copy of a model that predicts known outputs, whatever its inputs are."""
    known = copy(model)
    values = np.sort(raw, 1) if own["_ordered"] else raw
    values = np.exp(values) if log_link else values
    values = values[:, 0] if own["_y_ndim"] == 1 else values
    vars(known).update(own, _outputs=lambda X: values)
    return known


def _as_given(y: Array, own: dict) -> np.ndarray:
    """Return targets as `fit` takes them: labels, a vector, or a column for each output."""
    if "classes_" in own:
        index = y[:, 0] if y.shape[1] == 1 else y.argmax(1)
        return own["classes_"][index.astype(int)]
    return y[:, 0] if own["_y_ndim"] == 1 or own["_ordered"] else y


def _takes_weights(scorer) -> bool:
    """Return whether a scorer may be called with sample weights."""
    if hasattr(scorer, "_score_func"):
        return True
    parameters = signature(scorer).parameters
    given = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    return given or "sample_weight" in parameters
