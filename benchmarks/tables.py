"""Compare regressors on real tables, with default parameters or sensible settings.

Up to 2000 rows 5 folds, up to 20 000 three, above one split. The part "picture" draws
docs/images/tables.png from the rows of both tiers.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from benchmarks._command import main, named
from benchmarks._data import folds, split_by_size
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._peers import OURS, REGRESSORS, Peer
from benchmarks._pictures import GRID, tidy
from benchmarks._sources import TABLES
from benchmarks._standings import behind, by_table, median_seconds, ranks, standings
from benchmarks._text import Target, shown, summary
from skrelu._fit import tuning
from skrelu._networks import encoded_network

NEURAL = ("MLP", "MLP tuned", "kernel ridge", "RealMLP")
NAMES = (OURS, "Ridge", *NEURAL[:3], "GP", "random forest", "HistGB", "LightGBM", "XGBoost",
         "perpetual", "CatBoost", "RealMLP", "TabM", "xRFM", "EBM")  # fmt: skip
METHODS = {name: REGRESSORS[name] for name in NAMES}
# Rows that a peer is tried on.
FEW_ROWS = {"MLP tuned": 3000, "kernel ridge": 3000, "GP": 1000, "RealMLP": 1500, "TabM": 1500,
            "xRFM": 1500, "EBM": 600}  # fmt: skip
SEARCHED = ("mcycle", "auto_mpg", "diabetes", "boston")
DEPTHS = (2, 3, 4, 6)  # 4 is the default
MOST_TIMES = 3 * len(DEPTHS) + 1  # default fits that a search in 3 folds does, and a last one
NOTE = """\
R^2, means over folds. One thread. Defaults but for these. Ridge: penalty by cross-validation. MLP,
kernel ridge, GP: X and y standardized. MLP tuned, kernel ridge: grid search in 3 shuffled folds.
GP: a length for each column, and noise, by likelihood. Boosting and EBM get categories and missing
values as they are, RealMLP, TabM and xRFM categories; the others one column a category (at most
30, of 5 rows or more), medians and an indicator of what is missing.
Rows at most: MLP tuned, kernel ridge 3000; RealMLP, TabM, xRFM 1500; GP 1000; EBM 600.
Median s: over the tables that a method ran on. Mean ranks are among the methods that ran on all
tables, and so below, with their number, on those up to 1000 rows, to 10 000 and above.
Last, on how many tables, of those of both, a method is behind CatBoost, and by how much."""


def measure(data, peer: Peer, fold: int) -> Row | list[Row]:
    """Fit to a fold, if the table has so many and is not too large for the method."""
    X, y = data
    splits = split_by_size(len(X))
    if fold >= len(splits) or len(X) > FEW_ROWS.get(_name(peer), len(X)):
        return []
    train, test = splits[fold]
    model, seconds = timed(lambda: peer.encoded().fit(X.iloc[train], y[train]))
    error = y[test] - np.ravel(model.predict(X.iloc[test]))
    r2 = r2_score(y[test], y[test] - error)
    return {"R2": r2, "RMSE": float(np.mean(error**2)) ** 0.5, "n_samples": len(X), **seconds}


def _name(peer: Peer) -> str:
    return next((name for name, known in METHODS.items() if known is peer), "")


def tier(name: str, quick: bool) -> Experiment:
    """Fit methods to the tables of a tier, and say how they compare."""
    return Experiment(
        problems=dict(list(TABLES[name].items())[: 2 if quick else None]), methods=METHODS,
        measure=measure, scores=("R2", "RMSE", "n_samples"), repeats=1 if quick else 5,
        lasting=[method for method in METHODS if method != OURS],
        table=lambda rows: standings(rows, "R2", NAMES, False, pd.DataFrame()), targets=targets,
        report=lambda rows: shown(behind(rows, "R2", NAMES, "CatBoost", False)),
        files={f"tables_{name}": small}, note=NOTE,
    )  # fmt: skip


# Means over folds and the median seconds of a fit: docs/tables/tables_TIER.csv.
small = summary(
    ["problem", "method"],
    {"R2": ("R2", "mean"), "RMSE": ("RMSE", "mean"), "seconds": ("seconds", "median")},
    ("table", "method"),
)


def targets(rows: pd.DataFrame) -> list[Target]:
    """Return how skrelu is meant to stand, on the tables that it was fitted to."""
    rows = with_ours(rows)
    if rows.empty:
        return []
    rank, seconds = ranks(rows, "R2", NAMES, False), median_seconds(rows, NAMES)
    wanted = [
        Target(f"mean rank minus that of {peer}", rank[OURS] - rank[peer], 0)
        for peer in rank.index
        if peer in (*NEURAL, "HistGB", "random forest", "CatBoost")
    ]
    r2 = by_table(rows, "R2").reindex(columns=[OURS, *NEURAL])
    behind = (r2[list(NEURAL)].max(axis=1) - r2[OURS]).dropna()
    if len(behind):
        what = f"R^2 behind the best neural or kernel peer, most ({behind.idxmax()})"
        wanted.append(Target(what, behind.max(), 0.02))
    if "CatBoost" in seconds:
        ratio = seconds[OURS] / seconds["CatBoost"]
        wanted.append(Target("median seconds over CatBoost's", ratio, 1))
    return wanted


def with_ours(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tables that skrelu was fitted to."""
    return rows[rows["problem"].isin(rows[rows["method"] == OURS]["problem"])]


def grid_search(quick: bool) -> Experiment:
    """Compare depths of skrelu, and a grid search over them, on small tables."""
    ours = REGRESSORS[OURS]

    def searched(random_state: int):
        grid = {"depth": DEPTHS}
        return GridSearchCV(ours.set(depth=4).encoded(random_state), grid, cv=folds(3))

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        r2, seconds = by_table(rows, "R2"), by_table(rows, "seconds", "median")
        r2["gain"] = r2["searched"] - r2["depth 4"]
        r2["times the seconds"] = seconds["searched"] / seconds["depth 4"]
        return r2

    def reached(rows: pd.DataFrame) -> str:
        found = table(rows)
        best = found[[*methods]].max(axis=1) - found["depth 4"]
        return f"""\
searched: GridSearchCV over these depths in 3 folds, in a pipeline. Gain, seconds: beside the
default, depth 4, on the same folds. The best of the columns by the test folds is ahead of the
default by {best.mean():.2g} in the mean: no search can be expected to reach that."""

    def wanted(rows: pd.DataFrame) -> list[Target]:
        gain, costs = table(rows)["gain"].mean(), table(rows)["times the seconds"].median()
        return [
            Target("R^2 searched minus that of the default, mean", gain, 0, at_least=True),
            Target("seconds over those of a default fit, median", costs, MOST_TIMES),
        ]

    methods = {f"depth {depth}": ours.set(depth=depth) for depth in DEPTHS}
    methods["searched"] = Peer(searched, mixed=True)
    return Experiment(
        problems={name: TABLES["choose"][name] for name in SEARCHED[: 2 if quick else None]},
        methods=methods, measure=measure, scores=("R2", "RMSE"), repeats=1 if quick else 5,
        table=table, report=reached, targets=wanted, files={"tables_grid_search": small},
    )  # fmt: skip


def picture(quick: bool) -> Experiment:
    """Draw docs/images/tables.png from the rows of both tiers."""
    return Experiment(rows_of=("confirm", "choose"), pictures={"tables": draw},
                      report=lambda rows: "docs/images/tables.png")  # fmt: skip


class _Units:
    """Plain ReLU units in place of triangle waves, with as many weights that matter."""

    def __init__(self, z, peaks, scales) -> None:
        self.inner, self.total, self.nothing = z, z.relu(), (peaks[..., :-1] * 0, scales * 0)

    def backward(self, by_total):
        return by_total * (self.total > 0), *self.nothing


def parts(quick: bool) -> Experiment:
    """Leave out one part of the default fit at a time, on the tables of "choose"."""
    left_out = {
        "default": {},
        "ReLU units": {},
        "no curves": {"MOST_CURVES": 0},
        "no ramps": {"COARSE_RAMPS": 1},
        "encoded alone": {"PLAIN_ROWS": 0, "SMOOTH": 0.0, "SMOOTH_FEW_ROWS": 0.0},
        "waves alone": {"MIN_ROWS_ENCODED": 10**9},
    }

    def measure_part(data, part: str, fold: int) -> Row | list[Row]:
        waves = _Units if part == "ReLU units" else encoded_network._Waves
        with ExitStack() as changed:
            changed.enter_context(patch.object(encoded_network, "_Waves", waves))
            for number, value in left_out[part].items():
                changed.enter_context(patch.object(tuning, number, value))
            return measure(data, REGRESSORS[OURS], fold)

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        r2 = by_table(rows, "R2").reindex(columns=[*left_out])
        seconds = by_table(rows, "seconds", "median").reindex(columns=[*left_out])
        last = {"mean": r2.mean(), "times the default's seconds": (
            seconds.div(seconds["default"], axis=0).median())}  # fmt: skip
        return pd.concat([r2, pd.DataFrame(last).T])

    names = [name for name in TABLES["choose"] if name != "mcycle"]  # which gets windows
    return Experiment(
        problems={name: TABLES["choose"][name] for name in names[: 2 if quick else None]},
        methods={part: part for part in left_out}, measure=measure_part, scores=("R2",),
        repeats=1 if quick else 5, table=table, files={"tables_parts": small},
    )  # fmt: skip


INK, RED = "#22303c", "#d1542c"
BELOW = {"kernel ridge", "HistGB"}  # their names would meet others above
LEAST = -0.3  # difference of R^2 that is drawn; those below are marked at the edge
TITLES = {
    "confirm": "that no default was chosen by",
    "choose": "looked at when defaults were chosen",
}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the tables of each tier to the left, methods by seconds and rank to the right."""
    tiers = {name: with_ours(rows[rows["experiment"] == name]) for name in TITLES}
    confirm = tiers["confirm"]
    has = confirm.groupby("problem")["method"].agg(lambda names: set(NEURAL) <= set(names))
    small = confirm[confirm["problem"].map(has).astype(bool)]
    parts = {f"{confirm['problem'].nunique()} tables {TITLES['confirm']}": confirm}
    if len(small):
        title = f"{small['problem'].nunique()} of them, up to {FEW_ROWS['RealMLP']} rows"
        parts[title] = small
    n_rows = sum(part["problem"].nunique() + 2 for part in tiers.values())
    figure = Figure(figsize=(12, 1.6 + 0.22 * n_rows), layout="constrained")
    grid = figure.add_gridspec(len(parts), 2, width_ratios=[1.35, 1])
    axis = figure.add_subplot(grid[:, 0])
    _draw_tables(axis, tiers)
    for row, (title, part) in enumerate(parts.items()):
        _draw_ranks(figure.add_subplot(grid[row, 1]), title, part)
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    names = [name for name in NAMES if name in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside upper center", ncols=len(names),
        frameon=False, handletextpad=0.1, columnspacing=1.2, markerscale=1.2,
    )  # fmt: skip
    return figure


def _draw_tables(axis: Axes, tiers: dict[str, pd.DataFrame]) -> None:
    """Draw R^2 minus that of the best peer, a table in a row, best for skrelu first."""
    places, names, place = [], [], 0.0
    for tier_name, rows in tiers.items():
        title = f" tables {TITLES[tier_name]}"
        axis.text(1.08 * LEAST, place, title, va="center", style="italic", color=INK)
        r2 = by_table(rows, "R2")
        apart = r2.sub(r2.drop(columns=OURS).max(axis=1), axis=0)
        for name, differences in apart.sort_values(OURS, ascending=False).iterrows():
            place += 1
            axis.plot([0, differences[OURS]], [place] * 2, color=RED, lw=2, zorder=3)
            for method, difference in differences.dropna().items():
                _mark(axis, str(method), difference, place)
            places.append(place)
            names.append(name)
        place += 1.6
    axis.axvline(0, color=INK, lw=1, zorder=1.5)
    axis.set_yticks(places, names)
    axis.set_ylim(place - 1.1, -0.8)
    axis.set_xscale("symlog", linthresh=0.02, linscale=0.8)
    axis.set_xlim(1.08 * LEAST, 0.06)
    ticks = [-0.2, -0.1, -0.05, -0.02, -0.01, 0, 0.01, 0.02, 0.05]
    axis.set_xticks(ticks, [f"{tick:+g}" if tick else "best peer" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("$R^2$ minus that of the best peer")
    tidy(axis)
    axis.spines[["top", "right"]].set_visible(False)


def _mark(axis: Axes, method: str, difference: float, place: float) -> None:
    color, marker = METHODS[method].style
    ours = method == OURS
    if difference < LEAST:
        axis.plot(LEAST, place, "<", color=color, ms=6, mew=0, clip_on=False, zorder=4)
        return
    axis.plot(
        difference, place, marker, color=color, ms=8.5 if ours else 5.5, mec="white", mew=0.6,
        zorder=5 if ours else 4, label=method,
    )  # fmt: skip


def _draw_ranks(axis: Axes, title: str, rows: pd.DataFrame) -> None:
    """Draw mean ranks, the best on top, against seconds of a fit."""
    seconds = median_seconds(rows, NAMES)
    for method, rank in ranks(rows, "R2", NAMES, False).items():
        color, marker = METHODS[method].style
        ours, at = method == OURS, (seconds[method], rank)
        axis.plot(*at, marker, color=color, ms=11 if ours else 7, mec="white", mew=0.6)
        axis.annotate(
            method, at, xytext=(0, -15 if method in BELOW else 8), textcoords="offset points",
            ha="center", fontsize=9, color=INK, fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.margins(x=0.12, y=0.16)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10, color=INK)
    axis.set(xlabel="median seconds of a fit", ylabel="mean rank, best on top")
    axis.grid(color=GRID)
    axis.spines[["top", "right"]].set_visible(False)


EXPERIMENTS = {
    "choose": partial(tier, "choose"),
    "confirm": partial(tier, "confirm"),
    **named(grid_search, parts, picture),
}

if __name__ == "__main__":
    main("tables", __doc__ or "", EXPERIMENTS)
