"""Peers that need a class of their own: pykan, Gaussian processes, splines, pwlf."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module

import numpy as np
import torch
from scipy.interpolate import CubicSpline, make_lsq_spline, make_smoothing_spline
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._data import Array


class Fit(RegressorMixin, BaseEstimator):
    """A regressor that keeps a function of X."""

    def predict(self, X):
        return self.predict_(X)


class Pykan(Fit):
    """Fit a network of cubic splines to the standardized target by 50 steps of L-BFGS, in float64.

    Its initial least squares differ by rounding from call to call, which training amplifies:
    with hidden layers the error does not repeat even for one seed.

    Parameters
    ----------
    hidden : tuple of int, default=(5,)
        Number of nodes of each hidden layer.
    n_intervals : int, default=5
        Of the grid of each spline; grids start in [-1, 1].
    random_state : int
    """

    def __init__(self, hidden=(5,), n_intervals=5, random_state=0):
        self.hidden, self.n_intervals = hidden, n_intervals
        self.random_state = random_state

    def fit(self, X, y):
        kan = import_module("kan")
        mean, scale = y.mean(), y.std()
        inputs, targets = torch.tensor(X), torch.tensor((y[:, None] - mean) / scale)
        data = {"train_input": inputs, "train_label": targets}
        data |= {"test_input": inputs, "test_label": targets}  # required
        width, seed = [X.shape[1], *self.hidden, 1], self.random_state
        silent = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
        with global_generators_kept(), silent[0], silent[1]:
            model = kan.KAN(width, self.n_intervals, k=3, seed=seed, auto_save=False).double()
            model.fit(data, opt="LBFGS", steps=50)
        trained = [p for layer in model.act_fun for p in layer.parameters() if p.requires_grad]
        self.n_parameters_ = sum(part.numel() for part in trained)  # without the knots

        def predict(points):
            with torch.no_grad():
                return model(torch.tensor(points))[:, 0].numpy() * scale + mean

        self.predict_ = predict
        return self


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Undo what is done to the global generators of torch, numpy and the standard library."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


class GaussianProcess(Fit):
    """Fit with a length for each input from two starts, and take the likelier result.

    From some starts the likelihood leads to noise alone. The lower bound of the noise, 1e-5 by
    default, would bound the error too.
    """

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        n_inputs, models = X.shape[1], []
        for variance, length in ((1, 1), (10, 3)):
            lengths = np.full(n_inputs, length * np.sqrt(n_inputs))
            smooth = ConstantKernel(variance, (1e-3, 1e6)) * RBF(lengths, (1e-2, 1e4))
            kernel = smooth + WhiteKernel(1e-2, (1e-10, 1))
            process = GaussianProcessRegressor(
                kernel, normalize_y=True, random_state=self.random_state
            )
            models.append(make_pipeline(StandardScaler(), process).fit(X, y))
        best = max(models, key=lambda model: model[-1].log_marginal_likelihood_value_)
        self.predict_ = best.predict
        return self


class CurveProcess(Fit):
    """Fit a Gaussian process to evenly spread rows of a curve, from three starts."""

    def __init__(self, n_rows=100, random_state=0):
        self.n_rows, self.random_state = n_rows, random_state

    def fit(self, X, y):
        rows = np.linspace(0, len(X) - 1, self.n_rows).round().astype(int)
        # scikit-learn's lower bound of the noise, 1e-5, would bound the error too.
        kernel = ConstantKernel() * RBF(0.2) + WhiteKernel(1e-3, (1e-10, 1))
        model = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=2, random_state=self.random_state
        ).fit(X[rows], y[rows])
        self.n_parameters_ = 2 * self.n_rows + len(model.kernel_.theta)
        self.predict_ = model.predict
        return self


class Spline(Fit):
    """Fit a spline of one variable by least squares; without pieces, interpolate.

    Parameters
    ----------
    n_pieces : int or None
    degree : int, default=3
    graded : bool, default=False
        Whether pieces are shorter where y bends.
    """

    def __init__(self, n_pieces=None, degree=3, graded=False, random_state=0):
        self.n_pieces, self.degree, self.graded = n_pieces, degree, graded
        self.random_state = random_state

    def fit(self, X, y):
        x = X[:, 0]
        if self.n_pieces is None:
            spline, knots = CubicSpline(x, y), x
            self.n_parameters_ = len(x) + len(y)
        else:
            knots = np.linspace(x[0], x[-1], self.n_pieces + 1)
            knots = _graded_knots(x, y, self.n_pieces) if self.graded else knots
            padded = np.pad(knots, self.degree, mode="edge")
            spline = make_lsq_spline(x, y, padded, self.degree)
            self.n_parameters_ = len(knots) + len(spline.c)
        self.predict_ = lambda points: spline(points[:, 0])
        return self


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


class SmoothingSpline(Fit):
    """Fit a cubic smoothing spline, its penalty by generalized cross-validation."""

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        spline = make_smoothing_spline(X[:, 0], y)
        self.predict_ = lambda points: spline(points[:, 0])
        return self


class Pwlf(Fit):
    """Fit a piecewise-linear function by the package pwlf, ``how`` one of its methods."""

    def __init__(self, n_segments, how, random_state=0):
        self.n_segments, self.how, self.random_state = n_segments, how, random_state

    def fit(self, X, y):
        with global_generators_kept():
            module = import_module("pwlf")
            model = module.PiecewiseLinFit(X[:, 0], y, seed=self.random_state)
            getattr(model, self.how)(self.n_segments)
        self.n_parameters_ = len(model.fit_breaks) + len(model.slopes) + 1
        self.predict_ = lambda points: model.predict(points[:, 0])
        return self
