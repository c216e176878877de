"""Torch networks, dense and in blocks, are the same function."""

import copy
import pickle

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._export.block_network import BlockNetwork
from skrelu._export.blocks import block_layers
from skrelu._export.graph import ReLUGraph
from tests.export.cases import DOUBLE, NAMES, X, assert_same, case
from tests.export.test_graph import random_layers


def run(network, columns, dtype=torch.float64):
    with torch.no_grad():
        return network(torch.tensor(columns, dtype=dtype)).numpy()


@pytest.mark.parametrize("structure", ["dense", "blocks"])
@pytest.mark.parametrize("name", NAMES)
def test_networks_predict_what_models_predict(name, structure):
    model, _, columns, expected = case(name)
    network = model.to_torch(structure=structure)
    assert not network.training
    assert_same(run(network, columns), expected, name=name)
    if name not in DOUBLE:
        assert_same(run(network.float(), columns, torch.float32), expected, 1e-5, name)


@pytest.mark.parametrize("name", ["one level", "free scales", "classes", "quantiles", "windows"])
def test_blocks_hold_the_numbers_of_the_network_only(name):
    model, *_ = case(name)
    state = model.to_torch(structure="blocks").state_dict()
    floats = sum(part.numel() for part in state.values() if part.is_floating_point())
    assert floats <= 1.5 * model.n_parameters_
    dense = sum(part.numel() for part in model.to_torch().parameters())
    assert floats < dense


@pytest.mark.parametrize("name", ["composed", "poisson", "several outputs", "mixed"])
def test_blocks_are_modules_as_others_are(name):
    model, _, columns, expected = case(name)
    network = model.to_torch(structure="blocks")
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert_same(run(again, columns), expected)
        assert not again.training
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    for buffer in other.buffers():
        buffer.zero_()
    other.load_state_dict(network.state_dict())
    assert_same(run(other, columns), expected)
    for parameter in network.parameters():
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert parameter.dtype == torch.float64
    network(torch.tensor(columns)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    meta = network.to("meta", torch.float32)
    out = meta(torch.empty(5, columns.shape[1], dtype=torch.float32, device="meta"))
    assert (out.shape, out.dtype, out.device.type) == (
        (5, expected.shape[1]),
        torch.float32,
        "meta",
    )


@pytest.mark.parametrize("name", ["composed", "poisson", "several outputs", "classes"])
def test_slopes_of_blocks_are_those_of_the_model(name):
    model, *_ = case(name)
    points = 0.9 * X + 0.03  # off the kinks, some of which are at rows
    jacobian = torch.func.vmap(torch.func.jacrev(model.to_torch(structure="blocks")))
    found = jacobian(torch.tensor(points)).detach().numpy()
    slopes = model.predict_gradient(points).reshape(found.shape)
    np.testing.assert_allclose(found, slopes, rtol=1e-9, atol=1e-9 * np.abs(slopes).max())


def test_blocks_take_rows_of_any_shape():
    model, _, columns, _ = case("several outputs")
    network = model.to_torch(structure="blocks")
    rows = columns.reshape(2, -1, 3)
    np.testing.assert_array_equal(run(network, rows), run(network, columns).reshape(2, -1, 3))
    assert run(network, columns[0]).shape == (3,)
    assert run(network, columns[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="Inputs have 2 columns, but need 3"):
        network(torch.zeros(4, 2, dtype=torch.float64))
    assert "x (12, 3)" in repr(network) or "x (16, 3)" in repr(network)


def test_dense_networks_have_fewer_neurons_than_sub_networks_side_by_side():
    model, *_ = case("one level")
    sizes = [module.out_features for module in model.to_torch() if hasattr(module, "out_features")]
    assert len(sizes) == 3
    assert sum(sizes[:2]) < 2 * (4 * model.n_subnetworks_ + 2 * model.n_outputs_)


@pytest.mark.parametrize("fill", [0, 30, 10**6])
@pytest.mark.parametrize("seed", range(8))
def test_any_graph_is_its_blocks(seed, fill):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, size=rng.integers(2, 6))
    graph = ReLUGraph.of_layers(random_layers(rng, sizes))
    again = ReLUGraph.of_layers(random_layers(rng, [sizes[-1], 5, 3]))
    inputs = rng.normal(size=(40, sizes[0]))
    joined = graph.then(again)
    for each in (graph, graph.simplified(), joined):
        layers = block_layers(each, fill)
        expected = each(inputs)
        atol = 1e-12 * (1 + np.abs(expected).max())
        np.testing.assert_allclose(run(BlockNetwork(layers), inputs), expected, atol=atol)
        if fill == 0:  # a constant takes a weight of 0
            assert layers.n_numbers <= each.weights.nnz + each.output.nnz + 2 * (
                each.n_neurons + each.n_outputs
            )
    np.testing.assert_allclose(joined(inputs), again(graph(inputs)), rtol=1e-9, atol=1e-9)


def test_unknown_structures_are_refused():
    with pytest.raises(ValueError, match="structure='sparse', but it must be 'dense' or 'blocks'"):
        ExponentialReLURegressor().to_torch(structure="sparse")
