"""Posteriors of parameters against dense linear algebra."""

import torch

from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.members import moved_along, tangent
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.posterior import packed, posterior, unpacked, variances

N = 60


def example(n_outputs=2):
    """A random linear problem: columns, weights, fitted parameters and their residuals."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(n_outputs, 8, N, generator=generator, dtype=torch.float64)
    true = torch.randn(8, generator=generator, dtype=torch.float64)
    y = true @ columns + 0.1 * torch.randn(n_outputs, N, generator=generator, dtype=torch.float64)
    weights = torch.rand(n_outputs, N, generator=generator, dtype=torch.float64) + 0.5
    weights *= n_outputs * N / weights.sum()
    groups = torch.zeros(2, 8, dtype=torch.float64)
    groups[0, :3], groups[1, 3:7] = 1, 1
    theta = torch.linalg.lstsq(
        (columns * weights[:, None].sqrt()).movedim(1, 2).flatten(0, 1),
        (y * weights.sqrt()).flatten(),
    ).solution
    return columns, y, weights, theta, groups


def found(columns, y, weights, theta, groups, size=N):
    squares = (weights * (y - theta @ columns).square()).sum() / weights.sum()
    chunks = [slice(i, i + size) for i in range(0, N, size)]
    return posterior(lambda c: columns[..., c], chunks, weights, squares, theta, groups)


def test_the_covariance_is_the_inverse_of_the_precision():
    columns, y, weights, theta, groups = example()
    root, tau, _ = found(columns, y, weights, theta, groups)
    gram = sum((c * w) @ c.T for c, w in zip(columns, weights, strict=True))
    rest = torch.linalg.inv(root.T @ root) - tau * gram  # the precisions of the weights
    scale = (tau * gram).diagonal().max()
    assert (rest - torch.diag(rest.diagonal())).abs().max() < 1e-9 * scale
    precisions = rest.diagonal()
    for group in (slice(0, 3), slice(3, 7)):
        torch.testing.assert_close(
            precisions[group], precisions[group].mean().expand(len(precisions[group])), rtol=1e-3,
            atol=1e-9 * float(scale),
        )  # fmt: skip
    assert precisions[7].abs() < 1e-9 * scale  # without a penalty
    assert 50 < tau < 200  # the noise has a standard deviation of 0.1


def test_variances_are_quadratic_forms_of_the_covariance():
    columns, *_ = problem = example()
    root, *_ = found(*problem)
    for one, variance in zip(columns, variances(root, columns), strict=True):
        torch.testing.assert_close(variance, (one.T @ (root.T @ root) @ one).diagonal())


def test_chunks_of_rows_do_not_matter():
    one, other = found(*example()), found(*example(), size=7)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_triangle_is_packed_and_unpacked():
    root = found(*example()).root
    assert torch.equal(unpacked(packed(root)), root)
    assert len(packed(root)) == 36


def test_tangents_are_the_derivatives_along_steps():
    torch.manual_seed(0)
    X = torch.randn(3, 20, dtype=torch.float64)
    triangles = TriangleNetwork(3, 5, 4)
    inner = triangles.random(1, X, torch.Generator().manual_seed(0))[0]
    linear = TriangleModel(triangles, 2)
    models = {
        ComposedNetwork(3, 6, 2, 2): None,
        linear: linear.pack(inner, torch.randn(9, 2).double(), inner[:0]),
    }
    for model, theta in models.items():
        if theta is None:
            theta = model.random(1, torch.Generator().manual_seed(0))[0]
        columns = tangent(model, theta, X)
        step = torch.randn(columns.shape[1], 2, dtype=torch.float64)
        small = 1e-6
        ahead, behind = (
            model.forward(moved_along(model, theta, side * small * step), X) for side in (1, -1)
        )
        if len(columns) == 1:
            along = (columns[0].mT @ step).T
        else:
            along = (columns.mT @ step[:, :1])[..., 0]
        torch.testing.assert_close((ahead - behind) / (2 * small), along, rtol=1e-6, atol=1e-8)
