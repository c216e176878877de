"""Effects of features are averages of predictions, and the picture of them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.inspection import FeatureEffect, FeatureEffectDisplay
from skrelu.inspection._effects import MOST_ROWS, grid, sampled

QUICK = {"depth": 2, "n_subnetworks": 2, "n_init": 1, "refine": False, "random_state": 0}
N = 120
LIFT = {"low": 0.0, "mid": 3.0, "top": -2.0}


def made(noise, n=N):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.uniform(-1, 1, size=n), "hour": rng.integers(0, 8, n)})
    X["kind"] = pd.Categorical(rng.choice([*LIFT], n))
    y = 2.0 * (X["size"] > 0.3) + (X["hour"] % 3) + X["kind"].map(LIFT).astype(float)
    return X, (y + noise * rng.normal(size=n)).to_numpy()


@pytest.fixture(scope="module")
def table():
    X, y = made(0.2)
    X.loc[::9, "size"] = np.nan
    X.loc[::7, "kind"] = None
    return X, y


@pytest.fixture(scope="module")
def model(table):
    return ExponentialReLURegressor(random_state=0).fit(*table)


def brute_force(predict, X, name, value):
    """Return the mean prediction with one value of a feature, minus that without."""
    changed = X.copy()
    if isinstance(X[name].dtype, pd.CategoricalDtype):
        changed[name] = pd.Categorical([value] * len(X), X[name].cat.categories)
    else:
        changed[name] = value
    return predict(changed).mean(0) - predict(X).mean(0)


def compare(display, predict, X):
    for effect in display.effects:
        some = slice(None, None, max(1, len(effect.values) // 8))
        found = [brute_force(predict, X, effect.name, value) for value in effect.values[some]]
        np.testing.assert_allclose(effect.effects[some], found, rtol=0, atol=1e-9)
        if effect.missing is not None:
            found = brute_force(predict, X, effect.name, None)
            assert effect.missing == pytest.approx(found, abs=1e-9)


def test_effects_are_means_of_predictions(model, table):
    X = table[0].head(40)
    assert {"encoded", "residual"} & model.kinds_.keys()
    display = FeatureEffectDisplay.from_estimator(model, X)
    assert {effect.name for effect in display.effects} == {"size", "hour", "kind"}
    assert [effect.missing is None for effect in display.effects].count(False) == 2
    compare(display, model.predict, X)


@pytest.mark.parametrize(("n_levels", "loss"), [(2, "squared_error"), (1, "poisson")])
def test_effects_of_waves_are_means_of_predictions(n_levels, loss, table):
    X, y = table
    model = ExponentialReLURegressor(n_levels=n_levels, loss=loss, **QUICK)
    model.fit(X, np.exp(y / 4))
    compare(FeatureEffectDisplay.from_estimator(model, X.head(50)), model.predict, X.head(50))


def test_effects_on_classes_are_of_probabilities(table):
    X, y = table
    few = X.head(50)
    model = ExponentialReLUClassifier(n_levels=1, **QUICK)
    model.fit(X, np.where(y > 1, "high", "low"))
    display = FeatureEffectDisplay.from_estimator(model, few)
    assert display.label == display.axes_[0].get_ylabel() == "effect on P(low)"
    compare(display, lambda X: model.predict_proba(X)[:, 1], few)
    model.fit(X, np.digitize(y, [0, 2]))
    display = FeatureEffectDisplay.from_estimator(model, few, output=-3, features=["kind"])
    assert display.label == "effect on P(0)"
    compare(display, lambda X: model.predict_proba(X)[:, 0], few)


def test_effects_on_several_outputs(table):
    X, y = table
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, np.stack([y, -y], 1))
    display = FeatureEffectDisplay.from_estimator(model, X.head(50), output=-1)
    assert display.label == "effect on y[1]"
    assert display.label == "effect on y[1]"
    compare(display, lambda X: model.predict(X)[:, 1], X.head(50))


@pytest.mark.long
@pytest.mark.slow
def test_effects_of_an_additive_target_are_its_summands():
    X, y = made(0.0, 240)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    effects = FeatureEffectDisplay.from_estimator(model, X).effects
    by_name = {effect.name: effect for effect in effects}
    lifts = np.array([LIFT[level] for level in by_name["kind"].values])
    lifts = lifts - X["kind"].map(LIFT).astype(float).mean()
    np.testing.assert_allclose(by_name["kind"].effects, lifts, atol=0.15)
    hours = by_name["hour"]
    assert hours.values.tolist() == list(range(8))
    np.testing.assert_allclose(hours.effects, hours.values % 3 - (X["hour"] % 3).mean(), atol=0.3)
    size = by_name["size"]
    far = np.abs(size.values - 0.3) > 0.2
    jump = 2 * ((size.values > 0.3) - (X["size"] > 0.3).mean())
    np.testing.assert_allclose(size.effects[far], jump[far], atol=0.3)


def test_effects_agree_with_scikit_learn(table):
    X, y = table
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, y)
    effect = FeatureEffectDisplay.from_estimator(model, X.head(60), features=["hour"]).effects[0]
    floats = X.head(60).astype({"hour": float})  # it refuses integers
    known = partial_dependence(model, floats, ["hour"], kind="average")
    np.testing.assert_array_equal(known["grid_values"][0], effect.values)
    means = known["average"][0] - model.predict(floats).mean()
    np.testing.assert_allclose(means, effect.effects, atol=1e-9)


def test_grids_have_all_values_or_knots_between_the_extremes():
    np.testing.assert_array_equal(grid(np.array([3.0, 1, 3]), np.array([2.0])), [1, 3])
    x = np.random.default_rng(0).uniform(size=1000)
    values = grid(x, np.array([-1, 0.3, 0.3 + 1e-12, 2]))
    assert values[0] == x.min()
    assert values[-1] == x.max()
    assert np.count_nonzero(np.abs(values - 0.3) < 1e-11) == 1
    assert (np.diff(values) > 0).all()
    assert 50 < len(values) < 53


def test_knots_are_in_the_units_of_the_data(model, table):
    X = table[0]
    knots = model._stored().knots()
    assert len(knots) == model.encode(X).shape[1]
    assert knots[0].min() == pytest.approx(X["size"].min())
    assert knots[0].max() == pytest.approx(X["size"].max())
    assert set(range(8)) == set(knots[2].round(9))


def test_many_rows_are_thinned(table):
    X, y = table
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, y)
    many = pd.concat([X, X, X.head(50)])
    assert MOST_ROWS < len(many) <= 2 * MOST_ROWS
    display = FeatureEffectDisplay.from_estimator(model, many, features=["hour"])
    compare(display, model.predict, many.iloc[sampled(np.arange(len(many)), MOST_ROWS)])


def test_curves_bars_and_marks_are_drawn(model, table):
    display = FeatureEffectDisplay.from_estimator(
        model, table[0][:40], features=["kind", "size", 1]
    )
    bars, curve, points = display.axes_
    assert [bar.get_height() for bar in bars.patches[:-1]] == display.effects[0].effects.tolist()
    assert bars.patches[-1].get_height() == display.effects[0].missing
    ticks = [tick.get_text() for tick in bars.get_xticklabels()]
    assert ticks == ["low", "mid", "top", "missing"]
    mark = next(line for line in curve.lines if line.get_label() == "missing")
    assert mark.get_ydata() == [display.effects[1].missing]
    assert mark.get_xdata()[0] > display.effects[1].values.max()
    assert not points.get_legend()
    drawn = next(line for line in points.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(drawn.get_ydata(), display.effects[2].effects)
    assert [ax.get_xlabel() for ax in display.axes_] == ["kind", "size", "hour"]
    _, axes = plt.subplots(1, 4)
    assert not display.plot(axes).axes_[3].get_visible()
    plt.close("all")


def test_the_largest_of_many_levels_are_drawn():
    levels = [f"level {i}" for i in range(30)]
    effect = FeatureEffect("code", levels, np.arange(30.0) - 10)
    ax = FeatureEffectDisplay([effect]).plot().axes_[0]
    heights = [bar.get_height() for bar in ax.patches]
    assert len(heights) == 20
    assert heights == sorted(heights)
    assert min(np.abs(heights)) >= 5
    plt.close("all")


def test_rare_levels_constants_and_empty_columns(table, monkeypatch):
    X, y = table
    X = X.assign(same=1.0, empty=np.nan, code=pd.Categorical(["a"] * N))
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, y)
    display = FeatureEffectDisplay.from_estimator(model, X.head(40), features=6)
    by_name = {effect.name: effect for effect in display.effects}
    np.testing.assert_allclose(by_name["same"].effects, [0], atol=1e-12)
    assert len(by_name["empty"].values) == 0
    assert by_name["empty"].missing == pytest.approx(0, abs=1e-12)
    assert by_name["code"].values == ["a"]
    X["code"] = pd.Categorical([f"{i % 40}" if i < 80 else f"rare {i}" for i in range(N)])
    monkeypatch.setattr("skrelu._data.columns.MOST_LEVELS", 40)
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, y)
    few = X.tail(60)
    effect = FeatureEffectDisplay.from_estimator(model, few, features=["code"]).effects[0]
    assert effect.values == [*model.categories_[-1], "other"]
    changed = few.assign(code=pd.Categorical(["new"] * len(few)))
    other = model.predict(changed).mean() - model.predict(few).mean()
    assert effect.effects[-1] == pytest.approx(other, abs=1e-9)
    plt.close("all")


def test_features_of_a_pipeline_are_those_that_the_model_reads():
    X = pd.DataFrame({"a": np.linspace(0, 1, 60), "b": 1.0})
    steps = FunctionTransformer(lambda X: 10 * X, feature_names_out="one-to-one")
    model = make_pipeline(steps, ExponentialReLURegressor(n_levels=1, **QUICK))
    effect = FeatureEffectDisplay.from_estimator(model.fit(X, X["a"]), X).effects[0]
    assert effect.name == "a"
    assert effect.values.max() == 10
    plt.close("all")


def test_messages_of_effects(table):
    X, y = table
    model = ExponentialReLURegressor(n_levels=1, **QUICK).fit(X, y)
    draw = FeatureEffectDisplay.from_estimator
    with pytest.raises(ValueError, match=r"features has 'width', but the model reads \['size'"):
        draw(model, X, features=["width"])
    with pytest.raises(ValueError, match=r"features has 3, but the model reads"):
        draw(model, X, features=[3])
    for features in ("size", [], 1.5, None):
        with pytest.raises(ValueError, match="has to be a number of features, or a list"):
            draw(model, X, features=features)
    with pytest.raises(ValueError, match=r"features=0 has to be an integer, 1 or more"):
        draw(model, X, features=0)
    with pytest.raises(ValueError, match=r"output=1, but the network has 1 outputs"):
        draw(model, X, output=1)
    with pytest.raises(TypeError, match="Cannot draw a LinearRegression"):
        draw(LinearRegression().fit(X[["hour"]], y), X[["hour"]])
    with pytest.raises(ValueError, match=r"1 axes, but 2 features to draw.*number of features"):
        draw(model, X, features=2, axes=plt.gca())
    with pytest.raises(TypeError, match="one a feature"):
        draw(model, X, axes=[1, 2, 3])
    with pytest.raises(ValueError, match="effects is empty"):
        FeatureEffectDisplay([])
    for given in ([1], 1):
        with pytest.raises(TypeError, match="effects has a int; give a list of FeatureEffect"):
            FeatureEffectDisplay(given)
    with pytest.raises(ValueError, match="'a' has 2 values, but effects of shape"):
        FeatureEffectDisplay([FeatureEffect("a", ["x", "y"], np.zeros(3))])
    plt.close("all")
