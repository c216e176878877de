"""
Grid search: how deep should the sub-networks be, and how many?
===============================================================

This example searches over ``depth`` and ``n_subnetworks`` by cross-validation: first for a smooth
function, where each layer doubles the linear regions of a sub-network and the error falls, then
for a noisy table, where directions count more than regions.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from skrelu import ExponentialReLURegressor

# %%
# A product of two inputs, without noise: a difference of two squares, and so two sub-networks. An
# integer ``depth`` is kept, so a deeper network costs numbers. ``depth="auto"`` would take what
# accuracy needs.

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, size=(200, 2))
y = X[:, 0] * X[:, 1]
network = ExponentialReLURegressor(n_levels=1, n_subnetworks=2, n_init=1, random_state=0)
depths = [1, 2, 4, 6]
search = GridSearchCV(network, {"depth": depths}, cv=KFold(3, shuffle=True, random_state=0))
search.fit(X, y)
print(f"best: {search.best_params_}, R^2 = {search.best_score_:.8f}")

figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
errors = 1 - search.cv_results_["mean_test_score"]
axes.semilogy(depths, errors, "o-", color="#08519c", lw=2)
axes.set_xticks(depths, [f"{depth}\n{2**depth}" for depth in depths])
axes.set(xlabel="depth, and linear regions of a sub-network", ylabel="$1 - R^2$ on unseen rows")
axes.spines[["top", "right"]].set_visible(False)
axes.set_title("A product of two inputs, 2 sub-networks")
plt.show()

# %%
# The noisy table is the concrete data, with the age as a category, because samples are tested at a
# few usual ages only. The network is the last step of a pipeline that encodes the category.

folder = Path(__file__).parent if "__file__" in globals() else Path()
table = pd.read_csv(folder / ".." / "data" / "concrete.csv")
strength = table.pop("compressive_strength")
table["age"] = pd.cut(
    table["age"],
    [0, 3, 7, 14, 28, 56, 100, 365],
    labels=["up to 3 days", "7 days", "14 days", "28 days", "56 days", "100 days", "a year"],
)
print(table["age"].value_counts(sort=False))

# %%
# Numerical columns pass through, because the network standardizes its inputs. It takes dense
# arrays, so the encoder must not return a sparse one. A sixth of the default starts and no
# refinement make the search fast.

columns = ColumnTransformer(
    [("category", OneHotEncoder(sparse_output=False), ["age"])], remainder="passthrough"
)
network = ExponentialReLURegressor(n_init=2, refine=False, max_iter=500, random_state=0)
pipeline = Pipeline([("columns", columns), ("network", network)])

# %%
# The name of a parameter of a step is ``step__parameter``.

search = GridSearchCV(
    pipeline,
    {"network__depth": [1, 2, 4], "network__n_subnetworks": [2, 16]},
    cv=KFold(3, shuffle=True, random_state=0),
)
search.fit(table, strength)
print(f"best: {search.best_params_}, R^2 = {search.best_score_:.3f}")

# %%
# A sub-network of depth 1 is a single triangle with 2 linear regions; each further layer doubles
# them. On this noisy table the number of sub-networks, and so of directions, is more important than
# their depth. The page on choosing parameters has tables of both kinds.

results = pd.DataFrame(search.cv_results_)
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
colors = ["#9ecae1", "#08519c"]
lines = results.groupby("param_network__n_subnetworks")
for color, (n_subnetworks, line) in zip(colors, lines, strict=True):
    depths = line["param_network__depth"].astype(int)
    label = f"{n_subnetworks} sub-networks"
    axes.plot(depths, line["mean_test_score"], "o-", color=color, lw=2, label=label)
axes.set_xticks(depths, [f"{depth}\n{2**depth}" for depth in depths])
axes.set(xlabel="depth, and linear regions of a sub-network", ylabel="$R^2$ on unseen rows")
axes.spines[["top", "right"]].set_visible(False)
axes.set_title("Concrete strength, 3-fold cross-validation")
axes.legend(loc="center right", bbox_to_anchor=(1, 0.6))
plt.show()
