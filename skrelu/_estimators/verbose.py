"""What ``verbose`` prints: a line a stage, lines of iterations, and a summary of the fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing import current_process

import numpy as np
import torch

from skrelu._fit.fitted import Fitted
from skrelu._fit.report import Step
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.progress import Progress


class Lines:
    """Print what a fit does, to standard output.

    Each line is written at once and names the process or thread if it is not the main one, so that
    the lines of fits that run at the same time can be told apart.

    Parameters
    ----------
    verbose : int
        0: nothing. 1: a line at the end of each stage, and a summary. 2: also a line an iteration.
    """

    def __init__(self, verbose: int) -> None:
        self.verbose = int(verbose)
        self.begin = time.perf_counter()
        self.stage: tuple[str, Progress, float] | None = None  # with its seconds so far

    def __call__(
        self, stage: str, progress: Progress, fitted: Callable[[], Fitted] | None = None
    ) -> bool:
        """Take the start of a stage, or an iteration."""
        if not self.verbose:
            return False
        if progress.n_iter == 0:
            self.end_stage()
        elif self.verbose >= 2:
            say(_of_iteration(stage, progress))
        self.stage = stage, progress, progress.seconds
        if progress.over:
            self.end_stage()
        return False

    def end_stage(self) -> None:
        """Print the line of a stage, unless it has been printed."""
        if self.stage is not None:
            say(_of_stage(*self.stage))
        self.stage = None

    def step(self, step: Step) -> None:
        """Print the line of a step."""
        if not self.verbose:
            return
        self.end_stage()
        parts = [] if step.n_iter is None else [_counted(step.n_iter)]
        if step.error is not None and np.isfinite(step.error):
            parts.append(f"score on other rows = {1 - step.error:.4f}")
        say(f"{step.name}: {', '.join([*parts, _seconds(step.seconds)])}")

    def end(self, fitted: Fitted) -> None:
        """Print the summary of a fit."""
        if not self.verbose:
            return
        last = fitted.refinement or fitted.pretraining
        parts = [f"fit: {chosen(fitted)}"]
        if np.isfinite(fitted.error):
            parts.append(f"score on other rows = {1 - fitted.error:.4f}")
        if last is not None:
            parts.append(f"ended because {last.status.message}")
        self.summarize("; ".join(parts), time.perf_counter() - self.begin)

    def summarize(self, line: str, seconds: float) -> None:
        """Print a line with the seconds of all stages."""
        self.end_stage()
        if self.verbose:
            say(f"{line}; {_seconds(seconds)} in all")


def say(line: str) -> None:
    """Print a line at once, with the name of the process or thread if it is not the main one."""
    process, thread = current_process(), threading.current_thread()
    name = "" if thread is threading.main_thread() else f" {thread.name}"
    name = name if process.name == "MainProcess" else f" {process.name}"
    print(f"[skrelu{name}] {line}\n", end="", flush=True)


def chosen(fitted: Fitted) -> str:
    """Return in words which networks a model is made of, with their weights."""
    # Outputs may have weights of their own.
    kinds = {name: float(np.mean(share)) for name, share in fitted.kinds.items() if np.any(share)}
    if kinds:
        return "average of " + " + ".join(f"{share:.2f} {name}" for name, share in kinds.items())
    plan = fitted.plan
    weights = plan.relu.unpack(torch.tensor(fitted.relu))
    if not weights.output.any():
        return "linear model" if weights.linear.any() else "the best constant"
    network = plan.network
    if plan.solver == "ridge":
        periodic = isinstance(network, ComposedNetwork)
        return f"{network.n_subnetworks} {'periodic waves' if periodic else 'windows side by side'}"
    levels = "one level" if network.n_levels == 1 else f"{network.n_levels} levels"
    waves = f"{network.n_subnetworks} sub-networks on {levels}"
    n_starts = len(fitted.shares)
    return waves if n_starts == 1 else f"average of {n_starts} starts of {waves}"


def _of_iteration(stage: str, progress: Progress) -> str:
    line = f"{stage} {progress.n_iter}: loss = {progress.loss_curve[-1]:.6g}"
    if progress.validated:
        line += f", validation loss = {progress.validation_curve[-1]:.6g}"
    if progress.scored:
        line += f", validation score = {progress.score_curve[-1]:.6g}"
    return f"{line}, {_left(progress)}"


def _left(progress: Progress) -> str:
    """Return the time left: of all iterations of the fit if no stage follows, else of the stage."""
    then, most = progress.options.then, "" if progress.fraction else "at most "
    line = f"{most}{progress.seconds_left:.1f} s of iterations left"
    if progress.ends_fit:
        return line
    return f"{line} in this stage; {_listed(then)} may follow" if then else f"{line} in this stage"


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _of_stage(stage: str, progress: Progress, seconds: float) -> str:
    parts = [_counted(progress.n_iter), f"loss = {float(progress.loss.mean()):.6g}"]
    if progress.scored:
        parts.append(f"validation score = {-float(progress.best.mean()):.4f}")
    elif progress.validated:
        parts.append(f"validation score = {1 - float(progress.validation_loss.mean()):.4f}")
    return f"{stage}: {', '.join([*parts, _seconds(seconds)])}"


def _counted(n_iter: int) -> str:
    return f"{n_iter} iteration{'' if n_iter == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"
