"""Seconds and parameters against error, beside what else fits a curve of one variable."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks._curve_fits import curve_process, fitted_by, pwlf, pykan, spline
from benchmarks._curves import DEPTH_CURVES, PAPER_CURVES, Curve
from benchmarks._data import grid
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._peers import OURS, REGRESSORS, Peer, n_parameters
from benchmarks._pictures import legend, panels

CURVES = [*PAPER_CURVES, *DEPTH_CURVES[4:]]
COSTS = ("seconds", "parameters")
ROUNDING = 1e-17  # errors below are not told apart
# Colour and marker of a family in the picture.
STYLES = {
    "MLP, Adam": ("#c9a227", "v"),
    "MLP, L-BFGS": ("#7a5c00", "^"),
    "MLP, L-BFGS, tanh": ("#c76bb0", "^"),
    "pykan": ("#6a3d9a", "P"),
    "Gaussian process": ("#3a8f5c", "X"),
    "cubic spline": ("#22303c", "*"),
    "linear spline, even": ("#9fb4c7", "s"),
    "linear spline, graded": ("#1f6fb4", "s"),
    "pwlf": ("#12355b", "D"),
    OURS: ("#d1542c", "o"),
}
NOTE = """\
MSE. 500 points on [0, 1] without noise; MSE on 20001, below 1e-17 not told apart; one thread;
medians over 5 seeds or, where a fit takes seconds, 3 to 1; the seconds also over the curves.
skrelu: n_init=1, "5 x 4" being 4 sub-networks; "best of 12" is n_init=12 with
early_stopping=False. MLP: x and y standardized; "long" is up to 3000 passes with tol=1e-8, and
like L-BFGS without penalty. pykan: y standardized, 50 steps of L-BFGS in float64; "1-1" is one
cubic spline and a SiLU, the others do not repeat exactly. Gaussian process: y standardized, 3
starts. Splines: least squares, on even pieces or on pieces graded by the second differences of
y. pwlf: "fast" is `fitfast`, else `fit`.
Parameters: skrelu and MLP weights and biases; pykan the spline coefficients and scales that it
trains, not its knots; Gaussian process x and y of its rows and 3 of the kernel; splines knots
and coefficients (interpolating: values); pwlf breakpoints, slopes and an intercept."""
NOT_LINEAR = ("MLP, L-BFGS, tanh", "pykan", "Gaussian process", "cubic spline")


@dataclass(frozen=True)
class Method:
    """An estimator of a family at one size."""

    family: str
    size: str
    peer: Peer
    n_seeds: int

    @property
    def missing(self) -> str:
        """What to install for it."""
        return self.peer.missing


def ours() -> Iterator[Method]:
    """Yield skrelu's sizes."""
    one = REGRESSORS[OURS].set(n_init=1)
    for depth in range(1, 9):
        yield Method(OURS, f"depth {depth}", one.set(depth=depth, n_subnetworks=1), 5)
    for n in (2, 4, 8):
        yield Method(OURS, f"depth 5 x {n}", one.set(depth=5, n_subnetworks=n), 3)
    best = one.set(n_subnetworks=1, n_init=12, early_stopping=False)
    for depth in (3, 5, 7):
        yield Method(OURS, f"depth {depth}, best of 12", best.set(depth=depth), 3)


def networks() -> Iterator[Method]:
    """Yield those of MLPRegressor and pykan."""
    # Without noise the default penalty and tolerances would only stand in the way.
    exact = {"alpha": 0, "tol": 1e-9, "max_iter": 5000, "max_fun": 100_000, "solver": "lbfgs"}
    long = {"alpha": 0, "tol": 1e-8, "max_iter": 3000, "n_iter_no_change": 50}
    for family, suffix, n_seeds, settings in (
        ("MLP, Adam", "", 5, {}),
        ("MLP, Adam", ", long", 3, long),
        ("MLP, L-BFGS", "", 5, exact),
        ("MLP, L-BFGS, tanh", "", 5, {**exact, "activation": "tanh"}),
    ):
        for layers in ((10,), (50,), (100,), (50, 50), (4,) * 5):
            peer = REGRESSORS["MLP"].set(hidden_layer_sizes=layers, **settings)
            yield Method(family, "-".join(map(str, layers)) + suffix, peer, n_seeds)
    kan = replace(REGRESSORS["pykan"], make=fitted_by(pykan))
    for hidden, n_seeds in (((), 5), ((5,), 2), ((3, 3), 1)):
        for n in (5, 20):
            name = f"{'-'.join(map(str, (1, *hidden, 1)))}, grid {n}"
            yield Method("pykan", name, kan.set(hidden=hidden, n_intervals=n), n_seeds)


def others() -> Iterator[Method]:
    """Yield those of Gaussian processes, splines and pwlf."""
    process, smooth = Peer(fitted_by(curve_process)), Peer(fitted_by(spline))
    for n_rows, n_seeds in ((20, 5), (100, 5), (500, 3)):
        yield Method("Gaussian process", f"{n_rows} rows", process.set(n_rows=n_rows), n_seeds)
    for kind in ("even", "graded"):
        linear = smooth.set(degree=1, graded=kind == "graded")
        for n in (8, 16, 32, 64, 128):
            yield Method(f"linear spline, {kind}", f"{n}", linear.set(n_pieces=n), 5)
    for n in (4, 8, 16, 32):
        yield Method("cubic spline", f"{n}", smooth.set(n_pieces=n), 5)
    yield Method("cubic spline", "interpolating", smooth, 5)
    segments = Peer(fitted_by(pwlf), package="pwlf")
    for how, suffix, sizes in (("fitfast", ", fast", ((4, 5), (8, 5), (16, 3), (32, 1))),
                               ("fit", "", ((4, 5), (8, 1)))):  # fmt: skip
        for n, n_seeds in sizes:
            peer = segments.set(n_segments=n, how=how)
            yield Method("pwlf", f"{n}{suffix}", peer, n_seeds)


METHODS = {f"{m.family}; {m.size}": m for m in (*ours(), *networks(), *others())}


def cost(quick: bool) -> Experiment:
    """Fit curves by skrelu and its peers at several sizes, and find the frontiers."""
    x, dense = grid(500), grid(20_001)

    def measure(curve: Curve, method: Method, repeat: int) -> Row | list[Row]:
        if repeat >= method.n_seeds:
            return []
        y, expected = curve.value(x[:, 0]), curve.value(dense[:, 0])
        model, seconds = timed(lambda: method.peer(repeat).fit(x, y))
        mse = float(np.mean((model.predict(dense) - expected) ** 2))
        names = {"family": method.family, "size": method.size}
        return {**names, "mse": mse, "parameters": n_parameters(model), **seconds}

    return Experiment(
        problems={curve.name: curve for curve in ([CURVES[0], CURVES[-1]] if quick else CURVES)},
        methods={name: m for name, m in METHODS.items() if not quick or m.n_seeds == 5},
        measure=measure, scores=("mse", "family", "size", "parameters"), repeats=2 if quick else 5,
        table=lambda rows: _errors(medians(rows)),
        report=lambda rows: f"{_frontiers(medians(rows))}\n\n{_beaten(medians(rows))}",
        files={"paper_cost": lambda rows: medians(rows)[[
            "method", "size", "curve", "parameters", "seconds", "mse", "mse_min", "mse_max"]]},
        pictures={"paper_cost": lambda rows: _draw(medians(rows))}, note=NOTE,
    )  # fmt: skip


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over the seeds, and the range of the MSE: a method, size and curve a row."""
    found = rows.groupby(["family", "size", "problem"], sort=False)
    frame = found.agg(
        parameters=("parameters", "last"), seconds=("seconds", "median"),
        mse=("mse", "median"), mse_min=("mse", "min"), mse_max=("mse", "max"),
    ).reset_index()  # fmt: skip
    frame = frame.rename(columns={"family": "method", "problem": "curve"})
    frame["parameters"] = frame["parameters"].astype(int)
    frame["error"] = frame["mse"].clip(lower=ROUNDING)  # as far as it is not rounding
    order = {name: i for i, name in enumerate(METHODS)}
    places = (frame["method"] + "; " + frame["size"]).map(order)
    return frame.iloc[np.argsort(places.to_numpy(), kind="stable")].reset_index(drop=True)


def _errors(found: pd.DataFrame) -> pd.DataFrame:
    by_size = found.groupby(["method", "size"], sort=False)
    frame = by_size.agg(parameters=("parameters", "first"), s=("seconds", "median"))
    curves = found["curve"].unique()
    mse = found.pivot(index=["method", "size"], columns="curve", values="mse")
    frame = frame.join(mse[list(curves)]).reset_index("size")
    return frame.rename_axis("MSE")


def frontier(found: pd.DataFrame, cost_name: str) -> pd.DataFrame:
    """Return what nothing as cheap meets in accuracy, from cheap to dear."""
    found = found.sort_values([cost_name, "error"], kind="stable")
    before = found["error"].cummin().shift(fill_value=np.inf)
    return found[found["error"] < before]


def _kinds(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {"all": found, "piecewise linear": found[~found["method"].isin(NOT_LINEAR)]}


def _frontiers(found: pd.DataFrame) -> str:
    """List who is on the frontiers, and where skrelu is."""
    lines = ["Frontiers, from cheap to dear, the sizes of a family together:"]
    present: dict[str, list[str]] = {}
    curves = found.groupby("curve", sort=False)
    for curve, members in curves:
        for cost_name in COSTS:
            for kind, part in _kinds(members).items():
                place = f"{cost_name}, {kind}"
                best = frontier(part, cost_name).groupby("method", sort=False)["size"]
                line = "; ".join(f"{family} {' | '.join(sizes)}" for family, sizes in best)
                lines.append(f"{curve}, {place}: {line}.")
                present.setdefault(place, [])
                present[place] += [str(curve)] * (OURS in best.groups)
    for place, those in present.items():
        lines.append(f"skrelu is on the frontier of {place}, on {_listed(those, len(curves))}.")
    return _wrapped(lines)


def _beaten(found: pd.DataFrame) -> str:
    """Compare each family with skrelu: in lowest errors, and in all costs at once."""
    lines = ["Lowest MSE over sizes; and fits that another beats in MSE, seconds and parameters:"]
    best = found.groupby(["method", "curve"], sort=False)["error"].min()
    ours = found[found["method"] == OURS]
    for family in found["method"].unique():
        if family == OURS or ours.empty:
            continue
        ratios = best[family] / best[OURS]
        below = _listed(ratios.index[ratios < 1], len(ratios))
        theirs = found[found["method"] == family]
        lines.append(
            f"{family}: lower than skrelu on {below} ({ratios.min():.3g} to {ratios.max():.3g} "
            f"times its MSE); beats {_n_beaten(ours, theirs)} of {len(ours)} fits by skrelu, "
            f"which beats {_n_beaten(theirs, ours)} of {len(theirs)}."
        )
    return _wrapped(lines)


def _n_beaten(found: pd.DataFrame, others: pd.DataFrame) -> int:
    """Return how many another beats: more accurate, faster and smaller on the same curve."""
    pairs = found.reset_index().merge(others, on="curve", suffixes=("", "_of"))
    names = ("error", "seconds", "parameters")
    beaten = np.all([pairs[f"{name}_of"] < pairs[name] for name in names], axis=0)
    return pairs.loc[beaten, "index"].nunique()


def _listed(curves: Iterable[str], n_curves: int) -> str:
    curves = list(curves)
    return "every curve" if len(curves) == n_curves else ", ".join(curves) or "no curve"


def _wrapped(lines: list[str]) -> str:
    return "\n".join(textwrap.fill(line, 95, subsequent_indent="    ") for line in lines)


def _draw(found: pd.DataFrame) -> Figure:
    curves = found.groupby("curve", sort=False)
    size = (2.4 * len(curves), 6.4)
    figure, axes = panels(len(COSTS), len(curves), size, sharex="row", sharey=True)
    for row, cost_name in zip(axes, COSTS, strict=True):
        for axis, (curve, members) in zip(row, curves, strict=True):
            _draw_panel(axis, members, cost_name)
            axis.set(xscale="log", yscale="log", xlabel=cost_name, title=curve)
        row[0].set_ylabel("MSE")
    legend(figure, axes[0, 0], 6, "lower")
    return figure


def _draw_panel(axis: Axes, found: pd.DataFrame, cost_name: str) -> None:
    for (kind, members), line in zip(_kinds(found).items(), ("-", ":"), strict=True):
        part, label = frontier(members, cost_name), f"frontier, {kind}"
        axis.step(part[cost_name], part["error"], line, where="post", color="#8a949e", label=label)
    for family, (color, marker) in STYLES.items():
        part = found[found["method"] == family]
        style = {"color": color, "ms": 8 if marker == "*" else 5, "mew": 0}
        axis.plot(part[cost_name], part["error"], marker, **style, label=family)
