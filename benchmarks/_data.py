"""Splits, and from the columns of a table to numbers, the same way for every method."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import OneHotEncoder

Array = NDArray[np.float64]
SEED = 0
MOST_CATEGORIES = 30


def folds(n_folds: int, seed: int = SEED, stratified: bool = False) -> KFold | StratifiedKFold:
    """Return shuffled folds: some tables are sorted."""
    kind = StratifiedKFold if stratified else KFold
    return kind(n_folds, shuffle=True, random_state=seed)


def split(X, y, fold: int, n_folds: int = 5, stratified: bool = False):
    """Return the rows to learn from and to test on of one fold; later ones of other shuffles."""
    splits = folds(n_folds, fold // n_folds, stratified).split(X, y)
    return list(splits)[fold % n_folds]


def split_by_size(n_rows: int, labels=None) -> list[tuple[NDArray, NDArray]]:
    """Return five folds of up to 2000 rows, three of up to 20 000, one split of more.

    With labels they are stratified, and there are five folds of up to 5000 rows.
    """
    rows, stratified = np.arange(n_rows), labels is not None
    if n_rows > 20_000:
        return [tuple(train_test_split(rows, test_size=0.25, random_state=SEED, stratify=labels))]
    n_folds = 5 if n_rows <= (5000 if stratified else 2000) else 3
    return list(folds(n_folds, stratified=stratified).split(rows, labels))


def typed(X: pd.DataFrame, categories: Sequence[str] = ()) -> pd.DataFrame:
    """Return floats and, of text, booleans and the named columns, categories that are text."""
    names = [*X.select_dtypes(["object", "string", "bool"]), *categories]
    X = X.astype({c: "category" if c in names else float for c in X})
    return X.assign(**{c: X[c].cat.rename_categories(str) for c in names})


def text_and_numbers() -> tuple[tuple, tuple]:
    """Return what makes columns of categories, and what fills in medians and marks where."""
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, min_frequency=5,
        sparse_output=False,
    )  # fmt: skip
    medians = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return (
        (categories, make_column_selector(dtype_include="category")),
        (medians, make_column_selector(dtype_include="number")),
    )


def numbers() -> ColumnTransformer:
    """Return a step that turns categories and missing values into numbers."""
    return make_column_transformer(*text_and_numbers())


@cache
def concrete() -> tuple[Array, Array]:
    """Return the compressive strength of concrete (Yeh 1998): X (1030, 8) and y."""
    path = Path(__file__).parents[1] / "examples" / "data" / "concrete.csv"
    data = np.loadtxt(path, delimiter=",", skiprows=1)
    return data[:, :-1], data[:, -1]


def grid(n_points: int) -> Array:
    """Return evenly spaced points on [0, 1], both ends included, shape (n_points, 1)."""
    return np.linspace(0, 1, n_points)[:, None]
