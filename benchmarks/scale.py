"""Measure how time, memory and error grow with rows, columns and the size of the network.

    python -m benchmarks.scale [--quick] [--only NAME ...] [--output FILE]

Each fit runs in a process of its own, so that its memory is its own. A full run is kept in
docs/tables/scale.txt, its sections in docs/tables/scale_NAME.csv, its picture in
docs/images/scale.png. Memory is measured on Linux only.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks._report import ROOT, TABLES, main, table, verdict
from benchmarks.functions._function import Problem
from benchmarks.functions._methods import METHODS

BY_NAME = {method.name: method for method in METHODS}
LARGEST = {"MLP": 100_000, "pykan": 1000, "GP": 1000}  # rows that a method is tried on
N_PREDICT = {"pykan": 10_000, "GP": 10_000}  # their memory grows fast with these rows
SECONDS = 120.0  # for a fit and its predictions
NOTE = """\
make_friedman1, one seed, one thread. s: seconds of the fit, once, after one on 50 rows. MB: peak of
the memory in the fit over that before, so without the data. error: RMSE on 5000 fresh rows without
noise over the standard deviation of their y. rows/s: of predict on 50 times as many rows, at most
200 000 (GP, pykan: 10 000), best of 3. Blank: more than 120 s, or failed. skrelu, HistGB: defaults.
MLP: defaults; pykan: layers p-5-1, 50 steps; GP: a length for each input and noise, two starts; X
and y scaled."""


@dataclass(frozen=True)
class Case:
    """A method with its settings, and the table that it is fitted to."""

    method: str
    n_samples: int
    n_features: int
    noise: float = 0.0
    depth: int | None = None
    n_levels: int | None = None

    def fit(self, X, y):
        """Return the function that predicts, and its number of parameters."""
        settings = {}
        if self.depth is not None:
            sizes = {"depth": self.depth, "n_levels": self.n_levels}
            settings = {**sizes, "n_subnetworks": 24, "n_init": 1}
        return BY_NAME[self.method].fit(X, y, **settings)

    def draw(self, n_samples: int, seed: int, noise: float = 0.0):
        """Return X and y."""
        return make_friedman1(n_samples, self.n_features, noise=noise, random_state=seed)


@dataclass(frozen=True)
class Costs:
    """What is measured of a case; None if it took too long or failed."""

    seconds: float | None = None
    megabytes: float | None = None
    error: float | None = None
    n_parameters: int | None = None
    rows_per_second: float | None = None


Results = dict[Case, Costs]


def measure(case: Case) -> Costs:
    """Measure in a fresh process, which is ended if it takes too long."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_here, args=(case, sender))
    process.start()
    sender.close()  # leaves that of the process, whose end is then seen here
    try:
        receiver.recv()  # it is ready
        return receiver.recv() if receiver.poll(SECONDS) else Costs()
    except EOFError:  # it failed, and has printed why
        return Costs()
    finally:
        process.terminate()
        process.join()


def _measure_here(case: Case, sender: Connection) -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    BY_NAME[case.method].is_installed()  # imports it
    with threadpool_limits(1):
        case.fit(*case.draw(50, seed=2))  # first steps take longer
        problem = Problem(*case.draw(case.n_samples, 0, case.noise), *case.draw(5000, seed=1))
        before = _peak_memory(reset=True)
        sender.send("ready")
        begin = time.perf_counter()
        predict, n_parameters = case.fit(problem.X, problem.y)
        seconds = time.perf_counter() - begin
        megabytes = None if before is None else _peak_memory() - before
        X = case.draw(N_PREDICT.get(case.method, min(50 * case.n_samples, 200_000)), seed=3)[0]
        rates = []
        for _ in range(3):
            begin = time.perf_counter()
            predict(X)
            rates.append(len(X) / (time.perf_counter() - begin))
        error = problem.error(predict)
    sender.send(Costs(seconds, megabytes, error, n_parameters, max(rates)))


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


def rows(quick: bool) -> str:
    """Compare methods on tables of more and more rows."""
    counts, n_features = ((300, 1000), 5) if quick else ((1000, 10_000, 100_000, 1_000_000), 20)
    names = ["skrelu", "HistGB", "MLP", *([] if quick else ["pykan", "GP"])]
    results = _collect(
        "rows",
        [
            Case(name, n, n_features)
            for n in counts
            for name in names
            if n <= LARGEST.get(name, n) and BY_NAME[name].is_installed()
        ],
        quick,
    )
    if not quick:
        _draw(results)
    return "\n".join([_text(results), NOTE, *_verdicts(results, quick)])


def noisy(quick: bool) -> str:
    """Compare two methods where y has noise of variance 1."""
    counts, n_features = ((300,), 5) if quick else ((1000, 100_000), 20)
    cases = [Case(name, n, n_features, noise=1.0) for n in counts for name in ("skrelu", "HistGB")]
    return _text(_collect("noisy", cases, quick))


def columns(quick: bool) -> str:
    """Compare two methods on tables of more and more columns."""
    n_samples, widths = (300, (5,)) if quick else (10_000, (5, 20, 50, 100))
    cases = [Case(name, n_samples, width) for width in widths for name in ("skrelu", "HistGB")]
    return _text(_collect("columns", cases, quick))


def size(quick: bool) -> str:
    """Vary the depth and the levels of one start of 24 sub-networks."""
    n_samples, depths, levels = (300, (2,), (4,)) if quick else (5000, (2, 4, 8), (1, 2, 4))
    cases = [Case("skrelu", n_samples, 5, depth=d, n_levels=n) for d in depths for n in levels]
    return _text(_collect("size", cases, quick))


def _collect(name: str, cases: Sequence[Case], quick: bool) -> Results:
    """Measure each; a full run writes docs/tables/scale_NAME.csv."""
    results = {case: measure(case) for case in cases}
    if not quick:
        with (TABLES / f"scale_{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            lines = [asdict(case) | asdict(costs) for case, costs in results.items()]
            writer.writerow(lines[0])
            for line in lines:
                values = line.values()
                writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in values])
    return results


def _text(results: Results) -> str:
    """Return a table of the results, without the columns that are empty."""
    header = ["method", "rows", "features", "noise", "depth", "levels"]
    header += ["s", "MB", "error", "parameters", "rows/s"]
    lines = [[*asdict(case).values(), *asdict(costs).values()] for case, costs in results.items()]
    used = [i for i in range(len(header)) if any(line[i] is not None for line in lines)]
    return table([header[i] for i in used], [[line[i] for i in used] for line in lines])


def _verdicts(results: Results, quick: bool) -> list[str]:
    """Hold skrelu against HistGB on the largest table, and against its own smaller fit."""
    found = {(case.method, case.n_samples): costs for case, costs in results.items()}
    largest = max(n for _, n in found)
    smaller = 300 if quick else 10_000
    ours, boosting = found["skrelu", largest], found["HistGB", largest]
    mlp = found["MLP", min(largest, LARGEST["MLP"])]
    nan = float("nan")  # of what was not measured: misses any target

    def ratio(what: str, over: Costs) -> float:
        above, below = getattr(ours, what), getattr(over, what)
        return nan if above is None or below is None else above / below

    growth = ratio("seconds", found["skrelu", smaller]) * smaller / largest
    at = f"at {largest} rows"
    megabytes = nan if ours.megabytes is None else ours.megabytes
    return [
        *(["The targets are set for a full run."] if quick else []),
        verdict(f"seconds over HistGB's {at}", ratio("seconds", boosting), 2),
        verdict(f"error over HistGB's {at}", ratio("error", boosting), 1),
        verdict(f"MB beside the data {at}", megabytes, 500),
        verdict(f"seconds a row {at} over those at {smaller}", growth, 1),
        verdict("predicted rows/s over MLP's", ratio("rows_per_second", mlp), 1, at_least=True),
        verdict(
            "predicted rows/s over HistGB's", ratio("rows_per_second", boosting), 1, at_least=True
        ),
    ]


def _draw(results: Results) -> None:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    labels = {"seconds": "seconds of the fit", "error": "relative RMSE"}
    for axis, (what, label) in zip(axes, labels.items(), strict=True):
        for name in dict.fromkeys(case.method for case in results):
            found = {c: r for c, r in results.items() if c.method == name and r.seconds}
            counts = [case.n_samples for case in found]
            values = [getattr(costs, what) for costs in found.values()]
            color, marker = BY_NAME[name].style
            axis.plot(counts, values, marker + "-", color=color, label=name)
        axis.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
        axis.grid(color="#e6e9ec")
        axis.set_axisbelow(True)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(ROOT / "docs" / "images" / "scale.png", dpi=100)


MEASUREMENTS = {"rows": rows, "noisy": noisy, "columns": columns, "size": size}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "scale.txt")
