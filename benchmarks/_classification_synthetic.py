"""Networks of one size trained in several ways to tell spirals apart, and temperatures."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from torch import nn

from benchmarks._classification_scores import score
from benchmarks._classification_sources import LABELLED, folds, two_spirals
from benchmarks._comparison import one_silent_thread, timed_fit
from benchmarks._report import table, verdict
from skrelu import ExponentialReLUClassifier
from skrelu.nn import ExponentialReLULayer, parameter_groups, release

PAPER = 0.0032  # cross-entropy of 16 block-diagonal sub-networks; 0.63 from default weights
N_SUBNETWORKS, DEPTH = 16, 5
N_SEEDS, N_STEPS = 10, 1000  # of each stage
LEARNING_RATES = 1e-3, 1e-2
Losses = Callable[[np.ndarray], np.ndarray]


def spirals(quick: bool, **_) -> str:
    """Return losses of networks of one size on two spirals of two turns."""
    n_seeds, steps = (2, 20) if quick else (N_SEEDS, N_STEPS)
    ways = {"skrelu": lambda X, y, seed: _estimator(X, y, seed)}
    for lr in LEARNING_RATES:
        for form in ("blocks", "dense"):
            ways[f"layer, {form}, Adam {lr:g}"] = _trained(_triangles, form, lr, steps)
            ways[f"default, {form}, Adam {lr:g}"] = _trained(_default, form, lr, steps)
    rows, ours, slowest = [], 0.0, 0.0
    for name, fit in ways.items():
        found = []
        for seed in range(n_seeds):
            X, y = two_spirals(random_state=seed)
            other = two_spirals(random_state=1000 + seed)
            with one_silent_thread():
                begin = time.perf_counter()
                proba = fit(X, y.astype(int), seed)
                seconds = time.perf_counter() - begin
                found.append([*_losses(proba, X, y), *_losses(proba, *other), seconds])
        loss, accuracy, test, test_accuracy, seconds = np.transpose(found)
        rows.append([
            name, loss.min(), float(np.median(loss)), loss.max(), accuracy.min(),
            float(np.median(test)), test_accuracy.min(), float(np.median(seconds)),
        ])  # fmt: skip
        if name == "skrelu":
            ours, slowest, least = loss.max(), seconds.max(), accuracy.min()
    header = ["", "CE min", "median", "max", "accuracy min", "test CE median", "accuracy min", "s"]
    lines = [
        verdict("cross-entropy of skrelu, largest", ours, PAPER),
        verdict("accuracy of skrelu, least", least, 1, at_least=True),
        verdict("seconds of skrelu, most", slowest, 5),
    ]
    return "\n".join([table(header, rows), "", SPIRALS_NOTE, *lines])


SPIRALS_NOTE = f"""\
Two spirals of two turns, 1000 points to learn from and 1000 others to test on; {N_SEEDS} seeds.
{N_SUBNETWORKS} sub-networks, 4 wide and {DEPTH} deep. skrelu: ExponentialReLUClassifier, one start,
alpha 1e-4, tol 1e-2, no rows held out, not released. layer: skrelu.nn.ExponentialReLULayer,
{N_STEPS} full steps with peaks and {N_STEPS} released. default: as many steps from the weights that
torch draws by default, in the same blocks or dense."""


def _losses(proba: Losses, X, y) -> tuple[float, float]:
    p = proba(X)
    return float(log_loss(y, p)), float((p.argmax(1) == y.astype(int)).mean())


def _estimator(X, y, seed: int) -> Losses:
    model = ExponentialReLUClassifier(
        depth=DEPTH,
        n_subnetworks=N_SUBNETWORKS,
        n_init=1,
        alpha=1e-4,
        tol=1e-2,
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(X, y).predict_proba


def _trained(make, form: str, lr: float, steps: int):
    def fit(X, y, seed: int) -> Losses:
        torch.manual_seed(seed)
        mean, scale = X.mean(0), X.std(0)
        inputs = torch.tensor((X - mean) / scale, dtype=torch.float32)
        targets = torch.tensor(y, dtype=torch.float32)
        model = make(form)
        optimizer = torch.optim.Adam(parameter_groups(model, lr), lr=lr)
        for step in range(2 * steps):
            if step == steps and make is _triangles:
                release(model, optimizer, dense=form == "dense")
            optimizer.zero_grad()
            logits = model(inputs)[:, 0]
            nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
            optimizer.step()

        @torch.no_grad()
        def proba(X):
            moved = torch.tensor((X - mean) / scale, dtype=torch.float32)
            p = model(moved)[:, 0].double().sigmoid().numpy()
            return np.column_stack([1 - p, p])

        return proba

    return fit


def _triangles(form: str) -> nn.Module:
    return nn.Sequential(ExponentialReLULayer(2, 1, DEPTH, N_SUBNETWORKS))


def _default(form: str) -> nn.Module:
    """Return the same network with the weights that torch draws by default."""
    layer = ExponentialReLULayer(2, 1, DEPTH, N_SUBNETWORKS).release(dense=form == "dense")
    fan_in = 2
    for parameter in layer.parameters():
        if parameter.dim() > 1:
            fan_in = parameter.shape[-1]
        nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
    return nn.Sequential(layer)


def temperature(quick: bool, **_) -> str:
    """Return log-losses with and without a temperature that is found by cross-validation."""
    rows = []
    for name, source in list(LABELLED["choose"].items())[: 2 if quick else None]:
        X, y = source.load()
        found = []
        for train, test in list(folds(y))[: 1 if quick else None]:
            with one_silent_thread():
                plain = ExponentialReLUClassifier(random_state=0)
                plain, seconds = timed_fit(lambda m=plain: m, X[train], y[train])
                scaled = CalibratedClassifierCV(
                    ExponentialReLUClassifier(random_state=0),
                    method="temperature",
                    cv=StratifiedKFold(5, shuffle=True, random_state=0),  # some tables are sorted
                    ensemble=False,
                )
                scaled, more = timed_fit(lambda m=scaled: m, X[train], y[train])
                loss, by_temperature = (score(m, X[test], y[test])[0] for m in (plain, scaled))
                found.append([loss, by_temperature, more / seconds])
        rows.append([name, *map(float, np.mean(found, 0))])
    better = sum(row[2] < row[1] for row in rows)
    ratio = float(np.exp(np.mean([np.log(row[2] / row[1]) for row in rows])))
    header = ["log-loss", "as fitted", "temperature", "times the seconds"]
    line = f"better with a temperature on {better} of {len(rows)}, mean ratio {ratio:.3f}"
    return "\n".join([table(header, rows), "", TEMPERATURE_NOTE, line])


TEMPERATURE_NOTE = """\
Log-loss on the tables of "choose", means over folds. Temperature: CalibratedClassifierCV with
method="temperature", which divides the logits by a number found by cross-validation."""
