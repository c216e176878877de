"""What comparisons of methods on tables share: what to fit, how to time it, ranks."""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

SourceT = TypeVar("SourceT")
ScoresT = TypeVar("ScoresT")


@dataclass(frozen=True)
class Choice:
    """What the command line leaves to be fitted; the rest is read from what is saved."""

    quick: bool = False
    methods: Sequence[str] | None = None
    tables: Sequence[str] | None = None
    saved: bool = False

    def tables_of(self, tables: Mapping[str, SourceT]) -> dict[str, SourceT]:
        """Return the tables to fit, two in a quick run."""
        names = [] if self.saved else [n for n in tables if n in (self.tables or tables)]
        return {name: tables[name] for name in names[: 2 if self.quick else None]}

    def has(self, method: str) -> bool:
        """Return whether a method is to be fitted."""
        return method in (self.methods or [method])


def options(methods: Iterable[str], tables: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the options of the command line that make a choice."""
    return {
        "methods": {
            "nargs": "+", "metavar": "NAME", "choices": list(methods), "help": "fit only these"
        },
        "tables": {
            "nargs": "+", "metavar": "NAME", "choices": list(tables), "help": "fit only to these"
        },
        "saved": {"action": "store_true", "help": "fit nothing, report what is saved"},
    }  # fmt: skip


def installed(requirement: str | None) -> bool:
    """Return whether a package is there, or a name of one: "skrelu.ExponentialReLURegressor"."""
    if requirement is None:
        return True
    package, _, name = requirement.partition(".")
    if importlib.util.find_spec(package) is None:
        return False
    return not name or hasattr(importlib.import_module(package), name)


@contextmanager
def one_silent_thread() -> Iterator[None]:
    """Limit libraries to a thread, and say nothing of what they warn of."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def timed_fit(make: Callable[[], Any], X, y) -> tuple[Any, float]:
    """Return a fitted model and the seconds that making and fitting it took."""
    begin = time.perf_counter()
    model = make().fit(X, y)
    return model, time.perf_counter() - begin


def mean_ranks(
    found: Mapping[str, Mapping[str, ScoresT]],
    methods: Iterable[str],
    loss: Callable[[ScoresT], float],
) -> dict[str, float]:
    """Return the mean ranks, the least loss first, among the methods that ran on all tables."""
    everywhere = [m for m in methods if all(m in scores for scores in found.values())]
    ranks = [rankdata([loss(scores[m]) for m in everywhere]) for scores in found.values()]
    return dict(zip(everywhere, np.mean(ranks, axis=0).tolist(), strict=True))


def median_seconds(
    found: Mapping[str, Mapping[str, Any]], methods: Iterable[str]
) -> dict[str, float]:
    """Return the median over tables of the seconds of a fit."""
    seconds = {m: [s[m].seconds for s in found.values() if m in s] for m in methods}
    return {m: float(np.median(values)) for m, values in seconds.items() if values}
