"""The average of encoded networks as one function of the features: values, slopes and layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skrelu._networks.encoded_network import EncodedNetwork, EncodedWeights
from skrelu._networks.encoding import Curves, Knots, hinges
from skrelu._networks.lowering import lower_waves
from skrelu._networks.plain_layers import Affine
from skrelu._networks.triangle import outer_slopes, triangle_sum_derivatives


@dataclass(frozen=True)
class EncodedModel:
    """A weighted sum of encoded networks and additive models.

    Parameters
    ----------
    network : EncodedNetwork
    weights : EncodedWeights
        Of all members, for plain features and ramps.
    knots : Knots
        Of the ramps.
    curves : Curves
        Curves of each additive model.
    models : Tensor of int of shape (n_members,)
        The additive model whose curves a member reads.
    factors : Tensor of shape (n_members,)
        Factors of the additive models that are added to the members.
    shares : Tensor of shape (n_members, n_outputs)
        Weights of the members in the sum.
    """

    network: EncodedNetwork
    weights: EncodedWeights
    knots: Knots
    curves: Curves
    models: Tensor
    factors: Tensor
    shares: Tensor

    def with_shares(self, shares: Tensor) -> EncodedModel:
        """Return the model with other shares, without members whose shares are all 0."""
        return replace(self, shares=shares).take(shares.any(1).nonzero()[:, 0])

    def plus(self, shift: Tensor) -> EncodedModel:
        """Return the model plus a constant for each output, 0 for outputs without shares."""
        total = self.shares.sum(0)
        intercept = self.weights.intercept + shift / torch.where(total == 0, torch.inf, total)
        return replace(self, weights=self.weights._replace(intercept=intercept))

    def take(self, members: Tensor) -> EncodedModel:
        """Return the model with some of the members."""
        return replace(
            self,
            weights=EncodedWeights(*(part[members] for part in self.weights)),
            models=self.models[members],
            factors=self.factors[members],
            shares=self.shares[members],
        )

    @property
    def n_parameters(self) -> int:
        """Number of weights, coefficients of curves and knots."""
        numbers = [*self.weights, self.curves.values, self.curves.slopes, self.curves.intercepts]
        knots = [*self.knots.edges, *self.curves.knots.edges]
        return sum(part.numel() for part in (*numbers, *knots))

    def each(self, X: Tensor) -> Tensor:
        """Return the values of all members, (n_members, n_outputs, n_samples).

        Parameters
        ----------
        X : Tensor of shape (n_features, n_samples)
        """
        x = X.T.contiguous()
        columns = torch.cat([x, self.knots.ramps(self.knots.positions(x))], -1)
        curves = self.curves(x)
        raw = self.network.forward(self._weights(X), columns, curves.flatten(2)[self.models])
        if not self.network.n_curves:
            return raw
        return raw + self.factors[:, None, None].to(X) * curves.sum(-1).mT[self.models]

    def forward(self, X: Tensor) -> Tensor:
        """Return the sum, (n_outputs, n_samples)."""
        return torch.einsum("mo,mon->on", self.shares.to(X), self.each(X))

    def slopes(self, X: Tensor) -> Tensor:
        """Return the derivatives of the sum by the features, (n_outputs, n_features, n_samples)."""
        weights, x = self._weights(X), X.T.contiguous()
        columns = torch.cat([x, self.knots.ramps(self.knots.positions(x))], -1)
        curves = self.curves(x).flatten(2)[self.models]
        inner, units = self.network.hidden(weights, columns, curves)
        peaks, scales = self.network.peaks_and_scales(weights)
        dz, _, _ = triangle_sum_derivatives(inner, peaks[..., :-1], scales)
        shares, n_features = self.shares.to(X), x.shape[1]
        of_ramps, of_knots = self.knots.slopes(x).T, self.curves.knots.slopes(x).T
        found = X.new_zeros(self.network.n_outputs, *X.shape)
        for output, slopes in enumerate(found):
            g = weights.output[:, output, :, None] * units.sign() * shares[:, output, None, None]
            g = dz * (weights.hidden.mT @ g)
            by_columns = (weights.directions.mT @ g).sum(0)
            slopes += by_columns[:n_features]
            _add(slopes, self.knots, by_columns[n_features:] * of_ramps)
            by_curves = weights.of_curves.mT @ g
            if by_curves.shape[1]:
                by_curves = by_curves.unflatten(1, (-1, self.curves.n_groups))
                by_curves[:, output] += (self.factors.to(X) * shares[:, output])[:, None, None]
                self._add_curves(slopes, by_curves, of_knots)
        return found

    def _add_curves(self, slopes: Tensor, by_curves: Tensor, of_knots: Tensor) -> None:
        """Add the slopes by curves, given the derivatives by curves of each member."""
        knots, groups = self.curves.knots, torch.tensor(self.curves.groups)
        by_model = by_curves.new_zeros(len(self.curves.values), *by_curves.shape[1:])
        by_model.index_add_(0, self.models.to(by_model.device), by_curves)
        by_feature = by_model[:, :, groups]  # (n_models, n_outputs, n_features, n_samples)
        slopes += (by_feature * self.curves.slopes[..., None].to(slopes)).sum((0, 1))
        by_ramps = by_feature[:, :, knots.owner] * self.curves.values[..., None].to(slopes)
        _add(slopes, knots, by_ramps.sum((0, 1)) * of_knots)

    def layers(self) -> list[Affine]:
        """Write the sum as dense layers with ReLU in between.

        The first layer has hinges at all knots. Ramps, curves and additive models are linear in
        these. The sum of the additive models is carried past later layers as (s)+ - (-s)+.
        """
        network, weights = self.network, self._weights(self.curves.values)
        n = len(self.curves.groups)
        (first, bias), columns, (curves, shift) = self._first_layer(n)
        directions = weights.directions @ columns + weights.of_curves @ curves[self.models]
        moved = (weights.of_curves @ shift[self.models][..., None])[..., 0]
        peaks, scales = network.peaks_and_scales(weights)
        peaks = peaks[..., :-1]
        hidden, biases, read_out, _, floor = lower_waves(
            directions, weights.offsets + moved, peaks, scales, outer_slopes(peaks, scales)
        )
        layers: list[Affine] = [(first, bias)]
        added, lift = first.new_zeros(network.n_outputs, len(first)), first.new_zeros(1)
        if network.n_curves:
            gains = (self.shares * self.factors[:, None])[..., None]
            by_output = (network.n_outputs, self.curves.n_groups)
            added = (gains * curves[self.models].unflatten(1, by_output).sum(2)).sum(0)
            lift = (gains[..., 0] * shift[self.models].unflatten(1, by_output).sum(2)).sum(0)
        lift = lift.expand(network.n_outputs)
        eye = torch.eye(network.n_outputs, dtype=added.dtype)
        kept = torch.eye(2 * network.n_outputs, dtype=added.dtype)
        zeros = added.new_zeros(2 * network.n_outputs)
        carry = torch.cat([added, -added]), torch.cat([lift, -lift])
        matrix = torch.cat([carry[0], hidden[0].flatten(0, 2)])
        layers.append((matrix, torch.cat([carry[1], biases[0].flatten()])))
        for block, part in zip(hidden[1:], biases[1:], strict=True):
            matrix = torch.block_diag(kept, *block.flatten(0, 1))
            layers.append((matrix, torch.cat([zeros, part.flatten()])))
        # Units read all waves of their member: (n_units, n_waves * 4).
        reading = weights.hidden[..., None] * read_out[:, None]
        lowered = weights.biases - (weights.hidden @ floor[..., None])[..., 0]
        layers.append(
            (torch.block_diag(kept, *reading.flatten(2)), torch.cat([zeros, lowered.flatten()]))
        )
        output = (weights.output * self.shares[..., None]).movedim(0, 1).flatten(1)
        intercept = (weights.intercept * self.shares).sum(0)
        layers.append((torch.cat([eye, -eye, output], 1), intercept))
        return layers

    def _first_layer(self, n_features: int) -> tuple[Affine, Tensor, tuple[Tensor, Tensor]]:
        """Return the hinges, and columns and curves as functions of these."""
        coarse, fine = hinges(self.knots, n_features), hinges(self.curves.knots, n_features)
        eye = torch.eye(n_features, dtype=torch.float64)
        zeros = eye.new_zeros(2 * n_features)
        first = torch.cat([eye, -eye, coarse[0], fine[0]])
        bias = torch.cat([zeros, coarse[1], fine[1]])
        plain = torch.cat([eye, -eye], 1)
        of_coarse, of_fine = len(coarse[0]), len(fine[0])
        columns = torch.block_diag(torch.cat([plain]), coarse[2])
        columns = torch.nn.functional.pad(columns, (0, of_fine))
        groups = torch.nn.functional.one_hot(torch.tensor(self.curves.groups)).double().T
        by_ramps = groups[:, self.curves.knots.owner] * self.curves.values[..., None, :]
        by_features = (groups * self.curves.slopes[..., None, :]) @ plain
        gap = by_features.new_zeros(*by_features.shape[:-1], of_coarse)
        curves = torch.cat([by_features, gap, by_ramps @ fine[2]], -1)
        return (first, bias), columns, (curves.flatten(1, 2), self.curves.intercepts.flatten(1))

    def _weights(self, like: Tensor) -> EncodedWeights:
        return EncodedWeights(*(part.to(like) for part in self.weights))

    def arrays(self) -> dict[str, Any]:
        """Return the model as plain values and arrays, see `of_arrays`."""
        knots = {"ramps": self.knots, "curves": self.curves.knots}
        parts = {"values": self.curves.values, "slopes": self.curves.slopes}
        parts |= {"intercepts": self.curves.intercepts, "models": self.models}
        parts |= {"factors": self.factors, "shares": self.shares}
        sizes = ("n_columns", "n_curves", "n_waves", "depth", "n_peaks", "n_units", "n_outputs")
        return {
            "sizes": {name: getattr(self.network, name) for name in sizes},
            "knots": {
                name: {"features": list(k.features), "edges": [e.numpy() for e in k.edges]}
                for name, k in knots.items()
            },
            "groups": list(self.curves.groups),
            "weights": {name: part.numpy() for name, part in self.weights._asdict().items()},
            **{name: part.numpy() for name, part in parts.items()},
        }

    @classmethod
    def of_arrays(cls, kept: dict[str, Any]) -> EncodedModel:
        """Return the model that `arrays` has described."""

        def knots(name: str) -> Knots:
            part = kept["knots"][name]
            return Knots(tuple(part["features"]), tuple(map(_tensor, part["edges"])))

        values, slopes, intercepts, models, factors, shares = (
            _tensor(kept[name])
            for name in ("values", "slopes", "intercepts", "models", "factors", "shares")
        )
        network = EncodedNetwork(**kept["sizes"])
        if shares.ndim == 1:  # earlier versions had one for all outputs
            shares = shares[:, None].repeat(1, network.n_outputs)
        return cls(
            network,
            EncodedWeights(**{name: _tensor(part) for name, part in kept["weights"].items()}),
            knots("ramps"),
            Curves(knots("curves"), tuple(kept["groups"]), values, slopes, intercepts),
            models,
            factors,
            shares,
        )


def _tensor(array) -> Tensor:
    """Return an array as a tensor on the CPU, whatever the default device is."""
    return torch.from_numpy(array.copy())


def _add(slopes: Tensor, knots: Knots, by_ramps: Tensor) -> None:
    """Add slopes by ramps, (n_ramps, n_samples), to those by features."""
    features = torch.tensor(knots.features, dtype=torch.int64)[knots.owner]
    slopes.index_add_(0, features.to(slopes.device), by_ramps)
