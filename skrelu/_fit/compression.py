"""Small networks that do what a large one does.

The large network is a teacher without noise: it can be asked for its values and slopes at any
point. Two ways lead to a small one.

- `shrunk_waves`, for smooth functions: a few sub-networks of triangle waves are fitted to the
  teacher and lowered; all weights of their layers are released, also those between sub-networks;
  then those that matter least are removed, in rounds.
- `chosen_kinks`, for tables with noise: neurons are chosen among kinks of the teacher by forward
  selection, and all their weights are trained. The difference of the teacher's slopes at two close
  points is the direction of the kinks between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._data.points import neighbours
from skrelu._data.table import Table
from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.fit_network import fit_network
from skrelu._fit.plan import Settings
from skrelu._fit.report import Report, timed
from skrelu._networks.plain_layers import Affine, dense_layers, joined
from skrelu._networks.plain_network import PlainNetwork
from skrelu._solvers.forward_selection import forward_selection
from skrelu._solvers.levenberg_marquardt import levenberg_marquardt
from skrelu._solvers.progress import Options
from skrelu._solvers.pruning import prune
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Small:
    """A small network for standardized inputs, and its error on points that did not train it."""

    network: PlainNetwork
    theta: Tensor
    loss: float  # mean squared difference from the teacher, as a fraction of its variance


@dataclass(frozen=True)
class Task:
    """A teacher and what a small network is to be like.

    Parameters
    ----------
    values : callable
        Maps standardized inputs (n, n_columns) to outputs (n, n_outputs).
    slopes : callable
        Maps them to derivatives (n, n_outputs, n_columns).
    weigh : callable
        Maps outputs to weights of points, (n,).
    Z : ndarray of shape (n_samples, n_columns)
        Standardized rows.
    points : ndarray of shape (n_points, n_columns)
        Further points.
    settings : Settings
        Of the fit of few sub-networks.
    rng : numpy.random.Generator
    generator : torch.Generator
    report : callable, optional
        See `Report`.
    """

    values: Callable[[Array], Array]
    slopes: Callable[[Array], Array]
    weigh: Callable[[Array], Array]
    Z: Array
    points: Array
    settings: Settings
    rng: np.random.Generator
    generator: torch.Generator
    report: Report | None = None

    def rows(self, share_of_rows: float) -> tuple[Rows, Array, Array, NDArray[np.bool_]]:
        """Return rows and points with the outputs of the teacher.

        Parameters
        ----------
        share_of_rows : float
            Weight of all rows over that of all points; 0: a row weighs as much as a point.

        Returns
        -------
        rows : Rows
            Of the columns that matter; outputs have a mean of 0 and a variance of 1. One start,
            which holds points out.
        mean, scale : ndarray of shape (n_outputs,)
            Of the outputs.
        matters : ndarray of bool of shape (n_columns,)
        """
        X = np.concatenate([self.Z, self.points])
        y = self.values(X)
        weights = self.weigh(y)
        if share_of_rows:
            weights[: len(self.Z)] *= share_of_rows * len(self.points) / len(self.Z)
        order = self.rng.permutation(len(X))
        X, y, weights = X[order], y[order], weights[order]
        mean = np.average(y, 0, weights)
        scale = np.sqrt(np.average((y - mean) ** 2, 0, weights))
        scale = np.where(scale > 0, scale, 1.0)
        slopes = self.slopes(X[: tuning.COMPRESSION_SLOPES]) / scale[:, None]
        sizes = (slopes**2).mean(0).sum(0)
        matters = sizes > tuning.COMPRESSION_MATTERS * sizes.sum()
        matters[sizes.argmax()] = True
        n_trained = len(X) - max(1, len(X) // tuning.COMPRESSION_HELD_OUT)
        training, validation = np.zeros((2, 1, len(X)))
        training[0, :n_trained] = weights[:n_trained] / weights[:n_trained].sum()
        validation[0, n_trained:] = weights[n_trained:] / weights[n_trained:].sum()
        arrays = (X[:, matters].T, ((y - mean) / scale).T, training, validation)
        x, t, w, v = (to_tensor(part, torch.device("cpu")) for part in arrays)
        return Rows(x, t, w, v, n_trained), mean, scale, matters

    def finished(
        self, small: Small, mean: Array, scale: Array, matters: NDArray[np.bool_]
    ) -> Small:
        """Return a network for all columns, with the outputs of the teacher."""
        (*_, (matrix, bias)) = layers = small.network.layers(small.theta)
        wide = layers[0][0].new_zeros(len(layers[0][1]), len(matters))
        wide[:, torch.from_numpy(matters)] = layers[0][0]
        first = (wide, layers[0][1])
        factor = torch.from_numpy(scale)
        last = (factor[:, None] * matrix, factor * bias + torch.from_numpy(mean))
        network, theta = PlainNetwork.of_layers([first, *layers[1:-1], last])
        zeros = (theta == 0).nonzero()[:, 0]
        return Small(*network.without(theta, zeros), small.loss)


def shrunk_waves(
    task: Task, n_subnetworks: int, depth: int, sizes: Sequence[int]
) -> Iterator[Small]:
    """Yield networks of at most these numbers of parameters, from the largest on."""
    rows, mean, scale, matters = task.rows(0.0)
    order = torch.randperm(rows.n_trained, generator=task.generator)
    starts, few_rows = [], rows.part(order[: tuning.COMPRESSION_START_ROWS])
    for number in range(1, tuning.COMPRESSION_STARTS + 1):
        with timed(task.report, f"start {number} of {tuning.COMPRESSION_STARTS}") as step:
            starts.append(_start(task, few_rows, n_subnetworks, depth))
            step.error = _held_out(*starts[-1], rows)
    network, theta = min(starts, key=lambda found: _held_out(found[0], found[1], rows))
    part = rows.part(order[: tuning.COMPRESSION_RELEASED_ROWS])
    train = partial(_trained, report=task.report)
    stage = f"all {network.n_parameters} parameters"
    small = train(network, theta, part, tuning.COMPRESSION_RELEASE_ITER, torch.float32, stage)
    for size in sizes:
        size -= len(mean)  # the outputs get biases in the end
        for goal in _steps(small.network.n_parameters, size):
            network, theta = prune(small.network, small.theta, part, goal)
            few = network.n_parameters <= tuning.COMPRESSION_FEW
            last = goal == size
            small = train(
                network,
                theta,
                rows,
                tuning.COMPRESSION_LAST_ITER if last else tuning.COMPRESSION_PRUNED_ITER,
                torch.float64 if few and last else torch.float32,
                f"{network.n_parameters} parameters",
            )
        yield task.finished(small, mean, scale, matters)


def _steps(n_parameters: int, size: int) -> list[int]:
    """Return numbers of parameters down to ``size``, the last one, by a fraction each."""
    ratio = size / max(n_parameters, size)
    n = max(1, round(np.log(ratio) / np.log(tuning.COMPRESSION_KEPT)))
    return [max(size, round(n_parameters * ratio ** (k / n))) for k in range(1, n)] + [size]


def _start(task: Task, rows: Rows, n_subnetworks: int, depth: int) -> tuple[PlainNetwork, Tensor]:
    """Fit few sub-networks of triangle waves and return their layers, all of them free."""
    settings = replace(task.settings, n_subnetworks=n_subnetworks, depth=depth, encoded_depth=depth)
    trained = slice(rows.n_trained)
    X, y = (part[:, trained].T.contiguous().numpy() for part in (rows.X, rows.y))
    weights = rows.training[0, trained].numpy()
    table = Table(X, y, weights / weights.sum(), float(len(X)))
    device = torch.device("cpu")
    fitted = fit_network(
        table,
        None,
        settings,
        warm=None,
        device=device,
        generator=task.generator,
        report=task.report,
    )
    best = fitted.relu[fitted.shares.argmax()]
    relu = fitted.plan.relu
    layers = dense_layers(relu, relu.unpack(torch.from_numpy(best)))
    (X_mean, X_scale), (y_mean, y_scale) = fitted.X_scaling, fitted.y_scaling
    factor = np.where(X_scale > 0, 1 / np.where(X_scale > 0, X_scale, 1), 0.0)
    layers = joined([_affine(np.diag(factor), -X_mean * factor)], layers)
    return PlainNetwork.of_layers(joined(layers, [_affine(np.diag(y_scale), y_mean)]))


def chosen_kinks(task: Task, n_parameters: int, enough: float) -> Small:
    """Return a network of one hidden layer, of fewer parameters if they are ``enough``."""
    rows, mean, scale, matters = task.rows(tuning.COMPRESSION_ROWS_SHARE)
    W, bias = _kinks(task, matters, scale)
    costs = torch.from_numpy((W != 0).sum(1) + (bias != 0) + float(len(rows.y)))
    weights, bias_of = torch.from_numpy(W), torch.from_numpy(bias)
    part = slice(min(rows.n_trained, tuning.COMPRESSION_CHOICE_ROWS))
    root = rows.training[0, part].sqrt()[:, None]

    def neurons(X: Tensor, chosen: Sequence[int] | slice) -> Tensor:
        return (X.T @ weights[chosen].T + bias_of[chosen]).relu_()

    with timed(task.report, "choosing neurons") as step, threads(0.0):
        columns = neurons(rows.X[:, part], slice(None)) * root
        targets = rows.y[:, part].T * root
        chosen = forward_selection(columns, root, targets, costs, n_parameters - len(rows.y))
        chosen = chosen or [0]  # all are constant on these rows
        held_out = slice(rows.n_trained, None)

        def read_out(n: int) -> tuple[Tensor, float]:
            """Return the coefficients of the first n neurons, and the held-out loss."""
            X, of = rows.X, chosen[:n]
            A = torch.nn.functional.pad(neurons(X[:, : rows.n_trained], of), (1, 0), value=1.0)
            weighted = A * rows.training[0, : rows.n_trained, None]
            matrix = weighted.T @ A
            matrix.diagonal()[1:] += tuning.COMPRESSION_RIDGE
            found = torch.linalg.solve(matrix, weighted.T @ rows.y[:, : rows.n_trained].T)
            values = neurons(X[:, held_out], of) @ found[1:] + found[0]
            errors = (values.T - rows.y[:, held_out]).square().mean(0)
            assert rows.validation is not None
            return found, float((errors * rows.validation[0, held_out]).sum())

        n = len(chosen)
        while n > 1 and read_out(n // 2)[1] <= enough:
            n //= 2
        found, step.error = read_out(n)
    size = found[1:].norm(dim=1).sqrt().clamp_min(1e-3)  # balance both layers
    first = torch.cat([weights[chosen[:n]], bias_of[chosen[:n], None]], 1) * size[:, None]
    last = torch.cat([found[1:].T / size, found[:1].T], 1)
    network = PlainNetwork((first != 0, last != 0))
    theta = network.pack([first, last])
    stage = f"{network.n_parameters} parameters"
    small = _trained(
        network, theta, rows, tuning.COMPRESSION_KINKS_ITER, torch.float32, stage, task.report
    )
    return task.finished(small, mean, scale, matters)


def _kinks(task: Task, matters: NDArray[np.bool_], scale: Array) -> tuple[Array, Array]:
    """Return weights and biases of neurons that may be chosen.

    They are hinges at quantiles of each column, and kinks of the teacher between close points.
    """
    Z = task.Z[:, matters]
    parts = []
    for column in range(Z.shape[1]):
        values = np.unique(Z[:, column])
        hinges = values[:1]
        if len(values) > 2:
            levels = np.linspace(0, 1, tuning.COMPRESSION_HINGES + 2)[1:-1]
            few = len(values) <= tuning.COMPRESSION_HINGES
            between = values[1:-1] if few else np.quantile(Z[:, column], levels)
            hinges = np.unique(np.r_[hinges, between])
        weights = np.zeros((len(hinges), Z.shape[1]))
        weights[:, column] = 1
        parts.append((weights, -hinges))
    rng, n = task.rng, tuning.COMPRESSION_KINKS
    points = np.concatenate([task.Z, task.points])
    one = points[rng.integers(len(points), size=n)]
    other = points[neighbours(points, one, rng)]
    jumps = (task.slopes(one) - task.slopes(other)) / scale[:, None]
    jumps = jumps[np.arange(n), rng.integers(len(scale), size=n)][:, matters]
    middle = ((one + other) / 2)[:, matters]
    size = np.linalg.norm(jumps, axis=1)
    there = size > 1e-9 * size.max(initial=0)
    weights = jumps[there] / size[there, None]
    parts.append((weights, -(weights * middle[there]).sum(1)))
    return np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])


def _trained(
    network: PlainNetwork,
    theta: Tensor,
    rows: Rows,
    max_iter: int,
    dtype: torch.dtype,
    stage: str,
    report: Report | None,
) -> Small:
    """Train all parameters by Levenberg-Marquardt; the best by held-out points is kept."""
    options = Options(
        solver="lm",
        max_iter=max_iter,
        tol=tuning.COMPRESSION_TOL,
        patience=tuning.COMPRESSION_PATIENCE,
        learning_rate=0.0,
        batch_size=1,
        generator=torch.Generator(),
        report=None if report is None else lambda progress: report(stage, progress, None),
    )
    n = network.n_parameters
    penalty = torch.full((1, n), 1 / n, dtype=dtype)
    problem = LossProblem(network, rows.to(dtype), tuning.COMPRESSION_PENALTY, penalty)
    with threads(float(n**2 * rows.n_trained)):
        result = levenberg_marquardt(problem, theta[None].to(dtype), options)
    found = result.theta[0].to(theta.dtype)
    losses = [_held_out(network, part, rows) for part in (found, theta)]
    return Small(network, (found, theta)[int(np.argmin(losses))], min(losses))


def _held_out(network: PlainNetwork, theta: Tensor, rows: Rows) -> float:
    """Return the loss on held-out points."""
    assert rows.validation is not None
    held_out = slice(rows.n_trained, None)
    errors = (network.forward(theta, rows.X[:, held_out]) - rows.y[:, held_out]).square().mean(0)
    return float((errors * rows.validation[0, held_out]).sum().nan_to_num(torch.inf))


def _affine(matrix: Array, bias: Array) -> Affine:
    return torch.from_numpy(np.ascontiguousarray(matrix)), torch.from_numpy(bias)
