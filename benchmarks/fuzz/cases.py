"""Random cases: inputs, targets, parameters, weights, validation data, an earlier fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.random import Generator

from benchmarks.fuzz.tables import EXACT, LARGEST, Inputs, choose, draw_inputs, mostly
from benchmarks.fuzz.targets import Targets, draw_labels, draw_numbers, far_from
from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor

HUGE = (10**6, 10**12, 10**18, 10**30)
SMALL = {"depth": 2, "n_subnetworks": 2, "n_init": 2, "max_iter": 4, "random_state": 0}
INTEGERS = (int, int, int, np.int8, np.uint8, np.int32, np.uint64)


@dataclass(frozen=True)
class Case:
    """One fit, and what there is to know about it."""

    number: int
    estimator: Callable[..., Any]
    parameters: dict[str, Any]
    data: dict[str, Any]  # what `fit` is given
    inputs: Inputs
    targets: Targets
    tags: tuple[tuple[str, str], ...]  # areas and what was drawn there
    earlier: tuple[dict[str, Any], dict[str, Any]] | None = (
        None  # parameters and data, fitted before
    )
    reasons: tuple[str, ...] = ()  # why the fit must be refused, if it must

    @property
    def classifies(self) -> bool:
        """Whether targets are labels."""
        return ("estimator", "classifier") in self.tags

    def has(self, area: str, *kinds: str) -> bool:
        """Tell whether one of these was drawn in an area."""
        return any(tag == (area, kind) for tag in self.tags for kind in kinds)

    def described(self) -> str:
        """Return one line on what was drawn."""
        return ", ".join(f"{area}: {kind}" for area, kind in self.tags)


def _one_of(*values: Any) -> Callable[[Generator], Any]:
    return lambda rng: values[rng.integers(len(values))]


def _integer(*values: int) -> Callable[[Generator], Any]:
    return lambda rng: _one_of(*INTEGERS)(rng)(_one_of(*values)(rng))


def _power(low: float, high: float) -> Callable[[Generator], float]:
    return lambda rng: float(10 ** rng.uniform(low, high))


Draw = Callable[[Generator], Any]
VALID: dict[str, Draw] = {
    "depth": _integer(1, 2, 3, 6, 12, 30, 52),
    "n_subnetworks": _integer(1, 2, 3, 6, 12, 40),
    "n_levels": _integer(1, 1, 2, 3),
    "n_init": _integer(1, 2, 3, 7, 20),
    "smooth": _one_of(True, False, np.bool_(False)),
    "alpha": _one_of(0, 0.0, 1e-300, 1e-12, 1, np.float32(0.1), 1e5, 1e10),
    "solver": _one_of("lm", "adam", "adam"),
    "max_iter": _integer(1, 2, 5, 20, 60),
    "refine": _one_of(True, False),
    "refine_max_iter": _integer(1, 2, 5, 20),
    "tol": _one_of(0, 1e-300, 1e-12, 1e-2, 0.999),
    "early_stopping": _one_of(True, False),
    "validation_fraction": _one_of(1e-12, 0.01, 0.5, 0.9, 1 - 1e-12),
    "n_iter_no_change": _integer(1, 2, 100),
    "learning_rate": _one_of(1e-300, 1e-6, 0.1, 10, 1e10),
    "batch_size": _integer(1, 2, 7, 100),
    "extrapolation": _one_of("linear", "constant"),
    "device": _one_of("cpu", torch.device("cpu"), "auto"),
}
OF_CLASSIFIERS = {"class_weight": _one_of("balanced", {}, {0: 1e6}, {1: 1e-300}, {0: 0.0})}
LOSSES = ("absolute_error", "huber", "quantile", "quantiles", "poisson", "poisson", "gamma")
INVALID: tuple[tuple[str, Any], ...] = (
    *(("depth", value) for value in (0, 53, -1, 2.5, "4", None, np.nan)),
    *((name, -1) for name in VALID if name not in ("device", "smooth")),
    *((name, 0) for name in ("n_subnetworks", "n_init", "max_iter", "batch_size")),
    *((name, np.nan) for name in ("alpha", "tol", "learning_rate", "validation_fraction")),
    *((name, []) for name in ("refine", "extrapolation", "alpha", "verbose", "random_state")),
    *(("device", value) for value in ("gpu", "cuda:99", "meta", "", "cpu:x", 3)),
    *(("convexity", value) for value in ("flat", {0: "flat"}, {99: "convex"}, {None: "convex"})),
    *(("monotonic_cst", value) for value in ([0] * 99, [[1]], ["up"], {"no such": 1}, 1)),
    *(("tol", 1.0), ("alpha", np.inf), ("learning_rate", np.inf), ("validation_fraction", 1.0)),
    *(("smooth", "yes"), ("random_state", "today")),
)
INVALID_QUANTILES = (0.0, 1.5, np.nan, [], [0.9, 0.1], ["a"], [[0.5]])
INVALID_LOSSES: tuple[dict[str, Any], ...] = (
    *({"loss": "mse"}, {"quantile": 0.5}, {"loss": "quantile"}),
    *({"loss": "quantile", "quantile": value} for value in INVALID_QUANTILES),
)
SIZES = ("n_subnetworks", "n_init", "n_levels", "batch_size", "refine_max_iter")


def _shape(rng: Generator, n_features: int, named: bool) -> dict[str, Any]:
    """Draw convexity, monotonic constraints, or both."""
    signs = rng.integers(-1, 2, n_features)
    bend = str(rng.choice(["convex", "concave"]))
    drawn: dict[str, Any] = {}
    if rng.random() < 0.6:
        names = {f"x{j}": int(sign) for j, sign in enumerate(signs)}
        drawn["monotonic_cst"] = names if named else _one_of(signs, signs.tolist())(rng)
    if not drawn or rng.random() < 0.4:
        drawn["convexity"] = _one_of(bend, {0: bend}, {n_features - 1: bend})(rng)
    return drawn


def _loss(rng: Generator) -> dict[str, Any]:
    name = _one_of(*LOSSES)(rng)
    if name == "quantiles":
        return {"loss": "quantile", "quantile": [0.05, 0.5, 0.95]}
    return {"loss": name} | ({"quantile": float(rng.uniform())} if name == "quantile" else {})


def _parameters(rng: Generator, kind: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """Draw parameters: mode and values."""
    regresses, n_features = kind == "regressor", inputs.shape[1]
    mode = choose(rng, ["default", "few", "few"], ["many", "many", "invalid", "huge"], 0.25)
    drawn: dict[str, Any] = {}
    if regresses and rng.random() < 0.25:
        drawn |= _loss(rng)
    if mode == "default":
        return mode, drawn
    drawn |= {"depth": 3, "n_subnetworks": 3, "n_init": 2, "max_iter": 10}
    known = VALID if regresses else VALID | OF_CLASSIFIERS
    if mode in ("few", "many"):
        share = 0.12 if mode == "few" else 0.5
        drawn |= {name: draw(rng) for name, draw in known.items() if rng.random() < share}
        if rng.random() < 0.15:
            drawn |= _shape(rng, n_features, inputs.container == "pandas")
    elif mode == "huge":
        drawn[_one_of(*SIZES)(rng)] = _one_of(*HUGE)(rng)
    elif regresses and rng.random() < 0.15:
        drawn = {**SMALL, **_one_of(*INVALID_LOSSES)(rng)}
    else:
        drawn |= [_one_of(*INVALID)(rng)]
    return mode, drawn


WEIGHTS: dict[str, Callable[[Generator, int], Any]] = {
    "number": lambda rng, n: 2.5,
    "ones": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "counts": lambda rng, n: rng.integers(1, 4, n),
    "list": lambda rng, n: rng.uniform(size=n).tolist(),
    "tensor": lambda rng, n: torch.ones(n),
    "some zero": lambda rng, n: (rng.random(n) < 0.7) * 1.0,
    "one positive": lambda rng, n: (np.arange(n) == 0) * 1.0,
    "huge": lambda rng, n: rng.uniform(1e300, 1.7e308, n),
    "tiny": lambda rng, n: rng.uniform(1e-310, 1e-300, n),
    "spread": lambda rng, n: 10 ** rng.uniform(-300, 300, n),
}
BAD_WEIGHTS: dict[str, Callable[[Generator, int], Any]] = {
    "all zero": lambda rng, n: np.zeros(n),
    "negative": lambda rng, n: -np.ones(n),
    "NaN": lambda rng, n: np.full(n, np.nan),
    "too long": lambda rng, n: np.ones(n + 1),
    "text": lambda rng, n: ["a"] * n,
    "column": lambda rng, n: np.ones((n, 1)),
}
VALIDATION = ("same", "same weighted", "scaled", "targets scaled")
BAD_VALIDATION = ("no X", "no y", "weights only", "one column more", "too short", "infinite",
                  "weights")  # fmt: skip


def _validation(kind: str, inputs: Inputs, targets: Targets, classifies: bool) -> dict[str, Any]:
    """Return validation data; X are numbers."""
    X, y, n = inputs.seen, targets.y, inputs.shape[0]
    if kind == "scaled":
        X = np.clip(X * 1e50, -LARGEST, LARGEST)
    data = {"X_val": X, "y_val": y}
    if kind == "targets scaled" and not classifies:
        data["y_val"] = np.clip(targets.values * 1e50, -LARGEST, LARGEST)
    changed: dict[str, dict[str, Any]] = {
        "no X": {"X_val": None},
        "no y": {"y_val": None},
        "weights only": {"X_val": None, "y_val": None, "sample_weight_val": np.ones(n)},
        "one column more": {"X_val": np.column_stack([X, np.ones(n)])},
        "too short": {"X_val": X[:-1]},
        "infinite": {"X_val": np.full(X.shape, np.inf)},
        "weights": {"sample_weight_val": -np.ones(n)},
        "same weighted": {"sample_weight_val": np.ones(n)},
    }
    return data | changed.get(kind, {})


CHANGED = ("nothing", "units", "offset", "rows", "parameters", "columns", "targets", "target units")


def _earlier(
    rng: Generator, change: str, parameters: dict, data: dict, inputs: Inputs, targets: Targets
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and data of an earlier fit, which the fit of the case goes on from."""
    X, y = inputs.seen, targets.y
    half = max(1, len(X) // 2)
    if change == "units":
        X = X * 10.0 ** rng.integers(-9, 9, X.shape[1])
    elif change == "offset":
        X = X + 1e6
    elif change == "columns":
        X = np.column_stack([X, X[:, :1]])
    elif change == "rows" and isinstance(y, np.ndarray):
        X, y = X[:half], y[:half]
    elif change == "targets" and isinstance(y, np.ndarray):
        y = y[::-1]
    elif change == "target units" and isinstance(y, np.ndarray) and y.dtype.kind == "f":
        y = y * 1e-3
    elif change == "parameters":
        parameters = parameters | {"depth": 2}
    return parameters, {"X": X, "y": y}


@np.errstate(all="ignore")
def draw_case(seed: int, number: int) -> Case:
    """Draw one case: the same for the same numbers."""
    rng = np.random.default_rng([seed, number])
    kind = choose(rng, ["regressor", "regressor", "classifier"], [], 0)
    classifies, inputs = kind == "classifier", draw_inputs(rng)
    mode, parameters = _parameters(rng, kind, inputs)
    readable = inputs.seen is not None
    X = np.nan_to_num(inputs.seen) if readable else np.zeros(inputs.shape)
    loss = parameters.get("loss", "squared_error")
    targets = draw_labels(rng, X) if classifies else draw_numbers(rng, X, loss)
    data = {"X": inputs.X, "y": targets.y}
    reasons = [inputs.reason, targets.reason, "parameters" if mode == "invalid" else None]
    weights = choose(rng, ["none"], mostly(WEIGHTS, BAD_WEIGHTS), 0.3)
    if weights != "none":
        data["sample_weight"] = (WEIGHTS | BAD_WEIGHTS)[weights](rng, len(X))
        reasons.append("weights" if weights in BAD_WEIGHTS and len(X) else None)
    validation = choose(rng, ["none"], mostly(VALIDATION, BAD_VALIDATION), 0.15 if readable else 0)
    if validation != "none":
        data |= _validation(validation, inputs, targets, classifies)
        reasons.append("validation" if validation in BAD_VALIDATION and len(X) else None)
    warm = choose(rng, ["none"], CHANGED, 0.1 if readable and len(X) else 0)
    earlier = None
    if warm != "none":
        parameters = parameters | {"warm_start": True}
        earlier = _earlier(rng, warm, parameters, data, inputs, targets)
    parameters.setdefault("random_state", number)
    tags = (
        ("estimator", kind), ("rows", str(len(X)) if len(X) < 3 else "3 or more"),
        ("columns", inputs.columns), ("table", inputs.change), ("container", inputs.container),
        ("target", targets.kind), ("target", targets.change), ("parameters", mode),
        *(("parameters", name) for name in parameters if name != "random_state"),
        ("loss", loss), ("weights", weights), ("validation", validation), ("warm start", warm),
    )  # fmt: skip
    estimator = ExponentialReLUClassifier if classifies else ExponentialReLURegressor
    why = tuple(filter(None, reasons))
    return Case(number, estimator, parameters, data, inputs, targets, tags, earlier, why)


def exactly_linear(case: Case) -> bool:
    """Tell whether targets are a linear function of the inputs that rows determine."""
    inputs, (_, p) = case.inputs, case.inputs.shape
    distinct = 0 if inputs.seen is None else len(np.unique(inputs.seen, axis=0))
    tame = inputs.change in EXACT and inputs.columns != "heavy tails"
    return case.targets.far is not None and tame and distinct >= 3 * p + 20


def far_inputs(case: Case) -> Any:
    """Return inputs far out, named as the case's are."""
    far = far_from(case.inputs.seen)
    names = getattr(case.inputs.X, "columns", None)
    return far if names is None else pd.DataFrame(far, columns=list(names))
