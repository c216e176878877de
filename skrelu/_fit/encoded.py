"""The fit of encoded networks: triangle waves that read ramps and curves of the features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.job import Job
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._networks.encoding import Curves, Knots, quantile_knots
from skrelu._solvers.adamw import Batch, adamw
from skrelu._solvers.additive import fit_additive
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Result
from skrelu._solvers.rows import LARGEST_SINGLE, Rows


@dataclass(frozen=True)
class EncodedFit:
    """Encoded networks of one or two kinds, and what they predict of rows that they held out."""

    model: EncodedModel  # members by kind; the shares of a kind sum to 1
    names: tuple[str, ...]  # of the kinds
    rows: Rows  # without features
    left_out: Tensor  # (n_kinds, n_outputs, n_samples), NaN where no member holds a row out
    result: Result

    @property
    def by_kind(self) -> Tensor:
        """Kind of each member."""
        return torch.arange(len(self.names)).repeat_interleave(
            len(self.model.shares) // len(self.names)
        )


def fit_encoded(job: Job, then: tuple[str, ...] | None) -> EncodedFit:
    """Fit encoded networks; each holds some rows out, which choose its best iteration.

    Members of the kind "encoded" learn the targets. Those of the kind "residual" learn what an
    additive model leaves. ``then`` are the stages that may follow, None if unknown.
    """
    n = len(job.training.X)
    size = tuning.encoded_size(n)
    rows = job.rows_in_parts(size.n_members, True)
    groups = job.training.groups or tuple(range(job.training.X.shape[1]))
    additive = isinstance(rows.loss, SquaredError) and _has_curves(rows, groups)
    names = size.kinds if additive else ("encoded",)
    with threads(0.0):
        with job.step("additive model" if _has_curves(rows, groups) else "encoding"):
            data = _EncodedRows.of(job, rows, names, size.shares_curves, groups)
        network = EncodedNetwork(
            n_columns=data.n_columns,
            n_curves=data.curves.shape[-1],
            n_waves=size.n_waves,
            depth=job.settings.encoded_depth,
            n_peaks=tuning.NOISY_PEAKS,
            n_units=size.n_units,
            n_outputs=len(rows.y),
        )
        theta = network.random(data.n_members, job.generator).to(data.plain.device)
        options = replace(
            job.options("adam", "encoded columns", size.n_steps, then=then),
            learning_rate=size.rate,
            batch_size=size.batch,
        )
        result = adamw(
            network,
            theta,
            data,
            rows.loss,
            options,
            n_kinds=len(names),
            decay=tuning.decay_of(rows.loss.classes),
        )
        model = data.model(network, network.of_members(result.theta))
        left_out = _left_out(model, job, rows, len(names))
    return EncodedFit(model, names, rows, left_out, result)


@dataclass(frozen=True)
class _EncodedRows:
    """Encoded columns of all rows in single precision; ramps are made a minibatch at a time."""

    rows: Rows
    weights: Tensor  # (n_members, n_samples), training weights times the number of rows
    plain: Tensor  # (n_samples, n_features)
    knots: Knots
    means: Tensor  # (n_ramps,)
    positions: Tensor  # (n_samples, n_knotted)
    of_curves: Curves
    spread: Tensor  # (n_models, n_curves), infinite for curves that are left out
    curves: Tensor  # (n_models, n_samples, n_curves), divided by their spread
    additive: Tensor  # (n_models, n_outputs, n_samples)
    models: Tensor  # (n_members,), the additive model of each member
    factors: Tensor  # (n_members,), of these additive models
    slower: float  # factor on all inputs: a step of Adam moves all weights alike

    @classmethod
    def of(
        cls,
        job: Job,
        rows: Rows,
        names: tuple[str, ...],
        shares_curves: bool,
        groups: tuple[int, ...],
    ) -> _EncodedRows:
        n_folds = len(rows.training)
        most = max(tuning.KNOT_ROWS, tuning.ADDITIVE_ROWS)
        first = job.features(slice(min(rows.n_trained, most))).T.cpu()
        knots = _coarse(first[: tuning.KNOT_ROWS])
        curves = _curves(rows, first[: tuning.ADDITIVE_ROWS], shares_curves, groups)
        plain, positions, additive, values = _encoded(job, rows, knots, curves)
        spread = values[:, : rows.n_trained]
        spread = (spread - spread.mean(1, keepdim=True)).square_().mean(1).sqrt()
        spread[spread < tuning.FLAT_CURVE] = torch.inf
        part = positions[: rows.n_trained][: tuning.ADDITIVE_ROWS]
        n_inputs = plain.shape[1] + sum(knots.sizes) + values.shape[-1]
        models = torch.arange(n_folds) * (not shares_curves)
        learns = [float(name == "residual") for name in names]
        factors = torch.tensor(learns, dtype=torch.float32)
        return cls(
            rows=rows,
            weights=rows.training.repeat(len(names), 1).float() * rows.n_trained,
            plain=plain,
            knots=knots,
            means=knots.ramps(part).mean(0),
            positions=positions,
            of_curves=curves,
            spread=spread,
            curves=values.div_(spread[:, None]),
            additive=additive,
            models=models.long().repeat(len(names)).to(plain.device),
            factors=factors.repeat_interleave(n_folds).to(plain.device),
            slower=min(1.0, tuning.INPUTS_AT_FULL_RATE / n_inputs),
        )

    @property
    def n_rows(self) -> int:
        return self.rows.n_trained

    @property
    def n_members(self) -> int:
        return len(self.models)

    @property
    def learns_residuals(self) -> bool:
        """Whether some members learn what an additive model leaves."""
        return bool(self.factors.any())

    @property
    def n_columns(self) -> int:
        return self.plain.shape[1] + len(self.means)

    def take(self, index: Tensor) -> Batch:
        """Return some of the rows."""
        index = index.to(self.plain.device)
        ramps = self.knots.ramps(self.positions[index]).sub_(self.means).mul_(tuning.RAMP)
        curves = self.curves[:, index] * self.slower
        curves = curves if len(curves) == 1 else curves[self.models]
        y = self.rows.y[:, index].float().expand(self.n_members, -1, -1)
        if self.learns_residuals:
            y = y - self.factors[:, None, None] * self.additive[:, :, index][self.models]
        weights = self.weights[:, index]
        return Batch(
            torch.cat([self.plain[index], ramps], -1).mul_(self.slower),
            curves,
            y,
            weights / weights.sum(1, keepdim=True).clamp_min(1e-30),
        )

    def held_out(self) -> Batch | None:
        """Return the rows that members hold out, at most `tuning.ENCODED_HELD_OUT` of each."""
        validation = self.rows.validation
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

    def model(self, network: EncodedNetwork, theta: Tensor) -> EncodedModel:
        """Return members that read plain features, ramps and curves."""
        weights = network.unpack(theta.cpu().clone())
        n_features = self.plain.shape[1]
        ramps = weights.directions.mul_(self.slower)[..., n_features:].mul_(tuning.RAMP)
        weights.offsets.sub_(ramps @ self.means.cpu())
        weights.of_curves.mul_(self.slower / self.spread.cpu()[self.models.cpu()][:, None])
        n_folds = len(self.rows.training)
        shape = self.n_members, network.n_outputs
        shares = torch.full(shape, 1 / n_folds, dtype=torch.float64)
        factors = self.factors.double().cpu()
        return EncodedModel(
            network, weights, self.knots, self.of_curves, self.models.cpu(), factors, shares
        )


def _encoded(
    job: Job, rows: Rows, knots: Knots, curves: Curves
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features, positions, additive models and curves of all rows, in single precision."""
    n, (n_models, n_outputs, _) = rows.n_samples, curves.values.shape
    plain, positions, additive, values = (
        rows.y.new_empty(shape, dtype=torch.float32)
        for shape in (
            (n, len(curves.groups)),
            (n, len(knots.features)),
            (n_models, n_outputs, n),
            (n_models, n, n_outputs * curves.n_groups),
        )
    )
    for chunk in _chunks(n):
        X = job.features(chunk).T
        own = curves(X)  # (n_models, n_samples, n_outputs, n_groups)
        plain[chunk] = X.clamp(-LARGEST_SINGLE, LARGEST_SINGLE)
        positions[chunk] = knots.positions(X)
        additive[..., chunk] = own.sum(-1).mT
        values[:, chunk] = own.flatten(2)
    return plain, positions, additive, values


def _chunks(n: int) -> list[slice]:
    """Return slices of rows that are encoded at once."""
    size = tuning.ENCODED_CHUNK
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _held_out(validation: Tensor, most: int) -> Tensor:
    """Return the same number of held-out rows of each start, (n_starts, n_rows)."""
    held = validation > 0
    fewest = min(most, int(held.sum(1).amin()))
    return torch.stack([rows.nonzero()[:fewest, 0] for rows in held])


def _coarse(X: Tensor) -> Knots:
    """Return knots of coarse ramps, of all features with more than two values."""
    features, edges = [], []
    for feature, x in enumerate(X.T):
        found = quantile_knots(x, tuning.COARSE_RAMPS, tuning.LEAST_WIDTH)
        if len(found) > 2:
            features.append(feature)
            edges.append(found)
    return Knots(tuple(features), tuple(edges))


def _has_curves(rows: Rows, groups: tuple[int, ...]) -> bool:
    """Return whether additive models are fitted: not with very many curves."""
    return len(rows.y) * (max(groups) + 1) <= tuning.MOST_CURVES


def _curves(rows: Rows, X: Tensor, shared: bool, groups: tuple[int, ...]) -> Curves:
    """Fit additive models, without the held-out rows of each start unless all share one."""
    n, n_features = X.shape
    n_groups = max(groups) + 1
    varied = sum(len(x.unique()) > tuning.COARSE_RAMPS for x in X.T)
    most = min(n // tuning.ROWS_A_RAMP, tuning.FINE_RAMPS, tuning.MOST_RAMPS // max(1, varied))
    n_ramps = max(tuning.COARSE_RAMPS, most)
    edges = tuple(quantile_knots(x, n_ramps, tuning.LEAST_WIDTH) for x in X.T)
    knots = Knots(tuple(range(n_features)), edges)
    columns = torch.empty(sum(knots.sizes) + n_features, n, dtype=torch.float32)
    for chunk in _chunks(n):
        ramps = knots.ramps(knots.positions(X[chunk]))
        columns[:, chunk] = torch.cat([ramps, X[chunk]], 1).float().T
    assert rows.base is not None
    weights = rows.base[:n].cpu().float()
    weights = weights / weights.sum()
    means = columns @ weights
    columns -= means[:, None]
    y = rows.y[:, :n].cpu()
    if not _has_curves(rows, groups):
        y = y[:0]
    raw = torch.zeros_like(y)
    if len(y):
        residual, _ = rows.loss.working(raw, y, rows.loss.scale(raw, y, rows.base[:n].cpu()))
        y = -residual.float()
        y -= (y @ weights)[:, None]
    held_out = torch.zeros(1, n, dtype=torch.bool)
    if not shared and rows.validation is not None:
        held_out = rows.validation[:, :n].cpu() > 0
    of_features = torch.tensor(groups)
    owner = torch.cat([of_features[knots.owner], torch.full((n_features,), n_groups)])
    coef = torch.zeros(1, len(columns), 0, dtype=torch.float64)  # (n_models, n_columns, n_outputs)
    if len(y):
        coef = fit_additive(columns, y, weights * n, held_out, owner)
    of_ramps, slopes = coef.mT.split([sum(knots.sizes), n_features], -1)
    lifts = torch.zeros(*coef.shape[::2], n_groups, dtype=coef.dtype)
    lifts.index_add_(-1, of_features[knots.owner], -of_ramps * means[:-n_features].double())
    lifts.index_add_(-1, of_features, -slopes * means[-n_features:].double())
    return Curves(knots, groups, of_ramps.contiguous(), slopes.contiguous(), lifts)


def _left_out(model: EncodedModel, job: Job, rows: Rows, n_kinds: int) -> Tensor:
    """Return what each kind predicts of rows that its members hold out, NaN of other rows.

    A row that several members hold out gets the mean of their predictions.
    """
    n_members = len(model.shares) // n_kinds
    total = torch.zeros(n_kinds, *rows.y.shape, dtype=rows.y.dtype, device=rows.y.device)
    count = torch.zeros(rows.n_samples, dtype=rows.y.dtype, device=rows.y.device)
    if rows.validation is None:
        return total / count
    for member, held in enumerate(rows.validation > 0):
        index = held.nonzero()[: tuning.ENCODED_HELD_OUT, 0]
        own = model.take(torch.arange(n_kinds) * n_members + member)
        total[..., index] += own.each(job.features(index))
        count[index] += 1
    return total / count
