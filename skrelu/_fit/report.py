"""Reports of what a fit does, for callbacks and for lines on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from skrelu._fit.fitted import Fitted
from skrelu._solvers.progress import Progress


@dataclass
class Step:
    """A part of a fit whose iterations, if it has any, are not reported one by one.

    Parameters
    ----------
    name : str
    n_iter : int or None
        Number of its iterations.
    error : float or None
        Relative loss on rows that did not train it, held out or estimated.
    done : bool
        Whether it did anything; else it is not reported.
    seconds : float
    """

    name: str
    n_iter: int | None = None
    error: float | None = None
    done: bool = True
    seconds: float = 0.0


class Report(Protocol):
    """What a fit reports to."""

    def __call__(self, stage: str, progress: Progress, fitted: Callable[[], Fitted] | None) -> bool:
        """Take the start of a stage or an iteration; return whether to end the stage.

        ``fitted``, if there is a model, returns the model at this iteration.
        """

    def step(self, step: Step) -> None:
        """Take a step that has ended."""


@contextmanager
def timed(report: Report | None, name: str) -> Iterator[Step]:
    """Time a step, which may be given an error, and report it unless it fails."""
    begin = time.perf_counter()
    step = Step(name)
    yield step
    if report is not None and step.done:
        step.seconds = time.perf_counter() - begin
        report.step(step)
