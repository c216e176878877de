"""Networks that tests of regions share."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

DOUBLE = torch.float64


def sequential(layers, activation=nn.ReLU):
    """Linear layers of given matrices and biases with activations between them."""
    modules = []
    for matrix, bias in layers:
        matrix = torch.as_tensor(matrix, dtype=DOUBLE)
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=DOUBLE)
        linear.weight.data, linear.bias.data = matrix, torch.as_tensor(bias, dtype=DOUBLE)
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def random_network(seed, widths, activation=nn.ReLU):
    """Weights and biases drawn from the standard normal distribution."""
    rng = np.random.default_rng(seed)
    return sequential(
        [(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in pairwise(widths)],
        activation,
    )


def run(network, X):
    """Outputs at points."""
    with torch.no_grad():
        return network(torch.as_tensor(X)).numpy()


def patterns_at(network, X):
    """Which neurons are active at points, by running the network."""
    return preactivations(network, X) > 0


def preactivations(network, X):
    """What the activations of a network are applied to."""
    values, h = [], torch.as_tensor(X)
    with torch.no_grad():
        for module in network:
            if not isinstance(module, nn.Linear):
                values.append(h.numpy())
            h = module(h)
    return np.concatenate(values, 1)
