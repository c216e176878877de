"""Interactions of pairs of features, by Friedman's H statistic, and the picture of them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.inspection import FeatureInteraction, FeatureInteractionDisplay
from skrelu.inspection._interactions import chosen_pairs, interactions

QUICK = {"depth": 3, "n_subnetworks": 3, "n_init": 1, "n_levels": 1, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(80, 3))
SINGLE = [np.array([j]) for j in range(3)]
ALL = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    y = np.sin(3 * X[:, 0]) * X[:, 1] + X[:, 2]
    model = ExponentialReLURegressor(**QUICK, refine=False, extrapolation="linear")
    return model.fit(frame, y), frame


def brute_force(f, X, j, k):
    """Return strength and H^2 by the definition, one value at a time."""

    def dependence(features):
        found = np.empty(len(X))
        for i, row in enumerate(X):
            changed = X.copy()
            changed[:, features] = row[features]
            found[i] = f(changed).mean()
        return found - found.mean()

    both = dependence([j, k])
    part = both - dependence([j]) - dependence([k])
    return np.sqrt((part**2).mean()), (part**2).sum() / (both**2).sum()


def test_a_product_interacts_as_much_as_its_formula_says():
    """With means m, f = x0 * x1 has the interaction (x0 - m0) (x1 - m1) minus its mean."""
    [one, *others] = interactions(lambda Z: Z[:, 0] * Z[:, 1] + 5 * Z[:, 2], X, SINGLE, ALL)
    part = (X[:, 0] - X[:, 0].mean()) * (X[:, 1] - X[:, 1].mean())
    both = X[:, 0] * X[:, 1]
    assert one[0] == pytest.approx(part.std(), rel=1e-12)
    assert one[1] == pytest.approx(part.var() / both.var(), rel=1e-12)
    for strength, h_squared in others:
        assert strength < 1e-12
        assert h_squared == 0


def test_sums_and_constants_have_no_interactions():
    for f in (
        lambda Z: np.sin(Z[:, 0]) + 1e6 * Z[:, 1] ** 2 - np.abs(Z[:, 2]),
        lambda Z: np.full(len(Z), 7e9),
        lambda Z: np.zeros(len(Z)),
    ):
        for strength, h_squared in interactions(f, X, SINGLE, ALL):
            assert strength <= 1e-12 * np.abs(f(X)).max()
            assert h_squared == 0


def test_the_mean_of_a_third_feature_hides_what_only_three_do_together():
    corners = np.array(list(product([-1.0, 1.0], repeat=3)))
    triple = interactions(lambda Z: Z.prod(1), corners, SINGLE, ALL)
    assert triple == [(0.0, 0.0)] * 3
    assert interactions(lambda Z: Z[:, :2].prod(1), corners, SINGLE, [(0, 1)]) == [(1.0, 1.0)]


def test_units_of_the_function_are_those_of_the_strength_and_not_of_h():
    f = lambda Z: np.exp(Z[:, 0] * Z[:, 1]) + Z[:, 2]  # noqa: E731
    one = interactions(f, X, SINGLE, ALL)
    other = interactions(lambda Z: 1e6 * f(Z) - 3, X, SINGLE, ALL)
    np.testing.assert_allclose(other[0], (1e6 * one[0][0], one[0][1]), rtol=1e-9)


def test_a_model_has_the_interactions_of_the_definition(model):
    model, frame = model
    few = X[:15]
    display = FeatureInteractionDisplay.from_estimator(model, frame[:15])
    assert [pair.names for pair in display.interactions[:1]] == [("a", "b")]
    for pair in display.interactions:
        j, k = ("abc".index(name) for name in pair.names)
        predict = lambda Z: model.predict(pd.DataFrame(Z, columns=["a", "b", "c"]))  # noqa: E731
        expected = brute_force(predict, few, j, k)
        np.testing.assert_allclose((pair.strength, pair.h_squared), expected, rtol=1e-8, atol=1e-12)


def test_partial_dependence_is_that_of_scikit_learn(model):
    """On a grid of all values, the statistic follows from sklearn's partial dependence."""
    model, frame = model
    few = frame[:12]
    display = FeatureInteractionDisplay.from_estimator(model, few, features=["a", "b"])

    def dependence(names):
        grid = {"percentiles": (0, 1), "grid_resolution": 99, "method": "brute"}
        return partial_dependence(model, few, names, kind="average", **grid)

    found = dependence(["a", "b"])
    at = [np.searchsorted(g, few[n]) for g, n in zip(found["grid_values"], "ab", strict=True)]
    both = found["average"][0][at[0], at[1]]
    one, two = (dependence([n])["average"][0][i] for n, i in zip("ab", at, strict=True))
    both, one, two = (values - values.mean() for values in (both, one, two))
    [pair] = display.interactions
    assert pair.strength == pytest.approx((both - one - two).std(), rel=1e-9)


def additive(model):
    """Let each sub-network of a model read one feature only."""
    first, *others = model.hidden_weights_
    model.hidden_weights_ = [first * np.eye(3)[:, None], *others]
    return model


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "two classes", "three classes"])
def test_additive_models_have_none(loss):
    y = np.exp(3 * X[:, 0] * X[:, 1] - 0.2 * X[:, 2])
    if loss.endswith("classes"):
        estimator = ExponentialReLUClassifier(**QUICK, refine=False)
        y = np.digitize(y, [1.0] if loss == "two classes" else [0.7, 1.5])
    else:
        estimator = ExponentialReLURegressor(**QUICK, refine=False, loss=loss)
    model = estimator.fit(X, y)
    before = FeatureInteractionDisplay.from_estimator(model, X, n_rows=30).interactions
    assert before[0].strength > 1e-3
    display = FeatureInteractionDisplay.from_estimator(additive(model), X, n_rows=30)
    assert max(pair.strength for pair in display.interactions) < 1e-12
    assert all(pair.h_squared == 0 for pair in display.interactions)


def test_categories_and_missing_values_are_features():
    rng = np.random.default_rng(1)
    n = 200
    frame = pd.DataFrame({"size": rng.uniform(size=n), "hour": rng.uniform(size=n)})
    frame["kind"] = pd.Categorical(rng.choice(["low", "mid", "top"], n))
    y = frame["size"] * (frame["kind"] == "mid") * 4 + frame["hour"]
    frame.loc[::9, "hour"] = np.nan
    model = ExponentialReLURegressor(n_levels=1, n_init=1, refine=False, random_state=0)
    model.fit(frame, y)
    first, *others = FeatureInteractionDisplay.from_estimator(model, frame, n_rows=60).interactions
    assert set(first.names) == {"size", "kind"}
    assert first.strength > 4 * others[0].strength


def test_every_second_row_of_a_regular_table_counts():
    """Rows at even distances would all have the same kind."""
    frame = pd.DataFrame({"size": np.repeat(np.linspace(-1, 1, 60), 2), "kind": [0, 1] * 60})
    model = ExponentialReLURegressor(**QUICK, refine=False).fit(
        frame, frame["size"] * frame["kind"]
    )
    [pair] = FeatureInteractionDisplay.from_estimator(model, frame, n_rows=60).interactions
    exact = (frame["size"] - frame["size"].mean()) * (frame["kind"] - frame["kind"].mean())
    assert pair.strength == pytest.approx(exact.std(), rel=0.2)


def test_outputs_have_interactions_of_their_own():
    y = np.stack([X[:, 0] * X[:, 1], X[:, 1] * X[:, 2]], -1)
    model = ExponentialReLURegressor(**QUICK, refine=False)
    model.fit(X, y)
    for output, pair in ((0, ("x0", "x1")), (-1, ("x1", "x2"))):
        display = FeatureInteractionDisplay.from_estimator(model, X, n_rows=30, output=output)
        assert display.interactions[0].names == pair
        assert display.ax_.get_xlabel().endswith(f"y[{output % 2}]")


def test_the_picture_has_the_strongest_pairs(model):
    model, frame = model
    display = FeatureInteractionDisplay.from_estimator(model, frame, n_rows=20, n_pairs=2)
    assert len(display.interactions) == 3
    widths = [bar.get_width() for bar in display.ax_.patches]
    assert widths == [pair.strength for pair in display.interactions[:2]]
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [pair.label for pair in display.interactions[:2]]
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts[0] == f"H² = {display.interactions[0].h_squared:.2g}"
    assert display.ax_.yaxis_inverted()
    _, ax = plt.subplots()
    again = display.plot(n_pairs=3, ax=ax)
    assert again.ax_ is ax
    assert again.figure_ is ax.figure
    assert len(ax.patches) == 3
    pipeline = make_pipeline(StandardScaler(), model.__sklearn_clone__())
    pipeline.fit(frame, X[:, 0] * X[:, 1])
    named = FeatureInteractionDisplay.from_estimator(pipeline, frame, features=["a", "b"])
    assert [pair.names for pair in named.interactions] == [("a", "b")]


def test_pairs_are_those_of_features_or_those_named():
    names, importances = ["a", "b", "c", "d"], np.array([0.1, 0.5, 0.0, 0.4])
    assert chosen_pairs(2, names, importances) == [(1, 3)]
    assert chosen_pairs(3, names, importances) == [(0, 1), (0, 3), (1, 3)]
    assert chosen_pairs(["d", 0], names, importances) == [(3, 0)]
    assert chosen_pairs([("d", "a"), (-1, 1)], names, importances) == [(3, 0), (3, 1)]
    for features in (1, ["a"], [("a", "a")], ["a", 0]):
        with pytest.raises(ValueError, match="make one pair or more of different features"):
            chosen_pairs(features, names, importances)
    for features in ([("a", "z")], ["z"], [], "ab", 0, None):
        with pytest.raises(ValueError, match=r"^features"):
            chosen_pairs(features, names, importances)


def test_messages_say_what_to_do(model):
    model, frame = model
    with pytest.raises(TypeError, match="Cannot draw a LinearRegression"):
        FeatureInteractionDisplay.from_estimator(LinearRegression().fit(X, X[:, 0]), X)
    with pytest.raises(ValueError, match="not fitted"):
        FeatureInteractionDisplay.from_estimator(ExponentialReLURegressor(), X)
    for name in ("n_rows", "n_pairs"):
        with pytest.raises(ValueError, match=f"{name}=0 has to be an integer, 1 or more"):
            FeatureInteractionDisplay.from_estimator(model, frame[:5], **{name: 0})
    with pytest.raises(ValueError, match="outputs are 0 to 0"):
        FeatureInteractionDisplay.from_estimator(model, frame, output=1)
    with pytest.raises(ValueError, match="interactions is empty"):
        FeatureInteractionDisplay([])
    for given in ([1], 1):
        with pytest.raises(TypeError, match="interactions has a int; give a list of FeatureInter"):
            FeatureInteractionDisplay(given)
    for numbers in ((-1.0, 0.0), (0.0, np.nan)):
        with pytest.raises(ValueError, match="finite, 0 or more"):
            FeatureInteractionDisplay([FeatureInteraction(("a", "b"), *numbers)])
    display = FeatureInteractionDisplay([FeatureInteraction(("a", "b"), 0.0, 0.0)])
    with pytest.raises(TypeError, match="ax is a str"):
        display.plot(ax="axes")
    assert display.plot().ax_.get_xlim() == (0, 1.2)
    assert display.ax_.texts[0].get_text() == "H² < 0.001"
