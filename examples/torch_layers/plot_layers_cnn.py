r"""
Can triangle waves replace the dense head of a small CNN?
=========================================================

This example trains a small convolutional network on scikit-learn's digits twice: with its dense
head, and with a `skrelu.nn.ExponentialReLULayer` of at most as many parameters in its place.
Everything else is the same. Then the layer is released to free weights and trained further.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

from skrelu.nn import fit_windows, parameter_groups, release, swap_dense

X, y = load_digits(return_X_y=True)
X = torch.tensor((X - X.mean()) / X.std()).float().view(-1, 1, 8, 8)
X, X_test, y, y_test = train_test_split(X, torch.tensor(y), stratify=y, random_state=0)


def network():
    """Return three convolutions and a dense head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


# %%
# `swap_dense` replaces the linear layers with ReLU between them by one layer. Outputs of
# convolutions have neither zero mean nor unit variance, so `fit_windows` fits the window of each
# wave to a batch of inputs.

dense = network()
waves = fit_windows(swap_dense(network()), X[:256])
print(waves[-1])
for name, model in {"dense": dense, "waves": waves}.items():
    print(name, sum(parameter.numel() for parameter in model.parameters()), "parameters")

# %%
# Both are trained in the same way, with the same order of images.


def train(model, optimizer, n_epochs, seed):
    """Train, and return the accuracy on the test images after each epoch."""
    shuffle = torch.Generator().manual_seed(seed)
    accuracy = []
    for _ in range(n_epochs):
        for rows in torch.randperm(len(X), generator=shuffle).split(64):
            optimizer.zero_grad()
            cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy.append((model(X_test).argmax(1) == y_test).float().mean().item())
    return accuracy


histories, optimizers = {}, {}
for name, model in {"dense": dense, "waves": waves}.items():
    optimizers[name] = torch.optim.Adam(parameter_groups(model, lr=1e-3))
    histories[name] = train(model, optimizers[name], 8, seed=0)

# %%
# After the release, waves are ReLU networks of width 4 with free weights that compute the same
# function. The optimizer continues with a tenth of the learning rate.

with torch.no_grad():
    before = waves(X_test)
    release(waves, optimizers["waves"])
    print(f"outputs moved by {(waves(X_test) - before).abs().max():.0e}; form: {waves[-1].form}")
for name, model in {"dense": dense, "waves": waves}.items():
    histories[name] += train(model, optimizers[name], 4, seed=1)

# %%
# The waves are ahead at first; at the end both heads are about as good.

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, history), color in zip(histories.items(), ("#1f6fb4", "#d1542c"), strict=True):
    epochs = range(1, len(history) + 1)
    axis.plot(epochs, [100 * value for value in history], "o-", color=color, label=f"{name} head")
axis.axvline(8.5, color="#8a949e", linestyle=":")
axis.annotate("waves released", (8.6, 75), color="#5a646e")
axis.set(xlabel="epoch", ylabel="test accuracy in percent")
axis.grid(color="#e6e9ec")
axis.legend(loc="lower right", frameon=False)
plt.show()
