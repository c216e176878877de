"""What notebooks show: links to the documentation, and what parameters and attributes are."""

import inspect

import numpy as np
import pytest
from sklearn.externals._numpydoc.docscrape import NumpyDocString
from sklearn.utils import estimator_html_repr

from skrelu import (
    CompressedClassifier,
    CompressedRegressor,
    ExponentialReLUClassifier,
    ExponentialReLURegressor,
)
from tests.test_docs import DOCS, SITE

X = np.random.default_rng(0).uniform(size=(60, 2))
QUICK = {"n_subnetworks": 2, "n_levels": 1, "n_init": 2, "random_state": 0}
REGRESSOR, CLASSIFIER = ExponentialReLURegressor(**QUICK), ExponentialReLUClassifier(**QUICK)
ESTIMATORS = [REGRESSOR, CLASSIFIER, CompressedRegressor(), CompressedClassifier()]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_representation_links_to_the_page_of_the_class(estimator):
    name = type(estimator).__name__
    link = f"{SITE}generated/skrelu.{name}.html"
    assert f'href="{link}"' in estimator_html_repr(estimator)
    assert f"   {name}\n" in (DOCS / "api.rst").read_text("utf-8")  # which makes that page


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_representation_describes_each_parameter(estimator):
    page = estimator_html_repr(estimator)
    described = page.count('class="param-doc-description"')
    assert described == len(estimator.get_params(deep=False))


@pytest.mark.parametrize(("estimator", "y"), [(REGRESSOR, X[:, 0]), (CLASSIFIER, X[:, 0] > 0.5)])
def test_each_fitted_attribute_is_described_by_its_own_name(estimator, y):
    model = estimator.fit(X, y)
    attributes = {name for name in vars(model) if name.endswith("_") and name[0] != "_"}
    described = {a.name for a in NumpyDocString(inspect.getdoc(type(model)))["Attributes"]}
    assert attributes <= described
    shown = estimator_html_repr(model).count('class="param-doc-description"')
    assert shown == len(model.get_params()) + len(attributes)
