"""Checks of the parameters that set the loss and the shape of a model."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from skrelu._networks.shapes import Shape
from skrelu._solvers.losses import LOSSES, Loss, Pinball

CONVEXITIES: dict[str | None, int] = {"convex": 1, "concave": -1}


def make_loss(loss: str, quantile) -> Loss:
    """Return the loss.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    quantile : None, float, or sequence of float
        Quantiles in (0, 1), for loss "quantile" only.

    Raises
    ------
    ValueError
        If quantiles are missing, not in (0, 1) or not increasing, or if another loss has any.
    """
    if loss != "quantile":
        if quantile is not None:
            raise ValueError(
                f"quantile={quantile!r} is for loss='quantile', but loss={loss!r}: set "
                "loss='quantile', or quantile=None."
            )
        return LOSSES[loss]()
    example = "for example quantile=0.9, or quantile=[0.05, 0.5, 0.95]"
    if quantile is None:
        raise ValueError(f"loss='quantile' needs a quantile, {example}.")
    levels = np.atleast_1d(quantile)
    numbers = levels.ndim == 1 and levels.size > 0 and levels.dtype.kind in "fiu"
    if not numbers or not np.all((levels > 0) & (levels < 1)) or np.any(np.diff(levels) <= 0):
        raise ValueError(
            f"quantile={quantile!r}, but it must be a number in (0, 1) or several that "
            f"increase, {example}."
        )
    return Pinball(quantiles=tuple(levels.tolist()))


def several(quantile) -> bool:
    """Return whether ``quantile`` is a list; a list of one counts."""
    return quantile is not None and np.ndim(quantile) > 0


def check_signs(monotonic_cst) -> None:
    """Raise an error unless there is one number for each feature, by position or by name."""
    by_name = isinstance(monotonic_cst, dict)
    signs = list(monotonic_cst.values()) if by_name else monotonic_cst
    if signs is None:
        return
    try:
        signs = np.asarray(signs)
    except ValueError:  # lists of several lengths
        signs = np.empty((0, 0))
    if signs.ndim != 1 or (signs.size and signs.dtype.kind not in "biuf"):
        raise ValueError(
            f"monotonic_cst={monotonic_cst!r}, but it must be one of -1, 0 and 1 for each "
            "feature, as a list or as a dict from names of features."
        )


def make_shape(
    convexity, monotonic, names, loss: Loss, sorted_outputs: bool, smooth: bool
) -> Shape | None:
    """Return the shape constraints of a model, None if there are none.

    Parameters
    ----------
    convexity : None, "convex", "concave" or dict
    monotonic : ndarray of shape (n_features,)
        -1, 0 or 1 for each feature.
    names : ndarray of shape (n_features,) or None
        Names of the features.
    loss : Loss
    sorted_outputs : bool
        Whether outputs are sorted quantiles.
    smooth : bool

    Raises
    ------
    ValueError
        If ``convexity`` names an unknown feature, or excludes another parameter.
    """
    bends = _bends(convexity, len(monotonic), names)
    if not np.any(monotonic) and not any(bends):
        return None
    if not smooth:
        raise ValueError(
            "convexity and monotonic_cst need smooth=True: with free scales a sub-network may be "
            "of any shape."
        )
    if loss.log_link and -1 in bends:
        raise ValueError(
            f"convexity={convexity!r}, but with loss='poisson' or 'gamma' predictions are "
            "exponentials, which cannot be kept concave."
        )
    if sorted_outputs and any(bends):
        raise ValueError(
            "convexity cannot be had for several quantiles at once, which are sorted so that they "
            "do not cross: fit a model for each."
        )
    return Shape(tuple(int(sign) for sign in monotonic), bends)


def _bends(convexity, n_features: int, names) -> tuple[int, ...]:
    """Return a sign of curvature for each feature: 1 for convex, -1 for concave, 0 for any."""
    if not isinstance(convexity, dict):
        return (CONVEXITIES.get(convexity, 0),) * n_features
    bends = [0] * n_features
    for key, value in convexity.items():
        if not isinstance(value, str) or value not in CONVEXITIES:
            raise ValueError(f"convexity[{key!r}]={value!r}, but it must be 'convex' or 'concave'.")
        column = _index(key, n_features, names)
        if bends[column] == -CONVEXITIES[value]:
            raise ValueError(f"convexity names feature {column} twice, as convex and as concave.")
        bends[column] = CONVEXITIES[value]
    return tuple(bends)


def _index(key, n_features: int, names) -> int:
    """Return the column of a feature given by name or index."""
    if isinstance(key, Integral) and not isinstance(key, bool) and int(key) in range(n_features):
        return int(key)
    if isinstance(key, str) and names is not None and key in names:
        return list(names).index(key)
    known = f"0 to {n_features - 1}" if names is None else f"{list(names)}, 0 to {n_features - 1}"
    raise ValueError(f"convexity names the feature {key!r}, but features are {known}.")
