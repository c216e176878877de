"""An experiment: every method on every problem, repeated, scored, held against targets.

It is declared as an `Experiment` and run by `run`. Each measured row goes to a CSV file at once;
tables, verdicts and pictures come from these rows alone.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks._store import Store
from benchmarks._text import Target, listed, shown
from skrelu import ExponentialReLURegressor

Row = dict[str, Any]
Draw = Callable[[pd.DataFrame], Figure]


@dataclass(frozen=True)
class Experiment:
    """What is measured, and what is made of the rows. Mappings are by name."""

    problems: Mapping[str, Any] = field(default_factory=dict)  # functions are called in their turn
    methods: Mapping[str, Any] = field(default_factory=dict)  # without those that are ``missing``
    # Of a problem, a method and a repeat: returns a row of scores, or several.
    measure: Callable[[Any, Any, Any], Row | Sequence[Row]] = lambda problem, method, repeat: {}
    scores: Sequence[str] = ()  # columns beside names, seconds and version
    table: Callable[[pd.DataFrame], pd.DataFrame] | None = None  # the text table
    repeats: int | Sequence[int] = 1
    batched: Collection[str] = ()  # methods that `measure` gives all repeats at once
    lasting: Collection[str] = ()  # methods that do not depend on skrelu
    skip: Callable[[str, str], bool] = lambda problem, method: False  # pairs to leave out
    rows_of: Sequence[str] = ()  # experiments whose rows are reported, if not its own
    report: Callable[[pd.DataFrame], str] | None = None  # further text
    note: str = ""
    targets: Callable[[pd.DataFrame], Iterable[Target]] = lambda rows: ()
    files: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = field(default_factory=dict)
    pictures: Mapping[str, Draw] = field(default_factory=dict)
    n_threads: int | None = 1  # None leaves libraries as they are

    def units(self, chosen: Choice) -> Iterator[tuple[str, str, Any]]:
        """Yield problem, method and repeat in the order in which they run: methods in turns."""
        repeats = list(range(self.repeats) if isinstance(self.repeats, int) else self.repeats)
        problems, methods = chosen.problems or self.problems, chosen.methods or self.methods
        for problem in (name for name in self.problems if name in problems):
            for i, repeat in enumerate(repeats[: chosen.repeats]):
                for method in (name for name in self.methods if name in methods):
                    together = method in self.batched
                    if not self.skip(problem, method) and not (i and together):
                        yield problem, method, repeats if together else repeat

    def missing(self) -> dict[str, str]:
        """Return methods whose packages are missing, and what to install for them."""
        found = {name: getattr(method, "missing", "") for name, method in self.methods.items()}
        return {name: package for name, package in found.items() if package}


@dataclass(frozen=True)
class Choice:
    """What the command line leaves to be measured: names, and how many repeats."""

    methods: Collection[str] | None = None
    problems: Collection[str] | None = None
    repeats: int | None = None


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, dict[str, float]]:
    """Return what a function returns, and its CPU and wall seconds, as columns of a row."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = function(*arguments)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return value, {"cpu_seconds": round(cpu, 7), "wall_seconds": round(wall, 7)}


@contextmanager
def one_silent_thread(n_threads: int | None = 1) -> Iterator[None]:
    """Limit torch, BLAS and processes that are started to a thread, and silence warnings."""
    before = torch.get_num_threads()
    environment = {} if n_threads is None else {"OMP_NUM_THREADS": str(n_threads)}
    with (
        warnings.catch_warnings(),
        threadpool_limits(n_threads),
        patch.dict(os.environ, environment),
    ):
        warnings.simplefilter("ignore")
        torch.set_num_threads(n_threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def run(
    experiment: Experiment, name: str, store: Store, chosen: Choice = Choice(), fresh: bool = False
) -> None:
    """Measure what the store does not have, and add it row by row."""
    missing = experiment.missing()
    for method, package in missing.items():
        print(f"{method} is left out: it needs {package} (pip install {package})", flush=True)
    units = [unit for unit in experiment.units(chosen) if unit[1] not in missing]
    if fresh:
        store.drop(name, {unit[:2] for unit in units}, experiment.lasting)
    rows = store.rows([name], experiment.lasting)
    done = set(zip(rows["problem"], rows["method"], rows["repeat"], strict=True))
    todo = [unit for unit in units if (*unit[:2], _first(unit[2])) not in done]
    if len(todo) < len(units):
        print(f"{len(units) - len(todo)} of {len(units)} are kept (--fresh begins anew)")
    with one_silent_thread(experiment.n_threads):
        warm_up()
        problem, data = None, None
        for unit in todo:
            if unit[0] != problem:
                problem = unit[0]
                data = experiment.problems[problem]
                data = data() if callable(data) else data
            measure_one(experiment, name, store, unit, data)


@cache
def warm_up() -> None:
    """Let torch do what it postpones to its first steps, which nobody's seconds should hold."""
    x = np.linspace(0, 1, 50)[:, None]
    for solver in ("lm", "adam"):
        ExponentialReLURegressor(2, n_subnetworks=2, solver=solver, max_iter=2).fit(x, x[:, 0] ** 2)


def _first(repeat: Any) -> Any:
    return repeat[0] if isinstance(repeat, list) else repeat


def measure_one(
    experiment: Experiment, name: str, store: Store, unit: tuple[str, str, Any], data: Any
) -> None:
    """Measure one pair once, or for all repeats if they run together, and add its rows."""
    problem, method, repeat = unit
    found, seconds = timed(experiment.measure, data, experiment.methods[method], repeat)
    keys = {"experiment": name, "problem": problem, "method": method, "repeat": _first(repeat)}
    found = [found] if isinstance(found, dict) else found
    rows = [{**keys, **{s: v / len(found) for s, v in seconds.items()}, **row} for row in found]
    if not rows:
        return
    store.add(rows)
    scores = {name: value for name, value in rows[-1].items() if name not in keys}
    text = {name: value for name, value in scores.items() if len(str(value)) < 30}
    print(f"{name}: {problem}, {method}, {repeat if _first(repeat) == repeat else 'all'}: "
          f"{listed(text)}", flush=True)  # fmt: skip


def section(experiment: Experiment, name: str, rows: pd.DataFrame, quick: bool) -> str:
    """Return tables, note and verdicts of an experiment as text."""
    if rows.empty:
        raise LookupError("nothing")
    cpu = rows["cpu_seconds"].sum()
    dates = {*rows["date"].iloc[[0, -1]]} - {""}
    where = ", ".join([*rows["machine"].unique(), *sorted(dates)])
    parts = [f"{name}  ({len(rows)} rows, {cpu:.3g} CPU s, {where})\n{'=' * len(name)}"]
    if experiment.table is not None:
        parts[0] += f"\n{shown(experiment.table(rows))}"
    if experiment.report is not None:
        parts.append(experiment.report(rows))
    missing = experiment.missing()
    absent = [method for method in experiment.methods if method not in set(rows["method"])]
    lines = [f"{m}: not measured{', needs ' + missing[m] if m in missing else ''}" for m in absent]
    versions = rows.groupby("version", sort=False)["method"].unique()
    lines += [f"skrelu {v}: {', '.join(of)}" for v, of in versions.items() if len(versions) > 1]
    parts += [experiment.note] if experiment.note else []
    targets = list(experiment.targets(rows))
    lines += ["The targets are set for a full run."] if quick and targets else []
    lines += [target.verdict() for target in targets]
    return "\n\n".join([*parts, "\n".join(lines)] if lines else parts)


def save(experiment: Experiment, rows: pd.DataFrame, tables: Path, images: Path) -> None:
    """Write the small tables and the pictures of an experiment."""
    for name, make in experiment.files.items():
        frame = make(rows)
        index = not isinstance(frame.index, pd.RangeIndex)
        text = frame.to_csv(index=index, float_format="%.4g", lineterminator="\n")
        (tables / f"{name}.csv").write_text(text)
    for name, draw in experiment.pictures.items():
        draw(rows).savefig(images / f"{name}.png", dpi=100)
