"""
How sure is a prediction?
=========================

``loss="quantile"`` predicts quantiles instead of means. Several quantiles make prediction
intervals: here the 5 %, 50 % and 95 % quantiles of the progression of diabetes in 442 patients.
They use the same sub-networks, do not cross, and are calibrated on held-out rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from skrelu import ExponentialReLURegressor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
levels = [0.05, 0.5, 0.95]

# %%
# Each patient is predicted by a model that was fitted to others.

folds = KFold(5, shuffle=True, random_state=0)
model = ExponentialReLURegressor(loss="quantile", quantile=levels, random_state=0)
low, middle, high = cross_val_predict(model, X, y, cv=folds).T

# %%
# Nine of ten 90 % intervals should contain the target. For comparison, gradient boosting fits one
# model for each quantile, with default parameters.


def held(low, high):
    """Return the fraction of targets within intervals."""
    return np.mean((low <= y) & (y <= high))


boosted = [
    cross_val_predict(
        HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=0),
        X,
        y,
        cv=folds,
    )
    for level in levels
]
for name, (a, b, c) in {"skrelu": (low, middle, high), "boosting": boosted}.items():
    crossed = np.mean((a > b) | (b > c))
    print(
        f"{name:9s} {held(a, c):.0%} held, mean width {np.mean(c - a):.0f}, {crossed:.1%} crossed"
    )

# %%
# Intervals are wide where the targets vary much.

order = np.argsort(middle)
ranks = np.arange(len(y))
inside = ((low <= y) & (y <= high)).to_numpy()[order]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.fill_between(ranks, low[order], high[order], color="C0", alpha=0.2, label="90 % interval")
ax.plot(ranks, middle[order], color="C0", label="median")
targets = y.to_numpy()[order]
ax.plot(ranks[inside], targets[inside], ".", ms=4, color="0.3", label="inside")
ax.plot(ranks[~inside], targets[~inside], ".", ms=4, color="C3", label="outside")
ax.set_xlabel("patients, by predicted median")
ax.set_ylabel("progression of the disease")
ax.legend(ncols=4, frameon=False)
plt.show()
