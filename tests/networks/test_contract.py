"""What solvers rely on, of every network: one vector a start, exact derivatives, exact lowering."""

import numpy as np
import pytest
import torch

from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.shapes import Shape
from skrelu._networks.smooth_waves import Bump, Folded, Ramp, Ripple
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork

DOUBLE = torch.float64
N_STARTS, N_SAMPLES = 2, 40
NETWORKS = {
    "waves": TriangleModel(TriangleNetwork(3, 4, 3), 2),
    "one wave": TriangleModel(TriangleNetwork(1, 1, 1), 1),
    "waves with free scales": TriangleModel(TriangleNetwork(3, 4, 3, smooth=False), 2),
    "waves with fixed peaks": TriangleModel(TriangleNetwork(2, 3, 5, n_free_peaks=2), 2),
    "convex and concave": TriangleModel(TriangleNetwork(2, 5, 3), 2, Shape((0, 0), (1, -1))),
    "rising and falling": TriangleModel(TriangleNetwork(2, 5, 3), 2, Shape((1, -1), (0, 0))),
    "both shapes": TriangleModel(TriangleNetwork(3, 6, 2), 2, Shape((1, -1, 0), (1, -1, 1))),
    "relu": ReLUNetwork(3, 4, 3, 2),
    "relu on three levels": ReLUNetwork(3, 6, 2, 2, n_levels=3),
    "relu of one layer": ReLUNetwork(2, 4, 1, 1, n_levels=2),
    "parabolic": ParabolicNetwork(ReLUNetwork(2, 3, 2, 1)),
    "composed": ComposedNetwork(3, 8, 4, 2),
    "composed on one level": ComposedNetwork(2, 3, 1, 1),
    "composed of a depth": ComposedNetwork(2, 6, 3, 2, depth=3),
    "periodic": ComposedNetwork(3, 5, 1, 2, ripples=True),
    "composed, rising and falling": ComposedNetwork(3, 8, 2, 2, Shape((1, -1, 0), (0, 0, 0))),
    "composed, convex and concave": ComposedNetwork(3, 9, 3, 1, Shape((1, 0, -1), (1, 0, -1))),
}


def having(method):
    """Run a test for every network that has a method."""
    found = {name: network for name, network in NETWORKS.items() if hasattr(network, method)}
    return pytest.mark.parametrize("network", found.values(), ids=found)


SHAPED = pytest.mark.parametrize(
    "network",
    [network for network in NETWORKS.values() if getattr(network, "shape", None) is not None],
    ids=lambda network: f"{type(network).__name__} {network.shape}",
)
EACH, OF_OUTPUTS, LOWERED = having("forward"), having("of_output"), having("to_relu")


def n_features(network):
    for part in ("triangles", "relu"):
        network = getattr(network, part, network)
    return network.n_features


def drawn(network, seed=0):
    """Parameters within their bounds, and inputs in and out of the windows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=DOUBLE)

    X = 2 * normal(n_features(network), N_SAMPLES)
    theta = normal(N_STARTS, network.n_parameters)
    if isinstance(network, TriangleModel):
        waves = network.triangles.random(N_STARTS, X, generator)
        theta[:, : waves.shape[1]] = waves + 0.3 * normal(*waves.shape)
    if getattr(network, "shape", None) is not None:
        theta = theta.clamp(*network.bounds(theta))
    return theta, X


def derivatives(network, theta, X, output):
    """By automatic differentiation, (n_starts, n_parameters, n_samples)."""
    found = torch.autograd.functional.jacobian(
        lambda t: network.forward(t, X)[:, output].sum(0), theta
    )
    return found.movedim(0, -1)


def weighted(theta, X, output, n_outputs, by_row=1.0):
    """The cotangent of one output."""
    cotangent = theta.new_zeros(len(theta), n_outputs, X.shape[1])
    cotangent[:, output] = by_row
    return cotangent


@EACH
def test_starts_are_vectors_that_can_be_read_and_written(network):
    theta, _ = drawn(network)
    parts = network.unpack(theta)
    packed = network.pack(parts) if hasattr(parts, "_fields") else network.pack(*parts)
    assert torch.equal(packed, theta)


@EACH
def test_a_batch_is_its_starts_side_by_side(network):
    theta, X = drawn(network)
    together = network.forward(theta, X)
    assert together.shape == (N_STARTS, network.n_outputs, N_SAMPLES)
    for start in range(N_STARTS):
        torch.testing.assert_close(network.forward(theta[[start]], X)[0], together[start])


@EACH
def test_derivatives_are_those_of_autograd(network):
    theta, X = drawn(network)
    by_row = torch.linspace(-1, 2, N_SAMPLES, dtype=DOUBLE)
    for output in range(network.n_outputs):
        expected = derivatives(network, theta, X, output) * by_row
        cotangent = weighted(theta, X, output, network.n_outputs, by_row)
        found = network.jacobian(theta, X, cotangent)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@SHAPED
def test_shapes_hold_whatever_the_weights(network, seed):
    """Slopes and their changes along each feature, of the network and of a shallow lowering."""
    theta, _ = drawn(network, seed)
    depth = [2] if isinstance(network, ComposedNetwork) else []
    relu, lowered = network.to_relu(theta, *depth)
    begin = torch.randn(n_features(network), 1, dtype=DOUBLE)
    for j, (rise, bend) in enumerate(
        zip(network.shape.monotonic, network.shape.convexity, strict=True)
    ):
        X = begin.repeat(1, 2001)
        X[j] = torch.linspace(-4, 4, 2001, dtype=DOUBLE)
        for values in (network.forward(theta, X), relu.forward(lowered, X)):
            slopes, size = values.diff(), 1e-10 * values.abs().amax()
            assert (rise * slopes >= -size).all()
            assert (bend * slopes.diff() >= -size).all()


@having("moved")
def test_moving_inputs_and_outputs_is_exact(network):
    theta, X = drawn(network)
    n = n_features(network)
    factor, shift = torch.rand(2, n, dtype=DOUBLE)
    gain, line = torch.rand(network.n_outputs, dtype=DOUBLE), torch.rand(1 + n, 1, dtype=DOUBLE)
    line = line.repeat(1, network.n_outputs)
    values = network.forward(theta, factor[:, None] * X + shift[:, None])
    torch.testing.assert_close(network.forward(network.moved(theta, factor, shift), X), values)
    expected = gain[:, None] * network.forward(theta, X) + (line[1:].mT @ X + line[:1].mT)
    torch.testing.assert_close(network.forward(network.affine(theta, gain, line), X), expected)


@having("curvature")
def test_bends_along_steps_are_those_of_autograd(network):
    theta, X = drawn(network)
    step = torch.randn(theta.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)

    def along(t):
        return network.forward(theta + t * step, X)

    zero = torch.zeros((), dtype=DOUBLE)
    _, bend = torch.autograd.functional.jvp(
        lambda t: torch.autograd.functional.jvp(along, t, torch.ones_like(t), create_graph=True)[1],
        zero,
        torch.ones_like(zero),
    )
    found, pullback = network.curvature(theta, step, X)
    torch.testing.assert_close(found, bend, rtol=1e-8, atol=1e-8)
    by = torch.randn(N_STARTS, network.n_outputs, N_SAMPLES, dtype=DOUBLE)
    found = pullback(by)
    torch.testing.assert_close(found, network.jacobian(theta, X, by).sum(-1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wave", [Bump(), Ramp(1), Ramp(-1), Ripple()], ids=repr)
def test_waves_have_their_derivatives_and_are_lowered(wave):
    z = torch.linspace(-3, 3, 400, dtype=DOUBLE, requires_grad=True)
    values, slopes, bends = wave.derivatives(z)
    (expected,) = torch.autograd.grad(values.sum(), z, create_graph=True)
    torch.testing.assert_close(slopes, expected)
    (expected,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(bends, expected)
    errors = []
    for depth in (1, 2, 3):
        found, n_layers = lowered(wave, z, depth)
        ripple = isinstance(wave, Ripple)
        assert n_layers == (5 + 3 * depth if ripple else 2 * depth)
        errors.append(float((found - values).detach().abs().max()))
        if isinstance(wave, Ramp):
            assert (found.diff() >= -1e-12).all()
            assert (wave.sign * found.diff().diff() >= -1e-12).all()
    rate = 81 if isinstance(wave, Ramp) else 9
    assert errors[0] < 0.25
    np.testing.assert_array_less(np.divide(errors[1:], errors[:-1]), 1.3 / rate)


def test_ripples_are_periodic_and_end():
    z = torch.linspace(-30, 30, 60 * 200 + 1, dtype=DOUBLE)
    values, slopes, _ = Ripple().derivatives(z)
    found, _ = lowered(Ripple(), z, 10)
    torch.testing.assert_close(found, values, rtol=0, atol=1e-8)
    inside, period = z.abs() < 14, 400
    torch.testing.assert_close(values[period:][inside[period:]], values[:-period][inside[period:]])
    assert (slopes[z.abs() >= 16] == 0).all()
    one = Ripple().derivatives(torch.linspace(0, 2, 20_001, dtype=DOUBLE)[:-1])[0]
    assert float(one.mean()) == pytest.approx(0, abs=1e-12)
    assert float(one.square().mean()) == pytest.approx(1, abs=1e-7)
    cosine = 2**0.5 * torch.cos(np.pi * z[inside])
    assert float((values[inside] - cosine).square().mean()) < 1e-3
    fourth = values.diff(n=4) / 0.005**4  # without jumps: a derivative of that order is continuous
    assert float(fourth[inside[4:]].diff().abs().max()) < 0.05 * float(fourth.abs().max())


def lowered(wave, z, depth):
    """Return the values of the layers that a wave is lowered to, and their number."""
    (factors, shifts), layers, read_out, constant = wave.lowered(depth)
    h = (factors[:, None] * z + shifts[:, None]).relu()
    for matrix, bias in layers:
        h = (matrix @ h + bias[:, None]).relu()
    return read_out @ h + constant, 1 + len(layers)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_waves_of_a_depth_have_so_many_layers_and_pieces(depth):
    z = torch.linspace(-3, 3, 6 * 2**10 + 1, dtype=DOUBLE)
    values, slopes, _ = Folded(depth).derivatives(z)
    found, n_layers = lowered(Folded(depth), z, 4)
    assert n_layers == depth
    torch.testing.assert_close(found, values, rtol=0, atol=1e-14)
    assert len(slopes.unique()) == 2**depth
    nodes = torch.linspace(-1, 1, 2**depth + 1, dtype=DOUBLE)
    torch.testing.assert_close(Folded(depth).derivatives(nodes)[0], nodes.square())
    inside = z[z.abs() <= 1]
    gap = Folded(depth).derivatives(inside)[0] - inside.square()
    assert (gap >= -1e-14).all()
    assert float(gap.max()) == pytest.approx(4.0**-depth, rel=0.01)


@OF_OUTPUTS
def test_each_output_depends_on_its_own_parameters_only(network):
    theta, X = drawn(network)
    cotangent = torch.ones(N_STARTS, network.n_outputs, N_SAMPLES, dtype=DOUBLE)
    for output, found in enumerate(network.jacobians(theta, X, cotangent)):
        of = network.of_output(output)
        alone = weighted(theta, X, output, network.n_outputs)
        expected = network.jacobian(theta, X, alone)
        torch.testing.assert_close(found, expected[:, of], rtol=1e-10, atol=1e-10)
        others = torch.ones(network.n_parameters, dtype=torch.bool)
        others[of] = False
        assert not expected[:, others].any()


@pytest.mark.parametrize("seed", range(3))
@LOWERED
def test_lowering_is_exact(network, seed):
    theta, X = drawn(network, seed)
    X = torch.cat([X, 1e3 * X], -1)
    # The limit of infinite depth takes as many layers as rounding has digits.
    depth = [20] if isinstance(network, ComposedNetwork) else []
    relu, lowered = network.to_relu(theta, *depth)
    expected = network.forward(theta, X)
    size = expected.abs().amax(-1, keepdim=True)
    assert ((relu.forward(lowered, X) - expected).abs() / size).max() < 1e-12
