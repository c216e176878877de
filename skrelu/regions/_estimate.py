r"""Estimates of how many regions a network has in a box.

Cells are divided as in `_cells`, or in many dimensions as in `_polytopes`. Each cell has a weight,
the number of cells that it stands for, and passes it to its halves. If there are more than
:math:`n` cells, :math:`n` of them are drawn. The weight of a cell drawn with probability :math:`p`
is divided by :math:`p`. The expected sum of weights is then the sum before. By induction the
expected sum at the end is the number of regions, for any :math:`p > 0`.

The error is smallest if :math:`p` is proportional to the number of regions that the cell, and the
cells it stands for, will be divided into. This number is guessed as the weight times the number of
parts that :math:`h` hyperplanes in general position make in up to three dimensions,

.. math::
    p = \min(1, s / u), \quad s = w \sum_{i \le \min(d, 3)} \binom{h}{i},

where :math:`h` remaining neurons are known to change sign in the cell, and :math:`u` is such that
all :math:`p` sum to :math:`n`. Systematic sampling draws exactly n cells with these probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import comb
from sklearn.utils import check_random_state

from skrelu._data.torch_interop import isolated
from skrelu.regions._box import MAX_FEATURES, in_cube
from skrelu.regions._cells import Cells, Indices
from skrelu.regions._checks import MEMORY, Array, checked_count
from skrelu.regions._layers import Layers, layers_of
from skrelu.regions._polytopes import Polytopes

# Number of independent estimates, from whose spread the standard error follows.
N_GROUPS = 10
# Dimensions of the guess above. Higher ones had larger errors, measured in 5 to 10 dimensions.
GUESS_DEGREE = 3


@dataclass(frozen=True, eq=False, repr=False)
class RegionEstimate:
    """Estimated number of activation regions in a box, as `estimate_regions` returns it.

    Attributes
    ----------
    log2_counts : ndarray of shape (n_groups,)
        Logarithms to base 2 of independent unbiased estimates of the number.

    Examples
    --------
    >>> import numpy as np
    >>> from skrelu.regions import RegionEstimate
    >>> estimate = RegionEstimate(np.log2([90.0, 110.0]))
    >>> round(estimate.n_activation_regions), round(estimate.standard_error)
    (100, 10)
    """

    log2_counts: Array

    def __repr__(self) -> str:
        return (
            f"RegionEstimate(n_activation_regions={self.n_activation_regions:.4g}, "
            f"standard_error={self.standard_error:.2g}, n_groups={len(self.log2_counts)})"
        )

    @property
    def n_activation_regions(self) -> float:
        """Estimated number of activation regions: the mean of the estimates; may be infinite."""
        return self._of_counts(np.mean)

    @property
    def standard_error(self) -> float:
        """Estimated standard error of this mean."""
        return self._of_counts(lambda counts: np.std(counts, ddof=1) / len(counts) ** 0.5)

    @isolated()
    def _of_counts(self, statistic: Callable[[Array], float]) -> float:
        most = self.log2_counts.max()
        scaled = np.log2(statistic(np.exp2(self.log2_counts - most)))
        return float(np.exp2(most + scaled))  # infinite above the largest double


@isolated()
def estimate_regions(
    model, lower: ArrayLike, upper: ArrayLike, *, n_samples: int = 100, random_state=None
) -> RegionEstimate:
    r"""Estimate the number of activation regions of a ReLU network in a box of any dimension.

    Cells are divided by one neuron after another, as in `regions_in_box`. If there are too many
    cells, a random sample of them is kept. A cell kept with probability :math:`p` counts for
    :math:`1 / p` cells, so that the expected sum is the number of all cells. [1]_ does this with a
    single cell. Up to 1, the probabilities are proportional to a guess of the number of regions in
    each cell, and the size of the sample is fixed [2]_. A bad guess makes the error larger, but the
    estimate stays unbiased.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        Network to read, see `regions_along`.
    lower, upper : array-like of shape (n_features,)
        Corners of the box, in the units of the data.
    n_samples : int, default=100
        Number of cells to follow, at least 2. They form ten independent groups of the same size,
        or one group for each cell if there are fewer than ten. If a group can hold all regions of
        the box, they are counted exactly.
    random_state : int, RandomState instance or None, default=None
        Determines which cells are drawn. Pass an int for reproducible results.

    Returns
    -------
    RegionEstimate
        The estimated number and its standard error.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If the model cannot be read, the box does not match it, values overflow there, `n_samples`
        is not an integer of 2 or more, or the cells of a group take more than about 1 GB.

    Notes
    -----
    The distribution of the estimates is skewed: most groups are somewhat too small, few are much
    too large. So the standard error is rough, and more often too small than too large.

    With at most 8 features, cells are stored by their vertices. With more features they are stored
    as inequalities, and linear programs decide whether a neuron changes sign. This takes less than
    one program for each neuron and cell, of milliseconds each. Regions narrower than about 1e-6 of
    the box are then not found.

    References
    ----------
    .. [1] D. E. Knuth (1975). Estimating the efficiency of backtrack programs. Mathematics of
       Computation 29, 121-136. https://doi.org/10.1090/S0025-5718-1975-0373371-6
    .. [2] P. Fearnhead, P. Clifford (2003). On-line inference for hidden Markov models via
       particle filters. Journal of the Royal Statistical Society B 65, 887-899.
       https://doi.org/10.1111/1467-9868.00421

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import estimate_regions
    >>> planes = torch.nn.Linear(20, 20)
    >>> _ = torch.nn.init.eye_(planes.weight), torch.nn.init.zeros_(planes.bias)
    >>> network = torch.nn.Sequential(planes, torch.nn.ReLU(), torch.nn.Linear(20, 1))
    >>> estimate = estimate_regions(network, [-1] * 20, [1] * 20, random_state=0)
    >>> round(estimate.n_activation_regions), round(estimate.standard_error, 3)  # all orthants
    (1048576, 0.0)
    """
    layers, _, _, offsets = in_cube(layers_of(model), lower, upper)
    n_samples = checked_count(n_samples, "n_samples", least=2)  # for a standard error
    rng = check_random_state(random_state)
    n_groups = min(n_samples, N_GROUPS)
    size = n_samples // n_groups
    return RegionEstimate(
        np.array([_log2_count(layers, offsets, size, rng) for _ in range(n_groups)])
    )


def _log2_count(layers: Layers, offsets: Array, size: int, rng: np.random.RandomState) -> float:
    """Return the logarithm of one estimate, from at most ``size`` cells at a time."""
    n_neurons, d = layers.n_neurons, layers.n_features
    kind = Cells if d <= MAX_FEATURES else Polytopes
    # Includes the memory of `n_to_come`, which evaluates the network at all points of the cells.
    bytes_each = kind.bytes_each(layers) + 2 ** min(d, MAX_FEATURES) * (
        n_neurons + 24 * layers.largest
    )
    _check_memory(1, bytes_each)
    choices = comb(np.arange(n_neurons + 1)[:, None], np.arange(1 + min(d, GUESS_DEGREE)))
    guesses = np.log2(choices.sum(1))  # (n_neurons + 1,)
    cells: Cells | Polytopes
    if d <= MAX_FEATURES:
        cells = Cells.cube(layers, offsets)
    else:
        cells = Polytopes.cube(layers, offsets, rng)
    weights = np.zeros(1)  # logarithms to base 2: counts pass the greatest double
    for _ in range(n_neurons):
        weights = weights[cells.divide()]
        _check_memory(min(len(weights), size), bytes_each)
        if len(weights) > size:
            scores = weights + guesses[cells.n_to_come()]
            chosen, p = _draw(np.exp2(scores - scores.max()), size, rng)
            weights, cells = weights[chosen] - np.log2(p), cells.take(chosen)
    return float(np.logaddexp2.reduce(weights))


def _check_memory(n_cells: int, bytes_each: int) -> None:
    if n_cells * bytes_each > MEMORY:
        raise ValueError(
            f"{n_cells} cells of about {bytes_each} bytes each take more than {MEMORY} bytes; "
            f"follow {MEMORY // bytes_each} or fewer in a group, by a smaller n_samples, or take a "
            "network of fewer neurons and features."
        )


def _draw(scores: Array, size: int, rng: np.random.RandomState) -> tuple[Indices, Array]:
    """Draw ``size`` cells with probabilities proportional to scores, up to 1.

    Returns
    -------
    chosen, probabilities : ndarray of shape (size,)
    """
    ascending = np.sort(scores)
    sums = np.cumsum(ascending)
    for n_sure in range(size):  # the largest scores have probability 1
        unit = sums[-1 - n_sure] / (size - n_sure)
        if ascending[-1 - n_sure] <= unit:
            break
    p = np.minimum(1.0, scores / unit)
    ticks = np.floor(np.cumsum(p) + rng.uniform())
    chosen = np.flatnonzero(np.diff(ticks, prepend=0.0))
    return chosen, p[chosen]
