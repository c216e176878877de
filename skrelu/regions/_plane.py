"""Regions of a network in a plane: a rectangle is divided by one neuron after another.

On each convex polygon all neurons up to a layer are affine. So their values at the vertices
determine them, and a polygon is divided where a neuron of the next layer changes sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import Array, as_floats, as_number, region_limit, too_many
from skrelu.regions._layers import Layers, layers_of
from skrelu.regions._line import ROUNDING, TIE
from skrelu.regions._mesh import Indices, Mesh, divide, largest, rectangle

# Default of max_regions, if that many regions fit in memory.
MOST = 1_000_000


@dataclass(frozen=True, eq=False, repr=False)
class PlaneRegions:
    """The regions of a network in a rectangle of a plane, as `regions_in_plane` returns them.

    *Activation regions* are the convex polygons on which the same neurons are active. *Linear
    regions* are the connected sets on which the outputs are one affine function. Neighbouring
    activation regions with the same affine function belong to one linear region.

    Attributes
    ----------
    vertices : ndarray of shape (n_vertices, 2)
        Corners of the polygons, in coordinates of the plane.
    patterns : ndarray of shape (n_activation_regions, n_neurons), bool
        Whether each hidden neuron is active, layer after layer.
    gradients : ndarray of shape (n_activation_regions, n_outputs, 2)
        Slopes of the outputs along the coordinates of the plane.
    intercepts : ndarray of shape (n_activation_regions, n_outputs)
        Intercepts of the outputs: these are ``gradients @ position + intercepts``.
    values : ndarray of shape (n_vertices, n_outputs)
        Outputs at the vertices.
    linear_regions : ndarray of shape (n_activation_regions,), int
        Index of the linear region to which each activation region belongs.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_in_plane
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1))
    >>> with torch.no_grad():  # max(x + y, 0)
    ...     for part in network.parameters():
    ...         _ = part.fill_(float(part.ndim == 2))
    >>> regions = regions_in_plane(network, [-1, -1], [1, 1])
    >>> regions.n_linear_regions, regions.decision_boundary(level=1.0).shape
    (2, (1, 2, 2))
    """

    vertices: Array
    patterns: NDArray[np.bool_]
    gradients: Array
    intercepts: Array
    values: Array
    linear_regions: Indices
    _mesh: Mesh

    def __repr__(self) -> str:
        return (
            f"PlaneRegions(n_activation_regions={self.n_activation_regions}, "
            f"n_linear_regions={self.n_linear_regions}, n_outputs={self.values.shape[1]})"
        )

    @property
    def n_activation_regions(self) -> int:
        """Number of activation regions."""
        return len(self.patterns)

    @property
    def n_linear_regions(self) -> int:
        """Number of linear regions."""
        return int(self.linear_regions.max()) + 1

    @cached_property
    @isolated()
    def polygons(self) -> list[Array]:
        """Corners of each activation region, counterclockwise, a list of (n_corners, 2)."""
        return self._mesh.polygons

    @cached_property
    @isolated()
    def areas(self) -> Array:
        """Areas of the activation regions, (n_activation_regions,)."""
        return self._mesh.areas

    @cached_property
    @isolated()
    def centroids(self) -> Array:
        """Centroids of the activation regions, (n_activation_regions, 2)."""
        return self._mesh.centroids

    @cached_property
    @isolated()
    def boundaries(self) -> Array:
        """Line segments between linear regions, (n_segments, 2, 2): segment, end, coordinate."""
        return _between(self._mesh, self.linear_regions)

    @isolated()
    def decision_boundary(self, level: float = 0.0, *, max_regions: int | str = "auto") -> Array:
        """Return the line segments where decisions change.

        Parameters
        ----------
        level : float, default=0.0
            Level of the decision with a single output, which is whether the output is above
            ``level``: 0 for a logit, 1/2 for a regression of 0 and 1. With several outputs the
            largest one decides, the first of equal ones, and ``level`` must be 0.
        max_regions : int or "auto", default="auto"
            Maximum number of polygons, at least 1. Activation regions are divided into them where
            any two outputs are equal. With more, an error is raised. "auto" is as many as take
            about 1 GB. A polygon takes 64 bytes for each pair of outputs.

        Returns
        -------
        ndarray of shape (n_segments, 2, 2)
            Line segments: segment, end, coordinate in the plane.

        Raises
        ------
        ValueError
            If the level is not finite, or not 0 with several outputs, or there are more than
            `max_regions` polygons.
        """
        return _between(*self._decided(level, max_regions))

    @isolated()
    def decision_regions(
        self, level: float = 0.0, *, max_regions: int | str = "auto"
    ) -> tuple[list[Array], Indices]:
        """Return the regions of equal decisions, as parts of activation regions.

        Parameters
        ----------
        level : float, default=0.0
            Level of the decision with a single output, see `decision_boundary`.
        max_regions : int or "auto", default="auto"
            Maximum number of polygons, see `decision_boundary`.

        Returns
        -------
        polygons : list of ndarray of shape (n_corners, 2)
            Corners of the polygons.
        decisions : ndarray of shape (n_polygons,), int
            Index of the largest output; with a single output 1 above the level and 0 below.
        """
        mesh, decisions = self._decided(level, max_regions)
        return mesh.polygons, decisions

    def _decided(self, level: float, max_regions: int | str) -> tuple[Mesh, Indices]:
        n_outputs = self.values.shape[1]
        level = as_number(level, "level", finite=False)
        if not np.isfinite(level) or (n_outputs > 1 and level != 0):
            raise ValueError(
                f"level={level} has to be finite, and 0 with several outputs: there are "
                f"{n_outputs}, of which the largest decides."
            )
        bytes_each = 64 * max(1, n_outputs * (n_outputs - 1) // 2) + 200
        limit = region_limit(max_regions, MOST, bytes_each)
        refusal = too_many(
            limit,
            bytes_each,
            f"where decisions of {n_outputs} outputs divide them",
            "take a smaller rectangle",
        )
        if self.n_activation_regions > limit:
            raise refusal
        if n_outputs == 1:
            one, other = self.values.T, np.full((1, len(self.values)), level)
        else:
            first, second = np.triu_indices(n_outputs, 1)
            one, other = self.values.T[first], self.values.T[second]
        differences = one - other
        differences[np.abs(differences) <= ROUNDING * (np.abs(one) + np.abs(other))] = 0
        mesh, differences, parents = divide(self._mesh, differences, TIE, limit)
        if len(parents) > limit:
            raise refusal
        if n_outputs == 1:
            return mesh, (largest(mesh, differences)[0] > 0).astype(np.intp)
        below = largest(mesh, -differences) > 0  # (n_pairs, n_polygons)
        wins = np.zeros((n_outputs, below.shape[1]), np.intp)
        np.add.at(wins, first, ~below)
        np.add.at(wins, second, below)
        return mesh, wins.argmax(0)


@isolated()
def regions_in_plane(
    model,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    origin: ArrayLike | None = None,
    axes: ArrayLike | None = None,
    max_regions: int | str = "auto",
) -> PlaneRegions:
    r"""Find all regions of a ReLU network in a rectangle of a plane.

    The plane is the set of inputs :math:`x = o + u a_1 + v a_2`.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        Network to read, see `regions_along`. It is evaluated in float64.
    lower, upper : array-like of shape (2,)
        Corners of the rectangle, in the coordinates (u, v).
    origin : array-like of shape (n_features,), default=None
        Origin o of the plane. None is 0.
    axes : array-like of shape (2, n_features), default=None
        Directions a of u and v. None is the two features of a model with two features.
    max_regions : int or "auto", default="auto"
        Maximum number of activation regions, at least 1. With more, an error is raised. "auto" is a
        million, or as many as take about 1 GB if these are fewer, as they are from 10 neurons a
        layer on. A million regions with 100 neurons a layer take about 10 GB.

    Returns
    -------
    PlaneRegions
        All regions in the rectangle.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If the model cannot be read, the rectangle or the plane does not match it, values overflow,
        there are more regions than `max_regions`, or it is not a positive integer.

    Notes
    -----
    A neuron that vanishes nearer to a vertex than 1e-9 of an edge vanishes at the vertex. So lines
    that meet in a point up to rounding do meet there. Networks are read in the units of the data.
    If the data are far from 0, ten thousand times their spread or more, rounding in the first layer
    may add or lose regions.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_in_plane
    >>> cross = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with torch.no_grad():  # max(x, 0) + max(y, 0)
    ...     cross[0].weight[:] = torch.eye(2)
    ...     _ = cross[0].bias.zero_(), cross[2].weight.fill_(1.0), cross[2].bias.zero_()
    >>> regions = regions_in_plane(cross, [-1, -1], [1, 1])
    >>> regions.n_activation_regions, regions.areas
    (4, array([1., 1., 1., 1.]))
    """
    layers = layers_of(model)
    lower, upper = (
        as_floats(corner, name, finite=False)
        for name, corner in (("lower", lower), ("upper", upper))
    )
    if lower.shape != (2,) or upper.shape != (2,):
        raise ValueError(
            f"lower and upper have shapes {lower.shape} and {upper.shape}, but have to be two "
            "coordinates in the plane each."
        )
    if not (np.isfinite([lower, upper]).all() and (lower < upper).all()):
        raise ValueError("lower and upper have to be finite, and lower below upper.")
    n = layers.n_features
    if axes is None:
        if n != 2:
            raise ValueError(
                f"The model reads {n} features; give the plane as origin and axes, of shapes "
                f"({n},) and (2, {n})."
            )
        axes = np.eye(2)
    directions = as_floats(axes, "axes", finite=False)
    start = np.zeros(n) if origin is None else as_floats(origin, "origin", finite=False)
    if directions.shape != (2, n) or start.shape != (n,):
        raise ValueError(
            f"origin and axes have shapes {start.shape} and {directions.shape}, but have to be "
            f"({n},) and (2, {n})."
        )
    finite = np.isfinite(start).all() and np.isfinite(directions).all()
    sizes = np.abs(directions).max(1, keepdims=True)
    if not finite or not sizes.all() or np.linalg.matrix_rank(directions / sizes) < 2:
        raise ValueError("origin and axes have to be finite, and axes two different directions.")
    # Memory of the values and affine maps of a layer's neurons while polygons are divided.
    bytes_each = 100 * layers.largest + layers.n_neurons + 24 * layers.n_outputs
    limit = region_limit(max_regions, MOST, bytes_each)
    regions = _propagate(layers, rectangle(lower, upper), start, directions, limit)
    if regions is None:
        raise too_many(limit, bytes_each, "in the plane", "take a smaller rectangle")
    if not (np.isfinite(regions.values).all() and np.isfinite(regions.gradients).all()):
        raise ValueError("Values of the network overflow; scale it, or take a smaller rectangle.")
    return regions


def _propagate(
    layers: Layers, mesh: Mesh, origin: Array, axes: Array, limit: int
) -> PlaneRegions | None:
    """Divide the mesh by all layers; None if there are more polygons than the limit."""
    origin = origin - layers.center
    values = (origin + mesh.vertices @ axes).T  # (n_neurons, n_vertices)
    maps = np.concatenate([axes.T, origin[:, None]], 1)[None]  # (n_polygons, n_neurons, 3)
    patterns = np.zeros((0, 1), bool)  # (n_neurons, n_polygons)
    *hidden, (matrix, bias) = zip(layers.matrices, layers.biases, strict=True)
    for (inner, offset), leak in zip(hidden, layers.leaks, strict=True):
        sums = np.abs(inner) @ np.abs(values) + np.abs(offset)[:, None]
        values = inner @ values + offset[:, None]
        values[np.abs(values) <= ROUNDING * sums] = 0
        mesh, values, parents = divide(mesh, values, TIE, limit)
        if len(parents) > limit:
            return None
        active = largest(mesh, values) > 0
        patterns = np.concatenate([patterns[:, parents], active])
        values = np.maximum(values, leak * values)
        maps = _affine(inner, offset, maps)[parents] * np.where(active.T, 1, leak)[..., None]
    maps, sizes = _affine(matrix, bias, maps), np.abs(matrix) @ np.abs(maps[..., :2]).max(-1).T
    _, sides = mesh.edges()
    change = np.abs(maps[sides[:, 0], :, :2] - maps[sides[:, 1], :, :2]).max(-1)
    tolerance = len(layers.matrices) * ROUNDING * np.maximum(*(sizes.T[s] for s in sides.T))
    same = sides[(change <= tolerance).all(1)]
    n = patterns.shape[1]
    graph = coo_array((np.ones(len(same)), tuple(same.T)), shape=(n, n))
    return PlaneRegions(
        vertices=mesh.vertices,
        patterns=patterns.T,
        gradients=maps[..., :2],
        intercepts=maps[..., 2],
        values=(matrix @ values + bias[:, None]).T,
        linear_regions=connected_components(graph, directed=False)[1],
        _mesh=mesh,
    )


def _affine(matrix: Array, bias: Array, maps: Array) -> Array:
    """Apply a layer to affine maps."""
    after = matrix @ maps
    after[..., 2] += bias
    return after


def _between(mesh: Mesh, labels: NDArray) -> Array:
    """Return the edges between polygons with different labels, (n_segments, 2, 2)."""
    ends, sides = mesh.edges()
    return mesh.vertices[ends[labels[sides[:, 0]] != labels[sides[:, 1]]]]
