"""Fitted estimators are arrays and plain values, so that other machines and versions read them."""

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, InconsistentVersionWarning

from skrelu import ExponentialReLURegressor, compress
from tests.paths import MODELS, fitted, make_table, outputs, targets

# Models that later versions must read: `write` makes those of a new format.
KEPT = Path(__file__).with_name("kept_models")
# Models that hold different things.
DIFFERENT = ["composed", "one level, refined", "quantiles", "shapes", "two classes", "adam"]
PLAIN = (bool, int, float, str, type(None))


def write(format_number):
    """Keep a compressed model, with what it predicts; files of earlier formats have the others."""
    from skops.io import dump

    model, X = fitted("one level")
    model = compress(model, X, n_parameters=50, n_subnetworks=1, depth=2, random_state=0)
    dump(model, KEPT / f"compressed_{format_number}.skops")
    np.savez_compressed(KEPT / f"compressed_{format_number}.npz", *outputs(model, X), X=X)


def load(file):
    """Load what skops wrote, trusting the estimators only."""
    skops_io = pytest.importorskip("skops.io")
    trusted = ["skrelu.ExponentialReLURegressor", "skrelu.ExponentialReLUClassifier"]
    load_it = skops_io.loads if isinstance(file, bytes) else skops_io.load
    return load_it(file, trusted=trusted)


def refitted(model, name):
    """Go on from a fit."""
    X, y = make_table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return copy.deepcopy(model).set_params(warm_start=True).fit(X, targets(name, y))


def parts(value, name):
    """Yield all that a value is made of, with names."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from parts(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for part in value:
            yield from parts(part, f"{name}[]")
    else:
        yield name, value


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_fitted_estimators_hold_arrays_and_plain_values(name):
    model, _ = fitted(name)
    given = model.get_params()
    for attribute, value in vars(model).items():
        for part, held in [] if attribute in given else parts(value, attribute):
            plain = isinstance(held, np.ndarray) and held.dtype != object
            assert plain or type(held) in PLAIN, part


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name if name in DIFFERENT else pytest.param(name, marks=pytest.mark.long) for name in MODELS],
)
def test_skops_needs_to_trust_the_estimator_only(name):
    skops_io = pytest.importorskip("skops.io")
    model, X = fitted(name)
    saved = skops_io.dumps(model)
    assert skops_io.get_untrusted_types(data=saved) == [f"skrelu.{type(model).__name__}"]
    loaded = load(saved)
    for before, after in ((model, loaded), (refitted(model, name), refitted(loaded, name))):
        for expected, found in zip(outputs(before, X), outputs(after, X), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_pickles_name_the_public_place():
    saved = pickle.dumps(fitted("one level")[0])
    assert b"skrelu" in saved
    assert b"skrelu._" not in saved


class Named(ExponentialReLURegressor):
    """A subclass with a parameter that has no default."""

    def __init__(self, name, *, depth=4):
        super().__init__(depth=depth)
        self.name = name


def test_subclasses_that_need_parameters_are_copied():
    assert copy.deepcopy(Named("a", depth=3)).get_params() == {"name": "a", "depth": 3}


def test_models_of_another_format_are_refused():
    model, _ = fitted("one level")
    model._format = 0
    with pytest.raises(ValueError, match="ExponentialReLURegressor was fitted by another version"):
        pickle.loads(pickle.dumps(model))
    assert isinstance(
        pickle.loads(pickle.dumps(ExponentialReLURegressor())), ExponentialReLURegressor
    )


@pytest.mark.filterwarnings(
    f"ignore::{InconsistentVersionWarning.__module__}.InconsistentVersionWarning"
)
@pytest.mark.parametrize("file", sorted(KEPT.glob("*.skops")), ids=lambda file: file.stem)
def test_models_of_earlier_versions_are_read(file):
    model, kept = load(file), np.load(file.with_suffix(".npz"))
    expected = [kept[f"arr_{i}"] for i in range(len(kept) - 1)]
    for before, after in zip(expected, outputs(model, kept["X"]), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * np.abs(before).max())
    clone(model)  # has all parameters
    if model._format == 1:
        with pytest.raises(ValueError, match="cannot go on from a model that an earlier version"):
            model.set_params(warm_start=True).fit(kept["X"], np.arange(len(kept["X"])) % 3)
