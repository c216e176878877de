r"""Regions of a network along lines, by propagation.

On a line a network is piecewise linear. Layer after layer, every neuron is known by its value
at the begin of each piece and by its increment along it; where a neuron changes sign within a
piece, the piece is divided. So the cost is the number of regions times that of neurons, and no
region is lost to sampling. Increments are kept beside values because pieces get narrower than
the numbers that say where they are: triangle waves of depth 12 with peaks of 0.001 have pieces
of :math:`10^{-36}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrelu.regions._layers import Array, Layers, layers_of
from skrelu.regions._piecewise_linear import PiecewiseLinear

# A neuron that vanishes so close to the end of a piece, relative to the piece, vanishes there.
TIE = 1e-9
# Values below so many times the rounding errors of their sums are zero.
ROUNDING = 64 * np.finfo(float).eps
# Where a piece is cut is known up to this part of its length.
CUT = 16 * np.finfo(float).eps


@dataclass(frozen=True, eq=False, repr=False)
class LineRegions:
    """A network along a line or polyline, region by region.

    *Activation regions* are the pieces on which the same neurons are active. *Linear regions*
    are those on which the outputs are one linear function: neighbouring activation regions
    whose slopes are the same make one, for example where a neuron begins that no output uses.

    Attributes
    ----------
    lengths : ndarray of shape (n_activation_regions,)
        Length of each activation region, to full relative precision.
    starts : ndarray of shape (n_activation_regions, n_outputs)
        Outputs where each begins.
    increments : ndarray of shape (n_activation_regions, n_outputs)
        What is added to them along it.
    slopes : ndarray of shape (n_activation_regions, n_outputs)
        Slopes of the outputs, per unit of length.
    patterns : ndarray of shape (n_activation_regions, n_neurons), bool
        Which hidden neurons are active, layer after layer.
    bends : ndarray of shape (n_activation_regions - 1,), bool
        Whether the next activation region is another linear region.
    sides : ndarray of shape (n_activation_regions,), int
        The side of the polyline that each lies on, from 0 on.
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
    def positions(self) -> Array:
        """Where activation regions begin and end, (n_activation_regions + 1,), from 0 on.

        Regions narrower than a double can tell begin and end at the same position.
        """
        return np.concatenate([[0.0], np.cumsum(self.lengths)])

    @property
    def breakpoints(self) -> Array:
        """Positions where linear regions meet, (n_linear_regions - 1,)."""
        return self.positions[1:-1][self.bends]

    def __call__(self, positions: ArrayLike) -> Array:
        """Evaluate the outputs at positions along the line, (n, n_outputs).

        Before the begin and after the end they are those at the begin and the end.
        """
        values = np.concatenate([self.starts, self.starts[-1:] + self.increments[-1:]])
        at = np.asarray(positions, float)
        columns = [np.interp(at, self.positions, column) for column in values.T]
        return np.stack(columns, -1)


def regions_along(model, points: ArrayLike) -> LineRegions:
    """Find all regions of a ReLU network along a polyline.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        A fitted skrelu estimator, a fitted `MLPRegressor` or `MLPClassifier` with
        ``activation="relu"`` (without its last softmax), or a torch module that applies Linear,
        ReLU and LeakyReLU layers one after the other. Computed in float64.
    points : array-like of shape (n_points, n_features)
        Corners of the line in input space, two or more, in the units of the data.

    Returns
    -------
    LineRegions
        Positions are lengths along the line. A corner ends an activation region, and is a bend
        where the slope changes, as it mostly does.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be read, or the points do not fit it.

    Notes
    -----
    Regions narrower than 1e-9 of the piece that a layer divides are not told from none, so that
    breakpoints which coincide but for rounding are counted once. On lines a million times as long
    as the regions, rounding may make one too many, and so it may in the first layer where the
    data are far from 0, ten thousand times their spread or more.

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
    corners = np.asarray(points, float)
    if corners.ndim != 2 or len(corners) < 2 or corners.shape[1] != layers.n_features:
        raise ValueError(
            f"points has shape {corners.shape}, but has to be (n_points, {layers.n_features}) with "
            "two or more corners: the model reads that many features."
        )
    return _along(layers, corners)


def as_piecewise_linear(model, *, center: float = 0.0, scale: float = 1.0) -> PiecewiseLinear:
    """Write a network of one input as a piecewise-linear function.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        As for `regions_along`, of one feature.
    center, scale : float, default=0.0, 1.0
        Where the interesting part of the line is and how wide, not exactly.

    Returns
    -------
    PiecewiseLinear
        The same function on the whole line, except that breakpoints further than 1e9 times
        ``scale`` from ``center`` are not looked for.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be read, or has more than one feature.

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
    if not (np.isfinite([center, scale]).all() and scale > 0):
        raise ValueError(
            f"center={center} and scale={scale} have to be finite, and scale positive."
        )
    far = 2.0 ** np.arange(31)
    corners = center + scale * np.concatenate([-far[::-1], far])
    regions = _along(layers, corners[:, None])
    bends = 1 + regions.bends.nonzero()[0]
    if not len(bends):  # an affine function
        bends = np.array([len(far) - 1])
    sides = regions.sides[bends]
    # Sums from the begin of each side: those from far away lose digits.
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


def _along(layers: Layers, corners: Array) -> LineRegions:
    if not np.isfinite(corners).all():
        raise ValueError("points has to be finite.")
    steps = np.diff(corners, axis=0)
    sizes = np.abs(steps).max(1)
    if not (sizes > 0).all():
        raise ValueError("In points no corner may follow itself; leave it out.")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = sizes * np.linalg.norm(steps / sizes[:, None], axis=1)
        regions = _propagate(layers, corners[:-1].T, steps.T, lengths)
    results = regions.starts, regions.slopes, regions.lengths
    if not all(map(np.all, map(np.isfinite, results))):
        raise ValueError("Values of the network overflow; scale it, or take a shorter line.")
    return regions


def _propagate(layers: Layers, values: Array, increments: Array, lengths: Array) -> LineRegions:
    """Carry the neurons' values at the begin of pieces, and their increments, forward."""
    patterns, sides = np.zeros((0, len(lengths)), bool), np.arange(len(lengths))
    # Slopes follow from patterns alone: increments over lengths have the values' rounding errors.
    slopes = increments / lengths
    # How far off the ends of pieces are, as lengths, from where they were cut until a neuron that
    # vanishes there makes up for it.
    blurs = np.zeros((2, len(lengths)))
    *hidden, (matrix, bias) = zip(layers.matrices, layers.biases, strict=True)
    for (inner, offset), leak in zip(hidden, layers.leaks, strict=True):
        sums = np.abs(inner) @ (np.abs(values) + np.abs(increments)) + np.abs(offset)[:, None]
        values, increments = inner @ values + offset[:, None], inner @ increments
        slopes = inner @ slopes
        parents, begins, ends = _divide(values, increments, ROUNDING * sums, _ties(blurs, lengths))
        cut, fresh = np.stack([begins > 0, ends < 1]), CUT * lengths[parents]
        blurs = np.where(cut, fresh, blurs[:, parents])
        shares = ends - begins
        floor = ROUNDING * sums[:, parents]
        values = values[:, parents] + begins * increments[:, parents]
        increments = increments[:, parents] * shares
        lengths, patterns = lengths[parents] * shares, patterns[:, parents]
        sides = sides[parents]
        active = values + increments / 2 > floor / 2
        patterns = np.concatenate([patterns, active])
        # Where a neuron vanishes at an end of its piece it does so but for rounding, which
        # later layers would amplify.
        stops = values + increments
        begin, end = np.maximum(values, 0), np.maximum(stops, 0)
        ties = _ties(blurs, lengths)
        vanishes = np.stack([begin <= ties[0] * end, end <= ties[1] * begin])
        begin, end = np.where(vanishes, 0, [begin, end])
        blurs[(vanishes & active).any(1) & ~cut] = 0
        rise = increments + (values - begin) - (stops - end)
        values = np.where(active, begin, leak * values)
        increments = np.where(active, rise, leak * increments)
        slopes = np.where(active, 1, leak) * slopes[:, parents]
    scale = np.abs(matrix) @ np.abs(slopes)
    slopes = matrix @ slopes
    change = np.abs(np.diff(slopes, axis=1))
    tolerance = len(layers.matrices) * ROUNDING * np.maximum(scale[:, 1:], scale[:, :-1])
    return LineRegions(
        lengths=lengths,
        starts=(matrix @ values + bias[:, None]).T,
        increments=(matrix @ increments).T,
        slopes=slopes.T,
        patterns=patterns.T,
        bends=np.any(change > tolerance, axis=0),
        sides=sides,
    )


def _ties(blurs: Array, lengths: Array) -> Array:
    """Return which part of a piece, from either end, is nothing but rounding, (2, n_pieces)."""
    return np.maximum(TIE, blurs / lengths)


def _divide(
    values: Array, increments: Array, floor: Array, ties: Array
) -> tuple[NDArray[np.intp], Array, Array]:
    """Divide pieces where neurons change sign.

    Parameters
    ----------
    values, increments : ndarray of shape (n_neurons, n_pieces)
    floor : ndarray of shape (n_neurons, n_pieces)
        Values below are zero.
    ties : ndarray of shape (2, n_pieces)
        So near to either end, relative to the piece, a neuron that vanishes does so at the end.

    Returns
    -------
    parents, begins, ends : ndarray of shape (n_pieces,)
        The piece that each new piece is a part of, and the part, within [0, 1].
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
