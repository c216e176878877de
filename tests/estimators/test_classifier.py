"""The classifier: cross-entropies, probabilities, labels and weights."""

import pickle

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, make_classification, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.autograd.functional import hessian

from skrelu import ExponentialReLUClassifier
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.joint import JointProblem
from skrelu._solvers.losses import CrossEntropy
from skrelu._solvers.rows import Rows
from skrelu.inspection import SubnetworkDisplay
from skrelu.regions import LinearRegionsDisplay, regions_in_plane

DOUBLE = torch.float64
QUICK = {"n_subnetworks": 3, "n_init": 2, "random_state": 0}


@pytest.fixture(scope="module")
def moons():
    return make_moons(200, noise=0.2, random_state=0)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def spirals(n_samples, turns, seed):
    rng = np.random.default_rng(seed)
    second = np.arange(n_samples) % 2
    t = rng.uniform(0.1, 1, n_samples)
    angle = 2 * np.pi * turns * t + np.pi * second
    return t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), second


def labels(n_classes, n, seed):
    """Return indices of classes, and y as the loss has it."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(n_classes, (n,), generator=generator)
    index[:n_classes] = torch.arange(n_classes)
    if n_classes == 2:
        return index, index[None].to(DOUBLE)
    return index, torch.nn.functional.one_hot(index, n_classes).T.to(DOUBLE)


def joint_problem(n_classes, n, alpha=0.0):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2, n, generator=generator, dtype=DOUBLE)
    _, y = labels(n_classes, n, 0)
    training = torch.rand(2, n, generator=generator, dtype=DOUBLE)
    training /= training.sum(-1, keepdim=True)
    rows = Rows(X, y, training, None, n, CrossEntropy().fitted_to(y, training[0], n))
    model = TriangleModel(TriangleNetwork(2, 2, 2), len(y))
    theta = model.triangles.random(2, X, generator)
    coef = 0.3 * torch.randn(2, 5, len(y), generator=generator, dtype=DOUBLE)
    both = model.pack(theta, coef, theta[:, :0])
    return JointProblem(model, rows, alpha), model, rows, both


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_cross_entropies_are_those_of_scikit_learn_and_the_best_constant_is_0(n_classes):
    index, y = labels(n_classes, 40, 1)
    weights = torch.rand(40, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    weights /= weights.sum()
    loss = CrossEntropy().fitted_to(y, weights, 40.0)
    raw = torch.randn(*y.shape, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    p = loss.probabilities(raw)
    p = torch.cat([1 - p, p]) if n_classes == 2 else p
    found = float(loss.values(raw, y, raw).mean(0) @ weights)
    assert found == pytest.approx(log_loss(index, p.T, sample_weight=weights), rel=1e-12)

    def of_constant(shift):
        return loss.values(torch.zeros_like(y) + shift[:, None], y, raw).mean(0) @ weights

    zero = torch.zeros(len(y), dtype=DOUBLE, requires_grad=True)
    value = of_constant(zero)
    assert float(value.detach()) == pytest.approx(loss.null[0], rel=1e-12)
    (slope,) = torch.autograd.grad(value, zero)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("n_classes", [2, 3])
def test_curvatures_are_those_of_the_cross_entropy_where_steps_are_not_bounded(n_classes):
    _, y = labels(n_classes, 30, 0)
    loss = CrossEntropy().fitted_to(y, torch.full((30,), 1 / 30, dtype=DOUBLE), 30.0)
    raw = torch.zeros_like(y)
    e, h = loss.working(raw, y, raw)
    for i in range(30):
        row = y[:, i, None]
        H = hessian(lambda r, row=row: loss.values(r[:, None], row, row).sum() / 2, raw[:, i])
        if n_classes == 2:
            found = h[:, i, None]
        else:
            p = loss.probabilities(raw)[:, i]
            root = h[:, i].sqrt()[:, None] * (torch.eye(n_classes, dtype=DOUBLE) - p)
            found = root.T @ root
        excess = torch.linalg.eigvalsh(found - H)
        assert excess.min() > -1e-12  # steps of bounded length need more curvature at most
        if (h[:, i] * e[:, i].abs()).max() < 0.9:
            bounded = (e[:, i].abs() >= 4 - 1e-9).any()
            assert bounded or excess.max() < 1e-12


@pytest.mark.parametrize(("n_classes", "n"), [(2, 300), (2, 12), (4, 300), (4, 6)])
def test_the_equations_have_the_gradient_of_the_cross_entropy(n_classes, n):
    problem, model, rows, both = joint_problem(n_classes, n, alpha=0.1)
    starts = torch.arange(2)
    equations = problem.linearize(problem.evaluate(both, starts), starts, None)[0]
    if problem.dual:
        gradient = (equations.jacobian @ equations.residual[..., None])[..., 0]
        gradient = gradient * equations.scale.sqrt()
    else:
        gradient = equations.gradient
    assert problem.sampled == (n_classes > 2 and not problem.dual)
    penalty = problem._penalty(both, starts)
    leaf = both.clone().requires_grad_()
    loss, _ = rows.evaluated(model.forward(leaf, rows.X), starts)
    cost = rows.penalized(loss, 0.1 * (penalty * leaf**2).sum(-1))
    (expected,) = torch.autograd.grad(cost.sum(), leaf)
    torch.testing.assert_close(2 * gradient / len(rows.y), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_alpha_weighs_squares_against_summed_losses_as_in_logistic_regression(n_classes):
    problem, model, rows, both = joint_problem(n_classes, 300, alpha=0.5)
    theta, coef, shifts = model.unpack(both)
    coef = coef.clone()
    coef[:, 3:] = 0  # the linear part alone
    found = problem.evaluate(model.pack(theta, coef, shifts), torch.arange(2))
    penalty = (found.cost - found.loss) * rows.loss.null[0] * rows.n_trained  # in nats
    weights, X = rows.training, rows.X
    variance = weights @ X.T.square() - (weights @ X.T).square()
    expected = 0.5 * (coef[:, 1:3].square().sum(-1) * variance).sum(-1)
    torch.testing.assert_close(penalty, expected)


@pytest.mark.slow
def test_sampled_curvatures_are_those_of_all_classes_in_the_mean():
    problem, *_, both = joint_problem(3, 60)
    starts = torch.arange(2)
    evaluation = problem.evaluate(both, starts)
    assert problem.sampled

    def matrix():
        return problem.linearize(evaluation, starts, None)[0].gram

    sampled = sum(matrix() for _ in range(300)) / 300
    problem.sampled = False
    exact = matrix()
    assert (sampled - exact).abs().max() < 0.2 * exact.abs().max()


@pytest.mark.slow
def test_probabilities_labels_and_shapes(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = ExponentialReLUClassifier(**QUICK).fit(X, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    p = model.predict_proba(X)
    assert p.shape == model.decision_function(X).shape == (150, 3)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-9)
    assert (model.predict(X) == model.classes_[p.argmax(1)]).all()
    assert model.score(X, names) > 0.96
    two = ExponentialReLUClassifier(**QUICK).fit(X[50:], names[50:])
    assert two.decision_function(X).shape == (150,)
    assert two.predict_proba(X).shape == (150, 2)
    assert (two.predict(X) == two.classes_[(two.decision_function(X) > 0).astype(int)]).all()
    assert two.predict_proba(X.astype(np.float32)).dtype == np.float32


def test_logarithms_are_finite_where_probabilities_round_to_0():
    X = np.linspace(-1, 1, 60)[:, None]
    model = ExponentialReLUClassifier(monotonic_cst=[1], extrapolation="linear", **QUICK)
    model.fit(X, X[:, 0] > 0)
    far = np.array([[-1e6], [1e6]])
    assert (model.predict_proba(far) == [[1, 0], [0, 1]]).all()
    assert np.isfinite(model.predict_log_proba(far)).all()


@pytest.mark.long
@pytest.mark.slow
def test_two_spirals_of_16_subnetworks_are_told_apart():
    X, y = spirals(400, 1.5, 0)
    model = ExponentialReLUClassifier(
        n_subnetworks=16, n_init=1, alpha=1e-4, tol=1e-2, early_stopping=False, random_state=0
    )
    assert log_loss(y, model.fit(X, y).predict_proba(X)) < 0.0032
    other, truth = spirals(400, 1.5, 1)
    assert model.score(other, truth) > 0.98
    pretrained = model.loss_curve_[-1]
    model.set_params(refine=True).fit(X, y)
    assert model.loss_curve_[-1] < pretrained / 2
    assert model.loss_curve_[model.n_iter_pretrain_] == pytest.approx(
        model.loss_curve_[model.n_iter_pretrain_ + 1], rel=1e-9
    )


@pytest.mark.slow
def test_linear_log_odds_are_found_about_as_well_as_by_a_linear_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 3))
    y = rng.uniform(size=3000) < 1 / (1 + np.exp(-(2 * X[:, 0] - X[:, 1] + 0.5)))
    model = ExponentialReLUClassifier(random_state=0, n_init=4).fit(X[:1000], y[:1000])
    linear = LogisticRegression().fit(X[:1000], y[:1000])
    losses = [log_loss(y[1000:], m.predict_proba(X[1000:])) for m in (model, linear)]
    assert losses[0] < 1.05 * losses[1]


def test_a_large_penalty_leaves_the_shares_of_the_classes():
    X, y = make_classification(200, 4, weights=[0.3], random_state=0)
    model = ExponentialReLUClassifier(alpha=1e9, early_stopping=False, **QUICK).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], y.mean(), rtol=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_smaller_alpha_gives_probabilities_nearer_to_0_and_1(iris):
    X, y = iris
    losses = [
        log_loss(y, ExponentialReLUClassifier(alpha=alpha, **QUICK).fit(X, y).predict_proba(X))
        for alpha in (10, 0.5, 0.01)
    ]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_class_weights_are_sample_weights(moons):
    X, y = moons
    X, y = X[40:], y[40:]
    by_class = ExponentialReLUClassifier(class_weight={0: 1.0, 1: 3.0}, **QUICK).fit(X, y)
    by_sample = ExponentialReLUClassifier(**QUICK).fit(X, y, sample_weight=1 + 2 * y)
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))
    X, y = np.r_[X, X[y == 1], X[y == 1]], np.r_[y, np.ones(2 * y.sum(), int)]
    three_times = ExponentialReLUClassifier(**QUICK).fit(X, y)
    np.testing.assert_array_equal(by_class.predict_proba(X), three_times.predict_proba(X))


@pytest.mark.slow
def test_probabilities_of_rare_classes_are_their_part_or_as_balanced():
    X, y = make_classification(400, 4, weights=[0.95], class_sep=0.5, random_state=0)
    model = ExponentialReLUClassifier(early_stopping=False, **QUICK).fit(X, y)
    assert model.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), rel=0.05)
    model.set_params(class_weight="balanced").fit(X, y)
    halves = [model.predict_proba(X[y == label])[:, 1].mean() for label in (0, 1)]
    assert np.mean(halves) == pytest.approx(0.5, rel=0.05)


def test_validation_data_ends_the_fit_and_every_start_counts(moons):
    X, y = moons
    model = ExponentialReLUClassifier(**QUICK).fit(X[:120], y[:120], X_val=X[120:], y_val=y[120:])
    relative = log_loss(y[120:], model.predict_proba(X[120:])) / log_loss(
        y[120:], np.full(80, y[:120].mean())
    )
    # The average of the starts is at least as good as they are in the mean.
    assert 1 - relative >= model.best_validation_score_ - 0.01
    assert model.n_starts_ == 2


def test_warm_starts_go_on(moons):
    X, y = moons
    model = ExponentialReLUClassifier(warm_start=True, early_stopping=False, **QUICK)
    model.set_params(n_init=1)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        model.set_params(max_iter=3).fit(X, y)
    first = model.loss_curve_[-1]
    model.set_params(max_iter=200).fit(X, y)
    # Shares of the classes were brought to those of the rows in between.
    assert 0.9 * first < model.loss_curve_[0] <= first * (1 + 1e-6)
    assert model.loss_curve_[-1] < 0.9 * first


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 3])
def test_adam_fits_too(n_classes, iris):
    X, y = iris
    X, y = X[y >= 3 - n_classes], y[y >= 3 - n_classes]
    model = ExponentialReLUClassifier(
        solver="adam", learning_rate=0.02, max_iter=300, batch_size=30, **QUICK
    )
    model.set_params(tol=0.05)
    assert model.fit(X, y).score(X, y) > 0.93
    assert model.solver_ == "adam"


@pytest.mark.slow
def test_probabilities_are_monotone_where_they_are_to_be(moons):
    X, y = moons
    model = ExponentialReLUClassifier(monotonic_cst=[0, -1], **QUICK).fit(X, y)
    x = np.linspace(-5, 5, 300)
    for first in (-1.0, 0.3, 2.0):
        p = model.predict_proba(np.column_stack([np.full(300, first), x]))[:, 1]
        assert (np.diff(p) <= 1e-12).all()
    assert model.score(X, y) > 0.8


@pytest.mark.slow
def test_plain_layers_slopes_parts_and_regions_are_those_of_the_logits(iris):
    X, y = iris
    X = X[:, 2:]
    model = ExponentialReLUClassifier(**QUICK).fit(X, y)
    raw = model.to_torch()(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(raw, model.decision_function(X), rtol=1e-9, atol=1e-9)
    parts = model.predict_contributions(X)
    np.testing.assert_allclose(parts.sum(-1), raw, rtol=1e-9, atol=1e-9)
    step = 1e-7
    slopes = model.predict_gradient(X)
    moved = model.decision_function(X + np.array([step, 0])) - model.decision_function(X)
    assert np.median(np.abs(moved / step - slopes[..., 0])) < 1e-4 * np.abs(slopes).max()
    regions = regions_in_plane(model, [0, 0], [7, 3])
    polygons, decisions = regions.decision_regions()
    centers = np.array([polygon.mean(0) for polygon in polygons])
    assert set(decisions) == {0, 1, 2}
    assert (model.predict(centers) == decisions).mean() > 0.99
    LinearRegionsDisplay.from_estimator(model, X, kind="decision")
    SubnetworkDisplay.from_estimator(model, X)
    plt.close("all")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The fit leaves")  # so few sub-networks do
def test_it_works_in_pipelines_searches_and_calibration(moons):
    X, y = moons
    model = ExponentialReLUClassifier(**QUICK)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {"exponentialreluclassifier__depth": [1, 3]},
        scoring="neg_log_loss",
        cv=2,
    )
    assert search.fit(X, y).best_score_ > -0.4
    assert CalibratedClassifierCV(model, cv=2).fit(X, y).score(X, y) > 0.9
    assert cross_val_score(model, X, y, cv=3, scoring="roc_auc").min() > 0.9


@pytest.mark.slow
def test_fitted_models_pickle(iris):
    X, y = iris
    model = ExponentialReLUClassifier(**QUICK).fit(X, y)
    stored = pickle.dumps(model)
    assert b"torch" not in stored
    np.testing.assert_array_equal(pickle.loads(stored).predict_proba(X), model.predict_proba(X))


@pytest.mark.slow
def test_defaults_are_sure_enough_and_not_too_sure():
    X, y = load_breast_cancer(return_X_y=True)
    model = ExponentialReLUClassifier(random_state=0, n_init=3).fit(X[:400], y[:400])
    assert log_loss(y[400:], model.predict_proba(X[400:])) < 0.12


@pytest.mark.parametrize(
    ("parameters", "data", "message"),
    [
        ({}, {"y": np.zeros(30)}, "one class only"),
        ({}, {"sample_weight": np.r_[np.ones(15), np.zeros(15)]}, "one class only"),
        ({}, {"y": np.linspace(0, 1, 30)}, "Unknown label type: continuous"),
        ({}, {"X_val": [[0.0, 0.0]], "y_val": [7]}, r"y_val has the classes \[7\]"),
        ({}, {"X_val": [[0.0, 0.0]]}, "go together"),
        ({}, {"sample_weight_val": [1.0]}, "needs X_val"),
        ({"convexity": "convex"}, {"y": np.arange(30) % 3}, "for two classes, but y has 3"),
        ({"monotonic_cst": [1, 0]}, {"y": np.arange(30) % 3}, "for two classes, but y has 3"),
        ({"class_weight": "many"}, {}, "'class_weight' parameter"),
        ({"class_weight": {5: 1.0}}, {}, "class_weight"),
        ({"alpha": -1}, {}, "'alpha' parameter"),
    ],
)
def test_unusable_data_and_parameters_are_refused(parameters, data, message):
    X = np.random.default_rng(0).normal(size=(30, 2))
    data = {"y": np.repeat([0, 1], 15), **data}
    with pytest.raises(ValueError, match=message):
        ExponentialReLUClassifier(**QUICK, **parameters).fit(X, **data)


def test_a_warm_start_of_other_classes_is_refused(moons):
    X, y = moons
    model = ExponentialReLUClassifier(warm_start=True, **QUICK).fit(X, y)
    with pytest.raises(ValueError, match=r"classes \[0, 1\], but now there are \[1, 2\]"):
        model.fit(X, y + 1)


@pytest.mark.slow
def test_balanced_weights_count_sample_weights(moons):
    X, y = moons
    weights = 1 + 2 * y
    model = ExponentialReLUClassifier(class_weight="balanced", **QUICK)
    weighted = model.fit(X, y, sample_weight=weights).predict_proba(X)
    repeated = model.fit(np.repeat(X, weights, 0), np.repeat(y, weights)).predict_proba(X)
    np.testing.assert_array_equal(weighted, repeated)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_unusable_class_weights_are_refused(moons, weight):
    with pytest.raises(ValueError, match="finite and not negative"):
        ExponentialReLUClassifier(class_weight={0: weight, 1: 1.0}, **QUICK).fit(*moons)


def test_rows_of_hardly_any_weight_leave_the_shares_of_the_classes(moons):
    X, y = moons
    model = ExponentialReLUClassifier(**QUICK).fit(X, y, sample_weight=np.full(len(y), 1e-46))
    np.testing.assert_allclose(model.predict_proba(X), 0.5, atol=0.05)
