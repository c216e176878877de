"""All functions by all methods, with and without noise in the training targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks._report import table, verdict
from benchmarks.functions._function import Function
from benchmarks.functions._methods import METHODS, Method, fit_skrelu, score
from benchmarks.functions._registry import FUNCTIONS
from benchmarks.functions._results import collect, save_picture

PRODUCTS = ("I.12.11", "I.30.3")
QUICK = {"clean": (*PRODUCTS, "Franke"), "noisy": ("Franke",)}
NOTE = """\
Relative RMSE: test RMSE over the standard deviation of the true test values; inf: the fit failed.
{n_train} training and {n_test} test rows, uniform in the ranges, one seed, one thread. Noise in
the training targets: {noise:g} of their standard deviation.
skrelu and HistGB: defaults. MLP: defaults; "MLP tanh": 100 tanh units, L-BFGS, up to 2000
iterations; X and y standardized for both. pykan: layers p-5-1, 5 intervals, 50 steps of L-BFGS
in float64; X scaled to [-1, 1], y standardized. GP: Gaussian process with a length for each
input and noise, from two starts, X and y standardized: a reference, not one of the peers.
ratio: error of skrelu over the best peer's. s: seconds of skrelu's fit. peer s: those of the
fastest peer whose error is within twice the best peer's, named in the last column."""


@dataclass(frozen=True)
class Result:
    """One method on one function."""

    group: str
    function: str
    n_inputs: int
    method: str
    error: float
    seconds: float
    n_parameters: int | None


@dataclass(frozen=True)
class Comparison:
    """The results of all methods on one function, by method."""

    function: Function
    results: dict[str, Result]

    @property
    def ours(self) -> Result:
        """That of skrelu."""
        return self.results["skrelu"]

    @property
    def peers(self) -> list[Result]:
        """Those that skrelu is held against."""
        return [self.results[m.name] for m in METHODS if m.is_peer and m.name in self.results]

    @property
    def ratio(self) -> float:
        """Error of skrelu over the lowest of the peers."""
        return self.ours.error / min(result.error for result in self.peers)

    @property
    def fast_peer(self) -> Result:
        """The fastest peer whose error is within twice the lowest of the peers."""
        limit = 2 * min(result.error for result in self.peers)
        good = [result for result in self.peers if result.error <= limit]
        return min(good, key=lambda result: result.seconds)

    @property
    def is_as_fast(self) -> bool:
        """Whether skrelu takes no longer than the fast peer."""
        return self.ours.seconds <= self.fast_peer.seconds


def clean(quick: bool) -> str:
    """Compare errors and seconds on functions without noise."""
    comparisons, text = _compare("clean", 0, quick)
    errors = {comparison.function.name: comparison.ours.error for comparison in comparisons}
    lines = [verdict(f"error of skrelu on {name}", errors[name], 1e-2) for name in PRODUCTS]
    return "\n".join([text, *lines])


def noisy(quick: bool) -> str:
    """Compare them with noise of a tenth of the standard deviation of y."""
    return _compare("noisy", 0.1, quick)[1]


def _compare(name: str, noise: float, quick: bool) -> tuple[list[Comparison], str]:
    """Return the comparisons, and the text that both sections have."""
    functions = [f for f in FUNCTIONS.values() if not quick or f.name in QUICK[name]]
    n_train, n_test = (200, 1000) if quick else (1000, 5000)
    installed = [method for method in METHODS if method.is_installed()]
    missing = [method for method in METHODS if method not in installed]
    with threadpool_limits(1):
        score(fit_skrelu, FUNCTIONS["x*y"].problem(50, 50))  # torch's first steps take longer
        measured = _measure(functions, installed, n_train, n_test, noise)
        results = collect(name, measured, quick)
    comparisons = [
        Comparison(function, {r.method: r for r in results if r.function == function.name})
        for function in functions
    ]
    if not quick:
        _draw(name, comparisons, installed)
    parts = [
        *_errors(comparisons, installed),
        *(f"{m.name} is not installed (pip install {m.requires}): left out." for m in missing),
        NOTE.format(n_train=n_train, n_test=n_test, noise=noise),
        _by_group(comparisons),
        _by_method(comparisons, installed),
        *(["The targets are set for a full run."] if quick else []),
        _verdicts(comparisons),
    ]
    return comparisons, "\n\n".join(parts)


def _measure(
    functions: list[Function], methods: list[Method], n_train: int, n_test: int, noise: float
) -> Iterator[Result]:
    for function in functions:
        problem = function.problem(n_train, n_test, noise)
        n_inputs = len(function.ranges)
        for method in methods:
            found = score(method.fit, problem)
            costs = found.seconds, found.n_parameters
            yield Result(function.group, function.name, n_inputs, method.name, found.error, *costs)


def _by_groups(comparisons: list[Comparison]) -> Iterator[tuple[str, list[Comparison]]]:
    for group, members in groupby(comparisons, lambda comparison: comparison.function.group):
        yield group, list(members)


def _errors(comparisons: list[Comparison], methods: list[Method]) -> Iterator[str]:
    """Yield a table for each group."""
    names = [method.name for method in methods]
    for group, members in _by_groups(comparisons):
        rows = [
            [
                comparison.function.name,
                comparison.ours.n_inputs,
                *(comparison.results[name].error for name in names),
                comparison.ratio,
                comparison.ours.seconds,
                comparison.fast_peer.seconds,
                comparison.fast_peer.method,
            ]
            for comparison in members
        ]
        yield table([group, "inputs", *names, "ratio", "s", "peer s", "peer"], rows)


def _by_group(comparisons: list[Comparison]) -> str:
    rows = []
    for group, members in _by_groups(comparisons):
        ratios = np.array([comparison.ratio for comparison in members])
        n_half, n_fast = sum(ratios <= 0.5), sum(c.is_as_fast for c in members)
        rows.append([group, len(members), float(np.median(ratios)), ratios.max(), n_half, n_fast])
    return table(["group", "functions", "median ratio", "largest", "<= 0.5", "as fast"], rows)


def _by_method(comparisons: list[Comparison], methods: list[Method]) -> str:
    rows: list[list] = []
    for method in methods:
        results = [comparison.results[method.name] for comparison in comparisons]
        sizes = [result.n_parameters for result in results if result.n_parameters is not None]
        medians = np.median([(result.error, result.seconds) for result in results], axis=0)
        rows.append([method.name, *map(float, medians), int(np.median(sizes)) if sizes else None])
    return table(["medians", "error", "s", "parameters"], rows)


def _verdicts(comparisons: list[Comparison]) -> str:
    ratios = np.array([comparison.ratio for comparison in comparisons])
    half = float(np.mean(ratios <= 0.5))
    fast = float(np.mean([comparison.is_as_fast for comparison in comparisons]))
    lines = [
        verdict("share of functions with ratio <= 0.5", half, 0.8, at_least=True),
        verdict("largest ratio", float(ratios.max()), 1.2),
        verdict("share of functions as fast as the peer named", fast, 1, at_least=True),
    ]
    return "\n".join(lines)


def _draw(name: str, comparisons: list[Comparison], methods: list[Method]) -> None:
    """Draw the errors on a function in a row, the functions in two columns."""
    n_rows = -(-len(comparisons) // 2)
    figure = Figure(figsize=(12, 1.2 + 0.22 * n_rows), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    for axis, begin in zip(axes, (0, n_rows), strict=True):
        members = comparisons[begin : begin + n_rows]
        for method in methods:
            errors = [comparison.results[method.name].error for comparison in members]
            color, marker = method.style
            axis.plot(errors, range(len(members)), marker, color=color, ms=6, label=method.name)
        axis.set_yticks(range(len(members)), [c.function.name for c in members])
        axis.set(xscale="log", xlabel="relative RMSE", ylim=(n_rows - 0.4, -0.6))
        axis.grid(color="#e6e9ec")
        axis.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    save_picture(name, figure)
