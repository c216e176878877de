"""What fits a curve: skrelu and its peers at several sizes, behind one signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, make_lsq_spline
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._pykan import PYKAN, fit_pykan, global_generators_kept
from skrelu import ExponentialReLURegressor

Array = NDArray[np.float64]
Fitted = tuple[Callable[[Array], Array], int]  # the function, its number of parameters

PWLF = "pwlf"  # what to install for it


@dataclass(frozen=True)
class Method:
    """A family of functions at one size, with ``fit(x, y, seed)`` for 1-D arrays."""

    family: str
    size: str
    fit: Callable[[Array, Array, int], Fitted]
    n_seeds: int = 5  # fewer where a fit takes seconds
    piecewise_linear: bool = True
    module: str = "skrelu"  # has to be imported first
    requires: str = ""  # what to install for it

    def is_installed(self) -> bool:
        """Import the module, so that no fit has to."""
        try:
            import_module(self.module)
        except ImportError:
            return False
        return True


def methods() -> list[Method]:
    """Return all methods, a family after the other and from small to large."""
    return [*_skrelu(), *_mlp(), *_pykan(), *_gaussian_process(), *_splines(), *_pwlf()]


def _skrelu() -> Iterator[Method]:
    for depth in range(1, 9):
        fit = partial(_fit_skrelu, depth=depth, n_subnetworks=1, n_init=1)
        yield Method("skrelu", f"depth {depth}", fit)
    for n in (2, 4, 8):
        fit = partial(_fit_skrelu, depth=5, n_subnetworks=n, n_init=1)
        yield Method("skrelu", f"depth 5 x {n}", fit, n_seeds=3)
    for depth in (3, 5, 7):
        fit = partial(_fit_skrelu, depth=depth, n_subnetworks=1, n_init=12, early_stopping=False)
        yield Method("skrelu", f"depth {depth}, best of 12", fit, n_seeds=3)


def _fit_skrelu(x: Array, y: Array, seed: int, **settings) -> Fitted:
    model = ExponentialReLURegressor(random_state=seed, **settings).fit(x[:, None], y)
    return lambda points: model.predict(points[:, None]), model.n_parameters_


def _mlp() -> Iterator[Method]:
    # Without noise the default penalty and tolerances would only stand in the way.
    exact = {"alpha": 0, "tol": 1e-9, "max_iter": 5000, "max_fun": 100_000, "solver": "lbfgs"}
    long = {"alpha": 0, "tol": 1e-8, "max_iter": 3000, "n_iter_no_change": 50}
    variants = [
        ("MLP, Adam", "", 5, True, {}),
        ("MLP, Adam", ", long", 3, True, long),
        ("MLP, L-BFGS", "", 5, True, exact),
        ("MLP, L-BFGS, tanh", "", 5, False, {**exact, "activation": "tanh"}),
    ]
    for family, suffix, n_seeds, linear, settings in variants:
        for layers in ((10,), (50,), (100,), (50, 50), (4,) * 5):
            fit = partial(_fit_mlp, hidden_layer_sizes=layers, **settings)
            yield Method(family, "-".join(map(str, layers)) + suffix, fit, n_seeds, linear)


def _fit_mlp(x: Array, y: Array, seed: int, **settings) -> Fitted:
    network = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed, **settings))
    model = TransformedTargetRegressor(network, transformer=StandardScaler()).fit(x[:, None], y)
    mlp = model.regressor_[-1]
    n_parameters = sum(part.size for part in (*mlp.coefs_, *mlp.intercepts_))
    return lambda points: model.predict(points[:, None]), n_parameters


def _pykan() -> Iterator[Method]:
    sizes = [((1, 1), 5), ((1, 5, 1), 2), ((1, 3, 3, 1), 1)]
    for width, n_seeds in sizes:
        for n_intervals in (5, 20):
            name = f"{'-'.join(map(str, width))}, grid {n_intervals}"
            fit = partial(_fit_pykan, width=width, n_intervals=n_intervals)
            yield Method("pykan", name, fit, n_seeds, False, "kan", PYKAN)


def _fit_pykan(x: Array, y: Array, seed: int, **settings) -> Fitted:
    predict, n_parameters = fit_pykan(x[:, None], y, seed, **settings)
    return lambda points: predict(points[:, None]), n_parameters


def _gaussian_process() -> Iterator[Method]:
    for n_rows, n_seeds in ((20, 5), (100, 5), (500, 3)):
        fit = partial(_fit_gaussian_process, n_rows=n_rows)
        yield Method("Gaussian process", f"{n_rows} rows", fit, n_seeds, piecewise_linear=False)


def _fit_gaussian_process(x: Array, y: Array, seed: int, n_rows: int) -> Fitted:
    rows = np.linspace(0, len(x) - 1, n_rows).round().astype(int)
    # scikit-learn's lower bound of the noise, 1e-5, would bound the error too.
    kernel = ConstantKernel() * RBF(0.2) + WhiteKernel(1e-3, (1e-10, 1))
    model = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed
    ).fit(x[rows, None], y[rows])
    return lambda points: model.predict(points[:, None]), 2 * n_rows + len(model.kernel_.theta)


def _splines() -> Iterator[Method]:
    for kind in ("even", "graded"):
        for n in (8, 16, 32, 64, 128):
            fit = partial(_fit_linear_spline, n_pieces=n, graded=kind == "graded")
            yield Method(f"linear spline, {kind}", f"{n}", fit)
    for n in (4, 8, 16, 32):
        fit = partial(_fit_cubic_spline, n_pieces=n)
        yield Method("cubic spline", f"{n}", fit, piecewise_linear=False)
    yield Method("cubic spline", "interpolating", _fit_interpolant, piecewise_linear=False)


def _fit_linear_spline(x: Array, y: Array, seed: int, n_pieces: int, graded: bool) -> Fitted:
    knots = _graded_knots(x, y, n_pieces) if graded else _even_knots(x, n_pieces)
    return _least_squares_spline(x, y, knots, 1)


def _fit_cubic_spline(x: Array, y: Array, seed: int, n_pieces: int) -> Fitted:
    return _least_squares_spline(x, y, _even_knots(x, n_pieces), 3)


def _fit_interpolant(x: Array, y: Array, seed: int) -> Fitted:
    return CubicSpline(x, y), len(x) + len(y)


def _even_knots(x: Array, n_pieces: int) -> Array:
    return np.linspace(x[0], x[-1], n_pieces + 1)


def _graded_knots(x: Array, y: Array, n_pieces: int) -> Array:
    """Return knots of density |y''|^(2/5), the best for many pieces, y'' by differences.

    As much of an even density is mixed in as keeps every piece wider than x's spacing.
    """
    density = np.abs(np.gradient(np.gradient(y, x), x)) ** 0.4
    density /= density.mean()
    most, limit = density.max(), 0.8 * len(x) / n_pieces
    density += max(0, (most - limit) / (most - 1)) * (1 - density)
    between = (density[1:] + density[:-1]) / 2 * np.diff(x)
    cumulated = np.concatenate([[0], np.cumsum(between)])
    return np.interp(np.linspace(0, cumulated[-1], n_pieces + 1), cumulated, x)


def _least_squares_spline(x: Array, y: Array, knots: Array, degree: int) -> Fitted:
    spline = make_lsq_spline(x, y, np.pad(knots, degree, mode="edge"), degree)
    return spline, len(knots) + len(spline.c)


def _pwlf() -> Iterator[Method]:
    for n, n_seeds in ((4, 5), (8, 5), (16, 3), (32, 1)):
        fit = partial(_fit_pwlf, n_segments=n, how="fitfast")
        yield Method("pwlf", f"{n}, fast", fit, n_seeds, True, "pwlf", PWLF)
    for n, n_seeds in ((4, 5), (8, 1)):
        fit = partial(_fit_pwlf, n_segments=n, how="fit")
        yield Method("pwlf", f"{n}", fit, n_seeds, True, "pwlf", PWLF)


def _fit_pwlf(x: Array, y: Array, seed: int, n_segments: int, how: str) -> Fitted:
    with global_generators_kept():
        model = import_module("pwlf").PiecewiseLinFit(x, y, seed=seed)
        getattr(model, how)(n_segments)
    return model.predict, len(model.fit_breaks) + len(model.slopes) + 1
