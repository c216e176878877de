"""How cases end: what is a sentence, what has changed, what differs."""

from __future__ import annotations

import dis
import os
import pickle
import random
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn
import torch

import skrelu

OUTCOMES = (
    "fitted", "refused", "foreign", "warned", "not refused", "raises later", "non-finite",
    "wrong shape", "container matters", "to_torch differs", "parts differ", "pickle differs",
    "refit differs", "biased", "not linear", "model lost", "state changed", "over time",
    "over memory", "crashed",
)  # fmt: skip
ROOTS = {
    module.__name__: f"{Path(module.__file__).parent}{os.sep}"
    for module in (skrelu, sklearn, torch, np, scipy)
}
LIBRARIES = ("torch", "numpy", "scipy")
OF_RANGE, OF_SIZE = 1e-8, 1e-12  # most that equal predictions may differ by


@dataclass(frozen=True)
class Finding:
    """One way in which a case fails."""

    outcome: str
    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.text}"


@dataclass(frozen=True)
class Result:
    """How a case ended: fitted or refused, with the sentence, and what is wrong with that."""

    number: int
    tags: tuple[tuple[str, str], ...]
    ended: str
    sentence: str = ""
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def outcomes(self) -> set[str]:
        """What to count the case as."""
        return {finding.outcome for finding in self.findings} or {self.ended}


def _package(filename: str) -> str:
    return next((name for name, root in ROOTS.items() if filename.startswith(root)), "")


def _nearest(stack: traceback.StackSummary, *packages: str) -> traceback.FrameSummary | None:
    """Return the innermost frame of some packages."""
    return next((one for one in reversed(stack) if _package(one.filename) in packages), None)


def is_sentence(error: BaseException) -> bool:
    """Tell whether an exception is one that skrelu or scikit-learn's validation wrote."""
    if not isinstance(error, ValueError | TypeError) or len(str(error).split()) < 4:
        return False
    stack = traceback.extract_tb(error.__traceback__)
    nearest = _nearest(stack, "skrelu", "sklearn")
    if nearest is None or _package(stack[-1].filename) in LIBRARIES:
        return False
    if _package(nearest.filename) == "sklearn":
        return True
    trace = (
        error.__traceback__
    )  # to a ``raise``: what a function in C raises has no frame of its own
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _place(stack: traceback.StackSummary) -> str:
    frame = _nearest(stack, "skrelu")
    return f" in {Path(frame.filename).name}:{frame.name}" if frame else ""


def finding_of(error: BaseException, outcome: str) -> Finding:
    """Return the finding that an exception is."""
    message = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate" in message:
        outcome = "over memory"
    place = _place(traceback.extract_tb(error.__traceback__))
    text = f"{type(error).__name__}{place}: {message[:160]}"
    return Finding(outcome, text, "".join(traceback.format_exception(error)))


def fingerprint(values: Any) -> Any:
    """Return what changes if values do."""
    if isinstance(values, dict):
        return {name: fingerprint(value) for name, value in values.items()}
    if isinstance(values, torch.Tensor):
        flat = values.detach().clone(memory_format=torch.contiguous_format)
        bits = flat.view(torch.uint8).numpy() if values.ndim else flat
        return values.dtype, values.requires_grad, values.grad is None, np.array(bits).tobytes()
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values.dtype, values.flags.writeable, values.shape, values.tobytes()
    if isinstance(values, pd.DataFrame):
        return list(values.columns), list(values.dtypes), repr(values.to_dict("list"))
    if isinstance(values, np.ndarray | pd.Series):
        return values.dtype, repr(values.tolist())
    if hasattr(values, "to_dict"):  # polars
        return repr(values.to_dict(as_series=False))
    return repr(values.toarray()) if hasattr(values, "toarray") else repr(values)


def global_state() -> dict[str, Any]:
    """Return what a fit must leave as it is."""
    return {
        "np.random": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "random": random.getstate(),
        "torch.random": torch.get_rng_state().numpy().tobytes(),
        "torch threads": torch.get_num_threads(),
        "torch dtype": torch.get_default_dtype(),
        "torch grad mode": torch.is_grad_enabled(),
        "np.errstate": np.geterr(),
        # Modules that torch imports when first needed add filters of their own warnings,
        # and names of folders to the environment.
        "warnings.filters": [
            one for one in warnings.filters if one[2].__module__.startswith(("builtins", "sklearn"))
        ],
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("TORCH")},
    }


def note_warning(found: list[Finding], message, category, *where, **options) -> None:
    """Note a numerical warning that skrelu, and not scikit-learn, lets through."""
    stack = traceback.extract_stack()
    nearest = _nearest(stack, "skrelu", "sklearn")
    if issubclass(category, RuntimeWarning) and nearest and _package(nearest.filename) == "skrelu":
        found.append(Finding("warned", f"{message}{_place(stack)}", "".join(stack.format())))


def differs(a: Any, b: Any, of_range: float = OF_RANGE, of_size: float = OF_SIZE) -> str:
    """Return by how much arrays differ, "" for no more than rounding."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    with np.errstate(all="ignore"):
        size = np.abs(b).max(initial=0) or 1.0
        error = np.nan_to_num(np.abs(a / size - b / size), nan=np.inf).max(initial=0)
        spread = np.ptp(b / size) if b.size else 0.0
        if error <= of_range * spread + of_size + 1e-322 / size:
            return ""
        return f"{error / (spread or 1):.0e} of the range"
