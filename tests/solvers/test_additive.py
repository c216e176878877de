"""Additive models by evidence, and AdamW on minibatches."""

import math

import pytest
import torch

from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._solvers.adamw import LOOKS, Batch, Descent, Moments, Schedule, adamw
from skrelu._solvers.additive import fit_additive
from skrelu._solvers.losses import SQUARED_ERROR
from skrelu._solvers.progress import Options, Status


def table(n=2000, noise=0.1):
    """Return centred columns of two groups, of which y depends on the first."""
    g = torch.Generator().manual_seed(0)
    columns = torch.randn(6, n, generator=g, dtype=torch.float64)
    columns -= columns.mean(1, keepdim=True)
    coef = torch.tensor([1.0, -2.0, 0.5, 0.0, 0.0, 0.0]).double()
    y = coef @ columns + noise * torch.randn(n, generator=g, dtype=torch.float64)
    return columns, (y - y.mean())[None], coef


OWNER = torch.tensor([0, 0, 0, 1, 1, 1])


def nobody(n, n_models=1):
    return torch.zeros(n_models, n, dtype=torch.bool)


def test_coefficients_are_found_and_groups_without_effect_shrink():
    columns, y, coef = table()
    ones = torch.ones(2000, dtype=torch.float64)
    found = fit_additive(columns, y, ones, nobody(2000), OWNER)[0, :, 0]
    torch.testing.assert_close(found, coef, rtol=0, atol=0.01)
    least_squares = torch.linalg.lstsq(columns.T, y[0][:, None]).solution[3:, 0]
    assert found[3:].norm() < 0.75 * least_squares.norm()


def test_a_weight_of_2_is_a_row_given_twice():
    columns, y, _ = table(300)
    weights = torch.ones(300, dtype=torch.float64)
    weights[:50] = 2
    twice = torch.cat([torch.arange(300), torch.arange(50)])
    ones = torch.ones(350, dtype=torch.float64)
    weighted = fit_additive(columns, y, weights, nobody(300), OWNER)
    repeated = fit_additive(columns[:, twice], y[:, twice], ones, nobody(350), OWNER)
    torch.testing.assert_close(weighted, repeated, rtol=1e-9, atol=1e-12)


def test_models_do_not_see_the_rows_that_they_hold_out():
    columns, y, _ = table(400)
    ones, held_out = torch.ones(400, dtype=torch.float64), nobody(400, 2)
    held_out[0, :100], held_out[1, 100:150] = True, True
    before = fit_additive(columns, y, ones, held_out, OWNER)
    # A change of held-out rows reaches the models by the precisions alone, and hardly so.
    y = y.clone()
    y[0, :100] += 0.05 * torch.randn(100, generator=torch.Generator().manual_seed(1))
    after = fit_additive(columns, y, ones, held_out, OWNER)
    change = (after - before)[:, :3].norm(dim=(1, 2))
    assert change[0] < 0.1 * change[1]


class Rows:
    """Plain columns; each of two members may hold rows out."""

    def __init__(self, n=256, holds_out=True):
        g = torch.Generator().manual_seed(0)
        self.n_rows, self.holds_out = n, holds_out
        self.X = torch.randn(n, 3, generator=g)
        self.y = (self.X[:, 0] * self.X[:, 1]).expand(2, 1, n)
        self.held = torch.zeros(2, n, dtype=torch.bool)
        if holds_out:
            self.held[0, : n // 8], self.held[1, n // 8 : n // 4] = True, True

    def take(self, index):
        weights = (~self.held[:, index]).float()
        curves = torch.zeros(1, len(index), 0)
        weights = weights / weights.sum(1, keepdim=True)
        return Batch(self.X[index], curves, self.y[..., index], weights)

    def held_out(self):
        if not self.holds_out:
            return None
        index = torch.stack([rows.nonzero()[:, 0] for rows in self.held])
        y = torch.stack([self.y[m, :, rows] for m, rows in enumerate(index)])
        weights = torch.full(index.shape, 1 / index.shape[1])
        return Batch(self.X[index], torch.zeros(1, index.shape[1], 0).expand(2, -1, -1), y, weights)


NETWORK = EncodedNetwork(3, 0, 16, 1, 1, 16, 1)


def options(steps, report=None):
    g = torch.Generator().manual_seed(1)
    return Options("adam", steps, 0.0, 1000, 1e-2, 64, g, report=report)


def fitted(steps=300, rows=None, report=None):
    theta = NETWORK.random(2, torch.Generator().manual_seed(2))
    rows = Rows() if rows is None else rows
    settings = {"n_kinds": 1, "decay": 0.0}
    return adamw(NETWORK, theta, rows, SQUARED_ERROR, options(steps, report), **settings)


def test_a_product_is_learned_and_the_best_look_is_kept():
    result = fitted()
    assert result.status is Status.DONE
    assert result.n_iter == LOOKS
    assert result.validation_loss.max() < 0.05
    assert math.isclose(
        min(result.validation_curve), float(result.validation_loss.mean()), rel_tol=0.2
    )
    rows = Rows()
    weights = NETWORK.unpack(NETWORK.of_members(result.theta))
    held_out = rows.held_out()
    raw = NETWORK.forward(weights, held_out.columns, held_out.curves)
    own = (raw - held_out.y).square().mean((1, 2))
    torch.testing.assert_close((own + own.mean()) / 2, result.validation_loss)


def test_without_held_out_rows_the_last_look_is_kept():
    result = fitted(rows=Rows(holds_out=False))
    assert result.validation_loss.isnan().all()
    assert result.loss_curve[-1] == pytest.approx(float(result.loss.mean()))


def test_steps_go_on_from_kept_moments():
    rows, schedule = Rows(), Schedule(n_steps=20, rate=1e-2, decay=0.1)
    begin = Moments.at(NETWORK.random(2, torch.Generator().manual_seed(2)))
    batches = [rows.take(torch.arange(k, k + 64)) for k in range(20)]
    whole, moments = Descent(NETWORK, SQUARED_ERROR, schedule, begin.copy()), begin
    for batch in batches:
        whole.step(batch)
        anew = Descent(NETWORK, SQUARED_ERROR, schedule, moments.copy())
        anew.step(batch)
        moments = anew.moments
    assert moments.taken == 20
    assert torch.equal(moments.theta, whole.moments.theta)
    assert not torch.equal(moments.theta, begin.theta)


def test_callbacks_and_users_end_a_fit():
    stopped = fitted(report=lambda progress: progress.n_iter == 2)
    assert stopped.status is Status.STOPPED
    assert stopped.n_iter == 2

    def interrupt(progress):
        if progress.n_iter == 3:
            raise KeyboardInterrupt
        return False

    interrupted = fitted(report=interrupt)
    assert interrupted.status is Status.INTERRUPTED
    assert interrupted.validation_loss.max() < 1.5
