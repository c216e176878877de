"""Results in CSV files, row by row, and where pictures go."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, TypeVar

from matplotlib.figure import Figure

from benchmarks._report import ROOT, TABLES

Row = TypeVar("Row", bound=Any)  # of a dataclass


def collect(name: str, rows: Iterable[Row], quick: bool) -> list[Row]:
    """Return the rows as a list.

    In a full run each is written to docs/tables/functions_NAME.csv as it comes, so that an
    interrupted run leaves what it has measured. Floats have four significant digits there.
    """
    if quick:
        return list(rows)
    collected: list[Row] = []
    with (TABLES / f"functions_{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            values = asdict(row)
            if not collected:
                writer.writerow(values)
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in values.values()])
            file.flush()
            collected.append(row)
    return collected


def save_picture(name: str, figure: Figure) -> None:
    """Write docs/images/functions_NAME.png."""
    figure.savefig(ROOT / "docs" / "images" / f"functions_{name}.png", dpi=100)
