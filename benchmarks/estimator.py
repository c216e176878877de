"""Measure `ExponentialReLURegressor`: time, accuracy, exactness of the conversions.

    python -m benchmarks.estimator [--quick] [--only NAME ...] [--output FILE]

One function a measurement; each returns a table as text. Everything is seeded but the
seconds. The tables of a full run are kept in docs/tables/estimator.txt.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3, make_regression
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks._report import ROOT, TABLES, main, table, verdict
from skrelu import ExponentialReLURegressor
from skrelu._fit.pretraining import coefficient_variances, pretrain
from skrelu._fit.refinement import released_penalty
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows

Array = NDArray[np.float64]

CONCRETE = ROOT / "examples" / "data" / "concrete.csv"


def timed_fit(model: RegressorMixin, X: Array, y: Array) -> float:
    """Fit a model in place and return the seconds that it took."""
    begin = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - begin


def scaled_mlp() -> TransformedTargetRegressor:
    """Return MLPRegressor on standardized X and y, as skrelu standardizes them itself."""
    network = make_pipeline(StandardScaler(), MLPRegressor(random_state=0))
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def load_concrete() -> tuple[Array, Array]:
    """Return the compressive strength of concrete (Yeh 1998): X (1030, 8) and y."""
    data = np.loadtxt(CONCRETE, delimiter=",", skiprows=1)
    return data[:, :-1], data[:, -1]


def fit_time(quick: bool) -> str:
    """Time default fits next to MLPRegressor on 200 rows of 10 features."""
    n_repeats, seeds = (3, range(2)) if quick else (7, range(5))
    models = [ExponentialReLURegressor(random_state=0), MLPRegressor(random_state=0)]
    rows, ratios = [], {}
    for noise in (0, 20):
        pairs = [_fit_pairs(models, noise, seed, n_repeats) for seed in seeds]
        medians = np.median(pairs, axis=1)  # (n_seeds, 2)
        each = medians[:, 0] / medians[:, 1]
        ratios[noise] = float(np.median(medians[:, 0]) / np.median(medians[:, 1]))
        overall = np.median(medians, axis=0)
        spread = f"{each.min():.2f} to {each.max():.2f}"
        rows.append([f"noise={noise}", *map(float, overall), ratios[noise], spread])
    header = ["make_regression(200, 10)", "skrelu s", "MLP s", "ratio", "ratio by data set"]
    note = f"Medians of {n_repeats} interleaved fits, then over {len(seeds)} data sets."
    return "\n".join([table(header, rows), note, verdict("ratio without noise", ratios[0], 2)])


def _fit_pairs(models: list, noise: float, seed: int, n_repeats: int) -> list[list[float]]:
    """Return the seconds of A, B, A, B ... after a fit of each to warm up."""
    X, y = make_regression(200, 10, noise=noise, random_state=seed)
    for model in models:
        timed_fit(clone(model), X, y)
    return [[timed_fit(clone(model), X, y) for model in models] for _ in range(n_repeats)]


def concrete(quick: bool) -> str:
    """Cross-validate default estimators on a table with noise."""
    X, y = load_concrete()
    n_splits = 1 if quick else 3
    models = {
        "skrelu": ExponentialReLURegressor(random_state=0),
        "MLP": MLPRegressor(random_state=0),
        "MLP, X scaled": make_pipeline(StandardScaler(), MLPRegressor(random_state=0)),
        "MLP, X and y scaled": scaled_mlp(),
        "HistGradientBoosting": HistGradientBoostingRegressor(random_state=0),
        "RandomForest": RandomForestRegressor(random_state=0),
    }
    folds = [
        fold
        for seed in range(n_splits)
        for fold in KFold(5, shuffle=True, random_state=seed).split(X)
    ]
    rows, scores = [], {}
    for name, model in models.items():
        r2, rmse, seconds = np.array([_held_out(model, X, y, *fold) for fold in folds]).T
        scores[name] = float(np.mean(r2))
        statistics = [f"{value:.4f}" for value in (np.mean(r2), np.std(r2), np.min(r2))]
        rows.append([name, *statistics, float(np.mean(rmse)), float(np.median(seconds))])
    header = ["concrete", "R^2", "sd", "min", "RMSE", "s a fit"]
    note = f"Means over 5 folds, {n_splits} shuffles; median seconds."
    target = verdict("R^2 of skrelu", scores["skrelu"], 0.91, at_least=True)
    return "\n".join([table(header, rows), note, target])


def _held_out(
    model: RegressorMixin, X: Array, y: Array, train: NDArray, test: NDArray
) -> tuple[float, float, float]:
    """Return R^2 and RMSE on the test rows, and the seconds of the fit."""
    model = clone(model)
    seconds = timed_fit(model, X[train], y[train])
    prediction = model.predict(X[test])
    rmse = root_mean_squared_error(y[test], prediction)
    return r2_score(y[test], prediction), rmse, seconds


def friedman(quick: bool) -> str:
    """Compare errors on smooth functions of several inputs, without noise."""
    problems = {
        "friedman1": make_friedman1,
        "friedman2": make_friedman2,
        "friedman3": make_friedman3,
    }
    models = {
        "skrelu": ExponentialReLURegressor(random_state=0),
        "MLP": MLPRegressor(random_state=0),
        "MLP, scaled": scaled_mlp(),
        "HistGB": HistGradientBoostingRegressor(random_state=0),
    }
    rows, lines = [], []
    for name, make in problems.items():
        errors = []
        for seed in range(1 if quick else 3):
            errors.append(_friedman_errors(make, models, seed))
            rows.append([f"{name}, {seed}", *errors[-1], *_ratios(errors[-1])])
        medians = [float(value) for value in np.median(errors, axis=0)]
        ratio = _ratios(medians)
        rows.append([f"{name}, median", *medians, *ratio])
        lines.append(verdict(f"{name}, ratio of medians", ratio[0], 0.2))
    header = ["1 - R^2", *models, "ratio to default peers", "to all"]
    note = "1000 training rows, 10000 test rows; data set's seed after its name."
    return "\n".join([table(header, rows), note, *lines])


def _friedman_errors(make: Callable, models: dict[str, RegressorMixin], seed: int) -> list[float]:
    """Return 1 - R^2 of each model on the 10000 rows after the first 1000."""
    X, y = make(11000, random_state=seed)
    errors = []
    for model in models.values():
        model = clone(model).fit(X[:1000], y[:1000])
        errors.append(1 - float(r2_score(y[1000:], model.predict(X[1000:]))))
    return errors


def _ratios(errors: list[float]) -> list[float]:
    """Return skrelu's error over the best of the default peers, and over the best of all."""
    ours, default, scaled, boosting = errors
    return [ours / min(default, boosting), ours / min(default, scaled, boosting)]


def lowering(quick: bool) -> str:
    """Measure how exact the conversions between forms of one model are."""
    rows = [*_closed_form_rows(quick), *_to_torch_rows(quick), *_switch_rows(quick)]
    header = ["largest relative difference", "of", "inside", "outside"]
    groups = [("closed form", 1e-12), ("to_torch", 1e-10), ("switch", 1e-12)]
    lines = []
    for group, limit in groups:
        values = [v for row in rows if row[0] == group for v in row[2:] if v is not None]
        lines.append(verdict(group, max(values), limit))
    note = (
        "Relative to the largest value of an output. Closed form and to_torch: outside is 1000\n"
        "times the range. Switch: loss and cost of each start just before and after lowering."
    )
    return "\n".join([table(header, rows), note, *lines])


def triangle_waves(z: Array, peaks: Array, scales: Array) -> Array:
    """Return F(z) by its definition, in numpy.

    h_0 = z, h_{i+1} = min(h_i / a_i, (1 - h_i) / (1 - a_i)), F = sum_i s_i h_{i+1}.

    Parameters
    ----------
    z : ndarray of shape (n_subnetworks, n_samples)
    peaks, scales : ndarray of shape (n_subnetworks, depth)
    """
    total, h = np.zeros_like(z), z
    for a, s in zip(peaks.T[..., None], scales.T[..., None], strict=True):
        h = np.minimum(h / a, (1 - h) / (1 - a))
        total += s * h
    return total


def _closed_form_rows(quick: bool) -> list[list]:
    """Compare the lowered network with triangle waves at random parameters."""
    rows = []
    for smooth in (True, False):
        for depth in (1, 4, 12):
            network = TriangleNetwork(3, 6, depth, smooth=smooth)
            worst = np.zeros(2)
            for seed in range(3 if quick else 30):
                worst = np.maximum(worst, _closed_form_differences(network, seed))
            rows.append(["closed form", f"depth={depth}, smooth={smooth}", *map(float, worst)])
    return rows


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
        actual = relu.forward(lowered, points).numpy()
        differences.append(_relative_difference(actual, expected))
    return differences


def _relative_difference(actual: Array, expected: Array) -> float:
    """Return the largest difference over the largest value, samples being last."""
    size = np.abs(expected).max(-1)
    return float((np.abs(actual - expected).max(-1) / size).max())


def _to_torch_rows(quick: bool) -> list[list]:
    """Compare `to_torch` with `predict` on fitted models."""
    X, y = make_friedman1(500, random_state=0)
    targets = {"friedman1": y, "friedman1, 2 outputs": np.stack([y, 1e6 * X[:, 0] - y], 1)}
    rows = []
    for name, target in targets.items():
        model = ExponentialReLURegressor(n_init=2 if quick else 12, random_state=0)
        model.fit(X, target)
        network = model.to_torch()
        differences = []
        for points in (X, 1000 * (2 * X - 1)):
            with torch.no_grad():
                actual = network(torch.tensor(points)).numpy()
            expected = model.predict(points).reshape(actual.shape)
            differences.append(_relative_difference(actual.T, expected.T))
        rows.append(["to_torch", name, *differences])
    return rows


def _switch_rows(quick: bool) -> list[list]:
    """Compare the losses that pretraining ends with and those that refinement begins with.

    Each start holds out a tenth of the rows, as in a default fit, and ends at its best
    iteration by these.
    """
    n_starts, alpha = (2, 1e-3) if quick else (12, 1e-3)
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
    options = Options(
        solver="lm",
        max_iter=40,
        tol=1e-4,
        patience=10,
        learning_rate=1e-3,
        batch_size=200,
        generator=torch.Generator().manual_seed(0),
    )
    model = TriangleModel(triangles, 1)
    before = pretrain(model, rows, None, alpha, options)
    variance = coefficient_variances(model, before.theta, rows)
    (_, coef), (_, lowered) = model.to_waves(before.theta), model.to_relu(before.theta)
    penalty = released_penalty(relu, lowered, coef, variance)
    after = LossProblem(relu, rows, alpha, penalty).evaluate(lowered, torch.arange(n_starts))
    cost = before.loss * (1 + alpha * (variance * coef.square().mean(-1)).sum(-1))
    return [
        ["switch", name, _relative_difference(new.numpy()[:, None], old.numpy()[:, None]), None]
        for name, new, old in [
            ("training loss", after.loss, before.loss),
            ("validation loss", after.validation_loss, before.validation_loss),
            ("cost with ridge", after.cost, cost),
        ]
    ]


def grid_search(quick: bool) -> str:
    """Search over the depth with one and with two processes."""
    X, y = load_concrete()
    order = np.random.RandomState(0).permutation(len(X))  # neighbours in the table are alike
    X, y = X[order], y[order]
    depths = range(1, 4) if quick else range(1, 9)
    found, seconds = [], []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            ExponentialReLURegressor(random_state=0), {"depth": depths}, cv=3, n_jobs=n_jobs
        )
        seconds.append(timed_fit(search, X, y))
        found.append(search.cv_results_)
    means = [results["mean_test_score"] for results in found]
    rows = [
        [str(depth), *(f"{mean[i]:.4f}" for mean in means), float(found[0]["mean_fit_time"][i])]
        for i, depth in enumerate(depths)
    ]
    header = ["depth", "R^2, n_jobs=1", "R^2, n_jobs=2", "s a fit"]
    times = f"Seconds of the search, shuffled rows, cv=3: {seconds[0]:.1f} with n_jobs=1, "
    times += f"{seconds[1]:.1f} with n_jobs=2."
    difference = float(np.abs(means[0] - means[1]).max())
    return "\n".join([table(header, rows), times, verdict("largest difference", difference, 0)])


MEASUREMENTS = {
    function.__name__: function
    for function in (fit_time, concrete, friedman, lowering, grid_search)
}

if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "estimator.txt")
