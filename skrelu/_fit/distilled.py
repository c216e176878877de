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
from skrelu._fit.blend import base_weights, blended, raw_values
from skrelu._fit.composed import lowered_closely
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.gaussian_process import FIRST_ROWS, Process, fit_process, optimism
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.projection import FEWEST_POINTS, RIDGES, Span, points_at, points_between
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
    most = tuning.PROCESS_ROWS[int(others.error > tuning.CLEAN)]
    few = n_features < n and tuning.PROCESS_FROM < n <= most
    if not (one and few) or asked or plan.composed is None or others.interrupted:
        return None
    smooth = others.encoded is None or float(others.gain[0]) >= tuning.PROCESS_SMOOTH
    if not smooth or others.error <= tuning.COMPOSED_EXACT:
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
    found = None
    with threads(0.0):
        # Some rows tell whether to go on.
        for n_chosen in (FIRST_ROWS, tuning.LENGTH_ROWS):
            if found is None or len(y) > FIRST_ROWS:
                begin = None if found is None else found.process
                process = fit_process(X, y, weights, n_chosen, _generator(job), begin)
                found = None if process is None else _average(process, rows, left_out[0], base)
            if found is None:
                return None
    return found


def _average(process: Process, rows: Rows, left_out: Tensor, base: Tensor) -> _Teacher | None:
    """Return the average of a process and the others; None if the others predict as well alone.

    Parameters
    ----------
    process : Process
    rows : Rows
    left_out : Tensor of shape (n_samples,)
        What the others predict of rows that they leave out, NaN of the rest.
    base : Tensor of shape (n_samples,)
        Weights of the rows.
    """
    y = process.y
    of_process = optimism(len(y), len(process.parameters)) * (process.left_out()[0] - y)
    known = left_out.isfinite()
    if not base[known].any():
        return None
    of_others = (1 + tuning.CHOSEN_OPTIMISM / int(known.sum())) * (left_out - y)
    base = torch.where(known, base, 0.0) / base[known].sum()
    # Of rows that the others have not left out, only the process knows the error.
    of_others = torch.where(known, of_others, of_process)
    share = share_of_process(of_process, of_others, base)
    errors = torch.lerp(of_others, of_process, share)
    error, error_of_others = (float(e.square() @ base) for e in (errors, of_others))
    rough = error > tuning.LITTLE_NOISE and error_of_others < tuning.COMPARABLE * error
    beyond = error_of_others - float(base @ process.noises)  # what is left to learn
    saved = error_of_others - error
    if rough or share < tuning.LEAST_OF_PROCESS or saved < tuning.LEAST_GAIN * beyond:
        return None
    # Error bars hold what they should without the factor on the others.
    errors = torch.where(known, torch.lerp(left_out - y, of_process, share), of_process)
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
    _, variance = process.left_out()
    if bool(process.noise < variance.mean()):
        network = network.resized(*tuning.DEEPER_LEVELS, tuning.DEEPER_WEIGHTS)
    generator, members = _generator(job), others.members

    def taught(X: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and what the teacher predicts of them, (1, n_points)."""
        of_others = torch.einsum("mo,mon->on", members.shares, members.values(X))
        values = torch.lerp(of_others, process.mean(X)[None], share)
        return X.to(rows.X), values.to(rows.X)

    X = points_at(process.X, network.n_parameters, generator, tuning.DISTILLED_ROWS)
    there, targets = taught(X)
    weights = targets.new_full((tuning.DISTILLED_STARTS, X.shape[1]), 1 / X.shape[1])
    points = Rows(there, targets, weights, validation=None, n_trained=X.shape[1])
    result = _learned(job, plan, network, points, tuning.DISTILLED * float(variance.mean()))
    theta, result = result.theta, result.after(others.pretraining)
    relu, lowered = lowered_closely(network, theta, job.settings.depth, points, result.error)
    there, targets = taught(points_between(process.X, FEWEST_POINTS, generator))
    distance = (relu.forward(lowered, there)[0] - targets).square().mean()
    errors = teacher.left_out.to(rows.y) - rows.y[0]
    left_out = rows.y[0] + torch.copysign((errors.square() + distance).sqrt(), errors)
    weights_of, one = Weights(theta, lowered, torch.zeros_like(lowered)), np.ones(1)
    plan, error = _plan(plan, network, relu), distance + teacher.error
    fitted = job.fitted(plan, weights_of, one, error, result, None)
    columns = tangent(network, theta[0].cpu().double(), X)[0]
    found, wider = _posterior(process, X, columns, variance.mean(), float(distance))
    fitted = replace(fitted, posterior=found, left_out_variance=to_numpy(wider * variance))
    return blended(job, fitted, rows, raw_values(relu, lowered, rows), left_out[None])


def _learned(job: Job, plan: Plan, network: ComposedNetwork, points: Rows, enough: float) -> Result:
    """Return the best of some starts, fitted to points until the error is ``enough``."""

    def so_far(result: Result) -> Fitted:
        relu, lowered = network.to_relu(result.theta, job.settings.depth)
        weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
        best = np.eye(len(lowered))[int(result.error.argmin())]
        return job.fitted(_plan(plan, network, relu), weights, best, result.error, result, None)

    max_iter = min(job.settings.max_iter, tuning.DISTILLED_ITER)
    options = replace(job.options("lm", "distillation", max_iter, so_far), enough=enough)
    theta = network.random(len(points.training), _generator(job)).to(points.X)
    with threads(len(theta) * network.n_parameters**2 * points.n_samples):
        few = replace(options, max_iter=min(max_iter, tuning.SCREENING_ITER))
        first = fit_by_evidence(network, theta, points, few)
        best = first.error.argmin()[None]
        result, rest = first.take(best), max_iter - first.n_iter
        if rest > 0 and not result.interrupted and float(result.error) > enough:
            options, points = replace(options, max_iter=rest), points.of(best)
            last = fit_by_evidence(network, result.theta, points, options, resumed=tuning.RESUMED)
            result = last.after(first)
    ours = result.status is Status.MAX_ITER and max_iter < job.settings.max_iter
    return replace(result, status=Status.DONE) if ours else result  # no reason for a warning


def _posterior(
    process: Process, X: Tensor, columns: Tensor, least: Tensor, distance: float
) -> tuple[Posterior, Tensor]:
    """Return the posterior of the process on columns at points, and the factor on its covariance.

    Points count in units of its standard deviation; to its variance ``least`` is added, so that
    points that it knows nearly exactly do not count more than others. The mean square ``distance``
    from it adds to the noise.
    """
    covariance = process.covariance(X)
    unit = (covariance.diagonal() + process.noise + least).rsqrt()
    covariance = unit[:, None] * covariance * unit
    span = Span.of(columns * unit)
    along = ((span.basis.mT @ covariance) * span.basis.mT).sum(1)
    shares = [span.share(ridge) for ridge in RIDGES]
    left = [one for one in shares if one.square() @ along >= LEFT * along.sum()]
    root, wider = span.root(covariance, left[0] if left else shares[-1], torch.zeros_like(least))
    return Posterior(root, 1 / (process.noise + distance), torch.zeros_like(root[0])), wider


def _plan(plan: Plan, network: ComposedNetwork, relu: ReLUNetwork) -> Plan:
    return replace(plan, composed=network, relu=relu, n_starts=1, solver="lm", in_limit=False)


def _generator(job: Job) -> torch.Generator:
    """Return a generator like that of the job, which does not change."""
    return torch.Generator().set_state(job.generator.get_state())
