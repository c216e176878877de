"""Count linear regions: at what speed, of which networks, and how training changes them.

Pictures are docs/images/regions_NAME.png.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks._command import main, named
from benchmarks._data import grid
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._networks import default, recipe
from benchmarks._regions_training import BOX, evolution, intricacy
from benchmarks._text import Target, summary
from benchmarks._zoo import descend, network, patterns, triangles
from skrelu import ExponentialReLURegressor, regions
from skrelu.regions import RegionCountDisplay, RegionRecorder, regions_along, regions_in_plane

LINE = [[0.0], [1.0]]


def counting(quick: bool) -> Experiment:
    """Time exact counts, and compare them with what a grid of samples finds."""
    n_draws = 2 if quick else 10

    def along(depth: int, seed: int) -> Row:
        net = triangles(depth, seed)
        found, seconds = timed(regions_along, net, LINE)
        seen = patterns(net, grid(400_001))
        share = 100 * (1 + int((seen[1:] != seen[:-1]).any(1).sum())) / found.n_linear_regions
        return {"regions": found.n_linear_regions, "share": share, **seconds}

    def inside(widths: list[int], seed: int) -> Row:
        net, n, box = network(widths, seed, "he"), widths[0], [[-3] * widths[0], [3] * widths[0]]
        count = (regions_in_plane, net, *BOX) if n == 2 else (regions.regions_in_box, net, *box)
        found, seconds = timed(*count)
        axes = [np.linspace(-3, 3, 1000 if n == 2 else 100)] * n
        points = np.stack(np.meshgrid(*axes), -1).reshape(-1, n)
        n_found, n_seen = found.n_activation_regions, len(np.unique(patterns(net, points), axis=0))
        off = abs(found.areas.sum() / 36 - 1) if n == 2 else None
        return {"regions": n_found, "share": 100 * n_seen / n_found, "area_off": off, **seconds}

    columns = {"regions, least": ("regions", "min"), "most": ("regions", "max"),
               "s, median": ("wall_seconds", "median"), "found by a grid, %": ("share", "median"),
               "least": ("share", "min")}  # fmt: skip

    def targets(rows: pd.DataFrame) -> list[Target]:
        of = {str(name): found for name, found in rows.groupby("problem", sort=False)}
        wanted = [
            Target(f"depth {depth}: linear regions, away from 2^{depth}",
                   (of[name]["regions"] - 2**depth).abs().max(), 0)
            for depth in (12, 17) if (name := f"line, triangle waves of depth {depth}") in of
        ]  # fmt: skip
        plane, name = of["plane, 3 x 32"], "plane, 3 x 32"
        return [
            *wanted,
            Target(f"{name}: seconds, most", plane["wall_seconds"].max(), 5),
            Target(f"{name}: areas, relative to the box, off by", plane["area_off"].max(), 1e-9),
        ]

    problems = {
        "line, triangle waves of depth 12": partial(along, 12),
        "line, triangle waves of depth 17": partial(along, 17),
        "plane, 3 x 32": partial(inside, [2, 32, 32, 32, 1]),
        "plane, 3 x 64": partial(inside, [2, 64, 64, 64, 1]),
        "box, 3 inputs, 2 x 16": partial(inside, [3, 16, 16, 1]),
    }
    return Experiment(
        problems={name: (count,) for name, count in list(problems.items())[:: 2 if quick else 1]},
        methods={"exact": None}, measure=lambda problem, method, seed: problem[0](seed),
        scores=("regions", "share", "area_off"), repeats=n_draws,
        table=summary(["problem"], columns, "network"), targets=targets,
        note=f"""\
{n_draws} networks each. Line: linear regions on [0, 1], peaks drawn in (0.001, 0.999), grid of
400 001 points. Plane and box: activation regions in [-3, 3]^n, weights N(0, 2/fan_in), biases
N(0, 1/4), grid of a million points. 3 x 32: three hidden layers of 32 neurons.""",
    )  # fmt: skip


def estimates(quick: bool) -> Experiment:
    """Compare estimated numbers of regions with exact ones."""
    n_draws = 2 if quick else 10
    cases = [(2, [16, 16]), (3, [16, 16, 16]), (5, [16, 16]), (10, [16, 16]), (10, [32, 32])]

    def measure(case, method: None, seed: int) -> Row:
        n_inputs, hidden = case
        net = network([n_inputs, *hidden, 1], seed, "he")
        box = [-1] * n_inputs, [1] * n_inputs
        estimate, seconds = timed(lambda: regions.estimate_regions(net, *box, random_state=seed))
        n = estimate.n_activation_regions
        row = {"regions": n, "told": estimate.standard_error / n, **seconds}
        if n_inputs <= 5:
            exact, exactly = timed(regions.regions_in_box, net, *box)
            row["regions"] = exact.n_activation_regions
            row["exact_seconds"] = exactly["wall_seconds"]
            row["error"] = n / exact.n_activation_regions - 1
        return row

    columns = {"regions": ("regions", lambda n: float(n.median())),
               "s, exact": ("exact_seconds", "median"), "s": ("wall_seconds", "median"),
               "told error": ("told", "median"),
               "error, RMS": ("error", lambda error: (error**2).mean() ** 0.5),
               "mean": ("error", "mean")}  # fmt: skip
    return Experiment(
        problems={f"{n} inputs, {hidden}": (n, hidden)
                  for n, hidden in (cases[:2] if quick else cases)},
        methods={"estimate": None}, measure=measure,
        scores=("regions", "told", "exact_seconds", "error"), repeats=n_draws,
        table=summary(["problem"], columns, "network"),
        note=f"""\
Activation regions in [-1, 1]^n, medians over {n_draws} networks, weights N(0, 2/fan_in), biases
N(0, 1/4); of 10 inputs the estimates themselves. Told: the standard error that goes with an
estimate of 100 samples. Errors are relative to the exact number.""",
    )  # fmt: skip


CURVES = {"random weights": ("linear", "mean"), "random, trained": ("trained", "median"),
          "triangles, pretraining": ("during", "min"),
          "triangles, refined": ("refined", "median")}  # fmt: skip


def depth(quick: bool) -> Experiment:
    """Compare random networks of width 4 with triangle networks, at start and trained."""
    n_draws, n_fits, n_steps = (20, 1, 20) if quick else (2000, 5, 2000)
    X = np.linspace(0, 1, 500)[:, None]
    y = np.sin(3 * X[:, 0])

    def random(n_layers: int, seed: int) -> Row | list[Row]:
        if seed:
            return []
        hidden = [4] * n_layers
        nets = (network([1, *hidden, 1], draw) for draw in range(n_draws))
        found = [regions_along(net, LINE) for net in nets]
        linear = [one.n_linear_regions for one in found]
        expected = regions.expected_regions(hidden, LINE, n_samples=20 * n_draws, random_state=0)
        return {
            "activation": float(np.mean([one.n_activation_regions for one in found])),
            "expected activation": expected.activation_regions,
            "linear": float(np.mean(linear)),
            "expected linear": expected.linear_regions,
            "most": max(linear),
            "bound": regions.max_regions(hidden, 1),
        }

    def trained(n_layers: int, seed: int) -> Row:
        net = network([1, *[4] * n_layers, 1], seed)
        descend(net, X, y, 1e-3, n_steps)
        return {"trained": regions_along(net, LINE).n_linear_regions}

    def waves(n_layers: int, seed: int, by_lm: bool) -> Row:
        """Count on the whole line at each step of pretraining, and at the end."""
        recorder = RegionRecorder.along([[-1e3], [1e3]], steps=range(0, 10_000, 1 if by_lm else 50))
        model = default(seed, depth=n_layers, n_levels=1) if by_lm else recipe(
            seed, 2 * (20 if quick else 1000), depth=n_layers)  # fmt: skip
        model.set_callbacks(recorder).fit(X, y)
        counts, stages = recorder.n_linear_regions_, recorder.stages_
        during = [int(c) for c, s in zip(counts, stages, strict=True) if s == "pretraining"]
        refined = "refined" if by_lm else "refined by Adam"
        return {"during": min(during), "during most": max(during), refined: int(counts[-1])}

    ways = {"random weights": random, "random, trained": trained,
            "triangles, Adam": partial(waves, by_lm=False),
            "triangles": partial(waves, by_lm=True)}  # fmt: skip
    scores = ("activation", "expected activation", "linear", "expected linear", "most", "trained",
              "during", "during most", "refined by Adam", "refined", "bound")  # fmt: skip
    return Experiment(
        problems={str(n): n for n in ((1, 3, 5) if quick else range(1, 11))}, methods=ways,
        measure=lambda n_layers, way, seed: way(n_layers, seed), scores=scores, repeats=n_fits,
        table=by_depth,
        targets=lambda rows: [Target(
            "triangles in pretraining, linear regions away from 2^depth", _away(rows), 0)],
        pictures={"regions_depth": draw_depth},
        note=f"""\
Networks of 4 neurons a layer on [0, 1]. Activation, linear: means over {n_draws} draws of torch's
default weights, beside the expected numbers by Hanin and Rolnick's formula. Trained: linear regions
after 2000 steps of Adam at 1e-3 on sin(3x), median of {n_fits}. Triangles: least and most linear
regions on the whole line at any step of pretraining, from before the first on, by
Levenberg-Marquardt and by 1000 steps of Adam. Refined: median afterwards, by 1000 more steps of
Adam and by the defaults. Bound: no network of this size has more.""",
    )  # fmt: skip


def by_depth(rows: pd.DataFrame) -> pd.DataFrame:
    """Return counts by the number of layers."""
    whole = {how: lambda values, how=how: int(values.agg(how)) for how in ("min", "median", "max")}
    columns = {"activation": ("activation", "mean"), "expected": ("expected activation", "mean"),
               "linear": ("linear", "mean"), "expected ": ("expected linear", "mean"),
               "most": ("most", whole["max"]), "trained": ("trained", whole["median"]),
               "least": ("during", whole["min"]), "during": ("during most", whole["max"]),
               "refined, Adam": ("refined by Adam", whole["median"]),
               "refined": ("refined", whole["median"]),
               "bound": ("bound", whole["max"])}  # fmt: skip
    frame = summary(["problem"], columns, "layers")(rows)
    during = frame["least"].astype(str) + "-" + frame["during"].astype(str)
    frame.insert(6, "triangles, pretraining", during)
    return frame.drop(columns=["least", "during"])


def _during(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the least and the most regions in pretraining, and 2^depth."""
    found = rows.groupby("problem", sort=False)
    frame = pd.DataFrame({"least": found["during"].min(), "most": found["during most"].max()})
    return frame.assign(expected=2.0 ** frame.index.astype(int))


def _away(rows: pd.DataFrame) -> float:
    found = _during(rows)
    return float(found[["least", "most"]].sub(found["expected"], axis=0).abs().max(axis=None))


def draw_depth(rows: pd.DataFrame) -> Figure:
    """Draw numbers of regions against depth."""
    figure, found = (
        Figure(figsize=(5, 3.6), layout="constrained"),
        rows.groupby("problem", sort=False),
    )
    curves = {label: found[column].agg(how).to_numpy() for label, (column, how) in CURVES.items()}
    display = RegionCountDisplay([int(n) for n in rows["problem"].unique()], curves,
                                 xlabel="hidden layers of 4")  # fmt: skip
    display.plot(ax=figure.subplots()).ax_.set_yscale("log")
    return figure


def fewest(quick: bool) -> Experiment:
    """Compare the fewest neurons that express a zigzag with what training finds."""
    columns = {1: "RMSE with them", 2: "twice", 4: "4 times"}

    def measure(n_teeth: int, factor: int, seed: int) -> Row:
        corners = np.linspace(0, 1, 2 * n_teeth + 1)
        zigzag = regions.PiecewiseLinear(corners, np.arange(len(corners)) % 2 * 1.0, 0.0, 0.0)
        n, X = regions.fewest_neurons(zigzag), np.linspace(0, 1, 1000)[:, None]
        y, row = zigzag(X[:, 0]), {"regions": zigzag.n_linear_regions, "fewest": n}
        if factor:
            net = network([1, factor * n, 1], seed)
            loss, seconds = timed(descend, net, X, y, 0.01, 20 if quick else 5000)
            return {**row, "RMSE": loss**0.5, **seconds}
        if seed:
            return []
        depth = int(np.log2(n_teeth)) + 1
        sizes = {"n_subnetworks": 1, "n_init": 8, "n_levels": 1}
        model = ExponentialReLURegressor(depth, **sizes, smooth=False, random_state=0)
        _, seconds = timed(model.fit, X, y)
        rmse = float(np.std(model.predict(X) - y))
        return {**row, "neurons": 4 * depth, "RMSE": rmse, **seconds}

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.groupby(["problem", "method"], sort=False)["RMSE"].median().unstack()
        first = rows.groupby("problem", sort=False)[["regions", "fewest", "neurons"]].max()
        first = first.astype(int)
        frame = first[["regions", "fewest"]].set_axis(["linear regions", "fewest neurons"], axis=1)
        frame = frame.join(found[list(columns.values())])
        frame["skrelu's neurons"], frame["RMSE"] = first["neurons"], found["skrelu"]
        return frame.rename_axis("teeth")

    return Experiment(
        problems={str(n): n for n in ((2, 4) if quick else (2, 4, 8, 16))},
        methods={**{name: factor for factor, name in columns.items()}, "skrelu": 0},
        measure=measure, scores=("regions", "fewest", "neurons", "RMSE"), repeats=1 if quick else 5,
        table=table,
        note="""\
A zigzag of so many teeth on [0, 1], 1000 rows. Fewest neurons: of one hidden layer, exactly. RMSE:
of one hidden layer of that many neurons, of twice and of four times as many after 5000 full-batch
steps of Adam at 0.01 from torch's default weights, median of 5. skrelu: one sub-network of depth
log2(teeth) + 1, free scales, 8 starts. The zigzag's standard deviation is 0.29.""",
    )  # fmt: skip


EXPERIMENTS = named(counting, estimates, depth, fewest, intricacy, evolution)

if __name__ == "__main__":
    main("regions", __doc__ or "", EXPERIMENTS)
