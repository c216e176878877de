"""Peers that are no estimators of scikit-learn: pykan, Gaussian processes, splines, pwlf.

Each is a function of X, y, a seed and settings that returns what predicts, and how many parameters.
"""

from __future__ import annotations

import io
import random
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module

import numpy as np
import torch
from scipy.interpolate import CubicSpline, make_lsq_spline, make_smoothing_spline
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Fit(RegressorMixin, BaseEstimator):
    """An estimator made of such a function."""

    def __init__(self, function=None, random_state=0):
        self.function, self.random_state = function, random_state

    def fit(self, X, y):
        self.predict_, self.n_parameters_ = self.function(X, y, self.random_state)
        return self

    def predict(self, X):
        return self.predict_(X)


def fitted_by(function):
    """Return a function that makes an estimator, as classes do."""
    return lambda random_state=0, **settings: Fit(partial(function, **settings), random_state)


def pykan(X, y, seed, hidden=(5,), n_intervals=5):
    """Fit a network of cubic splines to the standardized y by 50 steps of L-BFGS, in float64.

    Its initial least squares differ by rounding from call to call, which training amplifies: with
    hidden layers the error does not repeat even for one seed. Grids start in [-1, 1].
    """
    kan = import_module("kan")
    mean, scale = y.mean(), y.std()
    inputs, targets = torch.tensor(X), torch.tensor((y[:, None] - mean) / scale)
    data = {"train_input": inputs, "train_label": targets}
    data |= {"test_input": inputs, "test_label": targets}  # required
    width, silent = [X.shape[1], *hidden, 1], io.StringIO()
    with global_generators_kept(), redirect_stdout(silent), redirect_stderr(silent):
        model = kan.KAN(width, n_intervals, k=3, seed=seed, auto_save=False).double()
        model.fit(data, opt="LBFGS", steps=50)
    trained = [p for layer in model.act_fun for p in layer.parameters() if p.requires_grad]

    def predict(points):
        with torch.no_grad():
            return model(torch.tensor(points))[:, 0].numpy() * scale + mean

    return predict, sum(part.numel() for part in trained)  # without the knots


@contextmanager
def global_generators_kept():
    """Undo what is done to the global generators of torch, numpy and the standard library."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def gaussian_process(X, y, seed):
    """Fit with a length for each input."""
    return likelier_process(X, y, seed).predict, None


def likelier_process(X, y, seed, kernel=RBF):
    """Return the likelier of two fits, with a length for each input, from two starts.

    From some starts the likelihood leads to noise alone. The lower bound of the noise, 1e-5 by
    default, would bound the error too.
    """
    n_inputs, models = X.shape[1], []
    for variance, length in ((1, 1), (10, 3)):
        lengths = np.full(n_inputs, length * np.sqrt(n_inputs))
        smooth = ConstantKernel(variance, (1e-3, 1e6)) * kernel(lengths, (1e-2, 1e4))
        kernel_of_start = smooth + WhiteKernel(1e-2, (1e-10, 1))
        process = GaussianProcessRegressor(kernel_of_start, normalize_y=True, random_state=seed)
        models.append(make_pipeline(StandardScaler(), process).fit(X, y))
    return max(models, key=lambda model: model[-1].log_marginal_likelihood_value_)


def curve_process(X, y, seed, n_rows=100):
    """Fit a Gaussian process to evenly spread rows of a curve, from three starts."""
    rows = np.linspace(0, len(X) - 1, n_rows).round().astype(int)
    # scikit-learn's lower bound of the noise, 1e-5, would bound the error too.
    kernel = ConstantKernel() * RBF(0.2) + WhiteKernel(1e-3, (1e-10, 1))
    settings = {"normalize_y": True, "n_restarts_optimizer": 2, "random_state": seed}
    model = GaussianProcessRegressor(kernel, **settings).fit(X[rows], y[rows])
    return model.predict, 2 * n_rows + len(model.kernel_.theta)


def spline(X, y, seed, n_pieces=None, degree=3, graded=False):
    """Fit a spline of one variable by least squares, on even or graded pieces, or interpolate."""
    x = X[:, 0]
    if n_pieces is None:
        found, size = CubicSpline(x, y), len(x) + len(y)
    else:
        knots = np.linspace(x[0], x[-1], n_pieces + 1)
        knots = graded_knots(x, y, n_pieces) if graded else knots
        found = make_lsq_spline(x, y, np.pad(knots, degree, mode="edge"), degree)
        size = len(knots) + len(found.c)
    return lambda points: found(points[:, 0]), size


def graded_knots(x, y, n_pieces):
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


def smoothing_spline(X, y, seed):
    """Fit a cubic smoothing spline, its penalty by generalized cross-validation."""
    found = make_smoothing_spline(X[:, 0], y)
    return lambda points: found(points[:, 0]), None


def pwlf(X, y, seed, n_segments, how):
    """Fit a piecewise-linear function by the package pwlf, ``how`` one of its methods."""
    with global_generators_kept():
        model = import_module("pwlf").PiecewiseLinFit(X[:, 0], y, seed=seed)
        getattr(model, how)(n_segments)
    size = len(model.fit_breaks) + len(model.slopes) + 1
    return lambda points: model.predict(points[:, 0]), size
