"""Reading models as layers: what is read is the model, what cannot be read is said."""

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from skrelu import ExponentialReLURegressor
from skrelu.regions import (
    as_piecewise_linear,
    estimate_regions,
    regions_along,
    regions_in_box,
    regions_in_plane,
)
from skrelu.regions._layers import layers_of
from tests.regions.networks import random_network, run, sequential

DOUBLE = torch.float64


def outputs(layers, X):
    """Outputs of layers at points."""
    values = np.asarray(X, float) - layers.center
    for matrix, bias, leak in zip(layers.matrices, layers.biases, [*layers.leaks, 1], strict=True):
        values = values @ matrix.T + bias
        values = np.maximum(values, leak * values)
    return values


def points(n_features):
    return np.random.default_rng(1).normal(size=(50, n_features))


class Two(nn.Module):
    """Two Linear layers with a function after each."""

    def __init__(self, first, last=lambda h: h, before=lambda x: x):
        super().__init__()
        self.before, self.first, self.last = before, first, last
        self.a, self.b = (layer for layer in random_network(0, [3, 5, 1])[::2])

    def forward(self, x):
        return self.last(self.b(self.first(self.a(self.before(x)))))


class Nested(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.end = inner, nn.Linear(3, 1, dtype=DOUBLE)

    def forward(self, x):
        return self.end(torch.relu(self.inner(x)))


class Skipping(Nested):
    def forward(self, x):
        return super().forward(x) + x


class ResidualSequential(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class DoubledSequential(nn.Sequential):
    def forward(self, x):
        return super().forward(torch.relu(super().forward(x)))


class MaskedLinear(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes, dtype=DOUBLE)
        self.register_buffer("mask", torch.ones_like(self.weight).tril())

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class ShiftedReLU(nn.ReLU):
    def forward(self, x):
        return super().forward(x - 1)


class SameReLU(nn.ReLU):
    """A subclass that computes what its class does."""


class InPlace(nn.Module):
    """Its activation changes a value that the next layer reads under its old name."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (layer for layer in random_network(0, [3, 5, 1])[::2])

    def forward(self, x):
        h = self.a(x)
        F.relu(h, inplace=True)
        return self.b(h)


class Hidden(nn.Module):
    """Keeps its hidden values, which deepcopy refuses, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.inner, self.n_calls = random_network(0, [2, 4, 1]), 0

    def forward(self, x, scale=None):
        self.n_calls += 1
        self.hidden = self.inner[0](x)
        if scale is not None:
            return scale * self.hidden
        return self.inner[2](self.inner[1](self.hidden))


def normalized():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.BatchNorm1d(3), nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.BatchNorm1d(6, affine=False), nn.Linear(6, 2),
    )  # fmt: skip
    module(7 + 3 * torch.randn(100, 3))
    return module


def spectral():
    torch.manual_seed(0)
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(3, 4)),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(4, 2)),
    )


LINEAR = random_network(0, [3, 5])[0]
READ = {
    "subclasses with the same forward": lambda: Two(SameReLU()),
    "a sequence that runs twice": lambda: DoubledSequential(*random_network(0, [3, 4, 3])),
    "masked linears": lambda: nn.Sequential(MaskedLinear(3, 4), nn.ReLU(), MaskedLinear(4, 2)),
    "nested modules": lambda: Nested(nn.Sequential(random_network(0, [2, 4, 3]), nn.Identity())),
    "the input kept": lambda: Two(torch.relu, before=lambda x: x.view(-1, 3)),
    "a changed value": InPlace,
    "F.relu": lambda: Two(F.relu),
    "torch.relu": lambda: Two(torch.relu),
    "torch.relu_": lambda: Two(torch.relu_),
    "Tensor.relu": lambda: Two(lambda h: h.relu()),
    "Tensor.relu_": lambda: Two(lambda h: h.relu_()),
    "F.relu in place": lambda: Two(lambda h: F.relu(input=h, inplace=True)),
    "F.leaky_relu": lambda: Two(F.leaky_relu),
    "F.leaky_relu with a slope": lambda: Two(lambda h: F.leaky_relu(h, 0.3)),
    "torch.clamp": lambda: Two(lambda h: torch.clamp(h, min=0)),
    "Tensor.clamp": lambda: Two(lambda h: h.clamp(min=0.0)),
    "Tensor.clamp_": lambda: Two(lambda h: h.clamp_(0)),
    "Tensor.clamp_min": lambda: Two(lambda h: h.clamp_min(0)),
    "torch.clamp_min": lambda: Two(lambda h: torch.clamp_min(h, 0)),
    "nn.ReLU in place": lambda: Two(nn.ReLU(inplace=True)),
    "two activations in a row": lambda: Two(nn.Sequential(nn.LeakyReLU(0.5), nn.LeakyReLU(0.1))),
    "two ReLU in a row": lambda: Two(nn.Sequential(nn.ReLU(), nn.ReLU())),
    "a ReLU first": lambda: nn.Sequential(nn.ReLU(), *random_network(0, [3, 4, 2])),
    "a ReLU last": lambda: nn.Sequential(*random_network(0, [3, 4, 2]), nn.ReLU()),
    "two Linear in a row": lambda: nn.Sequential(*random_network(0, [3, 4, 2])[::2]),
    "flatten": lambda: Two(torch.relu, before=lambda x: torch.flatten(x, 1)),
    "Tensor.flatten": lambda: Two(torch.relu, before=lambda x: x.flatten(1)),
    "nn.Flatten": lambda: Two(torch.relu, before=nn.Flatten()),
    "F.dropout": lambda: Two(lambda h: F.dropout(h.relu(), training=False)),
    "squeeze": lambda: Two(torch.relu, lambda y: y.squeeze(-1)),
    "batch normalization": lambda: normalized().double().eval(),
    "parametrized weights": lambda: spectral().double().eval(),
    "kept values": Hidden,
    "wrapped modules": lambda: nn.DataParallel(random_network(0, [3, 4, 1])),
}  # fmt: skip


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_what_is_read_is_the_module(make):
    module = make()
    layers = layers_of(module)
    X = points(layers.n_features)
    expected = run(module, X.copy())
    np.testing.assert_allclose(outputs(layers, X).reshape(expected.shape), expected, atol=1e-12)


@pytest.mark.parametrize(
    "last",
    [
        nn.Softmax(dim=1),
        nn.LogSoftmax(-1),
        nn.Sigmoid(),
        torch.sigmoid,
        lambda y: F.softmax(y, dim=-1),
        lambda y: F.log_softmax(y, dim=1),
        lambda y: y.softmax(-1),
        lambda y: torch.sigmoid(y).squeeze(-1),
    ],
)
def test_of_classifiers_is_read_what_comes_before_the_last_function(last):
    module = Two(torch.relu, last)
    layers = layers_of(module)
    X = points(3)
    logits = torch.tensor(outputs(layers, X))
    np.testing.assert_allclose(last(logits).numpy(), run(module, X), atol=1e-12)


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=12),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 30.0, 1e30]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, DOUBLE]),
)
@settings(deadline=None, max_examples=100)
def test_rounding_is_no_difference(seed, widths, scale, dtype):
    module = random_network(seed, widths)
    for layer in module[::2]:
        layer.weight.data *= min(scale, 1e3) if dtype == torch.float16 else scale
    module.to(dtype)
    if all(weight.isfinite().all() for weight in module.parameters()):
        layers_of(module)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_are_read():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 2))
    y = X[:, 0] * X[:, 1]
    line = X[:2]
    shares = np.linspace(0, 1, 101)
    at = line[0] + shares[:, None] * (line[1] - line[0])
    for model in (
        MLPRegressor(hidden_layer_sizes=(8, 8), max_iter=20, random_state=0).fit(X, y),
        ExponentialReLURegressor(max_iter=20, random_state=0).fit(X, y),
        ExponentialReLURegressor(depth=3, n_subnetworks=4, n_init=1, random_state=0).fit(X, y),
    ):
        regions = regions_along(model, line)
        expected = model.predict(at)
        np.testing.assert_allclose(
            regions(shares * regions.positions[-1])[:, 0], expected, atol=1e-7
        )
        assert 1 < regions.n_linear_regions <= regions.n_activation_regions
    classifier = MLPClassifier(hidden_layer_sizes=(8,), max_iter=20, random_state=0)
    classifier.fit(X, X.sum(1).round())
    expected = softmax(outputs(layers_of(classifier), at), axis=1)
    np.testing.assert_allclose(classifier.predict_proba(at), expected, atol=1e-9)


@pytest.mark.parametrize("make", [normalized, spectral, Hidden])
def test_reading_leaves_a_module_in_training_as_it_is(make):
    module = make()
    module(torch.ones(4, 2 if make is Hidden else 3, dtype=next(module.parameters()).dtype))
    calls = getattr(module, "n_calls", None)
    state, random = deepcopy(module.state_dict()), torch.get_rng_state()
    layers = layers_of(module)
    assert all(inner.training for inner in module.modules())
    assert getattr(module, "n_calls", None) == calls
    assert (torch.get_rng_state() == random).all()
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name]), name
    X = points(layers.n_features)
    module.double().eval()
    np.testing.assert_allclose(outputs(layers, X), run(module, X), atol=1e-12)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.relu() else -x


class Batched(nn.Module):
    def forward(self, x):
        return F.linear(x - x.mean(0), torch.eye(2, dtype=DOUBLE))


class Pair(nn.Module):
    def forward(self, x, y):
        return x + y


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock, self.layer = threading.Lock(), nn.Linear(1, 1)


class Several(nn.Linear):
    def forward(self, x):
        return x, super().forward(x)


class Hiding(nn.Linear):
    """Computes something else for numbers."""

    def __call__(self, x):
        return super().__call__(x if isinstance(x, torch.Tensor) else F.relu(x))


def empty():
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    module[0].weight = nn.Parameter(torch.ones(0, 2))
    module[0].bias = nn.Parameter(torch.ones(0))
    module[2].weight = nn.Parameter(torch.ones(1, 0))
    return module


REFUSED = {
    "residual sequence": (lambda: ResidualSequential(LINEAR), r"operator such as \+ does more"),
    "residual module": (lambda: Skipping(random_network(0, [2, 3])), "Skipping: an operator"),
    "other activation": (lambda: nn.Sequential(LINEAR, ShiftedReLU()), "ShiftedReLU 1: an op"),
    "Tanh": (lambda: nn.Sequential(LINEAR, nn.Tanh()), "Cannot read Tanh"),
    "inner Tanh": (lambda: Nested(nn.Sequential(LINEAR, nn.Tanh())), r"Tanh inner\.1: tanh"),
    "tanh": (lambda: Two(torch.tanh), "Cannot read Two: tanh does more"),
    "images": (lambda: Two(nn.BatchNorm2d(5)), "Cannot read BatchNorm2d first: expected 4D"),
    "an if": (lambda: Two(Branching()), "Branching first: an if or a loop depends on"),
    "a batch": (Batched, "Batched: mean does more"),
    "several inputs": (Pair, "Pair.*missing 1 required positional argument: 'y'"),
    "several outputs": (lambda: Several(1, 1), "Several, which does not return one tensor"),
    "other clamp": (lambda: Two(lambda h: h.clamp(0, 6)), "clamp: with these arguments"),
    "dropout that stays": (lambda: Two(F.dropout), "dropout: with these arguments"),
    "flatten of all": (lambda: Two(torch.relu, torch.flatten), "flatten: with these"),
    "changed call": (lambda: nn.Sequential(Hiding(1, 1)), "computes something else"),
    "softmax inside": (lambda: Two(nn.Softmax(dim=1)), "only at the end"),
    "slope 1": (lambda: Two(nn.LeakyReLU(1.0)), r"not in \[0, 1\): at 1 nothing bends"),
    "slope -1": (lambda: Two(lambda h: F.leaky_relu(h, -1.0)), r"negative_slope=-1.0 is not in"),
    "no statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)),
        "without running statistics",
    ),
    "a ReLU alone": (lambda: nn.Sequential(nn.ReLU()), "no Linear layer"),
    "nothing": (nn.Identity, "no Linear layer"),
    "an empty sequence": (nn.Sequential, "no Linear layer"),
    "sizes": (lambda: nn.Sequential(nn.Linear(1, 2), nn.Linear(3, 1)), "reads 3 values, but"),
    "width 0": (empty, "2 inputs and 0 outputs"),
    "complex": (lambda: nn.Linear(2, 2, dtype=torch.cfloat), "weight is complex"),
    "meta": (lambda: nn.Linear(2, 2, device="meta"), "weight is on the meta device"),
    "not finite": (lambda: sequential([([[np.nan]], [0])]), "not finite"),
    "a lock": (Locked, "Locked that cannot be copied"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_modules_that_cannot_be_read_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        layers_of(make())


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules_are_read_once_they_have_sizes():
    module = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="run the module on data first"):
        layers_of(module)
    module(torch.ones(1, 3))
    assert layers_of(module).n_features == 3


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_refused_wherever_they_are(register):
    module = nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.ReLU())
    for path in ("", "0", "0.0", "1"):
        handle = getattr(module.get_submodule(path), register)(lambda *_: None)
        with pytest.raises(ValueError, match=f"{path or 'as a whole'} has a hook"):
            layers_of(module)
        handle.remove()
    assert layers_of(module).n_features == 1
    module[0].forward = lambda x: -x
    with pytest.raises(ValueError, match="replaced forward"):
        layers_of(module)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (42, "Cannot read a int; give"),
        (ExponentialReLURegressor, "ExponentialReLURegressor is a class; give an instance"),
        (nn.Linear, "Linear is a class"),
        (make_pipeline(StandardScaler(), MLPRegressor()), r"pipeline\[-1\], and points in the"),
        (GridSearchCV(MLPRegressor(), {}), "search.best_estimator_"),
        (TransformedTargetRegressor(MLPRegressor()), "model.regressor_"),
        (torch.compile(LINEAR, backend="eager"), "the module that torch.compile was given"),
    ],
)
def test_other_objects_are_refused_with_what_to_give(model, message):
    with pytest.raises(TypeError, match=message):
        layers_of(model)


@pytest.mark.parametrize("model", [MLPRegressor(), ExponentialReLURegressor()])
def test_models_have_to_be_fitted(model):
    with pytest.raises(NotFittedError):
        layers_of(model)


def test_a_tanh_network_of_scikit_learn_is_refused():
    X = np.linspace(0, 1, 20)[:, None]
    model = MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", tol=1e9)
    with pytest.raises(ValueError, match="activation='tanh' has no linear regions"):
        layers_of(model.fit(X, X[:, 0]))


def shifted(network, mean):
    """The same network of x + mean, which subtracts the mean first."""
    n = len(mean)
    center = nn.Linear(n, n, dtype=torch.float64)
    center.weight.data, center.bias.data = torch.eye(n, dtype=torch.float64), -torch.tensor(mean)
    return nn.Sequential(center, *network)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
def test_centers_of_data_far_from_zero_are_subtracted_without_rounding(offset):
    """Corners are on a grid of 1/128, so that they are exact far away, too."""
    network, mean = random_network(0, [2, 12, 12, 2]), np.array([offset, -offset])
    far = shifted(network, mean)
    corners = np.array([[-1.5, 0.25], [1.75, -0.5], [0.5, 2.0]])
    one, other = regions_along(network, corners), regions_along(far, mean + corners)
    assert one.n_linear_regions > 10
    for name, value in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), value)
    low, high = corners.min(0), corners.max(0)
    near, away = (
        regions_in_plane(network, low, high),
        regions_in_plane(far, mean + low, mean + high),
    )
    np.testing.assert_array_equal(away.patterns, near.patterns)
    np.testing.assert_allclose(away.values, near.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(away.gradients, near.gradients, rtol=1e-12, atol=1e-12)
    origin = regions_in_plane(far, low, high, origin=mean, axes=np.eye(2))
    np.testing.assert_array_equal(origin.values, near.values)
    near, away = regions_in_box(network, low, high), regions_in_box(far, mean + low, mean + high)
    np.testing.assert_array_equal(away.patterns, near.patterns)
    np.testing.assert_array_equal(away.gradients, near.gradients)
    counts = [
        estimate_regions(net, mid + low, mid + high, random_state=0).log2_counts
        for net, mid in ((network, 0), (far, mean))
    ]
    np.testing.assert_array_equal(*counts)


def test_functions_of_one_input_far_from_zero_are_those_of_the_module():
    network, offset = random_network(3, [1, 12, 12, 1]), 1e9
    module = shifted(network, np.array([offset]))
    far = as_piecewise_linear(module, center=offset)
    near = as_piecewise_linear(network)
    assert far.n_linear_regions == near.n_linear_regions > 5
    np.testing.assert_array_equal(far.values, near.values)
    x = offset + np.linspace(-1, 1, 513)
    slopes = np.abs(near.slopes).max()
    expected = run(module, x[:, None])[:, 0]
    np.testing.assert_allclose(far(x), expected, atol=4 * slopes * np.spacing(offset))


def test_what_only_looks_like_a_center_is_a_layer():
    for matrix in ([[1.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]):
        first = sequential([(matrix, [3.0, -4.0])])
        rest = random_network(0, [2, 5, 1])
        module = nn.Sequential(*first, *rest)
        points = np.random.default_rng(0).normal(size=(2, 2))
        found = regions_along(module, points)
        np.testing.assert_allclose(found.starts[0], run(module, points)[0])
    bent = nn.Sequential(*sequential([(np.eye(2), [3.0, -4.0])]), nn.ReLU(), *rest)
    assert layers_of(bent).n_neurons == 7
    twice = shifted(shifted(rest, np.array([1.0, 2.0])), np.array([1e9, 0.0]))
    np.testing.assert_array_equal(layers_of(twice).center, [1e9, 0])
    wide = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 1))
    wide[0].weight.data = torch.eye(2)
    with pytest.raises(ValueError, match="A layer reads 3 values, but the one before has 2"):
        layers_of(wide)
    unread = shifted(rest, np.array([np.nan, 0.0]))
    with pytest.raises(ValueError, match="weights that are not finite"):
        layers_of(unread)


def test_normalizations_are_joined_with_what_is_around_them():
    norms = [nn.BatchNorm1d(n, dtype=torch.float64) for n in (3, 4, 4, 2)]
    for seed, norm in enumerate(norms):
        draw = np.random.default_rng(seed).uniform(0.5, 2, size=(4, norm.num_features))
        parts = (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var)
        for part, values in zip(parts, draw, strict=True):
            part[:] = torch.tensor(values)
    one, two = random_network(0, [3, 4]), random_network(1, [4, 2])
    for layers in (
        [norms[0], *one, norms[1], norms[2], nn.ReLU(), *two, norms[3]],
        [norms[0], nn.ReLU(), *one],
        [norms[0]],
        [*one, nn.ReLU(), norms[1]],
    ):
        module = nn.Sequential(*layers).eval()
        points = np.random.default_rng(9).normal(size=(2, 3))
        regions = regions_along(module, points)
        np.testing.assert_allclose(regions.starts[0], run(module, points)[0], rtol=1e-12)
