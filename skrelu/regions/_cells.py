r"""The cells into which neurons divide a cube, stored as sets of vertices.

In the coordinates used here a box is the cube :math:`[-1, 1]^d`. Cells are divided by one neuron
after another, where it changes sign. A cell is a convex polytope. On it the active neurons of the
previous layer are known, so that the next layer is affine,

.. math::
    z_l = W_l D_{l-1} z_{l-1} + b_l, \qquad z_0 = u, \quad D_0 = 1,

with 1 (active) or the leak on the diagonal of :math:`D`. A neuron divides a cell if it has both
signs at its vertices. The two halves have the vertices of the cell, and one more on each edge from
:math:`v` to :math:`w` with :math:`z(v) > 0 > z(w)`,

.. math::
    v + \frac{z(v)}{z(v) - z(w)} (w - v),

by the double description method [1]_. A constraint is tight at a vertex that lies on it. Each
vertex is stored with the set of its tight constraints, as bits. Two vertices make an edge if no
third vertex has all tight constraints that they have in common. These are :math:`d - 1` or more.
That number is also sufficient if one of the two vertices has no more than :math:`d` constraints.

A value counts as zero if it is within rounding errors, or within :math:`10^{-9}` of the neuron's
range on the cell. So neurons that coincide divide a cell once, and vertices where many neurons meet
are one. If a box with middle :math:`m` and half-widths :math:`h` is far from 0, slopes and
intercepts of the network cancel, and hyperplanes are known up to rounding times
:math:`r = 1 + \max_j |m_j| / h_j`. Their common vertices have errors of this size in all
directions. So the rounding errors of slopes are multiplied by r.

References
----------
.. [1] K. Fukuda, A. Prodon (1996). Double description method revisited. Combinatorics and
   Computer Science, 91-111. https://doi.org/10.1007/3-540-61576-8_77
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from skrelu.regions._checks import Array
from skrelu.regions._layers import Layers
from skrelu.regions._line import ROUNDING, TIE

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
Words = NDArray[np.uint64]

# Number of vertices, and of pairs of vertices, that are processed at a time.
BLOCK = 2**14
PAIRS = 2**20
# Entries of affine maps that take as much memory as a vertex.
MAPS = 2**7
# Largest input or value of a neuron: sums of such values are finite.
GREATEST = 1e300
TOO_GREAT = (
    "The values of the network in this box are too great for float64; scale the data, or take a "
    "smaller box."
)


def place_of(layers: Layers, neuron: int) -> tuple[int, int]:
    """Return the layer of a neuron, and its index in this layer."""
    for layer, width in enumerate(layers.widths):
        if neuron < width:
            return layer, neuron
        neuron -= width
    raise IndexError(neuron)


def added_up(layers: Layers, layer: int, maps: Array, active: Bools) -> tuple[Array, Array]:
    """Return the pre-activations of a layer as affine maps, and the sums of absolute values.

    Parameters
    ----------
    layers : Layers
    layer : int
    maps : ndarray of shape (..., n_in, d + 1)
        Slopes and intercepts of the previous layer's pre-activations, or of the inputs.
    active : ndarray of shape (..., n_in), bool
        Whether the neurons of the previous layer are active.

    Returns
    -------
    maps, sizes : ndarray of shape (..., width, d + 1)
    """
    if layer:
        maps = maps * np.where(active, 1.0, layers.leaks[layer - 1])[..., None]
    matrix, bias = layers.matrices[layer], layers.biases[layer]
    added, sizes = matrix @ maps, np.abs(matrix) @ np.abs(maps)
    added[..., -1] += bias
    sizes[..., -1] += np.abs(bias)
    if not (sizes.sum(-1) <= GREATEST).all():
        raise ValueError(TOO_GREAT)
    # Slopes that cancel up to rounding are set to 0, because later layers could amplify them.
    slopes = added[..., :-1]
    slopes[np.abs(slopes) <= ROUNDING * sizes[..., :-1]] = 0
    return added, sizes


def reach_of(offsets: Array) -> Array:
    """Return the factors of the rounding errors of slopes and intercepts, (d + 1,).

    `offsets`, (d,), is the middle of the box in half-widths.
    """
    return np.append(np.full(len(offsets), 1 + np.abs(offsets).max()), 1.0)


def n_to_come(layers: Layers, neuron: int, points: Array, begins: Indices) -> Indices:
    """Count the neurons, from ``neuron`` on, that change sign between points of each cell.

    `begins`, (n_cells,), is the first point of each cell.
    """
    signs = []
    for matrix, bias, leak in zip(layers.matrices, layers.biases, layers.leaks, strict=False):
        values = points @ matrix.T + bias
        points = np.where(values > 0, values, leak * values)
        signs.append(values > 0)
    active = np.concatenate(signs, 1)[:, neuron:]
    some, each = (test.reduceat(active, begins) for test in (np.logical_or, np.logical_and))
    return (some & ~each).sum(1)


def between(points: Array, values: Array, up: Indices, down: Indices) -> Array:
    """Return the points between pairs of points of opposite sign where an affine function is 0."""
    fraction = (values[up] / (values[up] - values[down]))[:, None]
    return points[up] + fraction * (points[down] - points[up])


@dataclass
class Cells:
    """Cells stored by their vertices, divided by the first neurons of a network."""

    layers: Layers
    reach: Array  # (d + 1,): see `reach_of`
    neuron: int  # the next neuron to divide by
    points: Array  # (n_vertices, d), cell after cell
    tight: Words  # (n_vertices, n_words): bits of the 2 d facets of the cube, then of neurons
    owner: Indices  # (n_vertices,): the cell of each vertex
    patterns: Bools  # (n_cells, n_neurons)
    vanishing: Words  # (n_cells, n_words): bits of neurons that vanish on the whole cell
    maps: Array  # (n_parents, width, d + 1): pre-activations of a layer, slopes and intercept
    floors: Array  # (n_parents, width): values below these are rounding errors
    parents: Indices  # (n_cells,): the cell of each at the begin of the layer

    @classmethod
    def cube(cls, layers: Layers, offsets: Array) -> Cells:
        """Return the undivided cube; `offsets` as for `reach_of`."""
        d, n_neurons = layers.n_features, layers.n_neurons
        corners = np.array(list(product([-1.0, 1.0], repeat=d)))  # (2^d, d)
        tight = np.concatenate([corners > 0, corners < 0, np.zeros((2**d, n_neurons), bool)], 1)
        words = _words(tight)
        return cls(
            layers=layers,
            reach=reach_of(offsets),
            neuron=0,
            points=corners,
            tight=words,
            owner=np.zeros(2**d, np.intp),
            patterns=np.zeros((1, n_neurons), bool),
            vanishing=np.zeros_like(words[:1]),
            maps=np.eye(d, d + 1)[None],
            floors=np.zeros((1, 0)),
            parents=np.zeros(1, np.intp),
        )

    def __len__(self) -> int:
        return len(self.patterns)

    @staticmethod
    def bytes_each(layers: Layers) -> int:
        """Return about how many bytes a cell takes, with its facets."""
        d, n_neurons = layers.n_features, layers.n_neurons
        n_words = (2 * d + n_neurons) // 64 + 1
        return 2 * n_neurons + 8 * (2**d + 4 * d) * (d + n_words + 2)

    @property
    def size(self) -> int:
        """Number of vertices, or the equivalent number for the affine maps if that is larger."""
        n_features = self.points.shape[1]
        return max(len(self.points), len(self) * self.layers.largest * (n_features + 1) // MAPS)

    @property
    def begins(self) -> Indices:
        """First vertex of each cell, (n_cells,)."""
        return np.searchsorted(self.owner, np.arange(len(self)))

    def corners(self) -> list[Array]:
        """Return the vertices of each cell."""
        return np.split(self.points, self.begins[1:])

    def take(self, cells: Indices) -> Cells:
        """Return some of the cells; their indices `cells` are increasing."""
        number = np.full(len(self), -1)
        number[cells] = np.arange(len(cells))
        owner = number[self.owner]
        kept = owner >= 0
        return replace(
            self,
            points=self.points[kept],
            tight=self.tight[kept],
            owner=owner[kept],
            patterns=self.patterns[cells],
            vanishing=self.vanishing[cells],
            parents=self.parents[cells],
        )

    def n_to_come(self) -> Indices:
        """Count the remaining neurons that change sign between vertices of each cell."""
        return n_to_come(self.layers, self.neuron, self.points, self.begins)

    def outputs(self) -> tuple[Array, Array]:
        """Return slopes and intercepts of the outputs, and rounding errors of the slopes."""
        n_layers = len(self.layers.matrices)
        maps, sizes = self._added_up(n_layers - 1)
        return maps, n_layers * ROUNDING * sizes[..., :-1]

    def _added_up(self, layer: int) -> tuple[Array, Array]:
        """Return `added_up` of the next layer on each cell."""
        active = self.patterns[:, self.neuron - self.maps.shape[1] : self.neuron]
        return added_up(self.layers, layer, self.maps[self.parents], active)

    def divide(self) -> Indices:
        """Divide the cells in which the next neuron changes sign.

        Returns
        -------
        ndarray of shape (n_cells,), int
            The cell, before the division, that each cell is a part of.
        """
        layer, place = place_of(self.layers, self.neuron)
        if place == 0:
            self.maps, sizes = self._added_up(layer)
            self.floors, self.parents = ROUNDING * sizes @ self.reach, np.arange(len(self))
        maps = self.maps[self.parents, place][self.owner]
        values = np.einsum("ij,ij->i", self.points, maps[:, :-1]) + maps[:, -1]
        begins = self.begins
        least, most = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
        small = np.maximum(self.floors[self.parents, place], TIE * (most - least))
        signs = np.sign(values) * (np.abs(values) > small[self.owner])
        negative, positive = least < -small, most > small
        self.patterns[:, self.neuron] = positive
        word, bit = self._bit
        self.vanishing[~negative & ~positive, word] |= bit
        self.tight[(signs == 0) & (negative | positive)[self.owner], word] |= bit
        halves = self._split(values, signs, negative & positive)
        self.neuron += 1
        return halves

    @property
    def _bit(self) -> tuple[int, np.uint64]:
        """The index of the word with the bit of the next neuron, and this bit."""
        word, shift = divmod(2 * self.points.shape[1] + self.neuron, 64)
        return word, np.uint64(1 << shift)

    def _split(self, values: Array, signs: Array, crosses: Bools) -> Indices:
        """Replace cells by their halves; the negative halves come after all other cells."""
        if not crosses.any():
            return np.arange(len(self))
        up, down = self._edges(signs, crosses)
        word, bit = self._bit
        common = self.tight[up] & self.tight[down]
        common[:, word] |= bit
        tight = np.concatenate([self.tight, common])
        points = np.concatenate([self.points, between(self.points, values, up, down)])
        # A vertex where the neuron vanishes belongs to both halves.
        signs = np.append(signs, np.zeros(len(up)))
        owner = np.append(self.owner, self.owner[up])
        crossed = crosses[owner]
        upper = np.flatnonzero(~crossed | (signs >= 0))
        lower = np.flatnonzero(crossed & (signs <= 0))
        other = len(self) + np.cumsum(crosses) - 1
        owner = np.concatenate([owner[upper], other[owner[lower]]])
        order = np.argsort(owner, kind="stable")
        kept = np.concatenate([upper, lower])[order]
        self.owner, self.points, self.tight = owner[order], points[kept], tight[kept]
        halves = np.append(np.arange(len(crosses)), crosses.nonzero()[0])
        self.patterns, self.parents = self.patterns[halves], self.parents[halves]
        self.vanishing = self.vanishing[halves]
        self.patterns[len(crosses) :, self.neuron] = False
        return halves

    def _edges(self, signs: Array, crosses: Bools) -> tuple[Indices, Indices]:
        """Return the ends of edges from positive to negative vertices of divided cells."""
        d = self.points.shape[1]
        inside = crosses[self.owner]
        up, down = np.flatnonzero(inside & (signs > 0)), np.flatnonzero(inside & (signs < 0))
        ends = []
        for part in _parts(self.owner[up], self.owner[down]):
            first, second = _matches(self.owner[up[part]], self.owner[down])
            pairs = np.stack([up[part][first], down[second]])
            n_common = np.bitwise_count(self.tight[pairs[0]] & self.tight[pairs[1]]).sum(1)
            ends.append(pairs[:, n_common >= d - 1])
        up, down = np.concatenate(ends, 1)
        common = self.tight[up] & self.tight[down]
        # Only if both vertices have more than d tight constraints they may not make an edge.
        many = np.bitwise_count(self.tight).sum(1) > d
        doubtful = np.flatnonzero(many[up] & many[down])
        edge = np.ones(len(up), bool)
        for rows in _parts(self.owner[up[doubtful]], self.owner):
            part = doubtful[rows]
            pairs, vertices = _matches(self.owner[up[part]], self.owner)
            shared = common[part][pairs]
            contains = ((self.tight[vertices] & shared) == shared).all(1)
            edge[part] = np.bincount(pairs, contains, len(part)) == 2
        return up[edge], down[edge]

    def facets(self) -> tuple[Indices, Words]:
        """Return the cell of each facet inside the cube, and the name of the facet.

        The name is the set of neurons that vanish on it, and the set of other active neurons.
        """
        d = self.points.shape[1]
        n_bits = 2 * d + self.patterns.shape[1]
        vertex, bit = _bits(self.tight, n_bits).nonzero()
        face = self.owner[vertex] * n_bits + bit
        order = np.argsort(face, kind="stable")
        face, first, sizes = np.unique(face[order], return_index=True, return_counts=True)
        common = np.bitwise_and.reduceat(self.tight[vertex[order]], first)
        cell, bit = np.divmod(face, n_bits)
        # Of nested faces, the facet has the most vertices.
        counts = np.zeros((len(self), n_bits), int)
        counts[cell, bit] = sizes
        tight = _bits(common, n_bits)
        chosen = ~tight[:, : 2 * d].any(1) & (np.where(tight, counts[cell], 0).max(1) == sizes)
        cell, common = cell[chosen], common[chosen]
        vanishing = common | self.vanishing[cell]
        active = _words(np.pad(self.patterns, ((0, 0), (2 * d, 0))))[cell]
        return cell, np.concatenate([vanishing, active & ~vanishing], 1)


def _parts(one: Indices, other: Indices) -> list[Indices]:
    """Divide the rows of `one` into parts with few matches each, or with a single row."""
    begins, ends = (np.searchsorted(other, one, side) for side in ("left", "right"))
    n_parts = 1 + int((ends - begins).sum()) // PAIRS
    return np.array_split(np.arange(len(one)), min(n_parts, max(1, len(one))))


def _matches(one: Indices, other: Indices) -> tuple[Indices, Indices]:
    """Return i and j of all ``one[i] == other[j]``, ordered by i; `other` is increasing."""
    begins, ends = (np.searchsorted(other, one, side) for side in ("left", "right"))
    sizes = ends - begins
    rows = np.repeat(np.arange(len(one)), sizes)
    return rows, np.arange(len(rows)) + (begins - np.cumsum(sizes) + sizes)[rows]


def _words(bits: Bools) -> Words:
    """Pack rows of bits into rows of words."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return padded.view("<u8").astype(np.uint64, copy=False)


def _bits(words: Words, n: int) -> Bools:
    """Unpack the first bits of rows of words."""
    packed = words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(packed, axis=1, count=n, bitorder="little").astype(bool)
