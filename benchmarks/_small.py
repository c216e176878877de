"""Networks of many sizes for one function: how each is made, and what it is when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy import optimize

from benchmarks._data import Array
from benchmarks._experiment import timed
from benchmarks._frontiers import COMPRESSED, DISTILLED, ONE_LEVEL, PRUNED, RELU, TANH
from benchmarks._functions import FUNCTIONS, Function, Rows, S, U
from benchmarks._peers import OURS, REGRESSORS, Peer, n_parameters
from skrelu import compress
from skrelu._export.graph import Dense, ReLUGraph

LAYERS = ((8,), (16,), (32,), (64,), (128,), (8, 8), (16, 16), (32, 32), (64, 64), (128, 128))
TAUGHT = ((16,), (8, 8), (16, 16), (32, 32))
N_POINTS = 10_000  # that the default fit labels for a distilled perceptron
# Without noise a penalty and early ends would only stand in the way.
LBFGS = {"solver": "lbfgs", "alpha": 0, "tol": 1e-6, "max_iter": 5000, "max_fun": 10_000}
ADAM = {"solver": "adam", "max_iter": 2000}
SOLVERS: dict[str, dict[str, Any]] = {"L-BFGS": LBFGS, "Adam": ADAM}
# Iterations of L-BFGS: of the two largest, also before pruning; distilled; after each pruning.
LARGE_ITER, TAUGHT_ITER, AGAIN_ITER = 1000, 1000, 400
FTOL = 1e-12


def _hartmann(*x):
    """Return the function of three inputs as Surjanovic and Bingham have it, see `_functions`."""
    A = np.array([[3, 10, 30], [0.1, 10, 35]] * 2)
    P = np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
    apart = np.stack(x, 1)[:, None] - P / 1e4
    return -np.exp(-(A * apart**2).sum(2)) @ [1, 1.2, 3, 3.2]


NAMES = ("friedman1", "friedman2", "Branin", "Hartmann-3", "borehole", "OTL circuit", "x*y*z",
         "r^3", "Forrester", "Ishigami")  # fmt: skip
KNOWN = FUNCTIONS | {
    "Hartmann-3": Function("Hartmann-3", "several inputs", _hartmann, (U, U, U)),
    "x*y*z": Function("x*y*z", "several inputs", lambda x, y, z: x * y * z, (S, S, S)),
}


@dataclass(frozen=True)
class Network:
    """A fitted network."""

    size: str
    predict: Callable[[Array], Array]
    stored: int  # weights and biases that are not 0
    dense: int  # weights and biases of layers that are not sparse
    fit: float  # CPU seconds
    more: float = 0.0  # those of what is done to the fitted one
    graph: ReLUGraph | None = None


@dataclass
class Task:
    """A function to learn from rows, and the default fit that others begin with."""

    function: Function
    rows: Rows
    _teachers: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def teacher(self, seed: int) -> tuple[Any, float]:
        """Return the default fit of a seed, and its CPU seconds."""
        if seed not in self._teachers:
            self._teachers[seed] = _fitted(REGRESSORS[OURS](seed), self.rows.X, self.rows.y)
        return self._teachers[seed]

    def points(self, n: int, seed: int) -> Array:
        """Return n uniform points of the ranges."""
        low, high = np.transpose(self.function.ranges)
        return np.random.default_rng(seed).uniform(low, high, (n, len(low)))


@dataclass(frozen=True)
class Method:
    """A family of networks, one or several sizes of it."""

    family: str
    size: str
    make: Callable[[Task, int], Sequence[Network]]  # of a seed
    missing: str = ""  # what to install for it


def _fitted(model, X: Array, y: Array) -> tuple[Any, float]:
    model, seconds = timed(model.fit, X, y)
    return model, seconds["cpu_seconds"]


def _perceptron_fitted(peer: Peer, seed: int, X: Array, y: Array) -> tuple[Any, float]:
    """Fit MLPRegressor, without its fixed tolerance of L-BFGS, which ends fits at 1e-4 to 1e-5."""
    minimize = optimize.minimize

    def to_the_end(*arguments, options, **further):
        return minimize(*arguments, options={**options, "ftol": FTOL}, **further)

    with patch.object(optimize, "minimize", to_the_end):
        return _fitted(peer(seed), X, y)


def of_ours(model, size: str, fit: float, more: float = 0.0) -> Network:
    """Return an estimator of skrelu as a network."""
    graph = model._stored().graph()
    dense = sum(part.numel() for part in model.to_torch().parameters())
    return Network(size, model.predict, graph.n_numbers, dense, fit, more, graph)


def _one(size: str, settings) -> Callable[[Task, int], list[Network]]:
    def make(task: Task, seed: int) -> list[Network]:
        model, fit = task.teacher(seed) if not settings else _fitted(
            REGRESSORS[OURS].set(**settings)(seed), task.rows.X, task.rows.y
        )  # fmt: skip
        return [of_ours(model, size, fit)]

    return make


def _compressed(size: str, settings) -> Callable[[Task, int], list[Network]]:
    def make(task: Task, seed: int) -> list[Network]:
        model, fit = task.teacher(seed)
        small, seconds = timed(
            lambda: compress(model, task.rows.X, random_state=seed, **settings)
        )  # fmt: skip
        return [of_ours(small, size, fit, seconds["cpu_seconds"])]

    return make


def layers_of(model) -> list[Dense]:
    """Return the layers of a perceptron of standardized X and y, for X and y as they are."""
    (scaler, mlp), target = model.regressor_, model.transformer_
    weights = [np.array(part.T) for part in mlp.coefs_]
    biases = [np.array(part) for part in mlp.intercepts_]
    weights[0] = weights[0] / scaler.scale_
    biases[0] = biases[0] - weights[0] @ scaler.mean_
    weights[-1], biases[-1] = weights[-1] * target.scale_, biases[-1] * target.scale_ + target.mean_
    return list(zip(weights, biases, strict=True))


def of_layers(layers: Sequence[Dense], size: str, fit: float, more: float = 0.0) -> Network:
    """Return ReLU layers as a network, without neurons that do nothing."""
    graph = ReLUGraph.of_layers(layers).simplified(skips=False)
    dense = sum(matrix.size + len(bias) for matrix, bias in graph.to_layers())

    def predict(X: Array) -> Array:
        for matrix, bias in layers[:-1]:
            X = np.maximum(X @ matrix.T + bias, 0)
        return X @ layers[-1][0][0] + layers[-1][1]

    return Network(size, predict, graph.n_numbers, dense, fit, more, graph)


def _perceptron(size: str, peer: Peer) -> Callable[[Task, int], list[Network]]:
    def make(task: Task, seed: int) -> list[Network]:
        model, fit = _perceptron_fitted(peer, seed, task.rows.X, task.rows.y)
        n = n_parameters(model) or 0
        relu = model.regressor_[-1].activation == "relu"
        graph = ReLUGraph.of_layers(layers_of(model)) if relu else None
        return [Network(size, model.predict, n, n, fit, 0.0, graph)]

    return make


def again(layers: Sequence[Dense], X: Array, y: Array, max_iter: int) -> list[Dense]:
    """Train the weights that are not 0, and all biases, by L-BFGS."""
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    parts = [torch.from_numpy(part.copy()) for layer in layers for part in layer]
    kept = [part != 0 if part.ndim == 2 else torch.ones_like(part, dtype=torch.bool)
            for part in parts]  # fmt: skip
    sizes = [int(mask.sum()) for mask in kept]

    def unpacked(theta):
        for part, mask, values in zip(parts, kept, theta.split(sizes), strict=True):
            yield torch.zeros_like(part).masked_scatter(mask, values)

    def loss(theta: Array) -> tuple[float, Array]:
        point = torch.from_numpy(theta).requires_grad_()
        *first, matrix, bias = unpacked(point)
        signals = inputs
        for weights, shift in zip(first[::2], first[1::2], strict=True):
            signals = torch.addmm(shift, signals, weights.T).relu()
        value = (signals @ matrix[0] + bias - targets).square().mean() / 2
        value.backward()
        assert point.grad is not None
        return value.item(), point.grad.numpy()

    start = torch.cat([part[mask] for part, mask in zip(parts, kept, strict=True)]).numpy()
    options = {"maxiter": max_iter, "ftol": 1e-12, "gtol": 1e-9}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    done = [part.numpy() for part in unpacked(torch.from_numpy(found))]
    return list(zip(done[::2], done[1::2], strict=True))


def smaller(layers: Sequence[Dense], part: float) -> list[Dense]:
    """Keep the largest weights, a part of all there were; a neuron's biases stay."""
    sizes = np.sort(np.concatenate([np.abs(matrix).ravel() for matrix, _ in layers]))
    least = sizes[-max(1, round(part * len(sizes)))]
    return [(np.where(np.abs(matrix) >= least, matrix, 0), bias) for matrix, bias in layers]


def _pruned_of(model, X: Array, y: Array, name: str, parts: Sequence[float], fit, more):
    """Yield smaller and smaller networks, trained again each time."""
    scaler, target = model.regressor_[0], model.transformer_
    Z, t = scaler.transform(X), target.transform(y[:, None])[:, 0]
    mlp = model.regressor_[-1]
    layers = [(c.T.copy(), b.copy()) for c, b in zip(mlp.coefs_, mlp.intercepts_, strict=True)]
    for part in parts:
        layers, seconds = timed(lambda p=part, old=layers: again(smaller(old, p), Z, t, AGAIN_ITER))
        more += seconds["cpu_seconds"]
        mlp.coefs_ = [matrix.T for matrix, _ in layers]
        mlp.intercepts_ = [bias for _, bias in layers]
        yield of_layers(layers_of(model), f"{name} to {part:.0%}", fit, more)


def _pruned(size: tuple[int, ...], parts: Sequence[float]):
    peer = REGRESSORS["MLP"].set(hidden_layer_sizes=size, **LBFGS | {"max_iter": LARGE_ITER})

    def make(task: Task, seed: int) -> list[Network]:
        X, y = task.rows.X, task.rows.y
        model, fit = _perceptron_fitted(peer, seed, X, y)
        return list(_pruned_of(model, X, y, "-".join(map(str, size)), parts, fit, 0.0))

    return make


def _distilled(size: tuple[int, ...], parts: Sequence[float], n_points: int):
    settings = {**LBFGS, "max_iter": TAUGHT_ITER}
    peer = REGRESSORS["MLP"].set(hidden_layer_sizes=size, **settings)

    def make(task: Task, seed: int) -> list[Network]:
        teacher, fit = task.teacher(seed)
        X = np.concatenate([task.rows.X, task.points(n_points - len(task.rows.X), seed)])
        y, name = teacher.predict(X), "-".join(map(str, size))
        model, more = _perceptron_fitted(peer, seed, X, y)
        whole = of_layers(layers_of(model), name, fit, more)
        return [whole, *_pruned_of(model, X, y, name, parts, fit, more)]

    return make


def _kan(task: Task, seed: int) -> list[Network]:
    model, fit = _fitted(REGRESSORS["pykan"].set(hidden=(2,))(seed), task.rows.X, task.rows.y)
    n = n_parameters(model) or 0
    return [Network("2", model.predict, n, n, fit)]


def methods(quick: bool) -> Iterator[Method]:
    """Yield them, ours first."""
    yield Method(OURS, "default", _one("default", {}))
    few = {"n_parameters": 150, "n_subnetworks": 2, "depth": 3}
    sizes = {"400": {"n_parameters": 400}, "auto": {},
             "3 x 4": {"n_parameters": 800, "n_subnetworks": 3, "depth": 4},
             **{f"{n}": {"n_parameters": n} for n in (200, 800, 100)}}  # fmt: skip
    for size, settings in ({"400": few} if quick else sizes).items():
        yield Method(COMPRESSED, size, _compressed(size, settings))
    for depth in (2,) if quick else (1, 2, 4):
        for n in (1,) if quick else (4, 16):
            size, own = f"{n} x {depth}", {"n_levels": 1, "n_subnetworks": n, "depth": depth}
            yield Method(ONE_LEVEL, size, _one(size, own))
    for layers in LAYERS[: 1 if quick else None]:
        for family, (solver, settings) in product((RELU, TANH), SOLVERS.items()):
            size = f"{'-'.join(map(str, layers))}, {solver}"
            own = {**settings, "hidden_layer_sizes": layers, "activation": family.split()[1]}
            if layers in LAYERS[-2:] and solver == "L-BFGS":
                own["max_iter"] = LARGE_ITER
            yield Method(family, size, _perceptron(size, REGRESSORS["MLP"].set(**own)))
    whole = (8, 8) if quick else (64, 64)
    parts = (0.5,) if quick else (0.5, 0.25, 0.1, 0.05)
    yield Method(PRUNED, "-".join(map(str, whole)), _pruned(whole, parts))
    for layers in TAUGHT[: 1 if quick else None]:
        further = (0.5, 0.25) if layers == TAUGHT[-1] else ()
        taught = _distilled(layers, further, 1000 if quick else N_POINTS)
        yield Method(DISTILLED, "-".join(map(str, layers)), taught)
    if not quick:
        yield Method("pykan", "2", _kan, REGRESSORS["pykan"].missing)
