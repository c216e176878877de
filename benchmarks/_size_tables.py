"""What compression keeps of default fits to tables, beside small networks and trees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score

from benchmarks._data import folds
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._frontiers import COMPRESSED, RELU, draw
from benchmarks._peers import OURS, REGRESSORS, Peer, n_parameters
from benchmarks._sources import TABLES
from benchmarks._text import Target, shown
from skrelu import compress

CHOSEN = ("auto_mpg", "boston", "concrete", "diabetes", "sacramento", "cpus", "Hitters", "Carseats",
          "epa2021", "ames")  # fmt: skip
N_FOLDS, MOST, CLOSE = 3, 1500, 0.003
WIDTHS = (16, 32, 64)


@dataclass
class Table:
    """A table, and the default fits to its folds."""

    X: pd.DataFrame
    y: np.ndarray
    teachers: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def teacher(self, fold: int, train: np.ndarray) -> tuple[Any, float]:
        """Return the default fit, and its CPU seconds."""
        if fold not in self.teachers:
            X, y = self.X.iloc[train], self.y[train]
            model, seconds = timed(REGRESSORS[OURS]().fit, X, y)
            self.teachers[fold] = model, seconds["cpu_seconds"]
        return self.teachers[fold]


def n_numbers(model: Any) -> int | None:
    """Return the numbers that a model has: of trees two a split and one a leaf."""
    last = model[-1] if hasattr(model, "steps") else model
    if not hasattr(last, "_predictors"):
        return n_parameters(last)
    nodes = [tree.nodes["is_leaf"] for trees in last._predictors for tree in trees]
    return sum(int(leaf.sum() + 2 * (~leaf.astype(bool)).sum()) for leaf in nodes)


@dataclass(frozen=True)
class Method:
    """What is fitted to a fold: a peer, or the default, compressed if there are settings."""

    family: str
    size: str
    peer: Peer | None = None
    settings: dict[str, Any] | None = None


def methods() -> dict[str, Method]:
    """Return them by name."""
    found = [Method(OURS, "default")]
    found += [Method(COMPRESSED, str(n), None, {"n_parameters": n})
              for n in (MOST, MOST // 2, "auto")]  # fmt: skip
    mlp = REGRESSORS["MLP"].set(max_iter=2000)
    found += [Method(RELU, f"{n}", mlp.set(hidden_layer_sizes=(n,))) for n in WIDTHS]
    found += [Method("HistGB", "default", REGRESSORS["HistGB"])]
    return {f"{method.family}; {method.size}": method for method in found}


def measure(table: Table, method: Method, fold: int) -> Row:
    """Fit or compress once, and test."""
    train, test = list(folds(N_FOLDS).split(table.X))[fold]
    X, y = table.X.iloc[train], table.y[train]
    row: Row = {"family": method.family, "size": method.size, "n_samples": len(table.X), "more": 0}
    if method.peer is not None:
        peer = method.peer
        model, seconds = timed(lambda: peer.encoded().fit(X, y))
        row["fit"] = seconds["cpu_seconds"]
    else:
        model, row["fit"] = table.teacher(fold, train)
    if method.settings is not None:
        settings, teacher = method.settings, model
        model, seconds = timed(lambda: compress(teacher, X, random_state=0, **settings))
        row["more"], row["plain"] = seconds["cpu_seconds"], model._stored().graph().n_numbers
    error = 1 - r2_score(table.y[test], model.predict(table.X.iloc[test]))
    return {**row, "error": error, "stored": n_numbers(model)}


def tables(quick: bool) -> Experiment:
    """Compress the default fits to ten tables."""
    sources = {**TABLES["choose"], **TABLES["confirm"]}
    made = methods()
    lasting = [name for name, method in made.items() if method.peer]
    return Experiment(
        problems={
            name: lambda name=name: Table(*sources[name]()) for name in CHOSEN[: 1 if quick else 10]
        },
        methods=made, measure=measure,
        scores=("family", "size", "error", "stored", "plain", "fit", "more", "n_samples"),
        repeats=1 if quick else N_FOLDS, lasting=lasting,
        table=lambda rows: by_table(rows, "R2"), report=costs, targets=targets,
        files={"size_tables": small},
        pictures={"size_tables": lambda rows: draw(mean_of_folds(rows), "linear")},
        note=f"""\
R^2 on test rows, means over {N_FOLDS} shuffled folds, one thread. Compressed: the default fit by
`skrelu.compress` with the training rows, to at most so many numbers; auto: as few as it thinks
enough. MLP: ReLU, one hidden layer, Adam, max_iter=2000, X and y standardized; HistGB: defaults.
Numbers: weights and biases that are not 0 (`n_parameters_`), of HistGB two a split and one a leaf.
Behind: R^2 of the default less that of the compressed. s: CPU seconds of the default fit;
times: CPU seconds of the compression over these. Plain: numbers of the compressed network as it is
exported, with the limits of features and predictions as neurons.""",
    )  # fmt: skip


def mean_of_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over the folds, with R2."""
    found = rows.assign(R2=1 - rows["error"]).groupby(["problem", "method", "family"], sort=False)
    scores = ["R2", "error", "stored", "plain", "fit", "more", "n_samples"]
    return found[scores].mean().reset_index()


def by_table(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Return a score, a table a row and a method a column."""
    frame = mean_of_folds(rows).pivot(index="problem", columns="method", values=score)
    order = [name for name in rows["method"].unique() if name in frame]
    short = {name: name.replace(f"{OURS}, compressed; ", "") for name in order}
    return frame.loc[rows["problem"].unique(), order].rename(columns=short).rename_axis("R^2")


def costs(rows: pd.DataFrame) -> str:
    """Return what compression loses, takes and saves."""
    r2, fit, more, stored, plain = (
        by_table(rows, score) for score in ("R2", "fit", "more", "stored", "plain")
    )
    ours = f"{OURS}; default"
    sizes = [name for name in r2 if name in (f"{MOST}", f"{MOST // 2}", "auto")]
    frame = pd.DataFrame({f"behind, {size}": r2[ours] - r2[size] for size in sizes})
    frame["s"] = fit[ours]
    for size in sizes:
        frame[f"times, {size}"] = more[size] / fit[ours]
    for size in (ours, *sizes):
        name = "default" if size == ours else size
        frame[f"numbers, {name}"] = stored[size].round().astype(int)
    frame[f"plain, {sizes[0]}"] = plain[sizes[0]].round().astype(int)
    return shown(frame.rename_axis("compressed"))


def targets(rows: pd.DataFrame) -> list[Target]:
    """Return what is to be kept on tables."""
    r2, fit, more, stored = (by_table(rows, score) for score in ("R2", "fit", "more", "stored"))
    ours, size = f"{OURS}; default", f"{MOST}"
    near = (r2[ours] - r2[size] <= CLOSE) & (stored[size] <= MOST)
    slow = more[size] / fit[ours]
    what = f"tables of {len(near)} within {CLOSE:g} R^2 of the default with {MOST} numbers"
    return [
        Target(what, float(near.sum()), 8, at_least=True),
        Target(f"seconds of that over those of the fit, most ({slow.idxmax()})", slow.max(), 3),
        Target("seconds of that over those of the fit, median", slow.median(), 3),
    ]


def small(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of docs/tables/size_tables.csv."""
    frame = mean_of_folds(rows).rename(columns={"problem": "table", "stored": "n_parameters"})
    return frame[["table", "n_samples", "method", "R2", "n_parameters", "fit", "more"]]
