"""The switch from peaks to free weights in models, and what optimizers must know of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from skrelu.nn._layer import ExponentialReLULayer, Form
from skrelu.nn._triangle_wave import TriangleWave


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
        that had any of its old ones. All others keep their state. Learning rate schedulers
        must be made anew. Not for optimizers of a single group, such as LBFGS.
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
    ValueError
        If the model has no `ExponentialReLULayer`, or one that is dense already and is to be
        made of blocks, or if ``lr_factor`` is not positive. Nothing is changed then.

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
    layers = [part for part in model.modules() if isinstance(part, ExponentialReLULayer)]
    if not layers:
        raise ValueError("The model has no ExponentialReLULayer to release.")
    if not lr_factor > 0:
        raise ValueError(f"lr_factor={lr_factor}, but it must be positive.")
    after: Form = "dense" if dense else "blocks"
    if not dense and any(layer.form == "dense" for layer in layers):
        raise ValueError(
            "A layer of the model is dense already, and its weights between sub-networks cannot "
            "be left out: release with dense=True."
        )
    changed = [(layer, list(layer.parameters())) for layer in layers if layer.form != after]
    for layer, _ in changed:
        layer.release(dense)
    if optimizer is not None:
        _update(optimizer, model, changed, lr_factor)
    return model


def _update(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    changed: list[tuple[ExponentialReLULayer, list[nn.Parameter]]],
    lr_factor: float,
) -> None:
    """Exchange parameters of an optimizer: of layers that changed, with those before."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    known: set[int] = set()
    groups = []
    for group in optimizer.param_groups:
        held = {id(parameter) for parameter in group["params"]}
        incoming = []
        for layer, before in changed:
            old = {id(parameter) for parameter in before}
            if held & old:  # the first group that has any of them takes all
                new = [p for p in layer.parameters() if id(p) not in old | known]
                known |= {id(parameter) for parameter in new}
                incoming += new
        if incoming:
            settings = {
                key: value
                for key, value in group.items()
                if key not in ("params", "initial_lr", "param_names")
            }
            named = [(names[id(p)], p) for p in incoming] if "param_names" in group else incoming
            groups.append({**settings, "params": named, "lr": group["lr"] * lr_factor})
        kept = [i for i, parameter in enumerate(group["params"]) if id(parameter) in names]
        for i in set(range(len(group["params"]))) - set(kept):
            optimizer.state.pop(group["params"][i], None)
        for key in ("params", "param_names"):
            if key in group:
                group[key] = [group[key][i] for i in kept]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    for group in groups:
        optimizer.add_param_group(group)


def parameter_groups(
    model: nn.Module, lr: float, *, weight_decay: float = 0.0, peaks_lr: float | None = None
) -> list[dict[str, Any]]:
    """Return groups for an optimizer: peaks without weight decay, everything else with it.

    Weight decay on the logits of peaks would draw all waves to parabolas.

    Parameters
    ----------
    model : Module
    lr : float
        Learning rate.
    weight_decay : float, default=0.0
        Of all parameters but the peaks.
    peaks_lr : float, default=None
        Learning rate of the peaks. None: ``lr``.

    Returns
    -------
    list of dict
        The group of the peaks is the last, and not there if the model has none.
    """
    waves = [part for part in model.modules() if isinstance(part, TriangleWave)]
    peaks = [wave.peak_logits for wave in waves]
    identities = {id(parameter) for parameter in peaks}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in identities]
    groups: list[dict[str, Any]] = []
    if rest:
        groups.append({"params": rest, "lr": lr, "weight_decay": weight_decay})
    if peaks:
        rate = lr if peaks_lr is None else peaks_lr
        groups.append({"params": peaks, "lr": rate, "weight_decay": 0.0})
    return groups
