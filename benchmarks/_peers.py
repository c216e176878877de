"""Estimators by name, made when they are fitted; those whose packages are missing are left out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from sklearn import ensemble
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks._curve_fits import fitted_by, gaussian_process, pykan
from benchmarks._data import SEED, folds, numbers, text_and_numbers
from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor

OURS = "skrelu"


@dataclass(frozen=True)
class Peer:
    """How to make an estimator with a seed, which package it needs, how it is drawn."""

    make: Callable[..., Any]  # of ``random_state`` and settings
    style: tuple[str, str] = ("#22303c", "o")  # color and marker
    package: str = ""  # the module that it needs
    install: str = ""  # packages to install for it, if they have other names
    mixed: bool = False  # whether it takes categories and missing values as they are
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """What to install for it, "" if it is."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return ""
        return self.install or self.package

    def __call__(self, random_state: int = SEED):
        """Return the estimator."""
        return self.make(random_state=random_state, **self.settings)

    def set(self, **settings: Any) -> Peer:
        """Return it with more settings."""
        return replace(self, settings={**self.settings, **settings})

    def encoded(self, random_state: int = SEED):
        """Return the estimator behind a step that makes numbers of tables, if it needs one."""
        model = self(random_state)
        return model if self.mixed else make_pipeline(numbers(), model)


def scaled(model) -> Pipeline:
    """Return a model of standardized X."""
    return make_pipeline(StandardScaler(), model)


def standardized(model) -> TransformedTargetRegressor:
    """Return a model of standardized X and y, as skrelu standardizes them itself."""
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler())


def n_parameters(model: Any) -> int | None:
    """Return the number of parameters where that is comparable."""
    model = getattr(model, "regressor_", model)
    model = model[-1] if isinstance(model, Pipeline) else model
    if isinstance(model, MLPRegressor):
        return sum(part.size for part in (*model.coefs_, *model.intercepts_))
    return getattr(model, "n_parameters_", None)


def _mlp(**settings):
    return standardized(MLPRegressor(**settings))


def _ridge(random_state):
    return scaled(RidgeCV(np.logspace(-3, 3, 13)))


def _kernel_ridge(random_state):
    return _searched(
        KernelRidge(kernel="rbf"), alpha=[1e-3, 1e-2, 0.1, 1], gamma=[0.01, 0.03, 0.1, 0.3, 3]
    )


def _tuned_mlp(random_state):
    model = MLPRegressor(early_stopping=True, max_iter=500, random_state=random_state)
    return _searched(model, alpha=[1e-4, 1e-2, 1], hidden_layer_sizes=[(64,), (128, 64)])


def _searched(model, **grid):
    """Return a grid search over everything from the encoding of categories on."""
    prefix = f"transformedtargetregressor__regressor__{type(model).__name__.lower()}__"
    whole = make_pipeline(numbers(), standardized(model))
    return GridSearchCV(whole, {prefix + name: grid[name] for name in grid}, cv=folds(3))


def _pykan(random_state, **settings):
    return make_pipeline(MinMaxScaler((-1, 1)), fitted_by(pykan)(random_state, **settings))


def _of(package: str, name: str, seed_name: str = "random_state", **settings):
    """Return a function that imports a class and makes an instance."""

    def make(random_state, **more):
        made = getattr(import_module(package), name)
        return made(**{seed_name: random_state}, **settings, **more)

    return make


class CatBoost(RegressorMixin, BaseEstimator):
    """CatBoost with its defaults, told which columns are categories."""

    name = "CatBoostRegressor"

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        names = list(X.select_dtypes("category"))
        model = CATBOOST(self.name)(self.random_state, cat_features=names)
        self.model_ = model.fit(self._filled(X), y)
        return self

    def predict(self, X):
        return self.model_.predict(self._filled(X))

    def _filled(self, X):
        names = X.select_dtypes("category")
        return X.assign(**{c: X[c].cat.add_categories("?").fillna("?") for c in names})


class CatBoostOfClasses(ClassifierMixin, CatBoost):
    """The same for classes."""

    name = "CatBoostClassifier"

    def fit(self, X, y):
        self.classes_ = super().fit(X, y).model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(self._filled(X))


class Numbered(ClassifierMixin, BaseEstimator):
    """A classifier that takes numbers from 0 for classes, of any classes."""

    def __init__(self, model=None):
        self.model = model

    def fit(self, X, y):
        self.classes_, numbered = np.unique(y, return_inverse=True)
        self.model.fit(X, numbered)
        return self

    def predict_proba(self, X):
        return np.asarray(self.model.predict_proba(X), dtype=float)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


def _numbered(make):
    return lambda random_state: Numbered(make(random_state))


def _filled(make):
    """Return a function that makes a model behind a step that fills in medians, no more."""

    def made(random_state):
        step = make_column_transformer(text_and_numbers()[1], remainder="passthrough")
        return make_pipeline(step.set_output(transform="pandas"), make(random_state))

    return made


def _tuned_classifier(random_state):
    # Validation rows of early stopping are too few on small tables: a penalty instead is tried too.
    sizes, alphas = "mlpclassifier__hidden_layer_sizes", "mlpclassifier__alpha"
    stops = "mlpclassifier__early_stopping"
    grid = [
        {stops: [True], sizes: [(64,), (128, 64)], alphas: [1e-4, 1]},
        {stops: [False], sizes: [(64,)], alphas: [0.1, 1, 10]},
    ]
    model = scaled(MLPClassifier(max_iter=500, random_state=random_state))
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds(3, stratified=True))


LIGHTGBM = partial(_of, "lightgbm", n_jobs=1, verbose=-1)
CATBOOST = partial(
    _of, "catboost", seed_name="random_seed", verbose=0, thread_count=1, allow_writing_files=False
)
XGBOOST = partial(_of, "xgboost", n_jobs=1, enable_categorical=True)
PERPETUAL = partial(_of, "perpetual", seed_name="seed", num_threads=1)
PYTABKIT = partial(_of, "pytabkit", device="cpu", n_threads=1, verbosity=0)
EBM = partial(_of, "interpret.glassbox", n_jobs=1)
GOLD = "#c9a227"

REGRESSORS = {
    OURS: Peer(ExponentialReLURegressor, ("#d1542c", "o"), mixed=True),
    "Ridge": Peer(_ridge, ("#aab3bb", "d")),
    "MLP": Peer(_mlp, (GOLD, "v")),
    "MLP tanh": Peer(
        partial(_mlp, activation="tanh", solver="lbfgs", max_iter=2000), ("#c76bb0", "^")
    ),
    "MLP, X as it is": Peer(MLPRegressor),
    "MLP, X scaled": Peer(lambda **settings: scaled(MLPRegressor(**settings))),
    "MLP tuned": Peer(_tuned_mlp, (GOLD, "^"), mixed=True),
    "kernel ridge": Peer(_kernel_ridge, ("#7d8790", "X"), mixed=True),
    "pykan": Peer(_pykan, ("#6a3d9a", "P"), "kan", "pykan pandas pyyaml tqdm"),
    "random forest": Peer(ensemble.RandomForestRegressor, ("#3a8f5c", "^")),
    "HistGB": Peer(ensemble.HistGradientBoostingRegressor, ("#1f6fb4", "s"), mixed=True),
    "LightGBM": Peer(LIGHTGBM("LGBMRegressor"), ("#6fb3e3", "s"), "lightgbm", mixed=True),
    "XGBoost": Peer(XGBOOST("XGBRegressor"), ("#8fc1c7", "s"), "xgboost", mixed=True),
    "perpetual": Peer(PERPETUAL("PerpetualRegressor"), ("#2a8c82", "D"), "perpetual", mixed=True),
    "CatBoost": Peer(CatBoost, ("#123f6b", "D"), "catboost", mixed=True),
    "RealMLP": Peer(
        _filled(PYTABKIT("RealMLP_TD_Regressor")), ("#c76bb0", "p"), "pytabkit", mixed=True
    ),
    "TabM": Peer(_filled(PYTABKIT("TabM_D_Regressor")), ("#e08fc7", "h"), "pytabkit", mixed=True),
    "xRFM": Peer(
        _filled(PYTABKIT("XRFM_D_Regressor")), ("#8a4f7d", "*"), "xrfm", "pytabkit xrfm", mixed=True
    ),
    "EBM": Peer(
        EBM("ExplainableBoostingRegressor"),
        ("#6a3d9a", "P"),
        "interpret",
        "interpret-core",
        mixed=True,
    ),
    "GP": Peer(fitted_by(gaussian_process), ("#9aa4ae", "X")),
}
CLASSIFIERS = {
    OURS: Peer(ExponentialReLUClassifier, mixed=True),
    "logistic": Peer(lambda random_state: scaled(LogisticRegression(max_iter=10_000))),
    "MLP": Peer(lambda **settings: scaled(MLPClassifier(**settings))),
    "MLP tuned": Peer(_tuned_classifier),
    "random forest": Peer(ensemble.RandomForestClassifier),
    "HistGB": Peer(ensemble.HistGradientBoostingClassifier, mixed=True),
    "LightGBM": Peer(LIGHTGBM("LGBMClassifier"), package="lightgbm", mixed=True),
    "XGBoost": Peer(_numbered(XGBOOST("XGBClassifier")), package="xgboost", mixed=True),
    "perpetual": Peer(_numbered(PERPETUAL("PerpetualClassifier")), package="perpetual", mixed=True),
    "CatBoost": Peer(CatBoostOfClasses, package="catboost", mixed=True),
    # Label smoothing of 0.1 and the epoch with the best accuracy are defaults; pytabkit advises
    # those who care for cross-entropy against both.
    "RealMLP": Peer(PYTABKIT("RealMLP_TD_Classifier"), package="pytabkit"),
    "RealMLP log-loss": Peer(
        PYTABKIT("RealMLP_TD_Classifier", use_ls=False, val_metric_name="cross_entropy"),
        package="pytabkit",
    ),
    "TabM": Peer(
        PYTABKIT("TabM_D_Classifier", val_metric_name="cross_entropy"), package="pytabkit"
    ),
    "xRFM": Peer(
        PYTABKIT("XRFM_D_Classifier", val_metric_name="cross_entropy"),
        package="xrfm",
        install="pytabkit xrfm",
    ),
    "EBM": Peer(
        EBM("ExplainableBoostingClassifier"),
        package="interpret",
        install="interpret-core",
        mixed=True,
    ),
}
