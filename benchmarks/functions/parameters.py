"""Error against the number of parameters, beside MLPRegressor with ReLU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks._report import table, verdict
from benchmarks.functions._function import Function
from benchmarks.functions._methods import Fit, fit_mlp, fit_skrelu, score
from benchmarks.functions._registry import FUNCTIONS
from benchmarks.functions._results import collect, save_picture

NAMES = ("friedman1", "borehole", "I.12.11", "I.16.6", "jv", "Franke")
STYLES = {"skrelu": ("#d1542c", "o"), "MLP": ("#7a5c00", "^")}
NOTE = """\
Relative RMSE without noise, {n_train} training rows; medians over the seeds, {n_seeds} of them.
skrelu: n_init=1, its size the number of sub-networks. MLP: ReLU, hidden units by layer; L-BFGS
to tol=1e-6, up to 5000 iterations; X and y standardized. At equal error: the lowest error that
both come to, and the fewest parameters, among these sizes, with which each is there or below."""


@dataclass(frozen=True)
class Size:
    """A method at one size."""

    method: str
    size: str
    fit: Fit


@dataclass(frozen=True)
class Result:
    """One method at one size on one function: medians over the seeds."""

    function: str
    n_inputs: int
    method: str
    size: str
    n_parameters: int
    error: float
    seconds: float


def parameters(quick: bool) -> str:
    """Compare the sizes that skrelu and MLPRegressor need for an error."""
    names, sizes = (NAMES[-1:], _sizes()[::3]) if quick else (NAMES, _sizes())
    n_train, n_test, n_seeds = (200, 1000, 1) if quick else (1000, 5000, 3)
    with threadpool_limits(1):
        measured = (
            result
            for name in names
            for result in _measure(FUNCTIONS[name], sizes, n_train, n_test, n_seeds)
        )
        results = collect("parameters", measured, quick)
    if not quick:
        _draw(results)
    rows = [[r.function, r.method, r.size, r.n_parameters, r.error, r.seconds] for r in results]
    equal = {name: _at_equal_error(results, name) for name in names}
    parts = [
        table(["function", "method", "size", "parameters", "error", "s"], rows),
        NOTE.format(n_seeds=n_seeds, n_train=n_train),
        table(
            ["at equal error", "error", "skrelu", "MLP", "ratio"],
            [[n, *row] for n, row in equal.items()],
        ),
        *(["The target is set for a full run."] if quick else []),
        verdict("largest ratio of parameters", max(row[-1] for row in equal.values()), 0.2),
    ]
    return "\n\n".join(parts)


def _sizes() -> list[Size]:
    sizes = [
        Size("skrelu", f"{n}", partial(fit_skrelu, n_subnetworks=n, n_init=1))
        for n in (1, 2, 4, 8, 16, 32)
    ]
    lbfgs = partial(fit_mlp, solver="lbfgs", tol=1e-6, max_iter=5000)
    for layers in ((5,), (10,), (30,), (100,), (300,), (10, 10), (30, 30), (100, 100)):
        fit = partial(lbfgs, hidden_layer_sizes=layers)
        sizes.append(Size("MLP", "-".join(map(str, layers)), fit))
    return sizes


def _measure(
    function: Function, sizes: Sequence[Size], n_train: int, n_test: int, n_seeds: int
) -> Iterator[Result]:
    problem = function.problem(n_train, n_test)
    n_inputs = len(function.ranges)
    for size in sizes:
        scores = [score(partial(size.fit, seed=seed), problem) for seed in range(n_seeds)]
        medians = np.median([(found.error, found.seconds) for found in scores], axis=0)
        n_parameters = max(found.n_parameters or 0 for found in scores)  # None: the fit failed
        names = function.name, n_inputs, size.method, size.size
        yield Result(*names, n_parameters, *map(float, medians))


def _at_equal_error(results: list[Result], name: str) -> list[float]:
    """Return an error that both methods come to, the parameters of each and their ratio."""
    by_method = [
        [r for r in results if r.function == name and r.method == method] for method in STYLES
    ]
    error = max(min(r.error for r in found) for found in by_method)
    ours, theirs = (min(r.n_parameters for r in found if r.error <= error) for found in by_method)
    return [error, ours, theirs, ours / theirs]


def _draw(results: list[Result]) -> None:
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for axis, name in zip(axes.flat, NAMES, strict=True):
        for method, (color, marker) in STYLES.items():
            found = [r for r in results if r.function == name and r.method == method]
            sizes, errors = [r.n_parameters for r in found], [r.error for r in found]
            axis.plot(sizes, errors, marker, color=color, label=method)
        axis.set(xscale="log", yscale="log", title=f"{name}, {found[0].n_inputs} inputs")
        axis.grid(color="#e6e9ec")
        axis.set_axisbelow(True)
    for axis in axes[-1]:
        axis.set_xlabel("parameters")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative RMSE")
    axes[0, 0].legend(frameon=False)
    save_picture("parameters", figure)
