"""Classifiers for X of numbers, each with its defaults or a small grid search."""

from __future__ import annotations

from functools import partial

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._tables_methods import OURS, SEED, Methods

INNER = StratifiedKFold(3, shuffle=True, random_state=SEED)  # of searches; some tables are sorted
NEURAL = ("MLP", "MLP tuned", "RealMLP", "RealMLP log-loss")


def _skrelu():
    from skrelu import ExponentialReLUClassifier

    return ExponentialReLUClassifier(random_state=SEED)


def _scaled(model):
    return make_pipeline(StandardScaler(), model)


def _tuned_mlp():
    # Validation rows of early stopping are too few on small tables: a penalty instead is tried too.
    sizes, alphas = "mlpclassifier__hidden_layer_sizes", "mlpclassifier__alpha"
    stops = "mlpclassifier__early_stopping"
    grid = [
        {stops: [True], sizes: [(64,), (128, 64)], alphas: [1e-4, 1]},
        {stops: [False], sizes: [(64,)], alphas: [0.1, 1, 10]},
    ]
    model = _scaled(MLPClassifier(max_iter=500, random_state=SEED))
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=INNER)


def _lightgbm():
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_jobs=1, verbose=-1, random_state=SEED)


def _catboost():
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        verbose=0, thread_count=1, allow_writing_files=False, random_seed=SEED
    )


def _realmlp(**settings):
    from pytabkit import RealMLP_TD_Classifier

    return RealMLP_TD_Classifier(
        device="cpu", random_state=SEED, n_threads=1, verbosity=0, **settings
    )


CLASSIFIERS: Methods = {
    OURS: (_skrelu, "skrelu.ExponentialReLUClassifier"),
    "logistic": (lambda: _scaled(LogisticRegression(max_iter=10_000)), None),
    "MLP": (lambda: _scaled(MLPClassifier(random_state=SEED)), None),
    "MLP tuned": (_tuned_mlp, None),
    "random forest": (lambda: RandomForestClassifier(random_state=SEED), None),
    "HistGB": (lambda: HistGradientBoostingClassifier(random_state=SEED), None),
    "LightGBM": (_lightgbm, "lightgbm"),
    "CatBoost": (_catboost, "catboost"),
    # Label smoothing of 0.1 and the epoch with the best accuracy are defaults; pytabkit advises
    # those who care for cross-entropy against both.
    "RealMLP": (_realmlp, "pytabkit"),
    "RealMLP log-loss": (
        partial(_realmlp, use_ls=False, val_metric_name="cross_entropy"),
        "pytabkit",
    ),
}
