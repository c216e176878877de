"""The fit as a function on arrays: pretrain, lower, refine, average.

The estimators validate the data and store the outcome.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from skrelu._data.neighbours import noise_by_neighbours
from skrelu._data.table import Array, Table
from skrelu._data.torch_interop import to_tensor
from skrelu._fit import tuning
from skrelu._fit.averaging import EXACT
from skrelu._fit.blend import average_loss, raw_values
from skrelu._fit.composed import Look, fit_composed, go_on, look, on_all_rows
from skrelu._fit.distilled import with_process
from skrelu._fit.earlier import Earlier
from skrelu._fit.encoded import EncodedFit, fit_encoded
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job, Score
from skrelu._fit.linear import fit_linear
from skrelu._fit.one_level import fit_on_one_level
from skrelu._fit.periodic import fit_by_ridge, fit_periodic
from skrelu._fit.plan import Plan, Settings, make_plan
from skrelu._fit.report import Report
from skrelu._fit.stacking import alone, left_out_losses, stacked
from skrelu._fit.uncertainty import with_error_bars
from skrelu._fit.warm_start import going_on, like, start_from
from skrelu._fit.windows import fit_windows
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.progress import Status


def fit_network(
    training: Table,
    validation: Table | None,
    settings: Settings,
    *,
    warm: Earlier | None,
    device: torch.device,
    generator: torch.Generator,
    report: Report | None = None,
    score: Score | None = None,
) -> Fitted:
    """Fit a sum of sub-networks to a table.

    Parameters
    ----------
    training, validation : Table
        Without a validation table, each start holds out its own rows of the training table if
        the plan asks for early stopping.
    settings : Settings
    warm : Earlier or None
        An earlier fit to continue.
    device : torch.device
    generator : torch.Generator
    report : callable, optional
        Called at the start of each stage and after each iteration, see `Report`.
    score : callable, optional
        What chooses the best iteration of "adam" by held-out rows, see `Score`. None is the loss.

    Returns
    -------
    Fitted

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts it before there is a model better than a constant.
    """
    if warm is not None and "ridge" in (warm.solver, settings.solver):
        warm = None  # linear least squares need no starting point
    if warm is not None and warm.kinds:  # rows that are held out choose the weights of the kinds
        settings = replace(settings, early_stopping=True)
    settings = settings if warm is None else like(settings, warm)
    plan = make_plan(settings, len(training.X), training.X.shape[1], training.y.shape[1])
    plan = plan if warm is None else going_on(plan, warm)
    job = Job(training, validation, settings, warm, device, generator, report, score)
    if warm is not None:
        job = replace(job, warm=start_from(job, warm))
    fitted = _fit(job, plan)
    if fitted.interrupted and not _loss(job, fitted) < tuning.WORTHLESS:
        raise KeyboardInterrupt("nothing better than a constant has been found so far")
    with job.step("error bars"):
        return with_error_bars(job, fitted)


def _fit(job: Job, plan: Plan) -> Fitted:
    """Fit the model that suits the table: linear, periodic waves, or other sub-networks."""
    if job.warm is not None and job.warm.kinds:
        return _fit_again(job, plan, job.warm)
    if job.settings.solver == "ridge":
        return fit_by_ridge(job, plan)
    n_samples, n_features = job.training.X.shape
    automatic = job.warm is None and plan.automatic
    if automatic and n_features >= n_samples > 1:
        return fit_linear(job, plan)
    periodic = fit_periodic(job, plan) if automatic else None
    others = _fit_others(job, plan, automatic)
    others = with_process(job, plan, others) if automatic else others
    if periodic is None or others.error <= periodic.error:
        return others
    return periodic.with_status(Status.INTERRUPTED) if others.interrupted else periodic


def _fit_others(job: Job, plan: Plan, automatic: bool) -> Fitted:
    """Fit sub-networks, or linear models of windows side by side."""
    n_samples = len(job.training.X)
    windows = fit_windows(job, plan) if automatic else None
    # So few left-out rows can judge linear least squares, but not sub-networks that move.
    if automatic and job.validation is None and 1 < n_samples < tuning.MIN_ROWS_TO_HOLD_OUT:
        return windows or fit_linear(job, plan)
    if windows is None:
        return _fit_moving(job, plan)
    noise = noise_by_neighbours(job.scalings[0].apply(job.training.X), job.targets(job.training.y))
    errors, fitted = _errors(windows), None
    clean = errors < tuning.COMPOSED_NOISE
    explained = noise is not None and bool((errors <= tuning.WINDOWS_EXPLAIN * noise).all())
    if clean.all() and (explained or len(clean) > 1):
        # Many starts on one level would be hardly better.
        noisy = errors.min() > tuning.CLEAN and plan.composed is not None
        fitted = _fit_composed(job, _for_noise(plan) if noisy else plan)
        if fitted is not None:
            fitted = (_or_smaller if noisy else _or_other_size)(job, plan, fitted)
    elif not explained or clean.any():
        fitted = _fit_moving(job, plan)
    # Of a given depth, any error is one of depth.
    enough = 0.0 if job.settings.exact_depth else tuning.SMALL_ERROR
    if fitted is None or _mean(_errors(fitted)) <= max(tuning.FEWER * _mean(errors), enough):
        return fitted or windows
    return windows.with_status(Status.INTERRUPTED) if fitted.interrupted else windows


def _errors(fitted: Fitted) -> Array:
    """Return the losses of several outputs on left-out rows, if they are known, or their mean."""
    known = fitted.left_out is not None and not fitted.plan.loss.coupled
    if known and fitted.plan.relu.n_outputs > 1:
        return left_out_losses(fitted)
    return np.array([fitted.error])


def _mean(errors: Array) -> float:
    """Return the geometric mean; one error as it is."""
    return float(errors[0] if len(errors) == 1 else np.exp(np.log(errors + EXACT).mean()))


def _fit_again(job: Job, plan: Plan, warm: Earlier) -> Fitted:
    """Go on with the networks on plain features, and fit those on encoded columns anew."""
    more = bool(np.any(warm.kinds.get("waves", 0)))
    then = None if more else ()
    encoded, fitted = fit_encoded(job, then, partial(alone, job, plan)), None
    if more:
        fitted = _fit_moving(job, plan)
    return stacked(job, plan, fitted, encoded)


def _loss(job: Job, fitted: Fitted) -> float:
    """Return the loss of a model on training rows, relative to that of the best constant."""
    if fitted.encoded is not None:
        return fitted.error
    rows = job.rows(1, False, len(job.training.X))
    raw = raw_values(fitted.plan.relu, to_tensor(fitted.relu, job.device), rows)
    return average_loss(fitted.shares, rows, raw)


def _fit_moving(job: Job, plan: Plan) -> Fitted:
    """Fit sub-networks whose directions and windows move: composed, or on one level."""
    if _tries_encoded(job, plan):
        return _fit_with_encoded(job, plan)
    composed = _fit_composed(job, plan)
    if composed is not None:
        return composed
    noisy = (job.warm is None and plan.noise_expected) or plan.composed is not None
    plan = replace(plan, composed=None)
    if noisy:
        plan = plan.for_noise()
    shaped = job.settings.n_levels == "auto" and plan.model.shape is not None
    return fit_on_one_level(job, plan, noisy or shaped)


def _tries_encoded(job: Job, plan: Plan) -> bool:
    """Return whether networks on encoded columns are tried."""
    return (
        job.warm is None
        and plan.automatic
        and job.settings.early_stopping is not False
        and _rows_that_tell(job) >= tuning.MIN_ROWS_ENCODED
    )


def _rows_that_tell(job: Job) -> float:
    """Return the number of rows, for classes that of rows outside of the largest class."""
    n, y = len(job.training.X), job.training.y
    if not job.settings.loss.classes:
        return n
    frequencies = job.training.weights @ y
    return n * (1 - max(frequencies.max(), 1 - frequencies.sum()))


def _fit_with_encoded(job: Job, plan: Plan) -> Fitted:
    """Fit composed sub-networks to smooth targets, else stack them with encoded columns.

    For classes, and where targets are not smooth, few rows also get waves on plain features.
    """
    composed, one_level = plan.composed, replace(plan, composed=None)
    looked, clean = None, torch.zeros(1, dtype=torch.bool)  # which outputs
    if composed is not None and not plan.loss.classes:
        looked = look(job, composed)
        clean = looked.errors(composed) <= tuning.CLEAN
        if bool(clean.all()):
            fitted = fit_composed(job, plan, composed, looked)
            if fitted is not None and (fitted.error <= tuning.CLEAN or fitted.interrupted):
                return _or_other_size(job, plan, fitted)
    more = len(job.training.X) <= tuning.PLAIN_ROWS or looked is not None
    then = ("pretraining",) if more else ()
    encoded, fitted = fit_encoded(job, then, partial(alone, job, one_level)), None
    if encoded.result.interrupted:
        return stacked(job, one_level, None, encoded)
    if (
        looked is not None
        and composed is not None
        and (bool(clean.any()) or _is_smooth(looked, composed, encoded))
    ):
        fitted = go_on(job, plan, composed, looked, best=bool(clean.any()))
        if not clean.any() and not fitted.interrupted:
            fitted = _with_other_size(job, plan, fitted)
            plan = replace(plan, composed=fitted.plan.composed)
            composed = plan.composed or composed
        average = stacked(job, one_level, fitted, encoded)
        smooth = average.gain >= tuning.SMOOTH_WEIGHT
        exact = smooth & (left_out_losses(average) <= tuning.LITTLE_NOISE)
        if exact.any() and not average.interrupted:
            fitted = on_all_rows(job, plan, composed, fitted)
    elif len(job.training.X) <= tuning.PLAIN_ROWS:
        fitted = None if looked is not None else _fit_composed(job, plan)
        fitted = fitted or fit_on_one_level(job, _few_waves(job, one_level), True)
    return stacked(job, one_level, fitted, encoded)


def _for_noise(plan: Plan, most: int = tuning.NOISY_SIZES[0]) -> Plan:
    """Return the plan with fewer composed sub-networks, which follow less of the noise.

    ``most`` is their largest number on a level.
    """
    assert plan.composed is not None
    n_parameters = plan.composed.n_parameters
    return replace(
        plan, composed=plan.composed.resized(tuning.NOISY_LEVELS, most, n_parameters=n_parameters)
    )


def _with_other_size(job: Job, plan: Plan, fitted: Fitted) -> Fitted:
    """Return a fit that holds rows out, or one of another size if that predicts them better."""
    error = _held_out_error(fitted)
    fewer = _holding_out(job, _for_noise(plan))
    if fewer is None:
        return fitted.with_status(Status.INTERRUPTED)
    with_fewer = _held_out_error(fewer)
    if with_fewer <= tuning.FEWER * error:
        return fewer
    deeper = _deeper(job, plan, fitted) if with_fewer > tuning.NEEDS_MORE * error else None
    if deeper is None:
        return fitted
    other = _holding_out(job, deeper)
    if other is None:
        return fitted.with_status(Status.INTERRUPTED)
    return other if _held_out_error(other) < error else fitted


def _holding_out(job: Job, plan: Plan) -> Fitted | None:
    """Return a fit of composed sub-networks that holds rows out; None if it is interrupted."""
    assert plan.composed is not None
    looked = look(job, plan.composed)
    if looked.result.interrupted:
        return None
    fitted = go_on(job, plan, plan.composed, looked, best=False)
    return None if fitted.interrupted else fitted


def _held_out_error(fitted: Fitted) -> float:
    """Return the mean error of the starts on the rows that they hold out."""
    assert fitted.pretraining is not None
    return float(fitted.pretraining.error.mean())


def _or_other_size(job: Job, plan: Plan, fitted: Fitted) -> Fitted:
    """Return a fit, or one of another size.

    With noise, fewer weights follow less of it. Without, a deeper network that begins at other
    random points may learn what this one has not.
    """
    if fitted.error <= tuning.LEARNED or fitted.interrupted:
        return fitted
    smaller = _or_smaller(job, plan, fitted)
    if smaller is not fitted:
        return smaller
    other = None
    if deeper := _deeper(job, plan, fitted):
        other = _fit_composed(job, deeper, tuning.OTHER_STARTS)
    if other is not None and other.interrupted:
        return fitted.with_status(Status.INTERRUPTED)
    return other if other is not None and other.error < tuning.DEEPER * fitted.error else fitted


def _or_smaller(job: Job, plan: Plan, fitted: Fitted) -> Fitted:
    """Return a fit, or with noise that of the smallest network up to which errors fall.

    Parameters count a little more than the degrees of freedom by which errors are estimated.
    """
    n_residuals = job.training.y.size

    def estimated(one: Fitted) -> float:
        more = tuning.COST_OF_PARAMETER * one.plan.network.n_parameters / n_residuals
        return float(one.error) * (1 + more)

    for most in tuning.NOISY_SIZES:
        if fitted.interrupted or fitted.error <= tuning.NO_NOISE:
            break
        enough = min(tuning.HOPELESS * estimated(fitted), plan.composed_noise)
        smaller = replace(_for_noise(plan, most), composed_noise=enough)
        if smaller.network.n_parameters >= fitted.plan.network.n_parameters:
            continue
        other = _fit_composed(job, smaller, tuning.OTHER_STARTS)
        if other is None:
            break
        if other.interrupted:
            return fitted.with_status(Status.INTERRUPTED)
        if estimated(other) >= estimated(fitted):
            break
        fitted = other
    return fitted


def _deeper(job: Job, plan: Plan, fitted: Fitted) -> Plan | None:
    """Return the plan of a deeper composed network than that of a fit; None if it would not help.

    The fit must have ended by itself, and rows must be neither too few nor too many.
    """
    assert plan.composed is not None
    assert fitted.pretraining is not None
    if fitted.pretraining.status in (Status.MAX_ITER, Status.STOPPED):
        return None
    n = len(job.training.X)
    rows = n * plan.composed.n_outputs
    most = int(min(tuning.DEEPER_WEIGHTS, rows / tuning.ROWS_A_DEEPER_WEIGHT))
    network = plan.composed.resized(*tuning.DEEPER_LEVELS, n_parameters=most)
    suits = network.n_parameters > plan.composed.n_parameters
    if not suits or n * network.n_parameters**2 > tuning.COMPOSED_WORK:
        return None
    return replace(plan, composed=network)


def _is_smooth(looked: Look, network: ComposedNetwork, encoded: EncodedFit) -> bool:
    """Return whether rough composed sub-networks predict as well as encoded ones."""
    raw, held = looked.held_out(network)
    known = encoded.left_out.isfinite().all(0).all(0)
    if known.shape != held.shape[1:]:
        return False
    held = held * known
    y, loss = encoded.rows.y, encoded.rows.loss

    def losses(raw: Tensor) -> Tensor:
        return (loss.values(raw, y, y[:, :1]).mean(-2).nan_to_num(0.0) * held).sum(-1)

    others = torch.stack([losses(kind) for kind in encoded.left_out]).amin(0)
    ratio = tuning.SMOOTH if len(y[0]) > tuning.PLAIN_ROWS else tuning.SMOOTH_FEW_ROWS
    return bool((losses(raw) < ratio * others).any())


def _few_waves(job: Job, plan: Plan) -> Plan:
    """Return the plan of brief fits on one level, which others average out."""
    n, n_features = job.training.X.shape
    most = tuning.STACKED_WAVES if n_features <= tuning.FEW_FEATURES else tuning.STACKED_WAVES // 2
    settings = replace(job.settings, n_subnetworks=max(1, min(most, n // 32)), refine=False)
    return make_plan(settings, n, n_features, plan.relu.n_outputs).for_noise()


def _fit_composed(job: Job, plan: Plan, n_starts: int | None = None) -> Fitted | None:
    """Fit composed sub-networks; None if the plan has none, or if one level should be better."""
    network = plan.composed
    return None if network is None else fit_composed(job, plan, network, n_starts=n_starts)
