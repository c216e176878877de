"""Warm starts: the networks and the plan that they continue."""

from __future__ import annotations

from dataclasses import replace

from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.blend import average_loss, raw_values
from skrelu._fit.earlier import Earlier
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan, Settings
from skrelu._networks.triangle_model import TriangleModel


def start_from(job: Job, warm: Earlier) -> Earlier | None:
    """Return the networks that a warm start continues, None to start anew.

    They are the same function of X as before, or the same function of standardized X, in case units
    have changed. The one with the lower loss is taken; neither, if it exceeds that of the best
    constant.
    """
    rows = job.rows(1, False, tuning.WARM_ROWS)
    with threads(0.0):
        moved = warm.relu_in(*job.scalings, job.device)
        losses = [
            average_loss(warm.shares, rows, raw_values(warm.network, theta, rows))
            for theta in (moved, to_tensor(warm.relu, job.device))
        ]
    if min(losses) > 1:
        return None
    if losses[1] < losses[0]:
        X_scaling, y_scaling = job.scalings
        return replace(warm, X_scaling=X_scaling, y_scaling=y_scaling)
    return warm


def like(settings: Settings, warm: Earlier) -> Settings:
    """Return settings in which the sizes of an earlier fit replace "auto"."""
    if settings.n_subnetworks == "auto":
        settings = replace(settings, n_subnetworks=warm.model.n_subnetworks)
    if settings.n_levels == "auto":
        settings = replace(settings, n_levels=warm.model.n_levels)
    return replace(settings, n_init=len(warm.relu))


def going_on(plan: Plan, warm: Earlier) -> Plan:
    """Return the plan with the model of an earlier fit; raise an error if networks differ."""
    if plan.described() != warm.described:
        raise ValueError(
            f"warm_start=True goes on from a fit with {warm.described}, but now there are "
            f"{plan.described()}. Keep these, or set warm_start=False to start anew."
        )
    return replace(plan, model=warm.model) if isinstance(warm.model, TriangleModel) else plan
