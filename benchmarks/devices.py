"""Fit and predict on every device of this machine: seconds, and how far predictions are apart.

docs/tables/devices.txt is of a machine with a GPU: rows and text are kept with --output only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

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
        tol=0, max_iter=20, solver="lm", random_state=0,
    )  # fmt: skip
    return model, X, y


def noisy(rng: np.random.Generator, n_samples: int):
    """Return the default estimator, X and y of a table whose columns are encoded."""
    X = rng.normal(size=(n_samples, 20))
    y = X[:, 0] * X[:, 1] + np.sign(X[:, 2]) + X[:, 3] + rng.normal(size=n_samples)
    return ExponentialReLURegressor(random_state=0), X, y


def everything(quick: bool) -> Experiment:
    """Fit the same table, network and seed on all devices, one after the other in one process."""
    rng, sizes = np.random.default_rng(0), [(1000, 12)] if quick else [(1000, 12), (20_000, 4)]
    data = {f"{n} rows": problem(rng, n, n_init) for n, n_init in sizes}
    for n in [1000] if quick else [1000, 30_000, 300_000]:
        data[f"{n} rows, default, noise"] = noisy(rng, n)

    def measure(problem, names: list[str], repeat: int) -> list[Row]:
        (model, X, y), rows, expected = problem, [], None
        for name in names:
            model.set_params(device=name)
            clone(model).set_params(max_iter=1).fit(X[:500], y[:500])  # loads its libraries
            _, seconds = timed(model.fit, X, y)
            prediction, predicted = timed(model.predict, X)
            expected = prediction if expected is None else expected
            apart = np.abs(prediction - expected).max() / y.std()
            kinds = " + ".join(model.kinds_) or "waves"
            rows.append({"device": name, "fit": kinds, "n_samples": len(X), "apart": apart,
                         "R2": model.score(X, y), "predict": predicted["wall_seconds"],
                         **seconds})  # fmt: skip
        return rows

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        names = {"n_samples": "rows", "fit": "kinds", "device": "device", "wall_seconds": "fit s",
                 "predict": "predict s", "R2": "R^2", "apart": "apart / std"}  # fmt: skip
        return rows[list(names)].rename(columns=names).set_index("rows")

    return Experiment(
        problems=data, methods={"all devices": devices()}, measure=measure,
        scores=("device", "fit", "n_samples", "R2", "apart", "predict"),
        table=table, n_threads=None,
    )  # fmt: skip


if __name__ == "__main__":
    main("devices", __doc__ or "", {"devices": everything}, kept=False)
