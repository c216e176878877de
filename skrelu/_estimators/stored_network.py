"""The function that `predict` computes: a fitted network and the steps before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skrelu._data.scaling import MOST, Scaling, quotients
from skrelu._data.torch_interop import isolated, threads, to_numpy, to_tensor
from skrelu._export.block_network import BlockNetwork
from skrelu._export.blocks import block_layers
from skrelu._export.graph import Dense, ReLUGraph, n_numbers
from skrelu._export.partial_sums import with_partial_sums
from skrelu._export.sharing import with_nested_hinges, with_shared_values
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.plain_layers import (
    Affine,
    carrying,
    clipping,
    dense_layers,
    joined,
    modules_of,
    sorting,
    summed,
)
from skrelu._networks.plain_model import PlainModel
from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights

Array = NDArray[np.float64]

# Rows, their standardized features, the values of the hidden layers there and all weights.
Chunk = tuple[slice, Tensor, list[Tensor], ReLUWeights]

# Size of a chunk of a layer's values, in bytes: about a processor's cache.
CHUNK = 250_000
# Fewest rows of a chunk. Networks of 500 and more sub-networks take 1.4 times as long with 256.
FEWEST_ROWS = 128
# Most rows of a chunk with encoded columns: slopes take a number for each ramp of each row.
ENCODED_ROWS = 2048
# Center a feature before the first weights if its mean exceeds its standard deviation FAR times.
# Also bring it to unit size if the exponent of two of its standard deviation exceeds EXTREME.
FAR, EXTREME = 100, 900
# Multiply targets above NEAR_MOST by DOWN before they are clipped, so that they do not overflow.
NEAR_MOST, DOWN = MOST / 1024, 2.0**-60


@dataclass(frozen=True)
class StoredNetwork:
    """A fitted network with its standardization and limits.

    `predict` clips and standardizes X, evaluates the network, returns to the units of y, sorts
    quantiles, clips, and takes exponentials if there is a log link.

    Parameters
    ----------
    network : ReLUNetwork
    weights : ReLUWeights
        Weights for standardized data.
    X_scaling, y_scaling : Scaling
    X_limits : ndarray of shape (2, n_features) or None
        Minimum and maximum to which features are clipped first.
    y_limits : ndarray of shape (2, n_outputs) or None
        Minimum and maximum to which raw outputs are clipped, in the units of y.
    ordered : bool
        Whether outputs are sorted, as several quantiles are.
    log_link : bool
        Whether predictions are exponentials of the raw outputs.
    added : EncodedModel or PlainModel, optional
        Added to the outputs of the network. Without sub-networks these are 0.
    """

    network: ReLUNetwork
    weights: ReLUWeights
    X_scaling: Scaling
    y_scaling: Scaling
    X_limits: Array | None
    y_limits: Array | None
    ordered: bool
    log_link: bool
    added: EncodedModel | PlainModel | None = None

    @isolated()
    def predict(self, X: NDArray, device: torch.device) -> Array:
        """Return predictions, (n_samples, n_outputs), clipped at the largest double."""
        y = np.empty((len(X), self.network.n_outputs))
        for rows, inputs, layers, weights in self._chunks(X, device):
            y[rows] = self._finished(self._raw(weights, layers, inputs))
        return y

    def knots(self) -> list[Array]:
        """Return the knots of the ramps and curves of each column, in the units of X."""
        found: list[list[Array]] = [[] for _ in range(self.network.n_features)]
        if isinstance(self.added, EncodedModel):
            for knots in (self.added.knots, self.added.curves.knots):
                for column, edges in zip(knots.features, knots.edges, strict=True):
                    found[column].append(to_numpy(edges))
        units = zip(found, *self.X_scaling, strict=True)
        return [Scaling(m, s).undo(np.unique(np.concatenate([[], *e]))) for e, m, s in units]

    @isolated()
    def gradient(self, X: NDArray, device: torch.device) -> Array:
        """Return slopes of predictions, (n_samples, n_outputs, n_features), clipped likewise."""
        mean, scale = self.y_scaling
        unit = np.minimum(np.exp(mean), MOST) if self.log_link else scale
        return quotients(self._slopes(X, device), unit[:, None], self.X_scaling.scale)

    @isolated()
    def importances(self, X: NDArray) -> Array:
        """Return mean absolute slopes for standardized features, as fractions of their sum."""
        slopes = self._slopes(X, torch.device("cpu"))
        sizes = np.abs(slopes[:, self.y_scaling.scale > 0]).mean(0).sum(0)
        sizes = np.where(self.X_scaling.scale > 0, sizes, 0.0)
        return sizes / (sizes.sum() or 1.0)

    def _slopes(self, X: NDArray, device: torch.device) -> Array:
        """Return slopes for standardized data; with a log link relative to the mean target."""
        slopes = np.empty((len(X), self.network.n_outputs, X.shape[1]))
        for rows, inputs, layers, weights in self._chunks(X, device, self.network.n_outputs):
            raw = self._raw(weights, layers, inputs)
            by_inputs = self._by_inputs(inputs, layers, weights)
            slopes[rows] = self._slopes_finished(raw, to_numpy(by_inputs).transpose(2, 0, 1))
        if self.X_limits is not None:
            slopes *= (np.clip(X, *self.X_limits) == X)[:, None]
        return slopes

    @isolated()
    def standardized(self, Z: NDArray) -> Array:
        """Return standardized raw outputs for standardized inputs, clipped as predictions are.

        Quantiles are not sorted, and with a log link these are logarithms.
        """
        values = np.empty((len(Z), self.network.n_outputs))
        inner = self._of_standardized()
        for rows, inputs, layers, weights in inner._chunks(Z, torch.device("cpu")):
            values[rows] = inner._raw(weights, layers, inputs)
        if self.y_limits is None:
            return values
        return np.clip(values, *self.y_scaling.apply(self.y_limits))

    @isolated()
    def standardized_slopes(self, Z: NDArray) -> Array:
        """Return derivatives of `standardized`, (n_samples, n_outputs, n_columns), unclipped."""
        slopes = np.empty((len(Z), self.network.n_outputs, Z.shape[1]))
        inner = self._of_standardized()
        for rows, inputs, layers, weights in inner._chunks(Z, torch.device("cpu"), slopes.shape[1]):
            slopes[rows] = to_numpy(inner._by_inputs(inputs, layers, weights)).transpose(2, 0, 1)
        return slopes

    def _of_standardized(self) -> StoredNetwork:
        """Return the network for standardized inputs that are not clipped."""
        n = self.network.n_features
        return replace(self, X_scaling=Scaling(np.zeros(n), np.ones(n)), X_limits=None)

    def _by_inputs(self, inputs: Tensor, layers: list[Tensor], weights: ReLUWeights) -> Tensor:
        """Return the derivatives of raw outputs, (n_outputs, n_features, n_samples)."""
        if self.added is not None and not self.network.n_subnetworks:
            return self.added.slopes(inputs)
        by_inputs = self.network.slopes(weights, layers)
        return by_inputs if self.added is None else by_inputs + self.added.slopes(inputs)

    @isolated()
    def contributions(self, X: NDArray, device: torch.device) -> Array:
        """Return the summands of raw outputs, (n_samples, n_outputs, 1 + n_subnetworks)."""
        network = self.network
        parts = np.empty((len(X), network.n_outputs, 1 + network.n_subnetworks))
        for rows, inputs, layers, weights in self._chunks(X, device):
            if not network.n_subnetworks:
                parts[rows, :, 0] = self.y_scaling.undo(self._raw(weights, layers, inputs))
                continue
            added = torch.einsum("kwo,kwn->nok", weights.output, network.last(layers))
            linear = weights.linear.T @ inputs + weights.intercept[:, None]
            if self.added is not None:
                linear = linear + self.added.forward(inputs)
            parts[rows, :, 0] = self.y_scaling.undo(to_numpy(linear).T)
            parts[rows, :, 1:] = to_numpy(added) * self.y_scaling.scale[:, None]
        return np.clip(parts, -MOST, MOST)

    def _chunks(self, X: NDArray, device: torch.device, n_values: int = 1) -> Iterator[Chunk]:
        """Yield chunks of rows, small enough for ``n_values`` numbers of each neuron."""
        network = self.network
        weights = _on(self.weights, device) if network.n_subnetworks else self.weights
        width = network.level_size * WIDTH
        if isinstance(self.added, PlainModel):
            width = max(width, self.added.width)
        size = max(FEWEST_ROWS, CHUNK // (width * 8 * n_values))
        if isinstance(self.added, EncodedModel):
            size = min(size, ENCODED_ROWS)
        with threads(float(size * network.n_parameters) if len(X) >= size else 0.0):
            for begin in range(0, len(X), size):
                rows = slice(begin, begin + size)
                part = X[rows] if self.X_limits is None else np.clip(X[rows], *self.X_limits)
                inputs = to_tensor(self.X_scaling.apply(part).T, device)
                layers = network.hidden_layers(weights, inputs) if network.n_subnetworks else []
                yield rows, inputs, layers, weights

    def _raw(self, weights: ReLUWeights, layers: list[Tensor], inputs: Tensor) -> Array:
        """Return the outputs of the network, (n_samples, n_outputs)."""
        if self.added is not None and not self.network.n_subnetworks:
            return to_numpy(self.added.forward(inputs)).T
        raw = self.network.read_out(weights, self.network.last(layers), inputs)
        return to_numpy(raw if self.added is None else raw + self.added.forward(inputs)).T

    def _finished(self, raw: Array) -> Array:
        """Return predictions from the outputs of the network, (n_samples, n_outputs)."""
        y = self.y_scaling.undo(raw)
        if self.ordered:
            y = np.sort(y, -1)
        if self.y_limits is not None:
            y = np.clip(y, *self.y_limits)
        return np.minimum(np.exp(y), MOST) if self.log_link else y

    def _slopes_finished(self, raw: Array, slopes: Array) -> Array:
        """Return slopes of predictions from the outputs of the network and their slopes.

        Parameters
        ----------
        raw : ndarray of shape (n_samples, n_outputs)
        slopes : ndarray of shape (n_samples, n_outputs, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_features)
            Slopes in units of the standard deviations of y, with a log link of its means.
        """
        y = self.y_scaling.undo(raw)
        if self.ordered:  # sorted outputs have the same standard deviation
            order = y.argsort(-1, kind="stable")
            y = np.take_along_axis(y, order, -1)
            slopes = np.take_along_axis(slopes, order[..., None], 1)
        if self.y_limits is not None:
            low, high = self.y_limits
            slopes = slopes * ((low <= y) & (y <= high))[..., None]
            y = np.clip(y, low, high)
        return slopes * np.exp(y - self.y_scaling.mean)[..., None] if self.log_link else slopes

    @isolated()
    def to_torch(self) -> nn.Sequential:
        """Return the same function as plain layers in the units of the data."""
        modules = [module for chain in self._dense() for module in modules_of(chain)]
        return nn.Sequential(*modules, *([Exp()] if self.log_link else [])).eval()

    @isolated()
    def to_blocks(self) -> BlockNetwork:
        """Return the same function as a module that holds only the numbers of the graph."""
        return BlockNetwork(block_layers(self.graph()), Exp() if self.log_link else None).eval()

    @isolated()
    def layers(self) -> list[Dense]:
        """Return the same function as dense layers with ReLU in between, without a log link."""
        layers: list[Affine] = []
        for chain in self._dense():
            layers = (
                joined(joined(layers, carrying(len(layers[-1][1]))), chain) if layers else chain
            )
        return [(matrix.numpy(), bias.numpy()) for matrix, bias in layers]

    def graph(self) -> ReLUGraph:
        """Return the same function as one graph, without a log link."""
        return reduce(ReLUGraph.then, self.graphs())

    @isolated()
    def graphs(self) -> list[ReLUGraph]:
        """Return the same function as graphs, one after the other, without a log link.

        There are several if features or targets are far from 0 or of extreme size: factors and
        shifts then have graphs of their own, which have no neurons.
        """
        simple = [_graph_of(chain).simplified() for chain in self._chains()]
        shared = [with_shared_values(graph).simplified() for graph in simple]
        return [with_nested_hinges(graph) for graph in shared]

    def _dense(self) -> list[list[Affine]]:
        """Return layers in the units of the data, with fewer neurons; chains as `_chains`."""
        chains = []
        for chain in self._chains():
            plain = _graph_of(chain).simplified(skips=False)
            shared = with_shared_values(plain).simplified(skips=False)
            graphs = plain, shared, with_partial_sums(plain), with_partial_sums(shared)
            layers = min((graph.to_sparse_layers() for graph in graphs), key=n_numbers)
            if n_numbers(layers) < sum(matrix.numel() + len(bias) for matrix, bias in chain):
                chain = [_affine(matrix.toarray(), bias) for matrix, bias in layers]
            chains.append(chain)
        return chains

    def _chains(self) -> list[list[Affine]]:
        """Return layers in the units of the data; no ReLU stands between two chains."""
        layers = dense_layers(self.network, _on(self.weights, torch.device("cpu")))
        if self.added is not None:
            others = self.added.layers()
            layers = summed(layers, others) if self.network.n_subnetworks else others
        mean, scale = self.X_scaling
        unit = np.where(_extreme(scale), 1 / _power_of_two(scale), 1.0)
        matrix, bias = layers[0]
        matrix = matrix * torch.tensor(quotients(1.0, 1.0, scale * unit))
        layers[0] = matrix, bias
        chains = [layers]
        apart = (scale > 0) & ((np.abs(mean) > FAR * scale) | (unit != 1))
        if self.X_limits is not None:
            low, high = self.X_limits
            chains = [joined(clipping(*map(torch.tensor, (low, high, mean, unit))), layers)]
        elif apart.any():
            chains.insert(0, [_affine(np.diag(unit), -mean * unit)])
        else:
            layers[0] = matrix, bias - matrix @ torch.tensor(mean)
        mean, gain = self.y_scaling
        large = np.maximum(np.abs(mean), gain) > NEAR_MOST
        if self.ordered:
            large[:] = large.any()
        down = np.where(large, DOWN, 1.0)
        units_of_y = [_affine(np.diag(gain * down), mean * down)]
        if _extreme(np.abs([mean, gain])).any():
            chains.append(units_of_y)
        else:
            chains[-1] = joined(chains[-1], units_of_y)
        if self.y_limits is not None or large.any():
            # Clipping before sorting is the same, because sorted outputs have the same limits.
            chains[-1] = joined(chains[-1], clipping(*torch.tensor(self._limits_of(large) * down)))
        if self.ordered:
            chains[-1] = joined(chains[-1], sorting(self.network.n_outputs))
        if large.any():
            chains.append([_affine(np.diag(1 / down), np.zeros_like(mean))])
        return chains

    def _limits_of(self, large: NDArray[np.bool_]) -> Array:
        """Return limits of predictions, (2, n_outputs); those of large targets are finite."""
        most = MOST * (1 - 2.0**-40)  # leaves room for rounding of sums
        limits = self.y_limits
        if limits is None:
            limits = np.repeat([[-np.inf], [MOST]], len(large), 1)
        return np.where(large, np.clip(limits, -most, most), limits)


class Exp(nn.Module):
    """The exponential function, which turns raw outputs into predictions."""

    def forward(self, raw: Tensor) -> Tensor:
        """Return exp(raw), of any shape."""
        return raw.exp()


def _extreme(sizes: Array) -> NDArray[np.bool_]:
    """Return which sizes times weights might leave the range of doubles; 0 never does."""
    return (sizes > 0) & (np.abs(np.frexp(sizes)[1]) > EXTREME)


def _power_of_two(sizes: Array) -> Array:
    """Return the next power of two of sizes > 0, within the powers that have an inverse."""
    return np.ldexp(1.0, np.clip(np.frexp(sizes)[1], -1022, 1022))


def _on(weights: ReLUWeights, device: torch.device) -> ReLUWeights:
    """Return weights as tensors on a device."""

    def moved(part):
        return [moved(each) for each in part] if isinstance(part, list) else to_tensor(part, device)

    return ReLUWeights(*map(moved, weights))


def _graph_of(chain: Sequence[Affine]) -> ReLUGraph:
    return ReLUGraph.of_layers([(matrix.numpy(), bias.numpy()) for matrix, bias in chain])


def _affine(matrix: Array, bias: Array) -> Affine:
    return torch.tensor(matrix), torch.tensor(bias)
