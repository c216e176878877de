"""A fit is a transaction: what is refused, fails or is interrupted leaves the old model working."""

import copy
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import timeit
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info

from skrelu import ExponentialReLURegressor
from skrelu._data.torch_interop import isolated, threads
from skrelu._estimators.base import ExponentialReLUEstimator
from skrelu._estimators.callbacks import FitTasks
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._fit import tuning
from skrelu._fit.job import Job
from skrelu._solvers.progress import Evaluation, Options, Progress, Status
from tests.estimators.test_global_settings import state
from tests.paths import MODELS, SMALL, make_table, outputs, targets

PATHS = {
    **MODELS,
    "warm start": lambda device: ExponentialReLURegressor(
        **SMALL, refine_max_iter=2, warm_start=True, device=device
    ),
    "warm start, composed": lambda device: ExponentialReLURegressor(
        **SMALL, n_levels=2, warm_start=True, device=device
    ),
    "one feature": MODELS["default"],
    "two outputs": MODELS["default"],
}
# Paths of different code, which fail in all places; the others fail in some.
DIFFERENT = ["composed", "one level, refined", "classes", "adam", "warm start"]
# Interrupts of each path; the environment may ask for more.
N_INTERRUPTS = int(os.environ.get("SKRELU_INTERRUPTS", "2"))
# Timers that interrupt a call at any instruction, and how many of them.
N_TIMERS = 3000
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")


def rows_for(name, seed=0, n=60):
    """Return inputs and noisy targets that suit a model."""
    X, y = make_table(n)
    rng = np.random.default_rng(seed)
    X, y = X + 0.01 * seed, y + 0.05 * rng.normal(size=n)
    if name == "one feature":
        X = X[:, :1]
    if name == "two outputs":
        y = np.column_stack([y, X[:, 0] * X[:, 2]])
    return X, targets(name, np.exp(y) if name == "poisson" else y)


@cache
def _fitted(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return PATHS[name]("cpu").fit(*rows_for(name))


class Before:
    """An estimator as it is before a fit, to hold against it afterwards."""

    def __init__(self, model, X):
        self.model, self.X = model, X
        self.attributes, self.bytes = vars(model).copy(), self._bytes()
        self.outputs = outputs(model, X) if hasattr(model, "intercept_") else None

    def _bytes(self):
        known = {name: value for name, value in vars(self.model).items() if "callback" not in name}
        return {name: pickle.dumps(value) for name, value in known.items()}

    def differences(self):
        """Return what is no longer as it was."""
        now = vars(self.model)
        found = sorted(now.keys() ^ self.attributes.keys())
        found += [name for name in now if now[name] is not self.attributes.get(name)]
        if self._bytes() != self.bytes:
            found.append("contents")
        if self.outputs is None:
            with pytest.raises(NotFittedError):
                check_is_fitted(self.model)
        elif not found:
            pairs = zip(self.outputs, outputs(self.model, self.X), strict=True)
            found += [f"output {i}" for i, (a, b) in enumerate(pairs) if not np.array_equal(a, b)]
        return found


def paths_and(places, telling):
    """Return each path with each place, of which most are long."""
    return [
        pytest.param(
            name, place, marks=[] if name in DIFFERENT or place in telling else pytest.mark.long
        )
        for name in PATHS
        for place in places
    ]


def estimators(name):
    """Yield a fitted and an unfitted estimator."""
    yield copy.deepcopy(_fitted(name))
    yield PATHS[name]("cpu")


def with_value(a, value):
    """Return an array that has a value somewhere."""
    a = np.array(a, float)
    a[3] = value
    return a


PARAMETERS = [
    {"depth": 0},
    {"depth": 2.5},
    {"alpha": -1.0},
    {"solver": "newton"},
    {"tol": 1.5},
    {"max_iter": 0},
    {"device": "nowhere"},
    {"device": "cuda:99"},
    {"n_subnetworks": 10**9},
    {"monotonic_cst": [1, 0, 0, 0, 0]},
    {"convexity": {9: "convex"}},
    {"random_state": "today"},
]


def refusals(name, X, y):
    """Yield parameters and arguments of fits that must be refused."""
    for parameters in PARAMETERS:
        yield parameters, {"X": X, "y": y}
    if "warm" not in name:  # which has as many starts as the fit before
        yield {"n_init": 10**9}, {"X": X, "y": y}
    for bad in (X[:-1], X[:, 0], with_value(X, np.inf), X[:, :0], X[:0]):
        yield {}, {"X": bad, "y": y}
    yield {}, {"X": X.astype(str) + "a", "y": y}
    yield {}, {"X": X, "y": with_value(y, np.nan)}
    yield {}, {"X": X, "y": None}
    n = len(X)
    for weights in (np.zeros(n), -np.ones(n), np.full(n, np.nan), np.ones(n - 1)):
        yield {}, {"X": X, "y": y, "sample_weight": weights}
    yield {}, {"X": X, "y": y, "X_val": X}
    yield {}, {"X": X, "y": y, "y_val": y}
    yield {}, {"X": X, "y": y, "sample_weight_val": np.ones(n)}
    yield {}, {"X": X, "y": y, "X_val": np.ones((n, 9)), "y_val": y}
    yield {}, {"X": X, "y": y, "X_val": X, "y_val": y, "sample_weight_val": np.zeros(n)}
    if name == "poisson":
        yield {}, {"X": X, "y": -y}
        yield {}, {"X": X, "y": 0 * y}
    if "classes" in name:
        yield {}, {"X": X, "y": np.ones_like(y)}
        yield {}, {"X": X, "y": y, "X_val": X, "y_val": np.full(n, 7)}
    else:
        yield {}, {"X": X, "y": y, "X_val": X, "y_val": np.ones((n, 5))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        if name in (*DIFFERENT, "poisson", "two outputs")
        else pytest.param(name, marks=pytest.mark.long)
        for name in PATHS
    ],
)
def test_a_refused_fit_changes_nothing(name):
    X, y = rows_for(name)
    for model in estimators(name):
        usual, working = model.get_params(), Before(model, X)
        for parameters, arguments in refusals(name, X, y):
            model.set_params(**parameters)
            attributes = vars(model).copy()
            with pytest.raises((ValueError, TypeError)):
                model.fit(**arguments)
            assert vars(model) == attributes, (parameters, arguments)
            model.set_params(**usual)
            assert not working.differences(), (parameters, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_a_refused_warm_start_changes_nothing(name):
    X, y = rows_for(name)
    model = copy.deepcopy(_fitted(name)).set_params(warm_start=True)
    if model.solver_ == "ridge":  # any fit starts anew
        return
    refused = {"X": np.column_stack([X, X]), "y": y}, {"X": X, "y": np.arange(len(y)) % 5}
    for arguments in refused if hasattr(model, "classes_") else refused[:1]:
        before = Before(model, X)
        with pytest.raises(ValueError, match=r"goes on from|monotonic_cst has shape"):
            model.fit(**arguments)
        assert not before.differences()
    model.set_params(depth=5)
    before = Before(model, X)
    with pytest.raises(ValueError, match="goes on from"):
        model.fit(X, y)
    assert not before.differences()


class Failure(Exception):
    """What nothing in the package expects."""


def failing(function, error, after):
    """Return a function that fails when it is called once more than so many times."""
    calls = []

    def fail_in_the_end(*args, **kwargs):
        calls.append(None)
        if len(calls) > after:
            raise error
        return function(*args, **kwargs)

    return fail_in_the_end


def storing(error, attribute):
    """Return a ``__setattr__`` that fails for an attribute."""

    def fail(self, name, value):
        if name == attribute:
            raise error
        object.__setattr__(self, name, value)

    return fail


PLACES = {
    "the start of a solver": (Progress, "__init__", 0),
    "the first iteration": (Progress, "update", 0),
    "the second iteration": (Progress, "update", 1),
    "the end of a stage": (Job, "fitted", 0),
    "importances": (StoredNetwork, "importances", 0),
    "the end": (FitTasks, "end", 0),
    "warnings": (ExponentialReLUEstimator, "_warn", 0),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("name", "place"),
    paths_and(
        [*PLACES, "n_features_in_", "intercept_", "n_outputs_"],
        telling=["the second iteration"],
    ),
)
def test_a_failed_fit_changes_nothing(name, place, monkeypatch):
    X, y = rows_for(name, seed=1)
    solving = "iteration" in place  # where an interrupt keeps what there is
    errors = MemoryError, Failure if solving else KeyboardInterrupt
    for model, error in zip(estimators(name), errors, strict=True):
        before, settings = Before(model, X), state()
        with monkeypatch.context() as patches:
            if place in PLACES:
                owner, method, after = PLACES[place]
                patches.setattr(owner, method, failing(getattr(owner, method), error, after))
            else:
                patches.setattr(
                    ExponentialReLUEstimator, "__setattr__", storing(error, place), False
                )
            with pytest.raises(error):
                model.fit(X, y)
        assert not before.differences()
        assert state() == settings


def test_a_warning_as_an_error_changes_nothing():
    X, y = rows_for("composed", seed=1)
    for model in estimators("composed"):
        before = Before(model, X)
        with pytest.raises(ConvergenceWarning):
            model.fit(X, y)
        assert not before.differences()


class Recorder:
    """Counts calls of hooks, and fails in one."""

    def __init__(self, hook=None, error=None, after=0):
        self.hook, self.error, self.after = hook, error, after
        self.calls = []

    def _called(self, hook):
        self.calls.append(hook)
        if hook == self.hook and self.calls.count(hook) > self.after:
            raise self.error

    def setup(self, estimator, context):
        self._called("setup")

    def on_fit_task_begin(self, estimator, context):
        self._called("on_fit_task_begin")

    def on_fit_task_end(self, estimator, context):
        self._called("on_fit_task_end")

    def teardown(self, estimator, context):
        self._called("teardown")


HOOKS = {
    "setup": {"hook": "setup"},
    "the first begin": {"hook": "on_fit_task_begin"},
    "the third begin": {"hook": "on_fit_task_begin", "after": 2},
    "the first end": {"hook": "on_fit_task_end"},
    "teardown": {"hook": "teardown"},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "hook"), paths_and(HOOKS, telling=["setup"]))
def test_a_failed_callback_changes_nothing_and_all_are_torn_down(name, hook):
    X, y = rows_for(name, seed=1)
    for model in estimators(name):
        first, second = Recorder(), Recorder(**HOOKS[hook], error=Failure)
        model.set_callbacks(first, second)
        before = Before(model, X)
        with pytest.raises(Failure):
            model.fit(X, y)
        assert not before.differences()
        assert first.calls[-1] == second.calls[-1] == "teardown"
        assert first.calls.count("teardown") == second.calls.count("teardown") == 1


class InterruptAtOnce(Recorder):
    """Interrupt the start of each stage."""

    def on_fit_task_begin(self, estimator, context):
        if context.task_name not in ("fit", "iteration"):
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Training interrupted by user")
@pytest.mark.parametrize("name", PATHS)
def test_an_interrupt_before_the_first_step_keeps_no_constant(name):
    X, y = rows_for(name, seed=1, n=200)
    for model in estimators(name):
        model.set_callbacks(InterruptAtOnce())
        before = Before(model, X)
        try:
            model.fit(X, y)
        except KeyboardInterrupt:
            assert not before.differences()
        else:
            assert gain_over_constant(model, X, y) > 1 - tuning.WORTHLESS


def gain_over_constant(model, X, y):
    """Return the part of the constant's loss on its training rows that a model does without."""
    if hasattr(model, "classes_"):
        shares = np.unique(y, return_counts=True)[1] / len(y)
        return 1 - log_loss(y, model.predict_proba(X)) / log_loss(y, np.tile(shares, (len(y), 1)))
    if model.loss == "poisson":
        return 1 - mean_deviance(y, model.predict(X)) / mean_deviance(y, y.mean())
    return model.score(X, y)


def mean_deviance(y, predicted):
    return np.mean(predicted - y + y * np.log(y / predicted))


class Interrupt:
    """Handle a signal by an interrupt, but only inside of a function; note where."""

    def __init__(self, inside):
        self.inside, self.where = inside, None

    def __call__(self, signum, frame):
        here = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        while frame is not None:
            if frame.f_code.co_name == self.inside:
                self.where = here
                raise KeyboardInterrupt
            frame = frame.f_back


def interrupted(function, inside, check, seed=0):
    """Call a function many times, interrupted at any moment; check after each interrupt."""
    seconds = min(timeit.repeat(function, number=1, repeat=100))
    moments, n_interrupts = random.Random(seed), 0
    usual = signal.getsignal(signal.SIGALRM)
    try:
        for _ in range(N_TIMERS):
            handler = Interrupt(inside)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + 1.5 * moments.random() * seconds)
            try:
                function()
            except KeyboardInterrupt:
                n_interrupts += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            check()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    return n_interrupts


@isolated()
def nothing():
    with threads(0.0):
        pass


def settings_of_threads():
    return [
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        np.geterr(),
        *([pool["num_threads"] for pool in threadpool_info()]),
    ]


@on_posix
def test_an_interrupt_at_any_moment_leaves_no_setting_changed():
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = [torch.get_num_threads(), np.geterr(), settings_of_threads()]

        def check():
            assert torch.get_num_threads() == first[0]
            assert np.geterr() == first[1]
            assert torch.is_grad_enabled()

        assert interrupted(nothing, "isolated_function", check) > N_TIMERS / 20
        assert settings_of_threads() == first[2]
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.slow
@on_posix
def test_an_interrupt_at_any_moment_leaves_points_and_losses_that_belong_together():
    generator = torch.Generator().manual_seed(0)
    options = Options("lm", 10**9, 1e-3, 10**9, 0.1, 1, generator)
    starts = torch.arange(4)

    def evaluation(theta):
        loss = theta.square().sum(1)
        return Evaluation(theta, loss, loss, loss / 2, loss)

    theta = 1e9 * torch.ones(4, 6, dtype=torch.float64)
    progress = Progress(evaluation(theta), options)

    def update():
        size = 0.999 * progress.theta.abs().amax() if float(progress.best.min()) > 1e-9 else 1e9
        trial = size * torch.rand(4, 6, dtype=torch.float64, generator=generator)
        progress.update(evaluation(trial), starts)

    def check():
        result = progress.result(Status.INTERRUPTED)
        now = evaluation(result.theta)
        assert torch.equal(result.loss, now.loss)
        assert torch.equal(result.validation_loss, now.validation_loss)
        assert len(result.loss_curve) == len(result.validation_curve) == result.n_iter + 1

    assert interrupted(update, "update", check) > N_TIMERS / 20


def longer(name):
    """Return an estimator whose fit takes long enough to interrupt it."""
    model = PATHS[name]("cpu").set_params(max_iter=30 if "adam" in name else 100, tol=0.0)
    if model.refine_max_iter != "auto":
        model.set_params(refine_max_iter=15 if "adam" in name else 60)
    return model


def everything_global():
    return [*state(), settings_of_threads()]


def attempt(old, name, seed):
    """Fit once more while the parent interrupts; return what came of it."""
    X, y = rows_for(name, seed=1 + seed, n=150)
    model = copy.deepcopy(old).set_params(random_state=seed)
    before, settings, handler = Before(model, X), everything_global(), Interrupt("fit_or_undo")
    signal.signal(signal.SIGINT, handler)
    print(json.dumps("begins"), flush=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y)
            outcome = "kept" if handler.where else "missed"
        except KeyboardInterrupt:
            outcome = "raised"
    print(json.dumps("ended"), flush=True)
    sys.stdin.readline()  # there are no more signals
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pairs = zip(settings, everything_global(), strict=True)
    faults = [f"setting {i}" for i, (a, b) in enumerate(pairs) if a != b]
    told = any("the best so far is kept" in str(warning.message) for warning in caught)
    if told != (outcome == "kept"):
        faults.append("told" if told else "not told")
    gain = None
    if outcome == "raised":
        faults += before.differences()
    else:
        gain = gain_over_constant(model, X, y)
        least = 0.0 if outcome == "kept" else -1e-12  # a whole fit may be the constant
        faults += ["worse than the constant"] if gain <= least else []
        # Each stage has one value more than iterations.
        faults += ["curves"] if len(model.loss_curve_) <= model.n_iter_ else []
    model.set_params(max_iter=3).fit(X, y)
    if not all(np.isfinite(values).all() for values in outputs(model, X)):
        faults.append("no further fit")
    return {"outcome": outcome, "where": handler.where, "gain": gain, "faults": faults}


def serve():
    """Run in a child: make the attempts that the parent asks for."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(2)
    longer("composed").fit(*rows_for("composed", n=150))
    for line in sys.stdin:
        name, seeds = json.loads(line)
        begin = time.perf_counter()
        old = longer(name).fit(*rows_for(name, n=150))
        print(json.dumps(time.perf_counter() - begin), flush=True)
        for seed in seeds:
            print(json.dumps(attempt(old, name, seed)), flush=True)


def interrupted_fits(names, seeds):
    """Yield names, seeds and reports of fits that are interrupted at random moments."""
    command = [sys.executable, "-c", "from tests.estimators.test_interrupts import serve; serve()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env=environment, **pipes) as child:

        def heard():
            return json.loads(child.stdout.readline())

        for name in names:
            child.stdin.write(json.dumps([name, list(seeds)]) + "\n")
            seconds = heard()
            for seed in seeds:
                moment = random.Random(f"{name} {seed}").random()
                assert heard() == "begins"
                time.sleep(0.9 * moment * seconds)
                child.send_signal(signal.SIGINT)
                assert heard() == "ended"
                child.stdin.write("go on\n")
                yield name, seed, heard()
        child.stdin.close()


@pytest.mark.slow
@pytest.mark.long
@on_posix
@pytest.mark.parametrize("names", [DIFFERENT, PATHS], ids=["some", "all"])
def test_an_interrupted_fit_keeps_a_model_or_changes_nothing(names):
    found = list(interrupted_fits(names, range(N_INTERRUPTS)))
    assert not [one for one in found if one[2]["faults"]]
    outcomes = [report["outcome"] for _, _, report in found]
    assert outcomes.count("kept") > len(found) / 10


def score_of_none(estimator, X, y):
    """Kill the worker that is to tell a score."""
    os.kill(os.getpid(), signal.SIGKILL)


class Killer(Recorder):
    """Kill the worker in the middle of a fit."""

    def on_fit_task_end(self, estimator, context):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.long
@on_posix
@pytest.mark.parametrize("killed_by", ["a scorer", "a callback"])
def test_after_the_death_of_a_worker_estimator_and_searches_work(killed_by):
    X, y = make_table()
    estimator = ExponentialReLURegressor(**{**SMALL, "max_iter": 200}, refine=False).fit(X, y)
    scoring = score_of_none if killed_by == "a scorer" else None
    search = GridSearchCV(estimator, {"depth": [1, 2]}, cv=2, n_jobs=2, scoring=scoring)
    if killed_by == "a callback":
        estimator.set_callbacks(Killer())
    before = Before(estimator, X)
    with pytest.raises(TerminatedWorkerError):
        search.fit(X, y)
    assert not before.differences()
    assert not hasattr(search, "best_estimator_")
    estimator.set_callbacks()
    assert search.set_params(scoring=None).fit(X, y).score(X, y) > 0.9
