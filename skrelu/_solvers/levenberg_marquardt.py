r"""Levenberg-Marquardt for a batch of independent least-squares problems.

Each start minimises its cost by steps that solve

.. math::   (J^T J + \mu D)\,\delta = -J^T r,

The diagonal matrix D scales the parameters (``scale`` in the code). It is the largest diagonal of
:math:`J^T J` so far (Moré 1978), or the present one. A step that reduces the cost is accepted, and
the damping :math:`\mu` decreases. Otherwise the damping increases, and the same equations are
solved again. Starts that have ended leave the batch.

A `Problem` evaluates points and gives the equations of the next step. An evaluation may first move
its points, onto bounds or to the best coefficients. With bounds, steps are projected (Kanzow,
Yamashita and Fukushima 2004): a parameter at a bound that it would cross is held, and a parameter
that crosses a bound on the way is put onto the bound.

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

# Smallest entry of D, as a fraction of the largest. Without it, steps of dead neurons, on which the
# residuals hardly depend, would be huge.
SCALE_FLOOR = 1e-9


class Damping(NamedTuple):
    """First damping, its factors after successful and failed steps, and its range."""

    start: float = 1.0
    down: float = 0.3
    up: float = 4.0
    least: float = 1e-12
    most: float = 1e12


class NormalEquations(NamedTuple):
    """Equations of a step with J'J, for fewer parameters than residuals."""

    gram: Tensor  # (n_starts, n_parameters, n_parameters)
    gradient: Tensor  # (n_starts, n_parameters), J'r
    scale: Tensor  # (n_starts, n_parameters), diagonal of D

    def factor(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Return Cholesky factors of the damped matrices, and which of them exist.

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
    """Equations of the same step with JJ', for fewer residuals than parameters.

    With K = D^-1/2 J' the step is -D^-1/2 K (K'K + mu I)^-1 r.
    """

    jacobian: Tensor  # (n_starts, n_parameters, n_residuals), K
    kernel: Tensor  # (n_starts, n_residuals, n_residuals), K'K
    residual: Tensor  # (n_starts, n_residuals)
    scale: Tensor  # (n_starts, n_parameters), diagonal of D

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
    """A batch of problems for `levenberg_marquardt`.

    ``starts`` (int64, (n_active,)) are the indices of the problems that a call is about.
    """

    damping: Damping
    estimates: bool
    """Whether equations estimate errors: every active start then gets new ones after any step."""

    def evaluate(self, theta: Tensor, starts: Tensor) -> Evaluation:
        """Project points (n_active, n_parameters) and evaluate them."""

    def linearize(
        self, at: Evaluation, starts: Tensor, earlier: Equations | None
    ) -> tuple[Equations, Evaluation]:
        """Return the equations of the next step, and the evaluation, which they may change."""

    def step(self, equations: Equations, at: Evaluation, starts: Tensor, damping: Tensor) -> Tensor:
        """Return steps (n_active, n_trials, n_parameters) for dampings (n_active, n_trials)."""


def running_scale(diagonal: Tensor, scale: Tensor | None) -> Tensor:
    """Return the diagonal of D: the largest diagonal so far, with a floor of `SCALE_FLOOR`."""
    floor = SCALE_FLOOR * diagonal.amax(-1, keepdim=True) + torch.finfo(diagonal.dtype).tiny
    diagonal = diagonal + floor
    return diagonal if scale is None else torch.maximum(diagonal, scale)


def without_held(equations: Equations, theta: Tensor, bounds: Bounds) -> Equations:
    """Return equations whose steps do not move parameters at a bound that they would cross."""
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
    """Minimise the cost of each problem of a batch by Levenberg-Marquardt.

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
    all_starts = torch.arange(theta.shape[0], device=theta.device)
    now = problem.evaluate(theta, all_starts)
    progress = Progress(now, options)
    starts = progress.active()
    if len(starts) == 0 or options.max_iter == 0:
        return progress.result(progress.why())
    limits = problem.damping
    damping = torch.full_like(now.cost, limits.start)
    trials = damping.new_tensor(options.trials)
    try:
        equations, now = problem.linearize(now, all_starts, None)

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
