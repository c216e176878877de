"""The fit of periodic waves along random directions, for few rows of a smooth function.

Sub-networks that move have about as many weights as there are rows then, and more than one way to
pass through them. Here the coefficients of more waves than rows come as close to a gaussian process
as they can, and left-out rows tell the error.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from skrelu._data.torch_interop import threads, to_numpy
from skrelu._fit import tuning
from skrelu._fit.blend import base_weights, blended, raw_values
from skrelu._fit.composed import lowered_closely
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.gaussian_process import optimism
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.random_waves import fit_random_waves
from skrelu._networks.composed_network import ComposedNetwork, ComposedWeights
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.posterior import LEAST_WEIGHT
from skrelu._solvers.progress import Result, Status


def fit_periodic(job: Job, plan: Plan) -> Fitted | None:
    """Fit periodic waves to few rows; None with many rows, several outputs or other losses."""
    n, n_features = job.training.X.shape
    squared = isinstance(plan.loss, SquaredError)
    one = squared and plan.relu.n_outputs == 1 and job.validation is None
    few = n_features < n and tuning.FEWEST_ROWS <= n <= tuning.FEW_ROWS
    settings = job.settings
    if not (one and few) or settings.early_stopping is True or settings.exact_depth:
        return None
    n_waves = 2 ** math.ceil(math.log2(tuning.WAVES_A_ROW * n))
    n_waves = min(n_waves, tuning.MOST_WAVES)
    return _fitted(job, plan, n_waves, tuning.CHOSEN_PARAMETERS, tuning.MOST_SIZE)


def fit_by_ridge(job: Job, plan: Plan) -> Fitted:
    """Fit as many periodic waves as the parameters ask for.

    Raises
    ------
    ValueError
        If other parameters or the data ask for something else.
    """
    _check(job, plan)
    n_waves = job.settings.n_subnetworks
    n_waves = tuning.WAVES_OF_RIDGE if n_waves == "auto" else int(n_waves)
    fitted = _fitted(job, plan, n_waves, tuning.PARAMETERS_OF_RIDGE)
    if fitted is None:
        raise ValueError("Rounding errors prevent solver='ridge' here: set solver='auto'.")
    return fitted


def _check(job: Job, plan: Plan) -> None:
    """Raise an error if the parameters or the data ask for more than periodic waves."""
    n, settings, advice = len(job.training.X), job.settings, "leave it at the default"
    others = {
        f"depth={settings.depth}": settings.exact_depth,
        f"n_levels={settings.n_levels}": settings.n_levels not in ("auto", 1),
        f"n_init={settings.n_init}": settings.n_init not in ("auto", 1),
        "smooth=False": not settings.smooth,
        "early_stopping=True": settings.early_stopping is True,
        f"the loss {settings.loss.name}": not isinstance(settings.loss, SquaredError),
        "a guaranteed shape": settings.shape is not None,
        "X_val": job.validation is not None,
    }
    asked = [name for name, given in others.items() if given]
    if plan.relu.n_outputs > 1:
        asked, advice = [f"y with {plan.relu.n_outputs} columns"], "fit one model for each"
    if n > tuning.MOST_ROWS_OF_RIDGE:
        most = f"at most {tuning.MOST_ROWS_OF_RIDGE} rows go with it"
        asked, advice = [f"{n} rows"], f"{most}; set solver='auto'"
    if asked:
        raise ValueError(
            "solver='ridge' fits periodic waves to one target by linear least squares. That does "
            f"not go with {' and '.join(asked)}: {advice}."
        )


def _fitted(
    job: Job, plan: Plan, n_waves: int, n_chosen: int, most_size: float = math.inf
) -> Fitted | None:
    """Fit periodic waves; None if rounding errors prevent it.

    ``n_chosen`` is the number of parameters that left-out rows have chosen beside lengths.
    """
    with job.step("periodic waves") as step, threads(0.0):
        fitted = _fit_waves(job, plan, n_waves, n_chosen, most_size)
        step.done = fitted is not None
        step.error = None if fitted is None else fitted.error
    return fitted


def _fit_waves(
    job: Job, plan: Plan, n_waves: int, n_chosen: int, most_size: float
) -> Fitted | None:
    rows = job.rows(1, False, len(job.training.X))
    base, n_features = base_weights(rows), len(rows.X)
    apart = torch.Generator().set_state(job.generator.get_state())
    seed = int(torch.randint(2**31, (1,), generator=apart))
    weights = (base / base.square().sum()).clamp_min(LEAST_WEIGHT)
    X, y, weights = (part.cpu().double() for part in (rows.X, rows.y[0], weights))
    found = fit_random_waves(X, y, weights, n_waves, tuning.LENGTH_ROWS, seed, most_size)
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
    # The noise, and a part of what is not known of the row that the others know best.
    error = 1 / found.posterior.precision + tuning.RIPPLE_LOSS * found.variance.min()
    relu, lowered = lowered_closely(network, theta, tuning.RIPPLE_DEPTH, rows, error[None].to(loss))
    curve = [1.0, float(loss)]
    result = Result(theta, loss, loss, loss, Status.DONE, 1, curve, curve)
    plan = replace(plan, composed=network, relu=relu, n_starts=1, solver="ridge", in_limit=False)
    weights_of = Weights(theta, lowered, torch.zeros_like(lowered))
    fitted = job.fitted(plan, weights_of, np.ones(1), loss, result, None)
    variance = to_numpy(found.variance)
    fitted = replace(fitted, posterior=found.posterior, left_out_variance=variance)
    fitted = blended(job, fitted, rows, raw_values(relu, lowered, rows), left_out[None])
    targets, known = to_numpy(rows.y), fitted.left_out
    assert known is not None
    factor = optimism(rows.n_trained, n_features + n_chosen)
    return replace(fitted, left_out=targets + factor * (known - targets))
