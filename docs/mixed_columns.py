"""Fit a table of numbers, categories and missing values."""

import numpy as np
import pandas as pd

from skrelu import ExponentialReLURegressor

rng = np.random.default_rng(0)
table = pd.DataFrame({"size": rng.normal(size=200), "age": rng.uniform(1, 9, size=200)})
table["kind"] = rng.choice(["a", "b", "c"], size=200)
price = 2 * table["size"] + np.sqrt(table["age"]) + (table["kind"] == "b")
table.loc[::10, "age"] = np.nan

model = ExponentialReLURegressor(categorical_features=["kind"], random_state=0)
model.fit(table[:150], price[:150])
print(f"R^2 = {model.score(table[150:], price[150:]):.3f}")
print(model.categories_)  # [None, None, ['a', 'b', 'c']]
