"""Count linear regions: at what speed, of which networks, and how training changes them.

    python -m benchmarks.regions [--quick] [--only NAME ...] [--output FILE]

A full run is kept in docs/tables/regions.txt, its pictures in docs/images/regions_NAME.png.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import make_circles, make_gaussian_quantiles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from benchmarks._report import ROOT, TABLES, main, table, verdict
from benchmarks.paper._baselines import fit_recipe
from skrelu import ExponentialReLURegressor
from skrelu.regions import (
    LinearRegionsDisplay,
    PiecewiseLinear,
    RegionCountDisplay,
    RegionRecorder,
    estimate_regions,
    expected_regions,
    fewest_neurons,
    max_regions,
    regions_along,
    regions_in_box,
    regions_in_plane,
)

Array = NDArray[np.float64]
cross_entropy = nn.functional.binary_cross_entropy_with_logits

IMAGES = ROOT / "docs" / "images"
LINE = [[0.0], [1.0]]
BOX = [-3.0, -3.0], [3.0, 3.0]
WIDTHS = [16, 16, 16]
EPOCHS = 100
RECORDED = (0, 1, 2, 3, 5, 10, 20, 30, 50, 70, 100)
SHOWN = (0, 3, 10, 30, 100)


def network(widths: Sequence[int], seed: int, draw: str = "torch") -> nn.Sequential:
    """Return a network of these widths with the default weights of torch, or He's.

    Parameters
    ----------
    draw : {"torch", "he"}
        "he": weights N(0, 2 / fan_in), biases N(0, 1/4).
    """
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        if draw == "he":
            nn.init.normal_(linear.weight, std=(2 / fan_in) ** 0.5)
            nn.init.normal_(linear.bias, std=0.5)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def triangles(depth: int, seed: int) -> nn.Sequential:
    """Return composed triangle waves with peaks drawn in (0.001, 0.999)."""
    peaks = np.random.default_rng(seed).uniform(0.001, 0.999, size=depth)
    layers = [([[1.0], [1.0]], [0.0, -peaks[0]])]
    for peak, after in zip(peaks, [*peaks[1:], None], strict=True):
        row = [1 / peak, -1 / (peak * (1 - peak))]
        layers.append(([row, row], [0.0, -after]) if after else ([row], [0.0]))
    modules: list[nn.Module] = []
    for matrix, bias in layers:
        linear = nn.Linear(len(matrix[0]), len(matrix), dtype=torch.float64)
        linear.weight.data = torch.tensor(matrix, dtype=torch.float64)
        linear.bias.data = torch.tensor(bias, dtype=torch.float64)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def counting(quick: bool) -> str:
    """Time exact counts, and compare them with what a grid of samples finds."""
    n_draws = 2 if quick else 10
    rows, lines = [], []
    for depth in (12,) if quick else (12, 17):
        found = [_timed(regions_along, triangles(depth, seed), LINE) for seed in range(n_draws)]
        counts = [regions.n_linear_regions for regions, _ in found]
        grid = np.linspace(0, 1, 400_001)[:, None]
        seen = [_n_patterns_in_order(triangles(depth, seed), grid) for seed in range(n_draws)]
        rows.append(_row(f"line, triangle waves of depth {depth}", counts, found, seen))
        off = max(abs(count - 2**depth) for count in counts)
        lines.append(verdict(f"depth {depth}: linear regions, away from 2^{depth}", off, 0))
    cases = [("plane, 3 x 32", [2, 32, 32, 32, 1]), ("plane, 3 x 64", [2, 64, 64, 64, 1])]
    for name, widths in cases[:1] if quick else cases:
        nets = [network(widths, seed, "he") for seed in range(n_draws)]
        found = [_timed(regions_in_plane, net, *BOX) for net in nets]
        counts = [regions.n_activation_regions for regions, _ in found]
        axis = np.linspace(BOX[0][0], BOX[1][0], 1000)
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        seen = [len(np.unique(_packed_patterns(net, grid), axis=0)) for net in nets]
        rows.append(_row(name, counts, found, seen))
        if widths[1] == 32:
            area = max(abs(regions.areas.sum() / 36 - 1) for regions, _ in found)
            lines += [
                verdict(f"{name}: seconds, most", max(s for _, s in found), 5),
                verdict(f"{name}: areas, relative to the box, off by", area, 1e-9),
            ]
    for name, widths in [("box, 3 inputs, 2 x 16", [3, 16, 16, 1])]:
        nets = [network(widths, seed, "he") for seed in range(n_draws)]
        found = [_timed(regions_in_box, net, [-3] * 3, [3] * 3) for net in nets]
        counts = [regions.n_activation_regions for regions, _ in found]
        axis = np.linspace(-3, 3, 100)
        grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
        seen = [len(np.unique(_packed_patterns(net, grid), axis=0)) for net in nets]
        rows.append(_row(name, counts, found, seen))
    header = ["network", "regions, least", "most", "s, median", "found by a grid, %", "least"]
    note = f"""\
{n_draws} networks each. Line: linear regions on [0, 1], peaks drawn in (0.001, 0.999), grid of
400 001 points. Plane and box: activation regions in [-3, 3]^n, weights N(0, 2/fan_in), biases
N(0, 1/4), grid of a million points. 3 x 32: three hidden layers of 32 neurons."""
    return "\n".join([table(header, rows), "", note, *lines])


def estimates(quick: bool) -> str:
    """Compare estimated numbers of regions with exact ones."""
    n_draws = 2 if quick else 10
    rows = []
    cases = [(2, [16, 16]), (3, [16, 16, 16]), (5, [16, 16]), (10, [16, 16]), (10, [32, 32])]
    for n_inputs, hidden in cases[:2] if quick else cases:
        errors, told, seconds, exact_seconds, counts = [], [], [], [], []
        for seed in range(n_draws):
            net = network([n_inputs, *hidden, 1], seed, "he")
            box = [-1] * n_inputs, [1] * n_inputs
            begin = time.perf_counter()
            estimate = estimate_regions(net, *box, random_state=seed)
            seconds.append(time.perf_counter() - begin)
            told.append(estimate.standard_error / estimate.n_activation_regions)
            if n_inputs > 5:
                counts.append(estimate.n_activation_regions)
                continue
            exact, exactly = _timed(regions_in_box, net, *box)
            counts.append(exact.n_activation_regions)
            exact_seconds.append(exactly)
            errors.append(estimate.n_activation_regions / exact.n_activation_regions - 1)
        known = bool(errors)
        rows.append(
            [f"{n_inputs} inputs, {hidden}", float(np.median(counts)),
             float(np.median(exact_seconds)) if known else None, float(np.median(seconds)),
             float(np.median(told)), float(np.mean(np.square(errors)) ** 0.5) if known else None,
             float(np.mean(errors)) if known else None]
        )  # fmt: skip
    header = ["network", "regions", "s, exact", "s", "told error", "error, RMS", "mean"]
    note = f"""\
Activation regions in [-1, 1]^n, medians over {n_draws} networks, weights N(0, 2/fan_in), biases
N(0, 1/4); of 10 inputs the estimates themselves. Told: the standard error that goes with an
estimate of 100 samples. Errors are relative to the exact number."""
    return "\n".join([table(header, rows), "", note])


def _row(name: str, counts: list, found: list, seen: list) -> list:
    shares = 100 * np.divide(seen, counts)
    seconds = float(np.median([s for _, s in found]))
    return [name, min(counts), max(counts), seconds, float(np.median(shares)), float(shares.min())]


def _timed(count: Callable, *arguments) -> tuple:
    begin = time.perf_counter()
    regions = count(*arguments)
    return regions, time.perf_counter() - begin


def _packed_patterns(model: nn.Sequential, X: Array) -> NDArray[np.uint8]:
    found = []
    with torch.no_grad():
        for chunk in torch.tensor(X).split(100_000):
            h, active = chunk, []
            for module in model:
                h = module(h)
                if isinstance(module, nn.ReLU):
                    active.append(h > 0)
            found.append(np.packbits(torch.cat(active, 1).numpy(), axis=1))
    return np.concatenate(found)


def _n_patterns_in_order(model: nn.Sequential, X: Array) -> int:
    patterns = _packed_patterns(model, X)
    return 1 + int((patterns[1:] != patterns[:-1]).any(1).sum())


def depth(quick: bool) -> str:
    """Compare random networks of width 4 with triangle networks, at start and trained."""
    n_draws, n_fits = (20, 1) if quick else (2000, 5)
    depths = (1, 3, 5) if quick else tuple(range(1, 11))
    X = np.linspace(0, 1, 500)[:, None]
    y = np.sin(3 * X[:, 0])
    rows, counted = [], []
    for n_layers in depths:
        nets = [network([1, *[4] * n_layers, 1], seed) for seed in range(n_draws)]
        found = [regions_along(net, LINE) for net in nets]
        linear = [regions.n_linear_regions for regions in found]
        active = float(np.mean([regions.n_activation_regions for regions in found]))
        expected = expected_regions([4] * n_layers, LINE, n_samples=20 * n_draws, random_state=0)
        trained = [_trained_random(X, y, n_layers, seed, quick) for seed in range(n_fits)]
        runs = [_triangle_counts(X, y, n_layers, seed, "lm") for seed in range(n_fits)]
        adam = [_triangle_counts(X, y, n_layers, seed, "adam", quick) for seed in range(n_fits)]
        during = [count for pretraining, _ in [*runs, *adam] for count in pretraining]
        refined, refined_adam = ([after for _, after in fits] for fits in (runs, adam))
        rows.append(
            [
                str(n_layers), active, expected.activation_regions, float(np.mean(linear)),
                expected.linear_regions, max(linear), int(np.median(trained)),
                f"{min(during)}-{max(during)}", int(np.median(refined_adam)),
                int(np.median(refined)), max_regions([4] * n_layers, 1),
            ]
        )  # fmt: skip
        counted.append((np.mean(linear), np.median(trained), min(during), np.median(refined)))
    off = max(abs(int(count) - 2 ** int(row[0])) for row in rows for count in row[7].split("-"))
    labels = ["random weights", "random, trained", "triangles, pretraining", "triangles, refined"]
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    display = RegionCountDisplay(
        depths, dict(zip(labels, np.transpose(counted), strict=True)), xlabel="hidden layers of 4"
    ).plot(ax=axes)
    display.ax_.set_yscale("log")
    _save(figure, "depth", quick)
    header = [
        "layers", "activation", "expected", "linear", "expected", "most", "trained",
        "triangles, pretraining", "refined, Adam", "refined", "bound",
    ]  # fmt: skip
    note = f"""\
Networks of 4 neurons a layer on [0, 1]. Activation, linear: means over {n_draws} draws of torch's
default weights, beside the expected numbers by Hanin and Rolnick's formula. Trained: linear regions
after 2000 steps of Adam at 1e-3 on sin(3x), median of {n_fits}. Triangles: least and most linear
regions on the whole line at any step of pretraining, from before the first on, by
Levenberg-Marquardt and by 1000 steps of Adam. Refined: median afterwards, by 1000 more steps of
Adam and by the defaults. Bound: no network of this size has more."""
    line = verdict("triangles in pretraining, linear regions away from 2^depth", off, 0)
    return "\n".join([table(header, rows), "", note, line])


def _trained_random(X: Array, y: Array, n_layers: int, seed: int, quick: bool) -> int:
    net = network([1, *[4] * n_layers, 1], seed)
    inputs, target = torch.tensor(X), torch.tensor(y)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(20 if quick else 2000):
        optimizer.zero_grad()
        (net(inputs) - target).square().mean().backward()
        optimizer.step()
    return regions_along(net, LINE).n_linear_regions


def _triangle_counts(
    X: Array, y: Array, n_layers: int, seed: int, solver: str, quick: bool = False
) -> tuple[list[int], int]:
    """Return linear regions on the whole line at each step of pretraining, and at the end."""
    steps = range(0, 10_000, 1 if solver == "lm" else 50)
    recorder = RegionRecorder.along([[-1e3], [1e3]], steps=steps)
    if solver == "lm":
        model = ExponentialReLURegressor(
            n_layers, n_subnetworks=1, n_init=1, n_levels=1, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_callbacks(recorder).fit(X, y)
    else:
        n = 20 if quick else 1000
        sizes = {"depth": n_layers, "max_iter": n, "refine_max_iter": n}
        fit_recipe(X, y, seed, callbacks=[recorder], **sizes)
    counts, stages = recorder.n_linear_regions_, recorder.stages_
    return [int(c) for c, s in zip(counts, stages, strict=True) if s == "pretraining"], int(
        counts[-1]
    )


def fewest(quick: bool) -> str:
    """Compare the fewest neurons that express a zigzag with what training finds."""
    rows = []
    for n_teeth in (2, 4) if quick else (2, 4, 8, 16):
        corners = np.linspace(0, 1, 2 * n_teeth + 1)
        heights = np.arange(len(corners)) % 2 * 1.0
        zigzag = PiecewiseLinear(corners, heights, 0.0, 0.0)
        n = fewest_neurons(zigzag)
        X = np.linspace(0, 1, 1000)[:, None]
        row: list[object] = [str(n_teeth), zigzag.n_linear_regions, n]
        for factor in (1, 2, 4):
            errors = [
                _trained_error(X, zigzag(X[:, 0]), factor * n, seed, quick)
                for seed in range(1 if quick else 5)
            ]
            row.append(float(np.median(errors)))
        depth = int(np.log2(n_teeth)) + 1
        model = ExponentialReLURegressor(
            depth, n_subnetworks=1, n_init=8, n_levels=1, smooth=False, random_state=0
        ).fit(X, zigzag(X[:, 0]))
        row += [4 * depth, float(np.std(model.predict(X) - zigzag(X[:, 0])))]
        rows.append(row)
    header = ["teeth", "linear regions", "fewest neurons", "RMSE with them", "twice", "4 times",
              "skrelu's neurons", "RMSE"]  # fmt: skip
    note = """\
A zigzag of so many teeth on [0, 1], 1000 rows. Fewest neurons: of one hidden layer, exactly. RMSE:
of one hidden layer of that many neurons, of twice and of four times as many after 5000 full-batch
steps of Adam at 0.01 from torch's default weights, median of 5. skrelu: one sub-network of depth
log2(teeth) + 1, free scales, 8 starts. The zigzag's standard deviation is 0.29."""
    return "\n".join([table(header, rows), "", note])


def _trained_error(X: Array, y: Array, width: int, seed: int, quick: bool) -> float:
    net = network([1, width, 1], seed)
    inputs, target = torch.tensor(X), torch.tensor(y)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(20 if quick else 5000):
        optimizer.zero_grad()
        loss = (net(inputs) - target).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item() ** 0.5


def inputs(name: str, n_samples: int, seed: int) -> tuple[Array, NDArray[np.int_]]:
    """Return standardized inputs (n_samples, 2) of two classes, the first names simplest."""
    rng = np.random.default_rng(seed)
    if name == "line":
        X = rng.normal(size=(n_samples, 2))
        y = (X @ [1.0, 0.5] > 0).astype(int)
    elif name == "moons":
        X, y = make_moons(n_samples, noise=0.1, random_state=seed)
    elif name == "circles":
        X, y = make_circles(n_samples, noise=0.1, factor=0.5, random_state=seed)
    elif name == "quantiles":
        X, y = make_gaussian_quantiles(n_samples=n_samples, n_classes=4, random_state=seed)
        y = y % 2
    elif name.startswith("spirals"):
        turns = float(name.split()[1])
        y = np.arange(n_samples) % 2
        radius = np.sqrt(rng.uniform(0.02, 1, size=n_samples))
        angle = 2 * np.pi * turns * radius + np.pi * y
        X = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        X += rng.normal(scale=0.02, size=X.shape)
    else:  # random labels
        X, y = rng.normal(size=(n_samples, 2)), rng.integers(0, 2, size=n_samples)
    return scale(X), y


INPUTS = ("line", "moons", "circles", "spirals 0.5", "quantiles", "spirals 1", "spirals 2",
          "random labels")  # fmt: skip


def trained(name: str, seed: int, quick: bool) -> tuple[RegionRecorder, list[float], int]:
    """Train a network of WIDTHS on inputs; record regions, accuracy and leaves of a tree."""
    X, y = inputs(name, 500, seed)
    leaves = DecisionTreeClassifier(random_state=0).fit(X, y).get_n_leaves()
    net = network([2, *WIDTHS, 1], seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    points, target = torch.tensor(X), torch.tensor(y, dtype=torch.float64)[:, None]
    recorder = RegionRecorder.in_plane(*BOX, steps=RECORDED)
    accuracies = []
    for epoch in range(4 if quick else EPOCHS + 1):
        with torch.no_grad():
            logits = net(points)
        if epoch in RECORDED:
            accuracies.append(float(((logits > 0) == (target > 0.5)).double().mean()))
        loss = cross_entropy(logits, target)
        recorder.record(net, epoch, loss)
        for batch in torch.randperm(len(X)).split(32):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(
                net(points[batch]), target[batch]
            ).backward()
            optimizer.step()
    return recorder, accuracies, leaves


def intricacy(quick: bool) -> str:
    """Train the same network on inputs of growing intricacy."""
    n_seeds = 1 if quick else 10
    rows, results = [], []
    for name in INPUTS:
        runs = [trained(name, seed, quick) for seed in range(n_seeds)]
        counts = np.array([recorder.n_linear_regions_ for recorder, _, _ in runs])
        lengths = [_lengths(recorder)[-1] for recorder, _, _ in runs]
        leaves = float(np.mean([leaves for _, _, leaves in runs]))
        accuracy = float(np.mean([accuracies[-1] for _, accuracies, _ in runs]))
        rows.append(
            [name, leaves, accuracy, *np.median(counts[:, [0, -1]], 0),
             float(np.median(counts[:, -1] / counts[:, 0])), float(counts[:, -1].min()),
             float(counts[:, -1].max()), float(np.median(lengths))]
        )  # fmt: skip
        results.append((name, leaves, runs, counts))
    order = np.argsort([leaves for _, leaves, _, _ in results], kind="stable")
    rows, results = [rows[i] for i in order], [results[i] for i in order]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    ends = {"epoch 0": 0, f"epoch {results[0][2][0][0].steps_[-1]}": -1}
    RegionCountDisplay(
        [leaves for _, leaves, _, _ in results],
        {label: np.stack([c[:, at] for *_, c in results], 1) for label, at in ends.items()},
        xlabel="leaves of a decision tree", ylabel="linear regions",
    ).plot(ax=axes[0])  # fmt: skip
    axes[0].set_xscale("log")
    RegionCountDisplay(
        results[0][2][0][0].steps_,
        {name: np.median(c, axis=0) for name, _, _, c in results},
        xlabel="epoch", ylabel="linear regions, median",
    ).plot(ax=axes[1])  # fmt: skip
    axes[1].legend(fontsize=7)
    _save(figure, "intricacy", quick)
    header = ["inputs", "leaves", "accuracy", "regions, epoch 0", f"epoch {EPOCHS}", "ratio",
              "least", "most", "boundary"]  # fmt: skip
    note = f"""\
Networks of {WIDTHS} with torch's default weights, 500 points of two classes, standardized;
{EPOCHS} epochs of Adam at 0.01 in batches of 32; {n_seeds} seeds. Leaves: of a decision tree that
parts all points, a measure of how intricate they are. Accuracy: on these points. Regions: linear
ones in [-3, 3]^2, median, least, most. Ratio: of the last to the first, median. Boundary: length
of the decision boundary in the box, median."""
    return "\n".join([table(header, rows), "", note])


def evolution(quick: bool) -> str:
    """Draw decisions and regions from epoch 0 to 100."""
    names = ("moons", "spirals 1", "random labels")
    shown = SHOWN[:2] if quick else SHOWN
    figure = Figure(figsize=(2.4 * len(shown), 2.5 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), len(shown))
    rows = []
    for name, line in zip(names, axes, strict=True):
        recorder, accuracies, _ = trained(name, 0, quick)
        X, y = inputs(name, 500, 0)
        for epoch, axis in zip(shown, line, strict=True):
            at = recorder.steps_.index(epoch)
            LinearRegionsDisplay(recorder.regions_[at]).plot(kind="decision", ax=axis)
            axis.scatter(*X.T, s=1.5, c=np.where(y > 0, "#1f6fb4", "#d1542c"), zorder=3)
            count = recorder.n_linear_regions_[at]
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"epoch {epoch}: {count} regions", fontsize=9)
            if epoch == shown[0]:
                axis.set_ylabel(name)
        lengths = _lengths(recorder)
        for at, epoch in enumerate(recorder.steps_):
            rows.append(
                [name if at == 0 else "", epoch, recorder.losses_[at], accuracies[at],
                 int(recorder.n_activation_regions_[at]), int(recorder.n_linear_regions_[at]),
                 lengths[at]]
            )  # fmt: skip
    _save(figure, "evolution", quick)
    header = ["inputs", "epoch", "cross-entropy", "accuracy", "activation", "linear", "boundary"]
    return "\n".join([table(header, rows), "", "As in the section before, one seed."])


def _lengths(recorder: RegionRecorder) -> list[float]:
    """Return the lengths of the decision boundaries."""
    ends = recorder.decision_boundaries()
    return [float(np.linalg.norm(np.diff(line, axis=1), axis=-1).sum()) for line in ends]


def _save(figure: Figure, name: str, quick: bool) -> None:
    if not quick:
        figure.savefig(IMAGES / f"regions_{name}.png", dpi=100)


MEASUREMENTS = {
    "counting": counting,
    "estimates": estimates,
    "depth": depth,
    "fewest": fewest,
    "intricacy": intricacy,
    "evolution": evolution,
}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "regions.txt")
