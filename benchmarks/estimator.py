"""Measure `ExponentialReLURegressor`: time, accuracy, exactness of the conversions."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3, make_regression
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV
from torch import Tensor

from benchmarks import _data
from benchmarks._command import main, named
from benchmarks._data import Array, split
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._peers import OURS, REGRESSORS, Peer
from benchmarks._standings import by_table
from benchmarks._text import Target, summary
from skrelu import ExponentialReLURegressor
from skrelu._fit.pretraining import pretrain
from skrelu._fit.refinement import released_penalty
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows

SKRELU, BOOSTING = REGRESSORS[OURS], REGRESSORS["HistGB"]
MLP, SCALED_MLP = REGRESSORS["MLP, X as it is"], REGRESSORS["MLP"]


def fit_time(quick: bool) -> Experiment:
    """Time default fits next to MLPRegressor on 200 rows of 10 features."""
    n_repeats, n_seeds = (3, 2) if quick else (7, 5)

    def measure(problem: tuple[int, int], peer: Peer, repeat: int) -> Row:
        noise, seed = problem
        X, y = make_regression(200, 10, noise=noise, random_state=seed)
        for _ in range(1 if repeat else 2):  # the first fit warms up
            _, seconds = timed(lambda: peer().fit(X, y))
        return {"noise": noise, **seconds}

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        medians = rows.groupby(["noise", "problem", "method"], sort=False)["wall_seconds"].median()
        by_seed, frames = medians.unstack(), {}
        for noise, found in by_seed.groupby(level=0, sort=False):
            each, (ours, theirs) = found[OURS] / found["MLP"], found[[OURS, "MLP"]].median()
            spread = f"{each.min():.2f} to {each.max():.2f}"
            frames[f"noise={noise}"] = [ours, theirs, ours / theirs, spread]
        columns = ["skrelu s", "MLP s", "ratio", "ratio by data set"]
        frame = pd.DataFrame(frames, index=columns).T
        return frame.rename_axis("make_regression(200, 10)")

    return Experiment(
        problems={f"noise={n}, {seed}": (n, seed) for n in (0, 20) for seed in range(n_seeds)},
        methods={OURS: SKRELU, "MLP": MLP}, measure=measure, scores=("noise",), repeats=n_repeats,
        table=table, note=f"Medians of {n_repeats} fits in turns, then over {n_seeds} data sets.",
        targets=lambda rows: [Target("ratio without noise", table(rows)["ratio"]["noise=0"], 2)],
    )  # fmt: skip


def concrete(quick: bool) -> Experiment:
    """Cross-validate default estimators on a table with noise."""
    n_splits = 1 if quick else 3

    def measure(data, peer: Peer, fold: int) -> Row:
        X, y = data
        train, test = split(X, y, fold)
        model, seconds = timed(lambda: peer().fit(X[train], y[train]))
        predicted = model.predict(X[test])
        rmse = root_mean_squared_error(y[test], predicted)
        return {"R2": r2_score(y[test], predicted), "RMSE": rmse, **seconds}

    def four_digits(of):
        return "R2", lambda r2: f"{of(r2.to_numpy()):.4f}"

    columns = {"R^2": four_digits(np.mean), "sd": four_digits(np.std), "min": four_digits(np.min),
               "RMSE": ("RMSE", "mean"), "s a fit": ("wall_seconds", "median")}  # fmt: skip
    return Experiment(
        problems={"concrete": _data.concrete},
        methods={
            OURS: SKRELU, "MLP": MLP, "MLP, X scaled": REGRESSORS["MLP, X scaled"],
            "MLP, X and y scaled": SCALED_MLP, "HistGradientBoosting": BOOSTING,
            "RandomForest": REGRESSORS["random forest"],
        },
        measure=measure, scores=("R2", "RMSE"), repeats=5 * n_splits,
        table=summary(["method"], columns, "concrete"),
        note=f"Means over 5 folds, {n_splits} shuffles; median seconds.",
        targets=lambda rows: [Target(
            "R^2 of skrelu", rows[rows["method"] == OURS]["R2"].mean(), 0.91, at_least=True)],
    )  # fmt: skip


def friedman(quick: bool) -> Experiment:
    """Compare errors on smooth functions of several inputs, without noise."""
    methods = {OURS: SKRELU, "MLP": MLP, "MLP, scaled": SCALED_MLP, "HistGB": BOOSTING}
    peers = ["MLP", "HistGB"]

    def measure(problem, peer: Peer, repeat: int) -> Row:
        name, make, seed = problem
        X, y = make(11000, random_state=seed)
        model, seconds = timed(lambda: peer().fit(X[:1000], y[:1000]))
        error = 1 - float(r2_score(y[1000:], model.predict(X[1000:])))
        return {"error": error, "function": name, **seconds}

    def with_ratios(errors: pd.DataFrame) -> pd.DataFrame:
        of = {"ratio to default peers": peers, "to all": [*peers, "MLP, scaled"]}
        ratios = {name: errors[OURS] / errors[names].min(axis=1) for name, names in of.items()}
        return errors[list(methods)].assign(**ratios)

    def medians(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.groupby(["function", "method"], sort=False)["error"].median().unstack()
        return with_ratios(found.reindex(rows["function"].unique()))

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        middle = medians(rows).rename(index="{}, median".format)
        both = pd.concat([with_ratios(by_table(rows, "error")), middle])
        order = [name for f in rows["function"].unique() for name in both.index if f in name]
        return both.loc[order].rename_axis("1 - R^2")

    makers = (make_friedman1, make_friedman2, make_friedman3)
    return Experiment(
        problems={
            f"friedman{i}, {seed}": (f"friedman{i}", make, seed)
            for i, make in enumerate(makers, 1) for seed in range(1 if quick else 3)
        },
        methods=methods, measure=measure, scores=("error", "function"), table=table,
        note="1000 training rows, 10000 test rows; data set's seed after its name.",
        targets=lambda rows: [
            Target(f"{name}, ratio of medians", ratio, 0.2)
            for name, ratio in medians(rows)["ratio to default peers"].items()
        ],
    )  # fmt: skip


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
    before, coef, variance = pretrain(TriangleModel(triangles, 1), rows, None, alpha, options)
    _, lowered = triangles.to_relu(before.theta, coef)
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


def grid_search(quick: bool) -> Experiment:
    """Search over the depth with one and with two processes."""
    depths = range(1, 4) if quick else range(1, 9)

    def measure(data, n_jobs: int, repeat: int) -> list[Row]:
        X, y = data
        order = np.random.RandomState(0).permutation(len(X))  # neighbours in the table are alike
        search = GridSearchCV(SKRELU(), {"depth": depths}, cv=3, n_jobs=n_jobs)
        search, seconds = timed(search.fit, X[order], y[order])
        found = search.cv_results_
        columns = depths, found["mean_test_score"], found["mean_fit_time"]
        return [{"depth": d, "R2": r2, "fit_seconds": s, **seconds}
                for d, r2, s in zip(*columns, strict=True)]  # fmt: skip

    def r2(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.pivot(index="depth", columns="method", values="R2")

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        frame = r2(rows).map("{:.4f}".format).add_prefix("R^2, ")
        first = rows[rows["method"] == "n_jobs=1"].set_index("depth")
        return frame.assign(**{"s a fit": first["fit_seconds"]})

    def seconds(rows: pd.DataFrame) -> str:
        found = rows.groupby("method")["wall_seconds"].first()
        each = ", ".join(f"{value:.1f} with {name}" for name, value in found.items())
        return f"Seconds of the search, shuffled rows, cv=3: {each}."

    def apart(rows: pd.DataFrame) -> float:
        found = r2(rows)
        return float((found.max(axis=1) - found.min(axis=1)).max())

    return Experiment(
        problems={"concrete": _data.concrete}, methods={"n_jobs=1": 1, "n_jobs=2": 2},
        measure=measure, scores=("depth", "R2", "fit_seconds"), table=table, report=seconds,
        targets=lambda rows: [Target("largest difference", apart(rows), 0)],
    )  # fmt: skip


EXPERIMENTS = named(fit_time, concrete, friedman, lowering, grid_search)

if __name__ == "__main__":
    main("estimator", __doc__ or "", EXPERIMENTS)
