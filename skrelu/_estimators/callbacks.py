"""Reports of a fit's progress to callbacks and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skrelu._estimators.verbose import Lines
from skrelu._fit.fitted import Fitted
from skrelu._fit.report import Step
from skrelu._solvers.progress import Progress, Result, Status


class FitTasks:
    """The tasks of a fit for scikit-learn's callbacks: its stages and their iterations.

    Parameters
    ----------
    estimator : estimator
        Estimator with `sklearn.callback.CallbackSupportMixin`.
    data : dict
        X, y and metadata, passed to callbacks.
    attributes : callable
        Function from `Fitted` to the fitted attributes of the estimator.
    verbose : int
        See `Lines`.

    Notes
    -----
    The contexts of these tasks have two attributes beside those of scikit-learn, because it passes
    no others to callbacks: ``seconds_left`` of all iterations of the fit, and
    ``stage_seconds_left``. Both are None if unknown.
    """

    def __init__(
        self, estimator, data: dict, attributes: Callable[[Fitted], dict], verbose: int
    ) -> None:
        self.estimator, self.data = estimator, data
        self.attributes, self.lines = attributes, Lines(verbose)
        self.fit = _tell(estimator._init_callback_context(max_subtasks=None), None, False)
        self.stage: Any = None
        self.progress: list[tuple[str, Progress]] = []  # of each stage
        self.fit.call_on_fit_task_begin(estimator=estimator, **data)

    def __call__(self, stage: str, progress: Progress, fitted: Callable[[], Fitted] | None) -> bool:
        """Report one iteration; return whether a callback asks to end the stage."""
        self.lines(stage, progress)
        state = {**self.data, "reconstruction_attributes": self._state(fitted)}
        if progress.n_iter == 0:
            self._end_stage()
            self.progress.append((stage, progress))
            stage_task = self.fit.subcontext(task_name=stage, max_subtasks=progress.max_iter)
            self.stage = _tell(stage_task, progress.seconds_left, progress.ends_fit)
            self.stage.call_on_fit_task_begin(estimator=self.estimator, **state)
            return False
        iteration = self.stage.subcontext(task_name="iteration")
        _tell(iteration, progress.seconds_left, progress.ends_fit)
        iteration.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return iteration.call_on_fit_task_end(estimator=self.estimator, **state)

    def step(self, step: Step) -> None:
        """Print a step, which is no task."""
        self.lines.step(step)

    def end(self, fitted: Fitted) -> None:
        """Report the end of the fit."""
        self._end_stage()
        self.lines.end(fitted)
        state = self._state(lambda: fitted)
        self.fit.seconds_left = 0.0
        self.fit.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=state
        )

    @property
    def stages(self) -> list[dict]:
        """Names and losses of all stages."""
        return [stage_of(name, progress.result(Status.DONE)) for name, progress in self.progress]

    def _end_stage(self) -> None:
        if self.stage is not None:
            _tell(self.stage, 0.0, self.progress[-1][1].ends_fit)
            self.stage.call_on_fit_task_end(estimator=self.estimator, **self.data)

    def _state(self, fitted: Callable[[], Fitted] | None) -> Callable[[], dict] | None:
        return None if fitted is None else lambda: self.attributes(fitted())


def _tell(context, left: float | None, ends_fit: bool):
    """Give a context the seconds left of its stage, and return it."""
    context.stage_seconds_left, context.seconds_left = left, left if ends_fit else None
    return context


def stage_of(name: str, result: Result) -> dict:
    """Return the name and the losses of a stage, for ``stages_``."""
    return {
        "name": name,
        "loss": list(result.loss_curve),
        "validation_loss": list(result.validation_curve),
    }
