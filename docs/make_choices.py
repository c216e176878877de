"""Measure what the advice in ``choosing.rst`` rests on; write tables to ``docs/tables``.

Run from anywhere: ``python docs/make_choices.py``. Two problems: the concrete table, noisy and of
1030 rows, and Friedman's first function without noise, 500 rows to learn from and 5000 to test on.
"""

import csv
import sys
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit

from skrelu import ExponentialReLURegressor

DOCS = Path(__file__).parent
N_SPLITS = 3


def concrete():
    """Yield training and test data: three random splits, a fifth of the rows to test on."""
    path = DOCS.parent / "examples" / "data" / "concrete.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    splits = ShuffleSplit(N_SPLITS, test_size=0.2, random_state=0)
    for train, test in splits.split(table):
        yield table[train, :-1], table[train, -1], table[test, :-1], table[test, -1]


def friedman(noise=0.0):
    """Yield training and test data: three draws; the test targets are free of noise."""
    X_test, y_test = make_friedman1(5000, random_state=1000)
    for draw in range(N_SPLITS):
        X, y = make_friedman1(500, noise=noise, random_state=draw)
        yield X, y, X_test, y_test


def measure(splits, **parameters):
    """Return mean test error (1 - R^2) and mean seconds of a fit, on one level."""
    errors, seconds = [], []
    for X, y, X_test, y_test in splits:
        model = ExponentialReLURegressor(n_levels=1, random_state=0, **parameters)
        start = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        seconds.append(perf_counter() - start)
        errors.append(1 - model.score(X_test, y_test))
    return np.mean(errors), np.mean(seconds)


def write(name, header, rows):
    """Write a table and say so."""
    with (DOCS / "tables" / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
    print(f"Wrote docs/tables/{name}.csv", flush=True)


def rounded(error):
    """Return an error with two significant digits."""
    return f"{error:.2g}"


def sizes(problem, depths, counts):
    """Yield a row of errors for each depth, a column for each number of sub-networks."""
    for depth in depths:
        given = [{"depth": depth, "n_subnetworks": count, "n_init": 4} for count in counts]
        yield [depth, *(rounded(measure(problem(), **each)[0]) for each in given)]


def one_by_one(parameter, values, **others):
    """Yield errors on both problems and seconds on concrete for each value."""
    for value in values:
        error, seconds = measure(concrete(), **{parameter: value}, **others)
        clean, _ = measure(friedman(), **{parameter: value}, **others)
        yield [value, rounded(error), rounded(clean), f"{seconds:.1f}"]


def ridges():
    """Yield errors for each ridge on concrete and on Friedman's function, clean and noisy."""
    for alpha in [0.0, 0.05, 0.5, 5.0, 50.0]:
        problems = [concrete(), friedman(), friedman(noise=1.0)]
        yield [f"{alpha:g}", *(rounded(measure(problem, alpha=alpha)[0]) for problem in problems)]


def main():
    """Write all tables, or those named on the command line."""
    depths, counts = [1, 2, 3, 4, 6], [2, 8, 32]
    size_header = ["depth", *(f"{count} sub-networks" for count in counts)]
    short = ["concrete", "friedman1", "fit on concrete (s)"]
    tables = {
        "n_init": lambda: (
            ["n_init", *short],
            one_by_one("n_init", [1, 2, 4, 8, 12], refine=False),
        ),
        "refine": lambda: (["refine", *short], one_by_one("refine", [False, True])),
        "alpha": lambda: (
            ["alpha", "concrete", "friedman1", "friedman1, noisy"],
            ridges(),
        ),
        "solver": lambda: (
            ["solver", *short],
            one_by_one("solver", ["lm", "adam"], n_init=4, max_iter=500),
        ),
        "size_concrete": lambda: (size_header, sizes(concrete, depths, counts)),
        "size_friedman1": lambda: (size_header, sizes(friedman, depths, counts)),
    }
    for name in sys.argv[1:] or tables:
        header, rows = tables[name]()
        write(name, header, list(rows))


if __name__ == "__main__":
    main()
