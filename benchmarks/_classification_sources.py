"""Real tables with classes, by tier, and the folds and synthetic problems that go with them.

X is made by one fixed recipe, the same for all methods and for all folds: categories become one
column each (at most 30, of 5 rows or more), missing numbers the median of their column beside an
indicator of what is missing, and constant columns are left out. It looks at no target. Classes of
fewer than 5 rows, or of fewer than 1 row in 500, are left out, and so are rows without a class.
Above 5000 rows a stratified sample of 5000 is drawn.

Beside names and identifiers, columns are left out that are known only with the answer: the species
and taxon of `surveys`, the region of `olive`, the price and catch of the mode that was chosen in
`fishing`, the imputed wage of `mroz`, the mortgage insurance that was denied in `hmda`. So are
vitamins and calcium of `fastfood`, which some restaurants never state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_circles,
    make_moons,
)
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmarks._columns import columns, typed
from benchmarks._tables_sources import read

SEED = 0
N_FOLDS = 5
MOST_ROWS = 5000
FEWEST_ROWS, FEWEST_PART = N_FOLDS, 1 / 500  # of a class

Labelled = tuple[NDArray[np.float64], NDArray[np.str_]]

SCIKIT_LEARN = {
    "breast_cancer": load_breast_cancer, "digits": load_digits, "iris": load_iris,
    "wine": load_wine,
}  # fmt: skip


@dataclass(frozen=True)
class LabelledSource:
    """Where a table with classes is, and what of it is used."""

    package: str
    items: Sequence[str]  # parts of one table
    target: str = "target"
    dropped: Sequence[str] = ()
    categories: Sequence[str] = field(default=())  # numbers that are names

    def load(self) -> Labelled:
        """Return X, of shape (n_samples, n_features), and the labels y."""
        frame = self._frame()
        sizes = frame[self.target].value_counts()
        enough = sizes[sizes >= max(FEWEST_ROWS, FEWEST_PART * sizes.sum())].index
        frame = frame[frame[self.target].isin(enough)].reset_index(drop=True)
        if len(frame) > MOST_ROWS:
            frame, _ = train_test_split(
                frame, train_size=MOST_ROWS, stratify=frame[self.target], random_state=SEED
            )
            frame = frame.reset_index(drop=True)
        X = typed(frame.drop(columns=[self.target, *self.dropped]), self.categories)
        numbers = np.asarray(columns().fit_transform(X), dtype=float)
        return numbers[:, np.ptp(numbers, axis=0) > 0], frame[self.target].to_numpy(str)

    def _frame(self) -> pd.DataFrame:
        if self.package == "scikit-learn":
            return SCIKIT_LEARN[self.items[0]](as_frame=True).frame
        return pd.concat([read(self.package, item) for item in self.items], ignore_index=True)


@dataclass(frozen=True)
class Synthetic:
    """A table that is drawn."""

    make: Callable[[], Labelled]

    def load(self) -> Labelled:
        """Return X, of shape (n_samples, n_features), and the labels y."""
        return self.make()


def folds(y: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the rows to learn from and to test on, the same for the same labels."""
    splits = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    yield from splits.split(np.zeros((len(y), 1)), y)


def two_spirals(
    n_samples: int = 1000,
    *,
    turns: float = 2.0,
    noise: float = 0.0,
    random_state: int | np.random.Generator = SEED,
) -> Labelled:
    r"""Return points on two spirals, each the other one turned by half a circle.

    With :math:`t` uniform on :math:`[0.05, 1]`, the first is
    :math:`t\,(\cos 2\pi k t, \sin 2\pi k t)` for `turns` :math:`k`; neighbouring arms are
    :math:`1/(2k)` apart.

    Parameters
    ----------
    n_samples : int, default=1000
    turns : float, default=2
        How often each spiral goes round.
    noise : float, default=0
        Standard deviation of the normal noise in both coordinates.
    random_state : int or Generator, default=0

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
    y : ndarray of shape (n_samples,)
        "0" and "1", as many of each up to one.
    """
    rng = np.random.default_rng(random_state)
    second = np.arange(n_samples) % 2
    t = rng.uniform(0.05, 1, n_samples)
    angle = 2 * np.pi * turns * t + np.pi * second
    X = t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + noise * rng.standard_normal(X.shape), second.astype(str)


def moons(n_samples: int = 1000, *, noise: float = 0.2, random_state: int = SEED) -> Labelled:
    """Return scikit-learn's two interleaving half circles."""
    X, y = make_moons(n_samples, noise=noise, random_state=random_state)
    return X, y.astype(str)


def circles(n_samples: int = 1000, *, noise: float = 0.1, random_state: int = SEED) -> Labelled:
    """Return scikit-learn's circle within a circle of twice its radius."""
    X, y = make_circles(n_samples, noise=noise, factor=0.5, random_state=random_state)
    return X, y.astype(str)


Source = LabelledSource | Synthetic
LABELLED: dict[str, dict[str, Source]] = {
    "synthetic": {
        "moons": Synthetic(moons),
        "circles": Synthetic(circles),
        "spirals": Synthetic(lambda: two_spirals(noise=0.03)),
    },
    "choose": {
        "iris": LabelledSource("scikit-learn", ["iris"]),
        "glass": LabelledSource("MASS", ["fgl"], "type"),
        "fastfood": LabelledSource(
            "openintro", ["fastfood"], "restaurant",
            ["item", "salad", "vit_a", "vit_c", "calcium"],
        ),
        "breast_cancer": LabelledSource("scikit-learn", ["breast_cancer"]),
        "orange_juice": LabelledSource(
            "ISLR", ["OJ"], "Purchase", ["Store7", "STORE"], categories=["StoreID"]
        ),
        "ripley": LabelledSource("MASS", ["synth.tr", "synth.te"], "yc"),
        "titanic": LabelledSource("carData", ["TitanicSurvival"], "survived"),
        "hpc_jobs": LabelledSource("modeldata", ["hpc_data"], "class"),
        "spam7": LabelledSource("DAAG", ["spam7"], "yesno"),
        "churn": LabelledSource("modeldata", ["mlc_churn"], "churn"),
    },
    "confirm": {
        "wine": LabelledSource("scikit-learn", ["wine"]),
        "penguins": LabelledSource("palmerpenguins", ["penguins"], "species", ["year"]),
        "pima": LabelledSource("MASS", ["Pima.tr", "Pima.te"], "type"),
        "olive": LabelledSource("dslabs", ["olive"], "area", ["region"]),
        "mroz": LabelledSource("carData", ["Mroz"], "lfp", ["lwg"]),
        "two_class": LabelledSource("modeldata", ["two_class_dat"], "Class"),
        "fishing": LabelledSource("Ecdat", ["Fishing"], "mode", ["price", "catch"]),
        "attrition": LabelledSource("modeldata", ["attrition"], "Attrition"),
        "digits": LabelledSource("scikit-learn", ["digits"]),
        "cells": LabelledSource("modeldata", ["cells"], "class", ["case"]),
        "hmda": LabelledSource("AER", ["HMDA"], "deny", ["insurance"]),
        "chile": LabelledSource("carData", ["Chile"], "vote"),
        "email": LabelledSource("openintro", ["email"], "spam", ["time"]),
        "credit": LabelledSource("modeldata", ["credit_data"], "Status"),
        "surveys": LabelledSource(
            "ratdat", ["complete"], "genus",
            ["record_id", "day", "plot_id", "species_id", "species", "taxa"],
        ),
        "diamond_cut": LabelledSource("ggplot2", ["diamonds"], "cut"),
    },
}  # fmt: skip
