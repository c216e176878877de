r"""Levenberg-Marquardt for a batch of independent problems of least squares.

Each start minimises its cost by steps that solve

.. math::   (J^T J + \mu D)\,\delta = -J^T r,

D being the largest diagonal of :math:`J^T J` met so far (Moré 1978), or the present one. A step
that lowers the cost is taken and the damping :math:`\mu` reduced; otherwise the damping is
raised and the same equations are solved again. Starts that have ended leave the batch.

What is fitted is a `Problem`: it evaluates points, which it may move first (onto bounds, or to
the best coefficients for the others), and gives the equations of the next step. With
bounds steps are projected: a parameter that stands at a bound and would cross it is held, the
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

from skrelu._networks.shapes import Bounds
from skrelu._solvers.progress import Evaluation, Options, Progress, Result, Status

# Directions in which the residual hardly changes are damped as if they changed it
# by this fraction of the most sensitive one: dead neurons must not fly away.
SCALE_FLOOR = 1e-9


class Damping(NamedTuple):
    """How the damping begins, what it is multiplied with after steps, and its range."""

    start: float = 1.0
    down: float = 0.3
    up: float = 4.0
    least: float = 1e-12
    most: float = 1e12


class NormalEquations(NamedTuple):
    """Damped steps from J'J, for fewer parameters than residuals."""

    gram: Tensor  # (n_starts, n_parameters, n_parameters)
    gradient: Tensor  # (n_starts, n_parameters), J'r
    scale: Tensor  # (n_starts, n_parameters)

    def factor(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Return Cholesky factors of the damped matrices, and where there is one.

        Parameters
        ----------
        damping : Tensor of shape (n_starts, n_trials)
        """
        ridge = damping[..., None] * self.scale[:, None]
        factor, info = torch.linalg.cholesky_ex(self.gram[:, None] + torch.diag_embed(ridge))
        return factor, info == 0

    def step(self, damping: Tensor) -> Tensor:
        """Return steps (n_starts, n_trials, n_parameters), NaN where one fails."""
        factor, found = self.factor(damping)
        gradient = self.gradient[:, None, :, None].expand(*factor.shape[:-1], 1)
        step = torch.cholesky_solve(-gradient, factor)[..., 0]
        return torch.where(found[..., None], step, torch.nan)


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


Equations = NormalEquations | DualEquations


class Problem(Protocol):
    """What Levenberg-Marquardt asks of a batch of problems.

    ``starts`` (int64, (n_active,)) says which of the batch a call is about.
    """

    damping: Damping
    estimates: bool
    """Whether equations tell the error of a point: all starts get new ones after a step then."""

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Move points (n_active, n_parameters) where they belong and return the values there."""

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Return the equations of the next step, and the values if they change by it."""

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return steps (n_active, n_trials, n_parameters) for dampings (n_active, n_trials)."""


def running_scale(diagonal: Tensor, scale: Tensor | None) -> Tensor:
    """Return D: the largest diagonal so far, floored relative to its largest entry."""
    floor = SCALE_FLOOR * diagonal.amax(-1, keepdim=True) + torch.finfo(diagonal.dtype).tiny
    diagonal = diagonal + floor
    return diagonal if scale is None else torch.maximum(diagonal, scale)


def without_held(equations: Equations, theta: Tensor, bounds: Bounds) -> Equations:
    """Return equations whose steps leave alone what stands at a bound and would cross it."""
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


def levenberg_marquardt(problem: Problem, theta: Tensor, options: Options) -> Result:
    """Minimise a batch of problems.

    Parameters
    ----------
    problem : Problem
    theta : Tensor of shape (n_starts, n_parameters)
        Starting points.
    options : Options
        An iteration is a trial step of every active start.

    Returns
    -------
    Result
    """
    everything = torch.arange(theta.shape[0], device=theta.device)
    now = problem.evaluate(theta, everything)
    progress = Progress(now, options)
    starts = progress.active()
    if len(starts) == 0 or options.max_iter == 0:
        return progress.result(progress.why())
    limits = problem.damping
    damping = torch.full_like(now.cost, limits.start)
    trials = damping.new_tensor(options.trials)
    try:
        equations, now = problem.linearize(now, everything, None)

        def linearize(moved: Tensor) -> None:
            there, at = problem.linearize(_take(now, moved), moved, _take(equations, moved))
            _put(equations, moved, there)
            _put(now, moved, at)

        if options.stops(progress):
            return progress.result(Status.STOPPED)
        while len(starts) and progress.n_iter < options.max_iter:
            whole = len(starts) == len(theta)
            at, there = (
                (now, equations) if whole else (_take(now, starts), _take(equations, starts))
            )
            dampings = damping[starts, None] * trials  # (n_active, n_trials)
            step = problem.step(there, at, starts, dampings)
            trial = (at.theta[:, None] + step).flatten(0, 1)
            new = problem.evaluate(trial, starts.repeat_interleave(len(trials)))
            cost, best = new.cost.nan_to_num(torch.inf).view(dampings.shape).min(1)
            best = best + len(trials) * torch.arange(len(best), device=best.device)
            better = cost < at.cost
            taken = starts[better]
            tried, most = dampings.flatten()[best], dampings.amax(1)
            damping[starts] = torch.where(better, limits.down * tried, limits.up * most)
            damping.clamp_(limits.least, limits.most)
            _put(now, taken, _take(new, best[better]))
            if problem.estimates and len(taken):
                linearize(starts)
            stuck = damping[starts] >= limits.most
            progress.update(_take(now, starts), starts, better, stuck)
            if options.stops(progress):
                return progress.result(Status.STOPPED)
            starts = progress.active()
            moved = taken[torch.isin(taken, starts)]
            if len(moved) and progress.n_iter < options.max_iter and not problem.estimates:
                linearize(moved)
    except KeyboardInterrupt:
        return progress.result(Status.INTERRUPTED)
    return progress.result(progress.why())


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
