"""A fitted network with what comes before and after it: the function that `predict` is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skrelu._relu_network import WIDTH, ReLUNetwork, ReLUWeights, dense_layers
from skrelu._scaling import Scaling
from skrelu._torch_interop import threads, to_numpy, to_tensor

Array = NDArray[np.float64]
Affine = tuple[Tensor, Tensor]  # matrix (n_out, n_in) and bias

# Bytes of a layer's values at a time: about what a processor's cache holds.
CHUNK = 250_000


@dataclass(frozen=True)
class StoredNetwork:
    """Clip, standardize, network, units of y, sort, clip, exponential.

    Parameters
    ----------
    network : ReLUNetwork
    weights : ReLUWeights
        On standardized data.
    X_scaling, y_scaling : Scaling
    X_limits : ndarray of shape (2, n_features) or None
        Features are clipped to these first.
    y_limits : ndarray of shape (2, n_outputs) or None
        Raw outputs, in the units of y, are clipped to these.
    ordered : bool
        Whether outputs are sorted.
    log_link : bool
        Whether predictions are exponentials of the raw outputs.
    """

    network: ReLUNetwork
    weights: ReLUWeights
    X_scaling: Scaling
    y_scaling: Scaling
    X_limits: Array | None
    y_limits: Array | None
    ordered: bool
    log_link: bool

    def predict(self, X: NDArray, device: torch.device) -> Array:
        """Return predictions, (n_samples, n_outputs)."""
        y = np.empty((len(X), self.network.n_outputs))
        for rows, function, inputs in self._chunks(X, device):
            y[rows] = to_numpy(function(inputs)).T
        return y

    def gradient(self, X: NDArray, device: torch.device) -> Array:
        """Return slopes of predictions by standardized features, (n, n_outputs, n_features)."""
        slopes = np.empty((len(X), self.network.n_outputs, X.shape[1]))
        for rows, function, inputs in self._chunks(X, device):
            inputs.requires_grad_()
            for i, output in enumerate(function(inputs).sum(-1)):
                (slope,) = torch.autograd.grad(output, inputs, retain_graph=True)
                slopes[rows, i] = to_numpy(slope).T
        if self.X_limits is not None:
            slopes *= (np.clip(X, *self.X_limits) == X)[:, None]
        return slopes

    def contributions(self, X: NDArray, device: torch.device) -> Array:
        """Return the parts of raw outputs, (n_samples, n_outputs, 1 + n_subnetworks)."""
        network, weights = self.network, _on(self.weights, device)
        parts = np.empty((len(X), network.n_outputs, 1 + network.n_subnetworks))
        gain, mean = self.y_scaling.scale[:, None], self.y_scaling.mean
        for rows, _, inputs in self._chunks(X, device):
            last = network.last(network.hidden_layers(weights, inputs))
            waves = torch.einsum("kwo,kwn->nok", weights.output, last)
            linear = weights.linear.T @ inputs + weights.intercept[:, None]
            parts[rows] = to_numpy(torch.cat([linear.T[..., None], waves], -1)) * gain
        parts[..., 0] += mean
        return parts

    def _chunks(self, X, device):
        """Yield rows, what predicts from standardized columns, and these."""
        theta = self.network.pack(_on(self.weights, device))
        size = max(256, CHUNK // (self.network.level_size * WIDTH * theta.itemsize))

        def function(inputs: Tensor) -> Tensor:
            return self._finished(self.network.forward(theta, inputs))

        with threads(float(size * self.network.n_parameters) if len(X) >= size else 0.0):
            for begin in range(0, len(X), size):
                rows = slice(begin, begin + size)
                part = X[rows] if self.X_limits is None else np.clip(X[rows], *self.X_limits)
                yield rows, function, to_tensor(self.X_scaling.apply(part).T, device)

    def _finished(self, raw: Tensor) -> Tensor:
        """Return predictions from the outputs of the network, (n_outputs, n_samples)."""

        def column(values: Array) -> Tensor:
            return to_tensor(values, raw.device)[:, None]

        raw = raw * column(self.y_scaling.scale) + column(self.y_scaling.mean)
        if self.ordered:
            raw = raw.sort(0).values
        if self.y_limits is not None:
            low, high = self.y_limits
            raw = raw.clamp(column(low), column(high))
        return raw.exp() if self.log_link else raw

    def to_torch(self) -> nn.Sequential:
        """Return the same function as plain layers in the units of the data."""
        layers = dense_layers(self.network, _on(self.weights, torch.device("cpu")))
        matrix, bias = layers[0]
        scale, mean = torch.tensor(inverse(self.X_scaling.scale)), torch.tensor(self.X_scaling.mean)
        layers[0] = matrix * scale, bias - matrix @ (scale * mean)
        matrix, bias = layers[-1]
        gain = torch.tensor(self.y_scaling.scale)
        layers[-1] = gain[:, None] * matrix, gain * bias + torch.tensor(self.y_scaling.mean)
        if self.X_limits is not None:
            layers = _joined(_clipping(*self.X_limits), layers)
        if self.ordered:
            layers = _joined(layers, _sorting(self.network.n_outputs))
        if self.y_limits is not None:
            layers = _joined(layers, _clipping(*self.y_limits))
        modules: list[nn.Module] = []
        for matrix, bias in layers:
            linear = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=matrix.dtype)
            linear.weight.data, linear.bias.data = matrix.contiguous(), bias
            modules += [linear, nn.ReLU()]
        modules.pop()
        return nn.Sequential(*modules, Exp()) if self.log_link else nn.Sequential(*modules)


class Exp(nn.Module):
    """The exponential function, which turns raw outputs into predictions."""

    def forward(self, raw: Tensor) -> Tensor:
        """Return exp(raw), of any shape."""
        return raw.exp()


def inverse(scale: Array) -> Array:
    """Return 1 / scale, and 0 for constant columns."""
    return np.divide(1, scale, where=scale > 0, out=np.zeros_like(scale))


def _on(weights: ReLUWeights, device: torch.device) -> ReLUWeights:
    """Return weights as tensors of a device."""

    def moved(part):
        return [moved(each) for each in part] if isinstance(part, list) else to_tensor(part, device)

    return ReLUWeights(*map(moved, weights))


def _joined(first: list[Affine], second: list[Affine]) -> list[Affine]:
    """Return the layers of one network on another's outputs."""
    (inner, shift), (outer, bias) = first[-1], second[0]
    return [*first[:-1], (outer @ inner, outer @ shift + bias), *second[1:]]


def _clipping(low: Array, high: Array) -> list[Affine]:
    """Return layers that clip: low + (v - low)+ - (v - high)+; (v)+ - (-v)+ where low is -inf."""
    eye, bounded = np.eye(len(low)), np.isfinite(low)
    floor = np.where(bounded, low, 0.0)
    into = np.concatenate([eye, -eye[~bounded], eye])
    shift = np.concatenate([-floor, np.zeros((~bounded).sum()), -high])
    out = np.concatenate([eye, -eye[~bounded].T, -eye], 1)
    return [(torch.tensor(into), torch.tensor(shift)), (torch.tensor(out), torch.tensor(floor))]


def _sorting(n: int) -> list[Affine]:
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
        layers = _joined(layers, [(into, zeros), (out, zeros[:n])])
    return layers
