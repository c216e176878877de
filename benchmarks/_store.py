"""Rows of experiments in one CSV file, written as they are measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

import skrelu
from benchmarks._text import cpu

KEYS = ("experiment", "problem", "method", "repeat")
SETTINGS = ("version", "quick", "settings")
WHERE = ("machine", "date")
COLUMNS = (*KEYS, *SETTINGS, *WHERE, "cpu_seconds", "wall_seconds")
TEXT = dict.fromkeys((*KEYS[:3], "version", "settings", *WHERE), str)


class Store:
    """Rows in a file, or in memory if there is no path.

    Parameters
    ----------
    path : Path or None
    scores : sequence of str
        Columns beside those that every row has.
    quick : bool
    settings : str
        What the command line says that scores depend on.
    """

    def __init__(self, path: Path | None, scores: Sequence[str], quick: bool, settings: str = ""):
        self.path, self.memory = path, io.StringIO()
        self.settings = dict(zip(SETTINGS, (skrelu.__version__, quick, settings), strict=True))
        text = path.read_text() if path is not None and path.is_file() else ""
        text = text[: text.rfind("\n") + 1]  # a line that broke off is measured again
        before = list(csv.DictReader(io.StringIO(text)))
        known = list(before[0]) if before else []
        self.columns = list(dict.fromkeys([*COLUMNS, *known, *scores]))
        self._write(before)

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.memory = io.StringIO()
        writer = csv.DictWriter(self.memory, self.columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
        if self.path is not None and self.path.parent.is_dir() and not self.path.is_char_device():
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(self.memory.getvalue())
            part.replace(self.path)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of the settings of this run."""
        lines = io.StringIO()
        writer = csv.DictWriter(lines, self.columns, lineterminator="\n", restval="")
        where = dict(zip(WHERE, (cpu(), date.today().isoformat()), strict=True))
        writer.writerows({**row, **self.settings, **where} for row in rows)
        self.memory.write(lines.getvalue())
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(lines.getvalue())

    def all(self) -> pd.DataFrame:
        """Return all rows, also those of other settings and versions."""
        return pd.read_csv(
            io.StringIO(self.memory.getvalue()), dtype=TEXT, float_precision="round_trip",
            keep_default_na=False, na_values={name: [""] for name in self.columns
                                              if name not in TEXT},
        )  # fmt: skip

    def rows(self, experiments: Collection[str], lasting: Collection[str] = ()) -> pd.DataFrame:
        """Return the rows of experiments that this version measured with these settings.

        Parameters
        ----------
        experiments : collection of str
        lasting : collection of str
            Methods that do not depend on skrelu. If this version has no rows of them for a
            problem, those of the last version that has are taken.
        """
        rows = self.all()
        same = rows["experiment"].isin(experiments)
        for name in ("quick", "settings"):
            same &= rows[name] == self.settings[name]
        rows = rows[same]
        ours = rows["version"] == self.settings["version"]
        last = rows.groupby(["experiment", "problem", "method"])["version"].transform("last")
        renewed = rows[ours].set_index(["experiment", "problem", "method"]).index
        pairs = rows.set_index(["experiment", "problem", "method"]).index
        older = rows["method"].isin(lasting) & ~pairs.isin(renewed) & (rows["version"] == last)
        return rows[ours | older].reset_index(drop=True)

    def drop(self, dropped: pd.Series) -> None:
        """Remove rows, told by a mask over all of them."""
        lines = list(csv.DictReader(io.StringIO(self.memory.getvalue())))
        self._write(line for line, gone in zip(lines, dropped, strict=True) if not gone)
