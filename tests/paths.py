"""Every way through the package, each on a small table, for tests that hold for all of them."""

import warnings
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import tuning
from skrelu.nn import ExponentialReLULayer, fit_windows, release
from skrelu.regions import regions_along, regions_in_plane

BY_ADAM = {"solver": "adam", "max_iter": 100, "learning_rate": 0.05}
SMALL = {"depth": 2, "n_subnetworks": 2, "n_init": 2, "max_iter": 4, "random_state": 0}


def make_table(n=60):
    """Three features, a smooth target."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n, 3))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2]


@contextmanager
def few_waves():
    """Make default fits of tables smaller: few waves on encoded columns and beside them."""

    def size(n, usual=tuning.encoded_size):
        return usual(n)._replace(n_members=2, n_waves=6, n_units=6, n_steps=60)

    with patch.multiple(tuning, encoded_size=size, STACKED_WAVES=4):
        yield


def _regressor(**parameters):
    return lambda device: ExponentialReLURegressor(**{**SMALL, **parameters}, device=device)


def _classifier(**parameters):
    return lambda device: ExponentialReLUClassifier(**{**SMALL, **parameters}, device=device)


MODELS = {
    "default": lambda device: ExponentialReLURegressor(max_iter=3, random_state=0, device=device),
    "composed": _regressor(n_levels=2, n_subnetworks=4, max_iter=8),
    "composed, refined": _regressor(n_levels=2, refine_max_iter=2),
    "composed quantiles": _regressor(n_levels=2, loss="quantile", quantile=[0.1, 0.9]),
    "composed shapes": _regressor(n_levels=2, monotonic_cst=[1, 0, 0], convexity={1: "convex"}),
    "composed by adam": _regressor(n_levels=2, n_subnetworks=8, **BY_ADAM),
    "composed classes": _classifier(n_levels=2),
    "one level": _regressor(refine=False),
    "one level, refined": _regressor(refine_max_iter=3),
    "in the limit": _regressor(refine_max_iter=60),
    "free scales": _regressor(smooth=False, refine_max_iter=2),
    "huber": _regressor(loss="huber"),
    "poisson": _regressor(loss="poisson"),
    "quantiles": _regressor(loss="quantile", quantile=[0.1, 0.9]),
    "adam": _regressor(solver="adam", refine_max_iter=2),
    "shapes": _regressor(monotonic_cst=[1, 0, 0], convexity={1: "convex"}, max_iter=20),
    "rising and convex": _regressor(monotonic_cst=[1, 1, 0], convexity={0: "convex"}),
    "shapes by adam": _regressor(convexity={1: "convex"}, **BY_ADAM),
    "two classes": _classifier(),
    "classes": _classifier(refine=True, refine_max_iter=2),
    "classes by adam": _classifier(solver="adam"),
}


def fitted(name, device="cpu", X=None, y=None):
    """Return a model of that name, fitted, and its inputs."""
    if X is None:
        X, y = make_table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MODELS[name](device).fit(X, targets(name, y)), X


def targets(name, y):
    """Return targets that suit a model."""
    if name == "two classes":
        return y > np.median(y)
    return np.digitize(y, np.quantile(y, [0.3, 0.6])) if "classes" in name else y


def outputs(model, X):
    """Return everything that a fitted model tells of inputs, as arrays."""
    parts = [model.predict_gradient(X), model.predict_contributions(X), model.feature_importances_]
    if hasattr(model, "classes_"):
        return [model.decision_function(X), model.predict_proba(X), *parts]
    return [model.predict(X), *parts]


def warm_start():
    """Go on from a fit."""
    X, y = make_table()
    model = ExponentialReLURegressor(**SMALL, refine_max_iter=2, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return outputs(model.fit(X, y).fit(2 * X, y), X)


def stream():
    """Learn from two parts of a table, one after the other."""
    X, y = make_table()
    model = ExponentialReLURegressor(**SMALL, solver="adam")
    for part in (slice(30), slice(30, None)):
        model.partial_fit(X[part], y[part])
    return outputs(model, X)


def exported():
    """Export a network and run it."""
    model, X = fitted("one level")
    network = model.to_torch()
    with torch.no_grad():
        values = network(torch.tensor(X, device="cpu"))
    return [np.asarray(p.detach()) for p in network.parameters()] + [np.asarray(values)]


def exported_blocks():
    """Export a network as blocks and run it; export it as a perceptron."""
    model, X = fitted("composed")
    network = model.to_torch(structure="blocks")
    with torch.no_grad():
        values = network(torch.tensor(X, device="cpu"))
    held = [np.asarray(part) for part in network.state_dict().values()]
    return [*held, np.asarray(values), *model.to_sklearn().coefs_]


def regions():
    """Find regions along a line, in a plane and of a model of one feature."""
    model, _ = fitted("one level")
    line = regions_along(model, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    plane = regions_in_plane(model, [0.0, 0.0], [1.0, 1.0], origin=[0.0, 0.0, 0.5], axes=axes)
    x = np.linspace(0, 1, 40)[:, None]
    curve, _ = fitted("one level", X=x, y=x[:, 0] ** 2)
    whole = curve.linear_regions()
    return [line.breakpoints, np.asarray(plane.n_linear_regions), whole.breakpoints, whole.slopes]


def layers():
    """Train a layer of triangle waves for a few steps, then release it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ExponentialReLULayer(3, 2, depth=3, dtype=torch.float32, device="cpu")
    X = torch.linspace(-1, 1, 60, dtype=torch.float32, device="cpu").reshape(20, 3)
    fit_windows(layer, X)
    with torch.enable_grad():
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            layer(X).square().sum().backward()
            optimizer.step()
        layer = release(layer, optimizer)
        out = layer(X)
    return [np.asarray(out.detach())]


def noisy(device="cpu"):
    """Find noise in a table with a fit in single precision, with matrices that are not small."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 8))
    y = X[:, 0] * X[:, 1] + rng.normal(size=500)
    model = ExponentialReLURegressor(max_iter=20, tol=0.1, random_state=0, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return outputs(model.fit(X, y), X[:50])


def _of(name):
    return lambda: outputs(*fitted(name))


PATHS = {
    **{name: _of(name) for name in MODELS},
    "warm start": warm_start,
    "stream": stream,
    "to_torch": exported,
    "blocks": exported_blocks,
    "regions": regions,
    "noisy": noisy,
    "layers": layers,
}
