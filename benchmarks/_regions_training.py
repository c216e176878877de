"""How linear regions change while a network learns inputs of growing intricacy."""

from __future__ import annotations

from base64 import b64decode, b64encode

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks._experiment import Experiment, Row, timed
from benchmarks._text import summary
from benchmarks._zoo import INPUTS, inputs, network
from skrelu import regions
from skrelu.regions import RegionCountDisplay, RegionRecorder, regions_in_plane

BOX = [-3.0, -3.0], [3.0, 3.0]
WIDTHS, EPOCHS = [16, 16, 16], 100
RECORDED = (0, 1, 2, 3, 5, 10, 20, 30, 50, 70, 100)
SHOWN = (0, 3, 10, 30, 100)


def trained(name: str, seed: int, n_epochs: int, keep: bool) -> list[Row]:
    """Train a network of WIDTHS on inputs; return a row for each epoch that is recorded."""
    X, y = inputs(name, 500, seed)
    leaves = DecisionTreeClassifier(random_state=0).fit(X, y).get_n_leaves()
    net = network([2, *WIDTHS, 1], seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    points, target = torch.tensor(X), torch.tensor(y, dtype=torch.float64)[:, None]
    recorder = RegionRecorder.in_plane(*BOX, steps=RECORDED)
    entropy = nn.functional.binary_cross_entropy_with_logits
    rows: list[Row] = []
    for epoch in range(n_epochs):
        with torch.no_grad():
            logits = net(points)
        loss = entropy(logits, target)
        recorder.record(net, epoch, loss)
        if epoch in RECORDED:
            right = ((logits > 0) == (target > 0.5)).double().mean()
            rows.append({"accuracy": float(right), "leaves": leaves})
            if keep and epoch in SHOWN:
                rows[-1]["weights"] = _packed(net)
        for batch in torch.randperm(len(X)).split(32):
            optimizer.zero_grad()
            entropy(net(points[batch]), target[batch]).backward()
            optimizer.step()
    lines = recorder.decision_boundaries()
    lengths = [float(np.linalg.norm(np.diff(line, axis=1), axis=-1).sum()) for line in lines]
    counts = zip(recorder.steps_, recorder.losses_, recorder.n_activation_regions_,
                 recorder.n_linear_regions_, lengths, strict=True)  # fmt: skip
    names = ("epoch", "loss", "activation", "linear", "boundary")
    return [
        row | dict(zip(names, count, strict=True)) for row, count in zip(rows, counts, strict=True)
    ]


def _packed(net: nn.Module) -> str:
    return b64encode(parameters_to_vector(net.parameters()).detach().numpy().tobytes()).decode()


def _unpacked(weights: str) -> nn.Sequential:
    net = network([2, *WIDTHS, 1], 0)
    values = np.frombuffer(b64decode(weights)).copy()
    vector_to_parameters(torch.tensor(values), net.parameters())
    return net


def training(names, n_seeds: int, quick: bool, keep: bool = False, **further) -> Experiment:
    """Return an experiment that trains the same network on inputs."""

    def measure(name: str, method: None, seed: int) -> list[Row]:
        rows, seconds = timed(trained, name, seed, 4 if quick else EPOCHS + 1, keep)
        return [row | {key: value / len(rows) for key, value in seconds.items()} for row in rows]

    return Experiment(
        problems={name: name for name in names}, methods={"Adam": None}, measure=measure,
        scores=(
            "epoch",
            "loss",
            "accuracy",
            "activation",
            "linear",
            "boundary",
            "leaves",
            "weights",
        ),
        repeats=n_seeds, **further,
    )  # fmt: skip


def intricacy(quick: bool) -> Experiment:
    """Train the same network on inputs of growing intricacy."""
    n_seeds = 1 if quick else 10
    return training(
        INPUTS, n_seeds, quick, table=by_inputs,
        pictures={"regions_intricacy": draw_intricacy},
        note=f"""\
Networks of {WIDTHS} with torch's default weights, 500 points of two classes, standardized;
{EPOCHS} epochs of Adam at 0.01 in batches of 32; {n_seeds} seeds. Leaves: of a decision tree that
parts all points, a measure of how intricate they are. Accuracy: on these points. Regions: linear
ones in [-3, 3]^2, median, least, most. Ratio: of the last to the first, median. Boundary: length
of the decision boundary in the box, median.""",
    )  # fmt: skip


def by_inputs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what became of the inputs, the least intricate first."""
    first, last = (rows[rows["epoch"] == epoch].set_index(["problem", "repeat"])
                   for epoch in (0, rows["epoch"].max()))  # fmt: skip
    last = last.assign(first=first["linear"], ratio=last["linear"] / first["linear"])
    columns = {"leaves": ("leaves", "mean"), "accuracy": ("accuracy", "mean"),
               "regions, epoch 0": ("first", "median"), f"epoch {EPOCHS}": ("linear", "median"),
               "ratio": ("ratio", "median"), "least": ("linear", "min"),
               "most": ("linear", "max"), "boundary": ("boundary", "median")}  # fmt: skip
    frame = summary(["problem"], columns, "inputs")(last).astype(float)
    return frame.sort_values("leaves", kind="stable")


def draw_intricacy(rows: pd.DataFrame) -> Figure:
    """Draw regions against leaves, and against epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    order, epochs = by_inputs(rows), sorted(rows["epoch"].unique().tolist())
    counts = rows.pivot(index=["problem", "epoch"], columns="repeat", values="linear")
    ends = {f"epoch {epoch}": np.stack([counts.loc[(name, epoch)] for name in order.index], 1)
            for epoch in (0, epochs[-1])}  # fmt: skip
    leaves = order["leaves"].to_list()
    display = RegionCountDisplay(
        leaves, ends, xlabel="leaves of a decision tree", ylabel="linear regions"
    )
    display.plot(ax=axes[0])
    axes[0].set_xscale("log")
    medians = {name: counts.loc[name].median(axis=1).to_numpy() for name in order.index}
    display = RegionCountDisplay(epochs, medians, xlabel="epoch", ylabel="linear regions, median")
    display.plot(ax=axes[1])
    axes[1].legend(fontsize=7)
    return figure


def evolution(quick: bool) -> Experiment:
    """Follow decisions and regions from epoch 0 to 100."""

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        names = ["epoch", "loss", "accuracy", "activation", "linear", "boundary"]
        frame = rows.set_index("problem")[names].rename(columns={"loss": "cross-entropy"})
        return frame.rename_axis("inputs")

    return training(
        ("moons", "spirals 1", "random labels"), 1, quick, keep=True, table=table,
        pictures={"regions_evolution": draw_evolution}, note="As in the section before, one seed.",
    )  # fmt: skip


def draw_evolution(rows: pd.DataFrame) -> Figure:
    """Draw decisions and regions at some epochs, from the weights that networks had there."""
    rows = rows.dropna(subset="weights")
    names, shown = rows["problem"].unique(), sorted(rows["epoch"].unique())
    figure = Figure(figsize=(2.4 * len(shown), 2.5 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), len(shown))
    for name, line in zip(names, axes, strict=True):
        X, y = inputs(name, 500, 0)
        part = rows[rows["problem"] == name].sort_values("epoch")
        for (_, row), axis in zip(part.iterrows(), line, strict=True):
            found = regions_in_plane(_unpacked(row["weights"]), *BOX)
            regions.LinearRegionsDisplay(found).plot(kind="decision", ax=axis)
            axis.scatter(*X.T, s=1.5, c=np.where(y > 0, "#1f6fb4", "#d1542c"), zorder=3)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"epoch {row['epoch']}: {row['linear']} regions", fontsize=9)
        line[0].set_ylabel(name)
    return figure
