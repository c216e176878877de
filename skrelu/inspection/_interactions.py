r"""How strongly pairs of features act together on predictions.

F_S(x) is the mean of f over the rows if features S have the values of x in all of them (partial
dependence), minus the mean of f. The interaction of features j and k is the part of F_jk that is no
sum of a function of each,

    I_jk(x) = F_jk(x) - F_j(x) - F_k(x),

and Friedman and Popescu's statistic is the fraction of the variance of F_jk that it has,

    H_jk^2 = sum_i I_jk(x_i)^2 / sum_i F_jk(x_i)^2.

If f is a sum of functions of single features, all interactions are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from skrelu.inspection._effects import BATCH, chosen
from skrelu.regions._checks import shown

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# A partial dependence or interaction that is smaller, relative to the values of f, is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class FeatureInteraction:
    """The interaction of two features.

    Parameters
    ----------
    names : tuple of two str
        Names of the features.
    strength : float
        Root mean square over the rows of the part of the partial dependence on both features that
        is no sum of a function of each. It has the units of the model's sum.
    h_squared : float
        Friedman's H^2, at least 0: the mean square of this part as a fraction of that of the whole
        partial dependence on both. It is large also where both features hardly matter.

    Examples
    --------
    >>> from skrelu.inspection import FeatureInteraction
    >>> FeatureInteraction(("age", "height"), 0.3, 0.25).label
    'age & height'
    """

    names: tuple[str, str]
    strength: float
    h_squared: float

    @property
    def label(self) -> str:
        """Both names."""
        return " & ".join(self.names)


def interactions(
    f: Callable[[Array], Array],
    rows: Array,
    groups: Sequence[Indices],
    pairs: Sequence[tuple[int, int]],
) -> list[tuple[float, float]]:
    """Return the strength and H^2 of the interaction of pairs of features.

    There are n_rows**2 evaluations of f for each pair, and for each feature of a pair.

    Parameters
    ----------
    f : callable
        Function from rows (n, n_columns) to values (n,).
    rows : ndarray of shape (n_rows, n_columns)
        Rows to average over, at least one.
    groups : sequence of ndarray of int
        Columns of each feature.
    pairs : sequence of tuple of two int
        Different features.

    Returns
    -------
    list of tuple of two float

    References
    ----------
    Friedman and Popescu, "Predictive learning via rule ensembles", 2008,
    https://doi.org/10.1214/07-AOAS148
    """
    values = f(rows)
    tiny = ROUNDING * float(np.abs(values).max())
    alone = {j: centred_dependence(f, rows, groups[j]) for j in {j for pair in pairs for j in pair}}
    found = []
    for j, k in pairs:
        both = centred_dependence(f, rows, np.concatenate([groups[j], groups[k]]))
        strength, whole = _size(both - alone[j] - alone[k]), _size(both)
        found.append((strength, 0.0 if strength <= tiny else (strength / whole) ** 2))
    return found


def centred_dependence(f: Callable[[Array], Array], rows: Array, columns: Indices) -> Array:
    """Return F_S at all rows for the features S of these columns, (n_rows,)."""
    means = np.empty(len(rows))
    size = max(1, BATCH // len(rows))
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        batch = np.repeat(rows[None], len(part), 0)  # (n_part, n_rows, n_columns)
        batch[..., columns] = part[:, None, columns]
        values = f(batch.reshape(-1, rows.shape[1]))
        means[begin : begin + size] = values.reshape(len(part), -1).mean(1)
    return means - means.mean()


def chosen_pairs(features, names: list[str], importances: Array) -> list[tuple[int, int]]:
    """Return pairs of indices: all pairs of the chosen features, or pairs that are named.

    Parameters
    ----------
    features : int, or list of str or int, or list of pairs of these
        See `chosen`.
    names : list of str
    importances : ndarray of shape (n_features,)

    Raises
    ------
    ValueError
        If there is no such feature, or no pair of different features.
    """
    if isinstance(features, list | tuple) and features and all(map(_is_pair, features)):
        flat = chosen([name for pair in features for name in pair], names, importances)
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
    else:
        found = chosen(features, names, importances)
        pairs = list(combinations(found if np.ndim(features) else sorted(found), 2))
    if not pairs or any(j == k for j, k in pairs):
        raise ValueError(
            f"features={shown(features)} has to make one pair or more of different features; the "
            f"model reads {shown(names)}."
        )
    return pairs


def _is_pair(pair) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2


def _size(values: Array) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.square(values).mean()))
