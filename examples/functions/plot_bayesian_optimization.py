"""
Where should the next experiment be?
====================================

If each evaluation of a function is expensive, the next one should be where the minimum may be:
where a model predicts low values, or where it is not sure. Expected improvement weighs both. It
needs the standard deviations that `predict` returns with ``return_std=True``.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from skrelu import ExponentialReLURegressor


def f(x):
    """Return a function with a minimum inside, and one at the end."""
    return np.cos(8.3 * x + 0.4) - 0.2 * x


grid = np.linspace(0, 1, 1001)
x = (np.arange(6) + 0.5) / 6


# %%
# How much lower than the lowest value so far is a point expected to be? Values that are not lower
# count as 0.


def expected_improvement(model, points, lowest):
    """Return the mean of max(0, lowest - f) at points."""
    mean, deviation = model.predict(points[:, None], return_std=True)
    z = (lowest - mean) / deviation
    return deviation * (z * norm.cdf(z) + norm.pdf(z)), mean, deviation


# %%
# Each model is fitted to all evaluations so far: the line is its mean, the band two standard
# deviations. The red curve below is the expected improvement, and its maximum is evaluated next.
# With ``extrapolation="linear"`` predictions may be lower than all values so far.

figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, height_ratios=(3, 1),
                            layout="constrained")  # fmt: skip
for step in range(3):
    y = f(x)
    model = ExponentialReLURegressor(extrapolation="linear", random_state=0).fit(x[:, None], y)
    improvement, mean, deviation = expected_improvement(model, grid, y.min())
    best = grid[improvement.argmax()]
    upper, lower = axes[:, step]
    upper.plot(grid, f(grid), color="0.6", ls="--", label="function")
    upper.fill_between(grid, mean - 2 * deviation, mean + 2 * deviation, alpha=0.2, color="C0")
    upper.plot(grid, mean, color="C0", label="model")
    upper.plot(x, y, "o", color="0.2", ms=4, label="evaluations")
    upper.axvline(best, color="C3", lw=0.8)
    upper.set(title=f"{len(x)} evaluations", ylim=(-2.2, 1.5))
    lower.fill_between(grid, improvement, color="C3", alpha=0.5)
    lower.axvline(best, color="C3", lw=0.8)
    lower.set(xlabel="x", yticks=[])
    x = np.append(x, best)
axes[0, 0].legend(frameon=False, fontsize="small")
axes[1, 0].set_ylabel("improvement")
plt.show()

# %%
# A few evaluations find the lower one of the minima.

print(f"lowest value: {f(x).min():.4f} at {x[f(x).argmin()]:.3f}; minimum: {f(grid).min():.4f}")
