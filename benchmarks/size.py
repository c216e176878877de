"""Error against size: how small networks can be, those of skrelu.compress and others.

Each experiment writes docs/tables/size_NAME.csv and docs/images/size_NAME.png.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from benchmarks._command import main, named
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._frontiers import (
    COMPRESSED,
    DISTILLED,
    ONE_LEVEL,
    PRUNED,
    RELU,
    STYLES,
    TANH,
    draw,
)
from benchmarks._peers import OURS
from benchmarks._size_tables import tables
from benchmarks._small import KNOWN, N_POINTS, NAMES, Method, Network, Task, methods
from benchmarks._text import Target, shown

MLPS = (RELU, TANH, PRUNED, DISTILLED)
LEVEL = "400"  # the compressed network whose error is the level at which others are compared
PARTS = 4  # a network wins that needs so many times fewer numbers
N_SPEED, N_SINGLE = 100_000, 30  # rows of a prediction that is timed, and times of one row
SCORES = ("family", "size", "error", "stored", "neurons", "dense", "binaries", "microseconds",
          "milliseconds", "fit", "more")  # fmt: skip


def predicted(network: Network, points: np.ndarray) -> dict[str, float]:
    """Return microseconds a row of many, and milliseconds of one row."""
    seconds = timed(network.predict, points)[1]["cpu_seconds"]
    single = []
    for i in range(N_SINGLE):
        begin = time.perf_counter()
        network.predict(points[i : i + 1])
        single.append(time.perf_counter() - begin)
    return {"microseconds": 1e6 * seconds / len(points), "milliseconds": 1e3 * np.median(single)}


def measure(task: Task, method: Method, seed: int) -> list[Row]:
    """Fit networks, and measure how large, exact and fast they are."""
    rows = []
    points = task.points(N_SPEED if len(task.rows.X_test) > 1000 else 1000, seed)
    for network in method.make(task, seed):
        row = {"family": method.family, "size": network.size, "fit": network.fit,
               "error": task.rows.error(network.predict) ** 2, "stored": network.stored,
               "dense": network.dense, "more": network.more}  # fmt: skip
        if network.graph is not None:
            low, high = np.transpose(task.function.ranges)
            below, above = network.graph.bounds(low, high)
            row["neurons"] = network.graph.n_neurons
            row["binaries"] = int(((below < 0) & (above > 0)).sum())
        rows.append({**row, **predicted(network, points)})
    return rows


def functions(quick: bool) -> Experiment:
    """Fit networks of many sizes to ten smooth functions."""
    n_train, n_test = (200, 1000) if quick else (1000, 20_000)
    names = ("Branin",) if quick else NAMES

    def task(name: str):
        return lambda: Task(KNOWN[name], KNOWN[name].rows(n_train, n_test))

    made = {f"{m.family}; {m.size}": m for m in methods(quick)}
    ours = (OURS, COMPRESSED, ONE_LEVEL, DISTILLED)
    return Experiment(
        problems={name: task(name) for name in names}, methods=made, measure=measure,
        scores=SCORES, lasting=[name for name, m in made.items() if m.family not in ours],
        table=lambda rows: errors(rows).drop(columns="problem").set_index("function"),
        report=lambda rows: f"{shown(at_equal_error(rows))}\n\n{shown(by_size(rows))}",
        targets=targets, files={"size_functions": small}, pictures={"size_functions": draw},
        note=f"""\
1 - R^2 on {n_test} rows; {n_train} rows to learn from, without noise, uniform in the ranges; one
seed, one thread. Compressed: the default fit by `skrelu.compress` to at most so many numbers; 3 x 4
starts from 3 sub-networks of depth 4, of at most 800. One level: sub-networks x depth.
MLP: X and y standardized; L-BFGS without penalty, tol=1e-6, and ftol=1e-12 in place of the fixed
2e-9 of MLPRegressor, with which errors end 10 times as high; up to 5000 iterations, of the two
largest 1000; Adam with defaults, max_iter=2000. Pruned: (64, 64) by L-BFGS, then in turn the
largest weights kept, and L-BFGS again. Distilled: by L-BFGS, up to 1000 iterations, on {N_POINTS}
points, the rows and uniform ones, with what the default fit predicts; the largest also pruned.
Numbers: weights and biases that are not 0, neurons that nothing reads left out. Dense: all weights
of Linear and ReLU in turn. Binaries: neurons whose sign interval arithmetic doesn't fix in the
ranges. us: CPU microseconds a row of {N_SPEED}; ms: of one row alone. s: CPU seconds of the
fit; more s: of compression, distilling, pruning.
At equal error: the error of the network compressed to {LEVEL}, its numbers, and the fewest numbers
of an MLP, of any kind, with at most that error (blank: none has); so for ReLU alone and for dense
weights. Best MLP: the lowest error of all. Lost at: compressed sizes at which an MLP needs fewer
numbers than it.""",
    )  # fmt: skip


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the lowest errors of families, and those of ours at each size, a function a row."""
    found = rows.assign(column=rows["family"].where(rows["family"] != COMPRESSED, rows["size"]))
    frame = found.pivot_table("error", "problem", "column", "min", sort=False)
    sizes = sorted(rows[rows["family"] == COMPRESSED]["size"].unique())
    families = [name for name in STYLES if name in frame]
    frame = frame[[OURS, *sizes, *(name for name in families if name != OURS)]].reset_index()
    return frame.assign(function=frame["problem"])


def fewest(rows: pd.DataFrame, error: float, score: str, families=MLPS) -> float:
    """Return the fewest numbers with which a family comes to an error, or NaN."""
    enough = rows[rows["family"].isin(families) & (rows["error"] <= error)]
    return float(enough[score].min()) if len(enough) else np.nan


def at_equal_error(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many numbers MLPs need for the error of a compressed network."""
    lines: dict[str, Row] = {}
    for name, found in rows.groupby("problem", sort=False):
        ours = found[found["family"] == COMPRESSED]
        level = ours[ours["size"] == LEVEL]
        if level.empty:
            continue
        one = level.iloc[0]
        mlp = fewest(found, one["error"], "stored")
        relu = fewest(found, one["error"], "stored", (RELU, PRUNED, DISTILLED))
        lost = ours[[fewest(found, row.error, "stored") < row.stored for row in ours.itertuples()]]
        lines[str(name)] = {
            "error": one["error"], "best MLP": found[found["family"].isin(MLPS)]["error"].min(),
            "numbers": int(one["stored"]), "MLP": mlp, "ratio": one["stored"] / mlp,
            "ReLU MLP": relu, "ReLU ratio": one["stored"] / relu, "dense": int(one["dense"]),
            "dense ratio": one["dense"] / fewest(found, one["error"], "dense"),
            "lost at": ", ".join(lost["size"]),
        }  # fmt: skip
    return pd.DataFrame(lines).T.rename_axis("at equal error")


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over the functions of each size."""
    found = rows.assign(network=rows["family"] + "; " + rows["size"].astype(str))
    columns = [name for name in SCORES if name not in ("family", "size")]
    frame = found.groupby("network", sort=False)[columns].median()
    whole = ["stored", "neurons", "dense", "binaries"]
    frame[whole] = np.floor(frame[whole]).astype("Int64")
    return frame.rename(columns={
        "error": "1 - R^2", "stored": "numbers", "microseconds": "us", "milliseconds": "ms",
        "fit": "s", "more": "more s",
    }).rename_axis("medians")  # fmt: skip


def targets(rows: pd.DataFrame) -> list[Target]:
    """Return how small networks are meant to be."""
    ours = rows[rows["family"] == COMPRESSED]
    one = ours[ours["problem"] == NAMES[0]]
    equal = at_equal_error(rows)
    found = []
    for score, most, limit in (("stored", 400, 1e-5), ("dense", 1000, 2e-5)):
        part = one[one[score] <= most]
        name = f"{NAMES[0]}, at most {most} {'numbers' if score == 'stored' else 'dense weights'}"
        quick = part[part["error"] <= limit]["more"].min()
        found += [
            Target(f"1 - R^2 on {name}", part["error"].min(), limit),
            Target("CPU seconds of a compression that meets it, least", quick, 10),
        ]
    for kind, score in (("an MLP", "ratio"), ("a ReLU MLP", "ReLU ratio")):
        ratio = equal[score].astype(float)
        won = ratio.isna() | (ratio <= 1 / PARTS)
        what = f"functions of {len(ratio)} with at most 1/{PARTS} of the numbers of {kind}"
        what += f" (on {int(ratio.isna().sum())} none is as exact)"
        found.append(Target(what, float(won.sum()), 8, at_least=True))
    return found


def small(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of docs/tables/size_functions.csv."""
    return rows.rename(columns={"problem": "function"})[["function", *SCORES]]


EXPERIMENTS = named(functions, tables)

if __name__ == "__main__":
    main("size", __doc__ or "", EXPERIMENTS)
