"""Experiments: what is measured, kept and made of it."""

import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks import _command, _experiment, _store
from benchmarks._command import main
from benchmarks._data import split_by_size
from benchmarks._experiment import Choice, Experiment, run
from benchmarks._functions import FUNCTIONS
from benchmarks._peers import CLASSIFIERS, REGRESSORS, Peer
from benchmarks._standings import behind, standings
from benchmarks._store import Store
from benchmarks._text import Target, shown
from benchmarks.error_bars import fitted, lower_errors, process, scored, standing_by_rows

COMMANDS = ("paper", "functions", "tables", "classification", "losses", "scale", "estimator",
            "layers", "images", "regions", "optimum", "size", "error_bars",
            "bayesian", "cluster")  # fmt: skip


class Broken(Exception):
    pass


class Sums:
    """An experiment that adds numbers, and breaks off when it is told to."""

    def __init__(self):
        self.calls, self.break_at = [], None

    def measure(self, problem, method, repeat):
        if self.break_at == len(self.calls):
            raise Broken
        self.calls.append((problem, method, repeat))
        return {"total": problem + method + repeat / 3}

    def experiment(self, quick=False, **further):
        def picture(rows):
            figure = Figure()
            figure.subplots().plot(rows["total"])
            return figure

        return Experiment(
            problems={"one": 1, "ten": lambda: 10},
            methods={"plus 100": 100, "plus 200": 200},
            measure=self.measure,
            scores=("total",),
            repeats=3,
            table=lambda rows: rows.pivot_table("total", "problem", "method"),
            targets=lambda rows: [
                Target("largest", rows["total"].max(), 300),
                Target("smallest", rows["total"].min(), 500, at_least=True),
            ],
            files={"sums_small": lambda rows: rows.groupby("method")["total"].mean().to_frame()},
            pictures={"sums": picture},
            note="A note.",
            **further,
        )


@pytest.fixture
def sums(monkeypatch):
    monkeypatch.setattr(_experiment, "warm_up", lambda: None)
    return Sums()


@pytest.fixture
def command(sums, monkeypatch, tmp_path):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sums", "--output", str(tmp_path / "s.txt"), *arguments])
        main("sums", "Sums.", {"sums": sums.experiment})
        return (tmp_path / "s.txt").read_text()

    return call


def totals(store, **further):
    return store.rows(["sums"], **further)["total"].tolist()


def test_methods_take_turns_and_rows_are_exact(sums):
    store = Store(None, ["total"], quick=False)
    run(sums.experiment(), "sums", store)
    assert sums.calls[:4] == [(1, 100, 0), (1, 200, 0), (1, 100, 1), (1, 200, 1)]
    assert totals(store) == [problem + method + r / 3 for problem, method, r in sums.calls]
    rows = store.rows(["sums"])
    assert (rows["cpu_seconds"] >= 0).all()
    assert rows["repeat"].dtype == np.int64


@pytest.mark.parametrize("broken_line", ["", "sums,ten,plus"])
def test_a_run_that_broke_off_resumes_where_it_ended(sums, tmp_path, broken_line):
    path = tmp_path / "rows.csv"
    sums.break_at = 5
    with pytest.raises(Broken):
        run(sums.experiment(), "sums", Store(path, ["total"], quick=False))
    with path.open("a") as file:
        file.write(broken_line)
    sums.break_at = None
    run(sums.experiment(), "sums", Store(path, ["total"], quick=False))
    assert len(sums.calls) == len(set(sums.calls)) == 12
    assert len(totals(Store(path, ["total"], quick=False))) == 12


def test_fresh_measures_again_what_is_chosen(sums, tmp_path):
    store = Store(tmp_path / "rows.csv", ["total"], quick=False)
    run(sums.experiment(), "sums", store)
    chosen = Choice(methods=["plus 100"], problems=["one"])
    run(sums.experiment(), "sums", store, chosen, fresh=True)
    assert len(sums.calls) == 15
    assert len(totals(store)) == 12


def test_rows_of_another_version_or_setting_stay_apart(sums, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    run(sums.experiment(), "sums", Store(path, ["total"], quick=False))
    assert totals(Store(path, ["total"], quick=True)) == []
    assert totals(Store(path, ["total"], quick=False, settings="device=x")) == []
    monkeypatch.setattr(_store.skrelu, "__version__", "9.9")
    store = Store(path, ["total"], quick=False)
    assert totals(store) == []
    assert len(totals(store, lasting=["plus 100"])) == 6
    run(sums.experiment(lasting=["plus 100"]), "sums", store)
    assert sums.calls[12:] == [(p, 200, repeat) for p in (1, 10) for repeat in range(3)]
    assert len(totals(store, lasting=["plus 100"])) == 12


def test_a_method_that_runs_in_batches_is_measured_once(sums):
    def measure(problem, method, repeats):
        sums.calls.append(repeats)
        return [{"repeat": repeat, "total": repeat} for repeat in repeats]

    experiment = Experiment({"one": 1}, {"both": 0}, measure, ["total"], None, 2, ["both"])
    store = Store(None, ["total"], quick=False)
    for _ in range(2):
        run(experiment, "sums", store)
    assert sums.calls == [[0, 1]]
    assert totals(store) == [0, 1]


def test_the_command_makes_text_tables_and_pictures(command, tmp_path):
    text = command()
    assert "largest: 211, target at most 300: met" in text
    assert "smallest: 101, target at least 500: MISSED" in text
    assert "A note." in text
    assert (tmp_path / "s.csv").read_text().count("\n") == 13
    assert (tmp_path / "sums_small.csv").read_text().startswith("method,total\nplus 100,")
    assert (tmp_path / "sums.png").exists()


def test_a_report_measures_nothing_and_says_the_same(command, sums):
    text = command("--repeats", "2")
    assert len(sums.calls) == 8
    assert command("--report").split("sums  (")[1] == text.split("sums  (")[1]
    assert len(sums.calls) == 8


def test_too_few_rows_for_a_report_are_kept_and_said(command, tmp_path, capsys):
    command("--report")
    assert "sums: too little has been measured" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="There is no plus 3; there are one, plus 100"):
        command("--methods", "plus 3")


def test_a_quick_run_keeps_nothing_unless_told_where(sums, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_command, "TABLES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["sums", "--quick"])
    main("sums", "Sums.", {"sums": sums.experiment})
    assert "The targets are set for a full run." in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_peer_whose_package_is_missing_is_left_out_with_a_word(sums, capsys):
    absent = Peer(None, package="no_such_package", install="its-name")
    experiment = Experiment({"one": 1}, {"absent": absent, "two": 2}, sums.measure, ["total"])
    store = Store(None, ["total"], quick=False)
    run(experiment, "sums", store)
    assert "absent is left out: it needs its-name" in capsys.readouterr().out
    assert store.rows(["sums"])["method"].tolist() == ["two"]


def test_what_was_not_measured_misses_its_target():
    assert not Target("nothing", np.nan, 1).met
    assert "MISSED" in Target("nothing", np.nan, 1, at_least=True).verdict()


def test_text_tables_show_three_digits_and_blanks():
    index = pd.MultiIndex.from_product([["x^2", "x^3"], ["a"]])
    frame = pd.DataFrame({"count": [1000, 2], "error": [0.012345, None]}, index)
    x2, x3 = shown(frame).split("\n\n")
    assert x2.splitlines()[-1].split() == ["a", "1000", "0.0123"]
    assert x3.splitlines()[-1].split() == ["a", "2"]


@pytest.mark.parametrize("name", COMMANDS)
def test_experiments_can_be_declared(name):
    module = import_module(f"benchmarks.{name}")
    given = dict.fromkeys(getattr(module, "OPTIONS", {}))
    for make in module.EXPERIMENTS.values():
        for quick in (True, False):
            experiment = make(quick, **given)
            units = list(experiment.units(Choice()))
            assert len(units) == len({str(unit) for unit in units})


@pytest.mark.filterwarnings("ignore")  # other packages warn when they are imported
@pytest.mark.parametrize("peer", [*REGRESSORS.values(), *CLASSIFIERS.values()])
def test_peers_are_made_when_they_are_called(peer):
    if peer.missing:
        pytest.skip(f"needs {peer.missing}")
    assert hasattr(peer(), "fit")


def standing(n_tables=3):
    """Rows of two methods on tables of 100, 10 000, ... rows: "b" loses by .015 on the first."""
    tables = [(f"table {i}", 100 ** (i + 1)) for i in range(n_tables)]
    found = [{"problem": name, "method": method, "repeat": repeat, "n_samples": n, "R2": r2}
             for name, n in tables for repeat in range(2)
             for method, r2 in (("a", 0.5), ("b", 0.485 if n == 100 else 0.6))]  # fmt: skip
    return pd.DataFrame(found).assign(seconds=1.0)


def test_standings_are_by_size_and_say_who_is_behind():
    frame = standings(standing(), "R2", ["a", "b"], False, pd.DataFrame())
    assert frame.loc["to 1000 rows (1)"].tolist() == [1, 2]
    assert frame.loc["to 10 000 (1)"].tolist() == [2, 1]
    assert frame.loc["above (1)"].tolist() == [2, 1]
    line = behind(standing(), "R2", ["a", "b"], "a", False).loc["b"]
    assert line.tolist() == [3, 1, 1, 0, pytest.approx(0.015), "table 0"]


def test_folds_by_size_keep_classes():
    labels = np.arange(30_000) % 7 == 0
    assert [len(split_by_size(n)) for n in (2000, 2001, 20_001)] == [5, 3, 1]
    for n, n_folds in ((5000, 5), (5001, 3), (20_001, 1)):
        splits = split_by_size(n, labels[:n])
        assert len(splits) == n_folds
        for train, test in splits:
            assert labels[train].mean() == pytest.approx(labels[test].mean(), abs=1e-3)


def test_surrogates_without_error_bars_have_an_error_alone():
    rows = FUNCTIONS["Franke"].rows(60, 50)
    peer = REGRESSORS["HistGB"]
    row = scored(fitted(peer, rows.X, rows.y, 0), rows.X_test, rows.y_test, rows.y_test)
    assert row == {"error": pytest.approx(rows.error(peer(0).fit(rows.X, rows.y).predict))}
    with_bars = fitted(process, rows.X, rows.y, 0)
    row = scored(with_bars, rows.X_test, rows.y_test, rows.y_test)
    assert {"error", "nll", "held 50", "held 90"} == set(row)
    assert 0 <= row["held 50"] < row["held 90"] <= 1


def test_surrogates_are_counted_by_rows_and_noise():
    errors = {"skrelu": (1, 4), "GP": (2, 3), "HistGB": (3, 5)}  # of two functions
    found = [{"problem": f"{name}, 300 rows, noise 0", "method": method, "error": error[i],
              "nll": np.nan if method == "HistGB" else error[i], "n_samples": 300}
             for method, error in errors.items() for i, name in enumerate("ab")]  # fmt: skip
    counts = lower_errors(pd.DataFrame(found)).loc["300 rows, noise 0"].dropna()
    assert counts.to_dict() == {"GP": "1/2", "HistGB": "2/2", "all": "1/2"}
    assert standing_by_rows(pd.DataFrame(found)).endswith("that of GP 1 of 2")
