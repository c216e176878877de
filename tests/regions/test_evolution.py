"""What is recorded while networks train, and how it is drawn."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from sklearn.neural_network import MLPClassifier
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu.regions import (
    LinearRegionsDisplay,
    RegionCountDisplay,
    RegionRecorder,
    animate,
    regions_along,
    regions_in_plane,
)
from tests.regions.networks import random_network

matplotlib.use("Agg")
X = np.linspace(0, 1, 200)[:, None]
WAVES = {"n_levels": 1, "n_subnetworks": 1, "n_init": 1, "random_state": 0}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.mark.slow
def test_triangle_waves_have_all_regions_at_start_and_all_through_pretraining():
    recorder = RegionRecorder.along([[-100.0], [100.0]])
    model = ExponentialReLURegressor(depth=4, refine=False, **WAVES).set_callbacks(recorder)
    model.fit(X, np.sin(5 * X[:, 0]))
    assert recorder.steps_ == list(range(model.n_iter_ + 2))
    assert set(recorder.stages_) == {"pretraining", "end"}
    assert (recorder.n_linear_regions_ == 2**4).all()
    assert recorder.losses_[1:-1] == model.loss_curve_[1:]
    np.testing.assert_array_equal(
        recorder.regions_[-1].lengths, regions_along(model, [[-100.0], [100.0]]).lengths
    )


@pytest.mark.long
@pytest.mark.slow
def test_chosen_steps_and_the_fitted_model_are_recorded_anew_in_each_fit():
    recorder = RegionRecorder.along(X[[0, -1]], steps=range(0, 1000, 5))
    model = ExponentialReLURegressor(depth=3, **WAVES).set_callbacks(recorder)
    for _ in range(2):
        model.fit(X, np.sin(5 * X[:, 0]))
        last = model.n_iter_ + 1
        assert recorder.steps_[-1] == last
        assert recorder.stages_[-1] == "end"
        assert set(recorder.steps_[:-1]) <= set(range(0, last, 5))
        assert {"pretraining", "refinement"} <= set(recorder.stages_)
        assert "limit" not in recorder.stages_


def test_a_plain_training_loop_is_recorded():
    network = random_network(0, [2, 8, 8, 1])
    points = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = (points.prod(1, keepdim=True) > 0).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    recorder = RegionRecorder.in_plane([-2, -2], [2, 2], steps=[0, 10, 30])
    for step in range(31):
        loss = nn.functional.binary_cross_entropy_with_logits(network(points), target)
        recorder.record(network, step, loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert recorder.steps_ == [0, 10, 30]
    assert recorder.losses_[0] > recorder.losses_[-1]
    first = regions_in_plane(random_network(0, [2, 8, 8, 1]), [-2, -2], [2, 2])
    assert recorder.n_activation_regions_[0] == first.n_activation_regions
    boundaries = recorder.decision_boundaries()
    np.testing.assert_array_equal(boundaries[0], first.decision_boundary())
    with pytest.raises(ValueError, match="Step 30 comes after step 30; steps have to increase"):
        recorder.record(network, 30)
    recorder = RegionRecorder.in_plane([-2, -2], [2, 2], steps=(step for step in (1, 2)))
    with pytest.raises(ValueError, match=r"loss has shape \(3,\), but has to be one number"):
        recorder.record(network, 1, torch.ones(3))
    recorder.record(network, 1)
    recorder.record(network, 2)
    assert len(recorder.regions_) == len(recorder.losses_) == len(recorder.steps_) == 2
    recorder = RegionRecorder.in_plane([-2, -2], [2, 2], steps=[0, 10])
    recorder.record(random_network(0, [2, 8, 8, 1]), 0)
    recorder.record(network, 10)
    display = RegionCountDisplay.from_recorder(recorder)
    np.testing.assert_array_equal(display.ax_.lines[1].get_ydata(), recorder.n_linear_regions_)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regions", "decision"])
def test_films_have_a_frame_a_step(kind, tmp_path):
    recorder = RegionRecorder.in_plane([-1, -1], [1, 1])
    for step in range(3):
        recorder.record(random_network(step, [2, 5, 2]), step)
    film = animate(recorder, kind=kind)
    film.save(tmp_path / "film.gif", writer="pillow")
    assert film._save_count == 3
    assert len(film._fig.axes) == 1


def test_a_film_of_a_line_keeps_its_range():
    recorder = RegionRecorder.along([[-1], [1]])
    for step in range(3):
        recorder.record(random_network(step, [1, 5, 1]), step)
    film = animate(recorder)
    limits = []
    for frame in range(3):
        film._draw_frame(frame)
        limits.append(film._fig.axes[0].get_ylim())
    assert len(set(limits)) == 1
    film._draw_was_started = True
    with pytest.raises(ValueError, match="record with in_plane"):
        recorder.decision_boundaries()
    with pytest.raises(ValueError, match="Nothing was recorded"):
        animate(RegionRecorder.along([[-1], [1]]))


def test_the_line_of_one_feature_is_drawn_with_its_breakpoints():
    model = ExponentialReLURegressor(depth=4, refine=False, **WAVES).fit(X, X[:, 0] ** 2)
    display = LinearRegionsDisplay.from_estimator(model, X)
    line, points = display.ax_.lines
    assert len(points.get_xdata()) == display.regions.n_linear_regions - 1 == 15
    np.testing.assert_allclose(model.predict(line.get_xdata()[:, None]), line.get_ydata())
    assert line.get_xdata()[0] == pytest.approx(-0.05)


@pytest.mark.slow
def test_features_are_drawn_at_the_medians_of_the_others():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    model = ExponentialReLURegressor(depth=2, n_subnetworks=3, n_init=1, n_levels=1)
    model.fit(frame, frame["a"] * frame["b"])
    axes = pyplot.subplots()[1]
    display = LinearRegionsDisplay.from_estimator(model, frame, features=["c", "a"], ax=axes)
    assert display.ax_ is axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("c", "a")
    regions = display.regions
    at = np.tile(frame.median().to_numpy(), (len(regions.vertices), 1))
    at[:, [2, 0]] = regions.vertices
    expected = model.predict(pd.DataFrame(at, columns=frame.columns))
    np.testing.assert_allclose(regions.values[:, 0], expected, atol=1e-9)
    display = LinearRegionsDisplay.from_estimator(model, frame, features="b")
    at = np.tile(frame.median().to_numpy(), (5, 1))
    at[:, 1] = np.linspace(*display.ax_.lines[0].get_xdata()[[0, -1]], 5)
    expected = model.predict(pd.DataFrame(at, columns=frame.columns))
    np.testing.assert_allclose(display.regions(at[:, 1] - at[0, 1])[:, 0], expected, atol=1e-9)


def test_decisions_are_mapped():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(100, 2))
    model = MLPClassifier(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0)
    model.fit(points, (points[:, 0] > 0) + (points[:, 1] > 0).astype(int))
    regions = LinearRegionsDisplay.from_estimator(model, points, kind="decision").regions
    polygons, decisions = regions.decision_regions()
    middles = np.array([polygon.mean(0) for polygon in polygons])
    np.testing.assert_array_equal(decisions, model.predict(middles))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"features=\[0, 1, 2\] has to be one or two of the 3"),
        ({"features": [0, 3]}, "has to be one or two"),
        ({"features": "d"}, "has to be one or two"),
        ({"features": [1, 1]}, "has to be one or two"),
        ({"features": [0, 1], "kind": "map"}, "kind='map' has to be 'regions' or 'decision'"),
        ({"features": 0, "kind": "decision"}, "kind='decision' is of planes"),
        ({"features": 0, "output": 1}, "output=1, but the network has 1 outputs"),
        ({"X": [[1.0, 2]]}, r"X has shape \(1, 2\), but has to be finite .* the 3 features"),
    ],
)
def test_what_cannot_be_drawn_is_said(options, message):
    data = options.pop("X", np.arange(12.0).reshape(4, 3))
    with pytest.raises(ValueError, match=message):
        LinearRegionsDisplay.from_estimator(random_network(0, [3, 2, 1]), data, **options)


def test_recorders_check_what_they_are_given():
    with pytest.raises(TypeError, match="find=5 has to take a model"):
        RegionRecorder(5)
    with pytest.raises(TypeError, match=r"step=0\.5 has to be an integer"):
        RegionRecorder.along([[-1], [1]]).record(random_network(0, [1, 5, 1]), 0.5)


def test_films_and_displays_check_what_they_are_given():
    recorder = RegionRecorder.along([[-1], [1]])
    recorder.record(random_network(0, [1, 5, 1]), 0)
    for options, message in [
        ({"kind": "decision"}, "of planes"),
        ({"kind": "bogus"}, "kind='bogus'"),
        ({"output": 5}, "output=5, but"),
    ]:
        with pytest.raises(ValueError, match=message):
            animate(recorder, **options)
    with pytest.raises(ValueError, match="has to have 1, one an axis"):
        LinearRegionsDisplay(recorder.regions_[0], names=["x", "y"])
    with pytest.raises(TypeError, match="Cannot draw ndarray; give what regions_along"):
        LinearRegionsDisplay(np.zeros(3))
    with pytest.raises(ValueError, match="Nothing was recorded"):
        RegionCountDisplay.from_recorder(RegionRecorder.along([[-1], [1]]))


def test_a_linear_region_has_one_colour():
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():  # x + y
        network[0].weight[:] = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])
        network[0].bias.zero_()
        network[2].weight[:] = torch.tensor([[1, -1, 1, -1]])
    display = LinearRegionsDisplay(regions_in_plane(network, [-1, -1], [1, 1])).plot()
    colours = display.ax_.collections[0].get_array()
    assert (display.regions.n_activation_regions, display.regions.n_linear_regions) == (4, 1)
    assert np.ptp(colours) < 1e-12


def test_counts_have_a_position_each():
    with pytest.raises(ValueError, match=r"counts\['a'\] has shape \(1, 2\), but there are 3"):
        RegionCountDisplay([1, 2, 3], {"a": [1, 2]})


def test_a_missing_matplotlib_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        RegionCountDisplay([1], {"a": [1]}).plot()
