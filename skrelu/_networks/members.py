"""The members of a fit: networks whose weighted average is the model, and their tangents.

The tangent of a network is its first-order approximation in its parameters. Its columns are the
derivatives of the outputs by the parameters that have been fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel


class Starts(NamedTuple):
    """The networks of all starts."""

    model: TriangleModel | ComposedNetwork  # of pretraining
    network: ReLUNetwork  # lowered
    pretrained: Tensor  # (n_starts, model.n_parameters)
    relu: Tensor  # (n_starts, network.n_parameters)
    shares: Tensor  # (n_starts, n_outputs), weights in the average


@dataclass(frozen=True)
class Members:
    """The networks of all starts, and the networks on encoded columns.

    Parameters
    ----------
    starts : Starts
    encoded : EncodedModel or None
        Its shares and those of the starts sum to 1 for each output.
    """

    starts: Starts
    encoded: EncodedModel | None

    @property
    def shares(self) -> Tensor:
        """Weights of all members in the average, (n_members, n_outputs)."""
        shares = self.starts.shares
        if self.encoded is None:
            return shares
        return torch.cat([shares, self.encoded.shares.to(shares)])

    def values(self, X: Tensor) -> Tensor:
        """Return the raw values of each member, (n_members, n_outputs, n_samples)."""
        starts = self.starts
        if bool((starts.shares != 0).any()):
            values = starts.network.forward(starts.relu.to(X), X)
        else:
            values = X.new_zeros(len(starts.shares), starts.network.n_outputs, X.shape[1])
        if self.encoded is None:
            return values
        return torch.cat([values, self.encoded.each(X).to(X)])

    def spread(self, X: Tensor) -> Tensor:
        """Return the variance of the members around their average, (n_outputs, n_samples)."""
        shares = self.shares.to(X)
        if len(shares) == 1:
            return X.new_zeros(shares.shape[1], X.shape[1])
        values = self.values(X)
        average = torch.einsum("mo,mon->on", shares, values)
        return torch.einsum("mo,mon->on", shares, (values - average).square())


def tangent(model: TriangleModel | ComposedNetwork, theta: Tensor, X: Tensor) -> Tensor:
    """Return the columns of the tangent of each output.

    Composed networks have been fitted with all their parameters, unless their waves are ripples.
    The others are models whose coefficients have been fitted by least squares, so that all outputs
    have the same columns.

    Parameters
    ----------
    theta : Tensor of shape (n_parameters,)
    X : Tensor of shape (n_features, n_samples)

    Returns
    -------
    Tensor of shape (n_outputs or 1, n_columns, n_samples)
    """
    if isinstance(model, TriangleModel) or model.ripples:
        return model.columns(theta, X)[None]
    eye = torch.eye(model.n_outputs).to(X)
    each = [
        model.jacobian(theta, X, row[:, None].expand(-1, X.shape[1])) for row in eye
    ]  # (n_columns, n_samples) of each output
    return torch.stack(each)


def moved_along(model: TriangleModel | ComposedNetwork, theta: Tensor, step: Tensor) -> Tensor:
    """Return parameters after a step in those of the tangent.

    Parameters
    ----------
    theta : Tensor of shape (n_parameters,)
    step : Tensor of shape (n_columns, n_outputs)
        Outputs share the parameters of composed networks, which take the first column, unless their
        waves are ripples.
    """
    if isinstance(model, ComposedNetwork):
        return model.with_more(theta, step) if model.ripples else theta + step[:, 0]
    inner, coef, shifts = model.unpack(theta)
    return model.pack(inner, coef + step, shifts)
