"""Functions on which regression and surrogate models are commonly tried.

Formulas and ranges of the last two groups after Surjanovic and Bingham, "Virtual Library of
Simulation Experiments", https://www.sfu.ca/~ssurjano; friedman1 to 3 as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.functions._function import Array, Function, Range

UNIT = (0.0, 1.0)


def _friedman1(a: Array, b: Array, c: Array, d: Array, e: Array, *unused: Array) -> Array:
    return 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e


FRIEDMAN_RANGES = ((0.0, 100.0), (40 * np.pi, 560 * np.pi), UNIT, (1.0, 11.0))
FRIEDMAN = [
    Function("friedman1", "Friedman", (UNIT,) * 10, _friedman1),
    Function(
        "friedman2",
        "Friedman",
        FRIEDMAN_RANGES,
        lambda a, b, c, d: np.hypot(a, b * c - 1 / (b * d)),
    ),
    Function(
        "friedman3",
        "Friedman",
        FRIEDMAN_RANGES,
        lambda a, b, c, d: np.arctan((b * c - 1 / (b * d)) / a),
    ),
]


def _one(name: str, value: Callable[[Array], Array], low: float, high: float) -> Function:
    return Function(name, "one input", ((low, high),), value)


ONE_INPUT = [
    _one("sin(pi x/2)", lambda x: np.sin(np.pi * x / 2), -1, 1),
    _one("sin(6 pi x)", lambda x: np.sin(6 * np.pi * x), 0, 1),
    _one("Runge", lambda x: 1 / (1 + 25 * x**2), -1, 1),
    _one("Forrester", lambda x: (6 * x - 2) ** 2 * np.sin(12 * x - 4), 0, 1),
    _one("Gramacy-Lee", lambda x: np.sin(10 * np.pi * x) / (2 * x) + (x - 1) ** 4, 0.5, 2.5),
]


def _two(name: str, value: Callable[[Array, Array], Array], *ranges: Range) -> Function:
    return Function(name, "two inputs", ranges, value)


def _branin(x: Array, y: Array) -> Array:
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def _franke(x: Array, y: Array) -> Array:
    x, y = 9 * x, 9 * y
    return (
        0.75 * np.exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4)
        + 0.75 * np.exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
        + 0.5 * np.exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4)
        - 0.2 * np.exp(-((x - 4) ** 2) - (y - 7) ** 2)
    )


def _camel(x: Array, y: Array) -> Array:
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2


def _peaks(x: Array, y: Array) -> Array:
    """Return what Matlab calls peaks."""
    return (
        3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2)
        - 10 * (x / 5 - x**3 - y**5) * np.exp(-(x**2) - y**2)
        - np.exp(-((x + 1) ** 2) - y**2) / 3
    )


TWO_INPUTS = [
    _two("Branin", _branin, (-5.0, 10.0), (0.0, 15.0)),
    _two("Franke", _franke, UNIT, UNIT),
    _two(
        "Rosenbrock",
        lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2,
        *((-2.0, 2.0), (-2.0, 2.0)),
    ),
    _two("six-hump camel", _camel, (-3.0, 3.0), (-2.0, 2.0)),
    _two("peaks", _peaks, (-3.0, 3.0), (-3.0, 3.0)),
    _two("r^3", lambda x, y: np.hypot(x, y) ** 3, (-1.0, 1.0), (-1.0, 1.0)),
    _two("x*y", lambda x, y: x * y, (-1.0, 1.0), (-1.0, 1.0)),
]


def _ishigami(x: Array, y: Array, z: Array) -> Array:
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x)


def _borehole(
    rw: Array, r: Array, Tu: Array, Hu: Array, Tl: Array, Hl: Array, L: Array, Kw: Array
) -> Array:
    log = np.log(r / rw)
    return 2 * np.pi * Tu * (Hu - Hl) / (log + 2 * L * Tu / (rw**2 * Kw) + Tu / Tl * log)


def _otl_circuit(Rb1: Array, Rb2: Array, Rf: Array, Rc1: Array, Rc2: Array, beta: Array) -> Array:
    Vb1, gain = 12 * Rb2 / (Rb1 + Rb2), beta * (Rc2 + 9)
    return ((Vb1 + 0.74) * gain + 11.35 * Rf + 0.74 * Rf * gain / Rc1) / (gain + Rf)


def _piston(M: Array, S: Array, V0: Array, k: Array, P0: Array, Ta: Array, T0: Array) -> Array:
    A = P0 * S + 19.62 * M - k * V0 / S
    pressure = P0 * V0 / T0 * Ta
    V = S / (2 * k) * (np.sqrt(A**2 + 4 * k * pressure) - A)
    return 2 * np.pi * np.sqrt(M / (k + S**2 * pressure / V**2))


def _wing_weight(  # noqa: PLR0913
    Sw: Array,
    Wfw: Array,
    A: Array,
    sweep: Array,
    q: Array,
    taper: Array,
    tc: Array,
    Nz: Array,
    Wdg: Array,
    Wp: Array,
) -> Array:
    cos = np.cos(np.radians(sweep))
    shape = (A / cos**2) ** 0.6 * taper**0.04 * (100 * tc / cos) ** -0.3
    return 0.036 * Sw**0.758 * Wfw**0.0035 * q**0.006 * shape * (Nz * Wdg) ** 0.49 + Sw * Wp


SEVERAL_INPUTS = [
    Function("Ishigami", "several inputs", ((-np.pi, np.pi),) * 3, _ishigami),
    Function(
        "OTL circuit",
        "several inputs",
        ((50.0, 150.0), (25.0, 70.0), (0.5, 3.0), (1.2, 2.5), (0.25, 1.2), (50.0, 300.0)),
        _otl_circuit,
    ),
    Function(
        "piston",
        "several inputs",
        (
            *((30.0, 60.0), (0.005, 0.02), (0.002, 0.01), (1000.0, 5000.0)),
            *((90_000.0, 110_000.0), (290.0, 296.0), (340.0, 360.0)),
        ),
        _piston,
    ),
    Function(
        "borehole",
        "several inputs",
        (
            *((0.05, 0.15), (100.0, 50_000.0), (63_070.0, 115_600.0), (990.0, 1110.0)),
            *((63.1, 116.0), (700.0, 820.0), (1120.0, 1680.0), (9855.0, 12_045.0)),
        ),
        _borehole,
    ),
    Function(
        "wing weight",
        "several inputs",
        (
            *((150.0, 200.0), (220.0, 300.0), (6.0, 10.0), (-10.0, 10.0), (16.0, 45.0)),
            *((0.5, 1.0), (0.08, 0.18), (2.5, 6.0), (1700.0, 2500.0), (0.025, 0.08)),
        ),
        _wing_weight,
    ),
]
