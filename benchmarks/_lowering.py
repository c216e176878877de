"""How exact the conversions between forms of one model are."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import make_friedman1
from torch import Tensor

from benchmarks._data import Array
from benchmarks._experiment import Experiment, Row
from benchmarks._text import Target
from skrelu import ExponentialReLURegressor
from skrelu._fit.pretraining import coefficient_variances, pretrain
from skrelu._fit.refinement import released_penalty
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows


def lowering(quick: bool) -> Experiment:
    """Measure how exact the conversions between forms of one model are."""
    X, y = make_friedman1(500, random_state=0)
    targets = {"friedman1": y, "friedman1, 2 outputs": np.stack([y, 1e6 * X[:, 0] - y], 1)}
    closed = {
        f"depth={depth}, smooth={smooth}": partial(closed_form, depth, smooth, 3 if quick else 30)
        for smooth in (True, False)
        for depth in (1, 4, 12)
    }
    exported = {name: partial(to_torch, X, y, 2 if quick else 12) for name, y in targets.items()}
    switched = {"the switch": partial(switch, 2 if quick else 12)}
    limits = {"closed form": 1e-12, "to_torch": 1e-10, "switch": 1e-12}
    kinds = dict(zip(limits, (closed, exported, switched), strict=True))

    def wanted(rows: pd.DataFrame) -> list[Target]:
        worst = rows.groupby("method")[["inside", "outside"]].max().max(axis=1)
        return [Target(kind, worst[kind], limit) for kind, limit in limits.items() if kind in worst]

    return Experiment(
        problems={f"{kind}, {name}": (kind, find) for kind, found in kinds.items()
                  for name, find in found.items()},
        methods={kind: kind for kind in kinds},
        skip=lambda problem, method: not problem.startswith(method),
        measure=lambda problem, method, repeat: problem[1](), scores=("of", "inside", "outside"),
        table=lambda rows: rows.set_index("method").rename_axis("largest relative difference")[
            ["of", "inside", "outside"]],
        targets=wanted,
        note="""\
Relative to the largest value of an output. Closed form and to_torch: outside is 1000
times the range. Switch: loss and cost of each start just before and after lowering.""",
    )  # fmt: skip


def triangle_waves(z: Array, peaks: Array, scales: Array) -> Array:
    """Return F(z) by its definition: h_{i+1} = min(h_i / a_i, (1 - h_i) / (1 - a_i)), h_0 = z."""
    total, h = np.zeros_like(z), z
    for a, s in zip(peaks.T[..., None], scales.T[..., None], strict=True):
        h = np.minimum(h / a, (1 - h) / (1 - a))
        total += s * h
    return total


def closed_form(depth: int, smooth: bool, n_seeds: int) -> Row:
    """Compare the lowered network with triangle waves at random parameters."""
    network = TriangleNetwork(3, 6, depth, smooth=smooth)
    found = [_closed_form_differences(network, seed) for seed in range(n_seeds)]
    inside, outside = map(float, np.max(found, axis=0))
    return {"of": f"depth={depth}, smooth={smooth}", "inside": inside, "outside": outside}


def _closed_form_differences(network: TriangleNetwork, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    X = normal(network.n_features, 2000)
    theta = network.random(1, X, generator)[0]
    if not network.smooth:  # free scales of both signs
        directions, offsets, peaks, scales = network.unpack(theta)
        theta = network.pack(directions, offsets, peaks, scales * normal(*scales.shape))
    coef = normal(1 + network.n_features + network.n_subnetworks, 2)
    relu, lowered = network.to_relu(theta, coef)
    directions, offsets, peaks, scales = (part.numpy() for part in network.unpack(theta))
    intercept, linear, weights = np.split(coef.numpy(), [1, 1 + network.n_features])
    differences = []
    for points in (X, 1000 * X):
        z = directions @ points.numpy() + offsets[:, None]
        waves = triangle_waves(z, peaks[:, : network.depth], scales)
        expected = weights.T @ waves + linear.T @ points.numpy() + intercept.T
        differences.append(_difference(relu.forward(lowered, points).numpy(), expected))
    return differences


def _difference(actual: Array, expected: Array) -> float:
    """Return the largest difference over the largest value, samples being last."""
    size = np.abs(expected).max(-1)
    return float((np.abs(actual - expected).max(-1) / size).max())


def to_torch(X: Array, y: Array, n_init: int) -> Row:
    """Compare `to_torch` with `predict` on a fitted model."""
    model = ExponentialReLURegressor(n_init=n_init, random_state=0).fit(X, y)
    network, differences = model.to_torch(), []
    for points in (X, 1000 * (2 * X - 1)):
        with torch.no_grad():
            actual = network(torch.tensor(points)).numpy()
        expected = model.predict(points).reshape(actual.shape)
        differences.append(_difference(actual.T, expected.T))
    name = "friedman1" if y.ndim == 1 else f"friedman1, {y.shape[1]} outputs"
    return {"of": name, "inside": differences[0], "outside": differences[1]}


def switch(n_starts: int) -> list[Row]:
    """Compare the losses that pretraining ends with and those that refinement begins with.

    Each start holds out a tenth of the rows, as in a default fit, and ends at its best
    iteration by these.
    """
    alpha, generator = 1e-3, torch.Generator().manual_seed(0)
    X, y = make_friedman1(1000, noise=1, random_state=0)
    X, y = ((part - part.mean(0)) / part.std(0) for part in (X, y))
    held_out = torch.zeros(n_starts, len(X), dtype=torch.float64)
    for start in range(n_starts):
        held_out[start, start::10] = 1
    rows = Rows(
        torch.tensor(X.T),
        torch.tensor(y[None]),
        (1 - held_out) / (1 - held_out).sum(-1, keepdim=True),
        held_out / held_out.sum(-1, keepdim=True),
        len(X),
    )
    triangles, relu = TriangleNetwork(10, 16, 4), ReLUNetwork(10, 16, 4, 1)
    options = Options(solver="lm", max_iter=40, tol=1e-4, patience=10, learning_rate=1e-3,
                      batch_size=200, generator=generator)  # fmt: skip
    model = TriangleModel(triangles, 1)
    before = pretrain(model, rows, None, alpha, options)
    variance = coefficient_variances(model, before.theta, rows)
    (_, coef), (_, lowered) = model.to_waves(before.theta), model.to_relu(before.theta)
    penalty = released_penalty(relu, lowered, coef, variance)
    after = LossProblem(relu, rows, alpha, penalty).evaluate(lowered, torch.arange(n_starts))
    cost = before.loss * (1 + alpha * (variance * coef.square().mean(-1)).sum(-1))
    return [
        {"of": name, "inside": _difference(new.numpy()[:, None], old.numpy()[:, None])}
        for name, new, old in [
            ("training loss", after.loss, before.loss),
            ("validation loss", after.validation_loss, before.validation_loss),
            ("cost with ridge", after.cost, cost),
        ]
    ]
