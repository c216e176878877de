"""Learning from a stream: a call makes one pass of Adam over its rows, and the next one goes on.

Scales, sizes and the units of the loss are those of the first rows. What a further call needs is a
`Stream` of arrays and plain values.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import Array, Table
from skrelu._data.torch_interop import threads, to_numpy, to_tensor
from skrelu._fit import tuning
from skrelu._fit.earlier import Earlier, model_of
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan, Settings, make_plan
from skrelu._fit.pretraining import random_starts
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.adam import State, adam_pass, mean_losses
from skrelu._solvers.joint import coefficient_penalty
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.rows import Rows

# Largest mean weight of a call relative to that of the first: squares must not overflow.
MOST_RATIO = 1e6


@dataclass(frozen=True)
class Stream:
    """What is known after some calls."""

    described: str  # sizes and kind of the networks, see `Plan.described`
    model: TriangleModel | ComposedNetwork
    network: ReLUNetwork | None  # whose weights are trained after a fit with refinement
    X_scaling: Scaling
    y_scaling: Scaling
    loss: dict[str, Any]  # its numbers, by name
    pretrained: Array  # (n_starts, model.n_parameters)
    shares: Array  # (n_starts,), weights in the average
    theta: Array  # what is trained: ``pretrained``, or the weights of ``network``
    mean: Array  # running means of Adam, see `State`
    square: Array
    n_steps: int
    n_rows: float  # effective number of rows so far
    weight: float  # mean weight of the first rows
    X_limits: Array  # (2, n_features), smallest and largest values
    y_limits: Array  # (2, n_outputs)
    losses: list[float]  # of the rows of each call, before it learned from them
    generator: Array  # state of the random numbers

    def stored(self) -> dict[str, Any]:
        """Return arrays and plain values."""
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        scalings = {"X_scaling": list(self.X_scaling), "y_scaling": list(self.y_scaling)}
        networks = {
            "model": asdict(self.model),
            "network": None if self.network is None else asdict(self.network),
        }
        return {**shown, **networks, **scalings}


def read_stream(kept: dict[str, Any]) -> Stream:
    """Return a stream, given the result of `Stream.stored`."""
    scalings = {name: Scaling(*kept[name]) for name in ("X_scaling", "y_scaling")}
    network = None if kept["network"] is None else ReLUNetwork(**kept["network"])
    return Stream(**{**kept, **scalings, "model": model_of(kept["model"]), "network": network})


def seen(table: Table, settings: Settings, fitted: Fitted) -> dict[str, Any]:
    """Return what a stream that goes on from a fit needs to know of its rows, as plain values."""
    scalings = fitted.X_scaling, fitted.y_scaling
    none = torch.device("cpu"), torch.Generator(), None
    job = Job(table, None, settings, None, *none, known_scalings=scalings)
    targets, weights = torch.tensor(job.targets(table.y).T), torch.tensor(table.weights)
    return {
        "loss": asdict(settings.loss.fitted_to(targets, weights, table.total)),
        "n_rows": _effective(table),
        "weight": table.total / len(table.X),
        "X_limits": _wider(None, table.X),
        "y_limits": _wider(None, table.y),
    }


def after_fit(earlier: Earlier, of_rows: dict[str, Any], generator: torch.Generator) -> Stream:
    """Return the stream that goes on from a fit, given the result of `seen`.

    Triangle waves stay so, and so do shapes. All weights of other networks are trained: those that
    were refined, and those on several levels.
    """
    model, refined = earlier.model, earlier.model.shape is None
    if isinstance(model, TriangleModel):
        lowered = model.to_relu(torch.tensor(earlier.pretrained))[1]
        refined = not np.allclose(lowered, earlier.relu, rtol=1e-9, atol=1e-12)
    theta = earlier.relu if refined else earlier.pretrained
    y_scaling = earlier.y_scaling
    return Stream(
        described=earlier.described,
        model=model,
        network=earlier.network if refined else None,
        X_scaling=_varying(earlier.X_scaling),
        y_scaling=y_scaling if (y_scaling.scale == 1).all() else _varying(y_scaling),
        pretrained=earlier.pretrained,
        shares=earlier.shares,
        theta=theta,
        mean=np.zeros_like(theta),
        square=np.zeros_like(theta),
        n_steps=0,
        losses=[],
        generator=generator.get_state().numpy(),
        **of_rows,
    )


def learn(
    table: Table,
    n_given: int,
    settings: Settings,
    stream: Stream | None,
    device: torch.device,
    generator: torch.Generator | None,
) -> tuple[Fitted, Stream]:
    """Learn from rows, and return the model and what the next call needs.

    Parameters
    ----------
    table : Table
    n_given : int
        Number of rows of positive weight before equal ones were merged.
    settings : Settings
    stream : Stream or None
        Of the calls before, or of a fit (`after_fit`). None at the first call.
    device : torch.device
    generator : torch.Generator or None
        For the first call; later ones go on with its random numbers.

    Raises
    ------
    ValueError
        If networks differ from those of the calls before, or if the loss becomes infinite or NaN.
    """
    plan = _plan(settings, table, stream)
    if stream is None:
        assert generator is not None
        stream = _begun(table, table.total / n_given, settings, plan, device, generator)
    elif stream.described != plan.described():
        raise ValueError(
            f"partial_fit goes on with {stream.described}, but now there are {plan.described()}. "
            "Keep these, or begin with a clone of the model."
        )
    generator = torch.Generator()
    generator.set_state(torch.tensor(stream.generator))
    job, rows, alpha = _rows(table, settings, stream, device, generator)
    with threads(plan.pretraining_work):
        state, before = _passed(job, rows, alpha, stream, table.total / n_given)
        after = mean_losses(stream.network or stream.model, state.theta, rows)
    if not bool(state.theta.isfinite().all() and after.isfinite().all()):
        raise ValueError(
            "The loss became infinite or NaN in partial_fit; the model stays as it was. Lower "
            f"learning_rate={settings.learning_rate!r}, or leave out extreme rows."
        )
    theta = to_numpy(state.theta)
    stream = replace(
        stream,
        theta=theta,
        pretrained=theta if stream.network is None else stream.pretrained,
        mean=to_numpy(state.mean),
        square=to_numpy(state.square),
        n_steps=state.n_steps,
        n_rows=stream.n_rows + _effective(table),
        X_limits=_wider(stream.X_limits, table.X),
        y_limits=_wider(stream.y_limits, table.y),
        losses=[*stream.losses, before],
        generator=generator.get_state().numpy(),
    )
    return _model(job, plan, stream, state.theta), stream


def _passed(
    job: Job, rows: Rows, alpha: float, stream: Stream, weight: float
) -> tuple[State, float]:
    """Make one pass over rows of a mean weight; return also their loss before."""
    parts = (stream.theta, stream.mean, stream.square)
    theta, mean, square = (to_tensor(part, job.device) for part in parts)
    model = stream.network or stream.model
    before = float(mean_losses(model, theta, rows).mean())
    ratio = float(np.clip(weight / stream.weight, 1 / MOST_RATIO, MOST_RATIO))
    state = adam_pass(
        model,
        State(theta, mean, square, stream.n_steps),
        replace(rows, training=rows.training * ratio),
        alpha,
        _penalty(model, theta, rows),
        job.options("adam", "partial_fit", 1),
        None if isinstance(model, ReLUNetwork) else model.bounds(theta),
        tuning.STREAM_WARM_UP,
    )
    return state, before


def _plan(settings: Settings, table: Table, stream: Stream | None) -> Plan:
    """Return a plan whose sizes are those of the stream, or do not depend on the number of rows."""
    n_features, n_outputs = table.X.shape[1], table.y.shape[1]
    if stream is not None:
        sizes = {"n_subnetworks": stream.model.n_subnetworks, "n_levels": stream.model.n_levels}
        auto: dict[str, Any] = {
            name: size for name, size in sizes.items() if getattr(settings, name) == "auto"
        }
        settings = replace(settings, **auto, n_init=len(stream.theta))
    if settings.n_subnetworks == "auto":
        size = tuning.STREAM_OF_ONE if n_features == 1 else tuning.STREAM_SUBNETWORKS
        levels = 1 if settings.n_levels == "auto" else int(settings.n_levels)
        settings = replace(settings, n_subnetworks=-(-size // levels) * levels)
    if settings.n_init == "auto":
        settings = replace(settings, n_init=1)
    if settings.n_levels == "auto":
        settings = replace(settings, n_levels=1)
    return make_plan(replace(settings, refine=False), len(table.X), n_features, n_outputs)


def _begun(
    table: Table,
    weight: float,
    settings: Settings,
    plan: Plan,
    device: torch.device,
    generator: torch.Generator,
) -> Stream:
    """Return the starting point: scales and units of the first rows, random sub-networks."""
    X, y, weights, total = table.X, table.y, table.weights, table.total
    X_scaling, y_scaling = Job(table, None, settings, None, device, generator, None).scalings
    if settings.loss.classes:  # as if there were one more row of each class
        more = np.eye(y.shape[1]) if y.shape[1] > 1 else np.array([[0.0], [1.0]])
        y, total = np.concatenate([y, more]), total / weight + len(more)
        weights = np.concatenate([weights * (total - len(more)), np.ones(len(more))]) / total
        y_scaling = Scaling.of_frequencies(y, weights)
    else:
        y_scaling = y_scaling if settings.loss.log_link else _varying(y_scaling)
    scalings = _varying(X_scaling), y_scaling
    job = Job(table, None, settings, None, device, generator, None, known_scalings=scalings)
    targets = torch.tensor(job.targets(y).T)
    loss = settings.loss.fitted_to(targets, torch.tensor(weights), total)
    rows = replace(job.rows(plan.n_starts, False, len(X)), loss=loss)
    model = plan.network
    if isinstance(model, ComposedNetwork) and settings.exact_depth and model.shape is None:
        model = replace(model, depth=settings.depth)
    with threads(plan.pretraining_work):
        if isinstance(model, TriangleModel):
            theta = random_starts(model, rows, tuning.STREAM_RIDGE * job.alpha, generator)
        else:
            theta = model.random(plan.n_starts, generator).to(rows.X)
    return Stream(
        described=plan.described(),
        model=model,
        network=None,
        X_scaling=scalings[0],
        y_scaling=scalings[1],
        loss=asdict(loss),
        pretrained=to_numpy(theta),
        shares=np.full(plan.n_starts, 1 / plan.n_starts),
        theta=to_numpy(theta),
        mean=np.zeros(tuple(theta.shape)),
        square=np.zeros(tuple(theta.shape)),
        n_steps=0,
        n_rows=0.0,
        weight=weight,
        X_limits=_wider(None, X),
        y_limits=_wider(None, table.y),
        losses=[],
        generator=generator.get_state().numpy(),
    )


def _varying(scaling: Scaling) -> Scaling:
    """Return scales that are not 0: a column that is constant at first may vary later."""
    unit = np.where(scaling.mean != 0, np.abs(scaling.mean), 1.0)
    return Scaling(scaling.mean, np.where(scaling.scale > 0, scaling.scale, unit))


def _effective(table: Table) -> float:
    """Return the number of rows of equal weight that say as much about a mean."""
    return 1 / float(np.square(table.weights).sum())


def _rows(
    table: Table,
    settings: Settings,
    stream: Stream,
    device: torch.device,
    generator: torch.Generator,
) -> tuple[Job, Rows, float]:
    """Return a job with the scales of the stream, its rows, and the strength of the ridge.

    The ridge is that of all rows so far.
    """
    scalings = stream.X_scaling, stream.y_scaling
    job = Job(table, None, settings, None, device, generator, None, known_scalings=scalings)
    loss = replace(settings.loss, **stream.loss)
    n_rows = stream.n_rows + _effective(table)
    alpha = settings.alpha if loss.classes else 2 * settings.alpha / n_rows
    if loss.classes:
        loss = replace(loss, noise=len(loss.null) / (n_rows * loss.null[0]))
    rows = job.rows(len(stream.theta), False, len(table.X))
    return job, replace(rows, loss=loss), alpha


def _penalty(
    model: TriangleModel | ComposedNetwork | ReLUNetwork, theta: Tensor, rows: Rows
) -> Tensor:
    """Return the weights of the squares of all parameters in the ridge."""
    if isinstance(model, TriangleModel):
        return coefficient_penalty(model, theta, rows, torch.arange(len(theta)))
    penalty = torch.ones_like(theta)
    if isinstance(model, ReLUNetwork):  # near the fitted weights, whose ridge is that of the fit
        return 0 * penalty
    penalty[:, -model.n_outputs :] = 0
    return penalty


def _wider(limits: Array | None, values: Array) -> Array:
    """Return the smallest and largest values of each column so far."""
    parts = values if limits is None else np.concatenate([limits, values])
    return np.array([parts.min(0), parts.max(0)])


def _lowered(
    model: TriangleModel | ComposedNetwork, theta: Tensor, depth: int
) -> tuple[ReLUNetwork, Tensor]:
    """Lower to a plain ReLU network."""
    if isinstance(model, TriangleModel):
        return model.to_relu(theta)
    return model.to_relu(theta, depth)


def _model(job: Job, plan: Plan, stream: Stream, theta: Tensor) -> Fitted:
    """Return the average of all starts, lowered."""
    pretrained = to_tensor(stream.pretrained, job.device)
    relu, lowered = stream.network, theta
    if relu is None:
        relu, lowered = _lowered(stream.model, theta, job.settings.depth)
    n_starts, n_calls = len(theta), len(stream.losses)
    # The first rows made the starting point, so their loss says nothing about others.
    error = theta.new_full((n_starts,), stream.losses[-1] if n_calls > 1 else torch.nan)
    nan = torch.full_like(error, torch.nan)
    result = Result(theta, error, nan, error, Status.DONE, n_calls, list(stream.losses))
    weights = Weights(pretrained, lowered, torch.zeros_like(lowered))
    if isinstance(stream.model, TriangleModel):
        plan = replace(plan, model=stream.model, composed=None)
    else:
        plan = replace(plan, composed=stream.model)
    plan = replace(plan, relu=relu, solver="adam")
    stages = (result, None) if stream.network is None else (None, result)
    return job.fitted(plan, weights, stream.shares, error, *stages)
