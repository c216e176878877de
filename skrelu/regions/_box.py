r"""All regions of a network in a box of few dimensions.

Activation regions are the cells that all neurons leave of the box, see `_cells`. A facet of a cell
is known by the neurons that vanish on it and those of the others that are active: where these
hold the network is affine, so they hold on a convex set, and two cells with a facet of one name
share it. Linear regions are the components of cells that are connected by such facets between
cells whose outputs have the same slopes,

.. math::
    J = W_L D_{L-1} W_{L-1} \cdots D_1 W_1,

to within the rounding errors of that product; continuity makes the intercepts the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log10

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from skrelu.regions._cells import BLOCK, GREATEST, TOO_GREAT, Bools, Cells, Indices, places
from skrelu.regions._layers import Array, Layers, layers_of
from skrelu.regions._theory import checked_count
from skrelu.regions._theory import max_regions as most_regions

# Cells have about 2^n_features vertices, too many to hold for more features.
MAX_FEATURES = 8


@dataclass(frozen=True, eq=False, repr=False)
class BoxRegions:
    """A network in a box, region by region.

    *Activation regions* are the sets in which the same neurons are active; they are convex.
    *Linear regions* are those in which the outputs are one affine function: activation regions
    that share a facet and have the same function belong to one.

    Attributes
    ----------
    patterns : ndarray of shape (n_activation_regions, n_neurons), bool
        Which hidden neurons are active, layer after layer. No two rows are the same.
    vertices : list of ndarray of shape (n_vertices, n_features)
        Corners of each activation region, in no order.
    gradients : ndarray of shape (n_activation_regions, n_outputs, n_features)
        Slopes of the outputs.
    intercepts : ndarray of shape (n_activation_regions, n_outputs)
        The outputs are ``gradients @ x + intercepts``.
    linear_regions : ndarray of shape (n_activation_regions,), int
        Number of the linear region that each activation region is a part of, from 0 on.
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
    def centers(self) -> Array:
        """A point inside each activation region, (n_activation_regions, n_features)."""
        return np.stack([corners.mean(0) for corners in self.vertices])

    @cached_property
    def volumes(self) -> Array:
        """Volume of each activation region, (n_activation_regions,).

        Computed when asked for, by Qhull: in 5 dimensions a millisecond each, in 8 seconds.
        """
        return np.array([_volume(corners) for corners in self.vertices])


def regions_in_box(
    model, lower: ArrayLike, upper: ArrayLike, *, max_regions: int = 100_000
) -> BoxRegions:
    """Find all regions of a ReLU network in a box.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        As for `regions_along`, of at most 8 features.
    lower, upper : array-like of shape (n_features,)
        Corners of the box, in the units of the data.
    max_regions : int, default=100_000
        Activation regions to hold at most.

    Returns
    -------
    BoxRegions
        Those with an interior: hyperplanes that coincide or only touch make no regions.

    Raises
    ------
    TypeError
        If the model cannot be read.
    ValueError
        If the model cannot be read, the box does not fit it, has more than 8 dimensions or more
        than `max_regions` activation regions, `max_regions` is not a positive integer, or values
        overflow.

    Notes
    -----
    The cost is that of `n_neurons` evaluations at the vertices of all regions, about
    ``2**n_features`` each. Regions narrower than about 1e-9 of the one that a layer divides are not
    told from none; `regions_along` tells far narrower ones, along lines. In a box further than 1e5
    times its half-width from 0, in any feature, the rounding of inputs hides wider ones. Where
    hyperplanes that meet in a point are nearly dependent, rounding may leave slivers between them.

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
    max_regions = checked_count(max_regions, "max_regions")
    layers, middle, half = in_cube(layers_of(model), lower, upper)
    d = layers.n_features
    if d > MAX_FEATURES:
        raise ValueError(
            f"A box of {d} features has 2**{d} = {2**d} corners, and each of its regions about as "
            f"many, too many to hold above {MAX_FEATURES}; use estimate_regions, or "
            "regions_along lines."
        )
    blocks = _divided(layers, middle / half, max_regions)
    outputs = zip(*(cells.outputs() for cells in blocks), strict=True)
    maps, slacks = (np.concatenate(parts) for parts in outputs)
    with np.errstate(over="ignore", invalid="ignore"):
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


def in_cube(layers: Layers, lower: ArrayLike, upper: ArrayLike) -> tuple[Layers, Array, Array]:
    """Return the network of u in [-1, 1]^d, where x = middle + half * u, middle and half."""
    low, high = np.asarray(lower, float), np.asarray(upper, float)
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
    with np.errstate(over="ignore", invalid="ignore"):  # refused when they are added up
        matrices = [matrix * half, *layers.matrices[1:]]
        biases = [bias + matrix @ middle, *layers.biases[1:]]
    return replace(layers, matrices=matrices, biases=biases), middle, half


def _divided(layers: Layers, offsets: Array, max_regions: int) -> list[Cells]:
    """Divide the cube by all neurons, as blocks of cells that are halved when they get large."""
    n_neurons = len(places(layers))
    waiting, done = [Cells.cube(layers, offsets)], list[Cells]()
    while waiting:
        cells = waiting.pop()
        n_others = sum(map(len, waiting + done))
        while cells.neuron < n_neurons and (len(cells.points) <= BLOCK or len(cells) == 1):
            cells.divide()
            if n_others + len(cells) > max_regions:
                raise ValueError(_refusal(layers, max_regions))
        if cells.neuron == n_neurons:
            done.append(cells)
        else:
            waiting += [cells.take(part) for part in np.array_split(np.arange(len(cells)), 2)]
    return done


def _refusal(layers: Layers, limit: int) -> str:
    bound = most_regions(map(len, layers.biases[:-1]), layers.n_features)
    most = bound if bound < 10**9 else f"10**{ceil(log10(bound))}"
    return (
        f"There are more than max_regions={limit} activation regions in the box (no network of "
        f"these widths has more than {most}); raise max_regions, take a smaller box, or use "
        "estimate_regions."
    )


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
    # Qhull calls narrow regions flat; stretched along their principal axes none is narrow.
    stretched, axes, _ = np.linalg.svd(corners - corners.mean(0), full_matrices=False)
    try:
        hull = ConvexHull(stretched)
    except QhullError:  # vertices with many edges; joggling them by 1e-11 helps
        hull = ConvexHull(stretched, qhull_options="QJ")
    with np.errstate(over="ignore"):
        return float(hull.volume * axes.prod())
