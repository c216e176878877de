"""What benchmarks share: text tables, facts about the machine, the command line."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

import skrelu

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "tables"

Measurement = Callable[..., str]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows as text, the first column to the left and the others to the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences
        Floats are shown with three significant digits, None as a blank.

    Returns
    -------
    str
    """
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
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
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def verdict(what: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """Return a line that says whether a measured value meets its target."""
    met = value >= limit if at_least else value <= limit
    side = "at least" if at_least else "at most"
    return f"{what}: {value:.3g}, target {side} {limit:g}: {'met' if met else 'MISSED'}"


def machine() -> str:
    """Return one line of what timings and last digits depend on."""
    facts = [
        date.today().isoformat(),
        _cpu(),
        f"{os.cpu_count()} cores",
        f"skrelu {skrelu.__version__}",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
        f"scikit-learn {sklearn.__version__}",
        f"numpy {np.__version__}",
    ]
    if hasattr(os, "getloadavg"):  # not on Windows
        facts.append(f"load {os.getloadavg()[0]:.1f} before the run")
    return ", ".join(facts)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(
    description: str,
    measurements: Mapping[str, Measurement],
    output: Path,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Run measurements from the command line, print and save their tables.

    Parameters
    ----------
    description : str
    measurements : mapping of names to functions
        Each takes whether to be quick and returns text.
    output : Path
        Where a full run is saved. A part of it, or a quick run, is saved only to a file
        that is named, so that it does not replace the full tables.
    options : mapping of names to settings, default=None
        Further options of the command line, with what `ArgumentParser.add_argument` takes.
        Measurements are given their values by name. A run with one of them is not a full one.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(measurements))
    parser.add_argument("--output", type=Path, help=f"default, if complete: {output.name}")
    for name, settings in (options or {}).items():
        parser.add_argument(f"--{name}", **settings)
    arguments = parser.parse_args()
    further = {name: getattr(arguments, name) for name in options or {}}
    names = arguments.only or list(measurements)
    complete = arguments.only is None and not arguments.quick and not any(further.values())
    path = arguments.output or (output if complete else None)
    sections = [machine()]
    print(sections[0], flush=True)
    for name in names:
        begin = time.perf_counter()
        text = measurements[name](arguments.quick, **further)
        seconds = time.perf_counter() - begin
        sections.append(f"{name}  ({seconds:.0f} s)\n{'=' * len(name)}\n{text}")
        print(f"\n{sections[-1]}", flush=True)
        if path is not None:  # after each, so that an interrupted run leaves its tables
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(sections) + "\n")
