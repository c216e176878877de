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
WHERE = ("version", "quick", "settings", "machine", "date")
COLUMNS = (*KEYS, *WHERE, "cpu_seconds", "wall_seconds")
TEXT = (*KEYS[:3], *WHERE)


class Store:
    """Rows in a file, or in memory if there is no path.

    Scores are further columns; settings what the command line says that rows depend on.
    """

    def __init__(self, path: Path | None, scores: Sequence[str], quick: bool, settings: str = ""):
        self.path = path
        self.version = skrelu.__version__
        self.settings = {"quick": str(quick), "settings": settings}
        begun = path is not None and path.is_file()
        text = path.read_text() if begun else ""
        whole = text[: text.rfind("\n") + 1]  # a line that broke off is measured again
        self.lines = list(csv.DictReader(io.StringIO(whole)))
        known = list(self.lines[0]) if self.lines else []
        self.columns = list(dict.fromkeys([*COLUMNS, *known, *scores]))
        if begun and (self.columns != known or whole != text):
            self._write(self.lines)

    def _text(self, lines: Iterable[Mapping[str, Any]], header: bool = True) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n", restval="")
        if header:
            writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()

    def _write(self, lines: Iterable[dict[str, str]]) -> None:
        self.lines = list(lines)
        if self.path is not None:
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(self._text(self.lines))
            part.replace(self.path)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of the version and the settings of this run."""
        here = {"machine": cpu(), "date": date.today().isoformat(), "version": self.version}
        text = self._text(({**row, **self.settings, **here} for row in rows), header=False)
        self.lines += csv.DictReader(io.StringIO(text), self.columns)
        if self.path is not None:
            begun = self.path.is_file()
            with self.path.open("a") as file:
                file.write(text if begun else self._text([]) + text)

    def rows(self, experiments: Collection[str], lasting: Collection[str] = ()) -> pd.DataFrame:
        """Return the rows of experiments that this version measured with these settings.

        ``seconds`` are CPU seconds where these are known, else wall seconds.
        What it has not measured of lasting methods, which do not depend on skrelu, is taken from
        the last version that has.
        """
        lines = [line for line in self.lines if line["experiment"] in experiments]
        lines = [line for line in lines if self.settings.items() <= line.items()]
        best: dict[tuple, str] = {}
        for line in lines:
            key = tuple(map(line.get, KEYS))
            if best.get(key) != self.version:
                best[key] = line["version"]
        lines = [line for line in lines if line["version"] == best[tuple(map(line.get, KEYS))]]
        kept = (x for x in lines if x["version"] == self.version or x["method"] in lasting)
        frame = pd.DataFrame(kept, columns=self.columns)
        typed = {n: _typed(frame[n].tolist()) for n in self.columns if n not in TEXT}
        frame = frame.assign(**typed)
        # CPU seconds do not depend on what else runs; earlier rows have wall seconds only.
        return frame.assign(seconds=frame["cpu_seconds"].fillna(frame["wall_seconds"]))

    def drop(self, experiment: str, pairs: Collection[tuple], lasting: Collection[str]) -> None:
        """Remove the rows of pairs of a problem and a method, of any version if they last."""

        def gone(line: dict[str, str]) -> bool:
            ours = line["experiment"] == experiment and self.settings.items() <= line.items()
            chosen = (line["problem"], line["method"]) in pairs
            renewed = line["version"] == self.version or line["method"] in lasting
            return ours and chosen and renewed

        self._write(line for line in self.lines if not gone(line))


def _typed(values: list[str]) -> list:
    """Return whole numbers, numbers or text, the first that all values are."""
    for kind in (int, float):
        try:
            return [kind(value or "nan") for value in values]
        except ValueError:
            continue
    return [value or None for value in values]
