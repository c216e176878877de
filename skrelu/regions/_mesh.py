"""Meshes of convex polygons that share vertices, divided along lines.

Neighbouring polygons share vertices, and an edge is divided for both of its polygons at once. So a
mesh has no gaps or overlaps, in spite of rounding errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skrelu.regions._checks import Array

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Mesh:
    """Polygons with counterclockwise corners, one polygon after the other."""

    vertices: Array  # (n_vertices, 2)
    corners: Indices  # (n_corners,), indices of vertices
    sizes: Indices  # (n_polygons,), numbers of corners

    @property
    def begins(self) -> Indices:
        """First corner of each polygon, (n_polygons,)."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def owners(self) -> Indices:
        """Polygon of each corner, (n_corners,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def following(self) -> Indices:
        """Next corner of the same polygon, (n_corners,)."""
        return _following(self.begins, self.sizes)

    @property
    def polygons(self) -> list[Array]:
        """Corners of each polygon, a list of (n_corners, 2)."""
        return np.split(self.vertices[self.corners], self.begins[1:])

    @property
    def areas(self) -> Array:
        """Areas of the polygons, (n_polygons,)."""
        return _moments(self)[0]

    @property
    def centroids(self) -> Array:
        """Centroids of the polygons, (n_polygons, 2)."""
        return _moments(self)[1]

    def edges(self) -> tuple[Indices, Indices]:
        """Return the edges that two polygons share.

        Returns
        -------
        ends : ndarray of shape (n_edges, 2)
            Indices of the vertices.
        sides : ndarray of shape (n_edges, 2)
            Indices of the polygons.
        """
        ends = np.stack([self.corners, self.corners[self.following]], -1)
        ends.sort(axis=1)
        order = np.lexsort(ends.T)
        ends, owners = ends[order], self.owners[order]
        twice = (ends[1:] == ends[:-1]).all(1).nonzero()[0]
        return ends[twice], np.stack([owners[twice], owners[twice + 1]], -1)


def rectangle(lower: Array, upper: Array) -> Mesh:
    """Return a mesh of one rectangle."""
    (left, bottom), (right, top) = lower, upper
    vertices = np.array([[left, bottom], [right, bottom], [right, top], [left, top]], float)
    return Mesh(vertices, np.arange(4), np.array([4]))


def divide(
    mesh: Mesh, values: Array, tie: float, max_polygons: float = np.inf
) -> tuple[Mesh, Array, Indices]:
    """Divide polygons along the lines where functions are zero, one function after the other.

    Parameters
    ----------
    mesh : Mesh
    values : ndarray of shape (n_functions, n_vertices)
        Values of the functions at the vertices. Each function is affine on every polygon.
    tie : float
        Tolerance at vertices, relative to an edge: a function that is zero closer to a vertex is
        zero at this vertex.
    max_polygons : float, default=inf
        Number of polygons above which the division stops.

    Returns
    -------
    mesh : Mesh
        The divided mesh. Its first vertices are the old ones.
    values : ndarray of shape (n_functions, n_vertices)
        Values at its vertices. No function has both signs on a polygon, unless the division
        stopped.
    parents : ndarray of shape (n_polygons,)
        The old polygon to which each new one belongs.
    """
    room, n = values.copy(), values.shape[1]
    parents = np.arange(len(mesh.sizes))
    for function in range(len(values)):
        mesh, more, divided = _divide_by(mesh, room[:, :n], function, tie)
        parents = parents[divided]
        if len(parents) > max_polygons:
            break
        if n + more.shape[1] > room.shape[1]:
            room = np.pad(room, [(0, 0), (0, n + more.shape[1])])
        room[:, n : n + more.shape[1]] = more
        n += more.shape[1]
    return mesh, room[:, :n], parents


def largest(mesh: Mesh, values: Array) -> Array:
    """Return the largest values at the corners of each polygon, (n_functions, n_polygons)."""
    begins = mesh.begins
    return np.stack([np.maximum.reduceat(row[mesh.corners], begins) for row in values])


def _divide_by(mesh: Mesh, values: Array, function: int, tie: float) -> tuple[Mesh, Array, Indices]:
    """Divide polygons where a function changes sign; return values at the new vertices.

    Where the function is zero up to rounding, it is set to zero in place.
    """
    z = values[function]
    at, begins = z[mesh.corners], mesh.begins
    crossed = (np.maximum.reduceat(at, begins) > 0) & (np.minimum.reduceat(at, begins) < 0)
    if not crossed.any():
        return mesh, values[:, :0], np.arange(len(mesh.sizes))
    part = _taken(mesh, crossed)
    _snap(part, z, tie)
    while True:
        cut, vertices, more = _cut_edges(part, values, function)
        extended = np.append(z, more[function])
        above, below = _turns(cut, extended)
        if (np.maximum(above, below) <= 1).all():
            break
        for polygon in (np.maximum(above, below) > 1).nonzero()[0]:
            _make_convex(part, z, int(polygon))
    halved = (above == 1) & (below == 1)
    first, second = _halves(_taken(cut, halved), extended)
    parts = (_taken(mesh, ~crossed), _taken(cut, ~halved), first, second)
    divided = Mesh(
        vertices,
        np.concatenate([piece.corners for piece in parts]),
        np.concatenate([piece.sizes for piece in parts]),
    )
    parents, others = crossed.nonzero()[0], (~crossed).nonzero()[0]
    owners = others, parents[~halved], parents[halved], parents[halved]
    return divided, more, np.concatenate(owners)


def _following(begins: Indices, sizes: Indices) -> Indices:
    following = np.arange(1, sizes.sum() + 1)
    following[begins + sizes - 1] = begins
    return following


def _moments(mesh: Mesh) -> tuple[Array, Array]:
    begins = mesh.begins
    points = mesh.vertices[mesh.corners]
    first = points[begins]
    points = points - np.repeat(first, mesh.sizes, axis=0)
    x, y = points.T
    u, v = points[mesh.following].T
    doubled = x * v - u * y
    area = np.add.reduceat(doubled, begins) / 2
    sums = np.add.reduceat(np.stack([(x + u) * doubled, (y + v) * doubled], -1), begins) / 6
    middle = np.add.reduceat(points, begins) / mesh.sizes[:, None]
    thin = area <= 0  # zero up to rounding
    centroid = np.where(thin[:, None], middle, sums / np.where(thin, 1, area)[:, None])
    return area, first + centroid


def _taken(mesh: Mesh, kept: NDArray[np.bool_]) -> Mesh:
    """Return some polygons of a mesh."""
    return Mesh(mesh.vertices, mesh.corners[np.repeat(kept, mesh.sizes)], mesh.sizes[kept])


def _snap(mesh: Mesh, z: Array, tie: float) -> None:
    """Set values to 0 at vertices where the function is zero within the tolerance."""
    ends = mesh.corners, mesh.corners[mesh.following]
    change = np.abs(z[ends[0]] - z[ends[1]])
    largest = np.zeros(len(z))
    for vertices in ends:
        np.maximum.at(largest, vertices, change)
    z[np.abs(z) < tie * largest] = 0


def _cut_edges(mesh: Mesh, values: Array, function: int) -> tuple[Mesh, Array, Array]:
    """Insert vertices where edges change sign; return all vertices, and values at the new ones."""
    z = values[function]
    ends = np.stack([mesh.corners, mesh.corners[mesh.following]], -1)
    crossing = np.sign(z)[ends].prod(1) < 0
    pairs = np.sort(ends[crossing], axis=1)
    n_old = len(z)
    _, kept, which = np.unique(pairs @ [n_old, 1], return_index=True, return_inverse=True)
    begin, end = pairs[kept].T
    fraction = z[begin] / (z[begin] - z[end])
    steps = fraction[:, None] * (mesh.vertices[end] - mesh.vertices[begin])
    more = (1 - fraction) * values[:, begin] + fraction * values[:, end]
    more[function] = 0
    places = crossing.nonzero()[0] + 1
    corners = np.insert(mesh.corners, places, n_old + which)
    sizes = mesh.sizes + np.bincount(mesh.owners[crossing], minlength=len(mesh.sizes))
    vertices = np.concatenate([mesh.vertices, mesh.vertices[begin] + steps])
    return Mesh(mesh.vertices, corners, sizes), vertices, more


def _turns(mesh: Mesh, z: Array) -> tuple[Indices, Indices]:
    """Count how often each polygon's boundary reaches zero from above and from below."""
    n = len(mesh.sizes)
    sign = np.sign(z[mesh.corners])
    zero = sign[mesh.following] == 0
    owners = mesh.owners
    above = np.bincount(owners[zero & (sign > 0)], minlength=n)
    return above, np.bincount(owners[zero & (sign < 0)], minlength=n)


def _halves(mesh: Mesh, z: Array) -> tuple[Mesh, Mesh]:
    """Divide polygons from the first zero after positive values to that after negative ones."""
    sign, following = np.sign(z[mesh.corners]), mesh.following
    zero = sign[following] == 0
    begins = mesh.begins
    after_above = following[zero & (sign > 0)] - begins
    after_below = following[zero & (sign < 0)] - begins

    def piece(first: Indices, last: Indices) -> Mesh:
        sizes = (last - first) % mesh.sizes + 1
        steps = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = (np.repeat(first, sizes) + steps) % np.repeat(mesh.sizes, sizes)
        return Mesh(mesh.vertices, mesh.corners[np.repeat(begins, sizes) + places], sizes)

    return piece(after_below, after_above), piece(after_above, after_below)


def _make_convex(mesh: Mesh, z: Array, polygon: int) -> None:
    """Keep one run of positive and one of negative values; set others, due to rounding, to 0."""
    begin = mesh.begins[polygon]
    corners = mesh.corners[begin : begin + mesh.sizes[polygon]]
    for sign in (1, -1):
        on_side = sign * z[corners] > 0
        runs = np.cumsum(on_side & ~np.roll(on_side, 1))
        if on_side[0] and on_side[-1]:
            runs[runs == 0] = runs[-1]
        largest = runs[np.argmax(np.where(on_side, sign * z[corners], -np.inf))]
        z[corners[on_side & (runs != largest)]] = 0
