"""Regions in boxes: dense sampling, known counts, ties, estimates against exact counts."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu.regions import (
    RegionEstimate,
    estimate_regions,
    regions_along,
    regions_in_box,
    regions_in_plane,
)
from tests.regions.networks import DOUBLE, random_network, sequential


def one_layer(normals, offsets=0.0):
    """A network that bends where ``normals @ x + offsets`` vanishes."""
    normals = np.asarray(normals, float)
    return sequential(
        [(normals, offsets + np.zeros(len(normals))), (np.ones((1, len(normals))), [0])]
    )


def run(network, X):
    """Outputs and which neurons are active at points, by running the network."""
    patterns, h = [np.zeros((len(X), 0), bool)], torch.as_tensor(X)
    with torch.no_grad():
        for module in network:
            h = module(h)
            if not isinstance(module, nn.Linear):
                patterns.append((h > 0).numpy())
    return h.numpy(), np.concatenate(patterns, 1)


def count(network, half_width=1.0, d=2):
    regions = regions_in_box(network, [-half_width] * d, [half_width] * d)
    assert regions.volumes.sum() == pytest.approx((2 * half_width) ** d, rel=1e-9)
    assert len(np.unique(regions.patterns, axis=0)) == regions.n_activation_regions
    return regions.n_activation_regions


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 4),
    widths=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    leaky=st.booleans(),
    unbiased=st.booleans(),
    shift=st.sampled_from([0.0, 0.3, 1e3]),
)
@settings(deadline=None, max_examples=80)
def test_regions_are_those_of_dense_sampling(seed, d, widths, leaky, unbiased, shift):
    network = random_network(seed, [d, *widths, 2], nn.LeakyReLU if leaky else nn.ReLU)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        if unbiased:  # all hyperplanes of the first layer meet in one point
            for module in network[::2]:
                module.bias.zero_()
        network[0].bias -= network[0].weight @ torch.full((d,), shift, dtype=DOUBLE)
    lower, upper = shift - rng.uniform(0.1, 2, size=d), shift + rng.uniform(0.1, 2, size=d)
    regions = regions_in_box(network, lower, upper)
    n = regions.n_activation_regions
    numbers = {row.tobytes(): i for i, row in enumerate(regions.patterns)}
    assert len(numbers) == n  # regions are convex, so there is one of each pattern
    # None is missed, ...
    X = rng.uniform(lower, upper, size=(3000, d))
    outputs, patterns = run(network, X)
    at = np.array([numbers[row.tobytes()] for row in patterns])
    expected = np.einsum("nof,nf->no", regions.gradients[at], X) + regions.intercepts[at]
    scale = 1 + np.abs(outputs).max() + np.abs(regions.intercepts).max()
    np.testing.assert_allclose(outputs, expected, atol=1e-12 * scale)
    # ... all have the pattern that running the network finds in them, and they fill the box.
    wide = regions.volumes > 1e-10 * np.prod(upper - lower)
    np.testing.assert_array_equal(run(network, regions.centers)[1][wide], regions.patterns[wide])
    assert regions.volumes.sum() == pytest.approx(np.prod(upper - lower), rel=1e-9)
    assert all(len(corners) > d for corners in regions.vertices)


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    d=st.integers(1, 2),
    unbiased=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_lines_and_planes_have_the_same_regions(seed, widths, d, unbiased):
    network = random_network(seed, [d, *widths, 1])
    if unbiased:
        for module in network[::2]:
            nn.init.zeros_(module.bias)
    box = regions_in_box(network, [-1.5] * d, [2.0] * d)
    other = (
        regions_along(network, [[-1.5], [2.0]])
        if d == 1
        else regions_in_plane(network, [-1.5, -1.5], [2.0, 2.0])
    )
    assert box.n_activation_regions == other.n_activation_regions
    assert box.n_linear_regions == other.n_linear_regions


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 4),
    widths=st.lists(st.integers(3, 8), min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=30)
def test_ties_of_small_integers_lose_and_double_nothing(seed, d, widths):
    # Neurons coincide, meet in many-edged vertices and vanish all over regions.
    rng = np.random.default_rng(seed)
    network = sequential(
        [
            (rng.integers(-2, 3, size=(b, a)), rng.integers(-1, 2, size=b))
            for a, b in pairwise([d, *widths, 1])
        ]
    )
    regions = regions_in_box(network, [-1] * d, [2] * d)
    known = {row.tobytes() for row in regions.patterns}
    assert len(known) == regions.n_activation_regions
    assert regions.volumes.sum() == pytest.approx(3**d, rel=1e-9)
    # At multiples of 2^-30 float64 runs the network without rounding.
    X = np.concatenate([regions.centers, rng.uniform(-1, 2, size=(3000, d))])
    found = {row.tobytes() for row in run(network, np.round(X * 2**30) / 2**30)[1]}
    assert found == known


@pytest.mark.slow
@pytest.mark.parametrize(("d", "n"), [(1, 5), (2, 1), (2, 7), (3, 6), (4, 6), (5, 6), (8, 9)])
def test_one_layer_in_general_position_has_zaslavskys_number(d, n):
    rng = np.random.default_rng(d)
    network = one_layer(rng.normal(size=(n, d)), rng.normal(size=n))
    expected = sum(comb(n, i) for i in range(d + 1))
    regions = regions_in_box(network, [-1e4] * d, [1e4] * d)
    assert regions.n_activation_regions == regions.n_linear_regions == expected


def test_a_network_without_neurons_and_one_that_is_nowhere_bent_have_one_region():
    regions = regions_in_box(sequential([([[1.0, 2.0]], [3.0])]), [0, 0], [1, 4])
    assert regions.n_activation_regions == regions.n_linear_regions == 1
    assert regions.patterns.shape == (1, 0)
    np.testing.assert_allclose(regions.volumes, [4])
    np.testing.assert_allclose(regions.centers, [[0.5, 2]])
    np.testing.assert_allclose(regions.gradients, [[[1, 2]]])
    np.testing.assert_allclose(regions.intercepts, [[3]])
    assert count(one_layer(np.ones((3, 2)), [5.0, -5.0, 99.0])) == 1


@pytest.mark.parametrize("m", [2, 3, 10])
def test_lines_through_one_point_make_two_regions_each(m):
    angles = np.pi * (np.arange(m) + 0.3) / m
    lines = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert count(one_layer(lines)) == 2 * m
    assert count(one_layer(lines, -lines @ [0.1, 0.7])) == 2 * m
    assert count(one_layer(lines, -lines @ [1.0, 0.1])) == m + 1  # in the middle of an edge


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_coordinate_planes_and_copies_of_them_make_orthants(d):
    planes = np.eye(d)
    assert count(one_layer(planes), d=d) == 2**d
    copies = np.concatenate([planes, planes, -3 * planes, planes / 3, 0 * planes])
    assert count(one_layer(copies), d=d) == 2**d
    thirds = one_layer(copies / 3, -np.sum(copies / 3, 1) * 0.1)
    assert count(thirds, d=d) == 2**d


@pytest.mark.parametrize(("d", "n_pairs"), [(2, 1), (3, 3), (4, 6)])
def test_reflections_divide_a_cube_into_simplices(d, n_pairs):
    # x_i = x_j makes d! cells, x_i = -x_j and x_i = 0 also 2^d times as many, all of which
    # meet in lines and planes through many vertices.
    i, j = np.triu_indices(d, 1)
    assert len(i) == n_pairs
    eye = np.eye(d)
    factorial = int(np.prod(np.arange(1, d + 1)))
    assert count(one_layer(eye[i] - eye[j]), d=d) == factorial
    signed = np.concatenate([eye[i] - eye[j], eye[i] + eye[j], eye])
    regions = regions_in_box(one_layer(signed), [-1] * d, [1] * d)
    assert regions.n_activation_regions == regions.n_linear_regions == factorial * 2**d
    np.testing.assert_allclose(regions.volumes, 1 / factorial)
    assert all(len(corners) == d + 1 for corners in regions.vertices)  # no more than simplices


def test_hyperplanes_that_only_touch_the_box_make_no_regions():
    corner, edge, facet = [1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]
    network = one_layer([corner, edge, facet, [0.0, 0.0, 1.0]], [-3.0, -2.0, -1.0, 0.0])
    assert count(network, d=3) == 2
    # So do those of deeper layers, where they touch regions of the layers before.
    fold = np.array([[1.0, 0.0], [-1.0, 0.0]])  # max(x, 0), max(-x, 0)
    for second, n in (([1.0, 1.0], 2), ([1.0, -1.0], 2), ([1.0, 0.0], 2), ([-1.0, -1.0], 2)):
        deep = sequential([(fold, [0.0, 0.0]), ([second], [0.0]), ([[1.0]], [0.0])])
        assert count(deep) == n


def test_dead_neurons_and_those_that_no_output_uses_make_no_linear_regions():
    first = ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0.0, 0.0, 0.0])
    unused = regions_in_box(sequential([first, ([[1.0, 0.0, 0.0]], [0.0])]), [-1, -1], [1, 1])
    assert (unused.n_activation_regions, unused.n_linear_regions) == (6, 2)
    # max(x, 0) - max(-x, 0) = x
    straight = sequential([([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]), ([[1.0, -1.0]], [2.0])])
    regions = regions_in_box(straight, [-1, -1], [1, 1])
    assert (regions.n_activation_regions, regions.n_linear_regions) == (2, 1)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_what_is_zero_around_a_pyramid_is_one_linear_region(d):
    distances = (np.concatenate([np.eye(d), -np.eye(d)]), np.zeros(2 * d))
    pyramid = sequential([distances, (-np.ones((1, 2 * d)), [1.0]), ([[1.0]], [0.0])])
    regions = regions_in_box(pyramid, [-2] * d, [2] * d)
    assert regions.n_activation_regions == 2 * 2**d
    # In one dimension it lies on both sides.
    assert regions.n_linear_regions == 2**d + (2 if d == 1 else 1)
    outside = np.abs(regions.centers).sum(1) > 1
    assert not regions.gradients[outside].any()
    if d > 1:
        assert len(set(regions.linear_regions[outside])) == 1
    # In a box that its corners touch, of two dimensions, the zeros are in four parts.
    if d == 2:
        assert regions_in_box(pyramid, [-1, -1], [1, 1]).n_linear_regions == 8


def test_units_of_the_features_do_not_matter():
    network = random_network(0, [3, 8, 8, 2])
    expected = regions_in_box(network, [-1] * 3, [1] * 3)
    units, zero = np.array([1e-6, 1.0, 1e8]), np.array([1e-4, -5.0, 1e9])
    with torch.no_grad():
        network[0].weight /= torch.tensor(units)
        network[0].bias -= network[0].weight @ torch.tensor(zero)
    regions = regions_in_box(network, zero - units, zero + units)
    np.testing.assert_array_equal(regions.patterns, expected.patterns)
    np.testing.assert_allclose(regions.volumes, expected.volumes * units.prod(), rtol=1e-5)
    np.testing.assert_allclose(regions.gradients * units, expected.gradients, atol=1e-9)


@pytest.mark.slow
@pytest.mark.long
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 3),
    widths=st.lists(st.integers(3, 7), min_size=1, max_size=3),
    whole=st.booleans(),
    box=st.sampled_from(
        [
            ([1.0] * 3, [1e3] * 3),
            ([1.0] * 3, [-1e4, 1e4, 1e3]),
            ([1e-8, 100.0, 3.0], [1.0, 1e4, 0.0]),  # 1e-8, 1e6 +- 100
        ]
    ),
)
# Not at random: where d of the planes nearly depend on each other, a point that others pass is
# known a thousand times less well, and one network in 10,000 does get slivers there.
@settings(deadline=None, max_examples=200, derandomize=True)
@example(4, 2, [6, 6], True, ([1.0] * 3, [-1e4, 1e4, 1e3]))
@example(8, 2, [6, 6], True, ([1e-8, 100.0, 3.0], [1.0, 1e4, 0.0]))
def test_far_from_zero_ties_are_ties(seed, d, widths, whole, box):
    rng = np.random.default_rng(seed)
    draw = {False: rng.normal, True: lambda size: rng.integers(-2, 3, size) / 3}[whole]
    network = sequential([(draw(size=(b, a)), np.zeros(b)) for a, b in pairwise([d, *widths, 1])])
    expected = regions_in_box(network, [-1] * d, [2] * d)
    units, offsets = (np.array(column)[:d] for column in box)
    zero = units * offsets * rng.uniform(0.5, 1, size=d)
    with torch.no_grad():
        network[0].weight /= torch.as_tensor(units)
        network[0].bias -= network[0].weight @ torch.as_tensor(zero)
    regions = regions_in_box(network, zero - units, zero + 2 * units)
    assert regions.n_activation_regions == expected.n_activation_regions
    assert regions.n_linear_regions == expected.n_linear_regions


@pytest.mark.slow
def test_triangle_waves_far_from_zero_have_the_regions_of_the_plane():
    X = np.random.default_rng(0).uniform(-1, 1, (150, 2))
    units = np.array([1e-8, 100.0])
    for shift, scale in ((0, 1), (1e3, 1), (1e4, 1), (1e5, 1), (np.array([0, 1e6]), units)):
        model = ExponentialReLURegressor(
            n_levels=1, n_subnetworks=3, n_init=1, random_state=0, refine=False
        )
        model.fit(shift + scale * X, X.prod(1))
        box = shift - scale * np.ones(2), shift + scale * np.ones(2)
        plane, regions = regions_in_plane(model, *box), regions_in_box(model, *box)
        assert regions.n_activation_regions == plane.n_activation_regions
        assert regions.n_linear_regions == plane.n_linear_regions == 524


def test_results_are_printed_in_short_and_are_equal_to_themselves_only():
    network = random_network(0, [2, 8, 8, 3])
    regions, other = (regions_in_box(network, [-1, -1], [1, 1]) for _ in range(2))
    n, n_linear = regions.n_activation_regions, regions.n_linear_regions
    expected = f"BoxRegions(n_activation_regions={n}, n_linear_regions={n_linear}, n_features=2)"
    assert repr(regions) == str(regions) == expected
    estimate = RegionEstimate(np.array([1.0, 2.0]))
    assert repr(estimate) == (
        "RegionEstimate(n_activation_regions=3, standard_error=1, n_groups=2)"
    )
    assert len({regions, other, estimate}) == 3
    assert regions != other


@pytest.mark.slow
@pytest.mark.parametrize("find", [regions_in_box, estimate_regions])
@pytest.mark.parametrize("d", [1, 2, 8, 10])
def test_values_that_overflow_are_refused(find, d):
    if find is regions_in_box and d > 8:
        return
    network = random_network(0, [d, 3, 3, 1])
    for width in (1e301, 1.7e308):
        with pytest.raises(ValueError, match="too great for float64; scale the data"):
            find(network, [-width] * d, [width] * d)
    find(network, [-1e250] * d, [1e250] * d)  # no warnings either
    with torch.no_grad():
        for part in network.parameters():
            part *= 1e155
    with pytest.raises(ValueError, match="too great for float64; scale the data"):
        find(network, [-1] * d, [1] * d)


def test_slopes_that_overflow_are_refused_and_volumes_are_infinite():
    steep = sequential([([[1e160]], [0]), ([[1e160]], [0])])
    with pytest.raises(ValueError, match="too great for float64"):
        regions_in_box(steep, [-1e-30], [1e-30])
    wide = regions_in_box(one_layer(1e-200 * np.eye(2)), [-1e299] * 2, [1e299] * 2)
    assert wide.n_linear_regions == 4
    assert np.isinf(wide.volumes).all()
    assert np.isfinite(wide.centers).all()


def test_blocks_of_cells_are_put_together(monkeypatch):
    network = random_network(1, [2, 12, 12, 1])
    whole = regions_in_box(network, [-2, -2], [2, 2])
    monkeypatch.setattr("skrelu.regions._box.BLOCK", 20)
    monkeypatch.setattr("skrelu.regions._cells.BLOCK", 20)
    parts = regions_in_box(network, [-2, -2], [2, 2])
    assert parts.n_linear_regions == whole.n_linear_regions
    one, other = np.lexsort(whole.patterns.T), np.lexsort(parts.patterns.T)
    np.testing.assert_array_equal(parts.patterns[other], whole.patterns[one])
    np.testing.assert_allclose(parts.volumes[other], whole.volumes[one])


@pytest.mark.parametrize("find", [regions_in_box, estimate_regions])
@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        ([0], [1, 1], r"lower has shape \(1,\), but has to be \(2,\)"),
        ([0, 0], 1, r"upper has shape \(\), but has to be \(2,\)"),
        ([0, 0], [1, np.inf], "upper has to be finite"),
        ([0, np.nan], [1, 1], "lower has to be finite"),
        ([0, 1], [1, 1], "lower has to be less than upper"),
        ([0, 0], [1, 5e-324], "lower has to be less than upper"),  # no number is between
    ],
)
def test_boxes_that_do_not_fit_are_refused(find, lower, upper, message):
    with pytest.raises(ValueError, match=message):
        find(random_network(0, [2, 3, 1]), lower, upper)


def test_what_is_too_much_is_refused():
    network = random_network(0, [2, 16, 16, 1])
    n = regions_in_box(network, [-1, -1], [1, 1]).n_activation_regions
    assert regions_in_box(network, [-1, -1], [1, 1], max_regions=n).n_activation_regions == n
    message = rf"more than max_regions={n - 1} .* more than 18769\); raise .* estimate_regions"
    with pytest.raises(ValueError, match=message):
        regions_in_box(network, [-1, -1], [1, 1], max_regions=n - 1)
    deep = random_network(0, [8, *[50] * 40, 1])
    with pytest.raises(ValueError, match=r"more than 10\*\*\d+\); raise max_regions"):
        regions_in_box(deep, [-1] * 8, [1] * 8, max_regions=9)
    with pytest.raises(ValueError, match=r"2\*\*9 = 512 corners.* use estimate_regions"):
        regions_in_box(random_network(0, [9, 3, 1]), [0] * 9, [1] * 9)
    for wrong in (0, 2.5, None):
        with pytest.raises(ValueError, match=rf"max_regions={wrong} has to be an integer, 1 or"):
            regions_in_box(network, [-1, -1], [1, 1], max_regions=wrong)
    for wrong in (1, 2.5, None):
        with pytest.raises(ValueError, match=rf"n_samples={wrong} has to be an integer, 2 or"):
            estimate_regions(network, [-1, -1], [1, 1], n_samples=wrong)
    with pytest.raises(TypeError, match="Cannot read a int"):
        regions_in_box(42, [0], [1])


@pytest.mark.parametrize("d", [1, 2, 8, 10])
def test_few_regions_are_estimated_without_error(d):
    planes = np.eye(d)[:1]
    copies = np.concatenate([planes, 2 * planes, -planes, 0 * planes])
    for network, n in ((one_layer(planes), 2), (one_layer(copies), 2), (one_layer(planes, 9), 1)):
        estimate = estimate_regions(network, [-1] * d, [1] * d, random_state=0)
        assert estimate.n_activation_regions == pytest.approx(n)
        assert estimate.standard_error == 0
        assert estimate.log2_counts.shape == (10,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "n_samples"), [([2, 16, 16, 1], 200), ([3, 12, 12, 1], 200), ([4, 8, 8, 1], 400)]
)
def test_estimates_are_those_of_all_regions(widths, n_samples):
    d = widths[0]
    network = random_network(3, widths)
    exact = regions_in_box(network, [-2] * d, [2] * d).n_activation_regions
    box = [-2] * d, [2] * d
    estimate = estimate_regions(network, *box, n_samples=n_samples, random_state=0)
    error = estimate.standard_error
    assert abs(estimate.n_activation_regions - exact) < 4 * error
    assert 0 < error < 0.2 * exact
    again = estimate_regions(network, *box, n_samples=n_samples, random_state=0)
    np.testing.assert_array_equal(again.log2_counts, estimate.log2_counts)
    other = estimate_regions(network, *box, n_samples=n_samples, random_state=1)
    assert (other.log2_counts != estimate.log2_counts).any()


@pytest.mark.slow
def test_estimates_are_unbiased_with_one_cell_at_a_time():
    network = random_network(3, [2, 6, 6, 1])
    exact = regions_in_box(network, [-2, -2], [2, 2]).n_activation_regions
    counts = np.exp2(
        [
            estimate_regions(network, [-2, -2], [2, 2], n_samples=9, random_state=i).log2_counts
            for i in range(30)
        ]
    ).ravel()
    assert np.mean(counts) == pytest.approx(exact, abs=4 * np.std(counts) / len(counts) ** 0.5)


@pytest.mark.slow
def test_linear_programs_find_the_cells_that_vertices_find(monkeypatch):
    network = random_network(5, [3, 6, 5, 1])
    exact = regions_in_box(network, [-2] * 3, [2] * 3).n_activation_regions
    monkeypatch.setattr("skrelu.regions._estimate.MAX_FEATURES", 0)
    monkeypatch.setattr("skrelu.regions._estimate.N_GROUPS", 2)
    # So many cells are followed that none has to be drawn.
    estimate = estimate_regions(network, [-2] * 3, [2] * 3, n_samples=2 * exact, random_state=0)
    assert estimate.n_activation_regions == pytest.approx(exact)
    assert estimate.standard_error == 0


@pytest.mark.slow
def test_estimates_work_in_many_dimensions():
    rng = np.random.default_rng(0)
    network = one_layer(rng.normal(size=(12, 10)), rng.normal(size=12))
    expected = sum(comb(12, i) for i in range(11))  # Zaslavsky
    estimate = estimate_regions(network, [-1e3] * 10, [1e3] * 10, n_samples=50, random_state=0)
    error = estimate.standard_error
    assert error < 0.3 * expected
    assert abs(estimate.n_activation_regions - expected) < 4 * error + 1e-9 * expected


def test_estimates_above_the_greatest_double_have_logarithms():
    estimate = RegionEstimate(np.array([1100.0, 1101.0]))
    assert estimate.n_activation_regions == estimate.standard_error == np.inf
    estimate = RegionEstimate(np.array([1.0, 2.0]))
    assert estimate.n_activation_regions == pytest.approx(3)
    assert estimate.standard_error == pytest.approx(1)
