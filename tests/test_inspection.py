"""What sub-networks contribute, and the picture of it."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from skrelu import ExponentialReLURegressor
from skrelu.inspection import SubnetworkDisplay

SMALL = {"depth": 3, "n_subnetworks": 4, "n_init": 2, "random_state": 0}
X = np.random.default_rng(0).uniform(-1, 1, size=(90, 3))
Y = {
    "one": np.sin(3 * X[:, 0]) + X[:, 1],
    "two": np.stack([np.sin(3 * X[:, 0]) + X[:, 1], 100 * X[:, 2] ** 2], -1),
}


@pytest.mark.parametrize("n_levels", [1, 2])
@pytest.mark.parametrize("targets", Y)
def test_contributions_add_up_to_predictions(targets, n_levels):
    model = ExponentialReLURegressor(n_levels=n_levels, extrapolation="linear", **SMALL)
    points = np.tile(2 * X, (80, 1))  # in several chunks
    parts = model.fit(X, Y[targets]).predict_contributions(points)
    shape = (90 * 80, 2) if targets == "two" else (90 * 80,)
    assert parts.shape == (*shape, 1 + model.n_subnetworks_)
    np.testing.assert_allclose(parts.sum(-1), model.predict(points), rtol=1e-9, atol=1e-9)
    assert model.predict_contributions(X.astype(np.float32)).dtype == np.float32


def test_contributions_are_of_clipped_features_and_of_logarithms():
    model = ExponentialReLURegressor(loss="poisson", extrapolation="constant", **SMALL)
    model.fit(X, np.exp(Y["one"]))
    parts = model.predict_contributions(3 * X)
    clipped = np.clip(3 * X, X.min(0), X.max(0))
    np.testing.assert_array_equal(parts, model.predict_contributions(clipped))
    raw = np.clip(parts.sum(-1), *np.log([np.exp(Y["one"]).min(), np.exp(Y["one"]).max()]))
    np.testing.assert_allclose(np.exp(raw), model.predict(3 * X))


def test_a_subnetwork_contributes_a_function_of_where_its_direction_points():
    model = ExponentialReLURegressor(n_levels=1, refine=False, **SMALL).fit(X, Y["one"])
    parts = model.predict_contributions(X)[:, 1:]
    positions = X @ model.directions_.T + model.offsets_
    n_compared = 0
    for z, part in zip(positions.T, parts.T, strict=True):
        for outside in (z < 0, z > 1):
            if outside.sum() > 2:  # linear there
                line = np.polyval(np.polyfit(z[outside], part[outside], 1), z[outside])
                np.testing.assert_allclose(line, part[outside], atol=1e-8)
                n_compared += 1
    assert n_compared > 0


def test_the_display_shows_the_largest_contributions():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = ExponentialReLURegressor(n_levels=1, **SMALL).fit(frame, Y["two"])
    display = SubnetworkDisplay.from_estimator(model, frame, n_subnetworks=4, output=1)
    parts = model.predict_contributions(frame)[:, 1, 1:]
    sizes = np.sort(parts.std(0))[::-1]
    np.testing.assert_allclose(display.contributions.std(0), sizes[:4])
    np.testing.assert_allclose(display.contributions.mean(0), 0, atol=1e-9)
    assert display.axes_.shape == (6,)
    assert [ax.get_visible() for ax in display.axes_] == [True] * 4 + [False] * 2
    assert any(name in display.axes_[0].get_xlabel() for name in "abc")
    _, axes = plt.subplots(2)
    again = display.plot(axes)
    assert again.figure_ is axes[0].figure
    plt.close("all")
    plain = ExponentialReLURegressor(n_levels=1, **SMALL).fit(X, Y["one"])
    with pytest.raises(ValueError, match="outputs are 0 to 0"):
        SubnetworkDisplay.from_estimator(plain, X, output=1)
    with pytest.raises(ValueError, match="at least 1"):
        SubnetworkDisplay.from_estimator(plain, X, n_subnetworks=0)
    assert "x" in SubnetworkDisplay.from_estimator(plain, X).axes_[0].get_xlabel()
    plt.close("all")
