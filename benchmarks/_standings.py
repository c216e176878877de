"""How methods compare on many tables: means over folds, ranks, wins, seconds."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from benchmarks._peers import OURS

SIZES = {"to 1000 rows": 1000, "to 10 000": 10_000, "above": np.inf}  # bounds that belong to them
STEPS = (0.01, 0.02)


def by_table(rows: pd.DataFrame, column: str, how: str = "mean") -> pd.DataFrame:
    """Return a column over the folds, a table a row and a method a column."""
    found = rows.groupby(["problem", "method"], sort=False)[column].agg(how).unstack()
    return found.reindex(rows["problem"].unique()).rename_axis(None)


def shared(rows: pd.DataFrame, methods: Collection[str]) -> pd.DataFrame:
    """Return the rows of the folds of each table that all of these methods ran on."""
    rows = rows[rows["method"].isin(methods)]
    of_fold = rows.groupby(["problem", "repeat"])["method"].transform("nunique")
    of_table = rows.groupby("problem")["method"].transform("nunique")
    return rows[of_fold == of_table]


def ranks(rows: pd.DataFrame, score: str, methods: Sequence[str], ascending: bool) -> pd.Series:
    """Return mean ranks among the methods that ran on all tables, the best first."""
    n_tables = rows["problem"].nunique()
    everywhere = [m for m in methods if rows[rows["method"] == m]["problem"].nunique() == n_tables]
    found = by_table(shared(rows, everywhere), score)
    return found[everywhere].rank(axis=1, ascending=ascending).mean()


def by_size(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of tables of each class of size, as far as sizes are known."""
    sizes = rows.groupby("problem")["n_samples"].transform("max")
    bounds = pd.cut(sizes, [0, *SIZES.values()], labels=[*SIZES])
    return {name: rows[bounds == name] for name in SIZES if (bounds == name).any()}


def ahead(rows: pd.DataFrame, score: str, pair: Sequence[str], ascending: bool) -> pd.Series:
    """Return by how much the first of two methods is better on each table of both."""
    both = rows[rows["method"].isin(pair)]
    both = both[both.groupby("problem")["method"].transform("nunique") == 2]
    found = by_table(shared(both, pair), score).reindex(columns=list(pair))
    return (found[pair[0]] - found[pair[1]]) * (-1 if ascending else 1)


def wins(rows: pd.DataFrame, score: str, peer: str, ascending: bool) -> str:
    """Return on how many tables, of those of a peer, skrelu is better."""
    found = ahead(rows, score, (OURS, peer), ascending)
    return f"{(found > 0).sum()}/{len(found)}"


def behind(
    rows: pd.DataFrame, score: str, methods: Sequence[str], peer: str, ascending: bool
) -> pd.DataFrame:
    """Return on how many tables each method is behind a peer by some steps, and where most."""
    lines = {}
    for method in (name for name in methods if name != peer):
        found = -ahead(rows, score, (method, peer), ascending)
        if len(found):
            counts = {f"> {step:g}": int((found > step).sum()) for step in STEPS}
            most = {"most": found.max(), "on": found.idxmax()}
            lines[method] = {"tables": len(found), "> 0": int((found > 0).sum())} | counts | most
    return pd.DataFrame(list(lines.values()), list(lines)).rename_axis(f"{score} behind {peer}")


def median_seconds(rows: pd.DataFrame, methods: Sequence[str]) -> pd.Series:
    """Return the median over tables of the seconds of a fit."""
    seconds = by_table(rows, "seconds", "median").median()
    return seconds[[name for name in methods if name in seconds]]


def standings(
    rows: pd.DataFrame, score: str, methods: Sequence[str], ascending: bool, lines: pd.DataFrame
) -> pd.DataFrame:
    """Return a score of every method on every table, then further lines, ranks and wins."""
    seconds = median_seconds(rows, methods)
    frame = by_table(rows, score)[list(seconds.index)].astype(object)
    rank = ranks(rows, score, methods, ascending)
    frame.loc["mean rank"] = rank.reindex(frame.columns)
    for name, part in by_size(rows).items():
        of_size = ranks(part, score, methods, ascending)
        frame.loc[f"{name} ({part['problem'].nunique()})"] = of_size.reindex(frame.columns)
    for name, line in lines.items():
        frame.loc[name] = line.reindex(frame.columns)
    frame.loc["median s"] = seconds
    if OURS in frame:
        frame.loc[f"times {OURS}'s"] = seconds / seconds[OURS]
        won = {m: wins(rows, score, m, ascending) for m in frame.columns if m != OURS}
        frame.loc[f"{OURS} better on"] = pd.Series(won).reindex(frame.columns)
    return frame
