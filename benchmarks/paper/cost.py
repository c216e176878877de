"""Seconds and parameters against error, beside what else fits a curve of one variable."""

from __future__ import annotations

import textwrap
import time
import warnings
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks._report import ROOT, table
from benchmarks.paper._curves import DEPTH_CURVES, PAPER_CURVES, Curve, grid
from benchmarks.paper._peers import Method, methods
from benchmarks.paper._results import save_table

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
    "skrelu": ("#d1542c", "o"),
}
NOTE = """\
500 points on [0, 1] without noise; MSE on 20001, below 1e-17 not told apart; one thread;
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


@dataclass(frozen=True)
class Result:
    """A method on a curve: medians over the seeds, and the range of the MSE."""

    method: Method
    curve: str
    parameters: int
    seconds: float
    mse: float
    mse_min: float
    mse_max: float

    @property
    def error(self) -> float:
        """MSE as far as it is not rounding."""
        return max(self.mse, ROUNDING)

    def beats(self, other: Result) -> bool:
        """Whether it is more accurate, faster and smaller on the same curve."""
        return (
            self.curve == other.curve
            and self.error < other.error
            and self.seconds < other.seconds
            and self.parameters < other.parameters
        )


def cost(quick: bool) -> str:
    """Fit curves by skrelu and its peers at several sizes, and find the frontiers."""
    chosen = [method for method in methods() if not quick or method.n_seeds == 5]
    missing = {method.family: method.requires for method in chosen if not method.is_installed()}
    curves = [CURVES[0], CURVES[-1]] if quick else CURVES
    with threadpool_limits(1):
        results = [
            _measure(method, curve, min(method.n_seeds, 2) if quick else method.n_seeds)
            for method in chosen
            if method.family not in missing
            for curve in curves
        ]
    if not quick:
        _save(results)
    parts = [_errors(results, missing), NOTE, _frontiers(results), _verdicts(results)]
    return "\n\n".join(parts)


def _measure(method: Method, curve: Curve, n_seeds: int) -> Result:
    x, dense = grid(500)[:, 0], grid(20_001)[:, 0]
    y, expected = curve.value(x), curve.value(dense)
    seconds, mse = [], []
    for seed in range(n_seeds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = time.perf_counter()
            predict, n_parameters = method.fit(x, y, seed)
            seconds.append(time.perf_counter() - begin)
        mse.append(np.mean((predict(dense) - expected) ** 2))
    statistics = np.median(seconds), np.median(mse), np.min(mse), np.max(mse)
    return Result(method, curve.name, n_parameters, *map(float, statistics))


def _by_curve(results: list[Result]) -> dict[str, list[Result]]:
    curves = dict.fromkeys(result.curve for result in results)
    return {curve: [result for result in results if result.curve == curve] for curve in curves}


def _errors(results: list[Result], missing: dict[str, str]) -> str:
    curves = list(_by_curve(results))
    rows: list[list] = []
    for method, group in groupby(results, key=lambda result: result.method):
        found = list(group)
        seconds = float(np.median([result.seconds for result in found]))
        rows.append([method.family, method.size, found[0].parameters, seconds])
        rows[-1] += [result.mse for result in found]
    for family, requires in missing.items():
        rows.append(
            [family, f"not installed (pip install {requires})", *[None] * (2 + len(curves))]
        )
    return table(["MSE", "size", "parameters", "s", *curves], rows)


def frontier(results: list[Result], cost_name: str) -> list[Result]:
    """Return the results that nothing as cheap meets in accuracy, from cheap to dear."""
    kept: list[Result] = []
    for result in sorted(results, key=lambda result: (getattr(result, cost_name), result.error)):
        if not kept or result.error < kept[-1].error:
            kept.append(result)
    return kept


def _kinds(results: list[Result]) -> dict[str, list[Result]]:
    linear = [result for result in results if result.method.piecewise_linear]
    return {"all": results, "piecewise linear": linear}


def _frontiers(results: list[Result]) -> str:
    """List who is on the frontiers, and where skrelu is."""
    lines = ["Frontiers, from cheap to dear, the sizes of a family together:"]
    present: dict[str, list[str]] = {}
    curves = _by_curve(results)
    for curve, found in curves.items():
        for cost_name in COSTS:
            for kind, members in _kinds(found).items():
                place, sizes = f"{cost_name}, {kind}", {}
                for result in frontier(members, cost_name):
                    sizes.setdefault(result.method.family, []).append(result.method.size)
                line = "; ".join(f"{family} {' | '.join(part)}" for family, part in sizes.items())
                lines.append(f"{curve}, {place}: {line}.")
                present.setdefault(place, [])
                present[place] += [curve] * ("skrelu" in sizes)
    for place, those in present.items():
        lines.append(f"skrelu is on the frontier of {place}, on {_listed(those, len(curves))}.")
    return _wrapped(lines)


def _verdicts(results: list[Result]) -> str:
    """Compare each family with skrelu: in lowest errors, and in all costs at once."""
    lines = ["Lowest MSE over sizes; and fits that another beats in MSE, seconds and parameters:"]
    ours = [result for result in results if result.method.family == "skrelu"]
    best = {curve: min(r.error for r in found) for curve, found in _by_curve(ours).items()}
    for family in dict.fromkeys(result.method.family for result in results):
        if family == "skrelu":
            continue
        theirs = [result for result in results if result.method.family == family]
        ratios = {
            curve: min(result.error for result in found) / best[curve]
            for curve, found in _by_curve(theirs).items()
        }
        below = _listed([curve for curve, ratio in ratios.items() if ratio < 1], len(best))
        lines.append(
            f"{family}: lower than skrelu on {below} ({min(ratios.values()):.3g} to "
            f"{max(ratios.values()):.3g} times its MSE); beats {_n_beaten(ours, theirs)} of "
            f"{len(ours)} fits by skrelu, which beats {_n_beaten(theirs, ours)} of {len(theirs)}."
        )
    return _wrapped(lines)


def _n_beaten(results: list[Result], others: list[Result]) -> int:
    return sum(any(other.beats(result) for other in others) for result in results)


def _listed(curves: list[str], n_curves: int) -> str:
    return "every curve" if len(curves) == n_curves else ", ".join(curves) or "no curve"


def _wrapped(lines: list[str]) -> str:
    return "\n".join(textwrap.fill(line, 95, subsequent_indent="    ") for line in lines)


def _save(results: list[Result]) -> None:
    """Write docs/tables/paper_cost.csv and docs/images/paper_cost.png."""
    header = ["curve", "parameters", "seconds", "mse", "mse_min", "mse_max"]
    rows = [
        [result.method.family, result.method.size, *(getattr(result, name) for name in header)]
        for result in results
    ]
    save_table("cost", ["method", "size", *header], rows)
    curves = _by_curve(results)
    figure = Figure(figsize=(2.4 * len(curves), 6.4), layout="constrained")
    axes = figure.subplots(len(COSTS), len(curves), sharex="row", sharey=True, squeeze=False)
    for row, cost_name in zip(axes, COSTS, strict=True):
        for axis, (curve, found) in zip(row, curves.items(), strict=True):
            _draw_panel(axis, found, cost_name)
            axis.set(xscale="log", yscale="log", xlabel=cost_name, title=curve)
        row[0].set_ylabel("MSE")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(ROOT / "docs" / "images" / "paper_cost.png", dpi=110)


def _draw_panel(axis: Axes, results: list[Result], cost_name: str) -> None:
    for (kind, members), style in zip(_kinds(results).items(), ("-", ":"), strict=True):
        line = _points(frontier(members, cost_name), cost_name)
        axis.step(*line, style, where="post", color="#8a949e", label=f"frontier, {kind}")
    for family, (color, marker) in STYLES.items():
        members = [result for result in results if result.method.family == family]
        size = 8 if marker == "*" else 5
        axis.plot(*_points(members, cost_name), marker, color=color, ms=size, mew=0, label=family)
    axis.grid(color="#e6e9ec")
    axis.set_axisbelow(True)


def _points(results: list[Result], cost_name: str) -> tuple[list[float], list[float]]:
    return [getattr(result, cost_name) for result in results], [r.error for r in results]
