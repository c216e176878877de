"""Sums over partitions are those of one machine."""

import numpy as np
import pytest
import torch

from skrelu._data.scaling import Scaling
from skrelu._fit.encoded_columns import fine_knots, owners_of
from skrelu._solvers.additive import fit_additive
from skrelu._solvers.losses import SquaredError
from skrelu.dask._members import visits_of
from skrelu.dask._reading import Numbers
from skrelu.dask._statistics import (
    AdditiveColumns,
    Draws,
    Moments,
    additive_model,
)
from tests.dask.data import irregular

DRAWS = Draws(seed=0, n_rows=1500, n_sampled=500, fraction=0.1, n_members=3)


def table(n=1500, offset=0.0):
    X, y = irregular(n)
    weights = np.random.default_rng(1).integers(1, 4, n).astype(float)
    return Numbers(X + offset, y[:, None], weights)


def split(rows, n_parts):
    edges = np.unique(np.random.default_rng(n_parts).integers(0, len(rows.X), n_parts - 1))
    return [Numbers(*parts) for parts in zip(*(np.split(p, edges) for p in rows), strict=True)]


def added(found):
    total = found[0]
    for part in found[1:]:
        total = total.plus(part)
    return total


def moments(rows, n_parts):
    return added([Moments.of(part, i, DRAWS) for i, part in enumerate(split(rows, n_parts))])


@pytest.mark.parametrize("n_parts", [1, 7])
def test_means_and_scales_are_those_of_all_rows(n_parts):
    rows = table(offset=1e6)  # a sum of squares would cancel
    found = moments(rows, n_parts).scaling
    whole = np.column_stack([rows.X, rows.y])
    expected = Scaling.of(whole, rows.weights / rows.weights.sum())
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-9)


def test_the_variance_between_partitions_tells_sorted_rows():
    rows = table()
    order = rows.y[:, 0].argsort()
    in_order = Numbers(*(part[order] for part in rows))
    assert moments(rows, 6).between.max() < 0.02
    assert moments(in_order, 6).between[-1] > 0.5


def test_the_sample_is_of_all_rows_and_does_not_depend_on_the_order_of_sums():
    parts = [Moments.of(part, i, DRAWS) for i, part in enumerate(split(table(), 5))]
    one, other = added(parts), added([parts[0], added(parts[1:])])
    found, again = one.sample.smallest(500), other.sample.smallest(500)
    np.testing.assert_array_equal(found.rows.X, again.rows.X)
    assert len(found.keys) == 500
    assert found.keys[:, 0].max() == pytest.approx(1 / 3, rel=0.1)
    assert len(one.sample.keys) < 700


def test_members_hold_out_different_rows():
    keys = DRAWS.keys(3, 10_000)
    held = np.array([DRAWS.held_out(keys, member) for member in range(3)])
    assert held.sum(0).max() == 1
    np.testing.assert_allclose(held.mean(1), 0.1, atol=0.01)
    np.testing.assert_array_equal(held.any(0), DRAWS.held_out_by_any(keys))


def additive(rows, n_parts):
    """Return coefficients by sums over partitions, and by fitting all rows at once."""
    groups = tuple(range(rows.X.shape[1]))
    weights = rows.weights / rows.weights.sum()
    X_scaling, y_scaling = Scaling.of(rows.X, weights), Scaling.of(rows.y, weights)
    X, y = torch.tensor(X_scaling.apply(rows.X)), torch.tensor(y_scaling.apply(rows.y)).T
    knots, loss = fine_knots(X), SquaredError()
    scale = loss.scale(y, y, torch.tensor(weights))
    columns = torch.cat([knots.ramps(knots.positions(X)), X], 1).T
    of_columns = AdditiveColumns(knots, groups, X_scaling, y_scaling, loss, scale)
    sums = added([of_columns.sums(part) for part in split(rows, n_parts)])
    curves, spread = additive_model(sums, len(X), of_columns)
    columns -= (columns @ torch.tensor(weights))[:, None]
    nobody = torch.zeros(1, len(X), dtype=torch.bool)
    w = torch.tensor(weights * len(X))
    coef = fit_additive(columns, y, w, nobody, owners_of(knots, groups))[0, :, 0]
    return curves, spread, X, coef, w


@pytest.mark.parametrize("n_parts", [1, 6])
def test_additive_models_are_those_of_one_machine(n_parts):
    curves, spread, X, coef, weights = additive(table(), n_parts)
    found = torch.cat([curves.values[0, 0], curves.slopes[0, 0]])
    assert (found - coef).norm() < 1e-6 * coef.norm()
    values = curves(X)[0, :, 0]  # (n_samples, n_groups)
    mean = weights @ values / weights.sum()
    assert mean.abs().max() < 1e-6
    variances = weights @ values.square() / weights.sum()
    torch.testing.assert_close(spread[0].double(), variances.sqrt(), rtol=1e-4, atol=1e-5)


def test_visits_are_to_all_partitions_in_each_pass():
    rows = (1000, 0, 90_000, 5, 250_000, 40_000, 3000)
    visits = visits_of(rows, 100_000, 512, 3, np.random.default_rng(0))
    numbers = [number for visit in visits for number in visit.numbers]
    assert len(numbers) == 3 * 6
    for begin in range(0, 18, 6):
        assert sorted(numbers[begin : begin + 6]) == [0, 2, 3, 4, 5, 6]
    assert numbers[:6] != numbers[6:12]
    for visit in visits:
        size = sum(rows[number] for number in visit.numbers)
        assert size <= 100_000 + 512 or len(visit.numbers) == 1 or 4 in visit.numbers
        assert visit.n_steps == pytest.approx(size / 512, abs=0.5)
