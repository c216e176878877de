"""Torch layers: the waves, the switch to free weights, and what torch does with modules."""

import copy
import pickle
import shutil
import threading
from collections import OrderedDict
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.parametrizations import weight_norm

from skrelu._networks.triangle import bounded_peaks, smooth_scales, triangle_sum
from skrelu.nn import (
    ExponentialReLULayer,
    TriangleWave,
    fit_windows,
    parameter_groups,
    release,
    swap_dense,
)
from skrelu.nn import _wave_function as wave_function
from skrelu.regions import regions_along

DOUBLE = torch.float64
FORMS = ["peaks", "blocks", "dense"]
# torch's own, from the first use of forward mode.
jit_is_deprecated = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def layer_of(form="peaks", n_in=3, n_out=2, depth=3, n=5, seed=0, **kwargs):
    torch.manual_seed(seed)
    layer = ExponentialReLULayer(n_in, n_out, depth, n, **kwargs)
    return layer if form == "peaks" else layer.release(dense=form == "dense")


def change(after, before):
    return ((after - before).norm() / before.norm()).item()


def wave_inputs(depth, n_features=3, n_samples=11):
    torch.manual_seed(depth)
    z = (0.5 + 0.8 * torch.randn(n_samples, n_features, dtype=DOUBLE)).requires_grad_()
    logits = torch.randn(n_features, depth + 1, dtype=DOUBLE).requires_grad_()
    return z, logits


def plain_wave(z, logits):
    """F by operations that autograd differentiates."""
    peaks = bounded_peaks(logits)
    return triangle_sum(z.mT, peaks[:, :-1], smooth_scales(peaks)).mT


# The wave


@given(
    depth=st.integers(1, 9),
    shape=st.lists(st.integers(0, 4), max_size=3),
    n_features=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=30)
def test_wave_is_the_triangle_sum_of_each_feature(depth, shape, n_features, seed):
    torch.manual_seed(seed)
    wave = TriangleWave(n_features, depth, dtype=DOUBLE)
    z = 3 * torch.randn(*shape, n_features, dtype=DOUBLE)
    columns = z.reshape(-1, n_features).T
    expected = triangle_sum(columns, wave.peaks[:, :-1], smooth_scales(wave.peaks))
    torch.testing.assert_close(wave(z), expected.T.reshape(z.shape), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@jit_is_deprecated
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_wave_derivatives_pass_gradcheck(depth):
    inputs = wave_inputs(depth)
    assert gradcheck(
        wave_function.triangle_wave,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(wave_function.triangle_wave, inputs)


@pytest.mark.parametrize("chunk", [1, 7, 2**15])
def test_wave_does_not_depend_on_chunks(chunk, monkeypatch):
    z, logits = wave_inputs(4)
    plain = plain_wave(z, logits)
    expected = torch.autograd.grad(plain.square().sum(), (z, logits))
    monkeypatch.setattr(wave_function, "CHUNK", chunk)
    F = wave_function.triangle_wave(z, logits)
    torch.testing.assert_close(F, plain)
    torch.testing.assert_close(torch.autograd.grad(F.square().sum(), (z, logits)), expected)


def test_wave_keeps_only_its_input_for_the_backward_pass():
    wave, z = TriangleWave(50, depth=30), torch.rand(1000, 50, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        wave(z)
    assert sum(kept) < 1.2 * z.numel()


@pytest.mark.parametrize("depth", [1, 4, 52])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wave_and_its_gradient_are_finite_far_outside(depth, dtype):
    torch.manual_seed(0)
    wave = TriangleWave(4, depth, dtype=dtype)
    nn.init.normal_(wave.peak_logits, std=20)  # peaks at the ends of their range too
    z = torch.linspace(-1e4, 1e4, 101, dtype=dtype)[:, None].repeat(1, 4).requires_grad_()
    F = wave(z)
    F.sum().backward()
    assert F.isfinite().all()
    assert F[[0, -1]].max() < 0
    assert z.grad.isfinite().all()
    assert wave.peak_logits.grad.isfinite().all()


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_wave_has_two_to_the_depth_linear_regions(depth):
    torch.manual_seed(depth)
    wave = TriangleWave(1, depth)
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Sequential(wave, nn.Linear(1, 1)))
    model[0].weight.data = torch.tensor([[1.0, 0.0]])
    assert regions_along(wave, [[0.0], [1.0]]).n_linear_regions == 2**depth
    assert regions_along(model, [[0.0, 0.0], [1.0, 5.0]]).n_linear_regions == 2**depth
    assert isinstance(model[1][0], TriangleWave)  # reading changes nothing


def test_fresh_peaks_are_inside_of_their_bounds_and_not_alike():
    torch.manual_seed(0)
    peaks = TriangleWave(500).peaks
    assert peaks.min() > 0.09
    assert peaks.max() < 0.91
    spread = (peaks - 0.5).abs().amax(1)
    assert spread.min() < 0.05
    assert spread.max() > 0.3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_waves_are_computed_in_float32(dtype):
    torch.manual_seed(0)
    wave = TriangleWave(3, depth=8)
    z = torch.rand(200, 3).to(dtype)
    F = wave(z)
    assert F.dtype == dtype
    torch.testing.assert_close(F, wave(z.float()).to(dtype))
    half = wave.to(dtype)
    torch.testing.assert_close(half(z), half.float()(z.float()).to(dtype), rtol=0.02, atol=0.02)


# The layer


def test_fresh_outputs_are_small_and_have_zero_mean():
    torch.manual_seed(0)
    outputs = ExponentialReLULayer(20, 500)(torch.randn(2000, 20))
    assert abs(outputs.mean()) < 0.005
    assert 0.09 < outputs.std() < 0.11
    inside = ExponentialReLULayer(20, 5).subnetworks.directions(torch.randn(2000, 20))
    assert ((inside > 0) & (inside < 1)).float().mean() > 0.9


@pytest.mark.parametrize("bias", [True, False])
def test_fitted_windows_span_the_inputs(bias):
    inputs = 1000 + 300 * torch.randn(400, 7)
    layer = layer_of(n_in=7, n_out=30, n=20, bias=bias).double()
    assert layer.fit_windows(inputs.double()) is layer
    z = layer.subnetworks.directions(inputs.double())
    torch.testing.assert_close(z.amin(0), torch.zeros(20, dtype=DOUBLE))
    torch.testing.assert_close(z.amax(0), torch.ones(20, dtype=DOUBLE))
    outputs = layer(inputs.double()).detach()
    assert outputs.var(0, correction=0).mean() == pytest.approx(0.01)
    if bias:
        assert outputs.mean(0).abs().max() < 1e-9
    layer.fit_windows(inputs[:1].double())  # constant along all directions
    assert layer(inputs.double()).isfinite().all()


def test_windows_of_a_model_are_fitted_one_after_the_other():
    torch.manual_seed(0)
    model = nn.Sequential(ExponentialReLULayer(4, 8), nn.Sigmoid(), ExponentialReLULayer(8, 3))
    inputs = 50 * torch.rand(300, 4)
    assert fit_windows(model, inputs) is model
    z = model[2].subnetworks.directions(model[1](model[0](inputs)))
    torch.testing.assert_close(z.amin(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.amax(0), torch.ones(16), atol=1e-5, rtol=0)
    assert not model[0]._forward_pre_hooks


@pytest.mark.slow
@given(
    depth=st.integers(1, 8),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 7)),
    seed=st.integers(0, 10**6),
    bias=st.booleans(),
    dense=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_release_leaves_the_function_unchanged(depth, sizes, seed, bias, dense):
    n_in, n_out, n = sizes
    layer = layer_of("peaks", n_in, n_out, depth, n, seed, bias=bias)
    inputs = torch.randn(100, n_in) * torch.logspace(-1, 3, 100)[:, None]
    with torch.no_grad():
        exact = copy.deepcopy(layer).double()
        before = exact(inputs.double())
        same = copy.deepcopy(exact)
        assert same.release(dense) is same
        assert change(same(inputs.double()), before) < 1e-12
        assert change(layer.to_torch()(inputs), before) < 2e-5
        # In float32 the change is of the size of rounding, of the terms that are summed.
        terms = layer.subnetworks(inputs).abs() @ layer.read_out.weight.abs().T
        outputs = layer(inputs)
        layer.release(dense)
        assert (layer(inputs) - outputs).norm() <= 1e-6 * (terms.norm() + outputs.norm())
        assert change(same.to_torch()(inputs.double()), before) < 1e-12


@pytest.mark.parametrize("depth", range(1, 9))
def test_release_changes_outputs_by_less_than_1e_6(depth):
    for seed in range(3):
        layer = layer_of("peaks", 10, 10, depth, None, seed)
        with torch.no_grad():
            inputs = torch.randn(500, 10)
            before = layer(inputs)
            assert change(layer.release()(inputs), before) < 1e-6


def test_blocks_can_be_made_dense_but_not_the_other_way_round():
    layer, inputs = layer_of(dtype=DOUBLE), torch.randn(50, 3, dtype=DOUBLE)
    before = layer(inputs)
    for dense, form in ((False, "blocks"), (False, "blocks"), (True, "dense"), (True, "dense")):
        layer.release(dense)
        assert layer.form == form
        torch.testing.assert_close(layer(inputs), before)
    with pytest.raises(ValueError, match=r"dense already.*dense=True"):
        layer.release()


@pytest.mark.parametrize("form", FORMS)
def test_blocks_are_sparse_in_storage(form):
    layer = layer_of(form, n=50)
    n_parameters = sum(parameter.numel() for parameter in layer.parameters())
    assert (
        n_parameters
        == {
            "peaks": 50 * (3 + 1 + 4) + 51 * 2,
            "blocks": 50 * (4 * 4 + 2 * 20) + 201 * 2,
            "dense": 200 * 4 + 2 * 201 * 200 + 201 * 2,
        }[form]
    )


def test_release_keeps_dtype_mode_and_what_is_trained():
    layer = layer_of(dtype=DOUBLE, dropout=0.5).eval()
    layer.subnetworks.requires_grad_(False)
    bias = layer.read_out.bias
    layer.release()
    assert {parameter.dtype for parameter in layer.parameters()} == {DOUBLE}
    assert not any(module.training for module in layer.modules())
    assert not any(parameter.requires_grad for parameter in layer.subnetworks.parameters())
    assert layer.read_out.weight.requires_grad
    assert layer.read_out.bias is bias


@pytest.mark.parametrize("form", FORMS)
def test_dropout_leaves_out_whole_subnetworks_while_training(form):
    layer = layer_of(form, n=40, dropout=0.5)
    values = []
    layer.read_out.register_forward_pre_hook(lambda _, args: values.append(args[0]))
    inputs = torch.randn(100, 3)
    layer(inputs)
    layer.eval()(inputs)
    dropped, kept = (value.detach().unflatten(-1, (40, -1)) for value in values)
    gone = (dropped == 0).all(-1)
    assert 0.4 < gone.float().mean() < 0.6
    torch.testing.assert_close(dropped, torch.where(gone[..., None], 0, 2 * kept))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(3,), (0, 3), (7, 3), (2, 4, 3)])
def test_layers_take_any_leading_dimensions(form, shape):
    layer, inputs = layer_of(form), torch.randn(shape)
    outputs = layer(inputs)
    assert outputs.shape == (*shape[:-1], 2)
    torch.testing.assert_close(outputs.reshape(-1, 2), layer(inputs.reshape(-1, 3)))
    outputs.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_all_parameters_pass_gradcheck(form):
    layer, inputs = layer_of(form, n=3, dtype=DOUBLE), torch.randn(6, 3, dtype=DOUBLE)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), inputs)

    for parameter in parameters:  # off the kinks that free neurons start at
        parameter.data += 0.01 * torch.randn_like(parameter)
    assert gradcheck(function, parameters)


@pytest.mark.slow
def test_adam_fits_a_function_and_goes_on_after_the_release():
    torch.manual_seed(0)
    X = 2 * torch.rand(500, 2) - 1
    y = X[:, :1] * X[:, 1:]
    layer = ExponentialReLULayer(2, 1, 4, 8).fit_windows(X)
    optimizer = torch.optim.Adam(parameter_groups(layer, 3e-2))

    def fit(n_steps):
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = (layer(X) - y).square().mean()
            loss.backward()
            optimizer.step()
        return (layer(X) - y).square().mean().item()

    before = fit(200)
    assert before < 1e-3
    release(layer, optimizer)
    assert (layer(X) - y).square().mean().item() == pytest.approx(before, rel=1e-3)
    assert fit(100) < before


# What torch does with modules


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", FORMS)
def test_state_dicts_are_loaded_in_the_form_they_have(form, before):
    trained, fresh = layer_of(form), layer_of(before, seed=1)
    model = nn.Sequential(nn.ReLU(), fresh)
    model.load_state_dict(nn.Sequential(nn.ReLU(), trained).state_dict())
    assert fresh.form == form
    inputs = torch.randn(10, 3)
    torch.testing.assert_close(model(inputs), trained(inputs.relu()), rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_state_dicts_of_other_sizes_give_the_error_of_torch(form):
    with pytest.raises(RuntimeError, match=r"size mismatch for read_out\.weight"):
        layer_of().load_state_dict(layer_of(form, n=6).state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_layers_can_be_copied_and_pickled(form):
    layer, inputs = layer_of(form), torch.randn(10, 3)
    for copied in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert copied.form == form
        torch.testing.assert_close(copied(inputs), layer(inputs), rtol=0, atol=0)
    assert f"3, 2, depth=3, n_subnetworks=5, dropout=0.0, form='{form}'" in repr(layer)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_and_half_precision_run(form):
    layer, inputs = layer_of(form, depth=6), torch.randn(50, 3)
    expected = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(inputs)
        outputs.float().sum().backward()
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.float(), expected, rtol=0.1, atol=0.3)
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    half = layer.to(torch.bfloat16)(inputs.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.3)


@jit_is_deprecated
@pytest.mark.parametrize("form", FORMS)
def test_torch_func_transforms_agree_with_each_other(form):
    layer, x = layer_of(form, dtype=DOUBLE), torch.randn(3, dtype=DOUBLE)
    backward, forward = torch.func.jacrev(layer)(x), torch.func.jacfwd(layer)(x)
    torch.testing.assert_close(backward, forward)
    steps = 1e-6 * torch.eye(3, dtype=DOUBLE)
    slopes = torch.stack([(layer(x + step) - layer(x - step)) / 2e-6 for step in steps], -1)
    torch.testing.assert_close(backward, slopes, atol=1e-6, rtol=1e-6)
    # Piecewise linear: no curvature in x, but in the product of two parameters.
    hessian = torch.func.hessian(lambda x: layer(x).square().sum())(x)
    torch.testing.assert_close(hessian, 2 * backward.T @ backward)

    def loss(parameters):
        return torch.func.functional_call(layer, parameters, x).square().sum()

    parameters = dict(layer.named_parameters())
    by_parameters = torch.func.grad(loss)(parameters)
    expected = torch.autograd.grad(loss(parameters), list(parameters.values()))
    torch.testing.assert_close(list(by_parameters.values()), list(expected))


@jit_is_deprecated
def test_hessian_by_peaks_is_symmetric_and_right():
    z, logits = wave_inputs(3)

    def loss(logits):
        return wave_function.triangle_wave(z.detach(), logits).square().sum()

    hessian = torch.func.hessian(loss)(logits.detach())
    expected = torch.autograd.functional.hessian(
        lambda logits: plain_wave(z.detach(), logits).square().sum(), logits.detach()
    )
    torch.testing.assert_close(hessian, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0)])
def test_ensembles_run_by_vmap(form, in_dims):
    layers = [layer_of(form, seed=seed, dtype=DOUBLE) for seed in range(3)]
    for parameter in nn.ModuleList(layers).parameters():  # off the kinks
        parameter.data += 0.01 * torch.randn_like(parameter)
    inputs = torch.randn(3, 10, 3, dtype=DOUBLE)
    parameters, _ = torch.func.stack_module_state(layers)

    def run(parameters, x):
        return torch.func.functional_call(layers[0], parameters, x)

    def at(values, i, dim):
        return values if dim is None else values[i]

    given_parameters = parameters if in_dims[0] == 0 else dict(layers[0].named_parameters())
    x = inputs if in_dims[1] == 0 else inputs[0]
    outputs = torch.vmap(run, in_dims=in_dims)(given_parameters, x)
    for i, output in enumerate(outputs):
        expected = layers[i if in_dims[0] == 0 else 0](at(x, i, in_dims[1]))
        torch.testing.assert_close(output, expected)
    if in_dims == (0, 0):
        grads = torch.vmap(torch.func.grad(lambda p, x: run(p, x).sum()))(parameters, x)
        layers[1](inputs[1]).sum().backward()
        for name, parameter in layers[1].named_parameters():
            torch.testing.assert_close(grads[name][1], parameter.grad)


def assert_compiled_is_the_same(module, **options):
    if Version(torch.__version__) < Version("2.13"):
        pytest.skip("torch before 2.13 cannot compile layers as one graph")
    inputs = torch.randn(20, 3, requires_grad=True)
    outputs = torch.compile(module, fullgraph=True, **options)(inputs)
    torch.testing.assert_close(outputs, module(inputs))
    parts = [inputs, *module.parameters()]
    found = torch.autograd.grad(outputs.square().sum(), parts)
    expected = torch.autograd.grad(module(inputs).square().sum(), parts)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Function.*not be instantiated:DeprecationWarning")  # torch's
@pytest.mark.parametrize("form", FORMS)
def test_layers_are_traced_as_one_graph(form):
    assert_compiled_is_the_same(layer_of(form), backend="aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
@pytest.mark.filterwarnings("ignore")  # of torch._inductor about itself
@pytest.mark.long
def test_waves_compile():
    assert_compiled_is_the_same(TriangleWave(3, depth=1))


@pytest.mark.parametrize("form", FORMS)
def test_replicas_run_in_threads(form):
    layer, inputs = layer_of(form), torch.randn(1000, 3)
    replicas, outputs = [layer._replicate_for_data_parallel() for _ in range(4)], {}
    for replica in replicas:  # as nn.DataParallel does: shared modules, attributes of its own
        replica._modules = dict(layer._modules)

    def run(i):
        outputs[i] = replicas[i](inputs)

    threads = [threading.Thread(target=run, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        torch.testing.assert_close(outputs[i], layer(inputs))


def test_forward_changes_nothing_on_the_layer():
    layer = layer_of()
    before = [dict(vars(module)) for module in layer.modules()]
    layer(torch.randn(5, 3)).sum().backward()
    assert [dict(vars(module)) for module in layer.modules()] == before


# Models


def mlp(*sizes, dropout=None, **kwargs):
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out, **kwargs), nn.ReLU()]
        layers += [] if dropout is None else [nn.Dropout(dropout)]
    return nn.Sequential(*layers[: -1 if dropout is None else -2])


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=5), bias=st.booleans(), p=st.booleans()
)
@settings(deadline=None, max_examples=30)
def test_swapped_layers_have_at_most_the_parameters_of_the_stack(sizes, bias, p):
    stack = mlp(*sizes, bias=bias, dropout=0.2 if p else None)
    budget = n_parameters(stack)
    assert swap_dense(stack, depth=3) is stack
    (layer,) = stack
    assert (layer.in_features, layer.out_features) == (sizes[0], sizes[-1])
    assert layer.dropout == (0.2 if p else 0)
    assert layer.n_subnetworks == 1 or n_parameters(layer) <= budget
    assert n_parameters(layer) + sizes[0] + sizes[-1] + 5 > budget


def test_swap_finds_stacks_in_nested_models():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten())
            self.head = nn.Sequential(mlp(12, 20, 4), nn.ReLU(), nn.Linear(4, 2))
            self.other = nn.Sequential(nn.Tanh(), *mlp(2, 9, 3, dtype=DOUBLE), nn.Softmax(-1))

        def forward(self, x):
            return self.other(self.head(self.features(x)).double())

    model = Model().eval()
    swap_dense(model, names=["other"])
    assert [type(part).__name__ for part in model.other] == [
        "Tanh",
        "ExponentialReLULayer",
        "Softmax",
    ]
    assert not model.other[1].training
    assert model.other[1].read_out.weight.dtype == DOUBLE
    assert len(model.head[0]) == 3
    swap_dense(model, n_subnetworks=7)
    assert isinstance(model.head[0][0], ExponentialReLULayer)
    assert model.head[0][0].n_subnetworks == 7
    assert model(torch.randn(5, 1, 8)).shape == (5, 3)


def test_swap_says_what_it_did_not_find():
    with pytest.raises(ValueError, match=r"no nn\.Sequential.*forward method"):
        swap_dense(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"\['a'\] are no Sequential"):
        swap_dense(mlp(2, 3, 1), names=["a"])


@pytest.mark.slow
def test_optimizers_are_told_of_a_release():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), ExponentialReLULayer(3, 2))
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-2, weight_decay=0.1, peaks_lr=1e-3))
    decays = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert decays == [(1e-2, 0.1), (1e-3, 0)]
    inputs = torch.randn(20, 3)
    model(inputs).square().sum().backward()
    optimizer.step()
    before = model(inputs)
    kept = [*model[0].parameters(), model[1].read_out.bias]
    moments = [optimizer.state[parameter]["exp_avg"].clone() for parameter in kept]
    assert release(model, optimizer, lr_factor=0.3) is model
    torch.testing.assert_close(model(inputs), before, rtol=1e-4, atol=1e-4)
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [(1e-2, 0.1), (pytest.approx(3e-3), 0.1)]
    held = [each for group in optimizer.param_groups for each in group["params"]]
    assert {id(each) for each in held} == {id(each) for each in model.parameters()}
    assert set(optimizer.state) == set(kept)
    for parameter, moment in zip(kept, moments, strict=True):
        torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], moment)
    optimizer.zero_grad()
    model(inputs).square().sum().backward()
    optimizer.step()
    assert change(model(inputs), before) > 0


def test_release_of_models_has_messages():
    with pytest.raises(ValueError, match="no ExponentialReLULayer"):
        release(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="lr_factor=0"):
        release(layer_of(), lr_factor=0)


@pytest.mark.parametrize("method", ["reset_parameters", "fit_windows"])
def test_released_layers_have_no_windows(method):
    layer = layer_of("blocks")
    arguments = [torch.randn(5, 3)] if method == "fit_windows" else []
    with pytest.raises(ValueError, match=f"{method} needs peaks"):
        getattr(layer, method)(*arguments)


# Regions and messages


@pytest.mark.parametrize("form", FORMS)
def test_regions_read_models_with_layers(form):
    layer = layer_of(form, n_in=1, n_out=1, depth=3, n=1, dropout=0.5, dtype=DOUBLE)
    directions = layer_of(n_in=1, n_out=1, depth=3, n=1, dtype=DOUBLE).subnetworks.directions
    ends = ((torch.tensor([0.0, 1.0]) - directions.bias) / directions.weight[:, 0]).tolist()
    points = [[end] for end in sorted(ends)]
    regions = regions_along(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)), points)
    assert regions.n_linear_regions <= 2
    assert regions_along(layer, points).n_linear_regions == 8
    assert regions_along(nn.Sequential(nn.Sequential(layer)), points).n_linear_regions == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth=0.*between 1 and 52"),
        ({"depth": 53}, "depth=53"),
        ({"n": 0}, "n_subnetworks=0.*at least 1"),
        ({"n_in": 0}, "in_features=0"),
        ({"n_out": -1}, "out_features=-1"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_wrong_sizes_are_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_of(**arguments)


@pytest.mark.parametrize("module", [layer_of(), TriangleWave(3)])
def test_wrong_inputs_are_said(module):
    with pytest.raises(ValueError, match=r"\(5, 4\).*must be 3"):
        module(torch.randn(5, 4))
    with pytest.raises(TypeError, match=r"torch\.int64.*floating"):
        module(torch.ones(5, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="n_features=0"):
        TriangleWave(0)


def test_swapping_keeps_the_names_of_other_layers():
    names = {"first": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "a": nn.Linear(4, 9)}
    names |= {"relu": nn.ReLU(), "b": nn.Linear(9, 4), "last": nn.LayerNorm(4)}
    model = nn.Sequential(OrderedDict(names))
    swap_dense(model)
    assert list(dict(model.named_children())) == ["first", "norm", "a", "last"]
    assert isinstance(model.a, ExponentialReLULayer)


@pytest.mark.slow
def test_released_layers_leave_shared_parameters_and_names_to_the_optimizer():
    embedding, layer = nn.Embedding(30, 16), ExponentialReLULayer(16, 30, n_subnetworks=16)
    layer.read_out.weight = embedding.weight
    model = nn.Sequential(embedding, layer)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1.0)
    release(model, optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    for group in optimizer.param_groups:
        found = dict(model.named_parameters())
        assert all(
            found[n] is p for n, p in zip(group["param_names"], group["params"], strict=True)
        )


@pytest.mark.slow
def test_optimizers_that_hold_a_part_of_a_layer_get_its_new_weights():
    layer = ExponentialReLULayer(4, 3)
    optimizer = torch.optim.SGD([layer.read_out.weight], lr=1.0)
    release(layer, optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in layer.subnetworks.parameters()} <= held


def test_a_release_that_fails_changes_nothing():
    model = nn.Sequential(ExponentialReLULayer(4, 4), ExponentialReLULayer(4, 2).release(True))
    with pytest.raises(ValueError, match="dense already"):
        release(model)
    assert model[0].form == "peaks"


def test_windows_need_finite_rows():
    with pytest.raises(ValueError, match="finite values"):
        ExponentialReLULayer(3, 2).fit_windows(torch.full((5, 3), torch.nan))
    with pytest.raises(ValueError, match="one row or more"):
        ExponentialReLULayer(3, 2).fit_windows(torch.empty(0, 3))


def test_layers_that_are_used_twice_have_regions():
    layer = ExponentialReLULayer(2, 2, depth=2, n_subnetworks=2)
    assert regions_along(nn.Sequential(layer, nn.ReLU(), layer), [[0, 0], [1, 1]]).positions.size


# Optimizers after a release


def held_by(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def identities(parameters):
    return {id(parameter) for parameter in parameters}


def two_layers():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "body": nn.Linear(4, 8),
            "heads": nn.ModuleList(
                [ExponentialReLULayer(8, 2), nn.Sequential(ExponentialReLULayer(8, 3))]
            ),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", ["heads", "heads.0", "heads.1", "heads.1.0"])
@pytest.mark.parametrize("named", [True, False])
def test_releasing_a_part_leaves_everything_else_to_the_optimizer(part, named):
    model, other = two_layers(), nn.Linear(3, 3).requires_grad_(False)
    stray = nn.Parameter(torch.ones(2))  # of no module

    def given(prefix, module):
        return [(prefix + n, p) if named else p for n, p in module.named_parameters()]

    groups = [
        {"params": [*given("other.", other), ("stray", stray) if named else stray], "lr": 0.5},
        {"params": given("model.", model), "betas": (0.8, 0.9)},
    ]
    if not named:  # torch refuses empty groups among named ones
        groups.insert(0, {"params": []})
    optimizer = torch.optim.Adam(groups, lr=1e-2, weight_decay=0.1)
    x = model["body"](torch.randn(5, 4))
    sum(head(x).square().sum() for head in model["heads"]).backward()
    optimizer.step()
    released = model.get_submodule(part)
    gone = identities(p for n, p in released.named_parameters() if not n.endswith("read_out.bias"))
    before = [dict(group, params=list(group["params"])) for group in optimizer.param_groups]
    states = {p: copy.copy(state) for p, state in optimizer.state.items()}
    release(released, optimizer)

    kept, added = optimizer.param_groups[:-1], optimizer.param_groups[-1:]
    for group, old in zip(kept, before, strict=True):
        assert [id(p) for p in group["params"]] == [
            id(p) for p in old["params"] if id(p) not in gone
        ]
        assert {k: v for k, v in group.items() if "param" not in k} == {
            k: v for k, v in old.items() if "param" not in k
        }
    for parameter, state in states.items():
        if id(parameter) in gone:
            assert parameter not in optimizer.state
        else:
            found = optimizer.state[parameter]
            assert all(found[key] is value for key, value in state.items())
    (group,) = added
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.8, 0.9), 0.1)
    assert identities(model.parameters()) <= identities(held_by(optimizer))
    if named:
        found = {f"model.{n}": p for n, p in model.named_parameters()}
        found |= {f"other.{n}": p for n, p in other.named_parameters()} | {"stray": stray}
        for group in optimizer.param_groups:
            names = group.get("param_names", [])
            assert [id(found[name]) for name in names] == [id(p) for p in group["params"]]


@pytest.mark.slow
def test_parameters_that_are_tied_to_another_model_stay_in_the_optimizer():
    embedding, head = nn.Embedding(30, 16), ExponentialReLULayer(16, 30, n_subnetworks=16)
    head.read_out.weight = embedding.weight
    optimizer = torch.optim.SGD(nn.Sequential(embedding, head).parameters(), lr=1.0)
    release(head, optimizer)
    expected = [embedding.weight, *head.parameters()]
    assert identities(held_by(optimizer)) == identities(expected)


@pytest.mark.slow
def test_parts_that_are_still_used_stay_in_the_optimizer_beside_the_new_ones():
    layer = ExponentialReLULayer(4, 3)
    used = nn.ModuleList([layer.subnetworks, layer.read_out])
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    release(layer, optimizer)
    expected = identities([*layer.parameters(), *used.parameters()])
    assert identities(held_by(optimizer)) == expected
    groups = copy.copy(optimizer.param_groups)
    release(layer, optimizer)  # nothing is left to do
    assert optimizer.param_groups == groups


@pytest.mark.slow
def test_a_layer_of_two_models_is_exchanged_once():
    shared = ExponentialReLULayer(4, 4)
    models = nn.Sequential(nn.Linear(4, 4), shared), nn.Sequential(shared, nn.Linear(4, 2))
    parameters = {p: None for model in models for p in model.parameters()}
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    release(models[0], optimizer)
    expected = identities(p for model in models for p in model.parameters())
    assert identities(held_by(optimizer)) == expected
    assert len(held_by(optimizer)) == len(expected)


def test_layers_that_an_optimizer_does_not_hold_stay_out_of_it():
    model = nn.Sequential(nn.Linear(4, 8), ExponentialReLULayer(8, 2).requires_grad_(False))
    optimizer = torch.optim.Adam(model[0].parameters(), lr=1e-2)
    groups = copy.copy(optimizer.param_groups)
    release(model, optimizer)
    assert optimizer.param_groups == groups
    assert identities(held_by(optimizer)) == identities(model[0].parameters())
    assert not any(p.requires_grad for p in model[1].parameters())


@pytest.mark.slow
def test_groups_that_lose_all_they_had_are_gone_and_others_are_not():
    model = nn.Sequential(nn.Linear(4, 8), ExponentialReLULayer(8, 2))
    groups = [{"params": []}, *parameter_groups(model, 1e-2, peaks_lr=1e-3), {"params": []}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    release(model, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1e-2, 1.0, 1e-3]
    assert [len(group["params"]) for group in optimizer.param_groups] == [0, 3, 0, 5]


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_parametrized_layers_are_released_to_weights_that_are_trained_or_not(trained):
    layer, inputs = layer_of(), torch.randn(5, 3)
    weight_norm(layer.subnetworks.directions)
    weight_norm(layer.read_out)
    layer.requires_grad_(trained)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer(inputs)
    torch.testing.assert_close(release(layer, optimizer)(inputs), before)
    assert {parameter.requires_grad for parameter in layer.parameters()} == {trained}
    assert identities(held_by(optimizer)) == identities(layer.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adam"}, "optimizer='adam'.*torch.optim.Optimizer"),
        ({"optimizer": []}, r"optimizer=\[\]"),
        ({"optimizer": torch.optim.SGD}, "optimizer=<class.*instance"),
        ({"dense": "yes"}, "dense='yes'.*True or False"),
        ({"dense": None}, "dense=None"),
        ({"lr_factor": 0}, r"lr_factor=0.*\(0, inf\)"),
        ({"lr_factor": -1.0}, r"lr_factor=-1\.0"),
        ({"lr_factor": float("nan")}, "lr_factor=nan"),
        ({"lr_factor": float("inf")}, "lr_factor=inf"),
        ({"lr_factor": "0.1"}, "lr_factor='0.1'.*a number"),
        ({"lr_factor": True}, "lr_factor=True"),
        ({"lr_factor": None}, "lr_factor=None"),
    ],
)
def test_wrong_arguments_of_release_are_said_and_change_nothing(arguments, message):
    layer = layer_of()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = identities(layer.parameters())
    with pytest.raises((TypeError, ValueError), match=message):
        release(layer, **{"optimizer": optimizer, **arguments})
    assert layer.form == "peaks"
    assert identities(layer.parameters()) == before == identities(held_by(optimizer))


def test_optimizers_of_a_single_group_are_refused():
    layer = layer_of()
    with pytest.raises(TypeError, match=r"LBFGS.*one group.*new one"):
        release(layer, torch.optim.LBFGS(layer.parameters()))
    assert layer.form == "peaks"


def test_models_with_layers_that_cannot_be_released_are_left_alone():
    model = nn.Sequential(layer_of(n_out=3), layer_of(device="meta"))
    with pytest.raises(ValueError, match=r"meta device.*load"):
        release(model)
    with pytest.raises(ValueError, match=r"meta device"):
        model[1].to_torch()
    with pytest.raises(ValueError, match=r"meta device"):
        model[1].fit_windows(torch.ones(2, 3, device="meta"))
    assert [layer.form for layer in model] == ["peaks", "peaks"]


# Arguments


def double(values):
    return torch.tensor(values, dtype=DOUBLE)


NAN, INF = float("nan"), float("inf")
NO_INTEGERS = [2.0, "3", True, NAN, [3], np.float64(3), np.True_, torch.tensor(3.0)]


@pytest.mark.parametrize("value", NO_INTEGERS)
@pytest.mark.parametrize(
    "name", ["in_features", "out_features", "depth", "n_subnetworks", "n_features"]
)
def test_sizes_that_are_no_integers_are_said(name, value):
    message = rf"{name}=.*must be an integer"
    sizes = {} if name == "n_features" else {"in_features": 3, "out_features": 2}
    make = ExponentialReLULayer if sizes else TriangleWave
    with pytest.raises(TypeError, match=message):
        make(**{**sizes, name: value})
    if name in ("depth", "n_subnetworks"):
        model = mlp(3, 4, 2)
        with pytest.raises(TypeError, match=message):
            swap_dense(model, **{name: value})
        assert isinstance(model[0], nn.Linear)
    if name == "depth":
        with pytest.raises(TypeError, match=message):
            TriangleWave(3, value)


@pytest.mark.parametrize("name", ["in_features", "out_features", "depth"])
def test_sizes_that_are_missing_are_said(name):
    with pytest.raises(TypeError, match=f"{name}=None"):
        ExponentialReLULayer(**{"in_features": 3, "out_features": 2, name: None})


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.int64, torch.tensor])
def test_sizes_become_ints(integer):
    layer = ExponentialReLULayer(integer(100), integer(3), integer(52), integer(90))
    sizes = layer.in_features, layer.out_features, layer.depth, layer.n_subnetworks
    assert sizes == (100, 3, 52, 90)
    assert {type(size) for size in sizes} == {int}
    assert layer.release()(torch.zeros(1, 100)).isfinite().all()
    wave = TriangleWave(integer(3), integer(2))
    assert (type(wave.n_features), type(wave.depth)) == (int, int)
    stack = swap_dense(mlp(300, 9, 2), depth=integer(30))[0]
    assert stack.n_subnetworks == swap_dense(mlp(300, 9, 2), depth=30)[0].n_subnetworks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": NAN}, r"dropout=nan.*\[0, 1\)"),
        ({"dropout": -0.1}, r"dropout=-0\.1"),
        ({"dropout": "0.1"}, "dropout='0.1'.*a number"),
        ({"dropout": None}, "dropout=None"),
        ({"dropout": True}, "dropout=True"),
        ({"dropout": 0.1j}, "dropout=0.1j"),
        ({"bias": "no"}, "bias='no'.*True or False"),
        ({"bias": None}, "bias=None"),
        ({"bias": 1}, "bias=1"),
        ({"bias": torch.zeros(2)}, "bias=tensor"),
        ({"dtype": torch.complex64}, r"dtype=torch\.complex64.*torch\.float32"),
        ({"dtype": torch.int64}, r"dtype=torch\.int64"),
        ({"dtype": torch.bool}, r"dtype=torch\.bool"),
        ({"dtype": torch.float8_e5m2}, r"dtype=torch\.float8"),
        ({"dtype": np.float32}, "dtype=<class 'numpy.float32'>"),
        ({"dtype": "float32"}, "dtype='float32'"),
        ({"dtype": float}, "dtype=<class 'float'>"),
        ({"device": "gpu"}, "device='gpu'.*Expected one of"),
        ({"device": 1.5}, r"device=1\.5"),
    ],
)
@pytest.mark.parametrize("make", [ExponentialReLULayer, TriangleWave])
def test_wrong_arguments_of_layers_are_said(make, arguments, message):
    if make is TriangleWave and not {"dtype", "device"} & set(arguments):
        return
    with pytest.raises((TypeError, ValueError), match=message):
        make(3, 2, **arguments)


def test_flags_and_rates_of_numpy_are_taken():
    layer = ExponentialReLULayer(3, 2, bias=np.False_, dropout=np.float32(0.5))
    assert layer.read_out.bias is None
    assert type(layer.dropout) is float
    assert layer.release(np.True_).form == "dense"
    (group, _) = parameter_groups(layer_of(), np.float32(0.5), weight_decay=np.int8(1))
    assert (group["lr"], group["weight_decay"]) == (0.5, 1)
    lr = torch.tensor(0.5)
    assert parameter_groups(layer_of(), lr)[0]["lr"] is lr


@pytest.mark.parametrize("name", ["lr", "weight_decay", "peaks_lr"])
@pytest.mark.parametrize(
    "value",
    [NAN, INF, -1.0, 10**400, "1", True, 1j, [1.0], double([1, 2]), double(-1), double(NAN)],
)
def test_wrong_rates_are_said(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"{name}=.*\[0, inf\)"):
        parameter_groups(layer_of(), **{"lr": 1.0, name: value})


def test_missing_rates_are_said():
    with pytest.raises(TypeError, match="lr=None"):
        parameter_groups(layer_of(), None)
    with pytest.raises(TypeError, match="weight_decay=None"):
        parameter_groups(layer_of(), 1.0, weight_decay=None)


@pytest.mark.parametrize("model", [None, "model", ExponentialReLULayer, [layer_of()], np.ones(3)])
@pytest.mark.parametrize(
    "function",
    [
        release,
        swap_dense,
        lambda m: fit_windows(m, torch.ones(2, 3)),
        lambda m: parameter_groups(m, 1),
    ],
)
def test_models_that_are_no_modules_are_said(function, model):
    with pytest.raises(TypeError, match=r"model=.*torch\.nn\.Module"):
        function(model)


@pytest.mark.parametrize("names", [5, [1, 2], [None], True, [["0"]], b"0"])
def test_names_that_are_no_strings_are_said(names):
    with pytest.raises(TypeError, match=r"names=.*strings"):
        swap_dense(nn.Sequential(mlp(2, 3, 1)), names=names)


def test_a_swap_that_fails_changes_nothing():
    model = nn.Sequential(mlp(2, 3, 1), mlp(2, 3, 1, dtype=torch.complex64))
    with pytest.raises(ValueError, match="complex64"):
        swap_dense(model)
    assert isinstance(model[0][0], nn.Linear)


def test_peaks_that_are_tied_are_in_their_group_once():
    waves = nn.Sequential(TriangleWave(3), TriangleWave(3))
    waves[1].peak_logits = waves[0].peak_logits
    (group,) = parameter_groups(waves, 1.0)
    assert group["params"] == [waves[0].peak_logits]


# Inputs


def modules_and_calls():
    for form in FORMS:
        yield pytest.param(layer_of(form), id=form)
    yield pytest.param(layer_of().fit_windows, id="fit_windows")
    yield pytest.param(TriangleWave(3), id="wave")


@pytest.mark.parametrize("call", list(modules_and_calls()))
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.ones((2, 3)), r"a ndarray.*torch\.Tensor"),
        ([[1.0, 2.0, 3.0]], "a list"),
        (None, "a NoneType"),
        (1.0, "a float"),
        (torch.ones(2, 3, dtype=torch.int64), r"torch\.int64.*floating"),
        (torch.ones(2, 3, dtype=torch.bool), r"torch\.bool"),
        (torch.ones(2, 3, dtype=torch.complex64), r"torch\.complex64"),
        (torch.tensor(1.0), r"the shape \(\).*must be 3"),
        (torch.ones(3, 2), r"the shape \(3, 2\).*must be 3"),
        (torch.ones(2, 3, device="meta"), r"on meta.*on cpu"),
    ],
)
def test_inputs_that_a_layer_cannot_read_are_said(call, inputs, message):
    with pytest.raises((TypeError, ValueError), match=f"^Inputs.*{message}"):
        call(inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.bfloat16, torch.float16, torch.float8_e5m2])
def test_inputs_of_another_precision_are_said(form, dtype):
    layer, inputs = layer_of(form), torch.ones(2, 3).to(dtype)
    with pytest.raises(TypeError, match=r"^Inputs are.*weights are torch\.float32.*inputs\.to"):
        layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        if dtype == DOUBLE:  # which autocast leaves as they are
            with pytest.raises(TypeError, match=r"^Inputs are"):
                layer(inputs)
        elif dtype != torch.float8_e5m2:
            assert layer(inputs).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [DOUBLE, torch.bfloat16, torch.float16])
def test_windows_are_fitted_to_inputs_of_any_precision(dtype):
    inputs = torch.randn(30, 3).to(dtype)
    layer, other = layer_of(), layer_of()
    layer.fit_windows(inputs)
    other.fit_windows(inputs.float())
    torch.testing.assert_close(layer.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_layers_are_exported(form):
    layer, inputs = layer_of(form), torch.randn(5, 3)
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (inputs,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(inputs[:3]), layer(inputs[:3]))


# Windows of models


def test_models_without_windows_are_said():
    with pytest.raises(ValueError, match=r"no ExponentialReLULayer.*swap_dense"):
        fit_windows(mlp(4, 8, 2), torch.randn(16, 4))


class Failing(nn.Module):
    def forward(self, inputs):
        raise ArithmeticError


@pytest.mark.parametrize(
    ("last", "inputs", "error"),
    [
        (nn.Identity(), torch.full((5, 4), NAN), ValueError),
        (nn.Identity(), torch.full((5, 4), INF), ValueError),
        (nn.Identity(), torch.empty(0, 4), ValueError),
        (nn.Identity(), torch.randn(5, 3), ValueError),
        (nn.Identity(), np.ones((5, 4)), TypeError),
        (nn.Identity(), torch.full((5, 4), 1e-40) * torch.randn(5, 1), ValueError),
        (Failing(), torch.randn(5, 4), ArithmeticError),
        (nn.Linear(7, 2), torch.randn(5, 4), RuntimeError),
        (ExponentialReLULayer(9, 2), torch.randn(5, 4), ValueError),
    ],
)
def test_a_call_that_fails_leaves_the_windows_as_they_were(last, inputs, error):
    model = nn.Sequential(ExponentialReLULayer(4, 4), ExponentialReLULayer(4, 4), last)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error):
        fit_windows(model, inputs)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(part._forward_pre_hooks for part in model.modules())


class Choosing(nn.ModuleDict):
    def forward(self, inputs, name="first"):
        return self[name](inputs) if name in self else inputs


def test_layers_that_the_call_does_not_reach_are_told():
    model = Choosing({"first": ExponentialReLULayer(4, 2), "second": ExponentialReLULayer(4, 2)})
    second = copy.deepcopy(model["second"].state_dict())
    inputs = 100 + torch.rand(20, 4)
    with pytest.warns(UserWarning, match=r"did not reach.*\['second'\]"):
        fit_windows(model, inputs)
    z = model["first"].subnetworks.directions(inputs)
    torch.testing.assert_close(z.amin(0), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(model["second"].state_dict(), second, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"did not reach.*first.*second"):
        fit_windows(model, inputs, "neither")


@pytest.mark.parametrize("value", [3e38, 1e-40])
def test_windows_beyond_all_numbers_are_refused(value):
    layer = ExponentialReLULayer(100, 4)
    before = copy.deepcopy(layer.state_dict())
    signs = layer.subnetworks.directions.weight[:1].detach().sign()
    with pytest.raises(ValueError, match=r"torch\.float32.*scale"):
        layer.fit_windows(value * torch.cat([signs, -signs]))
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_windows_of_weights_that_are_computed_are_refused():
    layer = layer_of()
    weight_norm(layer.subnetworks.directions)
    with pytest.raises(ValueError, match=r"weight_norm"):
        layer.fit_windows(torch.randn(5, 3))


# States


@pytest.mark.parametrize("form", ["blocks", "dense"])
def test_a_state_that_does_not_fit_leaves_the_form(form):
    layer, inputs = layer_of(), torch.randn(5, 3)
    before = layer(inputs)
    state = layer_of(form, n=6).state_dict()
    with pytest.raises(RuntimeError, match=f"form '{form}'.*other sizes"):
        layer.load_state_dict(state)
    state = layer_of(form).state_dict()
    del state["read_out.weight"]
    with pytest.raises(RuntimeError, match=r"read_out\.weight"):
        layer.load_state_dict(state)
    assert layer.form == "peaks"
    if layer.read_out.bias is not None:  # which fits, and torch loads what fits
        assert change(layer(inputs) - layer.read_out.bias, before - before.mean(0)) < 10


def test_loading_keeps_what_is_trained():
    layer = layer_of().requires_grad_(False)
    layer.load_state_dict(layer_of("blocks").state_dict())
    assert not any(parameter.requires_grad for parameter in layer.parameters())


# Global settings


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


GLOBALS = {
    "float64": lambda: default_dtype(DOUBLE),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def made(dtype):
    """Every way of making and changing layers, with explicit dtype and device."""
    factory = {"dtype": dtype, "device": "cpu"}
    torch.manual_seed(0)
    inputs = torch.linspace(-2, 3, 60, **factory).reshape(20, 3)
    wave, layer = TriangleWave(3, **factory), ExponentialReLULayer(3, 2, **factory)
    layer.reset_parameters()
    yield wave, inputs
    yield wave.to_torch(), inputs
    yield copy.deepcopy(layer), inputs
    yield layer.fit_windows(inputs), inputs
    yield layer.to_torch(), inputs
    blocks = release(copy.deepcopy(layer))
    yield blocks, inputs
    yield blocks.to_torch(), inputs
    dense = copy.deepcopy(blocks).release(dense=True)
    yield dense, inputs
    yield dense.to_torch(), inputs
    loaded = ExponentialReLULayer(3, 2, **factory)
    loaded.load_state_dict(blocks.state_dict())
    yield loaded, inputs
    yield fit_windows(swap_dense(mlp(3, 9, 2, **factory)), inputs), inputs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("setting", GLOBALS)
def test_layers_do_not_depend_on_global_settings(setting, dtype):
    expected = list(made(dtype))
    with GLOBALS[setting]():
        found = list(made(dtype))
    for i, ((module, inputs), (other, _)) in enumerate(zip(expected, found, strict=True)):
        tolerance = {"rtol": 0, "atol": 0}
        torch.testing.assert_close(other.state_dict(), module.state_dict(), **tolerance)
        with torch.no_grad():
            torch.testing.assert_close(other(inputs), module(inputs), **tolerance)
        assert module.training == other.training, i


def test_what_is_released_or_exported_without_gradients_can_be_trained():
    wave, layer, inputs = TriangleWave(3), layer_of(), torch.randn(5, 3)
    with torch.inference_mode():
        modules = [wave.to_torch(), layer.to_torch(), layer.release(), layer.to_torch()]
    for module in modules:
        module(inputs).sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_exports_draw_no_random_numbers(form):
    layer, wave, blocks = layer_of(form), TriangleWave(3), layer_of("blocks")
    inputs = torch.randn(5, 3)
    before = torch.get_rng_state()
    layer.to_torch()
    wave.to_torch()
    release(layer, dense=True)
    layer.load_state_dict(blocks.state_dict())
    layer(inputs)
    if form == "peaks":
        fit_windows(layer_without_drawing(), inputs)
    assert torch.equal(torch.get_rng_state(), before)


def layer_without_drawing():
    state = torch.get_rng_state()
    layer = layer_of()
    torch.set_rng_state(state)
    return layer


@pytest.mark.parametrize("training", [True, False])
def test_exports_are_in_the_mode_of_the_layer(training):
    for module in (layer_of(), layer_of("dense"), TriangleWave(3)):
        exported = module.train(training).to_torch()
        assert {part.training for part in exported.modules()} == {training}
