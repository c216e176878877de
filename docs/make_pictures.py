"""Draw the pictures of the user guide into ``docs/images``.

Run from anywhere: ``python docs/make_pictures.py``, or with the names of some pictures. Takes a
minute or two.
"""

import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib

from skrelu._fit import tuning

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.exceptions import ConvergenceWarning

from skrelu import ExponentialReLURegressor
from skrelu._fit.pretraining import pretrain
from skrelu._fit.refinement import Limit, refine, refine_in_limit
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows
from skrelu.inspection import FeatureEffectDisplay, FeatureInteractionDisplay, SubnetworkDisplay

DOCS = Path(__file__).parent
INK, BLUE, RED, GREEN, GREY = "#22303c", "#1f6fb4", "#d1542c", "#3a8f5c", "#b9c3cc"
plt.rcParams.update(
    {
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GREY,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
)


def triangle(h, a):
    """Return T_a(h)."""
    return np.minimum(h / a, (1 - h) / (1 - a))


def waves(z, peaks):
    """Return the composed triangle waves W_0, W_1, ... at z."""
    found, h = [], z
    for a in peaks:
        h = triangle(h, a)
        found.append(h)
    return found


def smooth_scales(peaks):
    """Return s_0 = 1, s_{i+1} = s_i (1 - a_{i+1}) a_{i+2}."""
    return np.cumprod([1.0, *((1 - a) * b for a, b in pairwise(peaks[1:]))])


def triangles():
    """Composed triangle waves, and the partial sums that they make."""
    z, peaks = np.linspace(0, 1, 2001), [0.4, 0.6, 0.5, 0.45, 0.5, 0.5]
    figure, axes = plt.subplots(2, 4, figsize=(10, 4), layout="constrained", sharex=True)
    scales, total = smooth_scales(peaks), 0.0
    for i, wave in enumerate(waves(z, peaks[:4])):
        total = total + scales[i] * wave
        axes[0, i].plot(z, wave, color=BLUE)
        axes[0, i].set_title(f"$W_{i}$: {2 ** (i + 1)} pieces")
        axes[1, i].plot(z, total, color=INK)
        axes[1, i].set_title(f"sum to depth {i + 1}: {2 ** (i + 1)} regions")
        axes[1, i].set(xlabel="z", ylim=(-0.05, 1.5))
        axes[0, i].set(ylim=(-0.05, 1.1))
    return figure


def count_regions(z, y):
    """Count the linear regions of a function seen on a fine grid.

    A region is a run of at least two grid cells of equal slope. A breakpoint inside a cell gives
    that cell a slope in between, which ends one run and begins no other.
    """
    slopes = np.diff(y) / np.diff(z)
    equal = np.abs(np.diff(slopes)) < 1e-7
    begins = equal & ~np.concatenate([[False], equal[:-1]])
    return int(begins.sum())


def default_network(depth, width, generator):
    """Return a random ReLU network on one input: the distribution of torch.nn.Linear."""
    layers, fan_in = [], 1
    for fan_out in [width] * depth + [1]:
        bound = fan_in**-0.5
        size = (fan_out, fan_in + 1)
        layers.append(bound * (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1))
        fan_in = fan_out

    def network(z):
        h = torch.as_tensor(z)[None]
        for i, layer in enumerate(layers):
            h = layer[:, :-1] @ h + layer[:, -1:]
            h = h if i == depth else h.relu()
        return h[0].numpy()

    return network


def unit(y):
    """Bring values to the range [0, 1]; constant ones to 0."""
    return (y - y.min()) / max(np.ptp(y), 1e-12)


def regions():
    """Linear regions of random networks against their depth."""
    z, depths, draws = np.linspace(0, 1, 2**17 + 1), np.arange(1, 8), 100
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for number in range(5):
        y = default_network(5, 4, generator)(z)
        left.plot(z, 0.6 * unit(y) + number, color=INK, lw=2)
        peaks = rng.uniform(0.3, 0.7, 6)
        y = sum(s * w for s, w in zip(smooth_scales(peaks), waves(z, peaks[:5]), strict=True))
        left.plot(1.2 + z, 0.6 * unit(y) + number, color=BLUE, lw=2)
    left.set(yticks=[], xticks=[0.5, 1.7], xticklabels=["default weights", "triangle waves"])
    left.set_title("Random networks of width 4 and depth 5")
    left.spines[["left", "bottom"]].set_visible(False)
    left.tick_params(length=0)

    default, triangular = [], []
    for depth in depths:
        networks = [default_network(depth, 4, generator) for _ in range(draws)]
        default.append([count_regions(z, network(z)) for network in networks])
        peaks = rng.uniform(0.3, 0.7, (draws, depth + 1))
        sums = (
            sum(s * w for s, w in zip(smooth_scales(a), waves(z, a[:depth]), strict=True))
            for a in peaks
        )
        triangular.append([count_regions(z, y) for y in sums])
    right.plot(depths, np.mean(triangular, 1), "o-", color=BLUE, label="triangle waves, mean")
    right.plot(depths, np.mean(default, 1), "o-", color=INK, label="default weights, mean")
    right.fill_between(
        depths, np.min(default, 1), np.max(default, 1), color=GREY, alpha=0.5, label="least to most"
    )
    right.fill_between(depths, np.min(triangular, 1), np.max(triangular, 1), color=BLUE, alpha=0.3)
    right.set(yscale="log", xlabel="depth", title=f"Linear regions on [0, 1], {draws} draws")
    right.set_yscale("log", base=2)
    right.set_yticks(2.0 ** np.arange(8), 2 ** np.arange(8))
    right.legend()
    print("regions, triangle waves:", np.mean(triangular, 1), "default:", np.mean(default, 1))
    return figure


def stages():
    """Loss over both stages for several starts, and the network's error after each."""
    X = np.linspace(0, 1, 500)[:, None]
    targets = {"$x^3$": X[:, 0] ** 3, r"$\tanh\,3x$": np.tanh(3 * X[:, 0])}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
    for panel, (name, y) in zip(axes, targets.items(), strict=True):
        for seed in range(8):
            model = ExponentialReLURegressor(
                depth=5, n_subnetworks=1, n_init=1, max_iter=1000, random_state=seed
            ).fit(X, y)
            curve, last = np.array(model.loss_curve_), model.n_iter_pretrain_
            panel.semilogy(np.arange(last + 1), curve[: last + 1], color=BLUE, lw=1.2)
            rest = curve[last + 1 :]
            panel.semilogy(last + np.arange(len(rest)), rest, color=RED, lw=1.2)
        panel.set(xlabel="iteration", title=f"{name}, one sub-network of depth 5, eight starts")
    axes[0].set_ylabel("loss relative to the variance")
    axes[0].plot([], [], color=BLUE, label="pretraining")
    axes[0].plot([], [], color=RED, label="refinement")
    axes[0].legend()
    return figure


def limit():
    """The parabola that triangle waves tend to, and the error after each step of a fit."""
    z = np.linspace(0, 1, 1001)
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for depth in (1, 2, 3):
        peaks = [0.5] * (depth + 1)
        F = sum(s * w for s, w in zip(smooth_scales(peaks), waves(z, peaks[:depth]), strict=True))
        axes[0].plot(z, F, color=BLUE, lw=1.2, alpha=0.3 + 0.2 * depth)
    axes[0].plot(z, 4 * z * (1 - z), color=RED, ls="--", lw=1.2)
    axes[0].plot([], [], color=BLUE, label="depth 1, 2, 3")
    axes[0].plot([], [], color=RED, ls="--", lw=1.2, label="infinite depth")
    axes[0].legend(loc="lower center")
    axes[0].set(xlabel="z", title="peaks of 1/2")
    styles = (GREY, 1), (BLUE, 3), (GREEN, 1), (RED, 1)  # blue is seen on both sides of green
    for (name, x, error), (color, lw) in zip(_steps_of_a_fit(), styles, strict=True):
        axes[1].semilogy(x, np.abs(error) + 1e-9, color=color, lw=lw, label=name)
        print("limit,", name, "MSE:", np.mean(error**2))
    axes[1].set(ylim=(1e-7, 1), xlabel="x", title="absolute error for $x^3$, depth 5")
    axes[1].legend(loc="upper right", ncols=2)
    return figure


def _steps_of_a_fit():
    """Yield name, points and errors of the networks that one fit goes through."""
    x = torch.linspace(0, 1, 500, dtype=torch.float64)
    y = x**3
    X, target = ((v - v.mean()) / v.std(correction=0) for v in (x, y))
    rows = Rows(
        X[None], target[None], torch.full((1, 500), 1 / 500, dtype=torch.float64), None, 500
    )
    options = Options("lm", 100, 1e-4, 20, 0, 0, torch.Generator().manual_seed(0))
    triangles = TriangleNetwork(1, 1, 5, n_free_peaks=1)

    def error(network, theta):
        difference = network.forward(theta, rows.X)[0, 0] - target
        return x.numpy(), (difference * y.std(correction=0)).numpy()

    model = TriangleModel(triangles, 1)
    pretrained = pretrain(model, rows, None, 1e-3, options)
    relu, lowered = model.to_relu(pretrained.theta)
    yield "pretrained", *error(relu, lowered)
    network, lowered = triangles.to_parabolic(*model.to_waves(pretrained.theta))
    penalty = torch.zeros_like(lowered[:, : network.relu.n_parameters])
    start = network, lowered, 5, rows, 0, penalty, replace(options, max_iter=200)
    result, unfolded, penalty = refine_in_limit(*start, Limit(100, 1))
    fitted = ParabolicNetwork(replace(network.relu, depth=5 - tuning.UNFOLDED_LAYERS))
    yield "in the limit", *error(fitted, result.theta)
    yield "unfolded", *error(relu, unfolded)
    refined = refine(relu, unfolded, rows, 0, penalty, replace(options, max_iter=300))
    yield "refined", *error(relu, refined.theta)


def lowering():
    """What the four neurons of each hidden layer carry."""
    X = np.linspace(0, 1, 500)[:, None]
    model = ExponentialReLURegressor(
        depth=4, n_subnetworks=1, refine=False, early_stopping=False, random_state=0
    ).fit(X, X[:, 0] ** 3)
    z = np.linspace(-0.25, 1.25, 1201)
    direction, offset = model.directions_[0, 0], model.offsets_[0]
    x = (((z - offset) / direction) - model.X_mean_) / model.X_scale_
    figure, axes = plt.subplots(4, 4, figsize=(10, 6), layout="constrained", sharex=True)
    h = x[None]
    names = ["sum so far", "$(h_i)_+$", "$(h_i - a_i)_+$", "outside"]
    first = ["$(-z)_+$", "$(z)_+$", "$(z - a_0)_+$", "$(z - 1)_+$"]
    for layer, row in enumerate(axes):
        matrix, bias = model.hidden_weights_[layer][0], model.hidden_biases_[layer][0]
        h = np.maximum(matrix @ h + bias[:, None], 0)
        for neuron, panel in enumerate(row):
            panel.axvspan(0, 1, color="#eef3f8", lw=0)
            panel.plot(z, h[neuron], color=[INK, BLUE, BLUE, RED][neuron], lw=1.5)
            panel.set_ylim(-0.06, 1.6)
            panel.text(0.02, 0.86, (names if layer else first)[neuron], transform=panel.transAxes)
        row[0].set_ylabel(f"layer {layer + 1}")
    for panel in axes[-1]:
        panel.set_xlabel("z")
    return figure


def solvers():
    """Variable projection and Levenberg-Marquardt beside Adam on the same problem."""
    X, y = make_friedman1(500, random_state=0)
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for solver, color, name in [
        ("adam", GREY, "Adam: passes over the data"),
        ("lm", BLUE, "variable projection and\nLevenberg-Marquardt: trial steps"),
    ]:
        for seed in range(4):
            model = ExponentialReLURegressor(
                n_subnetworks=8,
                n_init=1,
                solver=solver,
                max_iter=400,
                tol=0.0,
                n_iter_no_change=400,
                refine=False,
                early_stopping=False,
                random_state=seed,
            ).fit(X, y)
            axes.semilogy(model.loss_curve_, color=color, lw=1.3, label=None if seed else name)
    axes.set(xlabel="iteration", ylabel="loss relative to the variance")
    axes.set_title("friedman1, 500 rows, 8 sub-networks, four starts each")
    axes.legend()
    return figure


def averaging():
    """Test error of single starts and of the average of several."""
    X_test, y_test = make_friedman1(5000, random_state=1000)
    X, y = make_friedman1(300, noise=2.0, random_state=0)
    counts, seeds = [1, 2, 4, 8, 16], range(5)

    def error(**parameters):
        model = ExponentialReLURegressor(refine=False, max_iter=500, **parameters)
        return 1 - model.fit(X, y).score(X_test, y_test)

    errors = [[error(n_init=n, random_state=seed) for seed in seeds] for n in counts]
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.plot(counts, errors, "o", color=GREY)
    axes.plot(counts, np.mean(errors, 1), "o-", color=BLUE, label="mean over five seeds")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, counts)
    axes.set(xlabel="n_init: starts that are averaged", ylabel="$1 - R^2$ on test data")
    axes.set(ylim=(0, None), title="friedman1 with noise, 300 rows")
    axes.legend()
    return figure


def ridge():
    """Predictions of a noisy and a clean sample for several strengths of the ridge."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 1, 60))
    grid = np.linspace(-0.05, 1.05, 500)
    figure, axes = plt.subplots(2, 3, figsize=(10, 4.6), layout="constrained", sharey=True)
    for row, noise in zip(axes, [0.0, 0.3], strict=True):
        y = np.sin(6 * x) + noise * rng.normal(size=len(x))
        for panel, alpha in zip(row, [0.0, 0.03, 30.0], strict=True):
            model = ExponentialReLURegressor(
                n_subnetworks=6,
                alpha=alpha,
                refine=False,
                early_stopping=False,
                max_iter=2000,
                random_state=0,
            ).fit(x[:, None], y)
            panel.plot(grid, np.sin(6 * grid), color=GREY, lw=4)
            panel.plot(x, y, ".", color=INK, ms=4)
            panel.plot(grid, model.predict(grid[:, None]), color=BLUE, lw=1.5)
            panel.set(ylim=(-2, 2), title=f"noise {noise:g}, alpha = {alpha:g}")
    return figure


def quickstart():
    """Run the first example, which saves its own picture, and keep what it prints."""
    script = DOCS.parent / "examples" / "quickstart.py"
    run = subprocess.run(
        [sys.executable, script], cwd=DOCS / "images", check=True, capture_output=True, text=True
    )
    text = run.stdout.replace("Saved quickstart.png\n", "")
    (DOCS / "tables" / "quickstart.txt").write_text(text)


def contributions():
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    model = ExponentialReLURegressor(
        n_subnetworks=6, n_init=1, refine=False, early_stopping=True, random_state=0
    )
    return SubnetworkDisplay.from_estimator(model.fit(X, y), X).figure_


def buildings():
    """Return a model of prices of buildings, and its table."""
    rng = np.random.default_rng(0)
    n = 2000
    kinds = ["flat", "house", "villa"]
    X = pd.DataFrame({"size": rng.gamma(9, 10, n), "year": rng.integers(1960, 2020, n)})
    X["kind"] = pd.Categorical(rng.choice(kinds, n, p=[0.6, 0.3, 0.1]))
    y = 2 * X["size"] + 60 * (X["year"] >= 1990) + 20 * X["kind"].cat.codes
    y += np.where(X["kind"] == "villa", X["size"], 0) + 20 * rng.normal(size=n)
    X.loc[rng.random(n) < 0.1, "size"] = np.nan
    return ExponentialReLURegressor(random_state=0).fit(X, y), X


def effects():
    return FeatureEffectDisplay.from_estimator(*buildings()).figure_


def interactions():
    return FeatureInteractionDisplay.from_estimator(*buildings()).figure_


PICTURES = [
    triangles,
    regions,
    stages,
    limit,
    lowering,
    solvers,
    averaging,
    ridge,
    contributions,
    effects,
    interactions,
    quickstart,
]


def main():
    """Draw all pictures, or those named on the command line."""
    for draw in PICTURES:
        if len(sys.argv) > 1 and draw.__name__ not in sys.argv[1:]:
            continue
        figure = draw()
        if figure is not None:
            figure.savefig(DOCS / "images" / f"{draw.__name__}.png", dpi=100)
            plt.close(figure)
        print(f"Drew docs/images/{draw.__name__}.png", flush=True)


if __name__ == "__main__":
    # Curves are cut at a common length, before the solvers would stop.
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
