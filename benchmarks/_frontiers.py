"""Errors against numbers: a problem a panel, the frontier of each family of networks a line."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks._cost import frontier
from benchmarks._peers import OURS
from benchmarks._pictures import panels

COMPRESSED, ONE_LEVEL = f"{OURS}, compressed", f"{OURS}, one level"
RELU, TANH, PRUNED, DISTILLED = "MLP relu", "MLP tanh", "MLP relu, pruned", "MLP relu, distilled"
STYLES = {
    COMPRESSED: ("#d1542c", "o"),
    OURS: ("#d1542c", "*"),
    ONE_LEVEL: ("#e9a58c", "o"),
    RELU: ("#c9a227", "v"),
    TANH: ("#c76bb0", "^"),
    PRUNED: ("#7a5c00", "v"),
    DISTILLED: ("#1f6fb4", "s"),
    "pykan": ("#6a3d9a", "P"),
    "HistGB": ("#1f6fb4", "s"),
}
LEAST = 1e-10  # errors below are drawn as this one


def draw(rows: pd.DataFrame, scale: str = "log") -> Figure:
    """Draw errors against numbers, a problem a panel, the frontier of each family a line."""
    problems = rows.groupby("problem", sort=False)
    n_columns = min(5, len(problems))
    n_rows = -(-len(problems) // n_columns)
    figure, axes = panels(n_rows, n_columns, (2.9 * n_columns + 0.6, 3 * n_rows + 0.9))
    for axis, (name, found) in zip(axes.flat, problems, strict=False):
        found = found.assign(error=found["error"].clip(lower=LEAST))
        for family, (color, marker) in STYLES.items():
            part = frontier(found[(found["family"] == family) & found["stored"].notna()], "stored")
            ours = family in (COMPRESSED, OURS)
            axis.plot(
                part["stored"], part["error"], f"{marker}-", color=color, label=family,
                lw=2.4 if ours else 1.1, ms={"*": 13, "o": 6}.get(marker, 5) if ours else 4.5,
                mec="white", mew=0.5, zorder=4 if ours else 3,
            )  # fmt: skip
        axis.set(xscale="log", yscale=scale, title=name)
    for axis in axes[-1]:
        axis.set_xlabel("weights and biases")
    for axis in axes[:, 0]:
        axis.set_ylabel("$1 - R^2$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    used = set(rows["family"])
    pairs = [(h, n) for h, n in zip(handles, labels, strict=True) if n in used]
    n_names = min(len(pairs), 2 * n_columns)
    figure.legend(*zip(*pairs, strict=True), loc="outside upper center", ncols=n_names,
                  frameon=False)  # fmt: skip
    return figure
