"""Reading of fitted models and torch modules as plain layers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from traceback import walk_tb
from typing import NoReturn

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import Array

# A matrix, or the diagonal of one, and a bias.
Affine = tuple[Tensor, Tensor]
# A step of a module: an affine map, a leaky ReLU with a slope, nothing, or a function such as
# softmax, which is allowed and left out at the end only.
Step = Affine | float | None | Callable[[Tensor], Tensor]

READABLE = (
    "a fitted skrelu estimator, a fitted MLPRegressor or MLPClassifier with activation='relu', "
    "or a torch module that applies Linear, ReLU, LeakyReLU and BatchNorm1d layers in a row"
)
# What to pass instead of objects that contain a network, by class name.
HELD = {
    "Pipeline": "pipeline[-1], and points in the units that it sees",
    "BaseSearchCV": "search.best_estimator_",
    "TransformedTargetRegressor": "model.regressor_, whose outputs are the transformed targets",
    "OptimizedModule": "the module that torch.compile was given",
}
MORE = "does more than apply layers one after the other"
# Rounding error of a step, relative to the sum of the sizes of all terms.
ROUNDING = 64 * np.finfo(float).eps


@dataclass(frozen=True)
class Layers:
    """A network of affine layers with max(v, leak * v) after all but the last.

    It reads x - center. A center far from 0 is not multiplied into the first layer, because this
    would leave rounding errors in its bias.
    """

    matrices: list[Array]  # (n_out, n_in), one for each layer
    biases: list[Array]  # (n_out,), one for each layer
    leaks: list[float]  # one for each hidden layer
    center: Array | float = 0.0  # (n_features,)

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.matrices[0].shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.biases[-1])

    @property
    def widths(self) -> list[int]:
        """Number of neurons of each hidden layer."""
        return [len(bias) for bias in self.biases[:-1]]

    @property
    def n_neurons(self) -> int:
        """Number of hidden neurons."""
        return sum(self.widths)

    @property
    def largest(self) -> int:
        """Largest number of inputs or outputs of a layer."""
        return max(max(matrix.shape) for matrix in self.matrices)


@isolated()
def layers_of(model) -> Layers:
    """Return the layers of a model, without a softmax, sigmoid or exponential at the end.

    `READABLE` lists the models. A torch module is not changed and is read as in eval mode: without
    dropout, and with the running statistics of batch normalization.

    Raises
    ------
    TypeError
        If the model is not of a known type.
    ValueError
        If a layer cannot be read, or a weight is not finite.
    """
    if isinstance(model, type):
        raise TypeError(f"{model.__name__} is a class; give an instance of it: {READABLE}.")
    for name in HELD.keys() & {cls.__name__ for cls in type(model).__mro__}:
        raise TypeError(f"Cannot read a {type(model).__name__}; give its network: {HELD[name]}.")
    if isinstance(model, MLPRegressor | MLPClassifier):
        check_is_fitted(model)
        if model.activation != "relu":
            raise ValueError(
                f"activation={model.activation!r} has no linear regions; only 'relu' has."
            )
        matrices = [np.asarray(matrix.T, float) for matrix in model.coefs_]
        biases = [np.asarray(bias, float) for bias in model.intercepts_]
        return _checked(Layers(matrices, biases, [0.0] * (len(matrices) - 1)))
    held = hasattr(model, "to_torch") and not isinstance(model, nn.Module)
    module = model.to_torch() if held else model
    if not isinstance(module, nn.Module):
        raise TypeError(f"Cannot read a {type(model).__name__}; give {READABLE}.")
    module = _plain(_copy(module))
    center, steps = _centered([step for step in _steps(module) if step is not None])
    layers = _checked(replace(_of_steps(steps), center=center))
    _check_same(module, steps, layers)
    return layers


def _checked(layers: Layers) -> Layers:
    for n_out, n_in in (matrix.shape for matrix in layers.matrices):
        if not n_out * n_in:
            raise ValueError(f"A layer has {n_in} inputs and {n_out} outputs, but needs one each.")
    weights = (*layers.matrices, *layers.biases, layers.center)
    if not all(np.isfinite(part).all() for part in weights):
        raise ValueError("The network has weights that are not finite, so it has no regions.")
    return layers


def _cannot_read(what: object) -> ValueError:
    return ValueError(f"Cannot read {what}; give {READABLE}.")


def _copy(module: nn.Module) -> nn.Module:
    """Copy a module in eval mode and float64; reading or running it might change the original."""
    for name, weight in chain(module.named_parameters(), module.named_buffers()):
        if nn.parameter.is_lazy(weight):
            raise ValueError(f"{name} has no size yet; run the module on data first.")
        if weight.is_meta:
            raise ValueError(f"{name} is on the meta device, without values; load them first.")
        if weight.is_complex():
            raise ValueError(f"{name} is complex, but only real networks have linear regions.")
    for name, inner in module.named_modules():
        if inner._forward_hooks or inner._forward_pre_hooks or "forward" in vars(inner):
            raise ValueError(
                f"{type(inner).__name__} {name or 'as a whole'} has a hook or a replaced forward, "
                "which may change outputs; remove it or make it permanent (as prune.remove does)."
            )
    outputs = {  # outputs stored by an earlier forward, which deepcopy refuses
        id(value): value.detach()
        for inner in module.modules()
        for value in vars(inner).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return deepcopy(module, outputs).to("cpu", torch.float64).eval()
    except Exception as cause:  # copying its parts may raise any exception
        raise _cannot_read(f"a {type(module).__name__} that cannot be copied ({cause})") from cause


def _plain(module: nn.Module) -> nn.Module:
    """Replace modules that have a `to_torch` method by the plain layers that it returns."""
    to_torch = getattr(module, "to_torch", None)
    if callable(to_torch):
        return to_torch()
    for name, inner in list(module._modules.items()):  # named_children skips repeated ones
        if inner is not None:
            setattr(module, name, _plain(inner))
    return module


def _leak(slope: float) -> float:
    if not 0 <= slope < 1:
        raise ValueError(
            f"negative_slope={slope} is not in [0, 1): at 1 nothing bends, and with other slopes "
            "max(v, negative_slope * v) is no leaky ReLU"
        )
    return float(slope)


def _affine(weight: Tensor, bias: Tensor | None = None) -> Affine:
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return weight.detach().to("cpu", torch.float64), bias.detach().to("cpu", torch.float64)


def _normalization(
    input, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Affine:
    if training:
        raise TypeError("without running statistics outputs depend on the batch")
    factor = (variance + eps).rsqrt() * (1 if weight is None else weight)
    return _affine(factor, (0 if bias is None else bias) - factor * mean)


def _only(condition: bool, step: Step = None) -> Step:
    if not condition:
        raise TypeError("with these arguments it is something else")
    return step


def _last(function: Callable[..., Tensor]) -> Callable[..., Step]:
    return lambda input, *args, **kwargs: lambda x: function(x, *args, **kwargs)


# Functions of torch and torch.nn.functional, and methods of tensors; in-place ones end with "_".
FUNCTIONS: dict[str, Callable[..., Step]] = {
    "linear": lambda input, weight, bias=None: _affine(weight, bias),
    "batch_norm": _normalization,
    "relu": lambda input, inplace=False: 0.0,
    "leaky_relu": lambda input, negative_slope=0.01, inplace=False: _leak(negative_slope),
    "clamp": lambda input, min=None, max=None: _only(min == 0 and max is None, 0.0),
    "clamp_min": lambda input, min: _only(min == 0, 0.0),
    "dropout": lambda input, p=0.5, training=True, inplace=False: _only(not training),
    "flatten": lambda input, start_dim=0, end_dim=-1: _only(start_dim in (1, -1)),
    "view": lambda input, *shape: _only(shape[0] == -1 and len(shape) == 2),
    "reshape": lambda input, *shape: _only(shape[0] == -1 and len(shape) == 2),
    "squeeze": _last(torch.squeeze),
    "softmax": _last(nn.functional.softmax),
    "log_softmax": _last(nn.functional.log_softmax),
    "sigmoid": _last(torch.sigmoid),
    "exp": _last(torch.exp),
}


class _Values:
    """Inputs on which a module is run to record its steps instead of numbers."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None) -> _Values:
        name, kwargs = func.__name__, kwargs or {}
        before = args[0] if args else kwargs.get("input")
        if (
            name.removesuffix("_") not in FUNCTIONS
            or not isinstance(before, cls)
            or sum(isinstance(value, cls) for value in (*args, *kwargs.values())) > 1
        ):
            raise TypeError(f"{name} {MORE}")
        try:
            step = FUNCTIONS[name.removesuffix("_")](*args, **kwargs)
        except Exception as cause:
            raise TypeError(f"{name}: {cause}") from cause
        if kwargs.get("inplace", name.endswith("_")):
            before.steps.append(step)  # other references to these values change, too
            return before
        return cls([*before.steps, step])

    def __getattr__(self, name: str) -> Callable[..., _Values]:
        if name.removesuffix("_") not in FUNCTIONS:
            raise AttributeError(f"{name} {MORE}")
        method = getattr(Tensor, name)
        return lambda *args, **kwargs: self.__torch_function__(method, (), (self, *args), kwargs)

    def _operator(self, *_) -> NoReturn:
        raise TypeError(f"an operator such as + {MORE}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _operator
    __matmul__ = __pow__ = __neg__ = __abs__ = __getitem__ = _operator

    def dim(self) -> int:
        return 2

    def __bool__(self) -> bool:
        raise TypeError("an if or a loop depends on the input")


def _steps(module: nn.Module) -> list[Step]:
    """Run a module and return its steps."""
    try:
        values = module(_Values([]))
    except Exception as cause:  # the module's own code may raise any exception
        frames = [frame.f_locals.get("self") for frame, _ in walk_tb(cause.__traceback__)]
        inner = [module, *(frame for frame in frames if isinstance(frame, nn.Module))][-1]
        path = next((path for path, part in module.named_modules() if part is inner), "")
        name = f"{type(inner).__name__} {path}".rstrip()
        raise _cannot_read(f"{name}: {cause}") from cause
    if not isinstance(values, _Values):
        raise _cannot_read(f"{type(module).__name__}, which does not return one tensor")
    return values.steps


def _centered(steps: list[Step]) -> tuple[Array | float, list[Step]]:
    """Return the center and the other steps if the first layer only subtracts it."""
    match steps:
        case [(matrix, bias), (after, _), *_] if after.shape[-1] == len(bias):
            n = len(bias)
            diagonal = matrix if matrix.ndim == 1 else matrix.diagonal()
            ones = matrix.shape in ((n,), (n, n)) and (diagonal == 1).all()
            if ones and matrix.count_nonzero() == n:
                return -bias.numpy(), steps[1:]
    return 0.0, steps


def _dense(step: Affine) -> Affine:
    matrix, bias = step
    return (torch.diag(matrix) if matrix.ndim == 1 else matrix), bias


def _after(outer: Affine, inner: Affine) -> Affine:
    """Return the composition of two affine maps; diagonal ones stay vectors."""
    (matrix, bias), (first, shift) = outer, inner
    if matrix.ndim == 1:
        return (matrix * first.T).T, bias + matrix * shift
    return (matrix * first if first.ndim == 1 else matrix @ first), bias + matrix @ shift


def _apply(step: Affine, x: Tensor) -> Tensor:
    matrix, bias = step
    return x * matrix + bias if matrix.ndim == 1 else nn.functional.linear(x, matrix, bias)


def _of_steps(steps: list[Step]) -> Layers:
    affine = [step for step in steps if isinstance(step, tuple)]
    if not affine:
        raise ValueError("There is no Linear layer in the module.")
    ends = [callable(step) for step in steps]
    if ends != sorted(ends):
        raise ValueError("Softmax, LogSoftmax, Sigmoid, exp and squeeze are read only at the end.")
    eye = partial(torch.eye, dtype=torch.float64)
    layers = [_affine(eye(affine[0][0].shape[-1]))] if isinstance(steps[0], float) else []
    leaks: list[float] = []
    for step in steps:
        if isinstance(step, float):
            leak = leaks.pop() if len(leaks) == len(layers) else 1.0  # two ReLU in a row
            leaks.append(leak * step)
        elif isinstance(step, tuple):
            matrix, _ = step
            if layers and matrix.shape[-1] != len(layers[-1][1]):
                n_in, n_before = matrix.shape[-1], len(layers[-1][1])
                raise ValueError(f"A layer reads {n_in} values, but the one before has {n_before}.")
            # Two affine maps without a ReLU in between become one.
            layers.append(_after(step, layers.pop()) if len(layers) > len(leaks) else step)
    if len(leaks) == len(layers):
        layers.append(_affine(eye(len(layers[-1][1]))))
    layers = [_dense(layer) for layer in layers]
    return Layers([m.numpy() for m, _ in layers], [b.numpy() for _, b in layers], leaks)


def _check_same(module: nn.Module, steps: list[Step], layers: Layers) -> None:
    """Compare a module with the layers read from it, at points near and far from the center."""
    n_features, center = layers.n_features, torch.as_tensor(layers.center, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, n_features, dtype=torch.float64, generator=generator)
    x = center + x * torch.logspace(-2, 2, 8, dtype=torch.float64)[:, None]
    try:
        outputs = module(x.clone())
    except Exception as cause:  # the module's own code may raise any exception
        what = f"{type(module).__name__}, as it fails on {n_features} features in float64 ({cause})"
        raise _cannot_read(what) from cause
    x = x - center
    size = x.abs()  # sum of the sizes of all terms
    for step in steps:
        if isinstance(step, tuple):
            x = _apply(step, x)
            size = _apply((step[0].abs(), step[1].abs()), size)
        elif isinstance(step, float):
            x = nn.functional.leaky_relu(x, step)
        elif step is not None:  # None has been left out
            x = step(x)
            # The slope of such a function is at most this.
            size = size * (1 + x.abs().reshape(8, -1).amax(1, keepdim=True))
    bound = ROUNDING * len(steps) * (size.amax(1) + x.abs().reshape(8, -1).amax(1))
    if outputs.shape == x.shape:
        same = (outputs - x).abs().reshape(8, -1).amax(1) <= bound
        if (same | ~bound.isfinite()).all():
            return
    raise _cannot_read(f"{type(module).__name__}: it computes something else than its layers")
