"""Scores of classifiers by fold: how they are taken, kept in a file and summarized."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class FoldScores:
    """Scores of a method on the first folds of a table, in their order."""

    logloss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.logloss)

    def add(self, model, X: NDArray, y: NDArray, seconds: float) -> None:
        """Add those of a model on the rows of one more fold."""
        loss, accuracy = score(model, X, y)
        self.logloss.append(round(loss, 6))
        self.accuracy.append(round(accuracy, 6))
        self.seconds.append(round(seconds, 4))

    def summary(self, n_folds: int | None = None) -> Summary:
        """Return means over the first folds, all by default."""
        part = slice(n_folds)
        return Summary(
            float(np.mean(self.logloss[part])),
            float(np.mean(self.accuracy[part])),
            float(np.median(self.seconds[part])),
        )


@dataclass(frozen=True)
class Summary:
    """Means over folds, and the median seconds of a fit."""

    logloss: float
    accuracy: float
    seconds: float


Found = dict[str, dict[str, FoldScores]]  # by table and method
Summaries = dict[str, dict[str, Summary]]


def score(model, X: NDArray, y: NDArray) -> tuple[float, float]:
    """Return log-loss and accuracy of a classifier, from its probabilities.

    Probabilities below 1e-15 count as that.
    """
    proba = model.predict_proba(X)  # (n_samples, n_classes)
    classes = np.asarray(model.classes_)  # sorted
    answer = proba[np.arange(len(y)), np.searchsorted(classes, y)]
    loss = -np.mean(np.log(np.clip(answer, LEAST_PROBABILITY, 1)))
    return float(loss), float(np.mean(classes[proba.argmax(1)] == y))


def load(path: Path, tables: Iterable[str], methods: Iterable[str]) -> Found:
    """Return what is saved of these tables and methods, in this order."""
    saved = json.loads(path.read_text()) if path.exists() else {}
    found = {
        at: {m: FoldScores(**saved[at][m]) for m in methods if m in saved[at]}
        for at in tables
        if at in saved
    }
    return {at: scores for at, scores in found.items() if scores}


def keep(path: Path, at: str, method: str, scores: FoldScores, order: Iterable[str]) -> None:
    """Replace the scores of a method on a table in a file.

    The file is read again for each, so that two runs of different methods can share it.
    """
    saved: dict[str, Mapping] = json.loads(path.read_text()) if path.exists() else {}
    saved[at] = {**saved.get(at, {}), method: asdict(scores)}
    lines = (
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(m)}: {json.dumps(of)}" for m, of in saved[name].items())
        + "\n }"
        for name in order
        if name in saved
    )
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    part.replace(path)


def summaries(found: Found) -> Summaries:
    """Return means over all folds that each method ran on."""
    return {at: {m: s.summary() for m, s in scores.items()} for at, scores in found.items()}


def on_common_folds(found: Found, methods: Iterable[str]) -> Summaries:
    """Return means of these methods over the folds of a table that all that ran there share."""
    names = set(methods)
    kept = {at: {m: s for m, s in of.items() if m in names} for at, of in found.items()}
    return {
        at: {m: s.summary(min(map(len, of.values()))) for m, s in of.items()}
        for at, of in kept.items()
    }
