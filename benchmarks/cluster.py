"""Fit partitions on workers: seconds, memory and error, and what 100 workers would cost.

Workers are processes of this machine. Their CPU seconds do not depend on what else runs; wall
seconds do.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks._command import main, named
from benchmarks._experiment import Experiment, Row
from benchmarks._text import Target
from skrelu import ExponentialReLURegressor

ROWS_A_PART, N_FEATURES, N_SAMPLE, NOISE = 25_000, 12, 50_000, 0.5
LIMIT = 1_500_000_000  # bytes of a worker
BY_HOUR, BY_CODE = np.random.default_rng(5).normal(size=(2, 24))
NOTE = f"""\
{N_FEATURES} columns, two of them codes; y depends on codes, jumps and a smooth product, and has
noise of standard deviation {NOISE}. error: RMSE to y without noise on 20 000 fresh rows over the
standard deviation of y. CPU s: of all workers, or of the one process. MB: largest memory of a
worker, of which Python, torch and dask take the part "idle". sample: {N_SAMPLE} random rows.
One machine: the ordinary estimator, all rows in memory. Four members in each fit; one seed."""


def table(number: int, n: int = ROWS_A_PART) -> np.ndarray:
    """Draw rows from their number, (n, N_FEATURES + 2): features, y, y without noise."""
    rng = np.random.default_rng(number)
    codes, x = rng.integers(0, 24, (n, 2)), rng.uniform(size=(n, N_FEATURES - 2))
    y = BY_HOUR[codes[:, 0]] + BY_CODE[codes[:, 1]] * (x[:, 0] > 0.5)
    y += 2 * np.sin(6 * x[:, 1] * x[:, 2]) * (codes[:, 0] > 12) + x[:, 3]
    return np.column_stack([codes, x, y + NOISE * rng.normal(size=n), y])


def lazily(n_rows: int):
    """Return X and y as dask arrays of which nothing is stored."""
    import dask.array as da

    size = min(ROWS_A_PART, n_rows // 4)
    chunks = (size,) * (n_rows // size), (N_FEATURES + 2,)
    rows = da.map_blocks(_block, size, chunks=chunks, dtype=float, meta=np.empty((0, 0)))
    return rows[:, :N_FEATURES], rows[:, N_FEATURES]


def _block(size: int, block_info: Any = None) -> np.ndarray:
    return table(block_info[None]["chunk-location"][0], size)


def in_memory(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same rows as arrays."""
    size = min(ROWS_A_PART, n_rows // 4)
    rows = np.concatenate([table(number, size) for number in range(n_rows // size)])
    return rows[:, :N_FEATURES], rows[:, N_FEATURES]


def on_workers(n_rows: int, n_workers: int) -> tuple[Any, Row]:
    """Fit on so many workers; return the model, and what it cost."""
    from distributed import Client, LocalCluster

    from skrelu.dask import DaskExponentialReLURegressor

    X, y = lazily(n_rows)
    settings = {"threads_per_worker": 1, "memory_limit": LIMIT, "dashboard_address": None}
    with LocalCluster(n_workers=n_workers, **settings) as cluster, Client(cluster) as client:
        client.run(_warm_up)
        idle, before = max(client.run(_peak).values()), sum(client.run(time.process_time).values())
        begin = time.perf_counter()
        model = DaskExponentialReLURegressor(gather_rows=0, random_state=0).fit(X, y).model_
        wall = time.perf_counter() - begin
        cpu = sum(client.run(time.process_time).values()) - before
        peak = max(client.run(_peak).values())
    return model, {"wall_seconds": wall, "cpu_seconds": cpu, "megabytes": peak, "idle": idle}


def _warm_up() -> None:
    """Import what a fit needs."""
    import skrelu.dask  # noqa: F401


def _peak() -> float:
    """Return the largest memory that this process has had, in MB; NaN if it is not known."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1e-3 * int(x.split()[1]) for x in lines if x.startswith("VmHWM")), np.nan)


def here(model: Any, n_rows: int, n_most: int | None = None) -> tuple[Any, Row]:
    """Fit all rows, or a sample of them, in this process."""
    X, y = in_memory(n_rows)
    chosen = np.random.default_rng(0).permutation(n_rows)[:n_most]
    X, y = X[chosen], y[chosen]
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(X, y)
    seconds = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return model, seconds


def measure(n_rows: int, method: str, repeat: int) -> Row:
    """Return the cost and the error of a fit."""
    if method.startswith("skrelu.dask"):
        model, row = on_workers(n_rows, int(method[-1]))
    elif method == "skrelu, one machine":
        model, row = here(ExponentialReLURegressor(random_state=0), n_rows)
    else:
        most = N_SAMPLE if method.endswith("sample") else None
        model, row = here(HistGradientBoostingRegressor(random_state=0), n_rows, most)
    return row | {"error": _error(model)}


def rows(quick: bool) -> Experiment:
    """Compare 1 and 2 workers with one machine, and with trees on a sample."""
    counts = (4000,) if quick else (100_000,)
    methods = ("skrelu.dask, workers: 1", "skrelu.dask, workers: 2", "skrelu, one machine",
               "HistGB, sample", "HistGB, all rows")  # fmt: skip
    columns = {"wall_seconds": "s", "cpu_seconds": "CPU s", "megabytes": "MB", "idle": "idle",
               "error": "error"}  # fmt: skip
    return Experiment(
        problems={f"{n} rows": n for n in counts},
        methods={name: name for name in methods},
        measure=measure,
        scores=("megabytes", "idle", "error"),
        table=lambda rows: rows.set_index(["problem", "method"])[list(columns)].rename(
            columns=columns
        ),
        targets=_targets,
        note=NOTE,
    )


def _targets(rows: pd.DataFrame) -> list[Target]:
    error = rows.set_index(["problem", "method"])["error"]
    found = []
    for problem in rows["problem"].unique():
        ours = error.get((problem, "skrelu.dask, workers: 1"), np.nan)
        for other in ("skrelu, one machine", "HistGB, sample"):
            ratio = ours / error.get((problem, other), np.nan)
            found.append(Target(f"{problem}: error over that of {other}", ratio, 1.02))
        apart = abs(ours - error.get((problem, "skrelu.dask, workers: 2"), np.nan))
        found.append(Target(f"{problem}: error with 1 less that with 2 workers", apart, 0))
    return found


def parts(quick: bool) -> Experiment:
    """Measure CPU seconds a row of each pass, and model the cost of 100 workers."""
    passes = ("count", "moments", "additive sums", "visit")
    return Experiment(
        problems={"one partition": 2000 if quick else ROWS_A_PART},
        methods={name: name for name in passes},
        measure=_measure_pass,
        scores=("microseconds", "numbers"),
        table=lambda rows: rows.set_index("method")[["microseconds"]].rename(
            columns={"microseconds": "us a row"}
        ),
        report=_modelled,
    )


def _measure_pass(n_rows: int, method: str, repeat: int) -> Row:
    """Measure a pass over one partition as a fit makes it, between two marks."""
    import dask
    import dask.array as da

    from skrelu.dask import DaskExponentialReLURegressor, _fit

    functions = {"count": (_fit.Counts, "of"), "moments": (_fit, "_moments"),
                 "additive sums": (_fit, "_sums"), "visit": (_fit, "visit")}  # fmt: skip
    place, name = functions[method]
    spent, numbers, whole = [], [], getattr(place, name)

    def timed(*arguments):
        begin = time.process_time()
        found = whole(*arguments)
        spent.append(time.process_time() - begin)
        if method == "visit":
            numbers.append(3 * found[0].theta.numel())
        return found

    rows = table(0, n_rows)
    X, y = (da.from_array(a, chunks=(n_rows, -1)[: a.ndim])
            for a in (rows[:, :N_FEATURES], rows[:, N_FEATURES]))  # fmt: skip
    model = DaskExponentialReLURegressor(gather_rows=0, n_members=1, n_passes=3, random_state=0)
    with dask.config.set(scheduler="synchronous"), patch.object(place, name, timed):
        model.fit(X, y)
    each = 1e6 * min(spent) / n_rows
    return {"microseconds": each, "numbers": numbers[0] if numbers else None}


def _modelled(rows: pd.DataFrame) -> str:
    """Return the modelled cost of fits to 100 million rows."""
    cost = rows.set_index("method")["microseconds"]
    numbers = float(rows["numbers"].max())
    lines = [
        "Model: (count + moments + additive sums) * rows / workers",
        "     + visit * rows * passes * members / min(members, workers),",
        "with the microseconds above. Rows are in memory there: reading them anew comes on",
        "top, 3 + passes * members times. A round is a visit of each member, and sends the weights",
        f"and moments of each, {4e-6 * numbers:.2g} MB, to a worker and back. 100 million rows, one"
        " pass:",
    ]
    once = cost["count"] + cost["moments"] + cost["additive sums"]
    for workers, members in ((1, 4), (4, 4), (100, 4), (100, 100)):
        first = 100 * once / workers
        visits = 100 * cost["visit"] * members / min(members, workers)
        lines.append(
            f"{workers:>4} workers, {members:>3} members: {first:>6.0f} s + {visits:.0f} s, "
            f"{2 * members * 4e-6 * numbers:.2g} MB a round"
        )
    return "\n".join(lines)


def order(quick: bool) -> Experiment:
    """Measure the error if rows are sorted, and partitions are read one at a time."""
    size = 4000 if quick else 40_000
    return Experiment(
        problems={name: (size, name) for name in ("mixed", "by y", "by a code", "by a number")},
        methods={"1 pass": 1, "4 passes": 4},
        measure=_measure_order,
        scores=("error",),
        table=lambda rows: rows.pivot_table("error", "problem", "method", sort=False),
        note="16 partitions of a table as above. A visit is to one of them, as if they were large.",
    )


def _measure_order(case: tuple[int, str], n_passes: int, repeat: int) -> Row:
    import dask
    import dask.array as da

    from skrelu.dask import DaskExponentialReLURegressor, _fit

    size, name = case
    rows = table(0, size)
    by = {"by y": N_FEATURES, "by a code": 0, "by a number": 3}
    if name in by:
        rows = rows[rows[:, by[name]].argsort(kind="stable")]
    X, y = (da.from_array(a, chunks=(size // 16, -1)[: a.ndim])
            for a in (rows[:, :N_FEATURES], rows[:, N_FEATURES]))  # fmt: skip
    model = DaskExponentialReLURegressor(
        gather_rows=0, n_members=2, n_passes=n_passes, random_state=0
    )
    with dask.config.set(scheduler="synchronous"), patch.object(_fit, "VALUES_AT_ONCE", 1):
        model.fit(X, y)
    return {"error": _error(model.model_)}


def _error(model: Any) -> float:
    """Return the error of a model on fresh rows."""
    test = table(10**6, 20_000)
    found = model.predict(test[:, :N_FEATURES]) - test[:, -1]
    return float(np.sqrt(np.square(found).mean()) / test[:, -1].std())


EXPERIMENTS = named(rows, parts, order)

if __name__ == "__main__":
    main("cluster", __doc__ or "", EXPERIMENTS)
