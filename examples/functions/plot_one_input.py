r"""
One input, one sub-network: where are the linear regions?
=========================================================

This example fits :math:`x^3` on [0, 1] with a single sub-network of depth 5: five hidden layers of
four neurons. Pretraining keeps its 32 linear regions; refinement then trains all weights. The
breakpoints of the pretrained network are computed exactly.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from skrelu import ExponentialReLURegressor

X = np.linspace(0, 1, 500)[:, None]
y = X[:, 0] ** 3

# %%
# Two fits begin with the same random starts. The first stops after pretraining, the second is
# refined. Without noise no rows need to be held out, so the model is the start with the lowest
# training loss.

settings = {"depth": 5, "n_subnetworks": 1}
settings |= {"early_stopping": False, "max_iter": 1000, "random_state": 0}
pretrained = ExponentialReLURegressor(refine=False, **settings).fit(X, y)
refined = ExponentialReLURegressor(**settings).fit(X, y)

# %%
# A model of one input is a piecewise-linear function, which `linear_regions` returns.

x = pretrained.linear_regions().breakpoints
window = np.sort((np.array([0, 1]) - pretrained.offsets_[0]) / pretrained.directions_[0, 0])
print(f"{len(x) + 1} linear regions in the window {window.round(3)} of x")
print(f"{((x > 0) & (x < 1)).sum() + 1} of them on [0, 1], where the data are")

# %%
# The window of a sub-network, where its argument w x + o is in [0, 1], is learned, too. It may end
# inside or outside of the data.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
inside = x[(x > 0) & (x < 1)]
edges = np.concatenate([[0], inside, [1]])
for number, (begin, end) in enumerate(pairwise(edges)):
    left.axvspan(begin, end, color="#dce9f5" if number % 2 else "#f3f7fb", lw=0)
left.plot(X, y, color="#22303c", lw=5, alpha=0.25, label="$x^3$, 500 points")
left.plot(X, pretrained.predict(X), color="#1f6fb4", lw=1.5, label="pretrained network")
left.plot(inside, pretrained.predict(inside[:, None]), "o", color="#1f6fb4", ms=3.5)
left.set(xlim=(0, 1), xlabel="x")
left.set_title(f"{len(inside) + 1} of {len(x) + 1} linear regions are on [0, 1]")
left.legend(loc="upper left")

for model, color, name in [(pretrained, "#1f6fb4", "pretrained"), (refined, "#d1542c", "refined")]:
    error = model.predict(X) - y
    label = f"{name}, mean squared {np.mean(error**2):.1e}"
    right.plot(X, error, color=color, lw=1.2, label=label)
right.axhline(0, color="#22303c", lw=0.8)
right.set(xlim=(0, 1), xlabel="x", title="Error")
right.ticklabel_format(axis="y", scilimits=(0, 0))
right.legend(loc="lower center")
plt.show()

# %%
# Pretraining fits six peaks, a direction and an offset. Refinement fits all weights of the same
# network.

print(f"parameters of pretraining: {pretrained.peaks_.size + 2}, and 3 coefficients")
print(f"weights and biases of the network: {refined.n_parameters_}")
