"""pykan as a peer: fitted the way its first tutorial does, in float64."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What to install for it: pykan declares no dependencies, the last three are its own.
PYKAN = "pykan pandas pyyaml tqdm"


def fit_pykan(
    X: Array, y: Array, seed: int, width: Sequence[int], n_intervals: int
) -> tuple[Callable[[Array], Array], int]:
    """Fit a network of cubic splines to the standardized target by 50 steps of L-BFGS.

    Its initial least squares differ by rounding from call to call, which training amplifies:
    with hidden layers the error does not repeat even for one seed.

    Parameters
    ----------
    X : ndarray of shape (n_samples, width[0])
        Near [-1, 1], where its grids start.
    y : ndarray of shape (n_samples,)
    seed : int
    width : sequence of int
        Number of nodes of each layer, inputs and the one output included.
    n_intervals : int
        Of the grid of each spline.

    Returns
    -------
    predict : callable
    n_parameters : int
        Spline coefficients and scales that it trains, without the knots.
    """
    kan = import_module("kan")
    mean, scale = y.mean(), y.std()
    inputs, targets = torch.tensor(X), torch.tensor((y[:, None] - mean) / scale)
    data = {"train_input": inputs, "train_label": targets}
    data |= {"test_input": inputs, "test_label": targets}  # required
    with global_generators_kept(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        model = kan.KAN(list(width), n_intervals, k=3, seed=seed, auto_save=False).double()
        model.fit(data, opt="LBFGS", steps=50)
    trained = [p for layer in model.act_fun for p in layer.parameters() if p.requires_grad]

    def predict(points: Array) -> Array:
        with torch.no_grad():
            return model(torch.tensor(points))[:, 0].numpy() * scale + mean

    return predict, sum(part.numel() for part in trained)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Undo what is done to the global generators of torch, numpy and the standard library."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
