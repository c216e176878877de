"""Bounds, expectations and constructions, against enumeration and exact counts."""

import re
from itertools import combinations, pairwise, product
from math import comb, prod

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from skrelu.regions import (
    PiecewiseLinear,
    as_piecewise_linear,
    expected_regions,
    express,
    fewest_neurons,
    fewest_neurons_for,
    max_regions,
    regions_along,
)

SEEDS = st.integers(0, 10**6)


def random_network(rng, sizes, weights, biases):
    modules = []
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out, dtype=torch.float64)
        draws = weights(n_in).rvs((n_out, n_in), rng), biases(n_in).rvs(n_out, rng)
        linear.weight.data, linear.bias.data = map(torch.as_tensor, draws)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def normal(fan_in):
    return scipy.stats.norm(0, (2 / fan_in) ** 0.5)


def narrow(fan_in):
    return scipy.stats.norm(0.1, 0.3)


def torch_default(fan_in):
    return scipy.stats.uniform(-(fan_in**-0.5), 2 * fan_in**-0.5)


def from_slopes(points, slopes, value=0.0):
    inner = np.cumsum(np.diff(points) * slopes[1:-1])
    return PiecewiseLinear(points, value + np.append(0, inner), slopes[0], slopes[-1])


def random_function(seed, n_breakpoints):
    """Slopes of all signs, often flat or of the same size, some ends constant."""
    rng = np.random.default_rng(seed)
    points = rng.normal() + np.cumsum(rng.uniform(0.1, 1, n_breakpoints))
    slopes = rng.normal(size=n_breakpoints + 1)
    if rng.random() < 0.5:
        slopes = rng.integers(-3, 4, n_breakpoints + 1) / 2
    for end in (0, -1):
        slopes[end] *= rng.random() < 0.7
    return from_slopes(points, slopes, rng.normal())


def evaluate(network, x):
    with torch.no_grad():
        return network(torch.as_tensor(x)[:, None])[:, 0].numpy()


def hidden_widths(network):
    return [linear.out_features for linear in network[:-1:2]]


def assert_expresses(network, function):
    points = function.points
    x = np.concatenate([np.linspace(points[0] - 5, points[-1] + 5, 501), points, [-1e6, 1e6]])
    scale = np.abs(function.values).max() + np.abs(function.slopes).sum() * (
        1 + np.abs(x[:, None] - points).max(1)
    )
    assert (np.abs(evaluate(network, x) - function(x)) <= 1e-13 * scale).all()
    regions = regions_along(network, [[points[0] - 5], [points[-1] + 5]])
    found = regions.breakpoints + points[0] - 5
    bent = points[np.abs(function.bends) > 1e-12]
    np.testing.assert_allclose(found, bent, atol=1e-9 * np.ptp(x[:-2]))


# max_regions


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 7))
@settings(deadline=None)
def test_max_regions_is_the_sum_over_all_dimensions(widths, n_inputs):
    total = 0
    for chosen in product(*[range(n + 1) for n in widths]):
        room = [n_inputs, *[n - j for n, j in zip(widths, chosen, strict=True)]]
        if all(j <= min(*room[: i + 1], widths[i]) for i, j in enumerate(chosen)):
            total += prod(comb(n, j) for n, j in zip(widths, chosen, strict=True))
    assert max_regions(widths, n_inputs) == total


def test_max_regions_of_one_layer_is_that_of_hyperplanes():
    for width, n_inputs in product(range(1, 12), range(1, 12)):
        expected = sum(comb(width, j) for j in range(n_inputs + 1))
        assert max_regions([width], n_inputs) == expected
    assert max_regions((n for n in [3, 3]), np.int64(1)) == 16
    assert type(max_regions(np.array([3, 3]), 2)) is int


def test_max_regions_of_a_large_network_is_exact():
    many = max_regions([200] * 100, 200)
    assert 2**16000 < many < 2**20000
    assert max_regions([200] * 100, 1) == 201**100


def zigzag(n_breakpoints):
    """Cross [0, 1] with each of its pieces, expressed by as many neurons as breakpoints."""
    slopes = 0.5 * (-1.0) ** np.arange(1, n_breakpoints + 2)
    slopes[0], slopes[1] = -1, 1  # the third jump, of 1, faces left
    lengths = 2 / np.abs(slopes[1:-1])
    points = np.cumsum(np.append(0, lengths))
    stretch = 0.8 / points[-1]
    return from_slopes(0.1 + stretch * points, slopes / stretch, -0.5)


@pytest.mark.parametrize("widths", [[3], [4], [3, 3, 3], [5, 4, 3], [4, 4, 4, 4]])
def test_max_regions_is_attained_on_the_line(widths):
    for width in widths:
        assert fewest_neurons(zigzag(width)) == width
    network = nn.Sequential(*[express(zigzag(width)) for width in widths])
    regions = regions_along(network, [[-10.0], [10.0]])
    assert regions.n_linear_regions == regions.n_activation_regions == max_regions(widths, 1)
    assert regions.n_linear_regions == prod(n + 1 for n in widths)


@pytest.mark.slow
@given(SEEDS, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_no_random_network_has_more_regions_than_the_maximum(seed, widths, n_inputs):
    rng = np.random.default_rng(seed)
    network = random_network(rng, [n_inputs, *widths, 1], normal, normal)
    line = 20 * rng.normal(size=(2, n_inputs))
    regions = regions_along(network, line)
    assert regions.n_linear_regions <= regions.n_activation_regions <= max_regions(widths, 1)


# fewest_neurons_for


def test_fewest_neurons_for_is_the_least_sum_of_widths():
    for n_layers, n_regions in product((1, 2, 3), range(1, 31)):
        shapes = [
            widths
            for depth in range(1, n_layers + 1)
            for widths in product(range(1, 8 if depth > 1 else 40), repeat=depth)
            if max_regions(widths, 1) >= n_regions
        ]
        least = min(sum(widths) for widths in shapes) if n_regions > 1 else 0
        assert fewest_neurons_for(n_regions, n_layers) == least
    assert fewest_neurons_for(10**6) == 10**6 - 1
    assert fewest_neurons_for(32, 5) == fewest_neurons_for(32, 50)
    assert fewest_neurons_for(3**100, 10**6) <= 200


# expected_regions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "line", "weights", "biases", "n_networks"),
    [
        pytest.param(
            [4] * 5, [[0.0], [1.0]], torch_default, torch_default, 600, marks=pytest.mark.long
        ),
        pytest.param(
            [8, 1, 6], [[-2.0], [2.0]], torch_default, torch_default, 600, marks=pytest.mark.long
        ),
        ([5, 3], [[-2, 1], [2, 0], [3, -0.25], [3, 5], [4, 7]], normal, narrow, 600),
    ],
)
def test_expected_regions_are_those_counted(widths, line, weights, biases, n_networks):
    rng = np.random.RandomState(0)
    sizes = [len(line[0]), *widths, 1]
    networks = [random_network(rng, sizes, weights, biases) for _ in range(n_networks)]
    regions = [regions_along(network, line) for network in networks]
    counts = np.array([[r.n_activation_regions, r.n_linear_regions] for r in regions])
    expected = expected_regions(
        widths, line, weights=weights, biases=biases, n_samples=20000, random_state=0
    )
    means = np.array([expected.activation_regions, expected.linear_regions])
    errors = np.array([expected.activation_error, expected.linear_error])
    deviation = means - counts.mean(0)
    assert means[0] > means[1] + 10 * errors[1]  # the two are told apart
    allowed = 4 * np.hypot(errors, counts.std(0) / n_networks**0.5)
    assert (np.abs(deviation) < allowed).all(), (means, counts.mean(0), allowed)


def test_expected_regions_of_one_layer_have_a_closed_form():
    """One input, weight and bias uniform: the zero -b/w is in [0, 1] with probability 1/4."""
    expected = expected_regions([20], [[0.0], [1.0]], n_samples=4000, random_state=1)
    assert expected.activation_regions == pytest.approx(1 + 20 / 4, abs=4e-2)
    assert abs(expected.activation_regions - 6) < 4 * expected.activation_error
    assert expected.linear_regions == expected.activation_regions


def test_expected_regions_depend_on_random_state_only():
    line = [[0.0, 0.0], [1.0, 1.0]]
    first = expected_regions([4, 4], line, random_state=7)
    assert first == expected_regions([4, 4], line, random_state=np.random.RandomState(7))
    assert first != expected_regions([4, 4], line, random_state=8)
    half = expected_regions([4, 4], [*line[:1], [0.5, 0.5], *line[1:]], random_state=7)
    assert half.activation_regions == pytest.approx(first.activation_regions + 1)
    assert half.linear_regions == pytest.approx(first.linear_regions)  # it does not turn
    wide = expected_regions([300, 300], [[0.0], [1.0]], n_samples=60, random_state=0)  # in blocks
    assert wide.activation_regions > 50


# fewest_neurons, express


@pytest.mark.parametrize(
    ("points", "slopes", "expected"),
    [
        ([0, 1, 2], [0, 1, -1, 0], 3),  # hat
        ([0], [-1, 1], 2),  # |x|
        ([0], [0, 1], 1),
        ([0], [-1, 0], 1),
        ([0], [1, 1], 2),  # x
        ([0], [0, 0], 0),
        ([0, 1, 2], [0, 0, 1, 1], 1),  # two points that bend nothing
        ([0, 1], [-1, 0, 1], 2),
        ([0, 1], [1, 0, 1], 2),  # the first faces left
        ([0, 1], [1, 2, 1], 2),  # the second does
        ([0, 1], [0.5, 2, 1], 3),
        ([0, 1, 2], [0.3, 0.1, 0.2, 0.4], 4),
        ([0, 1, 2], [-0.3, -0.2, 0, 0.4], 3),  # 0.1 + 0.2, up to rounding
    ],
)
def test_fewest_neurons_of_known_functions(points, slopes, expected):
    function = from_slopes(points, slopes, 5.0)
    assert fewest_neurons(function) == expected
    network = express(function)
    assert hidden_widths(network) == [max(1, expected)]
    assert_expresses(network, function)


@pytest.mark.slow
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=9))
@settings(deadline=None)
def test_fewest_neurons_tries_all_directions(slopes):
    assume(any(slopes))
    function = from_slopes(np.arange(len(slopes) - 1.0), slopes)
    jumps = [b - a for a, b in pairwise(slopes) if a != b]
    subsets = [chosen for n in range(len(jumps) + 1) for chosen in combinations(jumps, n)]
    enough = len(jumps) if -slopes[0] in map(sum, subsets) else max(2, len(jumps) + 1)
    assert fewest_neurons(function) == enough
    network = express(function)
    assert hidden_widths(network) == [enough]
    assert_expresses(network, function)
    if enough > 1:
        with pytest.raises(ValueError, match=r"and no network|One hidden layer"):
            express(function, [enough - 1])


@pytest.mark.parametrize("n_breakpoints", [39, 41, 90])
def test_many_breakpoints_are_expressed(n_breakpoints):
    slopes = np.random.default_rng(n_breakpoints).normal(size=n_breakpoints + 1)
    for end, value in ((0, 0.0), (-1, 0.0), (0, slopes[10] - slopes[11])):
        changed = slopes.copy()
        changed[end] = value
        function = from_slopes(np.arange(n_breakpoints), changed)
        assert fewest_neurons(function) == n_breakpoints
        assert_expresses(express(function), function)


def random_values(seed, n_points, offset=0.0):
    rng = np.random.default_rng(seed)
    points = offset + np.linspace(-1, 1, n_points)
    return PiecewiseLinear(points, rng.normal(size=n_points), rng.normal(), rng.normal())


@pytest.mark.slow
@pytest.mark.parametrize("n_breakpoints", [30, 36, 40, 60, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sums_that_are_right_by_accident_are_not_taken(n_breakpoints, seed):
    function = random_values(seed, n_breakpoints)
    assert fewest_neurons(function) == n_breakpoints + 1
    half, tenth = n_breakpoints // 2 + 2, n_breakpoints // 10 + 4
    x = np.concatenate([np.linspace(-50, 50, 5001), function.points])
    y = function(x)
    scale = np.abs(y).max() + 50 * np.abs(function.slopes).max()
    for widths in (None, [half, half + 2], [tenth] * 12, [3] * (n_breakpoints + 1)):
        network = express(function, widths)
        assert np.abs(evaluate(network, x) - y).max() <= 1e-13 * scale
        found = as_piecewise_linear(network)
        assert found.n_linear_regions == n_breakpoints + 1
        assert_expresses(network, function)


def test_accidents_are_told_where_rounding_is_large():
    # Far from 0 slopes are known to 1e-7 only, near great ones those of the others to 1e-9.
    assert fewest_neurons(random_values(0, 24, offset=1e6)) == 25
    slopes = np.random.default_rng(0).normal(size=33)
    slopes[1:3] *= 1e6
    assert fewest_neurons(from_slopes(np.arange(32.0), slopes)) == 33


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_breakpoints", [9, 20, 30])
def test_sums_that_are_meant_are_found(n_breakpoints, seed):
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=n_breakpoints + 1)
    slopes[0] = -np.diff(slopes)[1:][rng.random(n_breakpoints - 1) < 0.5].sum()
    function = from_slopes(np.cumsum(rng.uniform(0.1, 1, n_breakpoints)), slopes)
    assert fewest_neurons(function) == n_breakpoints
    assert_expresses(express(function), function)
    thirds = rng.integers(-6, 7, n_breakpoints + 1) / 3
    jumps = np.diff(thirds)
    thirds[0] = -jumps[1::2].sum()
    function = from_slopes(np.arange(n_breakpoints) / 7, thirds)
    assert fewest_neurons(function) <= (np.abs(function.bends) > 1e-9).sum()
    assert_expresses(express(function), function)


def test_thousands_of_breakpoints_are_expressed():
    function = random_values(0, 3000)
    assert fewest_neurons(function) == 3001


def test_rounding_bends_nothing():
    x = np.sort(np.random.default_rng(0).uniform(100, 101, 50))
    function = PiecewiseLinear(x, np.abs(x - x[20]) / 3 + 1000, left=-1 / 3, right=1 / 3)
    assert function.n_linear_regions > 10  # to the last digit
    assert fewest_neurons(function) == 2
    network = express(function, [3, 2])
    np.testing.assert_allclose(evaluate(network, x), function(x), rtol=1e-15)


@pytest.mark.long
@pytest.mark.slow
@given(SEEDS, st.integers(1, 14), st.lists(st.integers(2, 7), min_size=2, max_size=4))
@settings(deadline=None, max_examples=150)
def test_deep_networks_express_what_is_promised(seed, n_breakpoints, widths):
    function = random_function(seed, n_breakpoints)
    promised = sum(widths) + 1 - 2 * len(widths)
    if 0 in (function.left, function.right):
        promised = sum(widths) + 1 - len(widths)
    if promised < n_breakpoints:
        widths[0] += n_breakpoints - promised
    network = express(function, widths)
    assert hidden_widths(network) == widths
    assert_expresses(network, function)


@pytest.mark.slow
@given(SEEDS, st.integers(1, 12), st.lists(st.integers(1, 4), min_size=2, max_size=5))
@settings(deadline=None, max_examples=150)
def test_networks_of_any_widths_express_or_say_which_would(seed, n_breakpoints, widths):
    function = random_function(seed, n_breakpoints)
    try:
        network = express(function, widths)
    except ValueError as error:
        if "no network" in str(error):
            assert function.n_linear_regions > max_regions(widths, 1)
            return
        pattern = r"needs widths such as \[(.*)\], more neurons by (\d+)"
        enough, missing = re.search(pattern, str(error)).groups()
        too_few, widths = widths, [int(width) for width in enough.split(",")]
        assert sum(widths) - sum(too_few) == int(missing) > 0
        network = express(function, widths)
    assert hidden_widths(network) == widths
    assert_expresses(network, function)


def test_spare_neurons_are_idle_and_nothing_is_drawn():
    state = torch.random.get_rng_state()
    hat = from_slopes([0.0, 1.0, 2.0], [0, 1, -1, 0])
    network = express(hat, [8, 8, 8])
    assert torch.equal(state, torch.random.get_rng_state())
    assert [int(linear.weight.any(1).sum()) for linear in network[::2]] == [3, 1, 1, 1]
    assert network[0].weight.dtype == torch.float64
    constant = express(from_slopes([0.0], [0, 0], 2.5), [2, 1])
    np.testing.assert_array_equal(evaluate(constant, np.array([-4.0, 7.0])), 2.5)


def test_a_layer_of_one_neuron_passes_what_is_bounded_on_one_side():
    assert_expresses(express(from_slopes([0.0], [-1, 2]), [2, 1, 1]), from_slopes([0.0], [-1, 2]))
    with pytest.raises(
        ValueError, match=r"does not express .* such as \[2, 2\], more neurons by 1"
    ):
        express(from_slopes([0.0], [1, 2]), [2, 1])


# messages

HAT = from_slopes([0.0, 1.0, 2.0], [0, 1, -1, 0])
LINE = [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_regions([], 1), "widths is empty; give the neurons of each hidden layer"),
        (lambda: max_regions([4, 0], 1), "widths has 0 in it; each has to be an integer, 1 or"),
        (lambda: max_regions([4, 2.5], 1), r"widths has 2.5 in it; each has to be an integer"),
        (lambda: max_regions(5, 1), r"widths=5 has to list the neurons .* as in \[4, 4\]"),
        (lambda: max_regions([4], 1.5), "n_inputs=1.5 has to be an integer, 1 or more"),
        (lambda: express(HAT, 3), "widths=3 has to list the neurons"),
        (lambda: max_regions([4], 0), "n_inputs=0 has to be an integer, 1 or more"),
        (lambda: fewest_neurons_for(0), "n_regions=0 has to be"),
        (lambda: fewest_neurons_for(3, 0), "n_layers=0 has to be"),
        (lambda: expected_regions([], LINE), "widths is empty"),
        (lambda: expected_regions([4], LINE, n_samples=1), "n_samples=1 has to be"),
        (lambda: expected_regions([4], LINE, n_samples=2.5), "n_samples=2.5 has to be an int"),
        (
            lambda: expected_regions([4], LINE, weights=scipy.stats.norm(0, 1)),
            "weights has to be a function that gives a distribution for a fan_in, as in",
        ),
        (lambda: expected_regions([4], LINE, weights=lambda n: 1.0), "weights has to be a func"),
        (
            lambda: expected_regions([4], LINE, biases=scipy.stats.norm(0, 1)),
            "biases has to be a function",
        ),
        (
            lambda: PiecewiseLinear([0, 1e-320, 1], [0, 1, 2], 0, 0),
            "Slopes between points, and their changes, have to be finite; take points",
        ),
        (lambda: PiecewiseLinear([-1.7e308, 1.7e308], [0, 1], 0, 0), "Slopes between points"),
        (lambda: PiecewiseLinear([0, 1], [-1.7e308, 1.7e308], 0, 0), "Slopes between points"),
        (lambda: PiecewiseLinear([0], [0], -1.7e308, 1.7e308), "and their changes"),
        (lambda: expected_regions([4], [[0.0]]), "of shape .n_points, n_inputs."),
        (lambda: expected_regions([4], [0.0, 1.0]), "of shape .n_points, n_inputs."),
        (lambda: expected_regions([4], [[0.0], [np.nan]]), "has to be finite"),
        (lambda: expected_regions([4], [[1.0], [1.0]]), "a corner that follows itself"),
        (lambda: expected_regions([4], LINE, biases=0), "a distribution with a density"),
        (
            lambda: expected_regions([4], LINE, biases=lambda n: scipy.stats.norm(0, 0)),
            "follows from random biases",
        ),
        (
            lambda: expected_regions([4], LINE, biases=lambda n: scipy.stats.bernoulli(0.5)),
            "a distribution with a density",
        ),
        (lambda: fewest_neurons(PiecewiseLinear([0], [[1, 2]], [0, 0], [0, 1])), "has 2 outputs"),
        (lambda: express(HAT, []), "widths is empty"),
        (lambda: express(HAT, [2]), r"has 4 linear regions and no network of widths \[2\] has"),
        (
            lambda: express(from_slopes([0.0, 1.0], [0.5, 2, 1]), [2]),
            "with 3 neurons or more, not with 2",
        ),
        (lambda: express(from_slopes([0.0], [1, 1]), [1]), "with 2 neurons or more, not with 1"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call", [fewest_neurons, express])
def test_networks_are_no_functions(call):
    with pytest.raises(TypeError, match=r"is a Sequential; give a PiecewiseLinear, see as_piece"):
        call(express(HAT))


def test_functions_are_printed_in_short_and_are_equal_to_themselves_only():
    assert repr(HAT) == "PiecewiseLinear(n_points=3, n_linear_regions=4)"
    two = PiecewiseLinear([0, 1], [[0, 0], [1, 2]], [0, 0], [0, 1])
    assert repr(two) == "PiecewiseLinear(n_points=2, n_linear_regions=3, n_outputs=2)"
    assert len({HAT, two, from_slopes([0.0, 1.0, 2.0], [0, 1, -1, 0])}) == 3
    assert two != HAT
