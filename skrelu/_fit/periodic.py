"""The fit of periodic waves along random directions, for few rows of a smooth function.

Sub-networks that move have about as many weights as there are rows then, and more than one way to
pass through them. Here least squares fit the coefficients of more waves than rows, as a gaussian
process does, and left-out rows tell the error.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.blend import base_weights, blended, raw_values
from skrelu._fit.composed import lowered_closely
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.random_waves import fit_random_waves
from skrelu._networks.composed_network import ComposedNetwork, ComposedWeights
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Result, Status


def fit_periodic(job: Job, plan: Plan) -> Fitted | None:
    """Fit periodic waves; None with many rows, several outputs or other losses."""
    n, n_features = job.training.X.shape
    squared = isinstance(plan.loss, SquaredError)
    one = squared and plan.relu.n_outputs == 1 and job.validation is None
    few = n_features < n and tuning.FEWEST_ROWS <= n <= tuning.FEW_ROWS
    if not (one and few) or job.settings.early_stopping is True:
        return None
    with job.step("periodic waves") as step, threads(0.0):
        fitted = _fit_periodic(job, plan)
        step.done = fitted is not None
        step.error = None if fitted is None else fitted.error
    return fitted


def _fit_periodic(job: Job, plan: Plan) -> Fitted | None:
    rows = job.rows(1, False, len(job.training.X))
    base, n_features = base_weights(rows), len(rows.X)
    if not bool((base > 0).all()):
        return None
    apart = torch.Generator().set_state(job.generator.get_state())
    seed = int(torch.randint(2**31, (1,), generator=apart))
    weights = base / base.square().sum()
    n_waves = 2 ** math.ceil(math.log2(tuning.WAVES_A_ROW * rows.n_trained))
    found = fit_random_waves(rows.X.cpu(), rows.y[0].cpu(), weights.cpu(), n_waves, seed)
    if found is None:
        return None
    network = ComposedNetwork(n_features, n_waves, 1, 1, ripples=True)
    theta = network.pack(
        ComposedWeights(
            directions=[found.directions],
            offsets=[found.offsets],
            output=found.coef[:-1, None],
            intercept=found.coef[-1:],
        )
    )[None].to(rows.X)
    left_out = found.left_out.to(rows.X)
    loss = ((rows.y[0] - left_out).square() @ base)[None]
    relu, lowered = lowered_closely(network, theta, tuning.RIPPLE_DEPTH, rows, loss)
    curve = [1.0, float(loss)]
    result = Result(theta, loss, loss, loss, Status.DONE, 1, curve, curve)
    plan = replace(plan, composed=network, relu=relu, n_starts=1, solver="ridge", in_limit=False)
    weights_of = Weights(theta, lowered, torch.zeros_like(lowered))
    fitted = job.fitted(plan, weights_of, np.ones(1), loss, result, None)
    fitted = replace(fitted, posterior=found.posterior)
    return blended(job, fitted, rows, raw_values(relu, lowered, rows), left_out[None])
