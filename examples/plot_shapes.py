"""
What is known beforehand: rising, falling, convex
=================================================

Concrete gains strength with cement and with age, and loses it with water. A network that learns
from a few mixtures does not know that, unless it is told: ``monotonic_cst`` makes predictions rise
and fall with features as they should, everywhere and not only where there are data.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from skrelu import ExponentialReLURegressor
from skrelu.regions import regions_along

try:
    here = Path(__file__).parent
except NameError:  # in the documentation
    here = Path.cwd()
table = pd.read_csv(here / "data" / "concrete.csv")
target = "compressive_strength"
X, y = table.drop(columns=target), table[target]
known = {"cement": 1, "water": -1, "age": 1}

# %%
# 100 mixtures to learn from, 930 to test on, five times.

for seed in range(5):
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=100, random_state=seed)
    scores = []
    for monotonic_cst in (None, known):
        model = ExponentialReLURegressor(monotonic_cst=monotonic_cst, random_state=0)
        scores.append(model.fit(X_train, y_train).score(X_test, y_test))
    print(f"R^2 {scores[0]:.3f} without, {scores[1]:.3f} with what is known")

# %%
# The slopes along a line are known exactly, region by region; here along the age of the first test
# mixture, from a day to a year.

free = ExponentialReLURegressor(random_state=0).fit(X_train, y_train)
rising = model
ends = X_test.iloc[[0, 0]].to_numpy(float)
ends[:, X.columns.get_loc("age")] = [1, 365]
for name, fitted in {"free": free, "rising": rising}.items():
    regions = regions_along(fitted, ends)
    print(f"{name}: {regions.n_linear_regions} regions, least slope {regions.slopes.min():.3f}")

# %%
# Convexity is a shape, too. The strength is a concave function of age at first sight; ``convexity``
# takes single features as well, and both can be asked for.

concave = ExponentialReLURegressor(
    monotonic_cst=known, convexity={"age": "concave"}, random_state=0
).fit(X_train, y_train)
ages = np.linspace(1, 365, 400)
rows = X_test.iloc[np.zeros(400, int)].assign(age=ages)
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.plot(ages, free.predict(rows), label="free")
ax.plot(ages, rising.predict(rows), label="rises with age")
ax.plot(ages, concave.predict(rows), label="rises with age, concave")
ax.set_xlabel("age in days")
ax.set_ylabel("strength in MPa")
ax.legend(frameon=False)
plt.show()
