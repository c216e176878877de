"""
Which of two spirals?
=====================

A network needs many linear regions to classify two spirals that wind around each other. Sixteen
sub-networks of triangle waves have thousands of them from the start, with a thousand weights.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from skrelu import ExponentialReLUClassifier
from skrelu.nn import ExponentialReLULayer
from skrelu.regions import LinearRegionsDisplay


def spirals(n_samples, seed):
    """Return points on two spirals of two turns."""
    rng = np.random.default_rng(seed)
    second = np.arange(n_samples) % 2
    t = rng.uniform(0.05, 1, n_samples)
    angle = 4 * np.pi * t + np.pi * second
    return t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), second


X, y = spirals(600, seed=0)
others, truth = spirals(2000, seed=1)

# %%
# The spirals do not overlap, so no rows are held out, and a small ``alpha`` lets probabilities
# come near to 0 and 1. For comparison, a dense network of scikit-learn has about as many weights
# and takes as many epochs as it needs.

model = ExponentialReLUClassifier(
    n_subnetworks=16, n_init=1, alpha=1e-4, early_stopping=False, tol=0.01, random_state=0
).fit(X, y)
dense = MLPClassifier((32, 32), max_iter=5000, random_state=0).fit(X, y)
n_dense = sum(weights.size for weights in dense.coefs_ + dense.intercepts_)
for name, each, size in [("skrelu", model, model.n_parameters_), ("dense", dense, n_dense)]:
    loss, accuracy = log_loss(truth, each.predict_proba(others)), each.score(others, truth)
    print(
        f"{name}: {size} weights, cross-entropy {loss:.4f}, accuracy {accuracy:.4f} on new points"
    )

# %%
# The pictures show the decisions, and the linear regions in the middle. On each polygon the network
# is one linear function. Colors are log-odds.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="compressed")
LinearRegionsDisplay.from_estimator(model, X, kind="decision", ax=axes[0])
display = LinearRegionsDisplay.from_estimator(model, X / 3, ax=axes[1])
for axis in axes:
    axis.set_aspect("equal")
axes[0].scatter(*X.T, c=np.where(y > 0, "#1f6fb4", "#d1542c"), s=5, zorder=3)
axes[0].set_title("decisions, and points to learn from")
axes[1].set_title(f"{display.regions.n_linear_regions} linear regions in the middle")
plt.show()

# %%
# The same sub-networks are available as a torch layer. `release` frees all weights and does not
# change the outputs.

torch.manual_seed(0)
layer = ExponentialReLULayer(2, 1, depth=4, n_subnetworks=16)
points = torch.tensor(others, dtype=torch.float32)
before = layer(points)
n_before = sum(weights.numel() for weights in layer.parameters())
change = (layer.release()(points) - before).norm() / before.norm()
n_after = sum(weights.numel() for weights in layer.parameters())
print(f"{n_before} parameters, {n_after} when released; relative change {change:.0e}")
