"""Members of the encoded network, each trained by visits of its own to all partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import Array
from skrelu._data.torch_interop import isolated, threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.encoded_columns import EncodedColumns, EncodedRows, chunks_of
from skrelu._networks.encoded_network import EncodedNetwork
from skrelu._solvers.adamw import Descent, Moments, Schedule, losses
from skrelu._solvers.losses import Loss
from skrelu.dask._partitions import Part
from skrelu.dask._reading import Numbers, Reader
from skrelu.dask._statistics import CPU, Draws, standardized

# Values (rows times columns) of several small partitions that are in memory, and mixed, at once.
VALUES_AT_ONCE = 4_000_000


class Visit(NamedTuple):
    """Partitions whose rows are mixed, and the steps that a member takes on them."""

    numbers: tuple[int, ...]
    n_steps: int


class Look(NamedTuple):
    """A member at one of the looks at its held-out rows."""

    theta: Tensor  # (1, n_parameters)
    loss: Tensor  # (1,), on a minibatch
    held_out: Tensor  # (1,)


def visits_of(
    rows: tuple[int, ...], most: int, batch: int, n_passes: int, rng: np.random.Generator
) -> list[Visit]:
    """Return the visits of a member: all partitions in random order, in each pass anew.

    Parameters
    ----------
    rows : tuple of int
        Rows of each partition.
    most : int
        Rows of several partitions that may be mixed.
    batch, n_passes : int
    rng : numpy.random.Generator
    """
    visits = []
    for _ in range(n_passes):
        groups: list[list[int]] = []
        size = 0
        for number in rng.permutation(np.flatnonzero(rows)).tolist():
            # A group of less than a minibatch takes one more.
            if groups and (size + rows[number] <= most or size < batch):
                groups[-1].append(number)
                size += rows[number]
            else:
                groups.append([number])
                size = rows[number]
        if size < batch and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        for group in groups:
            n_rows = sum(rows[number] for number in group)
            visits.append(Visit(tuple(group), max(1, round(n_rows / batch))))
    return visits


@dataclass(frozen=True)
class Shared:
    """What the visits of all members have in common."""

    reader: Reader
    columns: EncodedColumns
    network: EncodedNetwork
    loss: Loss
    X_scaling: Scaling
    y_scaling: Scaling
    factor: float  # of the additive model: 1 if members learn what it leaves
    draws: Draws

    def encoded(self, tables: list[Numbers]) -> EncodedRows:
        """Return rows of one member as it reads them."""
        n = sum(len(table.X) for table in tables)
        columns, n_outputs = self.columns, self.network.n_outputs
        y = torch.empty(n_outputs, n, dtype=torch.float64)
        plain = torch.empty(n, len(columns.curves.groups), dtype=torch.float32)
        positions = torch.empty(n, len(columns.knots.features), dtype=torch.float32)
        additive = torch.empty(1, len(columns.curves.values[0]), n, dtype=torch.float32)
        values = torch.empty(1, n, columns.n_curves, dtype=torch.float32)
        begin = 0
        for table in tables:
            for chunk in chunks_of(len(table.X)):
                place = slice(begin + chunk.start, begin + chunk.stop)
                found = columns.encoded(to_tensor(self.X_scaling.apply(table.X[chunk]), CPU))
                plain[place], positions[place], additive[..., place], values[:, place] = found
                y[:, place] = standardized(table.y[chunk], self.y_scaling, self.loss)
            begin += len(table.X)
        weights = np.concatenate([table.weights for table in tables])
        return EncodedRows(
            columns=columns,
            y=y,
            weights=torch.tensor(weights[None], dtype=torch.float32),
            plain=plain,
            positions=positions,
            curves=values.div_(columns.spread[:, None]),
            additive=additive,
            models=torch.zeros(1, dtype=torch.int64),
            factors=torch.tensor([self.factor], dtype=torch.float32),
            n_rows=n,
        )


@dataclass(frozen=True)
class Member:
    """What the visits of a member have in common."""

    number: int
    schedule: Schedule
    held_out: Numbers  # rows


@isolated()
def visit(
    shared: Shared, member: Member, begin: Moments, place: int, n_steps: int, parts: list[Part]
) -> tuple[Moments, list[Look]]:
    """Train a member on some partitions.

    Parameters
    ----------
    shared : Shared
    member : Member
    begin : Moments
        Where the visit before has ended.
    place : int
        Number of the visit.
    n_steps : int
    parts : list of Part

    Returns
    -------
    moments : Moments
    looks : list of Look
        Those that fall into this visit.
    """
    with threads(0.0):
        tables = [_without_held_out(shared, member.number, part) for part in parts]
        rows = shared.encoded(tables)
        del tables, parts
        seeds = np.random.SeedSequence([shared.draws.seed, 2, member.number, place])
        order = torch.randperm(rows.n_rows, generator=seeded(seeds))
        moments = Moments(
            begin.theta.clone(), begin.mean.clone(), begin.square.clone(), begin.taken
        )
        descent = Descent(shared.network, shared.loss, member.schedule, moments)
        every, looks, held = member.schedule.looks(), [], None
        some = any(begin.taken <= at <= begin.taken + n_steps for at in every)
        if some and len(member.held_out.X):
            of_held = shared.encoded([member.held_out])
            held = of_held.take(torch.arange(of_held.n_rows))

        def look(batch) -> Look:
            theta = descent.moments.theta
            fitted = losses(shared.network, theta, batch, shared.loss)
            own = torch.full_like(fitted, torch.nan)
            if held is not None:
                own = losses(shared.network, theta, held, shared.loss)
            return Look(shared.network.by_member(theta), fitted, own)

        # Every row is read once; minibatches differ by a row if the size does not divide them.
        for index in order.repeat(-(-n_steps // max(1, len(order)))).tensor_split(n_steps):
            batch = rows.take(index)
            if descent.moments.taken in every:
                looks += [look(batch)] * every.count(descent.moments.taken)
            descent.step(batch)
        if descent.moments.taken == member.schedule.n_steps:
            looks += [look(batch)] * every.count(member.schedule.n_steps)
    return descent.moments, looks


def _without_held_out(shared: Shared, member: int, part: Part) -> Numbers:
    rows = shared.reader.read(part)
    keys = shared.draws.keys(part.number, len(rows.X))
    kept = ~shared.draws.held_out(keys, member)
    return Numbers(*(values[kept] for values in rows))


def seeded(seeds: np.random.SeedSequence) -> torch.Generator:
    """Return a generator of torch, on the CPU."""
    generator = torch.Generator()
    return generator.manual_seed(int(seeds.generate_state(1)[0]))


def held_out_of(member: int, draws: Draws, keys: Array) -> NDArray[np.int64]:
    """Return the indices of the rows that a member holds out, at most as many as count."""
    return np.flatnonzero(draws.held_out(keys, member))[: tuning.ENCODED_HELD_OUT]
