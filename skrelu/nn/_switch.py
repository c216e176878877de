"""The switch from peaks to free weights in models, and what optimizers must know of it."""

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
    """Release all layers of triangle waves of a model, and tell an optimizer.

    The model's outputs do not change. Free weights move the breakpoints of all 2**depth
    pieces at once, and so need smaller steps than peaks.

    Parameters
    ----------
    model : Module
        Changed in place.
    optimizer : Optimizer, default=None
        Changed in place. Parameters that are gone leave it, and their group if that is
        empty then. The new ones of a layer come in a group with the settings of the first group
        that had any of its old ones. Everything else stays as it is, whether it belongs to
        ``model`` or not. Learning rate schedulers must be made anew. Not for LBFGS, which has a
        single group.
    dense : bool, default=False
        See `ExponentialReLULayer.release`.
    lr_factor : float, default=0.1
        Learning rate of the new groups, as a factor of that of the old: each time, so give 1 to
        make blocks dense that learn slowly already.

    Returns
    -------
    model : Module

    Raises
    ------
    TypeError
        If ``model`` is no module, ``optimizer`` none that can take new groups, ``dense`` no bool
        or ``lr_factor`` no number. Nothing is changed then.
    ValueError
        If the model has no `ExponentialReLULayer`, or one that is dense already and is to be
        made of blocks, or peaks on the meta device, or if ``lr_factor`` is not positive and
        finite. Nothing is changed then.

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
    # All of them before one is changed: that may raise an error.
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

    prefix: str  # of the names in the model
    before: dict[str, nn.Parameter]
    after: dict[str, nn.Parameter]

    def news(self, held: dict[nn.Parameter, str]) -> dict[str, nn.Parameter]:
        """Return the new parameters, by names like those that the old ones are held by."""
        known = [(held[old], name) for name, old in self.before.items() if old in held]
        ends = (full.removesuffix(name) for full, name in known if full.endswith(name))
        prefix = next(ends, self.prefix)
        old = set(self.before.values())
        return {prefix + name: part for name, part in self.after.items() if part not in old}


def _update(optimizer: torch.optim.Optimizer, changes: list[_Change], lr_factor: float) -> None:
    """Exchange the parameters that changes took away for those that they brought."""
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
            waiting.remove(change)  # the first group that has any of them takes all
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
    """Return a group of new parameters with the settings of another one."""
    left_out = ("params", "initial_lr", "param_names")
    settings = {key: value for key, value in group.items() if key not in left_out}
    if "lr" in settings:
        settings["lr"] = settings["lr"] * lr_factor
    return {**settings, "params": list(news.items() if "param_names" in group else news.values())}


def _held_by_modules(parameters: set[nn.Parameter]) -> set[nn.Parameter]:
    """Return those that are parameters of a module, be it in the model or not.

    Weights may be tied to modules that nothing here leads to, and an optimizer that forgot them
    would leave these untrained without a word. Only the garbage collector knows all modules.
    """
    gc.collect()  # parametrized modules are cycles, which outlive their use
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
    """Return groups for an optimizer: peaks without weight decay, everything else with it.

    Weight decay on the logits of peaks would draw all waves to parabolas.

    Parameters
    ----------
    model : Module
    lr : float or Tensor
        Learning rate, at least 0.
    weight_decay : float, default=0.0
        Of all parameters but the peaks, at least 0.
    peaks_lr : float or Tensor, default=None
        Learning rate of the peaks. None: ``lr``.

    Returns
    -------
    list of dict
        The group of the peaks is the last, and not there if the model has none.

    Raises
    ------
    TypeError
        If ``model`` is no module or a rate no number.
    ValueError
        If a rate is negative or not finite.
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
