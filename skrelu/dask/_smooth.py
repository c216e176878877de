"""Smooth targets: a sample is fitted as on one machine, and goes on with sums over all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dask
import numpy as np
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import Table
from skrelu._data.torch_interop import isolated, threads, to_tensor
from skrelu._estimators.base import canonical_table
from skrelu._estimators.tables import columns_of
from skrelu._fit import tuning
from skrelu._fit.fit_network import fit_network
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._fit.plan import Settings
from skrelu._fit.report import Step
from skrelu._fit.summed import go_on_by_sums, is_composed
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Progress, Result
from skrelu._solvers.summed import Sums
from skrelu.dask._members import seeded
from skrelu.dask._partitions import Part, sum_of
from skrelu.dask._reading import Counts, Numbers, Reader
from skrelu.dask._statistics import CPU

# Most values (rows times columns) that are drawn for it: they are added up on workers.
FIRST_VALUES = 4_000_000


class Smooth(NamedTuple):
    """The outcome of a fit of composed sub-networks."""

    fitted: Fitted
    kept: Table  # the sample
    stages: list[tuple[str, Result]]


@dataclass(frozen=True)
class Standardized:
    """What sums need to know beside a point."""

    reader: Reader
    network: ComposedNetwork
    X_scaling: Scaling
    y_scaling: Scaling

    @isolated()
    def sums(self, theta: Tensor, part: Part) -> Sums:
        """Return the sums of a partition."""
        rows = self.reader.read(part)
        with threads(0.0):
            X = to_tensor(self.X_scaling.apply(rows.X).T, CPU)
            y = to_tensor(self.y_scaling.apply(rows.y).T, CPU)
            return Sums.of(self.network, theta, X, y, to_tensor(rows.weights, CPU))


class _OtherKind(Exception):
    """The fit begins with networks that do not go on by sums."""


class _UntilOtherKind:
    """A report that ends a fit which takes networks on encoded columns."""

    def __call__(self, stage: str, progress: Progress, fitted: Callable | None) -> bool:
        if stage == "encoded columns":
            raise _OtherKind
        return False

    def step(self, step: Step) -> None:
        """Take no notice."""


def n_first(reader: Reader, settings: Settings, gather_rows: int) -> int:
    """Return the number of rows that are fitted first.

    It is 0 if composed networks cannot go on, or if columns are too many.
    """
    columns = columns_of(reader.model)
    if not columns.plain or not isinstance(settings.loss, SquaredError):
        return 0
    most = FIRST_VALUES // len(columns.owners) - tuning.SCORED_ROWS
    return max(0, min(gather_rows, most))


def fit_smooth(
    parts: Sequence[Part],
    reader: Reader,
    counts: Counts,
    settings: Settings,
    drawn: Numbers,
    n_fitted: int,
    seed: int,
) -> Smooth | None:
    """Fit a sample as on one machine; composed sub-networks go on with all partitions.

    Parameters
    ----------
    parts : sequence of Part
    reader : Reader
    counts : Counts
    settings : Settings
    drawn : Numbers
        Random rows: the first ``n_fitted`` are the sample, and the last `tuning.SCORED_ROWS` tell
        error bars.
    n_fitted, seed : int

    Returns
    -------
    Smooth or None
        None if the fit of the sample is not of composed sub-networks alone. It ends where
        this is known.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts it.
    """
    table = canonical_table(*(part[:n_fitted] for part in drawn))
    generator = seeded(np.random.SeedSequence([seed, 4]))
    try:
        first = fit_network(
            table,
            None,
            settings,
            warm=None,
            device=CPU,
            generator=generator,
            report=_UntilOtherKind(),
        )
    except _OtherKind:
        return None
    if first.interrupted:
        raise KeyboardInterrupt
    if not is_composed(first):
        return None
    job = Job(table, None, settings, None, CPU, generator, None)
    network = first.plan.network
    assert isinstance(network, ComposedNetwork)
    call = dask.delayed(Standardized.sums)
    # It goes to the workers once, and not with each point.
    kept = dask.persist(dask.delayed(Standardized(reader, network, *job.scalings), traverse=False))[
        0
    ]
    some = [part for part, n in zip(parts, counts.rows, strict=True) if n]

    def sums(theta: Tensor) -> Sums:
        point = dask.delayed(theta, traverse=False)
        return sum_of([call(kept, point, part) for part in some])

    scored = canonical_table(*(part[-tuning.SCORED_ROWS :] for part in drawn))
    n_effective = counts.weight**2 / counts.squares
    fitted, result = go_on_by_sums(job, first, sums, n_effective, scored)
    if result.interrupted:
        raise KeyboardInterrupt
    assert first.pretraining is not None
    stages = [("pretraining", first.pretraining), ("pretraining on all partitions", result)]
    return Smooth(fitted, table, stages)
