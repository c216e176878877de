"""The fit of encoded networks: triangle waves that read ramps and curves of the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.encoded_columns import (
    EncodedColumns,
    EncodedRows,
    chunks_of,
    coarse_knots,
    fitted_curves,
    has_curves,
    spread_of,
)
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._fit.plan import Settings
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._solvers.adamw import adamw
from skrelu._solvers.losses import Loss, SquaredError
from skrelu._solvers.progress import Result
from skrelu._solvers.rows import Rows


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


def fit_encoded(
    job: Job, then: tuple[str, ...] | None, average: Callable[[EncodedFit], Fitted]
) -> EncodedFit:
    """Fit encoded networks; each holds some rows out, which choose its best iteration.

    Members of the kind "encoded" learn the targets. Those of the kind "residual" learn what an
    additive model leaves.

    Parameters
    ----------
    job : Job
    then : tuple of str or None
        The stages that may follow, None if unknown.
    average : callable
        Returns the model of encoded networks alone, for callbacks.
    """
    n = len(job.training.X)
    size = tuning.encoded_size(n)
    rows = job.rows_in_parts(size.n_members, True)
    groups = job.training.groups or tuple(range(job.training.X.shape[1]))
    names = kinds_of(size, rows.loss, len(rows.y), groups)
    with threads(0.0):
        with job.step("additive model" if has_curves(len(rows.y), groups) else "encoding"):
            data = _encoded_rows(job, rows, names, size.shares_curves, groups)
        network = encoded_network(job.settings, data.columns, size, len(rows.y))
        theta = network.random(data.n_members, job.generator).to(data.plain.device)

        def found(result: Result) -> EncodedFit:
            theta = network.of_members(result.theta)
            model = data.columns.members(network, theta, data.models, data.factors, shares)
            left_out = left_out_by(model, job, rows, len(names))
            return EncodedFit(model, names, rows, left_out, result)

        def so_far(result: Result) -> Fitted:
            return average(found(result))

        shape = data.n_members, network.n_outputs
        shares = torch.full(shape, 1 / len(rows.training), dtype=torch.float64)
        options = replace(
            job.options("adam", "encoded columns", size.n_steps, so_far, then),
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
        return found(result)


def kinds_of(
    size: tuning.EncodedSize, loss: Loss, n_outputs: int, groups: Sequence[int]
) -> tuple[str, ...]:
    """Return the kinds of members: residuals are those of squared errors."""
    additive = isinstance(loss, SquaredError) and has_curves(n_outputs, groups)
    return size.kinds if additive else ("encoded",)


def encoded_network(
    settings: Settings, columns: EncodedColumns, size: tuning.EncodedSize, n_outputs: int
) -> EncodedNetwork:
    """Return the network of a member."""
    return EncodedNetwork(
        n_columns=columns.n_columns,
        n_curves=columns.n_curves,
        n_waves=size.n_waves,
        depth=settings.encoded_depth,
        n_peaks=tuning.NOISY_PEAKS,
        n_units=size.n_units,
        n_outputs=n_outputs,
    )


def _encoded_rows(
    job: Job, rows: Rows, names: tuple[str, ...], shares_curves: bool, groups: tuple[int, ...]
) -> EncodedRows:
    """Choose and fit the columns, and encode all rows."""
    n_folds, n, n_trained = len(rows.training), rows.n_samples, rows.n_trained
    most = max(tuning.KNOT_ROWS, tuning.ADDITIVE_ROWS)
    first = job.features(slice(min(n_trained, most))).T.cpu()
    knots = coarse_knots(first[: tuning.KNOT_ROWS])
    curves = fitted_curves(rows, first[: tuning.ADDITIVE_ROWS], shares_curves, groups)
    columns = EncodedColumns(knots, torch.empty(0), curves, torch.empty(0, 0))
    n_models, n_outputs, _ = curves.values.shape
    plain, positions, additive, values = (
        rows.y.new_empty(shape, dtype=torch.float32)
        for shape in (
            (n, len(groups)),
            (n, len(knots.features)),
            (n_models, n_outputs, n),
            (n_models, n, n_outputs * curves.n_groups),
        )
    )
    for chunk in chunks_of(n):
        found = columns.encoded(job.features(chunk).T)
        plain[chunk], positions[chunk], additive[..., chunk], values[:, chunk] = found
    spread = values[:, :n_trained]
    spread = spread_of((spread - spread.mean(1, keepdim=True)).square_().mean(1))
    part = positions[:n_trained][: tuning.ADDITIVE_ROWS]
    columns = EncodedColumns(knots, knots.ramps(part).mean(0), curves, spread)
    models = torch.arange(n_folds) * (not shares_curves)
    factors = torch.tensor([float(name == "residual") for name in names], dtype=torch.float32)
    return EncodedRows(
        columns=columns,
        y=rows.y,
        weights=rows.training.repeat(len(names), 1).float() * n_trained,
        plain=plain,
        positions=positions,
        curves=values.div_(spread[:, None]),
        additive=additive,
        models=models.long().repeat(len(names)).to(plain.device),
        factors=factors.repeat_interleave(n_folds).to(plain.device),
        n_rows=n_trained,
        validation=rows.validation,
    )


def left_out_by(model: EncodedModel, job: Job, rows: Rows, n_kinds: int) -> Tensor:
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
