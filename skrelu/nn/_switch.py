"""The switch from peaks to free weights in models and their optimizers."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from skrelu._data.torch_interop import isolated
from skrelu.nn._checks import as_rate, check_module, short
from skrelu.nn._layer import layers_of
from skrelu.nn._triangle_wave import TriangleWave


@isolated()
def release(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    dense: bool = False,
    lr_factor: float = 0.1,
) -> nn.Module:
    """Replace the peaks of all layers of a model by free weights that compute the same function.

    The outputs of the model do not change. Free weights move the breakpoints of all 2**depth
    pieces at once, so they need smaller steps than peaks.

    Parameters
    ----------
    model : torch.nn.Module
        Model with layers of triangle waves, changed in place.
    optimizer : torch.optim.Optimizer, default=None
        Optimizer to update, changed in place. Old parameters are removed, with their group if it is
        empty then. The new parameters of a layer form a group with the settings of the first group
        that had any of its old ones. All other parameters and groups stay, also those of other
        models. Make learning rate schedulers anew. LBFGS is not supported, because it has a single
        group.
    dense : bool, default=False
        Whether the new layers are dense matrices instead of blocks, see
        `ExponentialReLULayer.release`.
    lr_factor : float, default=0.1
        Learning rate of the new groups relative to that of the old ones, greater than 0. It applies
        to each release: use 1 to make blocks dense whose learning rate is small already.

    Returns
    -------
    model : torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If ``model`` is not a module, ``optimizer`` is not an optimizer or is LBFGS, ``dense`` is
        not a bool or ``lr_factor`` is not a number. Nothing is changed then.
    ValueError
        If the model has no `ExponentialReLULayer`, has a dense one although ``dense=False``, or has
        peaks on the meta device. If ``lr_factor`` is not positive and finite. Nothing is changed
        then.

    Examples
    --------
    >>> import torch
    >>> from skrelu.nn import ExponentialReLULayer, parameter_groups, release
    >>> model = ExponentialReLULayer(8, 3)
    >>> optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2, weight_decay=1e-2))
    >>> model = release(model, optimizer)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.01, 0.001]
    """
    layers = layers_of(model)
    if optimizer is not None:
        _check_optimizer(optimizer)
    lr_factor = as_rate("lr_factor", lr_factor, positive=True)
    # Compute all new parts before the first change, because this may raise an error.
    parts = {name: layer.released(dense) for name, layer in layers.items()}
    changes = []
    for name, layer in layers.items():
        before = dict(layer.named_parameters())
        layer.subnetworks, layer.read_out = parts[name]
        changes.append(_Change(f"{name}." if name else "", before, dict(layer.named_parameters())))
    if optimizer is not None:
        _update(optimizer, changes, lr_factor)
    return model


def _check_optimizer(optimizer: object) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer={short(optimizer)}, but it must be an instance of torch.optim.Optimizer."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer is an LBFGS, which has one group of parameters for good; release the model "
            "without it and make a new one."
        )


@dataclass(frozen=True, eq=False)
class _Change:
    """The parameters of a layer before and after its release, by their names in the layer."""

    prefix: str  # of the layer's parameters in the model
    before: dict[str, nn.Parameter]
    after: dict[str, nn.Parameter]

    def news(self, held: dict[nn.Parameter, str]) -> dict[str, nn.Parameter]:
        """Return the new parameters, with names like those of the old ones in the optimizer."""
        known = [(held[old], name) for name, old in self.before.items() if old in held]
        ends = (full.removesuffix(name) for full, name in known if full.endswith(name))
        prefix = next(ends, self.prefix)
        old = set(self.before.values())
        return {prefix + name: part for name, part in self.after.items() if part not in old}


def _update(optimizer: torch.optim.Optimizer, changes: list[_Change], lr_factor: float) -> None:
    """Replace the old parameters of an optimizer by the new ones."""
    gone = {part for group in optimizer.param_groups for part in group["params"]}
    gone &= {part for change in changes for part in change.before.values()}
    gone -= {part for change in changes for part in change.after.values()}
    gone -= _held_by_modules(gone) if gone else set()
    waiting, fresh, emptied = list(changes), [], []
    for group in optimizer.param_groups:
        params = group["params"]
        held = dict(zip(params, group.get("param_names", [""] * len(params)), strict=True))
        news: dict[str, nn.Parameter] = {}
        for change in [each for each in waiting if held.keys() & set(each.before.values())]:
            waiting.remove(change)  # the first group with old parameters takes all new ones
            news |= change.news(held)
        if news:
            fresh.append(_like(group, news, lr_factor))
        kept = [part not in gone for part in params]
        for key in ("params", "param_names"):
            if key in group:
                group[key][:] = compress(group[key], kept)
        if not all(kept) and not group["params"]:
            emptied.append(id(group))
    for part in gone:
        optimizer.state.pop(part, None)
    groups = optimizer.param_groups
    groups[:] = [group for group in groups if id(group) not in emptied]
    for group in fresh:
        optimizer.add_param_group(group)


def _like(group: dict[str, Any], news: dict[str, nn.Parameter], lr_factor: float) -> dict[str, Any]:
    """Return a group of new parameters with the settings of ``group``."""
    left_out = ("params", "initial_lr", "param_names")
    settings = {key: value for key, value in group.items() if key not in left_out}
    if "lr" in settings:
        settings["lr"] = settings["lr"] * lr_factor
    return {**settings, "params": list(news.items() if "param_names" in group else news.values())}


def _held_by_modules(parameters: set[nn.Parameter]) -> set[nn.Parameter]:
    """Return the parameters that belong to any module, inside or outside of the model.

    Weights may be tied to modules outside of the model. An optimizer without these weights would
    silently leave them untrained. Only the garbage collector knows all modules.
    """
    gc.collect()  # unused parametrized modules are reference cycles and may still exist
    modules = (each for each in gc.get_objects() if issubclass(type(each), nn.Module))
    held = (vars(module).get("_parameters") or {} for module in modules)
    return {part for parts in held for part in parts.values() if part in parameters}


def parameter_groups(
    model: nn.Module,
    lr: float | Tensor,
    *,
    weight_decay: float = 0.0,
    peaks_lr: float | Tensor | None = None,
) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer, with no weight decay on peaks.

    Weight decay on the logits of peaks would turn all waves into parabolas.

    Parameters
    ----------
    model : torch.nn.Module
        Model with or without layers of triangle waves.
    lr : float or Tensor
        Learning rate, at least 0.
    weight_decay : float, default=0.0
        Weight decay of all parameters except the peaks, at least 0.
    peaks_lr : float or Tensor, default=None
        Learning rate of the peaks, at least 0. None is ``lr``.

    Returns
    -------
    list of dict
        Groups of parameters. The last one has the peaks; it is absent if the model has none.

    Raises
    ------
    TypeError
        If ``model`` is not a module or a rate is not a number.
    ValueError
        If a rate is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> from skrelu.nn import ExponentialReLULayer, parameter_groups
    >>> groups = parameter_groups(ExponentialReLULayer(8, 3), lr=1e-2, weight_decay=1e-3)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(4, 0.001), (1, 0.0)]
    """
    check_module(model)
    as_rate("lr", lr)
    as_rate("weight_decay", weight_decay)
    if peaks_lr is not None:
        as_rate("peaks_lr", peaks_lr)
    waves = [part for part in model.modules() if isinstance(part, TriangleWave)]
    peaks = list(dict.fromkeys(part for wave in waves for part in wave.parameters()))
    rest = [parameter for parameter in model.parameters() if parameter not in set(peaks)]
    groups: list[dict[str, Any]] = []
    if rest:
        groups.append({"params": rest, "lr": lr, "weight_decay": weight_decay})
    if peaks:
        rate = lr if peaks_lr is None else peaks_lr
        groups.append({"params": peaks, "lr": rate, "weight_decay": 0.0})
    return groups
