"""How rows become what encoded networks read: plain features, ramps and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from skrelu._fit import tuning
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._networks.encoding import Curves, Knots, quantile_knots
from skrelu._solvers.adamw import Batch
from skrelu._solvers.additive import fit_additive
from skrelu._solvers.rows import LARGEST_SINGLE, Rows


@dataclass(frozen=True)
class EncodedColumns:
    """The columns that members read: features, ramps less their means, curves over their spreads.

    Parameters
    ----------
    knots : Knots
        Of the ramps.
    means : Tensor of shape (n_ramps,)
    curves : Curves
    spread : Tensor of shape (n_models, n_curves)
        Standard deviations of the curves, infinite for curves that are left out.
    """

    knots: Knots
    means: Tensor
    curves: Curves
    spread: Tensor

    @property
    def n_columns(self) -> int:
        """Number of features and ramps."""
        return len(self.curves.groups) + len(self.means)

    @property
    def n_curves(self) -> int:
        """Number of curves of an additive model."""
        return self.spread.shape[-1]

    @property
    def slower(self) -> float:
        """Factor on all inputs: a step of Adam moves all weights alike."""
        return min(1.0, tuning.INPUTS_AT_FULL_RATE / (self.n_columns + self.n_curves))

    def encoded(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features, positions, additive models and curves of some rows.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)

        Returns
        -------
        plain : Tensor of shape (n_samples, n_features)
        positions : Tensor of shape (n_samples, n_knotted)
        additive : Tensor of shape (n_models, n_outputs, n_samples)
        curves : Tensor of shape (n_models, n_samples, n_curves)
            Not divided by their spreads.
        """
        own = self.curves(X)  # (n_models, n_samples, n_outputs, n_groups)
        plain = X.clamp(-LARGEST_SINGLE, LARGEST_SINGLE)
        return plain, self.knots.positions(X), own.sum(-1).mT, own.flatten(2)

    def members(
        self,
        network: EncodedNetwork,
        theta: Tensor,
        models: Tensor,
        factors: Tensor,
        shares: Tensor,
    ) -> EncodedModel:
        """Return members that read plain features, ramps and curves.

        Parameters
        ----------
        network : EncodedNetwork
        theta : Tensor of shape (n_members * n_parameters,)
        models, factors : Tensor of shape (n_members,)
        shares : Tensor of shape (n_members, n_outputs)
            See `EncodedModel`.
        """
        weights = network.unpack(theta.cpu().clone())
        n_features = len(self.curves.groups)
        ramps = weights.directions.mul_(self.slower)[..., n_features:].mul_(tuning.RAMP)
        weights.offsets.sub_(ramps @ self.means.cpu())
        weights.of_curves.mul_(self.slower / self.spread.cpu()[models.cpu()][:, None])
        return EncodedModel(
            network, weights, self.knots, self.curves, models.cpu(), factors.double().cpu(), shares
        )


@dataclass(frozen=True)
class EncodedRows:
    """Encoded columns of rows in single precision; ramps are made a minibatch at a time."""

    columns: EncodedColumns
    y: Tensor  # (n_outputs, n_samples)
    weights: Tensor  # (n_members, n_samples), in any unit
    plain: Tensor  # (n_samples, n_features)
    positions: Tensor  # (n_samples, n_knotted)
    curves: Tensor  # (n_models, n_samples, n_curves), divided by their spread
    additive: Tensor  # (n_models, n_outputs, n_samples)
    models: Tensor  # (n_members,), the additive model of each member
    factors: Tensor  # (n_members,), of these additive models
    n_rows: int  # number of first rows that may train
    validation: Tensor | None = field(default=None)  # (n_starts, n_samples), held-out weights

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.models)

    @property
    def learns_residuals(self) -> bool:
        """Whether some members learn what an additive model leaves."""
        return bool(self.factors.any())

    def take(self, index: Tensor) -> Batch:
        """Return some of the rows."""
        index, slower = index.to(self.plain.device), self.columns.slower
        ramps = self.columns.knots.ramps(self.positions[index])
        ramps = ramps.sub_(self.columns.means).mul_(tuning.RAMP)
        curves = self.curves[:, index] * slower
        curves = curves if len(curves) == 1 else curves[self.models]
        y = self.y[:, index].float().expand(self.n_members, -1, -1)
        if self.learns_residuals:
            y = y - self.factors[:, None, None] * self.additive[:, :, index][self.models]
        weights = self.weights[:, index]
        return Batch(
            torch.cat([self.plain[index], ramps], -1).mul_(slower),
            curves,
            y,
            weights / weights.sum(1, keepdim=True).clamp_min(1e-30),
        )

    def held_out(self) -> Batch | None:
        """Return the rows that members hold out, at most `tuning.ENCODED_HELD_OUT` of each."""
        validation = self.validation
        if validation is None:
            return None
        index = _held_out(validation, tuning.ENCODED_HELD_OUT).repeat(
            self.n_members // len(validation), 1
        )
        parts = [self.take(rows) for rows in index]
        curves = [part.curves[m % len(part.curves)] for m, part in enumerate(parts)]
        weights = validation.repeat(self.n_members // len(validation), 1).gather(1, index).float()
        return Batch(
            torch.stack([part.columns for part in parts]),
            torch.stack(curves),
            torch.stack([part.y[m] for m, part in enumerate(parts)]),
            weights / weights.sum(1, keepdim=True),
        )


def chunks_of(n: int) -> list[slice]:
    """Return slices of rows that are encoded at once."""
    size = tuning.ENCODED_CHUNK
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _held_out(validation: Tensor, most: int) -> Tensor:
    """Return the same number of held-out rows of each start, (n_starts, n_rows)."""
    held = validation > 0
    fewest = min(most, int(held.sum(1).amin()))
    return torch.stack([rows.nonzero()[:fewest, 0] for rows in held])


def coarse_knots(X: Tensor) -> Knots:
    """Return knots of coarse ramps, of all features with more than two values."""
    features, edges = [], []
    for feature, x in enumerate(X.T):
        found = quantile_knots(x, tuning.COARSE_RAMPS, tuning.LEAST_WIDTH)
        if len(found) > 2:
            features.append(feature)
            edges.append(found)
    return Knots(tuple(features), tuple(edges))


def fine_knots(X: Tensor) -> Knots:
    """Return knots of the curves of all features."""
    varied = sum(len(x.unique()) > tuning.COARSE_RAMPS for x in X.T)
    most = min(len(X) // tuning.ROWS_A_RAMP, tuning.FINE_RAMPS, tuning.MOST_RAMPS // max(1, varied))
    n_ramps = max(tuning.COARSE_RAMPS, most)
    edges = tuple(quantile_knots(x, n_ramps, tuning.LEAST_WIDTH) for x in X.T)
    return Knots(tuple(range(X.shape[1])), edges)


def has_curves(n_outputs: int, groups: Sequence[int]) -> bool:
    """Return whether additive models are fitted: not with very many curves."""
    return n_outputs * (max(groups) + 1) <= tuning.MOST_CURVES


def spread_of(variances: Tensor) -> Tensor:
    """Return the spreads of curves, given their variances; flat ones are left out."""
    spread = variances.sqrt()
    spread[spread < tuning.FLAT_CURVE] = torch.inf
    return spread


def owners_of(knots: Knots, groups: Sequence[int]) -> Tensor:
    """Return the group of each column of an additive model; features have one more for all."""
    of_features = torch.tensor(groups)
    linear = torch.full((len(of_features),), max(groups) + 1)
    return torch.cat([of_features[knots.owner], linear])


def curves_of(coef: Tensor, means: Tensor, knots: Knots, groups: tuple[int, ...]) -> Curves:
    """Return additive models as curves of mean 0.

    Parameters
    ----------
    coef : Tensor of shape (n_models, n_columns, n_outputs)
        Of all ramps, then of the features.
    means : Tensor of shape (n_columns,)
    knots : Knots
    groups : tuple of int
        Group of each feature.
    """
    n_features, of_features = len(groups), torch.tensor(groups)
    of_ramps, slopes = coef.mT.split([sum(knots.sizes), n_features], -1)
    lifts = torch.zeros(*coef.shape[::2], max(groups) + 1, dtype=coef.dtype)
    lifts.index_add_(-1, of_features[knots.owner], -of_ramps * means[:-n_features].double())
    lifts.index_add_(-1, of_features, -slopes * means[-n_features:].double())
    return Curves(knots, groups, of_ramps.contiguous(), slopes.contiguous(), lifts)


def additive_columns(knots: Knots, X: Tensor) -> Tensor:
    """Return ramps and features of some rows, (n_samples, n_columns)."""
    return torch.cat([knots.ramps(knots.positions(X)), X], 1).float()


def fitted_curves(rows: Rows, X: Tensor, shared: bool, groups: tuple[int, ...]) -> Curves:
    """Fit additive models, without the held-out rows of each start unless all share one."""
    n, n_features = X.shape
    knots = fine_knots(X)
    columns = torch.empty(sum(knots.sizes) + n_features, n, dtype=torch.float32)
    for chunk in chunks_of(n):
        columns[:, chunk] = additive_columns(knots, X[chunk]).T
    assert rows.base is not None
    weights = rows.base[:n].cpu().float()
    weights = weights / weights.sum()
    means = columns @ weights
    columns -= means[:, None]
    y = rows.y[:, :n].cpu()
    if not has_curves(len(rows.y), groups):
        y = y[:0]
    raw = torch.zeros_like(y)
    if len(y):
        residual, _ = rows.loss.working(raw, y, rows.loss.scale(raw, y, rows.base[:n].cpu()))
        y = -residual.float()
        y -= (y @ weights)[:, None]
    held_out = torch.zeros(1, n, dtype=torch.bool)
    if not shared and rows.validation is not None:
        held_out = rows.validation[:, :n].cpu() > 0
    coef = torch.zeros(1, len(columns), 0, dtype=torch.float64)  # (n_models, n_columns, n_outputs)
    if len(y):
        coef = fit_additive(columns, y, weights * n, held_out, owners_of(knots, groups))
    return curves_of(coef, means, knots, groups)
