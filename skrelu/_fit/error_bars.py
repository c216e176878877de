r"""Error bars: the variance of predictions, and the errors of rows that were left out.

The variance of an output at x is

.. math::

    c^2 \Big(\sigma^2 + \sum_m s_m (f_m(x) - f(x))^2 + \sum_m s_m J_m(x)' H_m^{-1} J_m(x)\Big)

with the noise :math:`\sigma^2`, the members :math:`f_m` of the average f and their shares
:math:`s_m`, and the posteriors of those members that have one (`skrelu._solvers.posterior`). The
factor :math:`c^2` makes the mean of squared errors over variances 1 on rows that were left out. A
network is not the truth: without noise the posterior alone is too sure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrelu._data.table import Array
from skrelu._data.torch_interop import to_tensor
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.members import Members, Starts, moved_along, tangent
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.posterior import unpacked, variances

# Numbers of the columns of tangents in memory at once.
CHUNK = 1_000_000
# A step of a draw is straight if the networks on both sides differ from the tangent by less than
# this fraction of the standard deviation, at most of so many points with this standard deviation.
STRAIGHT, N_PROBES, PROBED = 0.02, 64, 0.7
# Parts of a step, and layers more (in pairs), that are tried.
PARTS, MORE_LAYERS = tuple(0.25**k for k in range(13)), (4, 8, 12)


@dataclass(frozen=True)
class ErrorBars:
    """What error bars need beside the members, for standardized data."""

    noise: Array  # (n_outputs,), variances
    factor: Array  # (n_outputs,), on all variances
    roots: list[Array]  # of the posterior of each start, packed; empty if there are none
    scores: Array  # (n_scores, n_rows), errors of left-out rows in their own units
    weights: Array  # (n_rows,), number of rows that each stands for

    def arrays(self) -> dict[str, Any]:
        """Return plain values and arrays; ``ErrorBars(**arrays)`` reads them."""
        return asdict(self)


@dataclass(frozen=True)
class Predictive:
    """The distribution of predictions of squared errors."""

    members: Members
    bars: ErrorBars

    def model_variance(self, X: Tensor) -> Tensor:
        """Return the variance of the model before `factor`, (n_outputs, n_samples)."""
        size = 1 + sum(len(root) for root in self._roots) * self.members.starts.network.n_outputs
        return torch.cat([self._model_variance(part) for part in X.split(1 + CHUNK // size, 1)], -1)

    def _model_variance(self, X: Tensor) -> Tensor:
        total = self.members.spread(X)
        for share, root, columns in self._posteriors(X):
            total = total + share[:, None] * variances(root, columns)
        return total

    def variance(self, X: Tensor) -> Tensor:
        """Return the variance of new targets, (n_outputs, n_samples)."""
        noise, factor = (to_tensor(part, X.device) for part in (self.bars.noise, self.bars.factor))
        return factor[:, None] * (noise[:, None] + self.model_variance(X))

    def covariance(self, X: Tensor) -> Tensor:
        """Return the covariance of new targets, (n_outputs, n_samples, n_samples)."""
        values, shares = self.members.values(X), self.members.shares.to(X)
        apart = values - torch.einsum("mo,mon->on", shares, values)
        total = torch.einsum("mo,mon,mok->onk", shares, apart, apart)
        for share, root, columns in self._posteriors(X):
            half = root @ columns
            total = total + share[:, None, None] * (half.mT @ half)
        noise, factor = (to_tensor(part, X.device) for part in (self.bars.noise, self.bars.factor))
        total.diagonal(dim1=-2, dim2=-1).add_(noise[:, None])
        return factor[:, None, None] * total

    @cached_property
    def _roots(self) -> list[Tensor]:
        return [unpacked(torch.tensor(triangle)) for triangle in self.bars.roots]

    def _posteriors(self, X: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield shares, root and columns of each start that has a posterior."""
        starts = self.members.starts
        for share, theta, root in zip(starts.shares, starts.pretrained, self._roots, strict=False):
            yield share.to(X), root.to(X), tangent(starts.model, theta.to(X), X)

    def draw(self, rng: np.random.RandomState) -> Members:
        """Draw a model: the average, moved towards a member, and that along its tangent.

        With the member g and a step d from its posterior, the draw is f + c (g - f + J d). So its
        mean and covariance are those of the model. J d is the difference of two networks, at
        parameters a small part of the step before and behind those of g, over their distance.
        Members on encoded columns have no posterior of their own. Outputs may have different
        members, if their shares differ.
        """
        starts, encoded = self.members.starts, self.members.encoded
        gain, which = torch.tensor(self.bars.factor).sqrt(), rng.uniform()
        below = self.members.shares.cumsum(0) / self.members.shares.sum(0)  # (n_members, n_outputs)
        of_starts = which < below[len(starts.shares) - 1]
        if encoded is not None:
            ends = below[len(starts.shares) :]
            chosen = (ends < which).sum(0).clamp_max(len(ends) - 1)
            those = (torch.arange(len(ends))[:, None] == chosen) & ~of_starts
            encoded = encoded.with_shares((1 - gain) * encoded.shares + gain * those)
        along: list[_Part] = []
        if of_starts.any():
            probabilities = starts.shares.sum(1)
            one = rng.choice(len(probabilities), p=(probabilities / probabilities.sum()).numpy())
            if self._roots:
                starts, sides = self._along(one, rng)
                along = [sides._replace(gain=gain * of_starts)]
            there, ones = slice(one, one + 1), torch.ones_like(gain)[None]
            along.insert(
                0, _Part(gain * of_starts, starts.pretrained[there], starts.relu[there], ones)
            )
        whole = _Part(1 - gain, starts.pretrained, starts.relu, starts.shares)
        return Members(_joined(starts, [whole, *along]), encoded)

    def _along(self, start: int, rng: np.random.RandomState) -> tuple[Starts, _Part]:
        """Return the starts, with more layers if need be, and two networks whose sum is J d."""
        starts, root = self.members.starts, self._roots[start]
        model, theta = starts.model, starts.pretrained[start]
        n_outputs = starts.network.n_outputs
        step = root.T @ torch.tensor(rng.standard_normal((len(root), n_outputs)))
        shared = isinstance(model, ComposedNetwork) and not model.ripples
        step = step[:, :1] if shared else step
        X = PROBED * torch.tensor(rng.standard_normal((starts.network.n_features, N_PROBES)))
        columns = tangent(model, theta, X)
        wanted = (columns.mT @ step)[..., 0] if len(columns) > 1 else (columns[0].mT @ step).T
        sizes = variances(root, columns).sqrt()

        def error(values: Tensor, part: float) -> float:
            along = (values[0] - values[1]) / (2 * part)
            return float(((along - wanted).abs() / sizes).median(-1).values.max())

        def at(part: float) -> Tensor:
            return torch.stack([moved_along(model, theta, s * part * step) for s in (1, -1, 0)])

        errors = [error(model.forward(at(part)[:2], X), part) for part in PARTS]
        good = [part for part, e in zip(PARTS, errors, strict=True) if e < STRAIGHT / 2]
        part = good[0] if good else PARTS[int(np.argmin(errors))]
        points, least = at(part), torch.inf
        for deeper in _with_more_layers(starts):
            lowered = _lowered(model, deeper.network, points)
            # What has been refined differs from what was lowered.
            relu = deeper.relu[start] + lowered[:2] - lowered[2]
            now = error(deeper.network.forward(relu, X), part)
            if now < least:
                shares = step.new_tensor([[1.0], [-1.0]]).expand(2, n_outputs) / (2 * part)
                found, least = (deeper, _Part(sizes[:, 0], points[:2], relu, shares)), now
            if least < STRAIGHT:
                break
        return found


class _Part(NamedTuple):
    """Some networks, and a gain of each output."""

    gain: Tensor
    pretrained: Tensor
    relu: Tensor
    shares: Tensor


def _with_more_layers(starts: Starts) -> Iterator[Starts]:
    """Yield starts, and the same with more layers, which come closer to the limit."""
    yield starts
    if isinstance(starts.model, TriangleModel) or starts.model.depth is not None:
        return
    lowered = _lowered(starts.model, starts.network, starts.pretrained)
    if not torch.allclose(lowered, starts.relu, rtol=1e-6, atol=1e-9):
        return  # refined
    depth = _depth_of(starts.model, starts.network)
    for more in MORE_LAYERS:
        network, relu = starts.model.to_relu(starts.pretrained, depth + more)
        yield starts._replace(network=network, relu=relu)


def _joined(starts: Starts, parts: list[_Part]) -> Starts:
    """Return batches of networks as one batch."""
    nothing = torch.zeros(1 + starts.network.n_features, starts.network.n_outputs).double()
    return starts._replace(
        pretrained=torch.cat([starts.model.affine(p.pretrained, p.gain, nothing) for p in parts]),
        relu=torch.cat([starts.network.affine(p.relu, p.gain, nothing) for p in parts]),
        shares=torch.cat([p.shares for p in parts]),
    )


def _lowered(model: TriangleModel | ComposedNetwork, network: ReLUNetwork, theta: Tensor) -> Tensor:
    """Return the parameters of plain ReLU networks of given sizes."""
    if isinstance(model, TriangleModel):
        return model.to_relu(theta)[1]
    return model.to_relu(theta, _depth_of(model, network))[1]


def _depth_of(model: ComposedNetwork, network: ReLUNetwork) -> int:
    """Return the depth at which composed sub-networks have been lowered."""
    folds, squares = (5, 3) if model.ripples else (0, 2)
    return (network.depth - folds) // squares if model.depth is None else model.depth
