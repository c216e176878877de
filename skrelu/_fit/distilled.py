"""The distillation of a gaussian process, or of its average with another fit, into one network.

Some hundred rows of a smooth function tell a gaussian process more than a network that is fitted to
them. But the process is a function that is known everywhere. So composed sub-networks learn it at
the rows and at points between them (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a
neural network", https://arxiv.org/abs/1503.02531), as closely as its own error asks for. Left-out
rows tell whether the process or the other fit predicts better, or their average.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrelu._data.torch_interop import threads, to_numpy
from skrelu._fit import tuning
from skrelu._fit.averaging import EXACT
from skrelu._fit.blend import base_weights, blended, raw_values
from skrelu._fit.composed import lowered_closely
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.gaussian_process import Process, fit_process, optimism
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.projection import RIDGES, Span, points_at
from skrelu._fit.uncertainty import left_out_values
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.members import tangent
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.evidence import fit_by_evidence
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.posterior import LEAST_WEIGHT, Posterior
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.rows import Rows

# Part of the variance of the process along the tangent of the network that the ridge must leave.
LEFT = 0.9


def with_process(job: Job, plan: Plan, others: Fitted) -> Fitted:
    """Return a network that has learned a gaussian process, or ``others`` if that predicts better.

    Parameters
    ----------
    job : Job
    plan : Plan
    others : Fitted
        The fit without the process.
    """
    network = _student(job, plan, others)
    if network is None:
        return others
    try:
        with job.step("gaussian process") as step:
            teacher = _teacher(job, others)
            step.done = teacher is not None
            step.error = None if teacher is None else teacher.error
        if teacher is None:
            return others
        fitted = _distilled(job, plan, others, network, teacher)
    except KeyboardInterrupt:
        return others.with_status(Status.INTERRUPTED)
    if fitted.interrupted:
        return others.with_status(Status.INTERRUPTED)
    return fitted if fitted.error < teacher.error_of_others else others


def _student(job: Job, plan: Plan, others: Fitted) -> ComposedNetwork | None:
    """Return the network that may learn the process; None if the process would not help."""
    (n, n_features), settings = job.training.X.shape, job.settings
    one = isinstance(plan.loss, SquaredError) and plan.relu.n_outputs == 1
    asked = settings.early_stopping is True or settings.exact_depth or job.validation is not None
    asked |= settings.refine_max_iter != "auto"
    few = n_features < n and tuning.FEW_ROWS < n <= tuning.PROCESS_ROWS
    if not (one and few) or asked or plan.composed is None or others.interrupted:
        return None
    least = tuning.COMPOSED_EXACT if n <= tuning.PROCESS_ROWS_CLEAN else tuning.NO_NOISE
    smooth = others.encoded is None or float(others.gain[0]) >= tuning.PROCESS_SMOOTH
    if not smooth or others.error <= least:
        return None
    most = tuning.DISTILLED_WEIGHTS
    network = plan.composed.resized(tuning.N_LEVELS, tuning.MOST_COMPOSED, n_parameters=most)
    return network if network.n_parameters <= most else None


class _Teacher(NamedTuple):
    """The average of a gaussian process and another fit."""

    process: Process
    share: float  # of the process
    rows: Rows
    left_out: Tensor  # (n_samples,), what the average of all other rows predicts of a row
    error: float  # mean square of its errors
    error_of_others: float


def _teacher(job: Job, others: Fitted) -> _Teacher | None:
    """Return the average that predicts left-out rows best; None if the others do so alone."""
    left_out = left_out_values(job, others)
    rows = job.rows(1, False, len(job.training.X))
    if left_out is None or not bool(rows.X.isfinite().all()):
        return None
    base = base_weights(rows)
    weights = (base / base.square().sum()).clamp_min(LEAST_WEIGHT)
    X, y, weights, base = (part.cpu().double() for part in (rows.X, rows.y[0], weights, base))
    with threads(0.0):
        process = fit_process(X, y, weights, tuning.LENGTH_ROWS, _generator(job))
    if process is None:
        return None
    of_process = optimism(len(y), len(X)) * (process.left_out()[0] - y)
    of_others = left_out[0] - y
    known = of_others.isfinite()
    base = torch.where(known, base, 0.0) / base[known].sum()
    # Of rows that the others have not left out, only the process knows the error.
    of_others = torch.where(known, of_others, of_process)
    share = share_of_process(of_process, of_others, base)
    if share < tuning.LEAST_OF_PROCESS:
        return None
    errors = torch.lerp(of_others, of_process, share)
    error, error_of_others = (float(e.square() @ base) for e in (errors, of_others))
    return _Teacher(process, share, rows, y + errors, error, error_of_others)


def share_of_process(of_process: Tensor, of_others: Tensor, weights: Tensor) -> float:
    """Return the share of a process in its average with another fit, from 0 to 1.

    It is 0 or 1 if one of them is clearly better: a few large errors would decide then.

    Parameters
    ----------
    of_process, of_others : Tensor of shape (n_samples,)
        Errors of left-out rows.
    weights : Tensor of shape (n_samples,)
    """
    better, worse = sorted(float(e.square() @ weights) for e in (of_process, of_others))
    if worse > tuning.COMPARABLE * better:
        return float(better == float(of_process.square() @ weights))
    apart = of_others - of_process
    squares = float(apart.square() @ weights)
    return min(max(float((apart * of_others) @ weights) / squares, 0.0), 1.0) if squares else 0.0


def _distilled(
    job: Job, plan: Plan, others: Fitted, network: ComposedNetwork, teacher: _Teacher
) -> Fitted:
    """Return the fit of a network that learns from a teacher."""
    process, rows, share = teacher.process, teacher.rows, teacher.share
    X = points_at(process.X, network.n_parameters, _generator(job))
    members = others.members
    of_others = torch.einsum("mo,mon->on", members.shares, members.values(X))
    targets = torch.lerp(of_others, process.mean(X)[None], share)
    weights = targets.new_full((tuning.DISTILLED_STARTS, X.shape[1]), 1 / X.shape[1])
    X_there, targets, weights = (part.to(rows.X) for part in (X, targets, weights))
    points = Rows(X_there, targets, weights, validation=None, n_trained=X.shape[1])
    _, variance = process.left_out()
    result = _learned(job, plan, network, points, tuning.DISTILLED * float(variance.mean()))
    result = result.after(others.pretraining)
    relu, lowered = lowered_closely(network, result.theta, job.settings.depth, points, result.error)
    plan = _plan(plan, network, relu)
    weights_of = Weights(result.theta, lowered, torch.zeros_like(lowered))
    # The network is farther from the teacher between the points.
    gaps = (relu.forward(lowered, points.X) - points.y)[0, 0].cpu().double().square()
    gaps = gaps * float(result.error / result.loss.clamp_min(EXACT))
    y, distance = rows.y[0].cpu().double(), gaps.mean()
    errors = teacher.left_out - y
    left_out = y + torch.copysign((errors.square() + distance).sqrt(), errors)
    error = distance + teacher.error
    covariance = process.covariance(X)
    unit = (covariance.diagonal() + process.noise + variance.mean()).rsqrt()
    covariance = unit[:, None] * covariance * unit
    span = Span.of(tangent(network, result.theta[0].cpu().double(), X)[0] * unit)
    root, wider = span.root(covariance, _enough(span, covariance), torch.zeros_like(distance))
    fitted = job.fitted(plan, weights_of, np.ones(1), error[None].to(result.error), result, None)
    fitted = replace(
        fitted,
        posterior=Posterior(root, 1 / (process.noise + distance), torch.zeros_like(root[0])),
        left_out_variance=to_numpy(wider * variance),
    )
    raw = raw_values(relu, lowered, rows)
    return blended(job, fitted, rows, raw, left_out.to(rows.X)[None])


def _learned(
    job: Job, plan: Plan, network: ComposedNetwork, points: Rows, enough: float
) -> Result:
    """Return the best of some starts, fitted to points until the error is ``enough``."""

    def so_far(result: Result) -> Fitted:
        relu, lowered = network.to_relu(result.theta, job.settings.depth)
        weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
        shares = (to_numpy(result.error) == float(result.error.min())).astype(float)
        of = _plan(plan, network, relu)
        return job.fitted(of, weights, shares / shares.sum(), result.error, result, None)

    max_iter = min(job.settings.max_iter, tuning.DISTILLED_ITER)
    options = replace(job.options("lm", "distillation", max_iter, so_far), enough=enough)
    theta = network.random(len(points.training), _generator(job)).to(points.X)
    with threads(len(theta) * network.n_parameters**2 * points.n_samples):
        few = replace(options, max_iter=min(max_iter, tuning.SCREENING_ITER))
        first = fit_by_evidence(network, theta, points, few)
        best = first.error.argmin()[None]
        found, rest = first.take(best), max_iter - first.n_iter
        if rest < 1 or first.interrupted or float(found.error) <= enough:
            return found
        options = replace(options, max_iter=rest)
        one = points.of(best)
        last = fit_by_evidence(network, found.theta, one, options, resumed=tuning.RESUMED)
    return last.after(first)


def _plan(plan: Plan, network: ComposedNetwork, relu: ReLUNetwork) -> Plan:
    return replace(plan, composed=network, relu=relu, n_starts=1, solver="lm", in_limit=False)


def _enough(span: Span, covariance: Tensor) -> Tensor:
    """Return the shares of the largest ridge that leaves nearly all of the variance."""
    along = ((span.basis.mT @ covariance) * span.basis.mT).sum(1)
    shares = [span.share(ridge) for ridge in RIDGES]
    left = [one for one in shares if one.square() @ along >= LEFT * along.sum()]
    return left[0] if left else shares[-1]


def _generator(job: Job) -> torch.Generator:
    """Return a generator like that of the job, which does not change."""
    return torch.Generator().set_state(job.generator.get_state())
