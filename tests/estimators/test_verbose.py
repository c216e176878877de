"""What ``verbose`` prints, and scikit-learn's bars of progress."""

import re
from dataclasses import replace
from multiprocessing.process import current_process
from threading import Thread

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.callback import ProgressBar
from sklearn.model_selection import GridSearchCV

from skrelu import CompressedRegressor, ExponentialReLURegressor, compress
from skrelu._solvers.progress import Evaluation, Options, Progress
from tests.estimators.test_callbacks import Recorder
from tests.paths import MODELS, SMALL, make_table, targets

X, y = make_table()
ITERATION = re.compile(r"\[skrelu\] [\w ]+ (\d+): loss = [\d.e+-]+(, validation loss = \S+)?, ")
STAGE = re.compile(r"\[skrelu\] ([\w ]+): (?:(\d+) iterations?, )?(?:.*, )?([\d.]+) s")
SUMMARY = re.compile(r"\[skrelu\] fit: (.*); ended because (.*); ([\d.]+) s in all")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = ["one level, refined", "adam", "classes"]
# Paths of many iterations, whose lines are those of other paths.
MANY = ["composed by adam", "shapes by adam", "huber", "quantiles", "composed quantiles"]


def lines_of(model, X, y, capsys):
    model.fit(X, y)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.slow] * (name not in FAST) + [pytest.mark.long] * (name in MANY),
        )
        for name in MODELS
    ],
)
def test_lines_have_all_iterations_of_each_path(name, capsys):
    model = MODELS[name]("cpu").set_params(verbose=2)
    *lines, last = lines_of(model, X, targets(name, y), capsys)
    iterations = [line for line in lines if ITERATION.match(line)]
    tried = len(iterations) - model.n_iter_  # of networks that were tried, and are not the model
    assert tried == 0 or (name == "default" and tried > 0)
    assert all(" s of iterations left" in line for line in iterations)
    stages = [STAGE.fullmatch(line) for line in lines if line not in iterations]
    counts = [int(stage[2]) for stage in stages if stage[2] and stage[1] != "looking for noise"]
    assert sum(counts) == len(iterations)
    total = float(SUMMARY.fullmatch(last)[3])
    assert sum(float(stage[3]) for stage in stages) <= total + 0.05 * len(stages) + 0.05
    # With 1 there are the same lines, without those of iterations.
    fewer = lines_of(model.set_params(verbose=1), X, targets(name, y), capsys)
    names = [line.split(":")[0] for line in [*lines, last] if line not in iterations]
    assert [line.split(":")[0] for line in fewer] == names
    assert lines_of(model.set_params(verbose=False), X, targets(name, y), capsys) == []


def chosen(model, X, y, capsys):
    return SUMMARY.fullmatch(lines_of(model.set_params(verbose=True), X, y, capsys)[-1])


def test_the_summary_tells_what_was_chosen_and_why_it_ended(capsys):
    few = {"n_init": 2, "refine": False, "random_state": 0}
    one_level = ExponentialReLURegressor(n_levels=1, n_subnetworks=2, max_iter=3, **few)
    found = chosen(one_level, X, y, capsys)
    assert found[1].startswith("average of 2 starts of 2 sub-networks on one level; score on other")
    assert found[2] == "the maximum number of iterations was reached"
    model = ExponentialReLURegressor(random_state=0)
    found = chosen(model, X[:, :1], X[:, 0] + 1, capsys)
    assert found[1].startswith("linear model; score on other rows = 1.0000")
    found = chosen(model, np.eye(4), np.arange(4.0), capsys)
    assert found[1].startswith("the best constant")
    assert found[2] == "all steps were done"
    x = np.linspace(0, 1, 16)[:, None]
    found = chosen(model, x, np.sin(9 * x[:, 0]), capsys)
    assert f"{model.n_subnetworks_} windows side by side" in found[1]
    Z = np.random.default_rng(0).uniform(size=(30, 3))
    found = chosen(model, Z, np.sin(3 * Z[:, 0]) * np.exp(Z[:, 1]), capsys)
    assert "64 periodic waves" in found[1]


def test_the_summary_has_the_weights_of_the_kinds(capsys):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(80, 3))
    model = ExponentialReLURegressor(max_iter=3, random_state=0)
    found = chosen(model, X, X[:, 0] + 0.3 * rng.normal(size=80), capsys)
    shares = " + ".join(f"{share:.2f} {name}" for name, share in model.kinds_.items() if share > 0)
    assert found[1].startswith(f"average of {shares}; score on other rows = ")


@pytest.mark.slow
def test_outputs_with_weights_of_their_own_have_their_means_in_the_summary(capsys):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(300, 4))
    y = np.c_[np.sin(5 * X[:, 0]) * X[:, 1], X[:, 2] + 0.5 * rng.normal(size=300)]
    model = ExponentialReLURegressor(max_iter=20, random_state=0)
    found = chosen(model, X, y, capsys)
    assert np.ndim(model.kinds_["waves"]) == 1
    means = {name: np.mean(share) for name, share in model.kinds_.items() if np.any(share)}
    shares = " + ".join(f"{share:.2f} {name}" for name, share in means.items())
    assert found[1].startswith(f"average of {shares}; ")


def test_time_left_is_that_of_the_fit_where_no_stage_follows(capsys):
    model = ExponentialReLURegressor(**SMALL, n_levels=1, refine_max_iter=2, verbose=2)
    lines = lines_of(model, X, y, capsys)
    first = [line for line in lines if line.startswith("[skrelu] pretraining ")]
    last = [line for line in lines if line.startswith("[skrelu] refinement ")]
    assert first
    assert last
    assert all(line.endswith("left in this stage; refinement may follow") for line in first)
    assert all(line.endswith("s of iterations left") for line in last)


def test_time_left_counts_steps_if_iterations_differ(monkeypatch):
    import torch

    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    ones = torch.ones(1, 1)
    start = Evaluation(ones, ones[0], ones[0], ones[0], ones[0])
    progress = Progress(start, Options("lm", 10, 0.0, 99, 0.1, 1, torch.Generator()))
    assert progress.seconds_left is None
    now[0], progress.n_iter = 6.0, 4
    assert not progress.ends_fit
    assert progress.seconds_left == pytest.approx(9.0)
    progress.fraction = 0.75
    assert progress.seconds_left == pytest.approx(2.0)
    progress.options = replace(progress.options, then=())
    assert progress.ends_fit
    progress.n_iter = 10
    assert progress.seconds_left == 0


def test_lines_of_threads_have_their_names(capsys):
    model = ExponentialReLURegressor(**SMALL, n_levels=1, refine=False, verbose=1)
    thread = Thread(target=lambda: model.fit(X, y), name="worker 7")
    thread.start()
    thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("[skrelu worker 7] ") for line in lines)


@pytest.mark.slow
@pytest.mark.long
def test_lines_of_processes_stay_whole_and_have_their_names(capfd):
    get_reusable_executor().shutdown()  # processes of other tests write elsewhere
    model = ExponentialReLURegressor(**SMALL, n_levels=1, refine=False, verbose=2)
    search = GridSearchCV(model, {"depth": [1, 2, 3]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_estimator_.n_iter_
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[skrelu")]
    main = "[skrelu] " if current_process().name == "MainProcess" else "[skrelu "
    names = {line.split("] ")[0] for line in lines}
    assert len(names - {main.strip()}) >= 1
    assert sum("] fit: " in line for line in lines) == 7
    assert all(line.count("[skrelu") == 1 for line in lines)


@pytest.mark.parametrize("noise", [0.3, pytest.param(0.0, marks=pytest.mark.slow)])
def test_compression_prints_its_stages(noise, capsys):
    rng = np.random.default_rng(0)
    parameters = {"n_levels": 1, "n_subnetworks": 2, "n_init": 1, "refine": False}
    model = ExponentialReLURegressor(**parameters, random_state=0).fit(
        X, y + noise * rng.normal(size=len(y))
    )
    how = {"n_parameters": 40, "n_subnetworks": None if noise else 1, "random_state": 0}
    small = compress(model, X, **how, depth=None if noise else 1, verbose=1)
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(STAGE.fullmatch(line) for line in lines)
    name = "choosing neurons" if noise else "start 2 of 2"
    assert any(line.startswith(f"[skrelu] {name}: ") for line in lines)
    assert f"to {small.n_parameters_} parameters; relative loss = " in last
    with pytest.raises(ValueError, match="verbose=-1"):
        compress(model, X, verbose=-1)


def small_compressed(**parameters):
    few = {"n_levels": 1, "n_subnetworks": 1, "n_init": 1, "refine": False, "max_iter": 2}
    model = ExponentialReLURegressor(**few, random_state=0)
    return CompressedRegressor(model, n_parameters=20, depth=1, random_state=0, **parameters)


@pytest.mark.long
@pytest.mark.slow
def test_a_compressed_regressor_has_two_tasks(capsys):
    recorder = Recorder()
    recorder.on_fit_task_begin = lambda estimator, context: recorder.begun.append(context.task_name)
    recorder.on_fit_task_end = lambda estimator, context, *, fitted_estimator: (
        recorder.ended.append((context.task_name, fitted_estimator))
    )
    model = small_compressed(verbose=1).set_callbacks(recorder).fit(X, y)
    assert recorder.begun == ["fit", "fit the estimator", "compress"]
    name, seen = recorder.ended[-1]
    assert name == "fit"
    np.testing.assert_array_equal(seen.predict(X), model.predict(X))
    assert capsys.readouterr().out.splitlines()[-1].startswith("[skrelu] compressed from ")


@pytest.mark.parametrize(
    "compressed", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_bars_of_progress_show_stages(compressed, capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    model = ExponentialReLURegressor(**SMALL, n_levels=1, refine_max_iter=2)
    model = small_compressed() if compressed else model
    expected = model.fit(X, y).predict(X)
    model.set_callbacks(ProgressBar()).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), expected)
    bars = capsys.readouterr().out
    stages = ["fit the estimator"] if compressed else ["pretraining", "refinement"]
    for name in ["fit", *stages]:
        assert re.search(rf"{type(model).__name__} - {name}.*100%", bars)
