"""Bayesian optimization: the regret of loops with skrelu, Gaussian processes and random search.

Each method begins with the same rows and then evaluates a point at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks._bayesian import Strategy, gaussian_process, minimized
from benchmarks._command import main, named
from benchmarks._data import Array
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._functions import FUNCTIONS, Range
from benchmarks._pictures import legend, panels
from benchmarks._text import Target
from benchmarks.optimum import hartmann
from skrelu import ExponentialReLURegressor

AT, N_REPEATS, EVERY = (30, 60, 120), 5, 5
N_WAVES = 256
EI, RIVAL = "skrelu, EI", "GP, EI"


def hartmann6(*x: Array) -> Array:
    """Return Hartmann's function of six inputs."""
    powers = np.array([
        [10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14],
    ])  # fmt: skip
    centers = 1e-4 * np.array([
        [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
    ])  # fmt: skip
    distances = (powers * (np.stack(x, -1)[..., None, :] - centers) ** 2).sum(-1)
    return -np.exp(-distances) @ np.array([1.0, 1.2, 3.0, 3.2])


def ackley(*x: Array) -> Array:
    """Return Ackley's function."""
    z = np.stack(x, -1)
    waves = np.exp(np.cos(2 * np.pi * z).mean(-1))
    return 20 - 20 * np.exp(-0.2 * np.sqrt((z**2).mean(-1))) + np.e - waves


@dataclass(frozen=True)
class Problem:
    """A function to minimize in a box, and its minimum."""

    value: Callable[..., Array]
    ranges: tuple[Range, ...]
    least: float
    shift: float = 0.0  # most of it, as a fraction of the ranges

    def regret(self, repeat: int) -> Callable[[Array], Array]:
        """Return the function of the unit cube, minus its minimum, shifted by the repeat."""
        low, high = np.transpose(self.ranges)
        rng = np.random.default_rng(repeat)
        shift = self.shift * (high - low) * rng.uniform(-1, 1, len(low))
        return lambda U: self.value(*(low + U * (high - low) - shift).T) - self.least


PROBLEMS = {
    "Branin": Problem(FUNCTIONS["Branin"].value, FUNCTIONS["Branin"].ranges, 0.397887357729),
    "Hartmann-3": Problem(hartmann, ((0.0, 1.0),) * 3, -3.86277978733),
    "Hartmann-6": Problem(hartmann6, ((0.0, 1.0),) * 6, -3.32236801142),
    "Ackley-5": Problem(ackley, ((-32.768, 32.768),) * 5, 0.0, shift=0.25),
}


def skrelu_of(n_inputs: int, seed: int) -> ExponentialReLURegressor:
    """Return periodic waves; their predictions may be lower than all values so far."""
    return ExponentialReLURegressor(
        solver="ridge", n_subnetworks=N_WAVES, extrapolation="linear", random_state=seed
    )


METHODS = {
    EI: Strategy(skrelu_of),
    "skrelu, Thompson": Strategy(skrelu_of, thompson=True),
    RIVAL: Strategy(gaussian_process),
    "GP, Thompson": Strategy(gaussian_process, thompson=True),
    "random": Strategy(),
}
STYLES = dict(zip(METHODS, ("#d1542c-", "#d1542c--", "#2a6ea6-", "#2a6ea6--", "#7a7a7a:"),
                  strict=True))  # fmt: skip
NOTE = """\
Regret: the best value found minus the minimum, after 30, 60 and 120 evaluations; medians and, after
120, the worst of the repeats. s: CPU seconds of a loop of 120 evaluations, median, one thread.
All begin with a Latin hypercube, 2 rows an input and 2 more, the same for all. Values above the
median are replaced by logarithms, for both models. EI: expected improvement, without the noise;
Thompson: the least of a draw, without noise. There are 1000 candidates, half of them around the
best five rows; ten steps of L-BFGS-B follow from the candidate of largest expected improvement.
Models are fitted anew after each evaluation. GP: scikit-learn's Gaussian process, Matern 5/2, a
length for each input, and noise. skrelu: solver="ridge", extrapolation="linear" and
n_subnetworks=256.
Ackley's function is shifted, by another random vector in each repeat. Repeats are seeds from 0
on. The steps of the loop were chosen on other functions: the six-hump camel, Styblinski and
Tang's, four random bumps in six inputs. That periodic waves suit was seen on Branin's function
and Hartmann-6, and that 256 of them do and candidates come as close as 1e-6 also on Branin's
function and Hartmann-3 (the first two repeats)."""


def regret(quick: bool) -> Experiment:
    """Minimize four functions from few evaluations. One core."""
    counts = (10,) if quick else AT
    n_repeats = 1 if quick else N_REPEATS

    def measure(problem: Problem, method: Strategy, repeat: int) -> list[Row]:
        f, n = problem.regret(repeat), len(problem.ranges)
        values, seconds = timed(minimized, f, n, counts[-1], method, repeat)
        best = np.minimum.accumulate(values)
        every = [*range(2 * n + 2, counts[-1], EVERY), counts[-1]]
        return [
            {"evaluations": k, "regret": best[k - 1], "loop_seconds": seconds["cpu_seconds"]}
            for k in sorted({*every, *counts})
        ]

    return Experiment(
        problems={"Branin": PROBLEMS["Branin"]} if quick else PROBLEMS, methods=METHODS,
        measure=measure, scores=("evaluations", "regret", "loop_seconds"), repeats=n_repeats,
        lasting=[RIVAL, "GP, Thompson", "random"], table=table, targets=targets,
        files={"bayesian_regret": lambda rows: table(rows).reset_index()},
        pictures={"bayesian": draw}, note=NOTE,
    )  # fmt: skip


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians of regrets and seconds."""
    last = rows["evaluations"].max()
    counts = [k for k in AT if k < last] + [last]
    at = rows.pivot_table("regret", ["problem", "method"], "evaluations", "median", sort=False)
    frame = at[counts].rename(columns=lambda k: f"at {k}")
    found = rows[rows["evaluations"] == last].groupby(["problem", "method"], sort=False)
    frame["worst"], frame["s"] = found["regret"].max(), found["loop_seconds"].median()
    frame["repeats"] = found["repeat"].nunique()
    return frame


def targets(rows: pd.DataFrame) -> list[Target]:
    """Return on how many problems skrelu is no worse than the Gaussian process."""
    last = rows[rows["evaluations"] == rows["evaluations"].max()]
    regrets = last.pivot_table("regret", "problem", "method", "median")
    no_worse = float((regrets[EI] <= regrets[RIVAL]).sum())
    what = "problems with a regret no larger than that of the Gaussian process"
    return [Target(what, no_worse, 3, at_least=True)]


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the median regret against the number of evaluations."""
    problems = list(rows["problem"].unique())
    figure, axes = panels(1, len(problems), (1 + 3 * len(problems), 3.6))
    for axis, problem in zip(axes.flat, problems, strict=True):
        found = rows[rows["problem"] == problem]
        for method, style in STYLES.items():
            part = found[found["method"] == method].groupby("evaluations")["regret"].median()
            if part.empty:
                continue
            axis.plot(part.index, part, style[7:], color=style[:7], lw=1.6, label=method)
        axis.set(yscale="log", title=problem, xlabel="evaluations")
    axes[0, 0].set_ylabel("regret")
    legend(figure, axes[0, 0])
    return figure


EXPERIMENTS = named(regret)

if __name__ == "__main__":
    main("bayesian", __doc__ or "", EXPERIMENTS)
