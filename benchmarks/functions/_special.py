"""Special functions of two variables: the 15 of the KAN paper's table, from scipy.

The ranges are our own and keep clear of what is singular: the Bessel functions at x = 0, the
Legendre functions of real degree at x = -1 and the elliptic integrals at m = 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import special

from benchmarks.functions._function import Array, Function

GROUP = "special"


def _jacobi_sn(u: Array, m: Array) -> Array:
    return special.ellipj(u, m)[0]


def _spherical_harmonic(azimuth: Array, polar: Array, m: int, n: int) -> Array:
    """Return the real part of Y_n^m.

    scipy has it under another name and with other arguments since its version 1.15.
    """
    factor = (2 * n + 1) / (4 * np.pi) * special.factorial(n - m) / special.factorial(n + m)
    return np.sqrt(factor) * special.lpmv(m, n, np.cos(polar)) * np.cos(m * azimuth)


SPECIAL = [
    Function("ellipj", GROUP, ((0.0, 6.0), (0.0, 0.95)), _jacobi_sn),
    Function("ellipkinc", GROUP, ((0.0, np.pi / 2), (0.0, 0.9)), special.ellipkinc),
    Function("ellipeinc", GROUP, ((0.0, np.pi / 2), (0.0, 0.9)), special.ellipeinc),
    Function("jv", GROUP, ((0.0, 5.0), (0.5, 10.0)), special.jv),
    Function("yv", GROUP, ((0.0, 2.0), (1.0, 10.0)), special.yv),
    Function("kv", GROUP, ((0.0, 3.0), (1.0, 5.0)), special.kv),
    Function("iv", GROUP, ((0.0, 3.0), (0.5, 5.0)), special.iv),
    *(
        Function(f"lpmv, m={m}", GROUP, ((0.0, 4.0), (-0.9, 0.9)), partial(special.lpmv, m))
        for m in (0, 1, 2)
    ),
    *(
        Function(
            f"sph_harm, m={m}, n={n}",
            GROUP,
            ((0.0, 2 * np.pi), (0.0, np.pi)),
            partial(_spherical_harmonic, m=m, n=n),
        )
        for m, n in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
    ),
]
