r"""Piecewise-linear functions of single features: the columns that encoded networks read.

Between its *knots* :math:`e_0 < \dots < e_K` a feature x has K *ramps*
:math:`\min(1, (x - e_k)_+ / (e_{k+1} - e_k))`. Their sum is the *position* of x among the knots, in
[0, K] (piecewise-linear encoding, Gorishniy et al. 2022). A *curve* is a sum of piecewise-linear
functions of the features of a group: of one numeric column, or of all levels of a category. All of
this is exact in ReLU: ramps and curves are linear in the hinges :math:`(x - e_k)_+`.

Here samples are the first dimension, because minibatches are drawn from these columns.

References
----------
Gorishniy, Rubachev, Babenko, "On embeddings for numerical features in tabular deep learning",
2022, https://arxiv.org/abs/2203.05556
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Knots:
    """Increasing knots of some features.

    Parameters
    ----------
    features : tuple of int
    edges : tuple of Tensor of shape (n_ramps + 1,)
        Knots of each of these features, at least two.
    """

    features: tuple[int, ...]
    edges: tuple[Tensor, ...]

    @cached_property
    def sizes(self) -> list[int]:
        """Number of ramps of each of the features."""
        return [len(e) - 1 for e in self.edges]

    @cached_property
    def owner(self) -> Tensor:
        """Index into `features` of each ramp."""
        return torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self.sizes).long())

    @cached_property
    def first(self) -> Tensor:
        """Number of ramps of the same feature before each ramp."""
        return torch.cat([torch.arange(0), *(torch.arange(size) for size in self.sizes)])

    @cached_property
    def widths(self) -> Tensor:
        """Distance of the two knots of each ramp."""
        nothing = torch.empty(0, dtype=torch.float64)
        return torch.cat([nothing, *(e.diff() for e in self.edges)])

    def positions(self, X: Tensor) -> Tensor:
        """Return the positions of the features, (n_samples, n_knotted_features).

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
        """
        found = X.new_empty(len(X), len(self.features))
        for j, (feature, edges) in enumerate(zip(self.features, self.edges, strict=True)):
            x, e = X[:, feature].contiguous(), edges.to(X)
            i = (torch.searchsorted(e, x, right=True) - 1).clamp_(0, len(e) - 2)
            found[:, j] = i + ((x - e[i]) / e.diff()[i]).clamp_(0, 1)
        return found

    def ramps(self, positions: Tensor) -> Tensor:
        """Return the values of all ramps, (..., n_samples, n_ramps)."""
        # A product with zeros and ones is exact, and much faster than an index.
        spread = (torch.arange(len(self.sizes))[:, None] == self.owner).to(positions)
        return (positions @ spread).sub_(self.first.to(positions)).clamp_(0, 1)

    def slopes(self, X: Tensor) -> Tensor:
        """Return the derivatives of all ramps by their features, (n_samples, n_ramps)."""
        ramps = self.ramps(self.positions(X))
        inside = (ramps > 0) & (ramps < 1)
        return inside / self.widths.to(X)


def quantile_knots(x: Tensor, n_ramps: int, least: float) -> Tensor:
    """Return quantiles of a feature as knots, or all of its values if these are few.

    Knots closer than ``least`` to the one before are left out. A constant gets two knots.
    """
    edges = x.unique()
    if len(edges) > n_ramps + 1:
        ordered = x.sort().values
        places = torch.linspace(0, len(x) - 1, n_ramps + 1, dtype=torch.float64)
        below = places.floor().long()
        above, part = (below + 1).clamp_max(len(x) - 1), (places - below).to(x)
        edges = torch.lerp(ordered[below], ordered[above], part).unique()
    kept = torch.ones(len(edges), dtype=torch.bool)
    kept[1:] = edges.diff() > least
    edges = edges[kept]
    return edges if len(edges) > 1 else torch.stack([edges[0], edges[0] + 1])


@dataclass(frozen=True)
class Curves:
    """Several additive models of the same features, as curves of groups of features.

    Parameters
    ----------
    knots : Knots
        Of all features, in order.
    groups : tuple of int
        Group of each feature, from 0 on.
    values : Tensor of shape (n_models, n_outputs, n_ramps)
        Coefficients of the ramps.
    slopes : Tensor of shape (n_models, n_outputs, n_features)
        Coefficients of the features.
    intercepts : Tensor of shape (n_models, n_outputs, n_groups)
        Added to the curves, so that their means are 0.
    """

    knots: Knots
    groups: tuple[int, ...]
    values: Tensor
    slopes: Tensor
    intercepts: Tensor

    @property
    def n_groups(self) -> int:
        """Number of curves of an output."""
        return max(self.groups) + 1

    def __call__(self, X: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the curves, (n_models, n_samples, n_outputs, n_groups)."""
        n_models, n_outputs, _ = self.values.shape
        if not n_outputs:  # there are too many features for curves
            return X.new_zeros(n_models, len(X), 0, self.n_groups)
        positions = self.knots.positions(X) if positions is None else positions
        curves = X.new_zeros(n_models, len(X), n_outputs, self.n_groups)
        begin = 0
        for j, size in enumerate(self.knots.sizes):
            part = self.values[..., begin : begin + size].to(X)
            heights = torch.nn.functional.pad(part.cumsum(-1), (1, 0)).movedim(1, -1)
            i = positions[:, j].long().clamp_(0, size - 1)
            fraction = (positions[:, j] - i)[:, None]
            own = torch.lerp(heights[:, i], heights[:, i + 1], fraction)
            own += X[:, j, None] * self.slopes[:, None, :, j].to(X)
            curves[..., self.groups[j]] += own
            begin += size
        return curves.add_(self.intercepts[:, None].to(X))


def hinges(knots: Knots, n_features: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a layer of hinges of the knotted features, and what the ramps are of these.

    Returns
    -------
    matrix : Tensor of shape (n_hinges, n_features)
    bias : Tensor of shape (n_hinges,)
    ramps : Tensor of shape (n_ramps, n_hinges)
    """
    n_hinges = sum(knots.sizes) + len(knots.sizes)
    matrix = torch.zeros(n_hinges, n_features, dtype=torch.float64)
    bias = torch.zeros(n_hinges, dtype=torch.float64)
    ramps = torch.zeros(sum(knots.sizes), n_hinges, dtype=torch.float64)
    row = first = 0
    for feature, edges in zip(knots.features, knots.edges, strict=True):
        size = len(edges) - 1
        matrix[row : row + size + 1, feature] = 1
        bias[row : row + size + 1] = -edges
        k, rate = torch.arange(size), 1 / edges.diff()
        ramps[first + k, row + k], ramps[first + k, row + k + 1] = rate, -rate
        row, first = row + size + 1, first + size
    return matrix, bias, ramps
