"""Measure how time, memory and error grow with rows, columns and the size of the network.

Each fit runs in a process of its own, so that its memory is its own; memory is measured on Linux
only. Each experiment writes docs/tables/scale_NAME.csv, "rows" also docs/images/scale.png.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1

from benchmarks._command import main, named
from benchmarks._experiment import Experiment, Row, one_silent_thread, timed
from benchmarks._functions import Rows
from benchmarks._peers import OURS, REGRESSORS, n_parameters
from benchmarks._pictures import legend, panels
from benchmarks._text import Target

LARGEST = {"MLP": 100_000, "pykan": 1000, "GP": 1000}  # rows that a method is tried on
N_PREDICT = {"pykan": 10_000, "GP": 10_000}  # their memory grows fast with these rows
SECONDS = 120.0  # for a fit and its predictions
CASE = {"n_samples": "rows", "n_features": "features", "noise": "noise", "depth": "depth",
        "n_levels": "levels"}  # fmt: skip
COSTS = {"seconds": "s", "megabytes": "MB", "error": "error", "parameters": "parameters",
         "rows_per_second": "rows/s"}  # fmt: skip
NOTE = """\
make_friedman1, one seed, one thread. s: seconds of the fit, once, after one on 50 rows. MB: peak of
the memory in the fit over that before, so without the data. error: RMSE on 5000 fresh rows without
noise over the standard deviation of their y. rows/s: of predict on 50 times as many rows, at most
200 000 (GP, pykan: 10 000), best of 3. Blank: more than 120 s, or failed. skrelu, HistGB: defaults.
MLP: defaults; pykan: layers p-5-1, 50 steps; GP: a length for each input and noise, two starts; X
and y scaled."""


class Case(NamedTuple):
    """A table, and the size of skrelu's network on it."""

    n_samples: int
    n_features: int
    noise: float = 0.0
    depth: int | None = None
    n_levels: int | None = None

    def settings(self) -> Row:
        """Return parameters of the estimator."""
        if self.depth is None:
            return {}
        return {"depth": self.depth, "n_levels": self.n_levels, "n_subnetworks": 24, "n_init": 1}


def measure(case: Case, method: str, repeat: int) -> Row:
    """Measure in a fresh process, which is ended if it takes too long."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_here, args=(case, method, sender))
    process.start()
    sender.close()  # leaves that of the process, whose end is then seen here
    row = case._asdict() | {"cpu_seconds": None, "wall_seconds": None}
    try:
        receiver.recv()  # it is ready
        return row | (receiver.recv() if receiver.poll(SECONDS) else {})
    except EOFError:  # it failed, and has printed why
        return row
    finally:
        process.terminate()
        process.join()


def _measure_here(case: Case, method: str, sender: Connection) -> None:
    peer = REGRESSORS[method].set(**case.settings())
    draw = partial(make_friedman1, n_features=case.n_features)
    with one_silent_thread():
        peer().fit(*draw(50, random_state=2))  # first steps take longer
        X, y = draw(case.n_samples, noise=case.noise, random_state=0)
        rows = Rows(X, y, *draw(5000, random_state=1))
        before = _peak_memory(reset=True)
        sender.send("ready")
        model, seconds = timed(lambda: peer().fit(X, y))
        megabytes = None if before is None else _peak_memory() - before
        n_predict = N_PREDICT.get(method, min(50 * case.n_samples, 200_000))
        X = draw(n_predict, random_state=3)[0]
        rates = []
        for _ in range(3):
            begin = time.perf_counter()
            model.predict(X)
            rates.append(len(X) / (time.perf_counter() - begin))
        costs = {"megabytes": megabytes, "error": rows.error(model.predict)}
    found = costs | {"parameters": n_parameters(model), "rows_per_second": max(rates)}
    sender.send(found | seconds)


def _peak_memory(reset: bool = False) -> float | None:
    """Return the peak of this process in MB; ``reset`` makes it what is held now.

    Not `resource.getrusage`: its peak begins with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e6


class Method(str):
    """The name of a method, which its process looks up."""

    @property
    def missing(self) -> str:
        """What to install for it."""
        return REGRESSORS[self].missing


def growing(name: str, cases: Iterable[Case], methods: Iterable[str], **further) -> Experiment:
    """Return an experiment over cases."""
    by_name = {
        ", ".join(f"{what} {value:g}" for what, value in zip(CASE.values(), case, strict=True)
                  if value is not None): case
        for case in cases
    }  # fmt: skip
    return Experiment(
        problems={problem: lambda case=case: case for problem, case in by_name.items()},
        methods={method: Method(method) for method in methods}, measure=measure,
        scores=(*CASE, *list(COSTS)[1:]),
        skip=lambda problem, method: by_name[problem].n_samples > LARGEST.get(method, 10**9),
        table=lambda rows: costs(rows).rename(columns=CASE | COSTS).set_index("method"),
        files={f"scale_{name}": lambda rows: costs(rows, False)}, **further,
    )  # fmt: skip


def costs(rows: pd.DataFrame, used: bool = True) -> pd.DataFrame:
    """Return the columns of docs/tables/scale_NAME.csv, or those of them that are used."""
    frame = rows.rename(columns={"wall_seconds": "seconds"})[["method", *CASE, *COSTS]]
    whole = ["n_samples", "n_features", "depth", "n_levels", "parameters"]
    frame = frame.astype(dict.fromkeys(whole, "Int64"))
    if used:
        return frame.dropna(axis=1, how="all")
    return frame.rename(columns={"parameters": "n_parameters"})


def rows(quick: bool) -> Experiment:
    """Compare methods on tables of more and more rows."""
    counts, n_features = ((300, 1000), 5) if quick else ((1000, 10_000, 100_000, 1_000_000), 20)
    names = [OURS, "HistGB", "MLP", *([] if quick else ["pykan", "GP"])]
    smaller = 300 if quick else 10_000
    return growing(
        "rows", [Case(n, n_features) for n in counts], names,
        targets=partial(targets, smaller=smaller), pictures={"scale": draw}, note=NOTE,
    )  # fmt: skip


def targets(rows: pd.DataFrame, smaller: int) -> list[Target]:
    """Hold skrelu against HistGB on the largest table, and against its own smaller fit."""
    found = rows.set_index(["method", "n_samples"])
    largest = rows["n_samples"].max()

    def value(what: str, method: str = OURS, n: int = largest) -> float:
        return float(found[what].get((method, n), np.nan))

    def ratio(what: str, *over) -> float:
        return value(what) / value(what, *over)

    at, mlp = f"at {largest} rows", ("MLP", min(largest, LARGEST["MLP"]))
    growth = ratio("wall_seconds", OURS, smaller) * smaller / largest
    per_second = {
        "MLP": ratio("rows_per_second", *mlp),
        "HistGB": ratio("rows_per_second", "HistGB"),
    }
    return [
        Target(f"seconds over HistGB's {at}", ratio("wall_seconds", "HistGB"), 2),
        Target(f"error over HistGB's {at}", ratio("error", "HistGB"), 1),
        Target(f"MB beside the data {at}", value("megabytes"), 500),
        Target(f"seconds a row {at} over those at {smaller}", growth, 1),
        *(Target(f"predicted rows/s over {name}'s", value, 1, at_least=True)
          for name, value in per_second.items()),
    ]  # fmt: skip


def draw(rows: pd.DataFrame):
    """Draw seconds and error against rows."""
    figure, axes = panels(1, 2, (9, 4))
    labels = {"wall_seconds": "seconds of the fit", "error": "relative RMSE"}
    for axis, (what, label) in zip(axes.flat, labels.items(), strict=True):
        for name, found in rows.dropna(subset="wall_seconds").groupby("method", sort=False):
            color, marker = REGRESSORS[name].style
            axis.plot(found["n_samples"], found[what], marker + "-", color=color, label=name)
        axis.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
    legend(figure, axes[0, 0])
    return figure


def noisy(quick: bool) -> Experiment:
    """Compare two methods where y has noise of variance 1."""
    counts, n_features = ((300,), 5) if quick else ((1000, 100_000), 20)
    return growing("noisy", [Case(n, n_features, 1.0) for n in counts], (OURS, "HistGB"))


def columns(quick: bool) -> Experiment:
    """Compare two methods on tables of more and more columns."""
    n_samples, widths = (300, (5,)) if quick else (10_000, (5, 20, 50, 100))
    return growing("columns", [Case(n_samples, width) for width in widths], (OURS, "HistGB"))


def size(quick: bool) -> Experiment:
    """Vary the depth and the levels of one start of 24 sub-networks."""
    n_samples, depths, levels = (300, (2,), (4,)) if quick else (5000, (2, 4, 8), (1, 2, 4))
    return growing("size", [Case(n_samples, 5, 0.0, d, n) for d in depths for n in levels], (OURS,))


EXPERIMENTS = named(rows, noisy, columns, size)

if __name__ == "__main__":
    main("scale", __doc__ or "", EXPERIMENTS)
