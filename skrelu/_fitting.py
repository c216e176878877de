"""The fit as a function on arrays: pretrain, lower, refine, average.

The estimators validate and store; everything in between is here.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from skrelu._composed_fit import fit_composed
from skrelu._fitted import Fitted, Table
from skrelu._job import Job, Report
from skrelu._one_level_fit import fit_on_one_level
from skrelu._plan import Settings, make_plan


def fit_network(
    training: Table,
    validation: Table | None,
    settings: Settings,
    *,
    warm: Fitted | None,
    device: torch.device,
    generator: torch.Generator,
    report: Report | None = None,
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
        Called at the start of each stage and after each iteration, see `Report`.

    Returns
    -------
    Fitted
    """
    if warm is not None:
        if settings.n_subnetworks == "auto":
            settings = replace(settings, n_subnetworks=warm.plan.n_subnetworks)
        if settings.n_levels == "auto":
            settings = replace(settings, n_levels=warm.plan.n_levels)
        settings = replace(settings, n_init=len(warm.relu))
    plan = make_plan(settings, len(training.X), training.X.shape[1], training.y.shape[1])
    if warm is not None:
        if plan.described() != warm.plan.described():
            raise ValueError(
                f"warm_start=True goes on from a fit with {warm.plan.described()}, but now there "
                f"are {plan.described()}. Keep these, or set warm_start=False to start anew."
            )
        n_free_peaks = warm.plan.triangles.n_free_peaks
        triangles = replace(plan.model.triangles, n_free_peaks=n_free_peaks)
        plan = replace(plan, model=replace(plan.model, triangles=triangles))
    job = Job(training, validation, settings, warm, device, generator, report)
    noisy = warm is None and plan.noise_expected
    if plan.composed is not None:
        fitted = fit_composed(job, plan, plan.composed)
        if fitted is not None:
            return fitted
        plan, noisy = replace(plan, composed=None), True
    if noisy:
        plan = plan.for_noise()
    shaped = settings.n_levels == "auto" and plan.model.shape is not None
    return fit_on_one_level(job, plan, noisy or shaped)
