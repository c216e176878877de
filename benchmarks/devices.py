"""Fit and predict on every device of this machine: seconds, and how far predictions are apart.

docs/tables/devices.txt is of a machine with a GPU: rows and text are kept with --output only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from benchmarks._command import main
from benchmarks._experiment import Experiment, Row, timed
from skrelu import ExponentialReLURegressor


def devices() -> list[str]:
    """Return the devices that torch can use here."""
    accelerators = ["cuda"] if torch.cuda.is_available() else []
    return ["cpu", *accelerators, *(["mps"] if torch.backends.mps.is_available() else [])]


def problem(rng: np.random.Generator, n_samples: int, n_init: int):
    """Return the estimator, X and y."""
    X = rng.uniform(-1, 1, size=(n_samples, 20))
    y = np.sin(3 * X[:, 0] * X[:, 1]) + X[:, 2] ** 2 + X[:, 3]
    model = ExponentialReLURegressor(
        n_subnetworks=24, n_init=n_init, refine_max_iter=2, refine=n_samples < 10_000,
        tol=0, solver="lm", random_state=0,
    )  # fmt: skip
    return model, X, y


def everything(quick: bool) -> Experiment:
    """Fit the same table, network and seed on all devices, one after the other in one process."""
    rng, sizes = np.random.default_rng(0), [(1000, 12)] if quick else [(1000, 12), (20_000, 4)]
    data = {f"{n} rows": problem(rng, n, n_init) for n, n_init in sizes}

    def measure(problem, names: list[str], repeat: int) -> list[Row]:
        (model, X, y), rows, expected = problem, [], None
        for name in names:
            model.set_params(device=name, max_iter=1).fit(X, y)  # loads the device's libraries
            _, seconds = timed(model.set_params(max_iter=20).fit, X, y)
            prediction, predicted = timed(model.predict, X)
            expected = prediction if expected is None else expected
            apart = np.abs(prediction - expected).max() / y.std()
            rows.append({"device": name, "n_samples": len(X), "R2": model.score(X, y),
                         "apart": apart, "predict": predicted["wall_seconds"],
                         **seconds})  # fmt: skip
        return rows

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        names = {"n_samples": "rows", "device": "device", "wall_seconds": "fit s",
                 "predict": "predict s", "R2": "R^2", "apart": "apart / std"}  # fmt: skip
        return rows[list(names)].rename(columns=names).set_index("rows")

    return Experiment(
        problems=data, methods={"all devices": devices()}, measure=measure,
        scores=("device", "n_samples", "R2", "apart", "predict"), table=table, n_threads=None,
    )  # fmt: skip


if __name__ == "__main__":
    main("devices", __doc__ or "", {"devices": everything}, kept=False)
