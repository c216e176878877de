r"""
How do linear regions change while a network learns?
====================================================

This example trains a plain torch network to classify two moons, and records its linear regions and
its decision boundary. Then it records a fit of `ExponentialReLURegressor`.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_moons

from skrelu import ExponentialReLURegressor
from skrelu.regions import LinearRegionsDisplay, RegionCountDisplay, RegionRecorder

X, y = make_moons(400, noise=0.15, random_state=0)

# %%
# In your own training loop, call `record` at each step. At the chosen steps it finds all regions in
# a rectangle exactly.

torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(2, 16), torch.nn.ReLU(),
    torch.nn.Linear(16, 16), torch.nn.ReLU(),
    torch.nn.Linear(16, 16), torch.nn.ReLU(),
    torch.nn.Linear(16, 1),
)  # fmt: skip
points, labels = torch.tensor(X).float(), torch.tensor(y)[:, None].float()
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
recorder = RegionRecorder.in_plane([-2, -1.5], [3, 2], steps=range(0, 101, 5))
for step in range(101):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(network(points), labels)
    recorder.record(network, step, loss)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# Each polygon below is a linear region; the thick line is where the decision changes.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
for axis, step in zip(axes, (0, 20, 100), strict=True):
    at = recorder.steps_.index(step)
    LinearRegionsDisplay(recorder.regions_[at]).plot(kind="decision", ax=axis)
    axis.scatter(*X.T, c=np.where(y > 0, "#1f6fb4", "#d1542c"), s=4, zorder=3)
    axis.set_title(f"step {step}: {recorder.n_linear_regions_[at]} linear regions")
plt.show()

# %%
# There are not many more regions at the end than at the start, but they are near the boundary.

RegionCountDisplay.from_recorder(recorder)
plt.show()

# %%
# As a callback the recorder records each iteration of a fit. A network of triangle waves has all
# its regions from the start, and pretraining keeps them.

t = np.linspace(0, 1, 300)[:, None]
curve = np.sin(3 * t[:, 0])
recorder = RegionRecorder.along([[-100.0], [100.0]])
model = ExponentialReLURegressor(depth=5, n_subnetworks=1, n_init=1, refine=False, random_state=0)
model.set_callbacks(recorder).fit(t, curve)
print("linear regions at each step:", set(recorder.n_linear_regions_.tolist()))
print(f"loss at the first step {recorder.losses_[0]:.1e}, at the last {recorder.losses_[-1]:.1e}")

# %%
# For a model of one input, `linear_regions` returns the whole function as linear pieces.

function = model.linear_regions()
print(f"{function.n_linear_regions} pieces, breakpoints {function.breakpoints[:3].round(3)}, ...")
LinearRegionsDisplay.from_estimator(model, t)
plt.show()
