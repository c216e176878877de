"""Read fitted models and torch modules as plain layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

Array = NDArray[np.float64]

READABLE = (
    "a fitted skrelu estimator, a fitted MLPRegressor or MLPClassifier with activation='relu', "
    "or a torch module that applies Linear, ReLU and LeakyReLU layers one after the other"
)
IDLE = torch.nn.Identity | torch.nn.Dropout | torch.nn.Flatten


@dataclass(frozen=True)
class Layers:
    """A network of affine layers with max(v, leak * v) after all but the last."""

    matrices: list[Array]  # (n_out, n_in), one a layer
    biases: list[Array]  # (n_out,)
    leaks: list[float]  # one a layer but the last

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.matrices[0].shape[1]


def layers_of(model) -> Layers:
    """Read a model, see `READABLE`; of a classifier what comes before its softmax.

    Raises
    ------
    TypeError
        If the model is none of these.
    ValueError
        If a layer of it cannot be read, or a weight is not finite.
    """
    if isinstance(model, MLPRegressor | MLPClassifier):
        check_is_fitted(model)
        if model.activation != "relu":
            raise ValueError(
                f"activation={model.activation!r} has no linear regions; only 'relu' has."
            )
        matrices = [np.asarray(matrix.T, float) for matrix in model.coefs_]
        biases = [np.asarray(bias, float) for bias in model.intercepts_]
        return _checked(Layers(matrices, biases, [0.0] * (len(matrices) - 1)))
    if hasattr(model, "to_torch"):
        model = model.to_torch()
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"Cannot read a {type(model).__name__}; give {READABLE}.")
    return _checked(_of_modules(_in_order(model)))


def _checked(layers: Layers) -> Layers:
    if not all(np.isfinite(part).all() for part in (*layers.matrices, *layers.biases)):
        raise ValueError("The network has weights that are not finite, so it has no regions.")
    return layers


def _in_order(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the modules that a module applies one after the other."""
    if isinstance(module, torch.nn.Sequential):
        return [inner for child in module for inner in _in_order(child)]
    if isinstance(module, torch.nn.Linear | torch.nn.ReLU | torch.nn.LeakyReLU | IDLE):
        return [module]
    try:
        graph = torch.fx.symbolic_trace(module).graph
    except Exception as cause:  # whatever the module's own code raises
        raise ValueError(f"Cannot trace a {type(module).__name__}; give {READABLE}.") from cause
    modules: list[torch.nn.Module] = []
    last = None
    for node in graph.nodes:
        if node.op == "placeholder" and last is None:
            last = node
            continue
        if node.op == "output" and node.args == (last,):
            return modules
        if node.args[:1] != (last,) or node.op == "get_attr":
            break
        if node.op == "call_module":
            modules += _in_order(module.get_submodule(node.target))
        elif node.target in (torch.relu, torch.nn.functional.relu, "relu"):
            modules.append(torch.nn.ReLU())
        else:
            break
        last = node
    raise ValueError(
        f"{type(module).__name__} does more than apply layers one after the other ({node}); "
        f"give {READABLE}."
    )


def _of_modules(modules: list[torch.nn.Module]) -> Layers:
    matrices: list[Array] = []
    biases: list[Array] = []
    leaks: list[float] = []
    for module in modules:
        if isinstance(module, torch.nn.Linear):
            matrix = module.weight.detach().cpu().double().numpy()
            bias = np.zeros(len(matrix))
            if module.bias is not None:
                bias = module.bias.detach().cpu().double().numpy()
            if len(matrices) > len(leaks):  # nothing bends in between
                matrix, bias = matrix @ matrices.pop(), bias + matrix @ biases.pop()
            matrices.append(matrix)
            biases.append(bias)
        elif isinstance(module, torch.nn.ReLU | torch.nn.LeakyReLU):
            leak = float(getattr(module, "negative_slope", 0.0))
            if not matrices or len(leaks) == len(matrices):
                raise ValueError("A ReLU layer has to follow a Linear layer.")
            if not 0 <= leak < 1:
                raise ValueError(f"negative_slope={leak} is not in [0, 1).")
            leaks.append(leak)
    if not matrices:
        raise ValueError("There is no Linear layer in the module.")
    if len(leaks) == len(matrices):  # ends with a ReLU
        n = len(matrices[-1])
        matrices.append(np.eye(n))
        biases.append(np.zeros(n))
    return Layers(matrices, biases, leaks)
