"""Networks that learn a gaussian process, where it predicts left-out rows better."""

import copy
from unittest.mock import patch

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._fit import distilled, tuning
from skrelu._fit.distilled import share_of_process
from skrelu._fit.projection import points_between
from skrelu._solvers.progress import Status

N = 140


def ripples(n=N, seed=0, noise=0.0, often=1.0):
    """Return rows of a function whose ripples are hard to find for networks, and new ones."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n + 500, 2))
    y = np.sin(6 * often * X[:, 0]) * np.cos(5 * often * X[:, 1])
    return X[:n], y[:n] + noise * rng.normal(size=n), X[n:], y[n:]


def fit_with_parts(model, X, y, **parameters):
    """Return the fitted model, the teacher, and the fit without the process."""
    found, distill = {}, distilled._distilled

    def spy(job, plan, others, network, teacher):
        found.update(teacher=teacher, others=others)
        found["fitted"] = distill(job, plan, others, network, teacher)
        return found["fitted"]

    with patch.object(distilled, "_distilled", spy):
        model.fit(X, y, **parameters)
    return model, found


@pytest.fixture(scope="module")
def learned():
    X, y, *_ = ripples()
    return fit_with_parts(ExponentialReLURegressor(random_state=0), X, y)


def standardized(X, rows):
    return torch.tensor(((X - rows.mean(0)) / rows.std(0)).T)


def test_a_network_learns_the_process(learned):
    model, found = learned
    rows, y, X, truth = ripples()
    process, share = found["teacher"].process, found["teacher"].share
    assert share > 0.9
    assert model.n_levels_ > 1
    Z = points_between(process.X, 1000, torch.Generator().manual_seed(7))
    apart = found["fitted"].members.values(Z)[0, 0] - process.mean(Z)
    distance = 1 / found["fitted"].posterior.precision - process.noise
    assert 0.1 < apart.square().mean() / distance < 10  # few points make most of it
    assert distance < process.left_out()[1].mean()
    with patch.object(tuning, "PROCESS_ROWS", (0, 0)):
        without = ExponentialReLURegressor(random_state=0).fit(rows, y)
    errors = [np.sqrt(np.mean((one.predict(X) - truth) ** 2)) for one in (model, without)]
    assert errors[0] < 0.5 * errors[1]


def test_its_error_bars_are_those_of_the_process(learned):
    model, found = learned
    rows, y, X, truth = ripples()
    process = found["teacher"].process
    mean, deviation = model.predict(X, return_std=True)
    variance = process.covariance(standardized(X, rows)).diagonal() + process.noise
    expected = variance.sqrt().numpy() * y.std()
    rank = np.corrcoef(np.log(deviation), np.log(expected))[0, 1]
    assert rank > 0.7
    assert 0.8 < np.mean(np.abs(mean - truth) < 1.645 * deviation) <= 1


def test_nothing_is_averaged_if_no_row_of_weight_was_left_out(learned):
    teacher = learned[1]["teacher"]
    left_out, base = torch.full((N,), torch.nan).double(), torch.full((N,), 1 / N).double()
    assert distilled._average(teacher.process, teacher.rows, left_out, base) is None
    left_out[0], base[0] = 1, 0
    assert distilled._average(teacher.process, teacher.rows, left_out, base) is None


def test_the_rows_that_chose_the_other_fit_count_as_optimistic(learned):
    teacher = learned[1]["teacher"]
    process, base = teacher.process, torch.full((N,), 1 / N).double()
    of_process = process.left_out()[0] - process.y
    count = len(process.parameters)
    found = distilled._average(process, teacher.rows, process.y + 3 * of_process.abs(), base)
    assert found.share == 1
    squares = float(of_process.square().mean())
    assert found.error == pytest.approx((N / (N - count)) ** 2 * squares)
    assert found.error_of_others == pytest.approx((1 + 10 / N) ** 2 * 9 * squares)


def test_an_average_that_saves_little_beyond_the_noise_is_not_learned(learned):
    teacher = learned[1]["teacher"]
    process, base = teacher.process, torch.full((N,), 1 / N).double()
    of_process = process.left_out()[0] - process.y
    for factor, worth in ((1.1, True), (0.95, False)):
        left_out = process.y + factor * of_process
        found = distilled._average(process, teacher.rows, left_out, base)
        assert (found is not None) == worth


def test_error_bars_get_the_errors_of_the_other_fit_as_they_are(learned):
    teacher = learned[1]["teacher"]
    process, base = teacher.process, torch.full((N,), 1 / N).double()
    apart = process.left_out()[0] - process.y
    left_out = process.y + 1.2 * apart.flip(0)
    found = distilled._average(process, teacher.rows, left_out, base)
    assert 0.1 < found.share < 0.9
    of_process = N / (N - len(process.parameters)) * apart
    expected = process.y + torch.lerp(1.2 * apart.flip(0), of_process, found.share)
    torch.testing.assert_close(found.left_out, expected)


def test_averages_lie_between_the_process_and_the_other_fit():
    rows, y, X, truth = ripples(noise=0.05, often=0.4)
    with patch.object(distilled, "share_of_process", return_value=0.3):
        model, found = fit_with_parts(ExponentialReLURegressor(random_state=0), rows, y)
    teacher, others = found["teacher"], found["others"]
    Z = standardized(X, rows)
    values = torch.einsum("mo,mon->on", others.members.shares, others.members.values(Z))[0]
    expected = 0.3 * teacher.process.mean(Z) + 0.7 * values
    network = found["fitted"]
    raw = network.members.values(Z)[0, 0]
    away = (raw - expected).square().mean()
    assert away < 0.5 * teacher.process.left_out()[1].mean()
    known = torch.isfinite(torch.tensor(network.left_out[0]))
    assert known.all()
    squares = np.mean((network.left_out - network.rows.y.numpy()) ** 2)
    assert squares == pytest.approx(float(network.error), rel=0.2)
    assert model.score(X, truth) > 0.9


def test_shares_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    a, b = torch.tensor(rng.normal(size=(2, 200)))
    weights = torch.tensor(rng.uniform(size=200))
    weights = weights / weights.sum()
    share = share_of_process(a, 1.2 * b, weights)
    grid = torch.linspace(0, 1, 1001).double()
    losses = (grid[:, None] * a + (1 - grid[:, None]) * 1.2 * b).square() @ weights
    assert share == pytest.approx(float(grid[losses.argmin()]), abs=1e-3)
    assert 0.4 < share < 0.9


def test_shares_are_all_or_nothing_if_one_is_clearly_better():
    errors, weights = torch.ones(10).double(), torch.full((10,), 0.1).double()
    assert share_of_process(0.5 * errors, errors, weights) == 1
    assert share_of_process(errors, -0.5 * errors, weights) == 0
    assert share_of_process(errors, errors, weights) == 0
    assert share_of_process(-errors, errors, weights) == pytest.approx(0.5)
    assert share_of_process(errors, 1.1 * errors, weights) == 1
    errors[0], weights[0] = 1e9, 0
    assert share_of_process(0.5 * errors, torch.ones(10).double(), weights) == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        ({"depth": 3}, 1),
        ({"early_stopping": True}, 1),
        ({"refine_max_iter": 2}, 1),
        ({"loss": "huber"}, 1),
        ({"n_init": 1}, 1),
        ({}, 2),
        ({"alpha": 0.5}, 1),
    ],
    ids=str,
)
def test_settings_that_ask_for_something_else_get_it(settings, outputs):
    X, y, *_ = ripples(130, noise=0.1)
    y = y if outputs == 1 else np.c_[y, y**2]
    model = ExponentialReLURegressor(random_state=0, max_iter=3, **settings)
    with patch.object(distilled, "fit_process", return_value=None) as process:
        model.fit(X, y)
    assert process.called == (settings == {"alpha": 0.5})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("n", "noise", "tried"),
    [
        (120, 0.3, False), (121, 0.3, True), (1000, 0.3, True), (1001, 0.3, False),
        (500, 0.0, True), (501, 0.0, False),
    ],
)  # fmt: skip
def test_some_hundred_rows_try_it_and_more_with_noise(n, noise, tried):
    X, y, *_ = ripples(n, noise=noise, often=0.2)
    model = ExponentialReLURegressor(random_state=0, max_iter=30 if noise == 0 else 2)
    with patch.object(distilled, "fit_process", return_value=None) as process:
        model.fit(X, y)
    assert process.called == tried


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_rows_keep_the_other_fit():
    X, y, new, truth = ripples(noise=0.1)
    model = ExponentialReLURegressor(random_state=0, max_iter=3)
    with patch.object(distilled, "fit_process") as process:
        model.fit(X, y, X_val=new, y_val=truth)
    assert not process.called


def test_a_worse_process_changes_nothing():
    X, y, new, _ = ripples()
    with patch.object(tuning, "PROCESS_ROWS", (0, 0)):
        expected = ExponentialReLURegressor(random_state=0).fit(X, y).predict(new)
    with patch.object(distilled, "share_of_process", return_value=0.0):
        found = ExponentialReLURegressor(random_state=0).fit(X, y).predict(new)
    np.testing.assert_array_equal(found, expected)


def test_an_interrupt_keeps_the_other_fit():
    X, y, new, truth = ripples(noise=0.05)
    for name in ("fit_process", "fit_by_evidence"):
        with (
            patch.object(distilled, name, side_effect=KeyboardInterrupt),
            pytest.warns(UserWarning, match="interrupted"),
        ):
            model = ExponentialReLURegressor(random_state=0).fit(X, y)
        assert model.score(new, truth) > 0.3


def test_rows_of_no_weight_do_not_matter():
    X, y, new, truth = ripples(noise=0.05)
    spoiled = y.copy()
    spoiled[:3] += 20
    weights = np.where(np.arange(N) < 3, 0.0, 1.0)
    model = ExponentialReLURegressor(random_state=0)
    model, found = fit_with_parts(model, X, spoiled, sample_weight=weights)
    assert found["teacher"].share > 0.5
    assert model.score(new, truth) > 0.95


@pytest.mark.long
@pytest.mark.slow
def test_a_later_fit_goes_on(learned):
    X, y, new, truth = ripples()
    model = copy.deepcopy(learned[0])
    before = np.mean((model.predict(new) - truth) ** 2)
    model.set_params(warm_start=True).fit(X, y)
    assert np.mean((model.predict(new) - truth) ** 2) < 10 * before


@pytest.mark.slow
@pytest.mark.long
def test_units_do_not_matter(learned):
    X, y, new, _ = ripples()
    other = ExponentialReLURegressor(random_state=0).fit(100 * X - 5, 1e-3 * y + 7)
    expected = 1e-3 * learned[0].predict(new) + 7
    apart = other.predict(100 * new - 5) - expected  # rounding errors grow with each iteration
    assert np.sqrt(np.mean(apart**2)) < 2e-2 * expected.std()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_iterations_are_limited_and_reported(capsys):
    X, y, *_ = ripples()
    model = ExponentialReLURegressor(random_state=0, max_iter=14, verbose=1)
    _, found = fit_with_parts(model, X, y)
    lines = capsys.readouterr().out.splitlines()
    assert any("gaussian process: score" in line for line in lines)
    assert any("distillation: 12 iterations" in line for line in lines)
    assert any("distillation: 2 iterations" in line for line in lines)
    assert found["fitted"].pretraining.status is Status.MAX_ITER


class Recorder:
    """Scores of models in callbacks, which end a stage at an iteration."""

    def __init__(self, stop_after=None):
        self.scores, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.scores.clear()

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, X, fitted_estimator):
        if context.task_name == "distillation":
            self.scores.append([])

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        if self.scores and context.task_name == "iteration":
            self.scores[-1].append(fitted_estimator.score(*ripples(noise=0.1)[2:]))
            return context.task_id == self.stop_after
        return False


@pytest.mark.parametrize("stop_after", [None, 2])
def test_callbacks_see_the_network_so_far_and_may_end_it(stop_after):
    X, y, *_ = ripples(noise=0.1)
    recorder = Recorder(stop_after)
    model = ExponentialReLURegressor(random_state=0).set_callbacks(recorder)
    model, found = fit_with_parts(model, X, y)
    first, last = recorder.scores
    assert last[-1] >= first[0] + 0.5 * (stop_after is None)
    if stop_after is not None:
        assert len(first) == len(last) == 3
        assert found["fitted"].pretraining.status is Status.STOPPED
