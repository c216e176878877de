"""Bounds and expectations of the number of regions of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate, islice
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import uniform
from sklearn.utils import check_random_state

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import MEMORY, Array, as_floats, as_integer, checked_count, shown

Layer = tuple[Array, Array]  # matrix and bias

# Largest size of a block of random draws, in numbers.
BLOCK = 2**22
# Largest work of an exact bound, in products of bits (about 10 s).
MOST_WORK = 2**42
# Largest number of bits of a number of regions.
MOST_DIGITS = 2**14
# Largest number of hidden layers.
MOST_LAYERS = 100_000


def max_regions(widths: Iterable[int], n_inputs: int) -> int:
    r"""Return an upper bound of the number of regions of a ReLU network.

    .. math::
        \sum_{j_1, \dots, j_L} \prod_l \binom{n_l}{j_l}, \quad
        0 \le j_l \le \min(n_0, n_1 - j_1, \dots, n_{l-1} - j_{l-1}, n_l)

    with :math:`n_0` inputs and hidden layers of widths :math:`n_l`.

    Parameters
    ----------
    widths : iterable of int
        Number of neurons of each hidden layer, at least 1 each. At least one layer.
    n_inputs : int
        Number of inputs, at least 1.

    Returns
    -------
    int
        Upper bound of the number of activation regions, and so of linear regions, of every network
        of this size, in the whole input space or a part of it.

    Raises
    ------
    ValueError
        If a size is not a positive integer, there is no layer, or the computation takes too long.

    Notes
    -----
    One layer attains the bound, with neurons in general position (Zaslavsky). For one input it is
    the product of all :math:`n_l + 1` if no layer but the last has a single neuron. It is attained
    if each layer has three neurons or more. Few networks come near the bound: a triangle network of
    depth d with four neurons a layer has :math:`2^d` regions of at most :math:`5^d`.

    References
    ----------
    T. Serra, C. Tjandraatmadja, S. Ramalingam, "Bounding and Counting Linear Regions of Deep
    Neural Networks", 2018, Theorem 1, https://arxiv.org/abs/1711.02114.

    Examples
    --------
    >>> from skrelu.regions import max_regions
    >>> max_regions([4] * 5, n_inputs=1) == 5**5
    True
    >>> max_regions([16, 16, 16], n_inputs=2)  # one layer of 48 neurons has at most 1177
    2571353
    """
    widths = checked_widths(widths)
    most = min(checked_count(n_inputs, "n_inputs"), widths[0])
    _check_work(widths, most)
    # counts[v] is the sum over the choices of all layers so far with running minimum v.
    counts = [0] * most + [1]
    for n in widths:
        combs = [1]  # n over v
        for v in range(1, min(n + 1, len(counts))):
            combs.append(combs[-1] * (n - v + 1) // v)
        up_to = list(accumulate(combs))
        from_on = [*accumulate(reversed(counts))][::-1]
        counts = [
            counts[v] * up_to[min(v, n - v)] + comb * sum(from_on[max(v + 1, n - v) :][:1])
            for v, comb in enumerate(combs)
        ]
    return sum(counts)


def _check_work(widths: list[int], most: int) -> None:
    """Raise an error if `max_regions` takes too long: it multiplies numbers of many bits."""
    n_bits = work = 0
    for n in widths:
        most = min(most, n)
        own = min(n, most * n.bit_length())  # bound of the bits of n over j
        n_bits += own
        work += (most + 1) * n_bits * max(own, 64)
    if work > MOST_WORK:
        raise ValueError(
            f"The bound for widths={shown(widths)} and that many inputs has up to {n_bits} bits, "
            "which take too long to find; ask for fewer inputs, or take 2**sum(widths), which is a "
            "bound, too."
        )


def fewest_neurons_for(n_regions: int, n_layers: int = 1) -> int:
    """Return a lower bound of the number of neurons for a number of linear regions of one input.

    Parameters
    ----------
    n_regions : int
        Number of linear regions along a line, at least 1.
    n_layers : int, default=1
        Maximum number of hidden layers, at least 1.

    Returns
    -------
    int
        Smallest sum of widths for which `max_regions` allows so many linear regions. No ReLU
        network with fewer neurons, in at most that many hidden layers, has them. For one layer it
        is ``n_regions - 1``, which is enough for some functions.

    Raises
    ------
    ValueError
        If an argument is not a positive integer, or `n_regions` is above ``2**16384``.

    Notes
    -----
    The product of all ``width + 1`` is largest if the widths differ by at most one. Only in the
    last layer a single neuron is of use, so s neurons fill at most ``(s + 1) // 2`` layers.

    References
    ----------
    T. Serra, C. Tjandraatmadja, S. Ramalingam, "Bounding and Counting Linear Regions of Deep
    Neural Networks", 2018, https://arxiv.org/abs/1711.02114.

    Examples
    --------
    >>> from skrelu.regions import fewest_neurons_for
    >>> [fewest_neurons_for(32, n_layers) for n_layers in (1, 2, 3, 4)]
    [31, 10, 7, 7]
    """
    n_regions = checked_count(n_regions, "n_regions")
    n_layers = checked_count(n_layers, "n_layers")
    if n_regions.bit_length() > MOST_DIGITS:
        raise ValueError(
            f"n_regions={shown(n_regions)} is above 2**{MOST_DIGITS}; ask for fewer regions."
        )

    def most(n_neurons: int) -> int:
        used = max(1, min(n_layers, (n_neurons + 1) // 2))
        width, wider = divmod(n_neurons, used)
        return (width + 1) ** (used - wider) * (width + 2) ** wider

    low, high = 0, 1
    while most(high) < n_regions:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if most(middle) >= n_regions else (middle + 1, high)
    return low


@dataclass(frozen=True)
class ExpectedRegions:
    """Mean numbers of regions of random networks, as `expected_regions` returns them.

    Attributes
    ----------
    activation_regions : float
        Unbiased estimate of the mean number of activation regions.
    linear_regions : float
        Unbiased estimate of the mean number of linear regions.
    activation_error, linear_error : float
        Standard errors of these estimates. They are rather too large, because the places along the
        line are stratified.

    Examples
    --------
    >>> from skrelu.regions import expected_regions
    >>> expected = expected_regions([4], [[0.0], [1.0]], n_samples=10, random_state=0)
    >>> 1 <= expected.linear_regions <= 5
    True
    """

    activation_regions: float
    linear_regions: float
    activation_error: float
    linear_error: float


def _torch_default(fan_in: int):
    """Return the distribution of the weights and biases of a new `torch.nn.Linear`."""
    return uniform(-1 / sqrt(fan_in), 2 / sqrt(fan_in))


@isolated()
def expected_regions(
    widths: Iterable[int],
    points: ArrayLike,
    *,
    weights: Callable[[int], Any] = _torch_default,
    biases: Callable[[int], Any] = _torch_default,
    n_samples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> ExpectedRegions:
    r"""Estimate the mean number of regions of random networks along a polyline.

    .. math::
        1 + \sum_k \int E\big[\, |z_k'(t)| \; p_k(-z_k(t)) \; 1_k(t) \,\big] \, dt

    where the sum is over the neurons k, :math:`z_k` is the pre-activation without the neuron's
    bias, and :math:`p_k` is the density of this bias. For activation regions :math:`1_k = 1`. For
    linear regions :math:`1_k` is 1 if an active path leads from the neuron to the outputs, and else
    0, while the neuron's own output is 0, as it is where the neuron bends.

    Parameters
    ----------
    widths : iterable of int
        Number of neurons of each hidden layer, at least 1 each. At least one layer. The affine
        output layer may have any number of outputs.
    points : array-like of shape (n_points, n_inputs)
        Corners of the line in input space, two or more.
    weights, biases : callable, default=that of torch.nn.Linear
        Functions from the number of inputs of a neuron to the continuous distribution of its
        weights or bias, such as those of `scipy.stats`, with ``rvs`` and ``pdf``. All weights and
        biases are independent. The default is uniform between ``-1 / sqrt(fan_in)`` and
        ``1 / sqrt(fan_in)``.
    n_samples : int, default=1000
        Number of random networks, at least 2. Each is evaluated at one place on the line. The
        memory is 32 bytes for each network, and the weights of one network at a time.
    random_state : int, RandomState instance or None, default=None
        Determines the random networks and places. Pass an int for reproducible results.

    Returns
    -------
    ExpectedRegions
        Mean numbers of the regions that `regions_along` finds. Each corner ends an activation
        region, and also a linear region if the line turns there and an active path leads to the
        outputs.

    Raises
    ------
    ValueError
        If sizes or points are invalid or take more than about 1 GB, weights have no distribution,
        or biases have no density, for example if all are 0.

    References
    ----------
    B. Hanin, D. Rolnick, "Complexity of Linear Regions in Deep Networks", 2019,
    https://arxiv.org/abs/1901.09021.

    Examples
    --------
    >>> from skrelu.regions import expected_regions
    >>> regions = expected_regions([32] * 3, [[0.0], [1.0]], random_state=0)
    >>> round(regions.linear_regions), regions.linear_error < 1
    (22, True)
    """
    widths = checked_widths(widths)
    n_samples = checked_count(n_samples, "n_samples", least=2)
    rng = check_random_state(random_state)
    line = as_floats(points, "points")
    if line.ndim != 2 or len(line) < 2 or not line.shape[1]:
        raise ValueError(
            f"points has shape {line.shape}, but has to be finite, of shape (n_points, n_inputs), "
            "two or more."
        )
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    if not (lengths > 0).all():
        raise ValueError("points has a corner that follows itself; leave it out.")
    if not np.isfinite(lengths.sum()):
        raise ValueError("points are too far apart for float64; scale them.")
    directions = np.diff(line, axis=0) / lengths[:, None]  # (n_points - 1, n_inputs)
    turns = ~np.isclose(directions[1:], directions[:-1], rtol=0, atol=1e-9).all(1)
    fans = [line.shape[1], *widths[:-1]]
    largest = max(max(widths) * max(*fans, *widths), len(line) * max(widths))
    # A layer is evaluated at each corner, and where each of its neurons vanishes.
    held = 8 * (sum(np.multiply(fans, widths, dtype=float)) + 4 * largest)
    if max(held, 32 * n_samples) > MEMORY:
        raise ValueError(
            f"A network of widths={shown(widths)} on {len(line)} points takes about {held:.3g} "
            f"bytes, and n_samples={n_samples} of them {32 * n_samples}, more than {MEMORY} for "
            "one of these; ask for narrower networks, fewer points or samples."
        )
    if not all(hasattr(weights(fan_in), "rvs") if callable(weights) else False for fan_in in fans):
        raise ValueError(
            "weights has to be a function that gives a distribution for a fan_in, as in "
            "lambda fan_in: scipy.stats.norm(0, fan_in**-0.5)."
        )
    densities = [_density(biases, fan_in) for fan_in in fans]
    ends = np.cumsum(lengths)
    places = ends[-1] * (np.arange(n_samples) + rng.uniform(size=n_samples)) / n_samples
    counts = []  # (n_block, 2) each
    for block in np.array_split(places, min(n_samples, -(-n_samples * largest // BLOCK))):
        layers = [
            (
                weights(fan_in).rvs(size=(len(block), n, fan_in), random_state=rng),
                biases(fan_in).rvs(size=(len(block), n), random_state=rng),
            )
            for fan_in, n in zip(fans, widths, strict=True)
        ]
        piece = np.minimum(np.searchsorted(ends, block, side="right"), len(ends) - 1)
        inputs = line[1:][piece] - (ends[piece] - block)[:, None] * directions[piece]
        density = _breakpoint_density(layers, densities, inputs, directions[piece])
        corners = np.broadcast_to(line[1:-1][turns], (len(block), turns.sum(), line.shape[1]))
        bends = [np.full(len(block), len(line) - 2), _reach(layers, corners).sum(1)]
        counts.append(1 + ends[-1] * density + np.stack(bends, -1))
    sample = np.concatenate(counts)  # (n_samples, 2)
    errors = sample.std(0, ddof=1) / sqrt(n_samples)
    return ExpectedRegions(*sample.mean(0).tolist(), *errors.tolist())


def _density(biases: Any, fan_in: int) -> Callable[[Array], Array]:
    distribution: Any = biases(fan_in) if callable(biases) else None
    if hasattr(distribution, "pdf"):
        with np.errstate(all="ignore"):  # the distribution may have a scale of 0
            seen = distribution.pdf(distribution.rvs(size=8, random_state=0))
        if np.isfinite(seen).all():
            return distribution.pdf
    raise ValueError(
        "biases has to be a function that gives, for a fan_in, a distribution with a density, as "
        "in lambda fan_in: scipy.stats.norm(0, 0.1): where breakpoints "
        "are on average follows from random biases. Without, average over regions_along."
    )


def _breakpoint_density(
    layers: list[Layer],
    densities: list[Callable[[Array], Array]],
    values: Array,
    slopes: Array,
) -> Array:
    """Return all breakpoints per length, and those that reach the outputs, (n_draws, 2)."""
    density = np.zeros((len(values), 2))
    for depth, ((matrix, bias), own) in enumerate(zip(layers, densities, strict=True), 1):
        unbiased = np.einsum("dij,dj->di", matrix, values)  # (n_draws, width)
        slopes = np.einsum("dij,dj->di", matrix, slopes)
        each = np.abs(slopes) * own(-unbiased)
        values = np.maximum(unbiased + bias, 0)
        slopes = np.where(values > 0, slopes, 0)
        # A neuron is 0 where it bends, whatever its value with the drawn bias.
        others = values[:, None] * (1 - np.eye(values.shape[1]))  # (n_draws, width, width)
        reached = each * _reach(layers[depth:], others)
        density += np.stack([each.sum(1), reached.sum(1)], -1)
    return density


def _reach(layers: list[Layer], values: Array) -> NDArray[np.bool_]:
    """Return whether all layers have an active neuron, (n_draws, n), for (n_draws, n, fan_in).

    Then an active path exists: weights drawn from densities, and sums over their paths, are not 0.
    """
    reach = np.ones(values.shape[:2], bool)
    for matrix, bias in layers:
        values = np.maximum(values @ matrix.transpose(0, 2, 1) + bias[:, None], 0)
        reach &= values.any(-1)
    return reach


def checked_widths(widths: Iterable[int]) -> list[int]:
    """Return widths as a list of positive ints, or raise an error."""
    if not isinstance(widths, Iterable):
        raise ValueError(
            f"widths={shown(widths)} has to list the neurons of each hidden layer, as in [4, 4]."
        )
    given = list(islice(widths, MOST_LAYERS + 1))
    if len(given) > MOST_LAYERS:
        raise ValueError(f"widths lists more than {MOST_LAYERS} layers; give fewer.")
    if not given:
        raise ValueError("widths is empty; give the neurons of each hidden layer, as in [4, 4].")
    counts = []
    for width in given:
        count = as_integer(width)
        if count is None or count < 1:
            raise ValueError(
                f"widths has {shown(width)} in it; each has to be an integer, 1 or more."
            )
        counts.append(count)
    return counts
