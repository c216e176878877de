"""A network as a torch module that holds only the numbers of its graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skrelu._export.blocks import BlockLayers, Layer


class BlockLayer(nn.Module):
    """Small matrices side by side, and signals that pass by.

    Parameters
    ----------
    layer : Layer

    Notes
    -----
    Shape: (n_signals, n_samples) to (n_kept + n_new, n_samples), before ReLU.
    """

    kept: Tensor
    bias: Tensor

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.register_buffer("kept", torch.tensor(layer.kept))
        for k, block in enumerate(layer.blocks):
            self.register_buffer(f"reads{k}", torch.tensor(block.reads))
            self.register_parameter(f"weight{k}", nn.Parameter(torch.tensor(block.matrices)))
        self.bias = nn.Parameter(torch.tensor(layer.bias))
        self.n_blocks = len(layer.blocks)

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signals that stay, and the new ones before ReLU."""
        new = []
        for k in range(self.n_blocks):
            reads, weight = getattr(self, f"reads{k}"), getattr(self, f"weight{k}")
            read = signals.index_select(0, reads.flatten()).unflatten(0, reads.shape)
            new.append((weight @ read).flatten(0, 1))  # (n_matrices * n_rows, n_samples)
        return signals.index_select(0, self.kept), torch.cat(new) + self.bias[:, None]

    def extra_repr(self) -> str:
        """Return the number and shapes of the matrices."""
        shapes = [tuple(getattr(self, f"weight{k}").shape) for k in range(self.n_blocks)]
        return ", ".join("{} x ({}, {})".format(*shape) for shape in shapes)


class BlockNetwork(nn.Module):
    """A ReLU network whose layers read inputs and neurons of any earlier layer.

    Parameters
    ----------
    layers : BlockLayers
    link : nn.Module, optional
        Applied to the outputs.

    Notes
    -----
    Shape: (..., n_inputs) to (..., n_outputs).
    """

    order: Tensor

    def __init__(self, layers: BlockLayers, link: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(BlockLayer, layers.layers))
        self.register_buffer("order", torch.tensor(layers.order))
        self.link = nn.Identity() if link is None else link
        self.n_inputs = layers.n_inputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, of shape (..., n_outputs)."""
        if x.shape[-1] != self.n_inputs:
            raise ValueError(f"Inputs have {x.shape[-1]} columns, but need {self.n_inputs}.")
        signals = x.reshape(-1, self.n_inputs).T
        *hidden, last = self.layers
        for layer in hidden:
            kept, new = layer(signals)
            signals = torch.cat([kept, new.relu()])
        _, outputs = last(signals)
        outputs = outputs.index_select(0, self.order).T
        return self.link(outputs.reshape(*x.shape[:-1], len(self.order)))
