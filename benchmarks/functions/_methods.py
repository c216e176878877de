"""What fits a function of several inputs: skrelu and its peers, behind one signature."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks._pykan import PYKAN, fit_pykan
from benchmarks.functions._function import Array, Problem
from skrelu import ExponentialReLURegressor

# The function, and its number of parameters where that is comparable.
Fitted = tuple[Callable[[Array], Array], int | None]
Fit = Callable[..., Fitted]  # of X and y, and a seed by name where it is drawn over


@dataclass(frozen=True)
class Method:
    """A model with its settings, its colour and marker in pictures."""

    name: str
    fit: Fit
    style: tuple[str, str]
    is_peer: bool = True  # whether skrelu is held against it
    module: str = "skrelu"  # has to be imported first
    requires: str = ""  # what to install for it

    def is_installed(self) -> bool:
        """Import the module, so that no fit has to."""
        try:
            import_module(self.module)
        except ImportError:
            return False
        return True


@dataclass(frozen=True)
class Score:
    """Relative RMSE, seconds of the fit and number of parameters of one fit."""

    error: float
    seconds: float
    n_parameters: int | None


def score(fit: Fit, problem: Problem) -> Score:
    """Fit and test once; a fit that fails has error infinity, with a warning of the cause."""
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            predict, n_parameters = fit(problem.X, problem.y)
    except (RuntimeError, ValueError) as cause:  # torch's and numpy's LinAlgError are among them
        warnings.warn(f"A fit failed: {cause}", stacklevel=2)
        return Score(np.inf, time.perf_counter() - begin, None)
    seconds = time.perf_counter() - begin
    error = problem.error(predict)
    return Score(error if np.isfinite(error) else np.inf, seconds, n_parameters)


def fit_skrelu(X: Array, y: Array, seed: int = 0, **settings) -> Fitted:
    """Fit `ExponentialReLURegressor`."""
    model = ExponentialReLURegressor(random_state=seed, **settings).fit(X, y)
    return model.predict, model.n_parameters_


def fit_mlp(X: Array, y: Array, seed: int = 0, **settings) -> Fitted:
    """Fit `MLPRegressor` on standardized X and y, as skrelu standardizes them itself."""
    network = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed, **settings))
    model = TransformedTargetRegressor(network, transformer=StandardScaler()).fit(X, y)
    mlp = model.regressor_[-1]
    return model.predict, sum(part.size for part in (*mlp.coefs_, *mlp.intercepts_))


def _fit_pykan(X: Array, y: Array) -> Fitted:
    scaler = MinMaxScaler((-1, 1)).fit(X)
    width = (X.shape[1], 5, 1)
    predict, n_parameters = fit_pykan(scaler.transform(X), y, 0, width, n_intervals=5)
    return lambda points: predict(scaler.transform(points)), n_parameters


def _fit_boosting(X: Array, y: Array) -> Fitted:
    return HistGradientBoostingRegressor(random_state=0).fit(X, y).predict, None


def _fit_gaussian_process(X: Array, y: Array) -> Fitted:
    """Fit with a length for each input from two starts, and take the likelier result.

    From some starts the likelihood leads to noise alone. The lower bound of the noise, 1e-5 by
    default, would bound the error too.
    """
    n_inputs = X.shape[1]
    models = []
    for variance, length in ((1, 1), (10, 3)):
        lengths = np.full(n_inputs, length * np.sqrt(n_inputs))
        smooth = ConstantKernel(variance, (1e-3, 1e6)) * RBF(lengths, (1e-2, 1e4))
        kernel = smooth + WhiteKernel(1e-2, (1e-10, 1))
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        models.append(make_pipeline(StandardScaler(), process).fit(X, y))
    best = max(models, key=lambda model: model[-1].log_marginal_likelihood_value_)
    return best.predict, None


METHODS = [
    Method("skrelu", fit_skrelu, ("#d1542c", "o"), is_peer=False),
    Method("MLP", fit_mlp, ("#c9a227", "v")),
    Method(
        "MLP tanh",
        partial(fit_mlp, activation="tanh", solver="lbfgs", max_iter=2000),
        ("#c76bb0", "^"),
    ),
    Method("pykan", _fit_pykan, ("#6a3d9a", "P"), module="kan", requires=PYKAN),
    Method("HistGB", _fit_boosting, ("#1f6fb4", "s")),
    Method("GP", _fit_gaussian_process, ("#9aa4ae", "X"), is_peer=False),
]
