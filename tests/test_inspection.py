"""What sub-networks contribute, and the picture of it."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skrelu import ExponentialReLURegressor
from skrelu.inspection import SubnetworkDisplay
from skrelu.regions import LinearRegionsDisplay

SMALL = {"depth": 3, "n_subnetworks": 4, "n_init": 2, "random_state": 0}
X = np.random.default_rng(0).uniform(-1, 1, size=(90, 3))
Y = {
    "one": np.sin(3 * X[:, 0]) + X[:, 1],
    "two": np.stack([np.sin(3 * X[:, 0]) + X[:, 1], 100 * X[:, 2] ** 2], -1),
}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    _, axes = plt.subplots(2, 2)
    again = display.plot(axes)
    assert again.figure_ is axes[0, 0].figure
    plt.close("all")
    plain = ExponentialReLURegressor(n_levels=1, **SMALL).fit(X, Y["one"])
    with pytest.raises(ValueError, match="outputs are 0 to 0"):
        SubnetworkDisplay.from_estimator(plain, X, output=1)
    with pytest.raises(ValueError, match="n_subnetworks=0 has to be an integer, 1"):
        SubnetworkDisplay.from_estimator(plain, X, n_subnetworks=0)
    assert "x" in SubnetworkDisplay.from_estimator(plain, X).axes_[0].get_xlabel()
    plt.close("all")


FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def small():
    return ExponentialReLURegressor(n_levels=1, refine=False, **SMALL)


def search(model):
    return GridSearchCV(model, {}, cv=2)


HOLDERS = {
    "a search": lambda: search(small()),
    "a pipeline of one step": lambda: make_pipeline(small()),
    "a pipeline": lambda: make_pipeline(FunctionTransformer(), small()),
    "a pipeline that passes through": lambda: make_pipeline("passthrough", small()),
    "a pipeline in a pipeline": lambda: make_pipeline(
        make_pipeline(FunctionTransformer(), small())
    ),
    "other targets": lambda: TransformedTargetRegressor(small()),
    "all": lambda: search(TransformedTargetRegressor(make_pipeline("passthrough", small()))),
    "frozen": lambda: FrozenEstimator(make_pipeline(small()).fit(FRAME, Y["one"])),
}


@pytest.mark.slow
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_network_is_drawn_as_the_network(holder):
    plain, held = small().fit(FRAME, Y["one"]), HOLDERS[holder]().fit(FRAME, Y["one"])
    expected = SubnetworkDisplay.from_estimator(plain, FRAME)
    found = SubnetworkDisplay.from_estimator(held, FRAME)
    np.testing.assert_array_equal(found.contributions, expected.contributions)
    assert found.labels == expected.labels
    expected = LinearRegionsDisplay.from_estimator(plain, FRAME, features=["b"])
    found = LinearRegionsDisplay.from_estimator(held, FRAME, features=["b"])
    np.testing.assert_array_equal(found.regions.slopes, expected.regions.slopes)
    assert found.names == expected.names == ("b",)


def test_steps_of_pipelines_transform_data_and_name_features():
    frame = FRAME.assign(kind=np.where(X[:, 0] > 0, "p", "q"))
    encoder = OneHotEncoder(drop="if_binary")  # sparse
    columns = ColumnTransformer([("z", StandardScaler(), ["a", "b"]), ("k", encoder, ["kind"])])
    columns.sparse_threshold = 1.0
    dense = FunctionTransformer(lambda values: values.toarray(), feature_names_out="one-to-one")
    model = make_pipeline(columns, dense, small()).fit(frame, Y["one"])
    display = LinearRegionsDisplay.from_estimator(model, frame, features=["z__b"])
    assert display.names == ("z__b",)
    assert display.begin == pytest.approx(StandardScaler().fit_transform(FRAME)[:, 1].min(), abs=1)
    labels = " ".join(SubnetworkDisplay.from_estimator(model, frame).labels)
    assert "z__a" in labels
    unnamed = make_pipeline(FunctionTransformer(np.asarray), small()).fit(frame[["a"]], Y["one"])
    assert LinearRegionsDisplay.from_estimator(unnamed, frame[["a"]]).names == ("feature 0",)
    assert "x0" in SubnetworkDisplay.from_estimator(unnamed, frame[["a"]]).labels[0]


FITTED = small().fit(FRAME, Y["one"])


@pytest.mark.parametrize("display", [SubnetworkDisplay, LinearRegionsDisplay])
@pytest.mark.parametrize(
    ("model", "data", "error", "message"),
    [
        (small(), X, NotFittedError, "not fitted yet"),
        (make_pipeline(StandardScaler(), small()), X, NotFittedError, "not fitted yet"),
        (search(small()), X, NotFittedError, "not fitted yet"),
        (TransformedTargetRegressor(small()), X, NotFittedError, "not fitted yet"),
        (ExponentialReLURegressor, X, TypeError, "is a class"),
        (LinearRegression().fit(X, Y["one"]), X, TypeError, "Cannot (draw|read) a LinearRegr"),
        (make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y["one"]), X, TypeError,
         "Cannot (draw|read) a LinearRegression; give"),
        (make_pipeline(StandardScaler(), "passthrough").fit(X), X, TypeError,
         "Cannot (draw|read) a str; give"),
        (BaggingRegressor(LinearRegression(), 2).fit(X, Y["one"]), X, TypeError,
         "Cannot (draw|read) a BaggingRegressor"),
        (GridSearchCV(LinearRegression(), {}, refit=False, cv=2).fit(X, Y["one"]), X,
         (ValueError, AttributeError), "refit=True|refit"),
        (FITTED, FRAME[["b", "a", "c"]], ValueError,
         r"X has columns \['b', 'a', 'c'\], but the model was fitted to \['a', 'b', 'c'\]; give"),
        (FITTED, FRAME.rename(columns={"c": "d"}), ValueError, "X has columns .* fitted to"),
        (FITTED, FRAME[["a", "b"]], ValueError, "X has columns .* fitted to"),
        (FITTED, X[:, :2], ValueError, r"X has shape \(90, 2\), but .* the 3 features"),
        (FITTED, X[0], ValueError, r"X has shape \(3,\)"),
        (FITTED, X[:0], ValueError, r"X has shape \(0, 3\)"),
        (FITTED, np.where(X > 0.9, np.nan, X), ValueError, "has to be finite"),
        (FITTED, [["a", "b", "c"]], ValueError, "X cannot be read as numbers"),
    ],
)  # fmt: skip
def test_models_and_data_that_cannot_be_drawn_are_refused(display, model, data, error, message):
    options = {"features": [0]} if display is LinearRegionsDisplay else {}
    with pytest.raises(error, match=message):
        display.from_estimator(model, data, **options)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_subnetworks": 2.0}, ValueError, r"n_subnetworks=2\.0 has to be an integer, 1 or more"),
        ({"n_subnetworks": "all"}, ValueError, "n_subnetworks='all' has to be an integer"),
        ({"n_subnetworks": None}, ValueError, "n_subnetworks=None has to be an integer"),
        ({"output": 0.0}, ValueError, r"output=0\.0, but .* outputs are 0 to 0"),
        ({"output": "y"}, ValueError, "output='y', but"),
        ({"output": -2}, ValueError, "output=-2, but"),
        ({"axes": []}, ValueError, "0 axes, but 6 sub-networks to draw"),
        ({"axes": [1, 2, 3, 4]}, TypeError, "has to be of matplotlib Axes"),
        ({"axes": "new"}, TypeError, "has to be of matplotlib Axes"),
    ],
)
def test_options_of_the_display_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        SubnetworkDisplay.from_estimator(FITTED, X, **options)


def test_axes_are_one_a_subnetwork():
    axes = plt.subplots(3)[1]
    with pytest.raises(
        ValueError, match=r"There are 3 axes, but 6 sub-networks to draw; .* smaller n_sub"
    ):
        SubnetworkDisplay.from_estimator(FITTED, FRAME, axes=axes)
    display = SubnetworkDisplay.from_estimator(FITTED, FRAME, n_subnetworks=3, axes=axes)
    assert list(display.axes_) == list(axes)
    one = SubnetworkDisplay.from_estimator(FITTED, FRAME, n_subnetworks=np.int64(1), axes=axes[0])
    assert one.axes_.shape == (1,)


@pytest.mark.parametrize("shapes", [((3, 2), (3, 1), 2), ((3, 2), (3, 2), 1), ((3, 0), (3, 0), 0)])
def test_columns_and_labels_of_a_display_fit(shapes):
    positions, contributions, n_labels = shapes
    with pytest.raises(ValueError, match="a column for each label, one or more"):
        SubnetworkDisplay(np.zeros(positions), np.zeros(contributions), ["w"] * n_labels)


@pytest.mark.slow
def test_networks_of_two_levels_are_drawn():
    model = ExponentialReLURegressor(n_levels=2, **SMALL).fit(X, Y["one"])
    display = SubnetworkDisplay.from_estimator(model, X)
    assert display.contributions.shape[1] == len(display.labels) >= 1


def test_models_without_subnetworks_are_told():
    X = np.random.default_rng(0).uniform(size=(20, 2))
    model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0])
    model.n_subnetworks_ = 0
    with pytest.raises(ValueError, match=r"no sub-networks.*FeatureEffectDisplay"):
        SubnetworkDisplay.from_estimator(model, X)
