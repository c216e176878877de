"""Linear models whose ridge is chosen by rows that they have not seen."""

import numpy as np
import pytest
import torch

from skrelu._solvers.losses import LOSSES, CrossEntropy, SquaredError
from skrelu._solvers.ridge import fit_ridge, mean_loss, predicted


def table(n=30, p=4, n_outputs=2):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(p, n, generator=generator, dtype=torch.float64)
    y = torch.randn(n_outputs, n, generator=generator, dtype=torch.float64) + X[:n_outputs]
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return X, y, weights / weights.sum()


def ridge_by_hand(X, y, weights, penalty):
    design = torch.cat([torch.ones_like(X[:1]), X])
    mean = X @ weights
    design[1:] -= mean[:, None]
    ridge = torch.diag(torch.tensor([0.0] + [penalty] * len(X), dtype=torch.float64))
    coef = torch.linalg.solve((design * weights) @ design.mT + ridge, (design * weights) @ y.mT)
    coef[0] -= mean @ coef[1:]
    return coef


@pytest.mark.parametrize("p", [4, 40])
@pytest.mark.parametrize("ridge", [1e-2, 1e-8])
def test_left_out_predictions_are_those_of_fits_without_the_row(p, ridge):
    X, y, weights = table(p=p)
    found = fit_ridge(X, y, weights, SquaredError(), ridges=[ridge])
    centered = (X - (X @ weights)[:, None]) * weights.sqrt()
    penalty = ridge * float(torch.linalg.matrix_norm(centered, 2)) ** 2
    torch.testing.assert_close(
        found.coef, ridge_by_hand(X, y, weights, penalty), rtol=1e-5, atol=1e-6
    )
    for row in (0, 7):
        kept = torch.arange(X.shape[1]) != row
        coef = ridge_by_hand(X[:, kept], y[:, kept], weights[kept], penalty)
        alone = predicted(coef, X[:, row : row + 1])
        torch.testing.assert_close(found.left_out[:, row : row + 1], alone, rtol=1e-4, atol=1e-4)


def test_noise_asks_for_a_strong_ridge_and_exact_lines_for_none():
    X, y, weights = table(n=40, p=30)
    strong = fit_ridge(X, torch.roll(y, 7, 1), weights, SquaredError())
    assert strong.ridge >= 0.1
    line = 3 * X[:2] - 2
    weak = fit_ridge(X, line, weights, SquaredError())
    assert weak.loss < 1e-18
    torch.testing.assert_close(predicted(weak.coef, 100 * X), 300 * X[:2] - 2)


@pytest.mark.parametrize("loss", ["huber", "poisson", "gamma"])
def test_other_losses_end_where_their_gradient_is_that_of_the_ridge(loss):
    X, y, weights = table(n=200, p=3, n_outputs=1)
    y = (y / 4).exp()
    loss = LOSSES[loss]().fitted_to(y, weights, 200)
    found = fit_ridge(X, y, weights, loss, ridges=[1e-6])
    coef = found.coef.clone().requires_grad_()
    with torch.enable_grad():
        raw = predicted(coef, X)
        scale = loss.scale(raw.detach(), y, weights)
        value = (loss.values(raw, y, scale) / loss.unit(raw) @ weights).mean()
        (gradient,) = torch.autograd.grad(value, coef)
    assert gradient.abs().max() < 1e-2 * float(value.detach())


def test_classes_are_fitted_like_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    X, y, weights = table(n=300, p=3, n_outputs=1)
    labels = (y[0] > 0.3).double()[None]
    uniform = torch.full_like(weights, 1 / 300)
    loss = CrossEntropy().fitted_to(labels, uniform, 300)
    found = fit_ridge(X, labels, uniform, loss, ridges=[1e-9])
    expected = LogisticRegression(C=1e6, tol=1e-8).fit(X.mT.numpy(), labels[0].numpy())
    np.testing.assert_allclose(found.coef[1:, 0], expected.coef_[0], rtol=1e-2)
    # Folds tell of rows that a fit has not seen: more is lost than on those that it has.
    assert found.loss > mean_loss(loss, predicted(found.coef, X), labels, uniform)


def test_a_factor_enlarges_the_ridge():
    X, y, weights = table()
    free = fit_ridge(X, y, weights, SquaredError())
    bound = fit_ridge(X, y, weights, SquaredError(), factor=1e9)
    assert bound.coef[1:].abs().max() < 1e-6 * free.coef[1:].abs().max()
    torch.testing.assert_close(predicted(bound.coef, X) @ weights, y @ weights)


@pytest.mark.parametrize("loss", [SquaredError(), LOSSES["huber"]()])
def test_single_rows_and_constant_columns_give_the_constant(loss):
    one = torch.ones(1, 1, dtype=torch.float64)
    found = fit_ridge(one, 0 * one, one[0], loss)
    torch.testing.assert_close(predicted(found.coef, 5 * one), 0 * one)
    X, y, weights = table(p=1, n_outputs=1)
    found = fit_ridge(torch.ones_like(X), y, weights, SquaredError())
    torch.testing.assert_close(predicted(found.coef, X)[0, 0], (y @ weights)[0])
