"""Run a case: what `fit` did, what it left, what became of the rest of the world."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fuzz.cases import SMALL, Case
from benchmarks.fuzz.checks import checked
from benchmarks.fuzz.outcomes import (
    Finding,
    Result,
    finding_of,
    fingerprint,
    global_state,
    is_sentence,
    note_warning,
)


def make(case: Case) -> Any:
    """Return the estimator, after its earlier fit if there is one."""
    if case.earlier is None:
        return case.estimator(**case.parameters)
    parameters, data = case.earlier
    return case.estimator(**parameters).fit(**data).set_params(**case.parameters)


def examine(case: Case) -> Result:
    """Run one case and all checks."""
    warned: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = partial(note_warning, warned)
        try:
            model = make(case)
        except Exception as error:  # of the earlier fit
            foreign = () if is_sentence(error) else (finding_of(error, "foreign"),)
            return Result(case.number, case.tags, "refused", f"earlier fit: {error}", foreign)
        passed = {"data": case.data, "parameters": case.parameters}
        given, state = fingerprint(passed), global_state()
        before = None if case.earlier is None else model.predict(case.earlier[1]["X"])
        ended, sentence, findings = "fitted", "", []
        try:
            model.fit(**case.data)
        except Exception as error:
            ended, sentence = "refused", " ".join(str(error).split())
            if not is_sentence(error):
                findings.append(finding_of(error, "foreign"))
            findings += _model_kept(case, model, before)
        else:
            findings += checked(case, model)
        if fingerprint(passed) != given:
            findings.append(Finding("state changed", "what fit was given"))
        now = global_state()
        changed = [name for name, value in state.items() if now[name] != value]
        if changed:
            findings.append(Finding("state changed", ", ".join(changed)))
    findings += warned
    return Result(case.number, case.tags, ended, sentence, tuple(dict.fromkeys(findings)))


def _model_kept(case: Case, model: Any, before: NDArray | None) -> Iterator[Finding]:
    """Check that a fit that raised leaves what was fitted before."""
    if case.earlier is not None:
        X = case.earlier[1]["X"]
    else:  # refuse it once more, now with something to lose
        X = np.random.default_rng(0).uniform(size=(12, 2))
        model = case.estimator(**SMALL).fit(X, X[:, 0] > 0.5)
        before, kept = model.predict(X), model.get_params()
        model.set_params(**case.parameters)
        try:
            model.fit(**case.data)
        except Exception:
            model.set_params(**kept)
        else:
            return
    try:
        same = np.array_equal(model.predict(X), before)
    except Exception as error:
        yield finding_of(error, "model lost")
    else:
        if not same:
            yield Finding("model lost", "predictions changed by a fit that raised")
