"""Networks on encoded columns: ramps, curves, derivatives, slopes and exact layers."""

import numpy as np
import pytest
import torch

from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._networks.encoding import Curves, Knots, hinges, quantile_knots

N_FEATURES, N_MEMBERS = 3, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def some_knots(features=(0, 2)):
    return Knots(features, tuple(gaussian(5 + f, seed=f).sort().values for f in features))


def some_curves(n_models=2, n_outputs=2, groups=(0, 1, 0)):
    knots = some_knots((0, 1, 2))
    sizes = (n_models, n_outputs)
    return Curves(
        knots,
        groups,
        gaussian(*sizes, sum(knots.sizes)),
        gaussian(*sizes, N_FEATURES, seed=1),
        gaussian(*sizes, max(groups) + 1, seed=2),
    )


def some_model(depth=2, n_peaks=2, n_outputs=2):
    knots, curves = some_knots(), some_curves(n_outputs=n_outputs)
    network = EncodedNetwork(
        N_FEATURES + sum(knots.sizes), 2 * n_outputs, 5, depth, n_peaks, 6, n_outputs
    )
    theta = network.random(N_MEMBERS, generator()).double()
    theta += 0.3 * torch.randn(theta.shape, generator=generator(1), dtype=theta.dtype)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    shares = shares[:, None] / (1.0 + torch.arange(n_outputs))
    models, factors = torch.tensor([0, 1, 0, 1]), torch.tensor([0.0, 0.0, 1.0, 1.0]).double()
    return EncodedModel(network, network.unpack(theta), knots, curves, models, factors, shares)


def test_ramps_go_from_0_to_1_between_their_knots_and_sum_to_the_position():
    knots = some_knots()
    X = gaussian(50, N_FEATURES, seed=3)
    positions = knots.positions(X)
    ramps = knots.ramps(positions)
    begin = 0
    for j, (feature, edges) in enumerate(zip(knots.features, knots.edges, strict=True)):
        x = X[:, feature, None]
        expected = ((x - edges[:-1]) / edges.diff()).clamp(0, 1)
        own = ramps[:, begin : begin + len(edges) - 1]
        torch.testing.assert_close(own, expected)
        torch.testing.assert_close(positions[:, j], expected.sum(1))
        begin += len(edges) - 1
    assert ramps.shape[1] == begin


def test_ramps_are_linear_in_hinges():
    knots, X = some_knots(), gaussian(50, N_FEATURES, seed=3)
    matrix, bias, ramps = hinges(knots, N_FEATURES)
    found = (X @ matrix.T + bias).relu() @ ramps.T
    torch.testing.assert_close(found, knots.ramps(knots.positions(X)))


def test_knots_are_all_values_if_these_are_few_else_quantiles():
    few = torch.tensor([3.0, 1.0, 2.0, 1.0]).double()
    assert quantile_knots(few, 16, 1e-9).tolist() == [1, 2, 3]
    assert quantile_knots(few[:1], 16, 1e-9).tolist() == [3, 4]
    many = torch.linspace(0, 1, 1001, dtype=torch.float64)[torch.randperm(1001)]
    torch.testing.assert_close(
        quantile_knots(many, 4, 1e-9), torch.tensor([0, 0.25, 0.5, 0.75, 1.0]).double()
    )
    assert quantile_knots(torch.tensor([0.0, 1e-12, 1.0]).double(), 16, 1e-9).tolist() == [0, 1]


def test_curves_are_sums_over_the_features_of_their_group():
    curves, X = some_curves(), gaussian(40, N_FEATURES, seed=4)
    ramps = curves.knots.ramps(curves.knots.positions(X))
    for model in range(2):
        for output in range(2):
            parts = ramps * curves.values[model, output]
            for group in range(2):
                features = [j for j, g in enumerate(curves.groups) if g == group]
                mask = torch.isin(curves.knots.owner, torch.tensor(features))
                expected = (
                    parts[:, mask].sum(1)
                    + X[:, features] @ (curves.slopes[model, output, features])
                )
                expected += curves.intercepts[model, output, group]
                torch.testing.assert_close(curves(X)[model, :, output, group], expected)


@pytest.mark.parametrize(("depth", "n_peaks"), [(1, 2), (2, 2), (2, 3), (4, 2)])
@pytest.mark.parametrize("n_curve_sets", [1, N_MEMBERS])
def test_derivatives_are_those_of_the_values(depth, n_peaks, n_curve_sets):
    network = EncodedNetwork(5, 3, 2, depth, n_peaks, 3, 2)
    theta = network.random(N_MEMBERS, generator()).double()
    theta += 0.1 * torch.randn(theta.shape, generator=generator(5), dtype=theta.dtype)
    columns, curves = gaussian(7, 5), gaussian(n_curve_sets, 7, 3, seed=1)
    y = gaussian(N_MEMBERS, 2, 7, seed=2)
    found = torch.full_like(theta, torch.nan)
    network.differentiate(
        network.unpack(theta), network.unpack(found), columns, curves, lambda raw: 2 * (raw - y)
    )

    def cost(theta):
        everyone = curves.expand(N_MEMBERS, -1, -1)
        each = network.forward(network.unpack(theta), columns.expand(N_MEMBERS, -1, -1), everyone)
        shared = network.forward(network.unpack(theta), columns, curves)
        torch.testing.assert_close(each, shared)
        return (shared - y).square().sum()

    step = 1e-6
    differences = torch.stack(
        [cost(theta + step * e) - cost(theta - step * e) for e in torch.eye(len(theta)).double()]
    ) / (2 * step)
    torch.testing.assert_close(found, differences, rtol=1e-6, atol=1e-6)


def test_members_are_rows_and_back():
    network = EncodedNetwork(5, 3, 4, 2, 2, 6, 2)
    theta = network.random(N_MEMBERS, generator())
    rows = network.by_member(theta)
    assert rows.shape == (N_MEMBERS, network.n_parameters)
    assert torch.equal(network.of_members(rows), theta)
    alone = network.unpack(network.of_members(rows[2:3]))
    columns, curves = gaussian(7, 5).float(), gaussian(N_MEMBERS, 7, 3).float()
    everyone = network.forward(network.unpack(theta), columns, curves)
    torch.testing.assert_close(network.forward(alone, columns, curves[2:3]), everyone[2:3])


@pytest.mark.parametrize(("depth", "n_peaks"), [(1, 1), (2, 2), (4, 2)])
def test_layers_are_the_same_function(depth, n_peaks):
    model, X = some_model(depth, n_peaks), 2 * gaussian(N_FEATURES, 100, seed=5)
    h, layers = X, model.layers()
    for matrix, bias in layers[:-1]:
        h = (matrix @ h + bias[:, None]).relu()
    matrix, bias = layers[-1]
    torch.testing.assert_close(matrix @ h + bias[:, None], model.forward(X), rtol=0, atol=1e-12)
    assert len(layers) == depth + 3


def test_slopes_are_those_of_the_values():
    model, X = some_model(), gaussian(N_FEATURES, 60, seed=6)
    step = 1e-7
    for feature in range(N_FEATURES):
        moved = X.clone()
        moved[feature] += step
        difference = (model.forward(moved) - model.forward(X)) / step
        apart = (model.slopes(X)[:, feature] - difference).abs() > 1e-5
        assert apart.double().mean() < 0.02  # a step may cross a knot


def test_a_model_is_the_weighted_sum_of_its_members():
    model, X = some_model(), gaussian(N_FEATURES, 20)
    each, shares = model.each(X), torch.tensor([[0.0, 0], [1, 2], [3, 0], [0, 0]]).double()
    expected = torch.einsum("mo,mon->on", shares, each)
    part = model.with_shares(shares)
    assert len(part.shares) == 2
    torch.testing.assert_close(part.forward(X), expected)
    torch.testing.assert_close(part.plus(torch.tensor([1.0, -2.0])).forward(X)[1], expected[1] - 2)
    alone = part.with_shares(shares[1:3] * torch.tensor([1, 0])).plus(torch.tensor([1.0, -2.0]))
    torch.testing.assert_close(alone.forward(X), torch.stack([expected[0] + 1, 0 * expected[1]]))
    torch.testing.assert_close(model.take(torch.tensor([3])).each(X)[0], each[3])


def test_arrays_describe_a_model():
    model, X = some_model(), gaussian(N_FEATURES, 20)
    again = EncodedModel.of_arrays(model.arrays())
    assert torch.equal(again.forward(X), model.forward(X))
    # Earlier versions kept one share a member.
    earlier = EncodedModel.of_arrays({**model.arrays(), "shares": np.array([0.1, 0.2, 0.3, 0.4])})
    assert torch.equal(earlier.shares[:, 1], earlier.shares[:, 0])
    torch.testing.assert_close(earlier.forward(X)[0], model.forward(X)[0])
    assert again.n_parameters == model.n_parameters


def test_without_curves_members_read_plain_columns_and_ramps():
    knots = some_knots()
    curves = some_curves(n_models=1, n_outputs=0)
    network = EncodedNetwork(N_FEATURES + sum(knots.sizes), 0, 5, 1, 1, 6, 2)
    weights = network.unpack(network.random(N_MEMBERS, generator()).double())
    nothing = torch.zeros(N_MEMBERS)
    shares = torch.full((N_MEMBERS, 2), 0.25, dtype=torch.float64)
    model = EncodedModel(network, weights, knots, curves, nothing.long(), nothing.double(), shares)
    X = gaussian(N_FEATURES, 30)
    h, layers = X, model.layers()
    for matrix, bias in layers[:-1]:
        h = (matrix @ h + bias[:, None]).relu()
    torch.testing.assert_close(layers[-1][0] @ h + layers[-1][1][:, None], model.forward(X))
    assert model.slopes(X).shape == (2, N_FEATURES, 30)
