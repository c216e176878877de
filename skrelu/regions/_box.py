r"""All regions of a network in a box of few dimensions.

Activation regions are the cells into which all neurons divide the box, see `_cells`. The name of a
facet of a cell is the set of neurons that vanish on it, and the set of other neurons that are
active. Where both sets stay the same the network is affine, so this place is convex. Two cells that
have facets of the same name therefore share this facet. Two neighbouring cells belong to one linear
region if their outputs have the same slopes,

.. math::
    J = W_L D_{L-1} W_{L-1} \cdots D_1 W_1,

up to the rounding errors of that product. Their intercepts are then the same by continuity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log10

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from skrelu._data.torch_interop import isolated
from skrelu.regions._cells import BLOCK, GREATEST, TOO_GREAT, Bools, Cells, Indices
from skrelu.regions._checks import Array, as_floats, region_limit, too_many
from skrelu.regions._layers import Layers, layers_of
from skrelu.regions._theory import max_regions as most_regions

# Largest number of features. A cell has about 2^n_features vertices.
MAX_FEATURES = 8
# Default of max_regions, if that many regions fit in memory.
MOST = 100_000
# Largest number of neurons for which messages have the upper bound of `max_regions`.
MOST_BOUNDED = 10_000


@dataclass(frozen=True, eq=False, repr=False)
class BoxRegions:
    """The regions of a network in a box, as `regions_in_box` returns them.

    *Activation regions* are the convex sets in which the same neurons are active. *Linear regions*
    are the connected sets on which the outputs are one affine function. Activation regions that
    share a facet and have the same affine function belong to one linear region.

    Attributes
    ----------
    patterns : ndarray of shape (n_activation_regions, n_neurons), bool
        Whether each hidden neuron is active, layer after layer. No two rows are the same.
    vertices : list of ndarray of shape (n_vertices, n_features)
        Corners of each activation region, in no order.
    gradients : ndarray of shape (n_activation_regions, n_outputs, n_features)
        Slopes of the outputs.
    intercepts : ndarray of shape (n_activation_regions, n_outputs)
        Intercepts of the outputs: these are ``gradients @ x + intercepts``.
    linear_regions : ndarray of shape (n_activation_regions,), int
        Index of the linear region to which each activation region belongs.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_in_box
    >>> network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1))
    >>> with torch.no_grad():  # max(x, 0)
    ...     for part in network.parameters():
    ...         _ = part.fill_(float(part.ndim == 2))
    >>> regions = regions_in_box(network, [-1], [3])
    >>> sorted(regions.volumes.tolist()), sorted(regions.centers.ravel().tolist())
    ([1.0, 3.0], [-0.5, 1.5])
    """

    patterns: Bools
    vertices: list[Array]
    gradients: Array
    intercepts: Array
    linear_regions: Indices

    def __repr__(self) -> str:
        return (
            f"BoxRegions(n_activation_regions={self.n_activation_regions}, "
            f"n_linear_regions={self.n_linear_regions}, n_features={self.gradients.shape[-1]})"
        )

    @property
    def n_activation_regions(self) -> int:
        """Number of activation regions."""
        return len(self.patterns)

    @property
    def n_linear_regions(self) -> int:
        """Number of linear regions."""
        return 1 + int(self.linear_regions.max())

    @cached_property
    @isolated()
    def centers(self) -> Array:
        """A point in each activation region, (n_activation_regions, n_features)."""
        return np.stack([corners.mean(0) for corners in self.vertices])

    @cached_property
    @isolated()
    def volumes(self) -> Array:
        """Volume of each activation region, (n_activation_regions,).

        Qhull computes them at the first access. A volume takes a millisecond in 5 dimensions and
        seconds in 8.
        """
        return np.array([_volume(corners) for corners in self.vertices])


@isolated()
def regions_in_box(
    model, lower: ArrayLike, upper: ArrayLike, *, max_regions: int | str = "auto"
) -> BoxRegions:
    """Find all regions of a ReLU network in a box.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        Network to read, with at most 8 features, see `regions_along`.
    lower, upper : array-like of shape (n_features,)
        Corners of the box, in the units of the data.
    max_regions : int or "auto", default="auto"
        Maximum number of activation regions, at least 1. With more, an error is raised. "auto" is
        100 000, or as many as take about 1 GB if these are fewer, as they are from 7 features on.

    Returns
    -------
    BoxRegions
        All regions with an interior.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If the model cannot be read, the box does not match it, the box has more than 8 dimensions
        or more than `max_regions` activation regions, `max_regions` is not a positive integer, or
        values overflow.

    Notes
    -----
    The cost is that of `n_neurons` evaluations at the vertices of all regions. A region has about
    ``2**n_features`` vertices. Regions narrower than about 1e-9 of the region that a layer divides
    are not found; `regions_along` finds far narrower ones along lines. If a box is further than 1e5
    times its half-width from 0 in any feature, the rounding of inputs hides wider regions, too. If
    the hyperplanes that meet in a point are nearly dependent, rounding may leave slivers between
    them.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_in_box
    >>> cross = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with torch.no_grad():  # max(x, 0) + max(y, 0)
    ...     cross[0].weight[:] = torch.eye(2)
    ...     cross[2].weight[:] = 1.0
    ...     _ = cross[0].bias.zero_(), cross[2].bias.zero_()
    >>> regions = regions_in_box(cross, [-1, -1], [3, 1])
    >>> regions.n_activation_regions, regions.n_linear_regions
    (4, 4)
    >>> sorted(regions.volumes.round(9).tolist())
    [1.0, 1.0, 3.0, 3.0]
    """
    layers, middle, half, offsets = in_cube(layers_of(model), lower, upper)
    d = layers.n_features
    if d > MAX_FEATURES:
        raise ValueError(
            f"A box of {d} features has 2**{d} = {2**d} corners, and each of its regions about as "
            f"many, too many to hold above {MAX_FEATURES}; use estimate_regions, or "
            "regions_along lines."
        )
    bytes_each = Cells.bytes_each(layers) + 24 * layers.n_outputs * (d + 1)
    limit = region_limit(max_regions, MOST, bytes_each)
    blocks = _divided(layers, offsets, limit)
    if blocks is None:
        place = f"in the box{_bound(layers)}"
        raise too_many(limit, bytes_each, place, "take a smaller box, or use estimate_regions")
    outputs = zip(*(cells.outputs() for cells in blocks), strict=True)
    maps, slacks = (np.concatenate(parts) for parts in outputs)
    gradients = maps[..., :-1] / half
    intercepts = maps[..., -1] - gradients @ middle
    if not np.isfinite(intercepts).all() or not np.isfinite(gradients).all():
        raise ValueError(TOO_GREAT)
    return BoxRegions(
        patterns=np.concatenate([cells.patterns for cells in blocks]),
        vertices=[middle + half * corners for cells in blocks for corners in cells.corners()],
        gradients=gradients,
        intercepts=intercepts,
        linear_regions=_linear_regions(blocks, maps[..., :-1], slacks),
    )


def in_cube(
    layers: Layers, lower: ArrayLike, upper: ArrayLike
) -> tuple[Layers, Array, Array, Array]:
    """Return the network as a function of u in [-1, 1]^d, where x = middle + half * u.

    Returns
    -------
    layers : Layers
    middle, half : ndarray of shape (d,)
    offsets : ndarray of shape (d,)
        Distances of middle from the network's center, in units of half.
    """
    low, high = as_floats(lower, "lower", finite=False), as_floats(upper, "upper", finite=False)
    d = layers.n_features
    for name, corner in (("lower", low), ("upper", high)):
        if corner.shape != (d,):
            raise ValueError(
                f"{name} has shape {corner.shape}, but has to be ({d},): the model reads that "
                "many features."
            )
        if not np.isfinite(corner).all():
            raise ValueError(f"{name} has to be finite; give a box that holds the data.")
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    if not (half > 0).all():
        raise ValueError("lower has to be less than upper in every feature.")
    if max(np.abs(low).max(), np.abs(high).max()) > GREATEST:
        raise ValueError(TOO_GREAT)
    matrix, bias = layers.matrices[0], layers.biases[0]
    matrices = [matrix * half, *layers.matrices[1:]]
    biases = [bias + matrix @ (middle - layers.center), *layers.biases[1:]]
    offsets = (middle - layers.center) / half
    return Layers(matrices, biases, layers.leaks), middle, half, offsets


def _divided(layers: Layers, offsets: Array, limit: int) -> list[Cells] | None:
    """Divide the cube by all neurons; None if there are more cells than the limit.

    Cells form blocks, which are halved when they get large.
    """
    n_neurons = layers.n_neurons
    waiting, done = [Cells.cube(layers, offsets)], list[Cells]()
    while waiting:
        cells = waiting.pop()
        n_others = sum(map(len, waiting + done))
        while cells.neuron < n_neurons and (cells.size <= BLOCK or len(cells) == 1):
            cells.divide()
            if n_others + len(cells) > limit:
                return None
        if cells.neuron == n_neurons:
            done.append(cells)
        else:
            waiting += [cells.take(part) for part in np.array_split(np.arange(len(cells)), 2)]
    return done


def _bound(layers: Layers) -> str:
    if layers.n_neurons > MOST_BOUNDED:
        return ""
    bound = most_regions(layers.widths, layers.n_features)
    most = bound if bound < 10**9 else f"10**{ceil(log10(bound))}"
    return f" (no network of these widths has more than {most})"


def _linear_regions(blocks: list[Cells], gradients: Array, slacks: Array) -> Indices:
    """Label the connected unions of cells that have the same gradients."""
    firsts = np.cumsum([0, *map(len, blocks[:-1])])
    facets = [block.facets() for block in blocks]
    cell = np.concatenate([at + first for (at, _), first in zip(facets, firsts, strict=True)])
    names = np.concatenate([name for _, name in facets])
    order = np.lexsort(names.T)
    cell, names = cell[order], names[order]
    met = (names[1:] == names[:-1]).all(1)
    one, other = cell[:-1][met], cell[1:][met]
    change = np.abs(gradients[one] - gradients[other])
    same = (change <= np.maximum(slacks[one], slacks[other])).all((1, 2))
    n_cells = len(gradients)
    joined = coo_array((same[same], (one[same], other[same])), (n_cells, n_cells))
    return connected_components(joined, directed=False)[1]


def _volume(corners: Array) -> float:
    if corners.shape[1] == 1:
        return float(np.ptp(corners))
    # Qhull refuses narrow regions, so they are stretched along their principal axes.
    stretched, axes, _ = np.linalg.svd(corners - corners.mean(0), full_matrices=False)
    try:
        hull = ConvexHull(stretched)
    except QhullError:  # at vertices with many edges; joggling by 1e-11 helps
        hull = ConvexHull(stretched, qhull_options="QJ")
    return float(hull.volume * axes.prod())
