"""Compare classifiers by log-loss on real tables, with default parameters or sensible settings.

"synthetic" are moons, circles and spirals. Beside them "spirals" trains networks of one size in
several ways, and "temperature" says what scaling logits would do. Up to 5000 rows five stratified
folds, up to 20 000 three, above one split.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from benchmarks._command import main, named
from benchmarks._data import folds, split_by_size
from benchmarks._experiment import Experiment, Row, timed
from benchmarks._peers import CLASSIFIERS, OURS, Peer
from benchmarks._sources import LABELLED, N_FOLDS, SYNTHETIC, as_numbers, two_spirals
from benchmarks._standings import by_table, ranks, standings
from benchmarks._text import Target, summary
from skrelu.nn import ExponentialReLULayer, parameter_groups, release

LEAST_PROBABILITY = 1e-15
SCORES = ("logloss", "accuracy", "auc", "n_samples")
# Rows that a peer is tried on.
FEW_ROWS = {"MLP tuned": 5000, "RealMLP": 1500, "RealMLP log-loss": 1500, "TabM": 1500,
            "xRFM": 1500, "EBM": 600}  # fmt: skip
NEURAL = ("MLP", "MLP tuned", "RealMLP", "RealMLP log-loss")
NOTE = """\
Log-loss, means over folds, blank where a method did not run. Ranks by log-loss, on the folds that
all ranked methods share; they are among the methods that ran on all tables, or on all up to 1000
rows, to 10 000 and above. AUC: the mean over classes. One thread. Boosting and EBM get categories
and missing values as they are; all others the same numbers: one column a category (at most 30, of 5
rows or more), medians and an indicator of what is missing. Logistic, MLP: X standardized. MLP
tuned: grid search by log-loss in 3 shuffled folds, over early stopping or not, alpha and size.
RealMLP log-loss: without label smoothing, the best epoch by cross-entropy, as pytabkit advises for
log-loss; TabM, xRFM: the best step by cross-entropy. The rest: defaults. Rows at most: MLP tuned
5000; RealMLP, TabM, xRFM 1500; EBM 600. Median s: over the tables that a method ran on."""
TABLES = {
    **{tier: {name: source.classes for name, source in LABELLED[tier].items()}
       for tier in ("confirm", "choose")},
    "synthetic": SYNTHETIC,
}  # fmt: skip


def score(model, X, y) -> Row:
    """Return log-loss, accuracy and AUC of a classifier, from probabilities of 1e-15 or more.

    AUC is the mean over classes of each against the rest.
    """
    proba = model.predict_proba(X)  # (n_samples, n_classes)
    classes = np.asarray(model.classes_)  # sorted
    answer = proba[np.arange(len(y)), np.searchsorted(classes, y)]
    loss = -np.mean(np.log(np.clip(answer, LEAST_PROBABILITY, 1)))
    aucs = [roc_auc_score(y == c, p) for c, p in zip(classes, proba.T, strict=True) if c in y]
    accuracy = np.mean(classes[proba.argmax(1)] == y)
    return {"logloss": float(loss), "accuracy": float(accuracy), "auc": float(np.mean(aucs))}


def measure(data, peer: Peer, fold: int) -> Row | list[Row]:
    """Fit to a fold and test on its other rows, if the table is not too large for the method."""
    X, y = data
    X = pd.DataFrame(X).add_prefix("x") if isinstance(X, np.ndarray) else X
    X = X if peer.mixed else pd.DataFrame(as_numbers(X))
    splits = split_by_size(len(y), y)
    if fold >= len(splits) or len(y) > FEW_ROWS.get(_name(peer), len(y)):
        return []
    parts = [X.iloc[rows] if peer.mixed else X.to_numpy()[rows] for rows in splits[fold]]
    train, test = splits[fold]
    model, seconds = timed(lambda: peer().fit(parts[0], y[train]))
    return {**score(model, parts[1], y[test]), "n_samples": len(y), **seconds}


def _name(peer: Peer) -> str:
    return next((name for name, known in CLASSIFIERS.items() if known is peer), "")


def tier(name: str, quick: bool) -> Experiment:
    """Fit methods to the tables of a tier, and say how they compare."""
    return Experiment(
        problems=dict(list(TABLES[name].items())[: 2 if quick else None]), methods=CLASSIFIERS,
        measure=measure, scores=SCORES, repeats=1 if quick else N_FOLDS,
        lasting=[method for method in CLASSIFIERS if method != OURS], table=table,
        report=fewer_folds, targets=targets, note=NOTE,
    )  # fmt: skip


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return log-loss of every method on every table, ranks and what they say."""
    lines = {"mean rank, neural": ranks(rows, "logloss", (OURS, *NEURAL), True)}
    for score in ("accuracy", "auc"):
        found = by_table(rows, score)
        lines[f"mean {score}"] = found.loc[:, found.notna().all()].mean()
    return standings(rows, "logloss", list(CLASSIFIERS), True, pd.DataFrame(lines))


def fewer_folds(rows: pd.DataFrame) -> str:
    """Return a line on the methods that ran on fewer folds of a table than others."""
    sizes = rows.groupby(["method", "problem"], sort=False).size()
    part = (sizes / sizes.groupby(level="problem").transform("max")).groupby(level=0).min()
    few = [f"{m}: {n:.0%} of the folds of a table, or more" for m, n in part.items() if n < 1]
    return "\n".join(few) or "All methods ran on all folds of their tables."


def targets(rows: pd.DataFrame) -> list[Target]:
    """Return a target for each peer, as far as skrelu ran on all tables."""
    wanted = []
    for what, names in (("mean rank", CLASSIFIERS), ("mean rank among neural peers",
                                                     (OURS, *NEURAL))):  # fmt: skip
        rank = ranks(rows, "logloss", list(names), True)
        peers = [peer for peer in rank.index if peer != OURS] if OURS in rank else []
        wanted += [Target(f"{what} minus that of {p}", rank[OURS] - rank[p], 0) for p in peers]
    return wanted


PAPER = 0.0032  # cross-entropy of 16 block-diagonal sub-networks; 0.63 from default weights
N_SUBNETWORKS, DEPTH = 16, 5


class Trained:
    """A network of the spirals' size, trained by full-batch Adam in float32, twice n_steps.

    It is a layer of triangle waves, released halfway, or of default weights; its hidden layers are
    dense or block-diagonal (the waves' when they are released).
    """

    def __init__(self, waves: bool, dense: bool, lr: float, n_steps: int) -> None:
        self.waves, self.dense, self.lr, self.n_steps = waves, dense, lr, n_steps

    def __call__(self, seed: int):
        """Return a model that begins with this seed."""
        self.seed = seed
        return self

    def fit(self, X, y):
        """Train."""
        torch.manual_seed(self.seed)
        self.mean, self.scale = X.mean(0), X.std(0)
        inputs, targets = self._tensor(X), torch.tensor(y, dtype=torch.float32)
        self.network = nn.Sequential(self._layer())
        optimizer = torch.optim.Adam(parameter_groups(self.network, self.lr), lr=self.lr)
        for step in range(2 * self.n_steps):
            if step == self.n_steps and self.waves:
                release(self.network, optimizer, dense=self.dense)
            optimizer.zero_grad()
            logits = self.network(inputs)[:, 0]
            nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
            optimizer.step()
        return self

    def _layer(self) -> nn.Module:
        layer = ExponentialReLULayer(2, 1, DEPTH, N_SUBNETWORKS)
        if self.waves:
            return layer
        layer.release(dense=self.dense)
        fan_in = 2
        for parameter in layer.parameters():  # as torch draws by default
            fan_in = parameter.shape[-1] if parameter.dim() > 1 else fan_in
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
        return layer

    def _tensor(self, X):
        return torch.tensor((X - self.mean) / self.scale, dtype=torch.float32)

    @torch.no_grad()
    def predict_proba(self, X):
        """Return probabilities (n_samples, 2)."""
        p = self.network(self._tensor(X))[:, 0].double().sigmoid().numpy()
        return np.column_stack([1 - p, p])


def spirals(quick: bool) -> Experiment:
    """Compare networks of one size on two spirals of two turns."""
    n_seeds, n_steps = (2, 20) if quick else (10, 1000)
    ours = {"depth": DEPTH, "n_subnetworks": N_SUBNETWORKS, "n_init": 1, "alpha": 1e-4}
    ways = {OURS: CLASSIFIERS[OURS].set(**ours, tol=1e-2, early_stopping=False)}
    for lr in (1e-3, 1e-2):
        for dense in (False, True):
            end = f"{'dense' if dense else 'blocks'}, Adam {lr:g}"
            ways[f"layer, {end}"] = Trained(True, dense, lr, n_steps)
            ways[f"default, {end}"] = Trained(False, dense, lr, n_steps)

    def measure(problem, way, seed: int) -> Row:
        data = {
            "ce": two_spirals(random_state=seed),
            "test_ce": two_spirals(random_state=1000 + seed),
        }
        X, y = data["ce"]
        model, seconds = timed(lambda: way(seed).fit(X, y.astype(int)))
        row = dict(seconds)
        for name, (X, y) in data.items():
            proba = model.predict_proba(X)
            row[name] = float(log_loss(y, proba))
            row[name.replace("ce", "accuracy")] = float((proba.argmax(1) == y.astype(int)).mean())
        return row

    columns = {"CE min": ("ce", "min"), "median": ("ce", "median"), "max": ("ce", "max"),
               "accuracy min": ("accuracy", "min"), "test CE median": ("test_ce", "median"),
               "test accuracy min": ("test_accuracy", "min"),
               "s": ("seconds", "median")}  # fmt: skip

    def targets(rows: pd.DataFrame) -> list[Target]:
        rows = rows[rows["method"] == OURS]
        return [
            Target("cross-entropy of skrelu, largest", rows["ce"].max(), PAPER),
            Target("accuracy of skrelu, least", rows["accuracy"].min(), 1, at_least=True),
            Target("seconds of skrelu, most", rows["seconds"].max(), 5),
        ]

    return Experiment(
        problems={"spirals": None}, methods=ways, measure=measure,
        scores=("ce", "accuracy", "test_ce", "test_accuracy"), repeats=n_seeds,
        table=summary(["method"], columns, " "), targets=targets,
        note=f"""\
Two spirals of two turns, 1000 points to learn from and 1000 others to test on; {n_seeds} seeds.
{N_SUBNETWORKS} sub-networks, 4 wide and {DEPTH} deep. skrelu: ExponentialReLUClassifier, one start,
alpha 1e-4, tol 1e-2, no rows held out, not released. layer: skrelu.nn.ExponentialReLULayer,
{n_steps} full steps with peaks and {n_steps} released. default: as many steps from the weights that
torch draws by default, in the same blocks or dense.""",
    )  # fmt: skip


def temperature(quick: bool) -> Experiment:
    """Compare log-losses with and without a temperature that is found by cross-validation."""

    def scaled(random_state: int) -> CalibratedClassifierCV:
        by = folds(5, stratified=True)
        model = CLASSIFIERS[OURS](random_state)
        return CalibratedClassifierCV(model, method="temperature", cv=by, ensemble=False)

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        pairs = rows.pivot(index=["problem", "repeat"], columns="method", values="seconds")
        times = (pairs["temperature"] / pairs["as fitted"]).groupby(level=0).mean()
        return by_table(rows, "logloss").assign(**{"times the seconds": times})

    def better(rows: pd.DataFrame) -> str:
        ratio = table(rows)["temperature"] / table(rows)["as fitted"]
        mean = float(np.exp(np.log(ratio).mean()))
        n_better = (ratio < 1).sum()
        return f"better with a temperature on {n_better} of {len(ratio)}, mean ratio {mean:.3f}"

    return Experiment(
        problems=dict(list(TABLES["choose"].items())[: 2 if quick else None]),
        methods={"as fitted": CLASSIFIERS[OURS], "temperature": Peer(scaled)}, measure=measure,
        scores=SCORES, repeats=1 if quick else N_FOLDS, table=table, report=better,
        note="""\
Log-loss on the tables of "choose", means over folds. Temperature: CalibratedClassifierCV with
method="temperature", which divides the logits by a number found by cross-validation.""",
    )  # fmt: skip


EXPERIMENTS = {name: partial(tier, name) for name in TABLES} | named(spirals, temperature)

if __name__ == "__main__":
    main("classification", __doc__ or "", EXPERIMENTS)
