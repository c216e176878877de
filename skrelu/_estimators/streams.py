"""What partial_fit of both estimators has in common: it learns from a stream by Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from types import MethodType

from sklearn.utils import check_random_state

from skrelu._data.table import Table
from skrelu._data.torch_interop import make_generator, resolve_device
from skrelu._estimators.attributes import attributes_of, limits_of
from skrelu._estimators.verbose import say
from skrelu._fit.plan import Settings
from skrelu._fit.stream import after_fit, learn, read_stream


def learn_rows(model, table: Table, n_given: int, settings: Settings, own: dict):
    """Learn from the rows of a call of partial_fit, and store the model."""
    generator, stream = None, None
    if hasattr(model, "_stream"):
        stream = read_stream(model._stream)
    else:
        generator = make_generator(check_random_state(model.random_state))
        if hasattr(model, "_seen"):
            stream = after_fit(model._read_earlier(), model._seen, generator)
    device = resolve_device(model.device)
    fitted, stream = learn(table, n_given, settings, stream, device, generator)
    ranges = replace(table, X=stream.X_limits, y=stream.y_limits)
    limits = limits_of(fitted, ranges, model.extrapolation)
    model._keep({**attributes_of(fitted), **limits, **own}, table.X)
    model._stream = stream.stored()
    losses = {"name": "partial_fit", "loss": list(stream.losses), "validation_loss": []}
    model.stages_ = [losses]
    if model.verbose:
        say(f"partial_fit {len(stream.losses)}: loss before = {stream.losses[-1]:.6g}")
    return model


def goes_on(model) -> bool:
    """Return whether this is a further call of partial_fit; raise an error if it cannot be."""
    if model.early_stopping is True:
        raise ValueError("partial_fit holds no rows out: set early_stopping to 'auto' or False.")
    if not (isinstance(model.scoring, str) and model.scoring == "loss"):
        raise ValueError(
            f"partial_fit holds no rows out for scoring={model.scoring!r}: set scoring='loss'."
        )
    if not hasattr(model, "intercept_"):
        return False
    if not (hasattr(model, "_stream") or hasattr(model, "_seen")):
        raise ValueError(
            "partial_fit goes on from its own calls and from fit with solver='adam', but this "
            "model is another one: begin with a clone of it."
        )
    return True


class by_adam:
    """Decorate a method that only estimators with ``solver="adam"`` have.

    It does what `sklearn.utils.metaestimators.available_if` does, but the error itself, not its
    cause, says what to do.
    """

    def __init__(self, method: Callable) -> None:
        self.method = method

        @wraps(method)
        def of_class(estimator, *args, **kwargs):
            return self.__get__(estimator)(*args, **kwargs)

        self._of_class = of_class

    def __get__(self, estimator, owner: type | None = None) -> Callable:
        if estimator is None:
            return self._of_class
        name = self.method.__name__
        if estimator.solver != "adam":
            raise AttributeError(
                f"This {type(estimator).__name__!r} has no attribute {name!r}, because "
                f"solver={estimator.solver!r} needs all rows at once: set solver='adam'."
            )
        return MethodType(self.method, estimator)
