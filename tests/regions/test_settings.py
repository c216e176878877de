"""Regions are the same bits whatever is set globally, and of all that holds numbers."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from skrelu.regions import (
    LinearRegionsDisplay,
    PiecewiseLinear,
    RegionCountDisplay,
    RegionRecorder,
    animate,
    as_piecewise_linear,
    estimate_regions,
    expected_regions,
    express,
    fewest_neurons,
    regions_along,
    regions_in_box,
    regions_in_plane,
)
from tests.regions.networks import random_network

HAT = PiecewiseLinear([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], left=0.0, right=0.0)
LINE = random_network(0, [1, 6, 6, 1])
PLANE = random_network(1, [2, 6, 6, 2])
MANY = random_network(2, [9, 6, 1])
NORMALIZED = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 5), nn.LeakyReLU(), nn.Linear(5, 1))


@contextmanager
def set_and_back(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


SETTINGS = {
    "float16": lambda: set_and_back(torch.set_default_dtype, torch.float16, torch.float32),
    "float64": lambda: set_and_back(torch.set_default_dtype, torch.float64, torch.float32),
    "meta": lambda: set_and_back(torch.set_default_device, "meta", None),
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "errstate": lambda: np.errstate(all="raise"),
    "deterministic": lambda: set_and_back(torch.use_deterministic_algorithms, True, False),
}


def arrays_of(regions):
    return [value for value in vars(regions).values() if isinstance(value, np.ndarray)]


def line():
    regions = regions_along(LINE, [[-3.0], [1e-300], [3.0]])
    return [*arrays_of(regions), regions.positions, regions(np.linspace(-1, 7, 9))]


def plane():
    regions = regions_in_plane(PLANE, [-2, -2], [2, 2])
    parts = [regions.areas, regions.centroids, regions.boundaries, regions.decision_boundary()]
    return [*arrays_of(regions), *parts, *regions.polygons, *regions.decision_regions()[0]]


def box():
    regions = regions_in_box(PLANE, [-2, -2], [2, 2])
    return [*arrays_of(regions), regions.volumes, regions.centers]


def pieces():
    function = as_piecewise_linear(LINE)
    made = PiecewiseLinear([0.0, 1e-200], [0.0, 1e-300], left=0.0, right=1e-200)
    parts = [function.slopes, function.breakpoints, function([-1e3, 0.1]), made.bends]
    return [*arrays_of(function), *parts, made([1e-300, -1e-320])]


def network():
    assert fewest_neurons(HAT) == 3
    return [p.detach().numpy() for p in express(HAT, [3, 3]).parameters()]


def film():
    recorder = RegionRecorder.along([[-1.0], [1.0]])
    for step in range(2):
        recorder.record(LINE, step, torch.ones((), device="cpu", requires_grad=True))
    axes = RegionCountDisplay.from_recorder(recorder).ax_
    drawn = animate(recorder)
    drawn._draw_frame(1)
    drawn._draw_was_started = True
    plt.close("all")
    return [recorder.n_linear_regions_, recorder.losses_, axes.lines[0].get_ydata()]


def picture():
    X = np.random.default_rng(0).normal(size=(9, 2))
    shown = LinearRegionsDisplay.from_estimator(PLANE, X, kind="decision")
    plt.close("all")
    return arrays_of(shown.regions)


PATHS = {
    "line": line,
    "plane": plane,
    "box": box,
    "pieces": pieces,
    "network": network,
    "normalized": lambda: arrays_of(regions_along(NORMALIZED, [[-1, 0], [1, 2]])),
    "film": film,
    "picture": picture,
    "expected": lambda: vars(expected_regions([5, 5], [[0], [1]], n_samples=9, random_state=0)),
    "corners": lambda: [
        estimate_regions(PLANE, [-2, -2], [2, 2], n_samples=20, random_state=0).log2_counts,
        estimate_regions(PLANE, [-2, -2], [2, 2], random_state=0).standard_error,
    ],
    "walls": lambda: [
        estimate_regions(MANY, [-1] * 9, [1] * 9, n_samples=20, random_state=0).log2_counts
    ],
}


def bits_of(path):
    found = PATHS[path]()
    values = found.values() if isinstance(found, dict) else found
    return [np.array(value) for value in values]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("path", PATHS)
def test_results_are_the_same_bits_under_global_settings(path, setting):
    expected = bits_of(path)
    with SETTINGS[setting]():
        found = bits_of(path)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_nothing_global_is_drawn_from_or_changed(path):
    def state():
        numbers = [np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
        modes = [torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()]
        return [*numbers, *modes, np.geterr(), list(warnings.filters)]

    before = state()
    PATHS[path]()
    assert state() == before


def test_modules_made_in_inference_mode_are_read():
    with torch.inference_mode():
        made = random_network(0, [1, 6, 6, 1])
    expected = regions_along(LINE, [[-3.0], [3.0]])
    found = regions_along(made, [[-3.0], [3.0]])
    np.testing.assert_array_equal(found.slopes, expected.slopes)


def test_expressed_networks_can_be_trained_wherever_they_were_made():
    for setting in ("no_grad", "inference", "meta"):
        with SETTINGS[setting]():
            made = express(HAT)
        x = torch.ones(1, 1, dtype=torch.float64)
        made(x).sum().backward()
        assert made[0].weight.grad is not None


CORNERS = [[0.0, 0.5], [1.0, 2.0]]
HOLDERS = {
    "array of float32": lambda values: np.array(values, np.float32),
    "lists": lambda values: values,
    "tensor": torch.tensor,
    "tensor that requires gradients": lambda values: torch.tensor(values, requires_grad=True),
    "bfloat16": lambda values: torch.tensor(values, dtype=torch.bfloat16),
    "sparse tensor": lambda values: torch.tensor(values).to_sparse(),
    "rows that require gradients": lambda values: [
        torch.tensor(row, requires_grad=True) for row in values
    ],
    "pandas": pd.DataFrame,
    "nullable pandas": lambda values: pd.DataFrame(values).convert_dtypes(),
    "polars": lambda values: pl.DataFrame(values, orient="row"),
    "masked": np.ma.array,
    "strings of objects": lambda values: np.array(values, object),
}


@pytest.mark.slow
@pytest.mark.parametrize("holder", HOLDERS)
def test_numbers_are_read_from_all_that_holds_them(holder):
    hold = HOLDERS[holder]
    network = random_network(0, [2, 5, 1])
    expected = regions_along(network, CORNERS)
    np.testing.assert_array_equal(regions_along(network, hold(CORNERS)).slopes, expected.slopes)
    record = RegionRecorder.along(hold(CORNERS))
    record.record(network, 0)
    np.testing.assert_array_equal(record.regions_[0].slopes, expected.slopes)
    plane = regions_in_plane(network, [0, 0], [1, 1], axes=hold(CORNERS))
    assert plane.n_activation_regions >= 1
    held = expected_regions([3], hold(CORNERS), n_samples=4, random_state=0)
    assert held == expected_regions([3], CORNERS, n_samples=4, random_state=0)
    picture = LinearRegionsDisplay.from_estimator(network, hold(CORNERS))
    assert picture.regions.n_linear_regions >= 1
    plt.close("all")


def test_corners_and_pieces_may_be_tensors():
    corner = torch.ones(2, requires_grad=True)
    for find in (regions_in_plane, regions_in_box, estimate_regions):
        assert find(PLANE, -corner, corner).n_activation_regions >= 1
    points = torch.tensor([0.0, 1.0], requires_grad=True)
    function = PiecewiseLinear(points, points, left=corner[0], right=corner[1])
    with torch.no_grad():
        points += 7  # of which the function is independent
    np.testing.assert_array_equal(function(points), [7, 8])
    assert as_piecewise_linear(LINE, center=corner[0], scale=corner[:1]).n_linear_regions > 1


NO_NUMBERS = {
    "text": [["a", "b"], ["c", "d"]],
    "digits": [["1", "2"], ["3", "4"]],
    "complex": np.ones((2, 2), complex),
    "complex tensor": torch.ones(2, 2, dtype=torch.complex64),
    "dates": np.zeros((2, 2), "M8[D]"),
    "meta": torch.ones(2, 2, device="meta"),
    "ragged": [[1.0], [1.0, 2.0]],
    "None": None,
    "a dict": {"x": [1.0]},
    "too great": [[10**400, 1], [2, 3]],
}


@pytest.mark.parametrize("values", NO_NUMBERS)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("points", lambda bad: regions_along(PLANE, bad)),
        ("points", lambda bad: RegionRecorder.along(bad)),
        ("points", lambda bad: expected_regions([3], bad)),
        ("lower", lambda bad: regions_in_plane(PLANE, bad, [1, 1])),
        ("upper", lambda bad: regions_in_box(PLANE, [0, 0], bad)),
        ("upper", lambda bad: RegionRecorder.in_plane([0, 0], bad)),
        ("lower", lambda bad: estimate_regions(PLANE, bad, [1, 1])),
        ("values", lambda bad: PiecewiseLinear([0, 1], bad, 0, 0)),
        ("x", lambda bad: HAT(bad)),
        ("positions", lambda bad: regions_along(LINE, [[0], [1]])(bad)),
        ("center", lambda bad: as_piecewise_linear(LINE, center=bad)),
        ("level", lambda bad: regions_in_plane(PLANE, [0, 0], [1, 1]).decision_boundary(bad)),
        ("X", lambda bad: LinearRegionsDisplay.from_estimator(PLANE, bad)),
        ("loss", lambda bad: RegionRecorder.along([[0], [1]]).record(LINE, 0, bad)),
        ("positions", lambda bad: RegionCountDisplay(bad, {})),
    ],
)
def test_what_is_no_numbers_is_refused_by_name(name, call, values):
    with pytest.raises(ValueError, match=rf"\b{name} (cannot be read as numbers: .* Give an|has)"):
        call(NO_NUMBERS[values])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(bad):
    masked = np.ma.array(CORNERS, mask=[[True, False], [False, False]])
    for points in ([[bad, 0], [1, 1]], masked):
        with pytest.raises(ValueError, match="points has to be finite"):
            regions_along(PLANE, points)
        with pytest.raises(ValueError, match="points has to be finite"):
            expected_regions([3], points)
    with pytest.raises(ValueError, match="x has to be finite"):
        HAT(bad)
    with pytest.raises(ValueError, match="have to be finite, and scale positive"):
        as_piecewise_linear(LINE, center=bad)


def test_ranges_that_float64_does_not_hold_are_refused():
    with pytest.raises(ValueError, match="1e9 times scale below the greatest double"):
        as_piecewise_linear(LINE, scale=1e305)
    with pytest.raises(ValueError, match="above the rounding of center"):
        as_piecewise_linear(LINE, center=1e300, scale=1e-9)
    assert as_piecewise_linear(LINE, center=1e9, scale=1e-9).n_linear_regions >= 1
    with pytest.raises(ValueError, match="points are too far apart for float64"):
        expected_regions([3], [[-1.7e308], [1.7e308]])
    with pytest.raises(ValueError, match="X has a range that is too great for float64"):
        LinearRegionsDisplay.from_estimator(LINE, [[-1.7e308], [1.7e308]])
