r"""Regions of a network along lines.

On a line a network is piecewise linear. Each layer's neurons are computed as their values at the
begin of each piece and their increments along it. A piece is divided where a neuron changes sign.
So the cost is the number of regions times the number of neurons, and no region is missed, as it
could be by sampling. Increments are stored beside values, because pieces get narrower than the
precision of positions: triangle waves of depth 12 with peaks of 0.001 have pieces of
:math:`10^{-36}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import Array, as_floats, as_number, region_limit, too_many
from skrelu.regions._layers import Layers, layers_of
from skrelu.regions._piecewise_linear import PiecewiseLinear

# Tolerance at the ends of a piece, relative to its length: a neuron that vanishes closer to an end
# vanishes at this end.
TIE = 1e-9
# Rounding error of a sum, relative to the sum of the sizes of its terms: smaller sums are 0.
ROUNDING = 64 * np.finfo(float).eps
# Rounding error of the place of a cut, relative to the length of the piece.
CUT = 16 * np.finfo(float).eps
# Size of a block of pieces, in numbers, which bounds the memory.
BLOCK = 2**17
# Default of max_regions, if that many regions fit in memory.
MOST = 10_000_000


@dataclass(frozen=True, eq=False, repr=False)
class LineRegions:
    """The regions of a network along a line or polyline, as `regions_along` returns them.

    *Activation regions* are the pieces on which the same neurons are active. *Linear regions* are
    the pieces on which the outputs are one linear function. Neighbouring activation regions with
    the same slopes belong to one linear region, for example if they differ by a neuron that no
    output uses.

    Attributes
    ----------
    lengths : ndarray of shape (n_activation_regions,)
        Length of each activation region, in full relative precision.
    starts : ndarray of shape (n_activation_regions, n_outputs)
        Outputs at the begin of each activation region.
    increments : ndarray of shape (n_activation_regions, n_outputs)
        Changes of the outputs along each activation region.
    slopes : ndarray of shape (n_activation_regions, n_outputs)
        Slopes of the outputs, per unit of length.
    patterns : ndarray of shape (n_activation_regions, n_neurons), bool
        Whether each hidden neuron is active, layer after layer.
    bends : ndarray of shape (n_activation_regions - 1,), bool
        Whether an activation region and the next one belong to different linear regions.
    sides : ndarray of shape (n_activation_regions,), int
        Index of the side of the polyline on which each activation region lies.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_along
    >>> network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1))
    >>> with torch.no_grad():  # max(x, 0)
    ...     for part in network.parameters():
    ...         _ = part.fill_(float(part.ndim == 2))
    >>> regions = regions_along(network, [[-1.0], [3.0]])
    >>> regions.lengths, regions([0.5, 3.0]).ravel()
    (array([1., 3.]), array([0., 2.]))
    """

    lengths: Array
    starts: Array
    increments: Array
    slopes: Array
    patterns: NDArray[np.bool_]
    bends: NDArray[np.bool_]
    sides: NDArray[np.intp]

    def __repr__(self) -> str:
        return (
            f"LineRegions(n_activation_regions={self.n_activation_regions}, "
            f"n_linear_regions={self.n_linear_regions}, n_outputs={self.starts.shape[1]})"
        )

    @property
    def n_activation_regions(self) -> int:
        """Number of activation regions."""
        return len(self.lengths)

    @property
    def n_linear_regions(self) -> int:
        """Number of linear regions."""
        return 1 + int(self.bends.sum())

    @property
    @isolated()
    def positions(self) -> Array:
        """Ends of the activation regions along the line, from 0 on, (n_activation_regions + 1,).

        Both ends of a region may be equal, if it is narrower than the precision of doubles.
        """
        return np.concatenate([[0.0], np.cumsum(self.lengths)])

    @property
    def breakpoints(self) -> Array:
        """Positions where linear regions meet, (n_linear_regions - 1,)."""
        return self.positions[1:-1][self.bends]

    @isolated()
    def __call__(self, positions: ArrayLike) -> Array:
        """Evaluate the outputs at positions along the line.

        Parameters
        ----------
        positions : array-like of shape (n_positions,)
            Distances from the begin of the line. Those outside of the line are moved to its ends.

        Returns
        -------
        ndarray of shape (n_positions, n_outputs)
            Outputs.

        Raises
        ------
        ValueError
            If positions are not finite numbers.
        """
        values = np.concatenate([self.starts, self.starts[-1:] + self.increments[-1:]])
        at = as_floats(positions, "positions")
        columns = [np.interp(at, self.positions, column) for column in values.T]
        return np.stack(columns, -1)


@isolated()
def regions_along(model, points: ArrayLike, *, max_regions: int | str = "auto") -> LineRegions:
    """Find all regions of a ReLU network along a polyline.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        Network to read: a fitted skrelu estimator, a fitted `MLPRegressor` or `MLPClassifier` with
        ``activation="relu"`` (without its last softmax), or a torch module that applies Linear,
        ReLU and LeakyReLU layers one after the other. It is evaluated in float64.
    points : array-like of shape (n_points, n_features)
        Corners of the line in input space, two or more, in the units of the data.
    max_regions : int or "auto", default="auto"
        Maximum number of activation regions, at least 1. With more, an error is raised. "auto" is
        10 million, or as many as take about 1 GB if these are fewer. A region takes two bytes for
        each neuron and 64 for each output.

    Returns
    -------
    LineRegions
        All regions along the line. Positions are lengths along the line. A corner of the line ends
        an activation region, and also a linear region if the slope changes there.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If the model cannot be read, the points do not match it, values overflow, there are more
        regions than `max_regions`, or it is not a positive integer.

    Notes
    -----
    Regions narrower than 1e-9 of the piece that a layer divides are not found, so that breakpoints
    that coincide up to rounding are counted once. On lines a million times as long as the regions,
    rounding may add a region. So it may in the first layer if the data are far from 0, ten thousand
    times their spread or more.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import regions_along
    >>> fold = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with torch.no_grad():  # max(x, 0) - 2 max(x - 1, 0)
    ...     fold[0].weight[:] = torch.tensor([[1.0], [1.0]])
    ...     fold[0].bias[:] = torch.tensor([0.0, -1.0])
    ...     fold[2].weight[:] = torch.tensor([[1.0, -2.0]])
    ...     _ = fold[2].bias.zero_()
    >>> regions = regions_along(fold, [[-1.0], [3.0]])
    >>> regions.n_linear_regions, regions.breakpoints, regions.slopes.ravel()
    (3, array([1., 2.]), array([ 0.,  1., -1.]))
    """
    layers = layers_of(model)
    corners = as_floats(points, "points")
    if corners.ndim != 2 or len(corners) < 2 or corners.shape[1] != layers.n_features:
        raise ValueError(
            f"points has shape {corners.shape}, but has to be (n_points, {layers.n_features}) with "
            "two or more corners: the model reads that many features."
        )
    return _along(layers, corners, max_regions)


@isolated()
def as_piecewise_linear(
    model, *, center: float = 0.0, scale: float = 1.0, max_regions: int | str = "auto"
) -> PiecewiseLinear:
    """Write a network of one input as a piecewise-linear function.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        Network to read, with one feature, see `regions_along`.
    center : float, default=0.0
        Approximate middle of the data.
    scale : float, default=1.0
        Approximate width of the data, greater than 0.
    max_regions : int or "auto", default="auto"
        Maximum number of activation regions, see `regions_along`.

    Returns
    -------
    PiecewiseLinear
        The same function on the whole line, without breakpoints further than 1e9 times ``scale``
        from ``center``.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If the model cannot be read, has more than one feature or more than `max_regions`
        activation regions, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from skrelu.regions import as_piecewise_linear
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(9, 9), solver="lbfgs", max_iter=10**4)
    >>> model = model.fit(X, np.abs(X[:, 0]))
    >>> function = as_piecewise_linear(model)
    >>> print(np.allclose(function(X[:, 0]), model.predict(X)))
    True
    """
    layers = layers_of(model)
    if layers.n_features != 1:
        raise ValueError(
            f"The model reads {layers.n_features} features, but has to read one; see regions_along "
            "for lines and regions_in_plane for planes."
        )
    center = as_number(center, "center", finite=False)
    scale = as_number(scale, "scale", finite=False)
    far = 2.0 ** np.arange(31)
    # Corners next to a center far from 0 may be equal.
    corners = np.unique(center + scale * np.concatenate([-far[::-1], far]))
    if not (np.isfinite(corners).all() and scale > 0 and len(corners) > 1):
        raise ValueError(
            f"center={center} and scale={scale} have to be finite, and scale positive, with "
            "1e9 times scale below the greatest double and above the rounding of center."
        )
    regions = _along(layers, corners[:, None], max_regions)
    bends = 1 + regions.bends.nonzero()[0]
    if not len(bends):  # an affine function
        bends = np.flatnonzero(regions.sides == (len(corners) - 1) // 2)[:1]
    sides = regions.sides[bends]
    # Sums begin anew on each side, because sums from far away lose digits.
    sums = np.concatenate(
        [np.cumsum(regions.lengths[regions.sides == side]) for side in np.unique(regions.sides)]
    )
    begins = np.append(0.0, sums[:-1])
    begins[np.diff(regions.sides, prepend=-1) > 0] = 0
    points, kept = np.unique(corners[sides] + begins[bends], return_index=True)
    values, slopes = regions.starts[bends[kept]], regions.slopes
    if values.shape[1] == 1:
        values, slopes = values[:, 0], slopes[:, 0]
    return PiecewiseLinear(points, values, slopes[0], slopes[-1])


def _along(layers: Layers, corners: Array, max_regions: int | str) -> LineRegions:
    # Blocks and their concatenation are in memory at the same time.
    bytes_each = 2 * (layers.n_neurons + 8 * (4 + 4 * layers.n_outputs))
    limit = region_limit(max_regions, MOST, bytes_each)
    steps = np.diff(corners, axis=0)
    sizes = np.abs(steps).max(1)
    if not (sizes > 0).all():
        raise ValueError("In points no corner may follow itself; leave it out.")
    lengths = sizes * np.linalg.norm(steps / sizes[:, None], axis=1)
    pieces = _Pieces(
        values=(corners[:-1] - layers.center).T,
        increments=steps.T,
        slopes=steps.T / lengths,
        lengths=lengths,
        blurs=np.zeros((2, len(lengths))),
        patterns=np.zeros((0, len(lengths)), bool),
        sides=np.arange(len(lengths)),
    )
    ends = _propagate(layers, pieces, limit)
    if ends is None:
        raise too_many(limit, bytes_each, "along the line", "take a shorter line")
    regions = _regions(ends)
    results = regions.starts, regions.slopes, regions.lengths
    if not all(map(np.all, map(np.isfinite, results))):
        raise ValueError("Values of the network overflow; scale it, or take a shorter line.")
    return regions


@dataclass(frozen=True)
class _Pieces:
    """Pieces of a line on which all neurons up to a layer are affine."""

    values: Array  # (n_values, n_pieces): outputs of the layer at the begin of pieces
    increments: Array  # (n_values, n_pieces): changes of the outputs along pieces
    # Computed from patterns, because increments / lengths have the rounding errors of values.
    slopes: Array  # (n_values, n_pieces)
    lengths: Array  # (n_pieces,)
    # Errors of the ends of pieces, as lengths: from the cut until a neuron vanishes at this end.
    blurs: Array  # (2, n_pieces)
    patterns: NDArray[np.bool_]  # (n_neurons, n_pieces)
    sides: NDArray[np.intp]  # (n_pieces,)

    def __getitem__(self, pieces) -> _Pieces:
        """Return some of the pieces."""
        return _Pieces(*(getattr(self, field.name)[..., pieces] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.lengths)


# Rounding errors of slopes, (n_outputs, n_pieces), and pieces with the outputs of the network.
_Outputs = tuple[Array, _Pieces]


def _propagate(layers: Layers, pieces: _Pieces, limit: int) -> list[_Outputs] | None:
    """Compute the pieces of the outputs; None if there are more than the limit.

    To save memory, a block of pieces passes through all layers before the next block is made.
    """
    hidden = list(zip(layers.matrices, layers.biases, layers.leaks, strict=False))
    size = max(1, BLOCK // layers.largest)
    done, n_pieces = list[_Outputs](), len(pieces)
    waiting = [(0, partial(pieces.__getitem__, block)) for block in _blocks(n_pieces, size)]
    while waiting and n_pieces <= limit:
        layer, make = waiting.pop()
        pieces = make()
        if layer == len(hidden):
            done.append(_outputs(layers, pieces))
            continue
        n_parts, make_part = _divided(*hidden[layer], pieces)
        n_pieces += n_parts - len(pieces)
        waiting += [(layer + 1, partial(make_part, block)) for block in _blocks(n_parts, size)]
    return done if n_pieces <= limit else None


def _blocks(n: int, size: int) -> list[slice]:
    """Return blocks of at most ``size`` indices, in reverse order."""
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)][::-1]


def _divided(
    matrix: Array, bias: Array, leak: float, pieces: _Pieces
) -> tuple[int, Callable[[slice], _Pieces]]:
    """Return the number of parts into which a layer divides pieces, and a function that makes some.

    The function takes a slice of the parts.
    """
    values, increments = pieces.values, pieces.increments
    sums = np.abs(matrix) @ (np.abs(values) + np.abs(increments)) + np.abs(bias)[:, None]
    values, increments = matrix @ values + bias[:, None], matrix @ increments
    slopes = matrix @ pieces.slopes
    floor = ROUNDING * sums
    parents, begins, ends = _divide(values, increments, floor, _ties(pieces.blurs, pieces.lengths))

    def parts(block: slice) -> _Pieces:
        parent, first, last = parents[block], begins[block], ends[block]
        old, fraction = pieces[parent], last - first
        cut = np.stack([first > 0, last < 1])
        blurs = np.where(cut, CUT * old.lengths, old.blurs)
        lengths = old.lengths * fraction
        starts = values[:, parent] + first * increments[:, parent]
        changes = increments[:, parent] * fraction
        active = starts + changes / 2 > floor[:, parent] / 2
        # Neurons that vanish at an end up to rounding are set to 0 there, because later layers
        # would amplify the rounding errors.
        stops = starts + changes
        begin, end = np.maximum(starts, 0), np.maximum(stops, 0)
        ties = _ties(blurs, lengths)
        vanishes = np.stack([begin <= ties[0] * end, end <= ties[1] * begin])
        begin, end = np.where(vanishes, 0, [begin, end])
        blurs[(vanishes & active).any(1) & ~cut] = 0
        rise = changes + (starts - begin) - (stops - end)
        return replace(
            old,
            values=np.where(active, begin, leak * starts),
            increments=np.where(active, rise, leak * changes),
            slopes=np.where(active, 1, leak) * slopes[:, parent],
            lengths=lengths,
            blurs=blurs,
            patterns=np.concatenate([old.patterns, active]),
        )

    return len(parents), parts


def _outputs(layers: Layers, pieces: _Pieces) -> _Outputs:
    """Apply the last layer."""
    matrix, bias = layers.matrices[-1], layers.biases[-1]
    errors = len(layers.matrices) * ROUNDING * np.abs(matrix) @ np.abs(pieces.slopes)
    return errors, replace(
        pieces,
        values=matrix @ pieces.values + bias[:, None],
        increments=matrix @ pieces.increments,
        slopes=matrix @ pieces.slopes,
    )


def _regions(blocks: list[_Outputs]) -> LineRegions:
    """Return the regions of all blocks of pieces."""

    def joined(name: str) -> NDArray:
        return np.concatenate([getattr(pieces, name) for _, pieces in blocks], -1)

    slopes, errors = joined("slopes"), np.concatenate([errors for errors, _ in blocks], -1)
    change = np.abs(np.diff(slopes, axis=1))
    return LineRegions(
        lengths=joined("lengths"),
        starts=joined("values").T,
        increments=joined("increments").T,
        slopes=slopes.T,
        patterns=joined("patterns").T,
        bends=np.any(change > np.maximum(errors[:, 1:], errors[:, :-1]), axis=0),
        sides=joined("sides"),
    )


def _ties(blurs: Array, lengths: Array) -> Array:
    """Return the tolerances at both ends of pieces, relative to their lengths, (2, n_pieces)."""
    return np.maximum(TIE, blurs / lengths)


def _divide(
    values: Array, increments: Array, floor: Array, ties: Array
) -> tuple[NDArray[np.intp], Array, Array]:
    """Divide pieces where neurons change sign.

    Parameters
    ----------
    values, increments : ndarray of shape (n_neurons, n_pieces)
    floor : ndarray of shape (n_neurons, n_pieces)
        Rounding errors: smaller values count as zero.
    ties : ndarray of shape (2, n_pieces)
        Tolerances at both ends, see `_ties`.

    Returns
    -------
    parents : ndarray of shape (n_parts,), int
        The piece to which each part belongs.
    begins, ends : ndarray of shape (n_parts,)
        Ends of the part, as fractions of the piece.
    """
    n = values.shape[1]
    ends = values + increments
    small, smaller = np.maximum(floor, ties[:, None] * np.abs(increments))
    crosses = ((values > small) & (ends < -smaller)) | ((values < -small) & (ends > smaller))
    neurons, pieces = crosses.nonzero()
    cuts = -values[neurons, pieces] / increments[neurons, pieces]
    order = np.lexsort((cuts, pieces))
    pieces, cuts = pieces[order], cuts[order]
    again = (np.diff(pieces, prepend=-1) == 0) & (np.diff(cuts, prepend=-1.0) < TIE)
    pieces, cuts = pieces[~again], cuts[~again]
    parents = np.sort(np.concatenate([np.arange(n), pieces]))
    first = np.diff(parents, prepend=-1) > 0
    last = np.append(first[1:], True)
    begins, stops = np.zeros(len(parents)), np.ones(len(parents))
    begins[~first], stops[~last] = cuts, cuts
    return parents, begins, stops
