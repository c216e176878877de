"""The fit as a function on arrays: plan, pretrain, lower, refine, average.

The estimators validate and store; everything in between is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._pretraining import Pretrained, pretrain
from skrelu._refinement import refine, refine_in_limit, released_penalty
from skrelu._relu_network import ReLUNetwork, ReLUWeights
from skrelu._rows import Rows
from skrelu._scaling import Scaling
from skrelu._solvers import Options, Progress, Result, Status
from skrelu._torch_interop import threads, to_numpy, to_tensor
from skrelu._triangle_network import TriangleNetwork

Array = NDArray[np.float64]

# Above these an iteration of Levenberg-Marquardt over all starts takes many seconds
# (multiplications), or its matrices take gigabytes (numbers).
LM_WORK, LM_NUMBERS = 3e11, 2e8
# Starts by default while one start takes so many multiplications an iteration; then their
# number falls with the square root: fewer starts cost accuracy, more of them time.
MOST_STARTS, STARTS_WORK = 12, 1.5e8
# Multiplications that refinement may spend by default: about a second.
REFINEMENT_WORK = 6e10
MIN_REFINEMENT, MAX_REFINEMENT = 5, 500
# Pretraining without held-out rows that refinement follows ends when the loss falls by less
# than this fraction over so many iterations: going on gained nothing.
EARLY_END = (0.1, 10)
# Refinement of so many iterations begins in the limit of infinite depth.
MIN_ITER_IN_LIMIT = 50
# Where so much of the variance of held-out rows is left after pretraining, refinement did
# not improve predictions (boston, auto_mpg, diabetes), at 5 to 10 times the time.
NOISE = 0.01
# Dampings tried at once while the equations are that small.
REFINEMENT_TRIALS, TRIALS_WORK = (0.01, 0.1, 1.0, 10.0), 5e8
# Branches of a single start, see `refine_in_limit`, likewise; several starts share them.
N_BRANCHES = 4
# Rows that are held out only make sense where some are left to learn from.
MIN_ROWS_TO_HOLD_OUT = 20
# A start whose validation loss is so many times the median has gone wrong.
FAILURE = 3.0
EXACT = 1e-24  # losses below are alike


@dataclass(frozen=True)
class Settings:
    """The parameters of an estimator that shape a fit; see its docstring."""

    depth: int
    n_subnetworks: int | str
    n_init: int | str
    smooth: bool
    alpha: float
    solver: str
    max_iter: int
    refine: bool
    refine_max_iter: int | str
    tol: float
    early_stopping: bool | str
    validation_fraction: float
    n_iter_no_change: int
    learning_rate: float
    batch_size: int | str


@dataclass(frozen=True)
class Table:
    """Rows of a fit in their own units: X (n, p), y (n, q), weights (n,) summing to 1."""

    X: Array
    y: Array
    weights: Array


@dataclass(frozen=True)
class Plan:
    """What a fit does, once the data's size is known."""

    triangles: TriangleNetwork
    relu: ReLUNetwork  # of one start
    n_starts: int
    solver: str
    early_stopping: bool
    pretraining_work: float  # multiplications of an iteration
    refinement_work: float
    max_refinement: int
    in_limit: bool  # whether refinement begins in the limit of infinite depth


@dataclass(frozen=True)
class Fitted:
    """The networks that a fit ended with; their weighted average is the model.

    Parameters of both stages are kept, on standardized data, to go on from.
    """

    X_scaling: Scaling
    y_scaling: Scaling
    triangles: Array  # (n_starts, plan.triangles.n_parameters), pretrained
    relu: Array  # (n_starts, plan.relu.n_parameters), refined
    penalty: Array  # (n_starts, plan.relu.n_parameters)
    shares: Array  # (n_starts,), in the average
    plan: Plan
    pretraining: Result | None  # None where a warm start skips it
    refinement: Result | None


def make_plan(settings: Settings, n_samples: int, n_features: int, n_outputs: int) -> Plan:
    """Choose sizes, solver and early stopping from the size of the data."""
    n_subnetworks = settings.n_subnetworks
    if n_subnetworks == "auto":
        most = 8 if n_features == 1 else 32
        n_subnetworks = min(most, max(1, n_samples // 32))
    size = (n_features, int(n_subnetworks), settings.depth)
    triangles = TriangleNetwork(*size, smooth=settings.smooth)
    relu = ReLUNetwork(*size, n_outputs)
    n_triangle, n_relu, n = triangles.n_parameters, relu.n_parameters, n_samples
    work = n_triangle**2 * (n + n_triangle / 3)
    if settings.n_init == "auto":
        n_starts = max(1, round(MOST_STARTS * min(1, STARTS_WORK / work) ** 0.5))
    else:
        n_starts = int(settings.n_init)
    pretraining_work = n_starts * work
    residuals = n * n_outputs
    small, large = sorted((residuals, n_relu))
    refinement_work = n_starts * small**2 * (large + small / 3)
    solver = settings.solver
    if solver == "auto":
        numbers = n_starts * n_triangle * (n_triangle + 2 * n_outputs)
        fits = pretraining_work <= LM_WORK and numbers <= LM_NUMBERS
        solver = "lm" if fits else "adam"
    max_refinement = 0
    if settings.refine and settings.refine_max_iter == "auto":
        affordable = int(REFINEMENT_WORK / refinement_work)
        affordable = affordable if affordable >= MIN_REFINEMENT else 0
        memory_bound = n_starts * small * (small if n_relu <= residuals else large)
        fits = solver == "adam" or memory_bound <= LM_NUMBERS
        limit = settings.max_iter if solver == "adam" else min(MAX_REFINEMENT, affordable)
        max_refinement = limit if fits else 0
    elif settings.refine:
        max_refinement = int(settings.refine_max_iter)
    in_limit = (
        solver == "lm"
        and settings.smooth
        and settings.depth > 1
        and n_outputs == 1
        and max_refinement >= MIN_ITER_IN_LIMIT
    )
    if in_limit:
        # With many rows all of the structure is left to refinement; few do not determine it.
        n_free_peaks = 1 if residuals >= n_relu else min(3, settings.depth - 1)
        triangles = replace(triangles, n_free_peaks=n_free_peaks)
    early_stopping = settings.early_stopping
    if early_stopping == "auto":
        n_weights = n_relu if max_refinement else n_triangle
        early_stopping = n >= MIN_ROWS_TO_HOLD_OUT and (n_starts > 1 or 5 * n_weights > residuals)
    return Plan(
        triangles,
        relu,
        n_starts,
        solver,
        bool(early_stopping),
        pretraining_work,
        refinement_work,
        max_refinement,
        in_limit,
    )


def fit_network(
    training: Table,
    validation: Table | None,
    settings: Settings,
    *,
    warm: Fitted | None,
    device: torch.device,
    generator: torch.Generator,
    report: Callable[[str, Progress], None] | None = None,
) -> Fitted:
    """Fit a sum of sub-networks to a table.

    Parameters
    ----------
    training, validation : Table
        Without a validation table, rows of the training table are held out if the plan
        asks for early stopping: other rows for each start.
    settings : Settings
    warm : Fitted or None
        A network to go on from.
    device : torch.device
    generator : torch.Generator
    report : callable, optional
        Called with the stage's name and `Progress` after each iteration.

    Returns
    -------
    Fitted
    """
    X_scaling = Scaling.of(training.X, training.weights)
    y_scaling = Scaling.of(training.y, training.weights)
    if warm is not None:
        n_subnetworks = warm.plan.triangles.n_subnetworks
        if settings.n_subnetworks == "auto":
            settings = replace(settings, n_subnetworks=n_subnetworks)
        settings = replace(settings, n_init=len(warm.relu))
    plan = make_plan(settings, len(training.X), training.X.shape[1], training.y.shape[1])
    if warm is not None:
        triangles_now = replace(plan.triangles, n_free_peaks=warm.plan.triangles.n_free_peaks)
        if (plan.relu, triangles_now) != (warm.plan.relu, warm.plan.triangles):
            raise ValueError(
                f"warm_start=True goes on from a fit with {_described(warm.plan)}, but now there "
                f"are {_described(plan)}. Keep these, or set warm_start=False to start anew."
            )
        plan = replace(plan, triangles=triangles_now)
    rows = _rows(training, validation, plan, settings, X_scaling, y_scaling, device, generator)
    batch_size = settings.batch_size
    if batch_size == "auto":
        batch_size = max(200, len(training.X) // 500)
    options = Options(
        solver=plan.solver,
        max_iter=settings.max_iter,
        tol=settings.tol,
        patience=settings.n_iter_no_change,
        learning_rate=settings.learning_rate,
        batch_size=min(int(batch_size), rows.n_trained),
        generator=generator,
    )

    def reporting(stage: str) -> Options:
        return replace(options, report=None if report is None else partial(report, stage))

    pretraining: Result | None = None
    refinement: Result | None = None
    ended = plan.max_refinement == 0
    if warm is not None and not ended:
        triangles = to_tensor(_triangles_moved(warm, X_scaling), device)
        theta = _relu_moved(warm, X_scaling, y_scaling, device)
        penalty = to_tensor(warm.penalty, device)
        options = replace(options, max_iter=plan.max_refinement, trials=_trials(plan))
    else:
        start = None if warm is None else to_tensor(_triangles_moved(warm, X_scaling), device)
        first = _pretraining_options(reporting("pretraining"), plan, rows)
        with threads(plan.pretraining_work):
            pretrained = pretrain(plan.triangles, rows, start, settings.alpha, first)
        pretraining, triangles = pretrained.result, pretrained.result.theta
        _, theta = plan.triangles.to_relu(triangles, pretrained.coef)
        penalty = released_penalty(plan.relu, theta, pretrained.coef, pretrained.variance)
        options = replace(options, max_iter=plan.max_refinement, trials=_trials(plan))
        automatic = settings.refine_max_iter == "auto"
        noisy = automatic and _noisy(pretraining)
        ended = ended or _interrupted(pretraining) or (noisy and not plan.in_limit)
        if plan.in_limit and not ended:
            with threads(plan.refinement_work):
                refinement, *unfolded = _refined_in_limit(
                    plan, pretrained, rows, settings.alpha, reporting("limit")
                )
            noisy = automatic and _noisy(refinement) and not _improved(refinement, pretraining)
            ended = noisy or _interrupted(refinement)
            if not ended:
                theta, penalty = unfolded
                options = replace(options, max_iter=plan.max_refinement - refinement.n_iter)
    last = pretraining
    if not ended:
        with threads(plan.refinement_work):
            last = refine(plan.relu, theta, rows, settings.alpha, penalty, reporting("refinement"))
        theta, refinement = last.theta, last.after(refinement)
    assert last is not None  # a warm start refines, any other pretrains
    shares = _shares(last)
    kept = torch.from_numpy(shares.nonzero()[0]).to(device)
    return Fitted(
        X_scaling,
        y_scaling,
        to_numpy(triangles[kept]),
        to_numpy(theta[kept]),
        to_numpy(penalty[kept]),
        shares[shares > 0],
        plan,
        pretraining,
        refinement,
    )


def _pretraining_options(options: Options, plan: Plan, rows: Rows) -> Options:
    """Return when to stop pretraining: earlier where refinement decides how good it gets."""
    if plan.max_refinement == 0 or plan.solver != "lm" or rows.validation is not None:
        return options
    tol, patience = EARLY_END
    return replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))


def _refined_in_limit(
    plan: Plan, pretrained: Pretrained, rows: Rows, alpha: float, options: Options
) -> tuple[Result, Tensor, Tensor]:
    """Lower pretrained triangle waves to the limit of infinite depth and refine there."""
    network, theta = plan.triangles.to_parabolic(pretrained.result.theta, pretrained.coef)
    first = theta[:, : network.relu.n_parameters]
    penalty = released_penalty(network.relu, first, pretrained.coef, pretrained.variance)
    n_branches = max(1, N_BRANCHES // plan.n_starts) if len(options.trials) > 1 else 1
    return refine_in_limit(
        network, theta, plan.relu.depth, rows, alpha, penalty, options, n_branches
    )


def _interrupted(result: Result) -> bool:
    return result.status is Status.INTERRUPTED


def _noisy(result: Result) -> bool:
    """Tell whether much of the variance of held-out rows is left; not without such rows."""
    return bool(result.validation_loss.median() > NOISE)  # False for NaN


def _improved(result: Result, earlier: Result) -> bool:
    """Tell whether held-out rows are met much better than before."""
    return bool(result.validation_loss.median() < earlier.validation_loss.median() / 2)


def _trials(plan: Plan) -> tuple[float, ...]:
    """Return the dampings to try at once in refinement: several if they cost little."""
    return REFINEMENT_TRIALS if plan.refinement_work < TRIALS_WORK else (1.0,)


def _described(plan: Plan) -> str:
    network = plan.triangles
    return (
        f"depth={network.depth}, n_subnetworks={network.n_subnetworks}, smooth={network.smooth}, "
        f"{network.n_features} features and {plan.relu.n_outputs} outputs"
    )


def _rows(
    training: Table,
    validation: Table | None,
    plan: Plan,
    settings: Settings,
    X_scaling: Scaling,
    y_scaling: Scaling,
    device: torch.device,
    generator: torch.Generator,
) -> Rows:
    """Standardize the tables and weigh training and held-out rows for each start."""
    X, y = X_scaling.apply(training.X), y_scaling.apply(training.y)
    n, held_out = len(X), None
    weights = np.tile(training.weights, (plan.n_starts, 1))
    if validation is not None:
        X = np.concatenate([X, X_scaling.apply(validation.X)])
        y = np.concatenate([y, y_scaling.apply(validation.y)])
        held_out = np.concatenate([np.zeros(n), validation.weights])
        held_out = np.tile(held_out, (plan.n_starts, 1))
        weights = np.pad(weights, [(0, 0), (0, len(validation.X))])
    elif plan.early_stopping:
        folds = _folds(n, plan.n_starts, settings.validation_fraction, generator)
        held_out = weights * folds
        weights = weights * ~folds
        held_out /= held_out.sum(1, keepdims=True)
    weights /= weights.sum(1, keepdims=True)
    return Rows(
        X=to_tensor(X.T, device),
        y=to_tensor(y.T, device),
        training=to_tensor(weights, device),
        validation=None if held_out is None else to_tensor(held_out, device),
        n_trained=n,
    )


def _folds(
    n_samples: int, n_starts: int, fraction: float, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Mark the rows that each start holds out: disjoint ones as long as rows last."""
    size = min(max(1, round(fraction * n_samples)), n_samples - 1)
    folds = np.zeros((n_starts, n_samples), bool)
    order = np.empty(0, np.int64)
    for fold in folds:
        if len(order) < size:
            order = torch.randperm(n_samples, generator=generator).numpy()
        fold[order[:size]] = True
        order = order[size:]
    return folds


def _shares(result: Result) -> Array:
    """Return the share of each start in the average that is the model; they sum to 1.

    With held-out rows, shares go with the inverse of the validation loss, as the best
    average of estimates with independent errors has it, but failures get none. Without,
    the start with the lowest training loss is the model.
    """
    loss = to_numpy(result.validation_loss)
    if np.isnan(loss).all():
        loss = to_numpy(result.loss)
        return (np.arange(len(loss)) == np.nanargmin(loss)).astype(float)
    shares = np.where(loss <= FAILURE * np.nanmedian(loss), 1 / (loss + EXACT), 0.0)
    return shares / shares.sum()


def _moved(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """Return factor and shift that turn newly standardized values into the old ones."""
    safe = np.where(old.scale > 0, old.scale, 1.0)
    varies = old.scale > 0
    return np.where(varies, new.scale / safe, 0.0), np.where(
        varies, (new.mean - old.mean) / safe, 0
    )


def _triangles_moved(warm: Fitted, X_scaling: Scaling) -> Array:
    """Return the pretrained parameters of a fit in terms of another standardization."""
    factor, shift = _moved(warm.X_scaling, X_scaling)
    network = warm.plan.triangles
    blocks = warm.triangles.reshape(len(warm.triangles), network.n_subnetworks, -1).copy()
    p = network.n_features
    blocks[..., p] += blocks[..., :p] @ shift
    blocks[..., :p] *= factor
    return blocks.reshape(warm.triangles.shape)


def _relu_moved(
    warm: Fitted, X_scaling: Scaling, y_scaling: Scaling, device: torch.device
) -> Tensor:
    """Return the refined parameters of a fit in terms of another standardization."""
    factor, shift = (to_tensor(a, device) for a in _moved(warm.X_scaling, X_scaling))
    gain, lift = (to_tensor(a, device) for a in _moved(y_scaling, warm.y_scaling))
    network = warm.plan.relu
    weights = network.unpack(to_tensor(warm.relu, device))
    first = weights.hidden[0]
    return network.pack(
        ReLUWeights(
            hidden=[first * factor, *weights.hidden[1:]],
            biases=[weights.biases[0] + first @ shift, *weights.biases[1:]],
            output=weights.output * gain,
            linear=weights.linear * factor[:, None] * gain,
            intercept=(weights.intercept + shift @ weights.linear) * gain + lift,
        )
    )
