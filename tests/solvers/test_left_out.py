"""What is left out of a posterior, against refits without a row; fewer rows than columns."""

import pytest
import torch

from skrelu._solvers.posterior import Posterior, each_left_out, posterior, variances


def columns_of(n_columns, n_rows, n_outputs=1):
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(n_outputs, n_columns, n_rows, generator=generator).double()
    columns[:, 0] = 1.0
    return columns


def targets_of(n_outputs, n_rows):
    return torch.randn(n_outputs, n_rows, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("precision", [1.0, 100.0, 1e6])
@pytest.mark.parametrize("n_columns", [12, 30])
def test_left_out_rows_are_what_a_fit_without_them_predicts(precision, n_columns):
    n_rows = 12
    columns, targets = columns_of(n_columns, n_rows)[0], targets_of(2, n_rows)
    weights = torch.linspace(0.5, 2, n_rows).double()
    penalties = torch.linspace(0.5, 3, n_columns).double()
    penalties[0] = 0
    found = Posterior(torch.eye(n_columns).double(), torch.tensor(precision).double(), penalties)
    predictions, sizes = each_left_out(found, columns, targets, weights)
    for i in range(n_rows):
        rest = torch.arange(n_rows) != i
        J, w = columns[:, rest], precision * weights[rest]
        inverse = torch.linalg.inv((J * w) @ J.T + torch.diag(penalties))
        coef = inverse @ (J * w) @ targets[:, rest].T
        tolerance = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(predictions[:, i], coef.T @ columns[:, i], **tolerance)
        torch.testing.assert_close(sizes[i], columns[:, i] @ inverse @ columns[:, i], **tolerance)


@pytest.mark.parametrize(("n_columns", "n_rows"), [(40, 10), (10, 40)])
def test_the_root_is_that_of_the_covariance_and_does_not_depend_on_chunks(n_columns, n_rows):
    columns, weights = columns_of(n_columns, n_rows, 2), torch.ones(2, n_rows).double()
    theta = torch.linspace(-1, 1, n_columns).double()
    groups = torch.ones(1, n_columns)
    groups[0, 0] = 0
    found = [
        posterior(
            lambda c: columns[..., c], chunks, weights, torch.tensor(0.1).double(), theta, groups
        )
        for chunks in ([slice(0, 3), slice(3, n_rows)], [slice(0, n_rows)])
    ]
    flat = columns.transpose(0, 1).flatten(1)
    matrix = found[0].precision * flat @ flat.T + torch.diag(found[0].penalties)
    for one in found:
        torch.testing.assert_close(one.root.T @ one.root @ matrix, torch.eye(n_columns).double())
        torch.testing.assert_close(one.root, one.root.tril())


def test_where_nothing_is_known_the_variance_is_that_of_the_prior_whatever_the_noise():
    n_columns, n_rows = 40, 10
    columns, weights = columns_of(n_columns, n_rows), torch.ones(1, n_rows).double()
    theta = torch.linspace(-1, 1, n_columns).double()
    groups = torch.ones(1, n_columns)
    groups[0, 0] = 0
    found = posterior(
        lambda c: columns[..., c],
        [slice(0, n_rows)],
        weights,
        torch.tensor(1e-28).double(),
        theta,
        groups,
    )
    assert found.precision > 1e11
    basis = torch.linalg.svd(columns[0])[0][:, n_rows:]  # directions that no row has
    apart = basis @ basis.T[:, 1:] @ torch.ones(n_columns - 1, 1).double()
    apart[0] = 0
    apart = basis @ (basis.T @ apart)
    variance = variances(found.root, apart[None])[0]
    expected = apart.square().sum() / found.penalties[1]
    torch.testing.assert_close(variance[0], expected, rtol=0.05, atol=0)
