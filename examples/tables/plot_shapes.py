"""
How are known shapes used: increasing, decreasing, convex?
==========================================================

Diabetes progresses faster with a higher body mass index and a higher blood pressure. A network
fitted to few patients may not show this. ``monotonic_cst`` makes predictions increase or decrease
with features everywhere, not only where there are data.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from skrelu import ExponentialReLURegressor
from skrelu.regions import regions_along

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
known = {"bmi": 1, "bp": 1}

# %%
# Five times, 100 random patients train and the others test.

for seed in range(3):
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=100, random_state=seed)
    scores = []
    for monotonic_cst in (None, known):
        model = ExponentialReLURegressor(monotonic_cst=monotonic_cst, random_state=0)
        scores.append(model.fit(X_train, y_train).score(X_test, y_test))
    print(f"R^2 {scores[0]:.3f} without, {scores[1]:.3f} with what is known")

# %%
# The slopes along a line are computed exactly for each linear region. On this line the body mass
# index of the first test patient varies from 15 to 45.

free = ExponentialReLURegressor(random_state=0).fit(X_train, y_train)
rising = model
ends = X_test.iloc[[0, 0]].to_numpy(float, copy=True)
ends[:, X.columns.get_loc("bmi")] = [15, 45]
for name, fitted in {"free": free, "rising": rising}.items():
    regions = regions_along(fitted, ends)
    print(f"{name}: {regions.n_linear_regions} regions, least slope {regions.slopes.min():.3f}")

# %%
# Convexity is another shape. It can be set for single features, alone or with monotonicity.

convex = ExponentialReLURegressor(
    monotonic_cst=known, convexity={"bmi": "convex"}, random_state=0
).fit(X_train, y_train)
index = np.linspace(15, 45, 400)
rows = X_test.iloc[np.zeros(400, int)].assign(bmi=index)
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.plot(index, free.predict(rows), label="free")
ax.plot(index, rising.predict(rows), label="rises")
ax.plot(index, convex.predict(rows), label="rises, convex")
ax.set_xlabel("body mass index")
ax.set_ylabel("progression of the disease")
ax.legend(frameon=False)
plt.show()
