"""Regressors for tables with categories and missing values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._columns import columns, filled_numbers
from benchmarks._comparison import installed
from skrelu import ExponentialReLURegressor

SEED = 0
INNER = KFold(3, shuffle=True, random_state=SEED)  # of searches; some tables are sorted
OURS, NEURAL = "skrelu", ("MLP", "MLP tuned", "kernel ridge", "RealMLP")
FEW_ROWS = {"kernel ridge": 3000, "EBM": 600, "RealMLP": 3000}  # rows that a peer is tried on
DEPTHS = (2, 3, 4, 6)  # 4 is the default


def encoded(*steps):
    """Return a pipeline that turns categories and missing values into numbers first."""
    return make_pipeline(columns(), *steps)


def _scaled(model):
    return encoded(
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), model), transformer=StandardScaler()
        )
    )


def _searched(model, **grid):
    prefix = f"transformedtargetregressor__regressor__{type(model).__name__.lower()}__"
    return GridSearchCV(_scaled(model), {prefix + name: grid[name] for name in grid}, cv=INNER)


def _lightgbm():
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_jobs=1, verbose=-1, random_state=SEED)


def _catboost():
    from catboost import CatBoostRegressor
    from sklearn.base import BaseEstimator, RegressorMixin

    class CatBoost(RegressorMixin, BaseEstimator):
        """CatBoost with its defaults, told which columns are categories."""

        def fit(self, X, y):
            names = list(X.select_dtypes("category"))
            self.model_ = CatBoostRegressor(
                verbose=0,
                thread_count=1,
                allow_writing_files=False,
                random_seed=SEED,
                cat_features=names,
            ).fit(self._filled(X), y)
            return self

        def predict(self, X):
            return self.model_.predict(self._filled(X))

        def _filled(self, X):
            names = X.select_dtypes("category")
            return X.assign(**{c: X[c].cat.add_categories("?").fillna("?") for c in names})

    return CatBoost()


def _realmlp():
    from pytabkit import RealMLP_TD_Regressor

    filled = make_column_transformer(filled_numbers(), remainder="passthrough")
    model = RealMLP_TD_Regressor(device="cpu", random_state=SEED, n_threads=1, verbosity=0)
    return make_pipeline(filled.set_output(transform="pandas"), model)


def _ebm():
    from interpret.glassbox import ExplainableBoostingRegressor

    return ExplainableBoostingRegressor(n_jobs=1, random_state=SEED)


Methods = dict[str, tuple[Callable, str | None]]  # how to make one, the package it needs
METHODS: Methods = {
    OURS: (lambda: encoded(ExponentialReLURegressor(random_state=SEED)), None),
    "Ridge": (lambda: encoded(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))), None),
    "MLP": (lambda: _scaled(MLPRegressor(random_state=SEED)), None),
    "MLP tuned": (
        lambda: _searched(
            MLPRegressor(early_stopping=True, max_iter=500, random_state=SEED),
            alpha=[1e-4, 1e-2, 1],
            hidden_layer_sizes=[(64,), (128, 64)],
        ),
        None,
    ),
    "kernel ridge": (
        lambda: _searched(
            KernelRidge(kernel="rbf"), alpha=[1e-3, 1e-2, 0.1, 1], gamma=[0.01, 0.03, 0.1, 0.3, 3]
        ),
        None,
    ),
    "random forest": (lambda: encoded(RandomForestRegressor(random_state=SEED)), None),
    "HistGB": (lambda: HistGradientBoostingRegressor(random_state=SEED), None),
    "LightGBM": (_lightgbm, "lightgbm"),
    "CatBoost": (_catboost, "catboost"),
    "RealMLP": (_realmlp, "pytabkit"),
    "EBM": (_ebm, "interpret"),
}


def _with_depth(depth):
    return encoded(ExponentialReLURegressor(depth, random_state=SEED))


SEARCH: Methods = {f"depth {d}": (partial(_with_depth, d), None) for d in DEPTHS}
SEARCH["searched"] = (
    lambda: GridSearchCV(_with_depth(4), {"exponentialreluregressor__depth": DEPTHS}, cv=INNER),
    None,
)


def runs_on(method: str, n_rows: int) -> bool:
    """Return whether a method is installed and meant for so many rows."""
    package = METHODS[method][1] if method in METHODS else None
    return n_rows <= FEW_ROWS.get(method, n_rows) and installed(package)
