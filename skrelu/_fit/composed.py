"""The fit of composed sub-networks, which read the outputs of earlier sub-networks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.averaging import shares_by, shares_of
from skrelu._fit.blend import blended, raw_values
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.refinement import refine
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.adam import adam
from skrelu._solvers.evidence import fit_by_evidence
from skrelu._solvers.progress import Patience, Progress, Result, Status
from skrelu._solvers.rows import Rows


def fit_composed(job: Job, plan: Plan, network: ComposedNetwork) -> Fitted | None:
    """Fit composed sub-networks; None if many starts on one level should predict better."""
    settings, warm = job.settings, job.warm
    plan = replace(plan, solver="adam" if settings.solver == "adam" else "lm")
    n_starts = tuning.COMPOSED_STARTS if settings.n_init == "auto" else int(settings.n_init)
    hold_out = settings.early_stopping is True
    if settings.early_stopping == "auto" and (plan.loss.classes or settings.solver == "adam"):
        hold_out = plan.early_stopping  # networks are overconfident on training rows
    rows = job.rows(n_starts, hold_out, tuning.COMPOSED_ROWS)
    refining = settings.refine and settings.refine_max_iter != "auto"
    pretraining: Result | None = None
    refinement: Result | None = None
    before = None if warm is None else warm.pretrained_in(*job.scalings, job.device)
    if before is not None and warm is not None and refining:
        theta, relu = before, warm.network
        released = warm.relu_in(*job.scalings, job.device)
    else:
        pretraining, rows = _pretrained_composed(job, plan, network, before, rows)
        theta, error = pretraining.theta, pretraining.error
        if _given_up(job, plan, error) and not pretraining.interrupted:
            return None
        relu, released = _lowered(network, theta, settings.depth, rows, error)
        shares = shares_by(error)
        refining = refining and not pretraining.interrupted
    plan, penalty = replace(plan, relu=relu), torch.zeros_like(released)

    def refined_so_far(result: Result) -> Fitted:
        weights = Weights(theta, result.theta, penalty)
        return job.fitted(
            plan, weights, shares_of(result), result.validation_loss, pretraining, result
        )

    if refining:
        options = job.options(
            plan.solver, "refinement", int(settings.refine_max_iter), refined_so_far
        )
        with threads(len(released) * relu.n_parameters * rows.n_trained**2):
            refinement = refine(relu, released, rows, 0.0, penalty, options)
        released, shares = refinement.theta, shares_of(refinement)
        error = refinement.validation_loss
    weights = Weights(theta, released, penalty)
    fitted = job.fitted(plan, weights, shares, error, pretraining, refinement)
    kept = torch.from_numpy(shares.nonzero()[0])
    return blended(job, fitted, rows.of(kept), raw_values(relu, released[kept], rows))


def _pretrained_composed(
    job: Job, plan: Plan, network: ComposedNetwork, start: Tensor | None, rows: Rows
) -> tuple[Result, Rows]:
    """Return pretrained networks, with held-out or estimated errors, and the rows of the starts."""
    settings = job.settings
    max_iter, work = settings.max_iter, network.n_parameters**2
    n_first = max(2 * network.n_parameters, int(tuning.COMPOSED_WORK / work))
    theta = network.random(len(rows.training), job.generator).to(rows.X)
    theta = theta if start is None else start
    fit = partial(fit_by_evidence, network, enough=tuning.COMPOSED_EXACT)
    if start is None and _may_give_up(job, plan):
        looked = _looked_for_noise(job, network, theta, rows)
        noisy = bool((looked.error > tuning.COMPOSED_NOISE).all())
        if looked.interrupted or (noisy and looked.status is not Status.MAX_ITER):
            return looked, rows.of(torch.arange(len(looked.error)))

    def so_far(result: Result) -> Fitted:
        relu, lowered = network.to_relu(result.theta, settings.depth)
        now, penalty = replace(plan, relu=relu), torch.zeros_like(lowered)
        weights = Weights(result.theta, lowered, penalty)
        return job.fitted(now, weights, shares_of(result), result.validation_loss, result, None)

    if settings.solver == "adam":
        options = job.options("adam", "pretraining", max_iter, so_far)
        penalty = torch.ones_like(theta)
        penalty[:, -network.n_outputs :] = 0  # of the intercepts
        with threads(len(theta) * work * rows.n_trained):
            bounds = network.bounds(theta)
            return adam(network, theta, rows, job.alpha, penalty, options, bounds), rows

    part, ends_on_all = rows, n_first < rows.n_trained and max_iter > tuning.ALL_ROWS_ITER
    if ends_on_all:
        kept = torch.randperm(rows.n_trained, generator=job.generator)[:n_first]
        part, max_iter = rows.part(kept.to(rows.X.device)), max_iter - tuning.ALL_ROWS_ITER

    def finish(theta: Tensor, starts: Tensor, max_iter: int) -> Result:
        options = job.options("lm", "pretraining", max_iter, so_far)
        result = fit(theta, part.of(starts), options)
        if ends_on_all and not result.interrupted:
            options = job.options("lm", "pretraining on all rows", tuning.ALL_ROWS_ITER, so_far)
            last = fit(result.theta, rows.of(starts), options)
            # So few iterations need not converge, and are no reason for a warning.
            status = last.status if last.interrupted else result.status
            result = replace(last.after(result), status=status)
        return result

    with threads(len(theta) * work * part.n_trained):
        if settings.n_init != "auto" or max_iter <= tuning.SCREENING_ITER:
            return finish(theta, torch.arange(len(theta)), max_iter), rows
        options = job.options("lm", "screening", tuning.SCREENING_ITER, so_far)
        screened = fit(theta, part, options)
        kept, others = screened.error.argsort().split([1, len(theta) - 1])
        max_iter -= tuning.SCREENING_ITER
        result = screened.take(kept)
        if not screened.interrupted:
            result = finish(result.theta, kept, max_iter).after(screened)
        limited = bool(result.error > tuning.COMPOSED_AVERAGE)
        if limited and not _given_up(job, plan, result.error) and not result.interrupted:
            result = result.beside(finish(screened.theta[others], others, max_iter))
            kept = torch.cat([kept, others])
    return result, rows.of(kept)


class _Look:
    """Ends a rough fit if an error falls below `COMPOSED_NOISE`, or if all slow down above it."""

    def __init__(self) -> None:
        self.patience: Patience | None = None
        self.slow = torch.tensor(False)

    def __call__(self, progress: Progress) -> bool:
        """Record an iteration, and return whether to end."""
        if self.patience is None:
            self.patience = Patience.from_now(*tuning.LOOK_SLOW, progress.watched)
            return False
        self.patience = self.patience.after(progress.watched, progress.taken)
        self.slow = self.slow | (self.patience.over & (progress.best < tuning.LOOK_BEGUN))
        found = progress.best <= tuning.COMPOSED_NOISE
        return bool(found.any() or (self.slow | progress.ended).all())


def _looked_for_noise(job: Job, network: ComposedNetwork, theta: Tensor, rows: Rows) -> Result:
    """Fit some starts roughly: to part of the rows, in single precision, until they slow down.

    This does not affect a later fit: the generator does not change, and nothing is reported.
    """
    work = network.n_parameters**2
    n_rows = max(2 * network.n_parameters, int(tuning.LOOK_WORK / work))
    rows = rows.of(torch.arange(tuning.LOOK_STARTS)).to(torch.float32)
    if n_rows < rows.n_trained:
        generator = torch.Generator().set_state(job.generator.get_state())
        kept = torch.randperm(rows.n_trained, generator=generator)[:n_rows]
        rows = rows.part(kept.to(rows.X.device))
    options = replace(job.options("lm", "looking for noise", tuning.LOOK_ITER), report=_Look())
    with threads(tuning.LOOK_STARTS * work * rows.n_trained):
        result = fit_by_evidence(network, theta[: tuning.LOOK_STARTS].float(), rows, options)
    return result.to(theta.dtype)


def _may_give_up(job: Job, plan: Plan) -> bool:
    """Return whether many starts on one level may be fitted instead; classes get both fits."""
    small = job.settings.n_levels == "auto" and len(job.training.X) <= tuning.COMPOSED_ROWS
    return small and plan.n_starts >= tuning.MANY_STARTS and not plan.loss.classes


def _given_up(job: Job, plan: Plan, error: Tensor) -> bool:
    """Return whether many starts on one level should predict better."""
    return _may_give_up(job, plan) and bool(error.median() > tuning.COMPOSED_NOISE)


def _lowered(
    network: ComposedNetwork, theta: Tensor, depth: int, rows: Rows, error: Tensor
) -> tuple[ReLUNetwork, Tensor]:
    """Lower composed sub-networks, with more layers if fewer would add too much error."""
    X = rows.X[:, :: -(-rows.n_samples // tuning.LOWERED_ROWS)]  # training rows and held-out rows
    limit = network.forward(theta, X)
    for more in range(tuning.MOST_LAYERS_MORE + 1):
        relu, lowered = network.to_relu(theta, depth + more)
        loss = (relu.forward(lowered, X) - limit).square().mean((-1, -2))
        if bool((loss <= tuning.LOWERING_LOSS * error).all()):
            break
    return relu, lowered
