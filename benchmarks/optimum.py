"""Certified minima of small fitted networks: binaries, seconds, gaps, and how near the true one is.

"layers" are the same waves as plain layers of four neurons each, as other programs read them. OMLT
writes these for Pyomo, which calls HiGHS, too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from benchmarks._command import main, named
from benchmarks._data import Array
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._functions import FUNCTIONS, Function
from benchmarks._text import Target, summary
from skrelu import ExponentialReLURegressor, compress
from skrelu.optimize import minimize

N_ROWS, TIME_LIMIT, GAP = 1000, 120.0, 1e-6
TARGET_SECONDS, TARGET_SAME = 60.0, 1e-9


def hartmann(*x: Array) -> Array:
    """Return Hartmann's function of three inputs."""
    powers = np.array([[3.0, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
    centers = np.array([
        [0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470],
        [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828],
    ])  # fmt: skip
    distances = (powers * (np.stack(x, -1)[..., None, :] - centers) ** 2).sum(-1)
    return -np.exp(-distances) @ np.array([1.0, 1.2, 3.0, 3.2])


# Functions and their minima.
PROBLEMS: dict[str, tuple[Function, float]] = {
    "Branin": (FUNCTIONS["Branin"], 0.397887),
    "Hartmann-3": (Function("Hartmann-3", "", hartmann, ((0.0, 1.0),) * 3), -3.86278),
    "friedman1": (FUNCTIONS["friedman1"], 0.0),
}


@dataclass(frozen=True)
class Found:
    """What a method finds."""

    x: Array
    value: float
    gap: float
    n_binaries: int


@dataclass(frozen=True)
class Method:
    """How to fit a model to X and y with a seed, and how to find its minimum in a box."""

    fit: Callable[[Array, Array, int], ExponentialReLURegressor]
    solve: Callable[[ExponentialReLURegressor, Array], Found]
    missing: str = ""


def waves(n_subnetworks: int, refine: bool):
    """Return a fit of that many sub-networks of depth 3 on one level."""

    def fit(X: Array, y: Array, seed: int) -> ExponentialReLURegressor:
        model = ExponentialReLURegressor(
            depth=3, n_subnetworks=n_subnetworks, n_levels=1, n_init=1, refine=refine,
            random_state=seed,
        )  # fmt: skip
        return model.fit(X, y)

    return fit


def compressed(X: Array, y: Array, seed: int) -> ExponentialReLURegressor:
    """Return a default fit, compressed to 400 numbers."""
    model = ExponentialReLURegressor(random_state=seed).fit(X, y)
    return compress(model, X, n_parameters=400, random_state=seed)


def by_skrelu(model, box: Array) -> Found:
    """Minimize by `skrelu.optimize`."""
    found = minimize(model, box, gap=GAP, time_limit=TIME_LIMIT)
    return Found(found.x, found.fun, found.gap, found.n_binaries)


def as_layers(model, box: Array) -> Found:
    """Minimize the plain layers of a model, without their structure."""
    return by_skrelu(model.to_torch(), box)


def by_omlt(model, box: Array) -> Found:
    """Minimize the plain layers of a model by OMLT, Pyomo and HiGHS."""
    import pyomo.environ as pyomo
    from omlt import OmltBlock
    from omlt.neuralnet import NetworkDefinition, ReluBigMFormulation
    from omlt.neuralnet.layer import DenseLayer, InputLayer

    network = NetworkDefinition(scaled_input_bounds=dict(enumerate(map(tuple, box.tolist()))))
    layer = InputLayer([len(box)])
    network.add_layer(layer)
    linear = [module for module in model.to_torch() if isinstance(module, torch.nn.Linear)]
    for module in linear:
        before, n_out = layer, module.out_features
        weights = module.weight.detach().numpy().T, module.bias.detach().numpy()
        kind = "linear" if module is linear[-1] else "relu"
        sizes = list(before.output_size), [n_out]
        layer = DenseLayer(*sizes, activation=kind, weights=weights[0], biases=weights[1])
        network.add_layer(layer)
        network.add_edge(before, layer)
    program = pyomo.ConcreteModel()
    program.network = OmltBlock()
    program.network.build_formulation(ReluBigMFormulation(network))
    program.objective = pyomo.Objective(expr=next(iter(program.network.outputs.values())))
    solver = pyomo.SolverFactory("appsi_highs")
    solver.config.time_limit, solver.config.mip_gap = TIME_LIMIT, GAP
    solver.highs_options = {"threads": 1}
    result = solver.solve(program).problem
    x = np.array([pyomo.value(program.network.inputs[j]) for j in range(len(box))])
    variables = program.component_data_objects(pyomo.Var)
    n_binaries = sum(variable.is_binary() and not variable.fixed for variable in variables)
    value = pyomo.value(program.objective)
    spread = float(
        np.ptp(model.predict(np.random.default_rng(0).uniform(*box.T, (4096, len(box)))))
    )
    return Found(x, value, (value - result.lower_bound) / spread, n_binaries)


def methods() -> dict[str, Method]:
    """Return methods by name; further ones need a fit and a solver."""
    absent = [name for name in ("omlt", "pyomo", "highspy") if not importlib.util.find_spec(name)]
    found = {"compressed": Method(compressed, by_skrelu)}
    for n in (4, 8):
        found[f"{n} waves"] = Method(waves(n, False), by_skrelu)
        found[f"{n} waves, layers"] = Method(waves(n, False), as_layers)
        found[f"{n} waves, OMLT"] = Method(waves(n, False), by_omlt, " ".join(absent))
        found[f"{n} refined"] = Method(waves(n, True), by_skrelu)
        found[f"{n} refined, OMLT"] = Method(waves(n, True), by_omlt, " ".join(absent))
    return found


def optimum(quick: bool) -> Experiment:
    """Fit 1000 rows without noise and certify the minimum, with three seeds. One core."""

    def measure(problem: tuple[Function, float], method: Method, seed: int) -> Row:
        function, least = problem
        rows = function.rows(N_ROWS, N_ROWS)
        model = method.fit(rows.X, rows.y, seed)
        found, seconds = timed(method.solve, model, np.array(function.ranges))
        spread = np.ptp(rows.y_test)
        there = function.value(*found.x[:, None])[0]
        predicted = float(model.predict(found.x[None])[0])
        return {
            "R2": model.score(rows.X_test, rows.y_test), "n_numbers": model.n_parameters_,
            "n_binaries": found.n_binaries, "gap": found.gap,
            "solve_seconds": seconds["cpu_seconds"],
            "off": abs(found.value - predicted) / spread, "true": (there - least) / spread,
        }  # fmt: skip

    columns = {
        "numbers": ("n_numbers", "median"), "R^2": ("R2", "median"),
        "binaries": ("n_binaries", "median"), "CPU s": ("solve_seconds", "median"),
        "most": ("solve_seconds", "max"), "gap": ("gap", "max"), "off predict": ("off", "max"),
        "from true": ("true", "median"),
    }  # fmt: skip

    def targets(rows: pd.DataFrame) -> list[Target]:
        names = ["4 waves", "8 waves", "4 refined", "8 refined", "compressed"]
        ours = rows[rows["method"].isin(names)]
        return [
            Target("most seconds of minimize", ours["solve_seconds"].max(), TARGET_SECONDS),
            Target("largest gap", ours["gap"].max(), GAP),
            Target("largest distance from predict", ours["off"].max(), TARGET_SAME),
        ]

    return Experiment(
        problems={"Branin": PROBLEMS["Branin"]} if quick else PROBLEMS, methods=methods(),
        measure=measure, repeats=1 if quick else 3, targets=targets,
        scores=("R2", "n_numbers", "n_binaries", "solve_seconds", "gap", "off", "true"),
        table=summary(["problem", "method"], columns, ["problem", "network"]),
        note="Gaps and distances are relative to the spread of y; a gap is the largest of 3 seeds.",
    )  # fmt: skip


EXPERIMENTS = named(optimum)

if __name__ == "__main__":
    main("optimum", __doc__ or "", EXPERIMENTS)
