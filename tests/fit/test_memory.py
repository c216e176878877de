"""Fits of large tables make few copies of them."""

import tracemalloc

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._data import table
from skrelu._data.table import Table, canonical_rows
from skrelu._fit import job, tuning
from skrelu._fit.job import Job
from skrelu._solvers.losses import SQUARED_ERROR

# Numbers of rows that do not grow with the table.
PARTS = [
    *("COMPOSED_ROWS", "NOISY_ROWS", "WINDOW_ROWS", "KNOT_ROWS", "ADDITIVE_ROWS", "SHIFT_ROWS"),
    *("STACKED_ROWS", "ENCODED_CHUNK", "ENCODED_HELD_OUT", "SLOPES_ROWS", "COMPARED_ROWS"),
]


@pytest.fixture
def small_parts(monkeypatch):
    """Make all parts of tables small, and fits of encoded columns very short."""
    for name in PARTS:
        monkeypatch.setattr(tuning, name, 400)
    for module in (table, job):
        monkeypatch.setattr(module, "PART", 400)
    size = tuning.encoded_size
    monkeypatch.setattr(tuning, "encoded_size", lambda n: size(n)._replace(n_steps=3))


def test_a_fit_takes_few_copies_of_a_table_on_disk(small_parts, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 20))
    y = X[:, 0] + rng.normal(size=len(X))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = ExponentialReLURegressor(random_state=0)
    tracemalloc.start()
    try:
        model.fit(mapped, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "residual" in model.kinds_
    # The canonical table, one more for its moments, and weights; torch is not counted.
    assert peak < 2.5 * X.nbytes


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_canonical_rows_do_not_depend_on_parts(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(60, 3)).astype(dtype)
    y, weights = -0.0 * rng.normal(size=(60, 1)), rng.integers(0, 3, 60).astype(float)
    whole = canonical_rows(X, y, weights)
    monkeypatch.setattr(table, "PART", 7)
    for part, all_rows in zip(canonical_rows(X, y, weights), whole, strict=True):
        np.testing.assert_array_equal(part, all_rows)
        assert part.dtype == np.float64
    kept = weights > 0
    rows, counts = np.unique(X[kept], axis=0, return_inverse=True)
    assert whole[0][np.lexsort(whole[0].T[::-1])].tolist() == rows.tolist()
    expected = np.bincount(counts.ravel(), weights[kept])
    np.testing.assert_array_equal(whole[2][np.lexsort(whole[0].T[::-1])], expected)
    assert not np.signbit(whole[1]).any()


@pytest.mark.parametrize("validation", [False, True])
def test_features_of_some_rows_are_those_of_all(validation, monkeypatch):
    rng = np.random.default_rng(0)

    def random(n):
        return Table(rng.normal(size=(n, 3)), rng.normal(size=(n, 1)), np.full(n, 1 / n), n)

    model = ExponentialReLURegressor()
    model.n_features_in_, model._columns = 3, None
    settings = model._settings(SQUARED_ERROR)
    generator = torch.Generator().manual_seed(0)
    other = random(20) if validation else None
    made = Job(random(50), other, settings, None, torch.device("cpu"), generator, None)
    whole = made.rows(2, not validation, 50)
    monkeypatch.setattr(job, "PART", 9)
    torch.testing.assert_close(made.rows(2, False, 50).X, whole.X, rtol=0, atol=0)
    for index in (slice(None), slice(45, 60), slice(0, 50, 7), torch.tensor([3, 49, 0])):
        torch.testing.assert_close(made.features(index), whole.X[:, index], rtol=0, atol=0)
    empty = made.rows_in_parts(2, False)
    assert empty.X.shape == (3, 0)
    assert empty.n_samples == whole.n_samples == 50 + 20 * validation
