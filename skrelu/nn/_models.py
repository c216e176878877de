"""Functions on whole models: replace dense layers by triangle waves, and fit their windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from skrelu.nn._checks import as_depth, as_size, check_module, short
from skrelu.nn._layer import ExponentialReLULayer, layers_of


class _Run(NamedTuple):
    """A run of Linear, ReLU (and Dropout), Linear and so on in an `nn.Sequential`."""

    begin: int
    end: int
    layers: list[nn.Module]

    def replacement(self, depth: int, n_subnetworks: int | None) -> nn.Module:
        linears = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        first, last = linears[0], linears[-1]
        n_in, n_out, bias = first.in_features, last.out_features, last.bias is not None
        if n_subnetworks is None:
            budget = sum(part.numel() for layer in linears for part in layer.parameters())
            each = n_in + 1 + depth + 1 + n_out  # directions, offset, peaks and read-out
            n_subnetworks = max(1, (budget - bias * n_out) // each)
        rates = [layer.p for layer in self.layers if isinstance(layer, nn.Dropout)]
        return ExponentialReLULayer(
            n_in,
            n_out,
            depth,
            n_subnetworks,
            bias=bias,
            dropout=max(rates, default=0.0),
            device=first.weight.device,
            dtype=first.weight.dtype,
        ).train(first.training)


def swap_dense(
    model: nn.Module,
    *,
    depth: int = 4,
    n_subnetworks: int | None = None,
    names: str | Iterable[str] | None = None,
) -> nn.Module:
    """Replace dense ReLU stacks of a model by new layers of triangle waves.

    A stack is a run of `torch.nn.Linear`, `torch.nn.ReLU`, optionally `torch.nn.Dropout`,
    `torch.nn.Linear`, and so on, inside a `torch.nn.Sequential`. Its trained weights are lost.
    Inputs of layers inside a model rarely have zero mean and unit variance, so call `fit_windows`
    next.

    Parameters
    ----------
    model : torch.nn.Module
        Model with dense stacks, changed in place.
    depth : int, default=4
        Number of composed triangles of the new layers, in [1, 52].
    n_subnetworks : int, default=None
        Number of triangle waves of each new layer, at least 1. None gives each new layer at most as
        many parameters as the stack that it replaces, and at least one wave.
    names : str or iterable of str, default=None
        Names of the Sequential modules to search, as in ``model.named_modules()``. None searches
        all.

    Returns
    -------
    model : torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If ``model`` is not a module, ``names`` are not strings, or a size is not an integer.
    ValueError
        If there is no such stack, no `torch.nn.Sequential` of a given name, or a size is out of
        range. Nothing is changed then.

    Examples
    --------
    >>> from torch import nn
    >>> from skrelu.nn import swap_dense
    >>> model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 3), nn.Softmax(-1))
    >>> swap_dense(model)
    Sequential(
      (0): ExponentialReLULayer(
        8, 3, depth=4, n_subnetworks=28, dropout=0.0, form='peaks'
        (subnetworks): Peaks(
          (directions): Linear(in_features=8, out_features=28, bias=True)
          (wave): TriangleWave(28, depth=4)
        )
        (read_out): Linear(in_features=28, out_features=3, bias=True)
      )
      (1): Softmax(dim=-1)
    )
    """
    check_module(model)
    depth = as_depth(depth)
    if n_subnetworks is not None:
        n_subnetworks = as_size("n_subnetworks", n_subnetworks)
    found = {name: part for name, part in model.named_modules() if isinstance(part, nn.Sequential)}
    if names is not None:
        names = _as_names(names)
        if unknown := [name for name in names if name not in found]:
            raise ValueError(
                f"{unknown} are no Sequential modules of the model: {list(found)} are."
            )
        found = {name: found[name] for name in names}
    swaps = [
        (part, run, run.replacement(depth, n_subnetworks))
        for part in found.values()
        for run in reversed(list(_runs(part)))
    ]
    if not swaps:
        raise ValueError(
            "Found no nn.Sequential in which nn.Linear, nn.ReLU (and nn.Dropout), nn.Linear "
            "follow each other. Where a forward method calls them, replace the layers by one "
            "ExponentialReLULayer(in_features, out_features), and call that alone."
        )
    for part, run, replacement in swaps:
        kept = list(part._modules.items())
        name = kept[run.begin][0]
        kept[run.begin : run.end] = [(name, replacement)]
        part._modules.clear()
        for i, (name, layer) in enumerate(kept):
            part.add_module(str(i) if name.isdigit() else name, layer)
    return model


def _as_names(names: str | Iterable[str]) -> list[str]:
    found = [names] if isinstance(names, str) else names
    found = list(found) if isinstance(found, Iterable) else [found]
    if not all(isinstance(name, str) for name in found):
        raise TypeError(f"names={short(names)}, but it must be a string or several strings.")
    return found


def _runs(part: nn.Sequential) -> Iterator[_Run]:
    """Yield the dense stacks of a Sequential."""
    layers = list(part)
    begin = 0
    while begin < len(layers):
        end = begin + 1
        while type(layers[begin]) is nn.Linear and (step := _next_linear(layers, end)):
            end = step
        if end > begin + 1:
            yield _Run(begin, end, layers[begin:end])
        begin = end


def _next_linear(layers: list[nn.Module], i: int) -> int | None:
    """Return the position after ReLU, (Dropout,) Linear, if these are next."""
    kinds = [type(layer) for layer in layers[i : i + 3]]
    if kinds[:2] == [nn.ReLU, nn.Linear]:
        return i + 2
    return i + 3 if kinds == [nn.ReLU, nn.Dropout, nn.Linear] else None


@torch.no_grad()
def fit_windows(model: nn.Module, *inputs: object) -> nn.Module:
    """Fit the windows of all layers of a model to their inputs, one layer after the other.

    The model is called once, without gradients. Each layer reads the outputs of earlier layers
    after their windows were fitted, see `ExponentialReLULayer.fit_windows`. The mode of the model
    is not changed: in training mode the call also updates running statistics.

    Parameters
    ----------
    model : torch.nn.Module
        Model with layers of triangle waves, changed in place.
    *inputs : object
        Arguments of the call ``model(*inputs)``: a typical batch.

    Returns
    -------
    model : torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If ``model`` is not a module.
    ValueError
        If the model has no `ExponentialReLULayer` or a released one, if the call reaches none of
        them, or if windows cannot be fitted to the inputs of a layer. After any error of the call
        the layers are as before.

    Warns
    -----
    UserWarning
        If the call does not reach all layers. Only the windows of the reached ones are fitted.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skrelu.nn import ExponentialReLULayer, fit_windows
    >>> model = nn.Sequential(nn.Flatten(), ExponentialReLULayer(12, 2))
    >>> images = 100 + 20 * torch.randn(50, 3, 4)
    >>> bool(fit_windows(model, images)(images).mean().abs() < 1e-3)
    True
    """
    layers = layers_of(model)
    for layer in layers.values():
        layer.check_peaks("fit_windows")
    reached = set()

    def fit(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        cast(ExponentialReLULayer, layer).fit_windows(*inputs, **named)
        reached.add(layer)

    before = [(part, part.clone()) for layer in layers.values() for part in layer.parameters()]
    hooks = [layer.register_forward_pre_hook(fit, with_kwargs=True) for layer in layers.values()]
    try:
        model(*inputs)
    except BaseException:
        for parameter, value in before:
            parameter.copy_(value)
        raise
    finally:
        for hook in hooks:
            hook.remove()
    missed = [name for name, layer in layers.items() if layer not in reached]
    message = f"The call did not reach the layers {missed}, so their windows are as before"
    if not reached:
        raise ValueError(f"{message}. Call the model in a way that runs them.")
    if missed:
        warnings.warn(f"{message}; fit them to what they will read.", UserWarning, stacklevel=3)
    return model
