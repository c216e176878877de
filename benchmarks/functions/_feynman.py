"""Physics from the Feynman lectures: the 27 formulas of the KAN paper's table.

Numbers are those of the lectures' equations, as in AI Feynman's data base (Udrescu and Tegmark,
"AI Feynman: a Physics-Inspired Method for Symbolic Regression", 2020,
https://arxiv.org/abs/1905.11481), or as in the KAN paper (Liu et al., "KAN: Kolmogorov-Arnold
Networks", 2024, https://arxiv.org/abs/2404.19756) where the two differ. The inputs have their
dimensions, unlike the paper's, and the ranges of `kan.feynman`. Some of these touch what is not
smooth: a corner at which I.15.3x has a pole, near kinks of I.26.2, the tips of the cones in
I.29.16, II.6.15a and III.10.19.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.functions._function import Array, Function, Range

UNIT, SIGNED, POSITIVE, ANGLE = (0.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (0.0, 2 * np.pi)


def _feynman(name: str, value: Callable[..., Array], *ranges: Range) -> Function:
    return Function(name, "Feynman", ranges, value)


def _gaussian(distance: Array, sigma: Array) -> Array:
    return np.exp(-((distance / sigma) ** 2) / 2) / (np.sqrt(2 * np.pi) * sigma)


FEYNMAN = [
    _feynman("I.6.2", _gaussian, SIGNED, POSITIVE),  # "I.6.20" in the data base
    _feynman(
        "I.6.2b",  # "I.6.20b"
        lambda theta, theta1, sigma: _gaussian(theta - theta1, sigma),
        *((-1.5, 1.5), (-1.5, 1.5), POSITIVE),
    ),
    _feynman(
        "I.9.18",
        lambda G, m1, m2, x1, x2, y1, y2, z1, z2: (
            G * m1 * m2 / ((x2 - x1) ** 2 + (y2 - y1) ** 2 + (z2 - z1) ** 2)
        ),
        *((SIGNED,) * 3 + ((-1.0, -0.5), (0.5, 1.0)) * 3),
    ),
    _feynman(
        "I.12.11",
        lambda q, E, B, v, theta: q * (E + B * v * np.sin(theta)),
        *(SIGNED, SIGNED, SIGNED, SIGNED, ANGLE),
    ),
    _feynman(
        "I.13.12",
        lambda G, m1, m2, r1, r2: G * m1 * m2 * (1 / r2 - 1 / r1),
        *(UNIT, UNIT, UNIT, POSITIVE, POSITIVE),
    ),
    _feynman(
        "I.15.3x",
        lambda x, u, t, c: (x - u * t) / np.sqrt(1 - u**2 / c**2),
        *(SIGNED, SIGNED, SIGNED, (1.0, 2.0)),
    ),
    _feynman(
        "I.16.6",  # kan.feynman has u * v in the numerator
        lambda u, v, c: (u + v) / (1 + u * v / c**2),
        *((-0.8, 0.8), (-0.8, 0.8), (1.0, 2.0)),
    ),
    _feynman(
        "I.18.4",
        lambda m1, r1, m2, r2: (m1 * r1 + m2 * r2) / (m1 + m2),
        *((0.5, 1.0), SIGNED, (0.5, 1.0), SIGNED),
    ),
    _feynman("I.26.2", lambda n, theta: np.arcsin(n * np.sin(theta)), (0.0, 0.99), ANGLE),
    _feynman(
        "I.27.6",
        lambda d1, d2, n: 1 / (1 / d1 + n / d2),
        *(POSITIVE, (1.0, 2.0), POSITIVE),
    ),
    _feynman(
        "I.29.16",
        lambda x1, x2, theta1, theta2: np.hypot(
            x1 - x2 * np.cos(theta1 - theta2), x2 * np.sin(theta1 - theta2)
        ),
        *(SIGNED, SIGNED, ANGLE, ANGLE),
    ),
    _feynman(
        "I.30.3",
        lambda I0, n, theta: I0 * np.sin(n * theta / 2) ** 2 / np.sin(theta / 2) ** 2,
        *(UNIT, (0.0, 4.0), (0.4 * np.pi, 1.6 * np.pi)),
    ),
    _feynman(
        "I.30.5",
        lambda wavelength, n, d: np.arcsin(wavelength / (n * d)),
        *(SIGNED, (1.0, 1.5), (1.0, 1.5)),
    ),
    _feynman(
        "I.37.4",
        lambda I1, I2, delta: I1 + I2 + 2 * np.sqrt(I1 * I2) * np.cos(delta),
        *((0.1, 1.0), (0.1, 1.0), ANGLE),
    ),
    _feynman(
        "I.40.1",
        lambda n0, m, g, x, k, T: n0 * np.exp(-m * g * x / (k * T)),
        *(UNIT, SIGNED, SIGNED, SIGNED, (1.0, 2.0), (1.0, 2.0)),
    ),
    _feynman(
        "I.44.4",
        lambda n, k, T, V1, V2: n * k * T * np.log(V2 / V1),
        *(UNIT, UNIT, UNIT, POSITIVE, POSITIVE),
    ),
    _feynman(
        "I.50.26",
        lambda x1, alpha, omega, t: x1 * (np.cos(omega * t) + alpha * np.cos(omega * t) ** 2),
        *(UNIT, UNIT, ANGLE, UNIT),
    ),
    _feynman(
        "II.2.42",
        lambda kappa, T1, T2, A, d: kappa * (T2 - T1) * A / d,
        *(UNIT, UNIT, UNIT, UNIT, POSITIVE),
    ),
    _feynman(
        "II.6.15a",
        lambda eps, p, z, x, y, r: 3 / (4 * np.pi * eps) * p * z / r**5 * np.hypot(x, y),
        *(POSITIVE, UNIT, UNIT, UNIT, UNIT, POSITIVE),
    ),
    _feynman(
        "II.11.7",  # "II.11.17" in the data base
        lambda n0, p, E, theta, k, T: n0 * (1 + p * E * np.cos(theta) / (k * T)),
        *(UNIT, SIGNED, SIGNED, ANGLE, POSITIVE, POSITIVE),
    ),
    _feynman(
        "II.11.27",
        lambda n, alpha, eps, E: n * alpha / (1 - n * alpha / 3) * eps * E,
        *(UNIT, (0.0, 2.0), UNIT, UNIT),
    ),
    _feynman(
        "II.35.18",
        lambda n0, mu, B, k, T: n0 / (2 * np.cosh(mu * B / (k * T))),
        *(UNIT, UNIT, UNIT, POSITIVE, POSITIVE),
    ),
    _feynman(
        "II.36.38",
        lambda mu, B, k, T, alpha, M, eps, c: (
            mu * B / (k * T) + mu * alpha * M / (eps * c**2 * k * T)
        ),
        *(UNIT, UNIT, POSITIVE, POSITIVE, UNIT, UNIT, POSITIVE, POSITIVE),
    ),
    _feynman("II.38.3", lambda Y, A, x, d: Y * A * x / d, UNIT, UNIT, UNIT, POSITIVE),
    _feynman(
        "III.9.52",  # numpy's sinc(u) is sin(pi u) / (pi u), and 1 at 0, where omega is omega0
        lambda p, E, t, hbar, omega, omega0: (
            p * E * t / hbar * np.sinc((omega - omega0) * t / (2 * np.pi)) ** 2
        ),
        *(UNIT, UNIT, UNIT, POSITIVE, (0.0, np.pi), (0.0, np.pi)),
    ),
    _feynman(
        "III.10.19",
        lambda mu, Bx, By, Bz: mu * np.sqrt(Bx**2 + By**2 + Bz**2),
        *(UNIT, UNIT, UNIT, UNIT),
    ),
    _feynman(
        "III.17.37",
        lambda beta, alpha, theta: beta * (1 + alpha * np.cos(theta)),
        *(UNIT, UNIT, ANGLE),
    ),
]
