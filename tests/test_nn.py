"""Torch layers: the waves, the switch to free weights, and what torch does with modules."""

import copy
import pickle
import shutil
import threading
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from skrelu._triangle import bounded_peaks, smooth_scales, triangle_sum
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
    inputs = torch.randn(20, 3, requires_grad=True)
    outputs = torch.compile(module, fullgraph=True, **options)(inputs)
    torch.testing.assert_close(outputs, module(inputs))
    parts = [inputs, *module.parameters()]
    found = torch.autograd.grad(outputs.square().sum(), parts)
    expected = torch.autograd.grad(module(inputs).square().sum(), parts)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*Function.*not be instantiated:DeprecationWarning")  # torch's
@pytest.mark.parametrize("form", FORMS)
def test_layers_are_traced_as_one_graph(form):
    assert_compiled_is_the_same(layer_of(form), backend="aot_eager")


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
@pytest.mark.filterwarnings("ignore")  # of torch._inductor about itself
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
