"""Fit and predict on every device of this machine: `python -m benchmarks.devices`.

The same table, network and seed on the CPU and on an accelerator, one after the other in
one process: seconds, and how far the predictions are apart.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from benchmarks._report import table
from skrelu import ExponentialReLURegressor


def devices() -> list[str]:
    """Return the devices that torch can use here."""
    accelerators = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        accelerators.append("mps")
    return ["cpu", *accelerators]


def main() -> None:
    """Print seconds a fit and a prediction by size and device."""
    rng = np.random.default_rng(0)
    rows = []
    for n_samples, n_init in ((1000, 12), (20_000, 4)):
        X = rng.uniform(-1, 1, size=(n_samples, 20))
        y = np.sin(3 * X[:, 0] * X[:, 1]) + X[:, 2] ** 2 + X[:, 3]
        expected = None
        for device in devices():
            model = ExponentialReLURegressor(
                n_subnetworks=24, n_init=n_init, max_iter=20, refine_max_iter=2,
                refine=n_samples < 10_000, tol=0, solver="lm", device=device, random_state=0,
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.set_params(max_iter=1).fit(X, y)  # loads the device's libraries
                begin = time.perf_counter()
                model.set_params(max_iter=20).fit(X, y)
            fitted = time.perf_counter()
            prediction = model.predict(X)
            predicted = time.perf_counter()
            expected = prediction if expected is None else expected
            apart = np.abs(prediction - expected).max() / y.std()
            rows.append(
                [n_samples, device, fitted - begin, predicted - fitted, model.score(X, y), apart]
            )
    print(table(["rows", "device", "fit s", "predict s", "R^2", "apart / std"], rows))


if __name__ == "__main__":
    main()
