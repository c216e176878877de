"""Networks that equal piecewise-linear functions of one input, and their fewest neurons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import norm

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import MEMORY, Array, shown
from skrelu.regions._piecewise_linear import PiecewiseLinear
from skrelu.regions._theory import Layer, checked_widths, max_regions

# Largest rounding error of a slope, relative to the sizes of its terms.
ROUNDING = 8 * np.finfo(float).eps
# Try all choices of jumps up to this number of jumps (50 ms).
MOST_TRIED = 36
# If more than CROWD sums are within NEAR times the rounding errors of the wanted sum, at least
# 1/1000 of a sum is expected to equal it by accident.
NEAR = 2.0**20
CROWD = 2**10


@isolated()
def fewest_neurons(function: PiecewiseLinear) -> int:
    r"""Count the neurons of one hidden layer that express a function of one input.

    Parameters
    ----------
    function : PiecewiseLinear
        Function with one output.

    Returns
    -------
    int
        Smallest number of neurons of a ReLU network that equals the function on the whole line. The
        network has one hidden layer, an affine output layer and no skip connection. `express`
        builds it. For many breakpoints the number may be one too large, see below.

    Raises
    ------
    TypeError
        If ``function`` is not a `PiecewiseLinear`.
    ValueError
        If the function has several outputs.

    Notes
    -----
    Each of the k breakpoints needs a neuron that vanishes there. With one neuron each, left-facing
    :math:`a_i (t_i - x)_+` or right-facing :math:`a_i (x - t_i)_+`, all :math:`a_i` are the
    changes of the slope, and the slope at :math:`-\infty` is minus the sum of those that face
    left. So k neurons are enough if some of the changes have this sum. Otherwise k + 1 neurons are
    needed, two of them back to back at one breakpoint. A constant needs none, any other affine
    function two.

    Sums and slopes are compared up to rounding. If k is large, some of the :math:`2^k` choices have
    the sum only by accident, up to rounding, and give a less accurate network. So a choice counts
    only if at most 1024 others miss the sum by up to :math:`2^{20}` times the rounding errors. This
    is always so for 10 breakpoints, and for slopes without a pattern up to about 32. Beyond 36
    breakpoints only choices are tried in which all neurons, or all but one, face the same way. If
    this misses a choice, k + 1 is an upper bound.

    Examples
    --------
    >>> from skrelu.regions import PiecewiseLinear, fewest_neurons
    >>> hat = PiecewiseLinear([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], left=0.0, right=0.0)
    >>> line = PiecewiseLinear([0.0], [0.0], left=1.0, right=1.0)
    >>> fewest_neurons(hat), fewest_neurons(line)
    (3, 2)
    """
    function = _merged(function)
    if not function.slopes.any():
        return 0
    return len(function.points) + (_facing_left(function, len(function.points)) is None)


@isolated()
def express(function: PiecewiseLinear, widths: Iterable[int] | None = None) -> torch.nn.Sequential:
    r"""Build a ReLU network that equals a function of one input on the whole line.

    Parameters
    ----------
    function : PiecewiseLinear
        Function with one output.
    widths : iterable of int, default=None
        Number of neurons of each hidden layer, at least 1 each. None is one layer with
        `fewest_neurons` neurons, or with one idle neuron for a constant. Neurons that are not
        needed get zero weights.

    Returns
    -------
    torch.nn.Sequential
        Alternating Linear and ReLU layers in float64, equal to the function up to rounding.

    Raises
    ------
    TypeError
        If ``function`` is not a `PiecewiseLinear`.
    ValueError
        If the function has several outputs, `widths` are not positive integers, the weights take
        more than about 1 GB, or the network is too small. In the last case the message gives the
        reason: no such network has so many regions; one layer of that width is not enough (see
        `fewest_neurons`); or only the construction below does not work, with widths that are enough
        for it.

    Notes
    -----
    Each layer makes some of the breakpoints, from left to right. The first layer makes one
    breakpoint with each neuron, or one less if no choice of left-facing neurons gives the outer
    slope (see `fewest_neurons`). Later layers carry on the function so far, continued linearly. A
    single neuron carries it if it is bounded on one side. Otherwise a second neuron carries the
    input, as :math:`(x - t)_+` from the last breakpoint t on. A bias keeps carried values positive.
    All other neurons make breakpoints :math:`(x - t_i)_+`. So with no layer narrower than two,

    .. math:: k \le (n_1 - 1) + \sum_{l \ge 2} (n_l - 2)

    breakpoints are always possible, and :math:`n_1 + \sum_{l \ge 2} (n_l - 1)` if the function is
    constant towards one end. Deep networks can express functions with far more breakpoints, but
    only special ones, such as triangle networks.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import PiecewiseLinear, express
    >>> hat = PiecewiseLinear([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], left=0.0, right=0.0)
    >>> network = express(hat, widths=[2, 2])
    >>> network(torch.tensor([[-3.0], [0.5], [1.5], [9.0]], dtype=torch.float64)).tolist()
    [[0.0], [0.5], [0.5], [0.0]]
    """
    function = _merged(function)
    widths = checked_widths([max(1, fewest_neurons(function))] if widths is None else widths)
    n_bytes = 8 * sum(n_in * n_out for n_in, n_out in pairwise([1, *widths, 1]))
    if n_bytes > MEMORY:
        raise ValueError(
            f"The weights of a network of widths={shown(widths)} take {n_bytes} bytes, more than "
            f"{MEMORY}; give fewer or narrower layers."
        )
    most = max_regions(widths, 1)
    if function.n_linear_regions > most:
        raise ValueError(
            f"The function has {function.n_linear_regions} linear regions and no network of "
            f"widths {shown(widths)} has more than {most}; fewest_neurons_for() says how many "
            "neurons it takes at least."
        )
    plan = _plan(function, widths)
    if plan.missing and len(widths) > 1:
        plan = min(plan, _plan(_mirrored(function), widths), key=lambda plan: plan.missing)
    if plan.missing and len(widths) == 1:
        raise ValueError(
            f"One hidden layer expresses the function with {fewest_neurons(function)} neurons or "
            f"more, not with {widths[0]}."
        )
    if plan.missing:
        raise ValueError(
            f"This construction does not express the function in widths {shown(widths)}, which "
            f"other weights of the same network may do. It needs widths such as "
            f"{shown(plan.enough)}, "
            f"more neurons by {plan.missing}."
        )
    layers = _built(plan)
    if plan.function is not function:  # built for -x
        layers[0] = (-layers[0][0], layers[0][1])
    return _padded(layers, widths)


@dataclass(frozen=True, eq=False)
class _Plan:
    """The number of breakpoints that each hidden layer makes, from left to right."""

    function: PiecewiseLinear
    made: list[int]
    # Of the first layer's neurons; None for two neurons back to back at the first breakpoint.
    facing_left: NDArray[np.bool_] | None
    enough: list[int]  # the widths, enlarged where they are too small
    missing: int  # number of neurons added by that


def _plan(function: PiecewiseLinear, widths: list[int]) -> _Plan:
    """Let each layer make as many breakpoints as it can; leaving some for later never helps."""
    n, enough = len(function.points), list(widths)
    first = min(n, widths[0])
    # The last neuron of the first layer has to face right, because later layers begin there.
    facing_left = _facing_left(function, first - (len(widths) > 1))
    if facing_left is None:
        enough[0] = max(2, widths[0])
        first = min(n, enough[0] - 1)
    made = [first]
    for layer, width in enumerate(widths[1:], 1):
        left = n - sum(made)
        carriers = _carriers(function, n - left)
        enough[layer] = max(width, 2 if left else carriers)
        made.append(min(left, enough[layer] - carriers))
    enough[-1] += n - sum(made)
    return _Plan(function, made, facing_left, enough, sum(enough) - sum(widths))


def _carriers(function: PiecewiseLinear, done: int) -> int:
    """Count the neurons that carry on the function after its first ``done`` breakpoints."""
    return 2 if np.sign(function.left) * np.sign(function.slopes[done]) > 0 else 1


def _built(plan: _Plan) -> list[Layer]:
    """Build the layers of a plan, without idle neurons."""
    f, done = plan.function, plan.made[0]
    at, jumps, facing = f.points[:done], f.bends[:done], np.ones(done)
    if plan.facing_left is None:
        at, facing = np.append(at[0], at), np.append(-1.0, facing)
        jumps = np.concatenate([[-f.left, jumps[0] + f.left], jumps[1:]])
    else:
        facing[: len(plan.facing_left)][plan.facing_left] = -1
    layers = [(facing[:, None], -facing * at)]
    # The function so far is readout @ outputs + offset, and the last output is (x - t)_+.
    readout = jumps
    offset = f.values[0] - readout @ np.maximum(facing * (f.points[0] - at), 0)
    for made in plan.made[1:]:
        carriers, slope = _carriers(f, done), f.slopes[done]
        sign = -1.0 if f.left > 0 or (f.left == 0 and slope < 0) else 1.0
        rise = max(0.0, -sign * slope)  # added from t on, to keep the carrier from being negative
        lowest = (sign * f.values[:done]).min()
        fresh = slice(done, done + made)
        base = np.eye(len(readout))[-1]
        rows = [sign * readout + rise * base, *[base] * (carriers - 1 + made)]
        starts = np.append(np.zeros(carriers - 1), f.points[fresh] - f.points[done - 1])
        layers.append((np.array(rows), np.append(sign * offset - lowest, -starts)))
        readout = np.concatenate([[sign], [-sign * rise] * (carriers - 1), f.bends[fresh]])
        offset, done = sign * lowest, done + made
    return [*layers, (readout[None], np.array([offset]))]


def _padded(layers: list[Layer], widths: list[int]) -> torch.nn.Sequential:
    """Return a network of these widths, with zero weights for idle neurons."""
    modules: list[torch.nn.Module] = []
    for (matrix, bias), (n_in, n_out) in zip(layers, pairwise([1, *widths, 1]), strict=True):
        # Skip the random initialization, which would change torch's global random state.
        linear = torch.nn.utils.skip_init(torch.nn.Linear, n_in, n_out, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.zero_()[: len(matrix), : matrix.shape[1]] = torch.as_tensor(matrix)
            linear.bias.zero_()[: len(bias)] = torch.as_tensor(bias)
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def _slope_errors(function: PiecewiseLinear) -> Array:
    """Return bounds of the rounding errors of the slopes, (n_points + 1,)."""
    points, values, slopes = function.points, function.values, np.abs(function.slopes)
    sizes = np.abs(values[1:]) + np.abs(values[:-1])
    sizes += slopes[1:-1] * (np.abs(points[1:]) + np.abs(points[:-1]))
    return ROUNDING * np.concatenate([slopes[:1], sizes / np.diff(points), slopes[-1:]])


def _merged(function: PiecewiseLinear) -> PiecewiseLinear:
    """Remove points at which the slope changes by rounding only; an affine function keeps one."""
    if not isinstance(function, PiecewiseLinear):
        raise TypeError(
            f"function is a {type(function).__name__}; give a PiecewiseLinear, see "
            "as_piecewise_linear."
        )
    if function.values.ndim != 1:
        raise ValueError(
            f"function has {function.values.shape[1]} outputs, but has to have one, with values "
            "of shape (n_points,); take them one by one."
        )
    errors = _slope_errors(function)
    bent = np.abs(function.bends) > errors[1:] + errors[:-1]
    left, right = function.left, function.right
    if not bent.any():
        bent[0], right = True, left
    return PiecewiseLinear(function.points[bent], function.values[bent], left, right)


def _mirrored(function: PiecewiseLinear) -> PiecewiseLinear:
    return PiecewiseLinear(
        -function.points[::-1], function.values[::-1], -function.right, -function.left
    )


def _facing_left(function: PiecewiseLinear, n: int) -> NDArray[np.bool_] | None:
    """Choose which of the first n breakpoints face left, (n,); None if no choice is found.

    The jumps of the chosen ones sum to minus the first slope, up to rounding.
    """
    jumps, total = function.bends[:n], -float(function.left)
    # Errors of slopes are independent, and each occurs at most once in the sum.
    tolerance = norm(_slope_errors(function)[: n + 1])
    if n <= MOST_TRIED:
        return _choice_of_all(jumps, total, tolerance)
    few = np.append(jumps, 0.0)  # sums of one jump and of none
    gaps = np.abs(np.stack([few, jumps.sum() - few]) - total)
    all_but, one = np.unravel_index(gaps.argmin(), gaps.shape)
    chosen = (np.arange(n) == one) ^ (all_but == 1)
    return chosen if gaps[all_but, one] <= tolerance else None


def _choice_of_all(jumps: Array, total: float, tolerance: float) -> NDArray[np.bool_] | None:
    """Choose jumps with a given sum, (n_jumps,), by meeting in the middle; None if impossible."""
    middle = len(jumps) // 2
    first, last = _subset_sums(jumps[:middle]), _subset_sums(jumps[middle:])
    order = np.argsort(last)
    last, wanted = last[order], total - np.sort(first)  # sorted, because searches are faster then
    above = np.searchsorted(last, wanted)
    near = np.stack([above - 1, above], -1).clip(0, len(last) - 1)  # (2**middle, 2)
    gaps = np.abs(last[near] - wanted[:, None])
    best = np.unravel_index(gaps.argmin(), gaps.shape)
    if gaps[best] > tolerance:
        return None
    n_equal, n_near = (
        (np.searchsorted(last, wanted + room, "right") - np.searchsorted(last, wanted - room)).sum()
        for room in (tolerance, NEAR * tolerance)
    )
    if n_near - n_equal > CROWD:
        return None
    bits = np.argsort(first)[best[0]], order[near[best]]
    sizes = middle, len(jumps) - middle
    return np.concatenate([b >> np.arange(n) for b, n in zip(bits, sizes, strict=True)]) % 2 > 0


def _subset_sums(jumps: Array) -> Array:
    """Return the sums of all subsets, (2**n_jumps,); bit i of the index stands for jump i."""
    sums = np.zeros(1)
    for jump in jumps:
        sums = np.concatenate([sums, sums + jump])
    return sums
