"""Nothing that can be asked for takes all memory or no end of time."""

import resource
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu.regions import (
    LinearRegionsDisplay,
    PiecewiseLinear,
    RegionRecorder,
    as_piecewise_linear,
    estimate_regions,
    expected_regions,
    express,
    fewest_neurons_for,
    max_regions,
    regions_along,
    regions_in_box,
    regions_in_plane,
)
from tests.regions.networks import random_network, sequential

HAT = PiecewiseLinear([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], left=0.0, right=0.0)


def triangles(depth):
    """A function of 2^depth linear regions in [0, 1], two neurons a layer."""
    row = [[2.0, -4.0], [2.0, -4.0]]
    inner = [(row, [0.0, -0.5])] * (depth - 1)
    return sequential([([[1.0], [1.0]], [0.0, -0.5]), *inner, ([[2.0, -4.0]], [0.0])])


@pytest.fixture(autouse=True)
def _few_gigabytes():
    """Memory that a limit of one gigabyte leaves room for, and a machine has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_lines_have_as_many_regions_as_are_allowed():
    network = triangles(6)
    assert regions_along(network, [[0], [1]], max_regions=64).n_linear_regions == 64
    message = r"more than max_regions=63 activation regions along the line; raise max_regions \(a"
    with pytest.raises(ValueError, match=message):
        regions_along(network, [[0], [1]], max_regions=63)
    with pytest.raises(ValueError, match=message):
        regions_along(network, np.linspace(0, 1, 65)[:, None], max_regions=63)
    assert as_piecewise_linear(network, max_regions=200).n_linear_regions == 66
    with pytest.raises(ValueError, match="more than max_regions=66"):
        as_piecewise_linear(network, max_regions=66)  # ends of the sides between count


def test_blocks_of_pieces_are_put_together(monkeypatch):
    network = random_network(1, [2, 12, 12, 2])
    corners = np.random.default_rng(0).normal(size=(5, 2))
    whole = regions_along(network, corners)
    monkeypatch.setattr("skrelu.regions._line.BLOCK", 30)
    parts = regions_along(network, corners)
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(parts, name), value, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "find"),
    [
        (30, regions_along),
        (60, as_piecewise_linear),
        pytest.param(60, regions_along, marks=pytest.mark.long),
        pytest.param(30, as_piecewise_linear, marks=pytest.mark.long),
    ],
)
def test_two_to_the_depth_regions_are_refused_before_memory_is_full(find, depth):
    arguments = () if find is as_piecewise_linear else ([[0], [1]],)
    with pytest.raises(ValueError, match="more than max_regions"):
        find(triangles(depth), *arguments)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_refuse_regions_that_memory_does_not_hold():
    sizes = {"depth": 30, "n_subnetworks": 1, "n_init": 1, "n_levels": 1, "max_iter": 3}
    x = np.linspace(0, 1, 99)
    model = ExponentialReLURegressor(**sizes, refine=False, random_state=0).fit(x[:, None], x**2)
    with pytest.raises(ValueError, match=r"more than max_regions=\d+ activation regions along"):
        model.linear_regions()
    with pytest.raises(ValueError, match="more than max_regions=99"):
        LinearRegionsDisplay.from_estimator(model, x[:, None], max_regions=99)


WIDE = random_network(0, [2, 2000, 2000, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        lambda: regions_along(WIDE, np.random.default_rng(0).normal(size=(300_000, 2))),
        lambda: regions_in_plane(WIDE, [-9, -9], [9, 9]),
        lambda: regions_in_box(random_network(0, [1, 500, 500, 1]), [-9], [9], max_regions=700),
    ],
)
def test_wide_networks_have_fewer_regions(call):
    with pytest.raises(ValueError, match="more than max_regions="):
        call()


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "all", None, np.nan, [3], "9"])
@pytest.mark.parametrize(
    "call",
    [
        lambda n: regions_along(triangles(2), [[0], [1]], max_regions=n),
        lambda n: as_piecewise_linear(triangles(2), max_regions=n),
        lambda n: regions_in_plane(random_network(0, [2, 3, 1]), [0, 0], [1, 1], max_regions=n),
        lambda n: regions_in_box(random_network(0, [2, 3, 1]), [0, 0], [1, 1], max_regions=n),
        lambda n: LinearRegionsDisplay.from_estimator(triangles(2), [[0], [1]], max_regions=n),
        lambda n: RegionRecorder.along([[0], [1]], max_regions=n).record(triangles(2), 0),
        lambda n: regions_in_plane(random_network(0, [2, 3, 1]), [0, 0], [1, 1]).decision_boundary(
            max_regions=n
        ),
    ],
)
def test_limits_are_positive_integers(call, wrong):
    with pytest.raises(ValueError, match=r"max_regions=.* has to be an integer, 1 or more"):
        call(wrong)


def test_decisions_of_many_outputs_are_limited():
    few = regions_in_plane(random_network(0, [2, 4, 30]), [-1, -1], [1, 1])
    with pytest.raises(ValueError, match=r"max_regions=9 .* where decisions of 30 outputs divide"):
        few.decision_regions(max_regions=9)
    many = regions_in_plane(random_network(0, [2, 4, 20_000]), [-1, -1], [1, 1])
    with pytest.raises(ValueError, match="decisions of 20000 outputs"):
        many.decision_boundary()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_regions([10**6], 10**6), r"take too long .* 2\*\*sum\(widths\)"),
        (lambda: max_regions([10**4] * 10**4, 10**4), "take too long"),
        (lambda: max_regions(count(1), 2), "more than 100000 layers"),
        (lambda: max_regions([1, -(10**5000)], 2), "widths has an integer of .* bits in it"),
        (lambda: fewest_neurons_for(10**9999, 2), r"above 2\*\*16384; ask for fewer"),
        (lambda: fewest_neurons_for(3, -(10**5000)), "has to be an integer"),
        (lambda: express(HAT, [10**5, 10**5]), "take 80001600000 bytes, more than"),
        (lambda: express(HAT, [10**12]), "take 16000000000000 bytes"),
        (lambda: expected_regions([10**5, 10**5], [[0], [1]]), "narrower networks"),
        (lambda: expected_regions([10**12], [[0], [1]]), "narrower networks"),
        (lambda: expected_regions([2], [[0], [1]], n_samples=10**12), "fewer points or samples"),
        (lambda: expected_regions([10**4], np.zeros((10**5, 1)).cumsum(0) + np.arange(10**5.0)[
            :, None], n_samples=2), "fewer points"),
        (lambda: RegionRecorder.along([[0], [1]], steps=count()), "steps lists more than"),
    ],
)  # fmt: skip
def test_sizes_without_bounds_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_large_sizes_that_are_no_work_are_bounded():
    assert max_regions([10**9], 1) == 10**9 + 1
    assert max_regions([10**9], 2) == 1 + 10**9 + 10**9 * (10**9 - 1) // 2
    assert max_regions([4] * 10_000, 1) == 5**10_000
    assert max_regions([3], 10**9) == 8


def test_estimates_follow_no_more_cells_than_memory_holds(monkeypatch):
    network = random_network(0, [3, 20, 20, 1])
    with monkeypatch.context() as patch:
        patch.setattr("skrelu.regions._estimate.MEMORY", 2**20)
        with pytest.raises(ValueError, match=r"follow .* or fewer in a group, by a smaller n_samp"):
            estimate_regions(network, [-3] * 3, [3] * 3, n_samples=10**9, random_state=0)
    wide = nn.Sequential(nn.Linear(9_000, 5), nn.ReLU(), nn.Linear(5, 1))
    with pytest.raises(ValueError, match="fewer neurons and features"):
        estimate_regions(wide, [-1] * 9_000, [1] * 9_000)


def test_all_that_is_recorded_has_a_limit():
    recorder = RegionRecorder.along([[0], [1]], max_bytes=10_000)
    for step in range(3):
        recorder.record(triangles(5), step)
    with pytest.raises(ValueError, match=r"more than max_bytes=1e\+04; raise it, or record fewer"):
        recorder.record(triangles(7), 3)
    assert recorder.steps_ == [0, 1, 2]
    recorder.record(triangles(1), 3)
    with pytest.raises(ValueError, match="max_bytes=0 has to be positive"):
        RegionRecorder.along([[0], [1]], max_bytes=0)
    long = RegionRecorder.along([[0], [1]], steps=range(0, 10**12, 10**6))
    long.record(triangles(2), 1)
    long.record(triangles(2), 10**6)
    assert long.steps_ == [10**6]
    for steps in (3, ["a"], [0.5]):
        with pytest.raises(TypeError, match=r"has to list steps|has to be an integer"):
            RegionRecorder.along([[0], [1]], steps=steps)


def test_pictures_of_many_features_take_no_square_of_them():
    network = nn.Sequential(nn.Linear(50_000, 3), nn.ReLU(), nn.Linear(3, 1))
    X = np.zeros((2, 50_000))
    assert LinearRegionsDisplay.from_estimator(network, X, features=[0, 9]).names[1] == "feature 9"
    with pytest.raises(ValueError, match=r"features=\[0, 1, 2.* has to be one or two of the 50000"):
        LinearRegionsDisplay.from_estimator(network, X)


def test_normalization_of_many_features_takes_no_square_of_them():
    network = nn.Sequential(
        nn.BatchNorm1d(50_000), nn.Linear(50_000, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)
    )
    assert regions_along(network, [[0.0] * 50_000, [1.0] * 50_000]).n_linear_regions >= 1
