"""A graph of neurons as layers of small dense matrices, for torch and ONNX."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skrelu._export.graph import Array, ReLUGraph

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Matrices of one shape; the rows of each read the same signals.

    Parameters
    ----------
    reads : ndarray of shape (n_matrices, n_read)
        Positions of signals.
    matrices : ndarray of shape (n_matrices, n_rows, n_read)
    """

    reads: Indices
    matrices: Array


@dataclass(frozen=True)
class Layer:
    """Signals become those that stay, followed by new ones.

    New signals are what blocks return, one after the other, plus ``bias``; then ReLU, except in
    the last layer.

    Parameters
    ----------
    kept : ndarray of shape (n_kept,)
        Positions of signals that later layers read.
    blocks : list of Block
    bias : ndarray of shape (n_new,)
    """

    kept: Indices
    blocks: list[Block]
    bias: Array


@dataclass(frozen=True)
class BlockLayers:
    """A network as layers of blocks; its inputs are the first signals.

    Parameters
    ----------
    n_inputs : int
    layers : list of Layer
        The last one returns the outputs, without ReLU.
    order : ndarray of shape (n_outputs,)
        Positions of the outputs among what the last layer returns.
    """

    n_inputs: int
    layers: list[Layer]
    order: Indices

    @property
    def n_numbers(self) -> int:
        """Number of weights and biases."""
        blocks = (block for layer in self.layers for block in layer.blocks)
        return sum(b.matrices.size for b in blocks) + sum(len(v.bias) for v in self.layers)


def block_layers(graph: ReLUGraph, fill: int = 0) -> BlockLayers:
    """Write a graph as layers of blocks.

    Rows with the same columns are one matrix, so that blocks hold the graph's numbers only.

    Parameters
    ----------
    graph : ReLUGraph
    fill : int, default=0
        Layers whose rows and columns make a matrix of at most so many numbers are that matrix.
    """
    n_inputs, depth = graph.n_inputs, graph.depth
    rows = [(graph.weights[i], graph.biases[i], n_inputs + i) for i in graph.in_layers()]
    rows.append((graph.output, graph.intercept, np.zeros(0, dtype=np.int64)))
    last = np.zeros(n_inputs + graph.n_neurons, dtype=np.int64)  # the last layer that reads each
    for k, (weights, _, _) in enumerate(rows):
        last[weights.indices] = k
    present, layers, order = np.arange(n_inputs), [], np.arange(0)
    for k, (weights, bias, made) in enumerate(rows):
        place = np.full(n_inputs + graph.n_neurons, -1)
        place[present] = np.arange(len(present))
        blocks, order = _blocks(weights, place, fill)
        stays = np.zeros(0, dtype=np.int64) if k == depth else np.flatnonzero(last[present] > k)
        layers.append(Layer(stays, blocks, bias[order]))
        if k < depth:
            present = np.concatenate([present[stays], made[order]])
    return BlockLayers(n_inputs, layers, np.argsort(order))


def _blocks(weights: csr_array, place: Indices, fill: int) -> tuple[list[Block], Indices]:
    """Return rows as blocks that read positions, and the row of each value that they return."""
    weights = csr_array(weights, copy=True)
    weights.eliminate_zeros()
    weights.sort_indices()
    n_rows, union = weights.shape[0], np.unique(weights.indices)
    alike: dict[bytes, list[int]] = {}  # rows by their columns
    if n_rows * len(union) <= fill or len(union) == 0:
        alike[b""] = list(range(n_rows))
    else:
        for i in range(n_rows):
            columns = weights.indices[weights.indptr[i] : weights.indptr[i + 1]]
            alike.setdefault(columns.tobytes(), []).append(i)
    shaped: dict[tuple[int, int], list] = {}  # matrices by their shape
    for members in alike.values():
        part = weights[members]
        columns = np.unique(part.indices)
        if len(columns) == 0:  # constants: 0 times the first signal
            columns = np.zeros(1, dtype=np.int64)
        shaped.setdefault((len(members), len(columns)), []).append((members, columns, part))
    blocks, order = [], []
    for group in shaped.values():
        matrices = np.stack([part[:, columns].toarray() for _, columns, part in group])
        # A constant may read a signal that no longer is; any position will do.
        reads = np.maximum(place[np.stack([columns for _, columns, _ in group])], 0)
        blocks.append(Block(reads, matrices))
        order += [i for members, _, _ in group for i in members]
    return blocks, np.array(order, dtype=np.int64)
