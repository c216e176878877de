"""Text tables, verdicts, and the one line of what timings depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch

import skrelu


@dataclass(frozen=True)
class Target:
    """A figure, and what it is meant to be at most or at least."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is; what was not measured (NaN) is not."""
        return bool(self.value >= self.limit if self.at_least else self.value <= self.limit)

    def verdict(self) -> str:
        """Return the sentence that says so."""
        side = "at least" if self.at_least else "at most"
        met = "met" if self.met else "MISSED"
        return f"{self.what}: {self.value:.3g}, target {side} {self.limit:g}: {met}"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text: floats with three significant digits, what is missing as a blank."""
    lines = [list(map(str, header)), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def shown(frame: pd.DataFrame, corner: str = "") -> str:
    """Return a frame as text; one of two levels as a table for each value of the first."""
    if frame.index.nlevels == 1:
        corner = corner or str(frame.index.name or "")
        cells = zip(*(frame[name] for name in frame), strict=True)
        rows = [[label, *row] for label, row in zip(frame.index, cells, strict=True)]
        return table([corner, *frame.columns], rows)
    groups = frame.groupby(level=0, sort=False)
    return "\n\n".join(
        shown(part.droplevel(0), f"{name}, {corner}" if corner else str(name))
        for name, part in groups
    )


def summary(by: list[str], columns: Mapping[str, tuple[str, Any]], corner: Any = None):
    """Return a function from rows to a frame: of each group, columns that are made in some way."""

    def frame(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.groupby(by, sort=False)
        made = {name: found[column].agg(how) for name, (column, how) in columns.items()}
        return pd.DataFrame(made).rename_axis(corner or by)

    return frame


def machine() -> str:
    """Return one line of what timings and last digits depend on."""
    facts = [
        date.today().isoformat(),
        cpu(),
        f"{os.cpu_count()} cores",
        f"skrelu {skrelu.__version__}",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
        f"scikit-learn {sklearn.__version__}",
        f"numpy {np.__version__}",
    ]
    if hasattr(os, "getloadavg"):  # not on Windows
        facts.append(f"load {os.getloadavg()[0]:.1f}")
    return ", ".join(facts)


@cache
def cpu() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def listed(values: Mapping[str, object]) -> str:
    """Return names and values in one line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
