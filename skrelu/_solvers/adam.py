"""Adam on minibatches, for networks whose normal equations are too large to form."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skrelu._networks.shapes import Bounds
from skrelu._solvers.losses import Loss
from skrelu._solvers.progress import Evaluation, Options, Progress, Result, Status
from skrelu._solvers.rows import Rows

# Rows in a chunk when all losses are evaluated.
EVALUATED_ROWS = 4096


class Model(Protocol):
    """A differentiable function with one vector of parameters for each start."""

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return raw outputs (n_starts, n_outputs, n_samples)."""


def adam(
    model: Model,
    theta: Tensor,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    bounds: Bounds | None = None,
) -> Result:
    """Minimise the penalized loss of every start by Adam.

    Parameters
    ----------
    model : Model
    theta : Tensor of shape (n_starts, n_parameters)
        Starting points.
    rows : Rows
    alpha : float
        Strength of the ridge alpha * sum_i penalty_i theta_i**2.
    penalty : Tensor of shape (n_starts, n_parameters)
        Weight of the square of each parameter.
    options : Options
        An iteration is a pass over all rows.
    bounds : tuple of Tensor of shape (n_parameters,), optional
        Lower and upper bounds.

    Returns
    -------
    Result

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015,
    https://arxiv.org/abs/1412.6980
    """
    all_starts = torch.arange(len(theta), device=theta.device)
    theta = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=options.learning_rate)
    progress = Progress(_evaluate(model, theta, rows, options), options)
    try:
        options.stops(progress)
        while len(progress.active()) and progress.n_iter < options.max_iter:
            _pass(model, theta, optimizer, rows, alpha, penalty, options, bounds)
            evaluation = _evaluate(model, theta, rows, options)
            progress.update(evaluation, all_starts)
            if options.stops(progress):
                return progress.result(Status.STOPPED)
    except KeyboardInterrupt:
        return progress.result(Status.INTERRUPTED)
    return progress.result(progress.why())


class State(NamedTuple):
    """Parameters between passes, with running means of gradients and of their squares."""

    theta: Tensor  # (n_starts, n_parameters)
    mean: Tensor
    square: Tensor
    n_steps: int


def adam_pass(
    model: Model,
    state: State,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    bounds: Bounds | None,
    warm_up: int,
) -> State:
    """Make one pass over some rows, and return the state after it.

    Parameters are those of `adam`. A pass continues the pass before it: without ``warm_up``, two
    passes are the same as two iterations of `adam`. The rate grows over the first ``warm_up``
    steps.
    """
    theta = state.theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=options.learning_rate)
    moments = optimizer.state[theta] = {
        "step": torch.tensor(float(state.n_steps), dtype=torch.float64),
        "exp_avg": state.mean.clone(),
        "exp_avg_sq": state.square.clone(),
    }

    def set_rate(*_) -> None:
        part = min(1.0, (float(moments["step"]) + 1) / (warm_up + 1))
        optimizer.param_groups[0]["lr"] = options.learning_rate * part

    optimizer.register_step_pre_hook(set_rate)
    _pass(model, theta, optimizer, rows, alpha, penalty, options, bounds)
    n_steps = int(moments["step"])
    return State(theta.detach(), moments["exp_avg"], moments["exp_avg_sq"], n_steps)


def _pass(
    model: Model,
    theta: Tensor,
    optimizer: torch.optim.Adam,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    bounds: Bounds | None,
) -> None:
    """Make one pass over all training rows."""
    order = torch.randperm(rows.n_trained, generator=options.generator).to(rows.X.device)
    shuffled = [part[:, order] for part in (rows.X, rows.y, rows.training)]
    batches = [part.split(options.batch_size, -1) for part in shuffled]
    for batch in zip(*batches, strict=True):
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = _batch_loss(model, theta, rows.loss, *batch)
            loss = rows.n_trained / batch[0].shape[-1] * loss
            cost = rows.penalized(loss, alpha * (penalty * theta**2).sum(-1))
            cost.sum().backward()
        optimizer.step()
        if bounds is not None:
            theta.data.clamp_(*bounds)


def mean_losses(model: Model, theta: Tensor, rows: Rows) -> Tensor:
    """Return the loss of each start on its training rows, (n_starts,)."""
    return rows.evaluated(_values(model, theta, rows), torch.arange(len(theta)))[0]


def _evaluate(model: Model, theta: Tensor, rows: Rows, options: Options) -> Evaluation:
    raw = _values(model, theta, rows)
    loss, validation = rows.evaluated(raw, torch.arange(len(theta), device=theta.device))
    error = loss if rows.validation is None else validation
    if options.score is not None:
        error = -options.score(raw, rows)
    return Evaluation(theta.detach(), loss, loss, validation, error)


@torch.no_grad()
def _values(model: Model, theta: Tensor, rows: Rows) -> Tensor:
    """Return the raw outputs of all rows, (n_starts, n_outputs, n_samples)."""
    chunks = rows.chunks(EVALUATED_ROWS)
    return torch.cat([model.forward(theta, rows.X[:, chunk]) for chunk in chunks], -1)


def _batch_loss(
    model: Model, theta: Tensor, loss: Loss, X: Tensor, y: Tensor, weights: Tensor
) -> Tensor:
    """Return the contribution of a batch of rows to the training loss, (n_starts,)."""
    raw = model.forward(theta, X)
    total = weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    scale = loss.scale(raw.detach(), y, weights / total)
    values = loss.values(raw, y, scale) / loss.unit(raw)
    return (weights * values.mean(-2)).sum(-1)
