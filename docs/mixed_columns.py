"""Fit a table of numbers, categories and missing values."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skrelu import ExponentialReLURegressor

rng = np.random.default_rng(0)
table = pd.DataFrame({"size": rng.normal(size=200), "age": rng.uniform(1, 9, size=200)})
table["kind"] = pd.Categorical(rng.choice(["a", "b", "c"], size=200))
price = 2 * table["size"] + np.sqrt(table["age"]) + (table["kind"] == "b")
table.loc[::10, "age"] = np.nan

columns = make_column_transformer(
    (
        OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=30, sparse_output=False),
        make_column_selector(dtype_include="category"),
    ),
    (
        SimpleImputer(strategy="median", add_indicator=True),
        make_column_selector(dtype_include="number"),
    ),
)
model = make_pipeline(columns, ExponentialReLURegressor(random_state=0))
model.fit(table[:150], price[:150])
print(f"R^2 = {model.score(table[150:], price[150:]):.3f}")
