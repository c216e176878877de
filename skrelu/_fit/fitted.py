"""The outcome of a fit, with all that a warm start needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import Array
from skrelu._fit.error_bars import ErrorBars
from skrelu._fit.plan import Plan
from skrelu._networks.encoded_model import EncodedModel
from skrelu._networks.members import Members, Starts
from skrelu._solvers.posterior import Posterior
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.rows import Rows


class Weights(NamedTuple):
    """The parameters of a batch of starts after each stage, with the penalty of refinement."""

    pretrained: Tensor  # (n_starts, plan.network.n_parameters)
    relu: Tensor  # (n_starts, plan.relu.n_parameters)
    penalty: Tensor  # (n_starts, plan.relu.n_parameters)


@dataclass(frozen=True)
class Fitted:
    """The fitted networks of all starts; their weighted average is the model.

    The parameters of both stages are kept, for standardized data, so that warm starts can continue.
    """

    X_scaling: Scaling
    y_scaling: Scaling
    pretrained: Array  # (n_starts, plan.network.n_parameters)
    relu: Array  # (n_starts, plan.relu.n_parameters), refined
    penalty: Array  # (n_starts, plan.relu.n_parameters)
    shares: Array  # (n_starts,), weights of the starts in their average
    gain: Array  # (n_outputs,), weights of this average in the model; below 1 beside `encoded`
    error: float  # loss on other rows, relative to that of the best constant; NaN if unknown
    plan: Plan
    pretraining: Result | None  # None where a warm start skips it
    refinement: Result | None
    # What starts predict of rows that they hold out, (n_outputs, n_samples), NaN of other rows.
    left_out: Array | None = None
    rows: Rows | None = None  # those of ``left_out``
    encoded: EncodedModel | None = None  # added to the average of the networks
    # Weight of each kind, by name; (n_outputs,) if outputs have weights of their own.
    kinds: dict[str, float | Array] = field(default_factory=dict)
    posterior: Posterior | None = None  # of one start, if the fit has found it
    # (n_samples,), of the model at each row without this row, if the fit has found it
    left_out_variance: Array | None = None
    error_bars: ErrorBars | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the user interrupted the fit."""
        stages = self.pretraining, self.refinement
        return any(stage is not None and stage.interrupted for stage in stages)

    @property
    def members(self) -> Members:
        """The networks whose weighted average is the model."""
        shares = self.shares[:, None] * self.gain
        parts = (torch.tensor(part) for part in (self.pretrained, self.relu, shares))
        return Members(Starts(self.plan.network, self.plan.relu, *parts), self.encoded)

    def with_status(self, status: Status) -> Fitted:
        """Return the same fit with another status of pretraining."""
        assert self.pretraining is not None
        return replace(self, pretraining=replace(self.pretraining, status=status))
