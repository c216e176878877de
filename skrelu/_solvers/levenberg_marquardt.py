r"""Levenberg-Marquardt for a batch of independent nonlinear least-squares problems.

Each start minimises :math:`\|r(\theta)\|^2` by steps that solve

.. math::   (J^T J + \mu D)\,\delta = -J^T r,

D being the largest diagonal of :math:`J^T J` met so far (Moré 1978). A step that
lowers the cost is taken and the damping :math:`\mu` reduced; otherwise the damping is
raised and the same equations are solved again. Starts that have ended leave the batch.
With bounds steps are projected: a parameter that stands at a bound and would cross it is held, the
others move, and what crosses a bound on the way is put back onto it.

References
----------
Kanzow, Yamashita, Fukushima, "Levenberg-Marquardt methods with strong local convergence properties
for solving nonlinear equations with convex constraints", 2004,
https://doi.org/10.1016/j.cam.2004.02.013

Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978,
https://doi.org/10.1007/BFb0067700
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skrelu._solvers.progress import Evaluation, Options, Progress, Result, Status

DAMPING_START, DAMPING_DOWN, DAMPING_UP = 1.0, 0.3, 4.0
DAMPING_MIN, DAMPING_MAX = 1e-12, 1e12
# Directions in which the residual hardly changes are damped as if they changed it
# by this fraction of the most sensitive one: dead neurons must not fly away.
SCALE_FLOOR = 1e-9


Bounds = tuple[Tensor, Tensor]


class NormalEquations(NamedTuple):
    """Damped steps from J'J, for fewer parameters than residuals."""

    gram: Tensor  # (n_starts, n_parameters, n_parameters)
    gradient: Tensor  # (n_starts, n_parameters), J'r
    scale: Tensor  # (n_starts, n_parameters)

    def step(self, damping: Tensor) -> Tensor:
        """Return steps (n_starts, n_trials, n_parameters), NaN where one fails."""
        ridge = damping[..., None] * self.scale[:, None]
        factor, info = torch.linalg.cholesky_ex(self.gram[:, None] + torch.diag_embed(ridge))
        gradient = self.gradient[:, None, :, None].expand(*ridge.shape, 1)
        step = torch.cholesky_solve(-gradient, factor)[..., 0]
        return torch.where((info == 0)[..., None], step, torch.nan)


class DualEquations(NamedTuple):
    """The same steps from JJ', for fewer residuals than parameters.

    With K = D^-1/2 J' the step is -D^-1/2 K (K'K + mu I)^-1 r.
    """

    jacobian: Tensor  # (n_starts, n_parameters, n_residuals), scaled by D^-1/2
    kernel: Tensor  # (n_starts, n_residuals, n_residuals)
    residual: Tensor  # (n_starts, n_residuals)
    scale: Tensor  # (n_starts, n_parameters)

    def step(self, damping: Tensor) -> Tensor:
        """Return steps (n_starts, n_trials, n_parameters), NaN where one fails."""
        eye = torch.eye(self.kernel.shape[-1]).to(self.kernel)
        matrix = self.kernel[:, None] + damping[..., None, None] * eye
        factor, info = torch.linalg.cholesky_ex(matrix)
        residual = self.residual[:, None, :, None].expand(*damping.shape, -1, 1)
        dual = torch.cholesky_solve(-residual, factor)[..., 0]  # (n_starts, n_trials, n_residuals)
        step = (self.jacobian @ dual.mT).mT / self.scale.sqrt()[:, None]
        return torch.where((info == 0)[..., None], step, torch.nan)


class Problem(Protocol):
    """What Levenberg-Marquardt asks of a batch of least-squares problems.

    ``starts`` (int64, (n_active,)) says which of the batch a call is about.
    """

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Return the values at ``theta`` (n_active, n_parameters)."""

    def linearize(
        self, theta: Tensor, evaluation: Evaluation, starts: Tensor, scale: Tensor | None
    ) -> NormalEquations | DualEquations:
        """Return the equations of the step; ``scale`` is the largest so far."""


def running_scale(diagonal: Tensor, scale: Tensor | None) -> Tensor:
    """Return D: the largest diagonal so far, floored relative to its largest entry."""
    floor = SCALE_FLOOR * diagonal.amax(-1, keepdim=True) + torch.finfo(diagonal.dtype).tiny
    diagonal = diagonal + floor
    return diagonal if scale is None else torch.maximum(diagonal, scale)


def without_held(
    equations: NormalEquations | DualEquations, theta: Tensor, bounds: Bounds | None
) -> NormalEquations | DualEquations:
    """Return equations whose steps leave alone what stands at a bound and would cross it."""
    if bounds is None:
        return equations
    low, high = bounds
    if isinstance(equations, DualEquations):
        gradient = (equations.jacobian @ equations.residual[..., None])[..., 0]
    else:
        gradient = equations.gradient
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0)) | (low == high)
    free = (~held).to(theta)
    if isinstance(equations, DualEquations):
        jacobian = equations.jacobian * free[..., None]
        return equations._replace(jacobian=jacobian, kernel=jacobian.mT @ jacobian)
    gram = equations.gram * free[..., None] * free[..., None, :]
    return equations._replace(gram=gram, gradient=equations.gradient * free)


def levenberg_marquardt(
    problem: Problem, theta: Tensor, options: Options, bounds: Bounds | None = None
) -> Result:
    """Minimise a batch of least-squares problems.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (n_starts, n_parameters)
        Starting points.
    options : Options
        An iteration is a trial step of every active start.
    bounds : tuple of Tensor of shape (n_parameters,), optional
        What every parameter must not be below and above.

    Returns
    -------
    Result
    """
    theta = theta.clone() if bounds is None else theta.clamp(*bounds)
    everything = torch.arange(theta.shape[0], device=theta.device)
    evaluation = problem.evaluate(theta, everything)
    progress = Progress(theta, evaluation, options)
    damping = torch.full_like(evaluation.cost, DAMPING_START)
    trials = damping.new_tensor(options.trials)
    starts = progress.active()
    if len(starts) == 0 or options.max_iter == 0:
        return progress.result(Status.CONVERGED if len(starts) == 0 else Status.MAX_ITER)
    try:
        options.stops(progress)
        equations = problem.linearize(theta, evaluation, everything, None)
        equations = without_held(equations, theta, bounds)
        while len(starts) and progress.n_iter < options.max_iter:
            now = equations if len(starts) == len(theta) else _take(equations, starts)
            dampings = damping[starts, None] * trials  # (n_active, n_trials)
            trial = (theta[starts, None] + now.step(dampings)).flatten(0, 1)
            if bounds is not None:
                trial = trial.clamp(*bounds)
            new = problem.evaluate(trial, starts.repeat_interleave(len(trials)))
            cost, best = new.cost.nan_to_num(torch.inf).view(dampings.shape).min(1)
            best = best + len(trials) * torch.arange(len(best), device=best.device)
            trial, new = trial[best], _take(new, best)
            better = cost < evaluation.cost[starts]
            taken = starts[better]
            tried = dampings.flatten()[best]
            raised = DAMPING_UP * dampings.amax(1)
            damping[starts] = torch.where(better, DAMPING_DOWN * tried, raised)
            damping.clamp_(DAMPING_MIN, DAMPING_MAX)
            theta[taken] = trial[better]
            _put(evaluation, taken, _take(new, better))
            progress.update(theta[starts], _take(evaluation, starts), starts)
            if options.stops(progress):
                return progress.result(Status.STOPPED)
            starts = progress.active()
            moved = taken[torch.isin(taken, starts)]
            if len(moved) and progress.n_iter < options.max_iter:
                at = _take(evaluation, moved)
                scale = equations.scale[moved]
                there = problem.linearize(theta[moved], at, moved, scale)
                _put(equations, moved, without_held(there, theta[moved], bounds))
    except KeyboardInterrupt:
        return progress.result(Status.INTERRUPTED)
    return progress.result(Status.MAX_ITER if len(starts) else progress.ended())


def _take(record, index):
    """Index every tensor of a (nested) named tuple along its first dimension."""
    if isinstance(record, Tensor):
        return record[index]
    parts = [_take(part, index) for part in record]
    return tuple(parts) if type(record) is tuple else type(record)(*parts)


def _put(record, index, source) -> None:
    """Write rows into every tensor of a (nested) named tuple."""
    if isinstance(record, Tensor):
        record[index] = source
        return
    for part, new in zip(record, source, strict=True):
        _put(part, index, new)
