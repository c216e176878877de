"""Tables of all sizes that doubles have, exported networks included."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._data.scaling import MOST, Scaling, quotients
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._networks.relu_network import ReLUNetwork
from tests.paths import SMALL, make_table

LARGEST, SMALLEST = np.finfo(float).max, 5e-324
X, y = make_table()
EVEN = np.full(60, 1 / 60)


def fit(X, y, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ExponentialReLURegressor(**{**SMALL, "n_levels": 1, **parameters}).fit(X, y)


def export(model, X):
    with torch.no_grad():
        return model.to_torch()(torch.tensor(X)).numpy().reshape(model.predict(X).shape)


@pytest.mark.parametrize("power", [-1000, -900, -500, 0, 500, 900, 1020])
@pytest.mark.parametrize("of", ["of", "of_quantiles"])
def test_powers_of_two_change_nothing(of, power):
    values = np.random.default_rng(0).normal(size=(60, 4)) + np.array([0, 1, 100, 0])
    values[:, 3] = 7

    def scaled(values):
        levels = ([0.3],) if of == "of_quantiles" else ()
        scaling = getattr(Scaling, of)(values, EVEN, *levels)
        return scaling, scaling.apply(values)

    plain, standardized = scaled(values / 2**8)
    moved, again = scaled(np.ldexp(values / 2**8, power))
    np.testing.assert_array_equal(again, standardized)
    for one, other in zip(plain, moved, strict=True):
        np.testing.assert_array_equal(np.ldexp(one, power), other)
    np.testing.assert_array_equal(moved.undo(again), np.ldexp(plain.undo(standardized), power))


def test_columns_may_reach_from_end_to_end():
    values = np.array([[-LARGEST, 0.0], [LARGEST, SMALLEST], [0.0, 3 * SMALLEST]])
    for scaling in (
        Scaling.of(values, np.full(3, 1 / 3)),
        Scaling.of_quantiles(values, np.full(3, 1 / 3), [0.1, 0.9]),
    ):
        standardized = scaling.apply(values)
        assert (scaling.scale > 0).all()
        assert np.abs(standardized).max() < 5
        np.testing.assert_allclose(scaling.undo(standardized), values, rtol=1e-15)
    assert Scaling.of_logarithms(np.full((3, 1), LARGEST), np.full(3, 1 / 3)).mean < 709.8
    assert Scaling.of_logarithms(values[:, 1:], np.full(3, 1 / 3)).mean == np.log(SMALLEST)


def test_quotients_are_cut_and_do_not_overflow_on_the_way():
    np.testing.assert_allclose(quotients(1e-5, 1e308, 1e-4), 1e307, rtol=1e-15)
    np.testing.assert_allclose(quotients(1e300, 1e200, 1e300), 1e200, rtol=1e-15)
    np.testing.assert_allclose(quotients(3.0, SMALLEST, SMALLEST), 3.0)
    assert quotients(-1.0, 1e300, 1e-300) == -MOST
    assert quotients(1.0, 1.0, 0.0) == quotients(0.0, LARGEST, SMALLEST) == 0


@pytest.mark.slow
@pytest.mark.parametrize("power", [-960, -500, 500, 1000, 1021])
@pytest.mark.parametrize("extrapolation", ["linear", "constant"])
def test_models_in_other_units_are_the_same(power, extrapolation):
    model = fit(X, y, extrapolation=extrapolation)
    inputs, small = np.ldexp(X, power), {"rtol": 1e-12, "atol": SMALLEST}
    moved = copy.copy(model)
    for name in ("X_mean_", "X_scale_", "X_limits_"):
        if getattr(model, name) is not None:
            setattr(moved, name, np.ldexp(getattr(model, name), power))
    np.testing.assert_array_equal(moved.predict(inputs), model.predict(X))
    np.testing.assert_array_equal(
        moved.predict_contributions(inputs), model.predict_contributions(X)
    )
    np.testing.assert_allclose(export(moved, inputs), model.predict(X), rtol=1e-10)
    slopes = np.ldexp(model.predict_gradient(X), -power)
    np.testing.assert_allclose(moved.predict_gradient(inputs), slopes, **small)
    moved = copy.copy(model)
    for name in ("y_mean_", "y_scale_", "y_limits_"):
        if getattr(model, name) is not None:
            setattr(moved, name, np.ldexp(getattr(model, name), power))
    np.testing.assert_array_equal(moved.predict(X), np.ldexp(model.predict(X), power))
    np.testing.assert_allclose(export(moved, X), moved.predict(X), rtol=1e-10)
    parts = np.ldexp(model.predict_contributions(X), power)
    np.testing.assert_array_equal(moved.predict_contributions(X), np.clip(parts, -MOST, MOST))
    slopes = np.clip(np.ldexp(model.predict_gradient(X), power), -MOST, MOST)
    np.testing.assert_allclose(moved.predict_gradient(X), slopes, **small)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "loss"),
    [
        pytest.param(
            size, loss, marks=[] if loss == "squared_error" or size == 1e307 else pytest.mark.long
        )
        for size in (1e-310, 1e-323, 1e307, LARGEST / 3)
        for loss in ("squared_error", "huber", "quantile", "poisson")
    ],
)
@np.errstate(invalid="ignore")  # checks of scikit-learn add all features up
def test_targets_and_features_near_the_ends_are_met(size, loss):
    lift = 2 if loss == "poisson" else 0
    shape = (np.sin(3 * X[:, 0]) - X[:, 1] * X[:, 2] + lift) * (1 / 3 if lift else 1)
    quantile = {"quantile": [0.1, 0.9]} if loss == "quantile" else {}
    for features, target in ((X, shape * size), ((X - 0.5) * 2 * size, shape)):
        model = fit(features, target, loss=loss, max_iter=10, **quantile)
        outer = np.concatenate([features, -features, np.full((1, 3), LARGEST)])
        for values in (
            model.predict(outer),
            model.predict_gradient(outer),
            model.predict_contributions(outer),
            model.directions_,
            model.offsets_,
            model.feature_importances_,
        ):
            assert np.isfinite(values).all()
        assert model.feature_importances_.sum() == pytest.approx(1)
        if size != 1e-323:
            exported, predicted = export(model, features), model.predict(features)
            atol = 1e-9 * np.abs(predicted).max()
            np.testing.assert_allclose(exported, predicted, rtol=1e-9, atol=atol)
            if loss == "squared_error":
                assert np.corrcoef(predicted / np.abs(target).max(), shape)[0, 1] > 0.9


@pytest.mark.parametrize("power", [-960, 1023])
def test_classifiers_take_features_of_any_size(power):
    moved = np.ldexp(X, power)
    model = ExponentialReLUClassifier(n_init=2, n_subnetworks=2, random_state=0)
    model.fit(moved, y > np.median(y))
    assert model.score(moved, y > np.median(y)) > 0.85
    assert np.isfinite(model.predict_gradient(moved)).all()


@pytest.mark.slow
@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, 1e12, 1e15, -1e9])
@pytest.mark.parametrize("parameters", [{}, {"extrapolation": "constant"}, {"n_levels": 2}])
def test_exported_networks_are_exact_far_from_zero(offset, parameters):
    moved = X + np.array([offset, 0, 0])
    model = fit(moved, y, **parameters)
    outer = np.concatenate([moved, moved + np.array([1, -1, 1])])
    predicted = model.predict(outer)
    assert np.abs(export(model, outer) - predicted).max() < 1e-8 * np.ptp(predicted)


def test_exported_networks_are_plain_and_free():
    model = fit(X, y, refine=False, extrapolation="linear")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.inference_mode():
        network = model.to_torch()
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    assert [type(module) for module in network] == [torch.nn.Linear, torch.nn.ReLU] * 2 + [
        torch.nn.Linear
    ]
    for parameter in network.parameters():
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert not parameter.is_inference()
        assert parameter.dtype == torch.float64
        assert parameter.is_contiguous()
    expected = model.predict(X)
    network(torch.tensor(X)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.predict(X), expected)


def test_exported_networks_of_wide_tables_are_small():
    n_features = 20_000
    network = ReLUNetwork(n_features, 2, 2, 1)
    weights = network.unpack(torch.ones(network.n_parameters, dtype=torch.float64))
    scaling = Scaling(np.zeros(n_features), np.ones(n_features))
    unit = Scaling(np.zeros(1), np.ones(1))
    stored = StoredNetwork(network, weights, scaling, unit, None, None, False, False)
    exported = stored.to_torch()  # an identity would take 3.2 GB
    assert sum(part.numel() for part in exported.parameters()) < 12 * n_features


def test_rows_of_hardly_any_weight_leave_predictions_and_export_alike():
    y = np.array([0.9, -0.9, 0.3])
    for X in ([[3.4], [-1.8], [0.5]], [[3.4], [0.0], [0.5]]):
        model = ExponentialReLURegressor(random_state=0).fit(X, y, [1e-133, 1e143, 1e-200])
        predicted = model.predict(X)
        assert predicted[1] == pytest.approx(-0.9)
        np.testing.assert_allclose(export(model, np.array(X)), predicted, rtol=1e-9)


@pytest.mark.slow
def test_exported_networks_are_cut_at_the_largest_double():
    model = fit(X, np.sin(3 * X[:, 0]) * LARGEST / 2, extrapolation="linear")
    outer = np.concatenate([X, 1e4 * X, -1e4 * X])
    predicted = model.predict(outer)
    assert np.abs(predicted).max() == LARGEST
    np.testing.assert_allclose(export(model, outer) / LARGEST, predicted / LARGEST, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("far", [1e30, 1e50, 1e300])
@pytest.mark.parametrize("classes", [False, True])
def test_held_out_rows_may_be_far_away(far, classes):
    target = y > np.median(y) if classes else y
    kind = ExponentialReLUClassifier if classes else ExponentialReLURegressor
    model = kind(**SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, target, X_val=far * X, y_val=target)
    assert np.isfinite(model.predict_gradient(X)).all()
    assert np.isfinite(model.predict_contributions(X)).all()


@pytest.mark.slow
@pytest.mark.parametrize("extrapolation", ["constant", "auto"])
@np.errstate(invalid="ignore", over="ignore")  # checks of scikit-learn add all features up
def test_exported_networks_clip_exactly_however_far_away(extrapolation):
    rng = np.random.default_rng(0)
    noisy = y + 0.4 * y.std() * rng.normal(size=len(y))
    for target in (noisy, noisy / np.abs(noisy).max() * LARGEST * 0.9):
        model = fit(X, target, extrapolation=extrapolation)
        assert model.X_limits_ is not None
        outer = np.concatenate([X, 1e20 * X, -1e300 * X, LARGEST * np.sign(X - 0.5)])
        predicted, size = model.predict(outer), np.abs(target).max()
        np.testing.assert_allclose(export(model, outer) / size, predicted / size, atol=1e-9)


def test_quantiles_of_very_different_sizes_are_exported():
    model = fit(X, y, loss="quantile", quantile=[0.1, 0.5, 0.9], extrapolation="constant")
    model.intercept_ = model.intercept_ + np.array([0, -1e49, 0])
    np.testing.assert_allclose(export(model, X), model.predict(X), atol=1e-9)


def test_rows_whose_share_of_the_weight_rounds_to_nothing_are_left_out():
    labels = np.arange(60) % 3
    weights = np.where(np.arange(60) < 12, 1e200, 1e-150)
    model = ExponentialReLUClassifier(**SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, labels, weights)
    assert np.isfinite(model.predict_proba(X)).all()
