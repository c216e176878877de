"""Dense layers with ReLU in between: whole networks, clipping and sorting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights

Affine = tuple[Tensor, Tensor]  # matrix (n_out, n_in) and bias


def dense_layers(network: ReLUNetwork, weights: ReLUWeights) -> list[Affine]:
    """Write one network as dense layers (matrix, bias) with ReLU in between.

    Hidden matrices are block-diagonal. Further neurons carry the linear part of each output, or all
    of x if there are several levels. A carried value v takes two neurons, max(v, 0) and max(-v, 0).
    The last layers of earlier levels are carried, too, in one neuron a value.
    """
    linear = weights.linear

    def eye(n: int) -> Tensor:
        return torch.eye(n, dtype=linear.dtype, device=linear.device)

    carried = linear.T if network.n_levels == 1 else eye(network.n_features)
    n_carried = carried.shape[0]
    signs = torch.cat([eye(n_carried), -eye(n_carried)], -1)  # reads v from its two neurons
    layers: list[Affine] = []
    for i, (matrix, bias) in enumerate(zip(weights.hidden, weights.biases, strict=True)):
        level, layer = divmod(i, network.depth)
        n_kept = 2 * n_carried + level * network.level_size * WIDTH
        kept = eye(n_kept)
        if i == 0:
            dense = torch.cat([signs.T @ carried, matrix.flatten(0, 1)])
        elif layer == 0:
            by_features, by_levels = matrix.flatten(0, 1).split(
                [network.n_features, matrix.shape[-1] - network.n_features], -1
            )
            dense = torch.cat([kept, torch.cat([by_features @ signs, by_levels], -1)])
        else:
            dense = torch.block_diag(kept, *matrix)
        layers.append((dense, torch.cat([bias.new_zeros(n_kept), bias.flatten()])))
    by_carried = signs if network.n_levels == 1 else linear.T @ signs
    read_out = torch.cat([by_carried, weights.output.flatten(0, 1).T], -1)
    return [*layers, (read_out, weights.intercept)]


def joined(first: Sequence[Affine], second: Sequence[Affine]) -> list[Affine]:
    """Return the layers of the second network applied to the outputs of the first."""
    (inner, shift), (outer, bias) = first[-1], second[0]
    return [*first[:-1], (outer @ inner, outer @ shift + bias), *second[1:]]


def summed(first: Sequence[Affine], second: Sequence[Affine]) -> list[Affine]:
    """Return the layers of the sum of two networks of the same inputs, side by side.

    The outputs of the shallower one are carried past further layers as (v)+ - (-v)+.
    """
    short, long = sorted((list(first), list(second)), key=len)
    n = len(short[-1][1])
    while len(short) < len(long):
        short = joined(short, carrying(n))
    pairs = list(zip(short, long, strict=True))
    layers = [(torch.block_diag(a, c), torch.cat([b, d])) for (a, b), (c, d) in pairs[1:-1]]
    (a, b), (c, d) = pairs[0]
    layers.insert(0, (torch.cat([a, c]), torch.cat([b, d])))
    (a, b), (c, d) = pairs[-1]
    return [*layers, (torch.cat([a, c], 1), b + d)]


def carrying(n: int) -> list[Affine]:
    """Return layers that carry n values past a ReLU as (v)+ - (-v)+."""
    eye = torch.eye(n, dtype=torch.float64)
    zeros = torch.zeros(2 * n, dtype=torch.float64)
    return [(torch.cat([eye, -eye]), zeros), (torch.cat([eye, -eye], 1), zeros[:n])]


def block_diagonal(matrices: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Affine]:
    """Return hidden layers with the blocks of all sub-networks on the diagonal."""
    first = matrices[0].flatten(0, 1), biases[0].flatten()
    later = zip(matrices[1:], biases[1:], strict=True)
    return [first, *((torch.block_diag(*blocks), bias.flatten()) for blocks, bias in later)]


def clipping(
    low: Tensor, high: Tensor, center: Tensor | None = None, unit: Tensor | None = None
) -> list[Affine]:
    """Return layers that clip, subtract a center and multiply by a power of two.

    The first step is min(v, high) = high - (high - v)+, the second max(v, low) = low + (v - low)+.
    Both are exact for any v. If low is -inf, there is no second step.

    Parameters
    ----------
    low, high : Tensor of shape (n,)
        ``high`` is finite.
    center, unit : Tensor of shape (n,), optional
        Default to 0 and 1.
    """
    center = torch.zeros_like(low) if center is None else center
    unit = torch.ones_like(low) if unit is None else unit
    bounded = low.isfinite()
    low, high = low.where(bounded, 0) * unit, high * unit
    sign = 1 - 2.0 * bounded.to(low)  # 1 passes (high - v)+ on, if there is no lower bound
    return [
        (-unit.diag(), high),
        (sign.diag(), (high - low).where(bounded, 0)),
        (-sign.diag(), low.where(bounded, high) - center * unit),
    ]


def sorting(n: int) -> list[Affine]:
    """Return layers that sort n inputs: n rounds of comparing neighbours (odd-even sort)."""
    eye = torch.eye(n, dtype=torch.float64)
    layers: list[Affine] = [(eye, torch.zeros(n, dtype=torch.float64))]
    for round_ in range(n if n > 2 else 1):
        pairs = range(round_ % 2, n - 1, 2)
        # v is carried as (v)+ - (-v)+; (a - b)+ is taken from a and added to b.
        gaps = torch.stack([eye[i] - eye[i + 1] for i in pairs])
        into = torch.cat([eye, -eye, gaps])
        out = torch.cat([eye, -eye, -gaps.T], -1)
        zeros = torch.zeros(len(into), dtype=torch.float64)
        layers = joined(layers, [(into, zeros), (out, zeros[:n])])
    return layers


def modules_of(layers: Sequence[Affine]) -> list[nn.Module]:
    """Return layers as torch modules with ReLU in between, without drawing random weights."""
    modules: list[nn.Module] = []
    for matrix, bias in layers:
        n_out, n_in = matrix.shape
        linear = nn.Linear(n_in, n_out, device="meta", dtype=matrix.dtype)
        linear.weight, linear.bias = (nn.Parameter(part.clone()) for part in (matrix, bias))
        modules += [linear, nn.ReLU()]
    return modules[:-1]
