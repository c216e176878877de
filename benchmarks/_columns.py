"""From the columns of a table to numbers, the same way wherever a method needs numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

MOST_CATEGORIES = 30


def typed(X: pd.DataFrame, categories: Sequence[str] = ()) -> pd.DataFrame:
    """Return the columns as floats, text, booleans and the named ones as categories."""
    names = [*X.select_dtypes(["object", "string", "bool"]), *categories]
    return X.astype({c: "category" if c in names else float for c in X})


def columns() -> ColumnTransformer:
    """Return a step that turns categories and missing values into numbers."""
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MOST_CATEGORIES,
        min_frequency=5,
        sparse_output=False,
    )
    return make_column_transformer(
        (categories, make_column_selector(dtype_include="category")), filled_numbers()
    )


def filled_numbers():
    """Return a step that fills in medians and marks where."""
    medians = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return medians, make_column_selector(dtype_include="number")
