"""Multilayer perceptrons of scikit-learn are the same function."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from tests.export.cases import NAMES, SMALL, X, Y, assert_same, case, predictions
from tests.paths import targets


@pytest.mark.parametrize("name", NAMES)
def test_perceptrons_predict_what_models_predict(name):
    model, points, columns, _ = case(name)
    perceptron = model.to_sklearn()
    classifies = hasattr(model, "classes_")
    assert type(perceptron) is (MLPClassifier if classifies else MLPRegressor)
    for each in (perceptron, pickle.loads(pickle.dumps(perceptron))):
        if classifies:
            assert_same(each.predict_proba(columns), model.predict_proba(points))
            np.testing.assert_array_equal(each.predict(columns), model.predict(points))
            np.testing.assert_array_equal(each.classes_, model.classes_)
        else:
            found = each.predict(columns).reshape(len(columns), -1)
            assert_same(found, predictions(name), name=name)
    assert perceptron.n_features_in_ == columns.shape[1]
    assert len(perceptron.hidden_layer_sizes) == perceptron.n_layers_ - 2


@pytest.mark.parametrize(
    "name", ["one level", "poisson", "several outputs", "two classes", "named classes"]
)
def test_perceptrons_score_are_cloned_and_go_on(name):
    model, points, columns, _ = case(name)
    perceptron = model.to_sklearn()
    y = model.predict(points)
    if hasattr(model, "classes_"):
        y = np.resize(model.classes_, len(y))
        assert perceptron.score(columns, y) == accuracy_score(y, model.predict(points))
        logarithms = perceptron.predict_log_proba(columns)
        np.testing.assert_allclose(logarithms, model.predict_log_proba(points), atol=1e-9)
    else:
        y = y + 0.1 * y.std(0)
        assert perceptron.score(columns, y) == pytest.approx(r2_score(y, model.predict(points)))
    before = perceptron.coefs_[0].copy()
    perceptron.partial_fit(columns, y)
    assert np.isfinite(perceptron.loss_)
    assert not np.array_equal(perceptron.coefs_[0], before)
    new = clone(perceptron).set_params(max_iter=2)
    assert not hasattr(new, "coefs_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        new.fit(columns, y)
    assert new.out_activation_ == perceptron.out_activation_
    assert [part.shape for part in new.coefs_] == [part.shape for part in perceptron.coefs_]
    assert_same(case(name)[0].to_sklearn().coefs_[0], before)  # a copy was trained


def test_perceptrons_know_the_names_of_features():
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = ExponentialReLURegressor(**SMALL).fit(table, Y)
        classifier = ExponentialReLUClassifier(**SMALL).fit(table, targets("classes", Y))
    for each in (model, classifier):
        perceptron = each.to_sklearn()
        np.testing.assert_array_equal(perceptron.feature_names_in_, ["a", "b", "c"])
        if each is classifier:
            np.testing.assert_array_equal(perceptron.predict(table), each.predict(table))
        else:
            assert_same(perceptron.predict(table), each.predict(table))
        with pytest.raises(ValueError, match="feature names"):
            perceptron.predict(table[["b", "a", "c"]])
