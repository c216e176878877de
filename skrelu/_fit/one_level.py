"""The fit of sub-networks on one level: pretrain triangle waves, refine the lowered network."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit.averaging import doubt_of, shares_of
from skrelu._fit.blend import blended, raw_values
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.pretraining import Pretrained, pretrain, with_coefficients
from skrelu._fit.refinement import refine, refine_in_limit, released_penalty
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Options, Result
from skrelu._solvers.rows import Rows

# Pretraining without held-out rows that refinement follows, or of classes, ends when the loss falls
# by less than this fraction over so many iterations: going on gained nothing.
EARLY_END = (0.1, 10)
# Where composed networks have found much noise, pretraining is in single precision, which loses
# nothing, and ends when the held-out loss falls by less than this fraction over so many iterations.
NOISY_END = (1e-3, 8)
# Steps that bounds hold up are many and small: those of functions with a shape end earlier.
SHAPED_TOL = 0.03
# Where so much of the variance of held-out rows is left after pretraining, refinement did
# not improve predictions (boston, auto_mpg, diabetes), at 5 to 10 times the time.
NOISE = 0.01
# Dampings tried at once, as multiples of the last one that was good.
REFINEMENT_TRIALS = (0.01, 0.1, 1.0, 10.0)


def fit_on_one_level(job: Job, plan: Plan, noisy: bool = False) -> Fitted:
    """Pretrain triangle waves, refine the lowered network.

    Parameters
    ----------
    noisy : bool, default=False
        Whether much noise is expected: pretraining is brief then, unless there is less.
    """
    settings, warm, scalings = job.settings, job.warm, job.scalings
    n_rows = len(job.training.X)
    rows = job.rows(plan.n_starts, plan.early_stopping, n_rows)
    pretraining: Result | None = None
    refinement: Result | None = None
    ended = plan.max_refinement == 0
    trials = REFINEMENT_TRIALS if plan.tries_several else (1.0,)

    def pretrained_so_far(result: Result) -> Fitted:
        waves, coef = with_coefficients(plan.model, result)
        _, lowered = plan.triangles.to_relu(waves, coef)
        penalty, shares = torch.zeros_like(lowered), shares_of(result)
        error = result.validation_loss
        return job.fitted(plan, waves, coef, lowered, penalty, shares, error, result, None)

    def refined_so_far(result: Result) -> Fitted:
        shares, error = shares_of(result), result.validation_loss
        relu = result.theta
        return job.fitted(plan, triangles, coef, relu, penalty, shares, error, pretraining, result)

    left = plan.max_refinement
    if warm is not None and not ended:
        triangles = to_tensor(warm.pretrained_in(*scalings), job.device)
        coef = to_tensor(warm.coefficients_in(*scalings), job.device)
        theta = warm.relu_in(*scalings, job.device)
        penalty = to_tensor(warm.penalty, job.device)
    else:
        start = coef = None
        if warm is not None:
            start = to_tensor(warm.pretrained_in(*scalings), job.device)
            coef = to_tensor(warm.coefficients_in(*scalings), job.device)
        first = job.options(plan.solver, "pretraining", settings.max_iter, pretrained_so_far)
        first = _pretraining_options(first, plan, rows)
        with threads(plan.pretraining_work):
            if noisy and warm is None:
                pretrained = _pretrained_briefly(plan.model, rows, job.alpha, first)
            else:
                pretrained = pretrain(plan.model, rows, start, job.alpha, first, coef)
        pretraining, coef = pretrained.result, pretrained.coef
        triangles = pretraining.theta
        _, theta = plan.triangles.to_relu(triangles, coef)
        penalty = released_penalty(plan.relu, theta, coef, pretrained.variance)
        automatic = settings.refine_max_iter == "auto"
        limited = automatic and _noisy(pretraining, plan.loss)
        # Where noise was expected and found, the limit never halved what is left.
        ended = ended or pretraining.interrupted or (limited and (noisy or not plan.in_limit))
        if plan.in_limit and not ended:
            with threads(plan.refinement_work):
                options = replace(job.options(plan.solver, "limit", left), trials=trials)
                refinement, *unfolded = _refined_in_limit(
                    plan, pretrained, rows, job.alpha, options
                )
            much_left = _noisy(refinement, plan.loss)
            limited = automatic and much_left and not _improved(refinement, pretraining)
            ended = limited or refinement.interrupted
            if not ended:
                theta, penalty = unfolded
                left -= refinement.n_iter
    last = pretraining
    if not ended:
        with threads(plan.refinement_work):
            options = job.options(plan.solver, "refinement", left, refined_so_far)
            options = replace(options, trials=trials)
            last = refine(plan.relu, theta, rows, job.alpha, penalty, options)
        theta, refinement = last.theta, last.after(refinement)
    assert last is not None  # a warm start refines, any other pretrains
    raw, error = raw_values(plan.relu, theta, rows), last.validation_loss
    shares = shares_of(last, doubt_of(rows, raw))
    fitted = job.fitted(
        plan, triangles, coef, theta, penalty, shares, error, pretraining, refinement
    )
    kept = torch.from_numpy(shares.nonzero()[0])
    return blended(job, fitted, rows.of(kept), raw[kept])


def _pretraining_options(options: Options, plan: Plan, rows: Rows) -> Options:
    """Return when to stop pretraining: earlier where refinement decides how good it gets."""
    if plan.model.shape is not None:
        options = replace(options, tol=max(SHAPED_TOL, options.tol))
    refined = plan.max_refinement > 0 or plan.loss.classes  # these are met closely soon
    if not refined or plan.solver != "lm" or rows.validation is not None:
        return options
    tol, patience = EARLY_END
    return replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))


def _pretrained_briefly(
    model: TriangleModel, rows: Rows, alpha: float, options: Options
) -> Pretrained:
    """Pretrain where much noise is expected; at length only if there is less."""
    if rows.validation is None:
        return pretrain(model, rows, None, alpha, options)
    tol, patience = NOISY_END
    brief = replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))
    single = rows.to(torch.float32)
    first = pretrain(model, single, None, alpha, brief, dtype=rows.X.dtype)
    result = first.result
    if options.solver != "lm" or _noisy(result, rows.loss) or result.interrupted:
        return first
    if model.shape is not None:
        options = replace(options, tol=max(SHAPED_TOL, options.tol))
    pretrained = pretrain(model, rows, result.theta, alpha, options, first.coef)
    return pretrained._replace(result=pretrained.result.after(result))


def _refined_in_limit(
    plan: Plan, pretrained: Pretrained, rows: Rows, alpha: float, options: Options
) -> tuple[Result, Tensor, Tensor]:
    """Lower pretrained triangle waves to the limit of infinite depth and refine there."""
    network, theta = plan.triangles.to_parabolic(pretrained.result.theta, pretrained.coef)
    first = theta[:, : network.relu.n_parameters]
    penalty = released_penalty(network.relu, first, pretrained.coef, pretrained.variance)
    return refine_in_limit(
        network, theta, plan.relu.depth, rows, alpha, penalty, options, plan.n_branches
    )


def _noisy(result: Result, loss: Loss) -> bool:
    """Tell whether much of the loss of held-out rows is left; without such rows, of classes only.

    How much noise a cross-entropy stands for is known, so that few overlapping classes are met
    closely in pretraining.
    """
    left = result.watched if loss.classes else result.validation_loss
    return bool(left.median() > NOISE)  # False for NaN


def _improved(result: Result, earlier: Result) -> bool:
    """Tell whether held-out rows are met much better than before."""
    return bool(result.validation_loss.median() < earlier.validation_loss.median() / 2)
