"""The fit of sub-networks on one level: pretrain triangle waves, refine the lowered network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._data.table import Array
from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.averaging import shares_of, standard_error_of
from skrelu._fit.blend import blended, raw_values
from skrelu._fit.earlier import Earlier
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.growing import refine_growing
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.pretraining import coefficient_variances, pretrain
from skrelu._fit.refinement import Limit, refine, refine_in_limit, released_penalty
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Options, Result
from skrelu._solvers.rows import Rows


@dataclass(frozen=True)
class _State:
    """The weights of all starts, and the results that led to them."""

    weights: Weights
    pretraining: Result | None = None
    refinement: Result | None = None
    last: Result | None = None  # the result with these weights
    ended: bool = False


def fit_on_one_level(job: Job, plan: Plan, noisy: bool = False) -> Fitted:
    """Pretrain triangle waves, and refine the lowered network.

    Parameters
    ----------
    noisy : bool, default=False
        Whether much noise is expected. Then pretraining is brief, unless little noise is found.
    """
    rows = job.rows(plan.n_starts, plan.early_stopping, len(job.training.X))
    if job.warm is not None and plan.max_refinement:
        state = _State(_as_before(job, job.warm))
    else:
        state = _pretrained(job, plan, rows, noisy)
    if not state.ended:
        state = _released(job, plan, rows, state)
    assert state.last is not None  # warm starts are refined, others are pretrained
    raw = raw_values(plan.relu, state.weights.relu, rows)
    shares = shares_of(state.last, standard_error_of(rows, raw))
    fitted = _fitted(job, plan, state, shares, state.last.validation_loss)
    kept = torch.from_numpy(shares.nonzero()[0])
    return blended(job, fitted, rows.of(kept), raw[kept])


def _fitted(job: Job, plan: Plan, state: _State, shares: Array, error: Tensor) -> Fitted:
    return job.fitted(plan, state.weights, shares, error, state.pretraining, state.refinement)


def _as_before(job: Job, warm: Earlier) -> Weights:
    """Return the weights of an earlier fit."""
    scalings = job.scalings
    return Weights(
        warm.pretrained_in(*scalings, job.device),
        warm.relu_in(*scalings, job.device),
        to_tensor(warm.penalty, job.device),
    )


def _pretrained(job: Job, plan: Plan, rows: Rows, noisy: bool) -> _State:
    """Pretrain, lower, and refine in the limit of infinite depth."""

    def so_far(result: Result) -> Fitted:
        _, lowered = plan.model.to_relu(result.theta)
        weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
        return _fitted(
            job, plan, _State(weights, result), shares_of(result), result.validation_loss
        )

    # If little noise is found, pretraining goes on at length.
    again = noisy and job.warm is None and rows.validation is not None and plan.solver == "lm"
    then = (*(["pretraining"] if again else []), *(["limit"] if plan.in_limit else []))
    then += ("refinement",) * bool(plan.max_refinement and not plan.grows)
    options = job.options(plan.solver, "pretraining", job.settings.max_iter, so_far, then)
    options = _pretraining_options(options, plan, rows)
    with threads(plan.pretraining_work):
        if job.warm is not None:
            start = _as_before(job, job.warm).pretrained
            result = pretrain(plan.pretrained, rows, start, job.alpha, options)
        elif noisy:
            result = _pretrained_briefly(plan.pretrained, rows, job.alpha, options)
        else:
            result = pretrain(plan.pretrained, rows, None, job.alpha, options)
        variances = coefficient_variances(plan.pretrained, result.theta, rows)
    _, theta = plan.model.to_relu(result.theta)
    _, coef = plan.model.to_waves(result.theta)
    penalty = torch.zeros_like(theta)
    if plan.model.shape is None:  # with a shape nothing is refined
        penalty = released_penalty(plan.relu, theta, coef, variances)
    automatic = job.settings.refine_max_iter == "auto"
    limited = automatic and _noisy(result, plan.loss)
    # If noise was expected and found, refinement in the limit never halved the held-out loss.
    ended = plan.max_refinement == 0 or result.interrupted
    ended = ended or (limited and (noisy or not plan.in_limit))
    state = _State(Weights(result.theta, theta, penalty), result, last=result, ended=ended)
    if ended or not plan.in_limit:
        return state
    with threads(plan.refinement_work):
        then = () if plan.grows else ("refinement",)
        options = job.options(plan.solver, "limit", plan.max_refinement, then=then)
        options = replace(options, trials=_trials(plan))
        limit, *unfolded = _refined_in_limit(plan, result, variances, rows, job.alpha, options)
    if limit.interrupted or (
        automatic and _noisy(limit, plan.loss) and not _improved(limit, result)
    ):
        return replace(state, refinement=limit, ended=True)
    theta, penalty = unfolded
    weights = state.weights._replace(relu=theta, penalty=penalty)
    last = limit if plan.grows else result
    return replace(state, weights=weights, refinement=limit, last=last, ended=plan.grows)


def _released(job: Job, plan: Plan, rows: Rows, state: _State) -> _State:
    """Refine all weights of the lowered network."""

    def so_far(result: Result) -> Fitted:
        weights = state.weights._replace(relu=result.theta)
        reached = replace(state, weights=weights, refinement=result)
        return _fitted(job, plan, reached, shares_of(result), result.validation_loss)

    done = 0 if state.refinement is None else state.refinement.n_iter
    options = job.options(plan.solver, "refinement", plan.max_refinement - done, so_far, ())
    options = replace(options, trials=_trials(plan))
    with threads(plan.refinement_work):
        theta, penalty = state.weights.relu, state.weights.penalty
        last = refine(plan.relu, theta, rows, job.alpha, penalty, options)
    weights = state.weights._replace(relu=last.theta)
    return replace(state, weights=weights, refinement=last.after(state.refinement), last=last)


def _trials(plan: Plan) -> tuple[float, ...]:
    several = plan.tries_several or plan.grows
    return tuning.REFINEMENT_TRIALS if several else (1.0,)


def _pretraining_options(options: Options, plan: Plan, rows: Rows) -> Options:
    """Return the options of pretraining, which ends sooner if refinement follows."""
    if options.score is not None:
        return options
    if plan.model.shape is not None:
        options = replace(options, tol=max(tuning.SHAPED_TOL, options.tol))
    classes = plan.loss.classes
    if not (plan.max_refinement or classes) or plan.solver != "lm" or rows.validation is not None:
        return options
    tol, patience = tuning.EARLY_END_OF_CLASSES if classes else tuning.EARLY_END
    return replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))


def _pretrained_briefly(model: TriangleModel, rows: Rows, alpha: float, options: Options) -> Result:
    """Pretrain briefly if much noise is expected, and then at length if little is found."""
    if rows.validation is None or options.score is not None:
        return pretrain(model, rows, None, alpha, options)
    tol, patience = tuning.NOISY_END
    brief = replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))
    # Steep waves that cancel need double precision afterwards.
    first = pretrain(model, rows.to(torch.float32), None, alpha, brief).to(rows.X.dtype)
    if options.solver != "lm" or _noisy(first, rows.loss) or first.interrupted:
        return first
    if model.shape is not None:
        options = replace(options, tol=max(tuning.SHAPED_TOL, options.tol))
    return pretrain(model, rows, first.theta, alpha, options).after(first)


def _refined_in_limit(
    plan: Plan, pretrained: Result, variances: Tensor, rows: Rows, alpha: float, options: Options
) -> tuple[Result, Tensor, Tensor]:
    """Lower pretrained triangle waves to the limit of infinite depth, and refine there."""
    waves, coef = plan.model.to_waves(pretrained.theta)
    network, theta = plan.triangles.to_parabolic(waves, coef)
    first = theta[:, : network.relu.n_parameters]
    penalty = released_penalty(network.relu, first, coef, variances)
    start, n_branches = (network, theta, plan.relu.depth, rows, alpha, penalty), plan.n_branches
    if plan.grows:
        grown, penalty = refine_growing(*start, options, n_branches)
        return grown, grown.theta, penalty
    return refine_in_limit(*start, options, Limit(plan.limit_iter, n_branches))


def _noisy(result: Result, loss: Loss) -> bool:
    """Return whether the held-out loss (for classes without it, the training loss) shows noise.

    Training losses of classes show noise, because the noise of cross-entropies is known: their
    ridge does not vanish, and pretraining seldom fits overlapping classes closely.
    """
    left = result.watched if loss.classes else result.validation_loss
    return bool(left.median() > tuning.REFINED_NOISE)  # False for NaN


def _improved(result: Result, earlier: Result) -> bool:
    """Return whether the held-out loss is less than half of the earlier one."""
    return bool(result.validation_loss.median() < earlier.validation_loss.median() / 2)
