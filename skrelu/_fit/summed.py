"""Composed sub-networks that were fitted to a sample go on with sums over all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from skrelu._data.table import Table
from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.averaging import shares_by
from skrelu._fit.composed import lowered_closely
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.uncertainty import with_error_bars
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Result
from skrelu._solvers.summed import SumsAt, fit_by_sums


def is_composed(fitted: Fitted) -> bool:
    """Return whether a fit is of composed sub-networks alone, by squared errors."""
    network = fitted.plan.network
    alone = not fitted.kinds and fitted.encoded is None and fitted.refinement is None
    several = isinstance(network, ComposedNetwork) and network.n_levels > 1
    return several and alone and isinstance(fitted.plan.loss, SquaredError)


def go_on_by_sums(
    job: Job, fitted: Fitted, sums: SumsAt, n_effective: float, scored: Table
) -> tuple[Fitted, Result]:
    """Go on with a fit to a sample by evidence steps whose sums are over all rows.

    Networks keep the standardization of the sample. They are neither blended with a linear model
    nor shifted, which the fit to the sample has done by the sample.

    Parameters
    ----------
    job : Job
        That of the sample.
    fitted : Fitted
        Of composed sub-networks alone.
    sums : callable
        See `skrelu._solvers.summed.SummedProblem`.
    n_effective : float
        Effective number of all rows.
    scored : Table
        Some of all rows, for error bars. Rows that were not in the sample are best: the networks
        follow those of the sample more closely.

    Returns
    -------
    fitted : Fitted
        Its error bars are those of a fit to all rows, with J'J estimated by ``scored``.
    result : Result
        Of the steps on all rows.
    """
    plan, network = fitted.plan, fitted.plan.network
    assert isinstance(network, ComposedNetwork)
    size = plan.relu.n_outputs * network.n_parameters**2
    kept = np.argsort(-fitted.shares, kind="stable")[: max(1, tuning.SUMMED_PRODUCTS // size)]
    theta = to_tensor(fitted.pretrained[kept], job.device)
    rows = job.rows(len(kept), False, tuning.LOWERED_ROWS)
    options = job.options("lm", "pretraining on all partitions", tuning.SUMMED_ITER)
    tol, patience = tuning.SUMMED_END
    options = replace(options, tol=tol, patience=patience)
    with threads(0.0):
        result = fit_by_sums(network, theta, sums, rows, n_effective, options, tuning.RESUMED)
        relu, lowered = lowered_closely(
            network, result.theta, job.settings.depth, rows, result.error
        )
    weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
    shares, whole = shares_by(result.error), result.after(fitted.pretraining)
    found = job.fitted(replace(plan, relu=relu), weights, shares, result.error, whole, None)
    of_scored = replace(job, training=scored, known_scalings=job.scalings)
    return with_error_bars(of_scored, found, n_effective), result
