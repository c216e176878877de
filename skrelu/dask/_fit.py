"""The fit over partitions: count, standardize, add up the additive model, train the members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import dask
import numpy as np
import torch

from skrelu._data.scaling import Scaling
from skrelu._data.table import Array, Table
from skrelu._data.torch_interop import isolated, to_tensor
from skrelu._estimators.tables import columns_of
from skrelu._fit import tuning
from skrelu._fit.additive_sums import AdditiveSums
from skrelu._fit.encoded import EncodedFit, encoded_network, kinds_of, left_out_by
from skrelu._fit.encoded_columns import (
    EncodedColumns,
    coarse_knots,
    curves_of,
    fine_knots,
    has_curves,
)
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._fit.plan import Settings, make_plan
from skrelu._fit.stacking import stacked
from skrelu._fit.uncertainty import with_error_bars
from skrelu._solvers.adamw import Moments as Descended
from skrelu._solvers.adamw import Schedule, evaluation
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Options, Progress, Result, Status
from skrelu._solvers.rows import Rows
from skrelu.dask._members import (
    VALUES_AT_ONCE,
    Look,
    Member,
    Shared,
    Visit,
    held_out_of,
    seeded,
    visit,
    visits_of,
)
from skrelu.dask._partitions import Part, sum_of
from skrelu.dask._reading import Counts, Reader
from skrelu.dask._smooth import fit_smooth, n_first
from skrelu.dask._statistics import (
    CPU,
    AdditiveColumns,
    Drawn,
    Draws,
    Moments,
    additive_model,
    standardized,
)

# Most values (rows times columns) of the sample, and fewest rows.
SAMPLED_VALUES, LEAST_SAMPLE = 4_000_000, 2000
# The same of the rows that a member holds out, which go to the workers.
HELD_OUT_VALUES, LEAST_HELD_OUT = 1_000_000, 1000


class Choices(NamedTuple):
    """What a fit over partitions is told, beside the settings of the model."""

    seed: int
    n_members: int
    n_passes: int | str
    gather_rows: int


class Trained(NamedTuple):
    """The outcome of a fit over partitions."""

    fitted: Fitted
    kept: Table  # drawn rows
    limits: Table  # two rows: the smallest and the largest values
    between: Array  # see `Moments.between`
    stages: list[tuple[str, Result]]


def counted(parts: Sequence[Part], model: Any, numeric: bool) -> Counts:
    """Count the rows of all partitions."""
    count, kept = dask.delayed(Counts.of), dask.delayed(model, traverse=False)
    return sum_of([count(kept, part, numeric) for part in parts])


def fit_partitions(
    parts: Sequence[Part], reader: Reader, counts: Counts, settings: Settings, choices: Choices
) -> Trained:
    """Fit composed sub-networks to all partitions, or else encoded networks.

    Parameters
    ----------
    parts : sequence of Part
    reader : Reader
    counts : Counts
    settings : Settings
    choices : Choices

    Returns
    -------
    Trained
    """
    n_rows, n_columns = sum(counts.rows), len(columns_of(reader.model).owners)
    n_held_out = min(tuning.ENCODED_HELD_OUT, max(LEAST_HELD_OUT, HELD_OUT_VALUES // n_columns))
    fraction = min(settings.validation_fraction, n_held_out / n_rows)
    n_sampled = min(tuning.KNOT_ROWS, max(LEAST_SAMPLE, SAMPLED_VALUES // n_columns))
    n_fitted = n_first(reader, settings, choices.gather_rows)
    n_first_drawn = n_fitted and n_fitted + tuning.SCORED_ROWS
    n_drawn = max(n_sampled, n_first_drawn)
    draws = Draws(choices.seed, n_rows, n_drawn, fraction, choices.n_members)
    read = dask.delayed(reader, traverse=False)
    take = dask.delayed(_moments)
    moments = sum_of([take(read, part, draws) for part in parts])
    drawn = moments.sample.smallest(n_first_drawn).rows
    moments = replace(moments, sample=moments.sample.smallest(n_sampled))
    with isolated():
        smooth = None
        if n_fitted:
            smooth = fit_smooth(parts, reader, counts, settings, drawn, n_fitted, choices.seed)
        if smooth is not None:
            fitted, kept, stages = smooth
            return Trained(fitted, kept, _limits(moments, n_columns), moments.between, stages)
        return _fit(parts, reader, counts, settings, choices, draws, moments)


def _fit(
    parts: Sequence[Part],
    reader: Reader,
    counts: Counts,
    settings: Settings,
    choices: Choices,
    draws: Draws,
    moments: Moments,
) -> Trained:
    n_rows, n_columns = sum(counts.rows), moments.sample.rows.X.shape[1]
    loss, (X_scaling, y_scaling) = _loss_and_scalings(settings.loss, moments, n_columns)
    groups = tuple(columns_of(reader.model).owners)
    scalings = X_scaling, y_scaling
    columns = _columns(parts, reader, moments, n_rows, groups, loss, scalings)
    size = tuning.encoded_size(n_rows)
    name = kinds_of(size, loss, reader.n_outputs, groups)[-1]
    network = encoded_network(settings, columns, size, reader.n_outputs)
    shared = Shared(
        reader, columns, network, loss, X_scaling, y_scaling, float(name == "residual"), draws
    )
    generator = seeded(np.random.SeedSequence([choices.seed, 3]))
    kept = _kept(moments, draws, counts.weight, groups)
    job = Job(kept, None, settings, None, CPU, generator, None, known_scalings=scalings)
    options = job.options("adam", "encoded columns", size.n_steps)
    options = replace(options, learning_rate=size.rate, batch_size=size.batch)
    result = _trained(parts, shared, counts.rows, choices, options, moments.held_out)
    one = torch.ones(choices.n_members, dtype=torch.float64)
    models = torch.zeros(choices.n_members, dtype=torch.int64)
    model = columns.members(
        network,
        network.of_members(result.theta),
        models,
        one * shared.factor,
        one[:, None].expand(-1, reader.n_outputs) / choices.n_members,
    )
    rows = _rows(job, draws, moments, loss)
    encoded = EncodedFit(model, (name,), rows, left_out_by(model, job, rows, 1), result)
    plan = make_plan(settings, len(kept.X), n_columns, reader.n_outputs)
    fitted = with_error_bars(job, stacked(job, plan, None, encoded))
    assert fitted.pretraining is not None
    stages = [("encoded columns", fitted.pretraining)]
    return Trained(fitted, kept, _limits(moments, n_columns), moments.between, stages)


def _limits(moments: Moments, n_columns: int) -> Table:
    """Return two rows: the smallest and the largest values."""
    ends = np.stack([moments.low, moments.high])
    return Table(ends[:, :n_columns], ends[:, n_columns:], np.ones(2) / 2, 2.0)


def _moments(reader: Reader, part: Part, draws: Draws) -> Moments:
    return Moments.of(reader.read(part), part.number, draws)


def _sums(columns: AdditiveColumns, reader: Reader, part: Part) -> AdditiveSums:
    return columns.sums(reader.read(part))


def _loss_and_scalings(
    loss: Loss, moments: Moments, n_columns: int
) -> tuple[Loss, tuple[Scaling, Scaling]]:
    """Return the loss with its constants, and the standardizations of X and y.

    They are those of all rows, except quantiles of targets and the unit of the loss, which are
    those of the sample.
    """
    whole, sample = moments.scaling, moments.sample.rows
    mean, weights = moments.mean[None, n_columns:], np.ones(1)
    X_scaling = Scaling(*(part[:n_columns] for part in whole))
    base = sample.weights / sample.weights.sum()
    if loss.classes:
        y_scaling = Scaling.of_frequencies(mean, weights)
        frequencies = mean[0] if mean.size > 1 else np.array([1 - mean[0, 0], mean[0, 0]])
        labels = torch.eye(len(frequencies), dtype=torch.float64)[-mean.size :]
        found = loss.fitted_to(labels, torch.tensor(frequencies), moments.weight)
        return found, (X_scaling, y_scaling)
    if loss.log_link:
        y_scaling = Scaling.of_logarithms(mean, weights)
    elif loss.centers is not None:
        y_scaling = Scaling.of_quantiles(sample.y, base, loss.centers)
    else:
        y_scaling = Scaling(*(part[n_columns:] for part in whole))
    y = standardized(sample.y, y_scaling, loss)
    return loss.fitted_to(y, torch.tensor(base), moments.weight), (X_scaling, y_scaling)


def _columns(
    parts: Sequence[Part],
    reader: Reader,
    moments: Moments,
    n_rows: int,
    groups: tuple[int, ...],
    loss: Loss,
    scalings: tuple[Scaling, Scaling],
) -> EncodedColumns:
    """Choose knots by the sample, and fit the additive model to all rows."""
    sample, (X_scaling, y_scaling) = moments.sample.rows, scalings
    X = to_tensor(X_scaling.apply(sample.X), CPU)
    coarse, fine = coarse_knots(X), fine_knots(X)
    means = coarse.ramps(coarse.positions(X).float()).mean(0)
    n_ramps = sum(fine.sizes)
    if not has_curves(reader.n_outputs, groups):
        nothing = torch.zeros(1, n_ramps + X.shape[1], 0, dtype=torch.float64)
        curves = curves_of(nothing, nothing.new_zeros(nothing.shape[1]), fine, groups)
        return EncodedColumns(coarse, means, curves, torch.empty(1, 0))
    y = standardized(sample.y, y_scaling, loss)
    weights = torch.tensor(sample.weights / sample.weights.sum())
    scale = loss.scale(torch.zeros_like(y), y, weights)
    additive = AdditiveColumns(fine, groups, X_scaling, y_scaling, loss, scale)
    add = dask.delayed(_sums)
    kept, read = (dask.delayed(part, traverse=False) for part in (additive, reader))
    sums = sum_of([add(kept, read, part) for part in parts])
    curves, spread = additive_model(sums, n_rows, additive)
    return EncodedColumns(coarse, means, curves, spread)


def _kept(moments: Moments, draws: Draws, weight: float, groups: tuple[int, ...]) -> Table:
    """Return the drawn rows: first those that were held out, then the rest of the sample."""
    others = np.flatnonzero(~draws.held_out_by_any(moments.sample.keys))
    X, y, weights = moments.held_out.plus(moments.sample.take(others)).rows
    return Table(X, y, weights / weights.sum(), weight, groups)


def _rows(job: Job, draws: Draws, moments: Moments, loss: Loss) -> Rows:
    """Return the drawn rows with the weights of those that members hold out."""
    kept, held = job.training, moments.held_out
    validation = np.zeros((draws.n_members, len(kept.X)))
    for member, weights in enumerate(validation):
        index = held_out_of(member, draws, held.keys)
        weights[index] = kept.weights[index] / kept.weights[index].sum()
    y = torch.tensor(np.ascontiguousarray(job.targets(kept.y).T))
    base = torch.tensor(kept.weights)
    return Rows(
        X=y.new_empty(kept.X.shape[1], 0),
        y=y,
        training=base.expand(draws.n_members, -1),
        validation=torch.tensor(validation),
        n_trained=len(kept.X),
        loss=loss,
        base=base,
    )


def _trained(
    parts: Sequence[Part],
    shared: Shared,
    rows: tuple[int, ...],
    choices: Choices,
    options: Options,
    drawn: Drawn,
) -> Result:
    """Train all members: a round is a visit of each. The client keeps what a round has found."""
    n_passes = choices.n_passes
    if n_passes == "auto":
        n_passes = max(1, round(options.max_iter * options.batch_size / sum(rows)))
    most = VALUES_AT_ONCE // drawn.rows.X.shape[1]
    members, states, visits = [], [], []
    decay = tuning.decay_of(shared.loss.classes)
    for number in range(choices.n_members):
        seeds = np.random.SeedSequence([choices.seed, 1, number])
        rng = np.random.default_rng(seeds.spawn(1)[0])
        visits.append(visits_of(rows, most, options.batch_size, int(n_passes), rng))
        n_steps = sum(each.n_steps for each in visits[-1])
        index = held_out_of(number, shared.draws, drawn.keys)
        own = drawn.take(index).rows
        members.append(Member(number, Schedule(n_steps, options.learning_rate, decay), own))
        states.append(Descended.at(shared.network.random(1, seeded(seeds))))
    looks = _rounds(parts, shared, members, states, visits)
    return _result(looks, replace(options, max_iter=len(looks[0]) - 1))


def _rounds(
    parts: Sequence[Part],
    shared: Shared,
    members: list[Member],
    states: list[Descended],
    visits: list[list[Visit]],
) -> list[list[Look]]:
    """Return the looks of all members."""
    call: Callable = dask.delayed(visit)
    # They go to the workers once, and not with each round.
    common, *owns = (
        dask.persist(dask.delayed(part, traverse=False))[0] for part in (shared, *members)
    )
    looks: list[list[Look]] = [[] for _ in members]
    for place in range(max(map(len, visits))):
        active = [m for m, own in enumerate(visits) if place < len(own)]
        tasks = []
        for m in active:
            numbers, n_steps = visits[m][place]
            tables = [parts[number] for number in numbers]
            begin = dask.delayed(states[m], traverse=False)
            tasks.append(call(common, owns[m], begin, place, n_steps, tables))
        for m, (moments, seen) in zip(active, dask.compute(*tasks), strict=True):
            states[m] = moments
            looks[m] += seen
    return looks


def _result(looks: list[list[Look]], options: Options) -> Result:
    """Choose the best look of each member, as `skrelu._solvers.adamw.adamw` does."""
    progress: Progress | None = None
    everything = torch.arange(len(looks))
    for number, seen in enumerate(zip(*looks, strict=True)):
        theta, fitted, held = (torch.cat(part) for part in zip(*seen, strict=True))
        known = None if bool(held.isnan().any()) else held
        now = evaluation(theta, fitted, known, 1, number)
        if progress is None:
            progress = Progress(now, options)
        else:
            progress.update(now, everything)
    assert progress is not None
    return progress.result(Status.CONVERGED)
