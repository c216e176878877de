"""Error against the number of parameters, beside MLPRegressor with ReLU."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks._report import table, verdict
from benchmarks.functions._function import Array, Function
from benchmarks.functions._methods import fit_mlp
from benchmarks.functions._registry import FUNCTIONS
from benchmarks.functions._results import collect, save_picture
from skrelu import ExponentialReLURegressor

NAMES = ("friedman1", "borehole", "I.12.11", "I.16.6", "jv", "Franke")
STYLES = {"skrelu": ("#d1542c", "o"), "MLP": ("#7a5c00", "^")}
NOTE = """\
Relative RMSE without noise, {n_train} training rows; medians over the seeds, {n_seeds} of them.
skrelu: n_init=1, its size levels x sub-networks of a level. MLP: ReLU, hidden units by layer;
L-BFGS to tol=1e-6, up to 5000 iterations; X and y standardized. Parameters are those that are
fitted; weights those of the plain ReLU network, of which skrelu's lowering sets most to constants.
At equal error: the lowest error that both come to, and the fewest parameters (or weights), among
these sizes, with which each is there or below."""


@dataclass(frozen=True)
class Size:
    """A method at one size."""

    method: str
    size: str
    fit: Callable[..., tuple[Callable[[Array], Array], int, int]]  # parameters, weights


@dataclass(frozen=True)
class Result:
    """One method at one size on one function: medians over the seeds."""

    function: str
    n_inputs: int
    method: str
    size: str
    n_parameters: int
    n_weights: int
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
    columns = ["function", "method", "size", "parameters", "weights", "error", "s"]
    rows = [
        [r.function, r.method, r.size, r.n_parameters, r.n_weights, r.error, r.seconds]
        for r in results
    ]
    equal = {name: _at_equal_error(results, name) for name in names}
    parts = [
        table(columns, rows),
        NOTE.format(n_seeds=n_seeds, n_train=n_train),
        table(
            ["at equal error", "error", "skrelu", "MLP", "ratio", "ratio of weights"],
            [[n, *row] for n, row in equal.items()],
        ),
        *(["The target is set for a full run."] if quick else []),
        verdict("largest ratio of parameters", max(row[3] for row in equal.values()), 0.2),
        verdict("largest ratio of weights", max(row[4] for row in equal.values()), 0.2),
    ]
    return "\n\n".join(parts)


def _sizes() -> list[Size]:
    sizes = [
        Size(
            "skrelu",
            f"{levels} x {n}",
            partial(_fit_skrelu, n_levels=levels, n_subnetworks=n * levels),
        )
        for levels, n in ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (6, 1), (6, 2), (6, 3))
    ]
    lbfgs = partial(_fit_mlp, solver="lbfgs", tol=1e-6, max_iter=5000)
    for layers in ((5,), (10,), (30,), (100,), (300,), (10, 10), (30, 30), (100, 100)):
        fit = partial(lbfgs, hidden_layer_sizes=layers)
        sizes.append(Size("MLP", "-".join(map(str, layers)), fit))
    return sizes


def _fit_skrelu(X: Array, y: Array, seed: int, **settings):
    model = ExponentialReLURegressor(n_init=1, random_state=seed, **settings).fit(X, y)
    return model.predict, model.n_parameters_pretrain_, model.n_parameters_


def _fit_mlp(X: Array, y: Array, seed: int, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predict, n_parameters = fit_mlp(X, y, seed, **settings)
    return predict, n_parameters, n_parameters


def _measure(
    function: Function, sizes: Sequence[Size], n_train: int, n_test: int, n_seeds: int
) -> Iterator[Result]:
    problem = function.problem(n_train, n_test)
    n_inputs = len(function.ranges)
    for size in sizes:
        scores = []
        for seed in range(n_seeds):
            begin = time.perf_counter()
            predict, n_parameters, n_weights = size.fit(problem.X, problem.y, seed)
            seconds = time.perf_counter() - begin
            scores.append((n_parameters, n_weights, problem.error(predict), seconds))
        n_parameters, n_weights, error, seconds = map(float, np.median(scores, axis=0))
        names = function.name, n_inputs, size.method, size.size
        yield Result(*names, int(n_parameters), int(n_weights), error, seconds)


def _at_equal_error(results: list[Result], name: str) -> list[float]:
    """Return an error that both come to, the parameters of each, and ratios of ours to theirs."""
    by_method = [
        [r for r in results if r.function == name and r.method == method] for method in STYLES
    ]
    error = max(min(r.error for r in found) for found in by_method)
    enough = [[r for r in found if r.error <= error] for found in by_method]
    ours, theirs = (min(r.n_parameters for r in found) for found in enough)
    our_weights, their_weights = (min(r.n_weights for r in found) for found in enough)
    return [error, ours, theirs, ours / theirs, our_weights / their_weights]


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
