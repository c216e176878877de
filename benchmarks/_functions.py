"""62 smooth functions of one to ten inputs on boxes, by name, a group after the other.

- Friedman: friedman1 to 3 as in scikit-learn.
- Feynman: the 27 formulas of physics of the KAN paper's table (Liu et al., "KAN: Kolmogorov-Arnold
  Networks", 2024, https://arxiv.org/abs/2404.19756). Numbers are those of the lectures' equations,
  as in AI Feynman's data base (Udrescu and Tegmark, "AI Feynman: a Physics-Inspired Method for
  Symbolic Regression", 2020, https://arxiv.org/abs/1905.11481), or as in the KAN paper where the
  two differ. The inputs have their dimensions, unlike the paper's, and the ranges of `kan.feynman`.
  Some of these touch what is not smooth: a corner at which I.15.3x has a pole, near kinks of
  I.26.2, the tips of the cones in I.29.16, II.6.15a and III.10.19.
- special: the 15 special functions of two variables of the KAN paper's table, from scipy. The
  ranges are our own and keep clear of what is singular: the Bessel functions at x = 0, the Legendre
  functions of real degree at x = -1 and the elliptic integrals at m = 1.
- one input, two inputs, several inputs: on which surrogate models are commonly tried. Formulas and
  ranges of the last two after Surjanovic and Bingham, "Virtual Library of Simulation Experiments",
  https://www.sfu.ca/~ssurjano.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np
from numpy import arcsin, arctan, cos, cosh, exp, hypot, log, pi, sin, sqrt
from scipy import special

from benchmarks._data import Array

Range = tuple[float, float]
U, S, P, A = (0.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (0.0, 2 * pi)  # unit, signed, positive, angle
H, V = (0.5, 1.0), (1.0, 2.0)


@dataclass(frozen=True)
class Rows:
    """Rows to learn from, perhaps with noise in y, and rows to test on, without."""

    X: Array
    y: Array
    X_test: Array
    y_test: Array

    def error(self, predict: Callable[[Array], Array]) -> float:
        """Return the test RMSE relative to the standard deviation of the true values."""
        residual = predict(self.X_test) - self.y_test
        return float(np.sqrt(np.mean(residual**2)) / self.y_test.std())


@dataclass(frozen=True)
class Function:
    """A function of inputs in `ranges`; ``value`` takes an array for each of them."""

    name: str
    group: str
    value: Callable[..., Array]
    ranges: tuple[Range, ...]

    def rows(self, n_train: int, n_test: int, noise: float = 0.0) -> Rows:
        """Draw rows uniformly in the ranges, the same ones in every call.

        Noise in the training targets is relative to their standard deviation.
        """
        rng = np.random.default_rng(crc32(self.name.encode()))
        low, high = np.transpose(self.ranges)
        X = rng.uniform(low, high, (n_train + n_test, len(low)))
        y = self.value(*X.T)
        train, test = y[:n_train], y[n_train:]
        noisy = train + noise * train.std() * rng.standard_normal(n_train)
        return Rows(X[:n_train], noisy, X[n_train:], test)


def _bell(distance, sigma):
    return exp(-((distance / sigma) ** 2) / 2) / (sqrt(2 * pi) * sigma)


def _spherical_harmonic(azimuth, polar, m: int, n: int):
    """Return the real part of Y_n^m, which scipy has under another name since its version 1.15."""
    factor = (2 * n + 1) / (4 * pi) * special.factorial(n - m) / special.factorial(n + m)
    return sqrt(factor) * special.lpmv(m, n, cos(polar)) * cos(m * azimuth)


def _branin(x, y):
    valley = y - 5.1 / (4 * pi**2) * x**2 + 5 / pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * pi)) * cos(x) + 10


def _franke(x, y):
    x, y = 9 * x, 9 * y
    return (
        0.75 * exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4)
        + 0.75 * exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
        + 0.5 * exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4)
        - 0.2 * exp(-((x - 4) ** 2) - (y - 7) ** 2)
    )


def _peaks(x, y):
    """Return what Matlab calls peaks."""
    return (
        3 * (1 - x) ** 2 * exp(-(x**2) - (y + 1) ** 2)
        - 10 * (x / 5 - x**3 - y**5) * exp(-(x**2) - y**2)
        - exp(-((x + 1) ** 2) - y**2) / 3
    )


def _otl_circuit(Rb1, Rb2, Rf, Rc1, Rc2, beta):
    Vb1, gain = 12 * Rb2 / (Rb1 + Rb2), beta * (Rc2 + 9)
    return ((Vb1 + 0.74) * gain + 11.35 * Rf + 0.74 * Rf * gain / Rc1) / (gain + Rf)


def _piston(M, S, V0, k, P0, Ta, T0):
    A = P0 * S + 19.62 * M - k * V0 / S
    pressure = P0 * V0 / T0 * Ta
    V = S / (2 * k) * (sqrt(A**2 + 4 * k * pressure) - A)
    return 2 * pi * sqrt(M / (k + S**2 * pressure / V**2))


def _borehole(rw, r, Tu, Hu, Tl, Hl, L, Kw):
    ratio = log(r / rw)
    return 2 * pi * Tu * (Hu - Hl) / (ratio + 2 * L * Tu / (rw**2 * Kw) + Tu / Tl * ratio)


def _wing_weight(*inputs):
    Sw, Wfw, A, sweep, q, taper, tc, Nz, Wdg, Wp = inputs
    cosine = cos(np.radians(sweep))
    shape = (A / cosine**2) ** 0.6 * taper**0.04 * (100 * tc / cosine) ** -0.3
    return 0.036 * Sw**0.758 * Wfw**0.0035 * q**0.006 * shape * (Nz * Wdg) ** 0.49 + Sw * Wp


FRIEDMAN = ((0.0, 100.0), (40 * pi, 560 * pi), U, (1.0, 11.0))
BOXES = ((-1.0, -0.5), (0.5, 1.0)) * 3
# fmt: off
GROUPS = {
    "Friedman": {
        "friedman1": (lambda a, b, c, d, e, *unused:
                      10 * sin(pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e, *[U] * 10),
        "friedman2": (lambda a, b, c, d: hypot(a, b * c - 1 / (b * d)), *FRIEDMAN),
        "friedman3": (lambda a, b, c, d: arctan((b * c - 1 / (b * d)) / a), *FRIEDMAN),
    },
    "Feynman": {
        "I.6.2": (_bell, S, P),  # "I.6.20" in the data base
        "I.6.2b": (lambda t, t1, sigma: _bell(t - t1, sigma), (-1.5, 1.5), (-1.5, 1.5), P),
        "I.9.18": (lambda G, m1, m2, x1, x2, y1, y2, z1, z2:
                   G * m1 * m2 / ((x2 - x1) ** 2 + (y2 - y1) ** 2 + (z2 - z1) ** 2),
                   S, S, S, *BOXES),
        "I.12.11": (lambda q, E, B, v, theta: q * (E + B * v * sin(theta)), S, S, S, S, A),
        "I.13.12": (lambda G, m1, m2, r1, r2: G * m1 * m2 * (1 / r2 - 1 / r1), U, U, U, P, P),
        "I.15.3x": (lambda x, u, t, c: (x - u * t) / sqrt(1 - u**2 / c**2), S, S, S, V),
        # kan.feynman has u * v in the numerator
        "I.16.6": (lambda u, v, c: (u + v) / (1 + u * v / c**2), (-0.8, 0.8), (-0.8, 0.8), V),
        "I.18.4": (lambda m1, r1, m2, r2: (m1 * r1 + m2 * r2) / (m1 + m2), H, S, H, S),
        "I.26.2": (lambda n, theta: arcsin(n * sin(theta)), (0.0, 0.99), A),
        "I.27.6": (lambda d1, d2, n: 1 / (1 / d1 + n / d2), P, V, P),
        "I.29.16": (lambda x1, x2, t1, t2: hypot(x1 - x2 * cos(t1 - t2), x2 * sin(t1 - t2)),
                    S, S, A, A),
        "I.30.3": (lambda I0, n, theta: I0 * sin(n * theta / 2) ** 2 / sin(theta / 2) ** 2,
                   U, (0.0, 4.0), (0.4 * pi, 1.6 * pi)),
        "I.30.5": (lambda w, n, d: arcsin(w / (n * d)), S, (1.0, 1.5), (1.0, 1.5)),
        "I.37.4": (lambda I1, I2, delta: I1 + I2 + 2 * sqrt(I1 * I2) * cos(delta),
                   (0.1, 1.0), (0.1, 1.0), A),
        "I.40.1": (lambda n0, m, g, x, k, T: n0 * exp(-m * g * x / (k * T)), U, S, S, S, V, V),
        "I.44.4": (lambda n, k, T, V1, V2: n * k * T * log(V2 / V1), U, U, U, P, P),
        "I.50.26": (lambda x1, alpha, omega, t:
                    x1 * (cos(omega * t) + alpha * cos(omega * t) ** 2), U, U, A, U),
        "II.2.42": (lambda kappa, T1, T2, a, d: kappa * (T2 - T1) * a / d, U, U, U, U, P),
        "II.6.15a": (lambda eps, p, z, x, y, r: 3 / (4 * pi * eps) * p * z / r**5 * hypot(x, y),
                     P, U, U, U, U, P),
        "II.11.7": (lambda n0, p, E, theta, k, T: n0 * (1 + p * E * cos(theta) / (k * T)),
                    U, S, S, A, P, P),  # "II.11.17" in the data base
        "II.11.27": (lambda n, alpha, eps, E: n * alpha / (1 - n * alpha / 3) * eps * E,
                     U, (0.0, 2.0), U, U),
        "II.35.18": (lambda n0, mu, B, k, T: n0 / (2 * cosh(mu * B / (k * T))), U, U, U, P, P),
        "II.36.38": (lambda mu, B, k, T, alpha, M, eps, c:
                     mu * B / (k * T) + mu * alpha * M / (eps * c**2 * k * T),
                     U, U, P, P, U, U, P, P),
        "II.38.3": (lambda Y, a, x, d: Y * a * x / d, U, U, U, P),
        # numpy's sinc(u) is sin(pi u) / (pi u), and 1 at 0, where omega is omega0
        "III.9.52": (lambda p, E, t, hbar, omega, omega0:
                     p * E * t / hbar * np.sinc((omega - omega0) * t / (2 * pi)) ** 2,
                     U, U, U, P, (0.0, pi), (0.0, pi)),
        "III.10.19": (lambda mu, Bx, By, Bz: mu * sqrt(Bx**2 + By**2 + Bz**2), U, U, U, U),
        "III.17.37": (lambda beta, alpha, theta: beta * (1 + alpha * cos(theta)), U, U, A),
    },
    "special": {
        "ellipj": (lambda u, m: special.ellipj(u, m)[0], (0.0, 6.0), (0.0, 0.95)),
        "ellipkinc": (special.ellipkinc, (0.0, pi / 2), (0.0, 0.9)),
        "ellipeinc": (special.ellipeinc, (0.0, pi / 2), (0.0, 0.9)),
        "jv": (special.jv, (0.0, 5.0), (0.5, 10.0)),
        "yv": (special.yv, (0.0, 2.0), (1.0, 10.0)),
        "kv": (special.kv, (0.0, 3.0), (1.0, 5.0)),
        "iv": (special.iv, (0.0, 3.0), (0.5, 5.0)),
        **{f"lpmv, m={m}": (partial(special.lpmv, m), (0.0, 4.0), (-0.9, 0.9)) for m in (0, 1, 2)},
        **{f"sph_harm, m={m}, n={n}": (partial(_spherical_harmonic, m=m, n=n), A, (0.0, pi))
           for m, n in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2))},
    },
    "one input": {
        "sin(pi x/2)": (lambda x: sin(pi * x / 2), (-1, 1)),
        "sin(6 pi x)": (lambda x: sin(6 * pi * x), (0, 1)),
        "Runge": (lambda x: 1 / (1 + 25 * x**2), (-1, 1)),
        "Forrester": (lambda x: (6 * x - 2) ** 2 * sin(12 * x - 4), (0, 1)),
        "Gramacy-Lee": (lambda x: sin(10 * pi * x) / (2 * x) + (x - 1) ** 4, (0.5, 2.5)),
    },
    "two inputs": {
        "Branin": (_branin, (-5.0, 10.0), (0.0, 15.0)),
        "Franke": (_franke, U, U),
        "Rosenbrock": (lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2, *[(-2.0, 2.0)] * 2),
        "six-hump camel": (
            lambda x, y: (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2,
            (-3.0, 3.0), (-2.0, 2.0)),
        "peaks": (_peaks, (-3.0, 3.0), (-3.0, 3.0)),
        "r^3": (lambda x, y: hypot(x, y) ** 3, S, S),
        "x*y": (lambda x, y: x * y, S, S),
    },
    "several inputs": {
        "Ishigami": (lambda x, y, z: sin(x) + 7 * sin(y) ** 2 + 0.1 * z**4 * sin(x),
                     *[(-pi, pi)] * 3),
        "OTL circuit": (_otl_circuit, (50.0, 150.0), (25.0, 70.0), (0.5, 3.0), (1.2, 2.5),
                        (0.25, 1.2), (50.0, 300.0)),
        "piston": (_piston, (30.0, 60.0), (0.005, 0.02), (0.002, 0.01), (1000.0, 5000.0),
                   (90_000.0, 110_000.0), (290.0, 296.0), (340.0, 360.0)),
        "borehole": (_borehole, (0.05, 0.15), (100.0, 50_000.0), (63_070.0, 115_600.0),
                     (990.0, 1110.0), (63.1, 116.0), (700.0, 820.0), (1120.0, 1680.0),
                     (9855.0, 12_045.0)),
        "wing weight": (_wing_weight, (150.0, 200.0), (220.0, 300.0), (6.0, 10.0), (-10.0, 10.0),
                        (16.0, 45.0), (0.5, 1.0), (0.08, 0.18), (2.5, 6.0), (1700.0, 2500.0),
                        (0.025, 0.08)),
    },
}
# fmt: on
FUNCTIONS = {
    name: Function(name, group, value, ranges)
    for group, members in GROUPS.items()
    for name, (value, *ranges) in members.items()
}
