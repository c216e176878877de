"""Compare skrelu with its peers on 62 smooth functions of one to ten inputs.

Each experiment writes docs/tables/functions_NAME.csv and docs/images/functions_NAME.png.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks._command import main
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._functions import FUNCTIONS, Function
from benchmarks._peers import OURS, REGRESSORS, Peer, n_parameters
from benchmarks._pictures import legend, panels
from benchmarks._text import Target, shown, table

PRODUCTS = ("I.12.11", "I.30.3")
QUICK = ("Franke",)
PEERS = ("MLP", "MLP tanh", "pykan", "HistGB")  # that skrelu is held against
METHODS = {name: REGRESSORS[name] for name in (OURS, *PEERS, "GP")}
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


def measure(problem, peer: Peer, repeat: int) -> Row:
    """Fit and test once; a fit that fails has error infinity."""
    function, sizes = problem
    rows = function.rows(*sizes)
    row = {"group": function.group, "n_inputs": len(function.ranges)}
    try:
        model, seconds = timed(lambda: peer(repeat).fit(rows.X, rows.y))
        error = rows.error(model.predict)
    except (RuntimeError, ValueError) as cause:  # torch's and numpy's LinAlgError are among them
        print(f"A fit failed: {cause}", flush=True)
        return {**row, "error": np.inf}
    error = error if np.isfinite(error) else np.inf
    return {**row, "error": error, "parameters": n_parameters(model), **seconds}


def comparison(noise: float, quick: bool) -> Experiment:
    """Compare errors and seconds, with noise of a part of the standard deviation of y."""
    n_train, n_test = (200, 1000) if quick else (1000, 5000)
    name = "functions_noisy" if noise else "functions_clean"
    names = QUICK if quick else FUNCTIONS
    return Experiment(
        problems={
            f.name: (f, (n_train, n_test, noise)) for f in FUNCTIONS.values() if f.name in names
        },
        methods=METHODS, measure=measure, scores=("error", "parameters", "group", "n_inputs"),
        lasting=[name for name in METHODS if name != OURS],
        table=lambda rows: judged(rows).set_index(["group", "function"]),
        report=lambda rows: f"{by_group(rows)}\n\n{by_method(rows)}",
        targets=partial(targets, noise=noise), files={name: small},
        pictures={name: draw}, note=NOTE.format(n_train=n_train, n_test=n_test, noise=noise),
    )  # fmt: skip


def small(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of docs/tables/functions_clean.csv."""
    columns = {"problem": "function", "parameters": "n_parameters"}
    rows = rows.rename(columns=columns).astype({"n_parameters": "Int64"})
    return rows[["group", "function", "n_inputs", "method", "error", "seconds", "n_parameters"]]


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a function a row: errors, and how skrelu stands beside its peers."""
    index = ["group", "problem", "n_inputs"]
    errors, seconds = (
        rows.pivot_table(score, index, "method", sort=False, dropna=False).dropna(how="all")
        for score in ("error", "seconds")
    )
    methods = [name for name in METHODS if name in errors]
    peers = [name for name in PEERS if name in errors]
    best = errors[peers].min(axis=1)
    good = seconds[peers].where(errors[peers].le(2 * best, axis=0))
    frame = errors[methods].copy()
    frame["ratio"] = frame[OURS] / best
    frame["s"], frame["peer s"] = seconds[OURS], good.min(axis=1)
    frame["peer"] = good.idxmin(axis=1)
    return frame.reset_index().rename(columns={"problem": "function", "n_inputs": "inputs"})


def by_group(rows: pd.DataFrame) -> str:
    """Return a table of how skrelu stands in each group."""
    found = judged(rows)
    found["half"], found["fast"] = found["ratio"] <= 0.5, found["s"] <= found["peer s"]
    frame = found.groupby("group", sort=False).agg(
        functions=("ratio", "size"), median=("ratio", "median"), largest=("ratio", "max"),
        half=("half", "sum"), fast=("fast", "sum"),
    )  # fmt: skip
    return shown(
        frame.rename(columns={"median": "median ratio", "half": "<= 0.5", "fast": "as fast"})
    )


def by_method(rows: pd.DataFrame) -> str:
    """Return medians over the functions."""
    found = rows.groupby("method", sort=False)[["error", "seconds", "parameters"]].median()
    found = found.reindex([name for name in METHODS if name in found.index])
    found["parameters"] = np.floor(found["parameters"]).astype("Int64")
    found.columns = ["error", "s", "parameters"]
    return shown(found, "medians")


def targets(rows: pd.DataFrame, noise: float) -> list[Target]:
    """Return how skrelu is meant to stand."""
    found = judged(rows)
    ratio, fast = found["ratio"], (found["s"] <= found["peer s"]).mean()
    wanted = [
        Target("share of functions with ratio <= 0.5", (ratio <= 0.5).mean(), 0.8, at_least=True),
        Target("largest ratio", ratio.max(), 1.2),
        Target("share of functions as fast as the peer named", fast, 1, at_least=True),
    ]
    errors = found.set_index("function")[OURS]
    products = [name for name in PRODUCTS if not noise and name in errors]
    return wanted + [Target(f"error of skrelu on {name}", errors[name], 1e-2) for name in products]


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the errors on a function in a row, the functions in two columns."""
    errors = rows.pivot_table("error", "problem", "method", sort=False)
    n_rows = -(-len(errors) // 2)
    figure, axes = panels(1, 2, (12, 1.2 + 0.22 * n_rows), sharex=True)
    for axis, begin in zip(axes.flat, (0, n_rows), strict=True):
        members = errors.iloc[begin : begin + n_rows]
        for name in (name for name in METHODS if name in errors):
            color, marker = METHODS[name].style
            axis.plot(members[name], range(len(members)), marker, color=color, ms=6, label=name)
        axis.set_yticks(range(len(members)), members.index)
        axis.set(xscale="log", xlabel="relative RMSE", ylim=(n_rows - 0.4, -0.6))
    legend(figure, axes[0, 0])
    return figure


SIZES_OF_ROWS, MOST_OF_PROCESS = (300, 1000, 3000, 10_000, 30_000), 1000
NAMES_OF_ROWS = ("friedman1", "friedman3", "borehole", "piston", "I.12.11", "I.16.6", "II.11.7",
                 "Franke")  # fmt: skip


def rows_experiment(quick: bool) -> Experiment:
    """Compare errors and seconds with more and more rows, without noise."""
    sizes = SIZES_OF_ROWS[:2] if quick else SIZES_OF_ROWS
    names = NAMES_OF_ROWS[-1:] if quick else NAMES_OF_ROWS

    def measure(problem, peer: Peer, seed: int) -> Row:
        function, n = problem
        rows = function.rows(n, 5000)
        model, seconds = timed(lambda: peer(seed).fit(rows.X, rows.y))
        return {"error": rows.error(model.predict), "n_samples": n, **seconds}

    return Experiment(
        problems={f"{name}, {n} rows": (FUNCTIONS[name], n) for name in names for n in sizes},
        methods={name: REGRESSORS[name] for name in (OURS, "GP", "MLP tanh", "HistGB")},
        measure=measure, scores=("error", "n_samples"),
        lasting=["GP", "MLP tanh", "HistGB"],
        skip=lambda problem, method: method == "GP" and size_of(problem) > MOST_OF_PROCESS,
        table=by_rows, report=lambda rows: shown(each_by_rows(rows), "errors of skrelu"),
        targets=targets_of_rows,
        note=f"""\
Relative RMSE without noise, 5000 test rows, one seed: medians over {len(names)} functions, and CPU
seconds of the fit, one thread, likewise. GP: of up to {MOST_OF_PROCESS} rows, it takes minutes and
gigabytes for more. Methods as above.""",
    )  # fmt: skip


def size_of(problem: str) -> int:
    """Return the number of rows of a problem."""
    return int(problem.split(", ")[1].split()[0])


def by_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over the functions: errors and seconds of each method, a size a row."""
    found = rows.pivot_table(["error", "seconds"], "n_samples", "method", "median", sort=False)
    found.columns = [f"{name} {'s' if kind == 'seconds' else 'error'}" for kind, name in found]
    return found.rename_axis("rows").sort_index()


def each_by_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of skrelu, a function a row and a size a column."""
    ours = rows[rows["method"] == OURS]
    ours = ours.assign(function=ours["problem"].str.split(", ").str[0])
    return ours.pivot_table("error", "function", "n_samples", sort=False).sort_index(axis=1)


def targets_of_rows(rows: pd.DataFrame) -> list[Target]:
    """Return how errors are meant to fall."""
    found, most = by_rows(rows), max(each_by_rows(rows).columns)
    if most < 10_000:
        return []
    errors, seconds = found[f"{OURS} error"], found[f"{OURS} s"]
    return [
        Target(
            "median error of 10,000 rows over that of 1000", errors[10_000] / errors[1000], 1 / 3
        ),
        Target("median seconds of 10,000 rows", seconds[10_000], 10),
    ]


NAMES = ("friedman1", "borehole", "I.12.11", "I.16.6", "jv", "Franke")
STYLES = {OURS: ("#d1542c", "o"), "MLP": ("#7a5c00", "^")}
SIZES = ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (6, 1), (6, 2), (6, 3))  # levels, of a level
LAYERS = ((5,), (10,), (30,), (100,), (300,), (10, 10), (30, 30), (100, 100))


def parameters(quick: bool) -> Experiment:
    """Compare the sizes that skrelu and MLPRegressor need for an error."""
    ours, mlp = REGRESSORS[OURS].set(n_init=1), REGRESSORS["MLP"]
    mlp = mlp.set(solver="lbfgs", tol=1e-6, max_iter=5000)
    methods = {
        f"{OURS} {levels} x {n}": ours.set(n_levels=levels, n_subnetworks=n * levels)
        for levels, n in SIZES
    } | {f"MLP {'-'.join(map(str, size))}": mlp.set(hidden_layer_sizes=size) for size in LAYERS}
    names = NAMES[-1:] if quick else NAMES
    n_train, n_test, n_seeds = (200, 1000, 1) if quick else (1000, 5000, 3)

    def measure(function: Function, peer: Peer, seed: int) -> Row:
        rows = function.rows(n_train, n_test)
        model, seconds = timed(lambda: peer(seed).fit(rows.X, rows.y))
        n_weights = n_parameters(model)
        fitted = getattr(model, "n_parameters_pretrain_", n_weights)
        row = {"error": rows.error(model.predict), "parameters": fitted, "weights": n_weights}
        return {**row, "n_inputs": len(function.ranges), **seconds}

    return Experiment(
        problems={name: FUNCTIONS[name] for name in names},
        methods=dict(list(methods.items())[:: 3 if quick else 1]), measure=measure,
        scores=("error", "parameters", "weights", "n_inputs"), repeats=n_seeds,
        table=lambda rows: by_size(rows).set_index("function").drop(columns="n_inputs"),
        report=lambda rows: table(
            ["at equal error", "error", "skrelu", "MLP", "ratio", "ratio of weights"],
            [[name, *row] for name, row in at_equal_error(by_size(rows)).items()],
        ),
        targets=size_targets, files={"functions_parameters": by_size},
        pictures={"functions_parameters": lambda rows: draw_sizes(by_size(rows))},
        note=f"""\
Relative RMSE without noise, {n_train} training rows; medians over the seeds, {n_seeds} of them.
skrelu: n_init=1, its size levels x sub-networks of a level. MLP: ReLU, hidden units by layer;
L-BFGS to tol=1e-6, up to 5000 iterations; X and y standardized. Parameters are those that are
fitted; weights those of the plain ReLU network, of which skrelu's lowering sets most to constants.
At equal error: the lowest error that both come to, and the fewest parameters (or weights), among
these sizes, with which each is there or below.""",
    )  # fmt: skip


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over the seeds: the columns of docs/tables/functions_parameters.csv."""
    found = rows.groupby(["problem", "method"], sort=False)
    frame = found[["n_inputs", "parameters", "weights", "error", "seconds"]].median()
    frame = frame.reset_index()
    frame[["method", "size"]] = frame["method"].str.split(" ", n=1, expand=True)
    whole = {"n_inputs": int, "parameters": int, "weights": int}
    frame = frame.astype(whole).rename(
        columns={"problem": "function", "parameters": "n_parameters", "weights": "n_weights"}
    )
    return frame[["function", "n_inputs", "method", "size", "n_parameters", "n_weights", "error",
                  "seconds"]]  # fmt: skip


def at_equal_error(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Return an error that both come to, the parameters of each, and ratios of ours to theirs."""
    equal = {}
    for name, found in frame.groupby("function", sort=False):
        error = found.groupby("method")["error"].min().max()
        enough = found[found["error"] <= error].groupby("method")
        sizes, weights = enough["n_parameters"].min(), enough["n_weights"].min()
        if len(sizes) == len(STYLES):
            ratios = (float(size[OURS] / size["MLP"]) for size in (sizes, weights))
            equal[name] = [float(error), sizes[OURS], sizes["MLP"], *ratios]
    return equal


def size_targets(rows: pd.DataFrame) -> list[Target]:
    """Return what the ratios are meant to be."""
    ratios = np.array(list(at_equal_error(by_size(rows)).values()))[:, 3:].max(0)
    return [
        Target(f"largest ratio of {what}", ratio, 0.2)
        for what, ratio in zip(("parameters", "weights"), ratios, strict=True)
    ]


def draw_sizes(frame: pd.DataFrame) -> Figure:
    """Draw errors against parameters."""
    figure, axes = panels(2, 3, (11, 6.4), sharex=True)
    for axis, (name, found) in zip(axes.flat, frame.groupby("function", sort=False), strict=False):
        for method, (color, marker) in STYLES.items():
            part = found[found["method"] == method]
            axis.plot(part["n_parameters"], part["error"], marker, color=color, label=method)
        title = f"{name}, {found['n_inputs'].iloc[0]} inputs"
        axis.set(xscale="log", yscale="log", title=title)
    for axis in axes[-1]:
        axis.set_xlabel("parameters")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative RMSE")
    axes[0, 0].legend(frameon=False)
    return figure


EXPERIMENTS = {
    "clean": partial(comparison, 0),
    "noisy": partial(comparison, 0.1),
    "parameters": parameters,
    "rows": rows_experiment,
}

if __name__ == "__main__":
    main("functions", __doc__ or "", EXPERIMENTS)
