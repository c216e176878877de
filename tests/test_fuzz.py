"""Random cases, and that their checks see what they are for."""

import os
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import skrelu
from benchmarks.fuzz.cases import draw_case
from benchmarks.fuzz.examine import examine
from benchmarks.fuzz.outcomes import Finding, Result, fingerprint, is_sentence
from benchmarks.fuzz.tables import NUMBERS, Inputs
from benchmarks.fuzz.targets import Targets, far_from
from skrelu._estimators.parameters import make_loss

# Huge parameters need a process with bounded memory: the command has one for each case.
CASES = [
    pytest.param(n, marks=pytest.mark.long if n >= 30 or n in (7, 12) else [])
    for n in range(60)
    if not draw_case(0, n).has("parameters", "huge")
]
X = np.random.default_rng(0).uniform(size=(30, 2))
LINE = X @ [1.0, -2.0]


@pytest.mark.slow
@pytest.mark.parametrize("number", CASES)
def test_a_random_case_is_fitted_or_refused_in_a_sentence(number):
    case = draw_case(0, number)
    assert examine(case).findings == (), f"python -m benchmarks.fuzz --case {number}"


def test_a_case_depends_on_its_number_alone():
    for number in range(50):
        first, second = draw_case(3, number), draw_case(3, number)
        assert fingerprint(first.data) == fingerprint(second.data)
        assert first.described() == second.described()
        assert repr(first.parameters) == repr(second.parameters)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_fingerprint_tells_of_changes(name):
    make = NUMBERS[name][1]
    values = np.ones((3, 2))
    other = values * [[1], [1], [0]]
    assert fingerprint(make(values)) == fingerprint(make(values))
    assert fingerprint(make(values)) != fingerprint(make(other))


class Line(LinearRegression):
    """A model with everything that is checked, and right."""

    y_limits_ = None
    feature_importances_ = np.array([0.4, 0.6])
    X_scale_ = np.ones(2)

    def __init__(self, max_iter=1, random_state=None, **_):
        super().__init__()
        self.max_iter, self.random_state = max_iter, random_state

    def encode(self, X):
        return np.asarray(X, dtype=float)

    def predict_gradient(self, X):
        return np.tile(self.coef_, (len(X), 1))

    def predict_contributions(self, X):
        return np.column_stack([X * self.coef_, np.full(len(X), self.intercept_)])

    def to_torch(self):
        layer = torch.nn.utils.skip_init(torch.nn.Linear, 2, 1, dtype=torch.float64)
        layer.weight.data[:] = torch.tensor(self.coef_)
        layer.bias.data[:] = float(self.intercept_)
        return layer


def in_skrelu(source):
    """Return ``fit(self, X, y)`` of many rows with a source, as if it were in the package."""
    names = {"np": np, "Line": Line, "random": random, "os": os, "warnings": warnings}
    file = Path(skrelu.__file__).with_name("_made_up.py")
    few = "    if len(y) < 20: return Line.fit(self, X, y)"
    exec(compile(f"def fit(self, X, y):\n{few}\n    {source}", file, "exec"), names)
    return names["fit"]


class Nan(Line):
    def predict(self, X):
        return super().predict(X) * np.nan


class Long(Line):
    def predict(self, X):
        return np.zeros(len(X) + 1)


class Shifted(Line):
    def predict(self, X):
        return super().predict(X) + 9


class Bent(Line):
    def predict(self, X):
        return np.clip(super().predict(X), LINE.min(), LINE.max())


class Unkept(Line):
    def __setstate__(self, state):
        super().__setstate__(state | {"intercept_": 1e3})


class RaisingLater(Line):
    def predict_gradient(self, X):
        raise ValueError("a sentence, but too late")


FITS = {
    "sums of different lengths": "return np.zeros(2) + np.zeros(3)",
    "runtime error": "raise RuntimeError('however many words this may have')",
    "one word": "raise ValueError('no')",
    "input": "X[0] = 0; return Line.fit(self, X, y)",
    "np.random": "np.random.uniform(); return Line.fit(self, X, y)",
    "random": "random.random(); return Line.fit(self, X, y)",
    "environment": "os.environ['FUZZ'] = '1'; return Line.fit(self, X, y)",
    "filters": "warnings.simplefilter('ignore'); return Line.fit(self, X, y)",
    "warning": "np.float64(1e308) * 10; return Line.fit(self, X, y)",
    "repeated": "return Line.fit(self, X, y + np.arange(len(y)) * (id(self) % 997) * 1e-9)",
    "forgetting": "Line.fit(self, X, y); raise ValueError('more than twenty rows')",
    "memory": "np.ones(10**15)",
}
STUBS = {name: type("Stub", (Line,), {"fit": in_skrelu(source)}) for name, source in FITS.items()}


def case_of(estimator, **changes):
    """Return a case of a line, of an estimator that knows lines."""
    inputs = Inputs(X.copy(), X, X.shape, "uniform", "as drawn", "C order", None)
    targets = Targets(LINE, LINE, "linear", "as drawn", _line(far_from(X)), None)
    case = replace(
        draw_case(0, 0),
        estimator=estimator,
        parameters={"random_state": 0},
        data={"X": inputs.X, "y": LINE.copy()},
        inputs=inputs,
        targets=targets,
        tags=(("validation", "none"), ("weights", "none")),
        earlier=None,
        reasons=(),
    )
    return replace(case, **changes)


def _line(X):
    return X @ [1.0, -2.0]


@pytest.mark.parametrize(
    ("estimator", "outcome"),
    [
        (Line, "fitted"),
        (Nan, "non-finite"),
        (Long, "wrong shape"),
        (Shifted, "biased"),
        (Shifted, "to_torch differs"),
        (Shifted, "parts differ"),
        (Bent, "not linear"),
        (Unkept, "pickle differs"),
        (RaisingLater, "raises later"),
        (STUBS["sums of different lengths"], "foreign"),
        (STUBS["runtime error"], "foreign"),
        (STUBS["one word"], "foreign"),
        (STUBS["input"], "state changed"),
        (STUBS["np.random"], "state changed"),
        (STUBS["random"], "state changed"),
        (STUBS["environment"], "state changed"),
        (STUBS["filters"], "state changed"),
        (STUBS["warning"], "warned"),
        (STUBS["repeated"], "refit differs"),
        (STUBS["forgetting"], "model lost"),
        (STUBS["memory"], "over memory"),
    ],
)
def test_a_fault_is_seen(estimator, outcome, monkeypatch):
    monkeypatch.setenv("FUZZ", "0")
    assert outcome in examine(case_of(estimator)).outcomes


def test_a_fit_of_what_must_be_refused_is_seen():
    assert examine(case_of(Line, reasons=("a test",))).outcomes == {"not refused"}


def test_a_sentence_is_one_that_the_package_or_scikit_learn_wrote():
    def raised(function, *arguments):
        with pytest.raises(Exception, match=r".") as info:
            function(*arguments)
        return info.value

    assert is_sentence(raised(make_loss, "quantile", None))
    assert is_sentence(raised(Line().fit, X, LINE[1:]))
    assert is_sentence(raised(Line().fit, X * np.nan, LINE))
    assert not is_sentence(raised(in_skrelu("raise KeyError('four words are here')"), 0, X, X))
    assert not is_sentence(raised(in_skrelu("np.split(np.ones(3), 2)"), 0, X, X))
    assert not is_sentence(raised(in_skrelu("int('a number of words')"), 0, X, X))


def _busy():
    while True:
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (_busy, "over time"),
        (lambda: os._exit(3), "crashed"),
        (lambda: np.ones(2**32), "over memory"),
        (lambda: None, "fitted"),
    ],
)
def test_a_case_in_trouble_is_counted_and_the_next_one_runs(trouble, outcome, monkeypatch):
    pytest.importorskip("resource")
    from benchmarks.fuzz import worker

    def examine(case):
        if case.number == 1:
            trouble()
        return Result(case.number, case.tags, "fitted")

    monkeypatch.setattr(worker, "examine", examine)
    monkeypatch.setattr(worker, "SECONDS", 0.1)
    ended = {result.number: result for result in worker.results(0, range(3))}
    assert [ended[number].outcomes for number in range(3)] == [{"fitted"}, {outcome}, {"fitted"}]


def test_the_report_counts_and_names_a_command_for_each_failure():
    pytest.importorskip("resource")
    from benchmarks.fuzz.__main__ import report

    tags = (("estimator", "regressor"),)
    failed = Result(7, tags, "refused", "no", (Finding("foreign", "KeyError: 3"),))
    text = report([Result(1, tags, "fitted"), failed], seed=5)
    assert "python -m benchmarks.fuzz --seed 5 --case 7  # foreign: KeyError: 3" in text
    assert "failing cases: 1 of 2" in text
    (line,) = (line for line in text.splitlines() if line.startswith("estimator: regressor"))
    assert line.split()[2:] == ["2", "1", "1"]
