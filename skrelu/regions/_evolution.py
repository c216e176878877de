"""Records of the regions of a network while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrelu.regions._checks import Array, as_floats, as_integer, as_number, shown
from skrelu.regions._line import LineRegions, regions_along
from skrelu.regions._plane import PlaneRegions, regions_in_plane

Regions = LineRegions | PlaneRegions

# Largest number of steps in a list; ranges may be longer.
MOST_STEPS = 1_000_000


class RegionRecorder:
    """Record regions, loss and decision boundary of a network while it trains.

    A recorder is a callback of scikit-learn: after ``model.set_callbacks(recorder)`` the method
    ``fit`` records an estimator of skrelu before the first step and after each iteration. In any
    other training loop call `record`.

    Parameters
    ----------
    find : callable
        Function from a model to its regions. ``RegionRecorder.along`` and
        ``RegionRecorder.in_plane`` create it.
    steps : iterable of int, default=None
        Steps to record, for example ``range(0, 101, 10)``. None records all.
    max_bytes : float, default=4e9
        Maximum memory of the record in bytes, greater than 0. If it is exceeded, an error is
        raised, also in a fit.

    Attributes
    ----------
    steps_ : list of int
        Recorded steps. Step 0 is the network before training. As a callback, the recorder counts
        iterations through all stages of the fit. The fitted model is one step more and always
        recorded.
    stages_ : list of str
        Stage of the fit at each step, "end" for the fitted model, or the stage given to `record`.
    losses_ : list of float
        Loss at each step, as given to `record`. In a fit it is the loss on the training rows
        relative to that of the best constant.
    regions_ : list of LineRegions or PlaneRegions
        Regions at each step.

    Raises
    ------
    TypeError
        If ``find`` is not callable, or ``steps`` are not integers.
    ValueError
        If ``max_bytes`` is not positive, or ``steps`` lists more than a million steps.

    See Also
    --------
    RegionCountDisplay : Plot of the numbers of regions by step.
    animate : Animation of the regions.

    Notes
    -----
    During a fit the regions are those of the best network so far, lowered to a plain ReLU network.
    In the stage "limit" nothing is recorded, because refinement takes place in the limit of
    infinite depth. At the end the starts are averaged, and composed sub-networks may get more
    layers. Each fit begins a new record, so a search or cross-validation leaves the last one.

    Examples
    --------
    >>> import torch
    >>> from skrelu.regions import RegionRecorder
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> X = torch.randn(100, 2)
    >>> y = (X[:, :1] * X[:, 1:] > 0).float()
    >>> optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    >>> recorder = RegionRecorder.in_plane([-2, -2], [2, 2], steps=range(0, 21, 10))
    >>> for step in range(21):
    ...     loss = torch.nn.functional.binary_cross_entropy_with_logits(network(X), y)
    ...     recorder.record(network, step, loss)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     _ = optimizer.step()
    >>> recorder.steps_, recorder.n_linear_regions_.shape
    ([0, 10, 20], (3,))
    """

    def __init__(
        self,
        find: Callable[..., Regions],
        *,
        steps: Iterable[int] | None = None,
        max_bytes: float = 4e9,
    ) -> None:
        if not callable(find):
            raise TypeError(
                f"find={find!r} has to take a model and return its regions; RegionRecorder.along "
                "and RegionRecorder.in_plane make such a function."
            )
        self.find, self.steps = find, None if steps is None else _listed(steps)
        self.max_bytes = as_number(max_bytes, "max_bytes", finite=False)
        if not self.max_bytes > 0:
            raise ValueError(f"max_bytes={max_bytes} has to be positive.")
        self._clear()

    @classmethod
    def along(
        cls,
        points: ArrayLike,
        *,
        max_regions: int | str = "auto",
        steps: Iterable[int] | None = None,
        max_bytes: float = 4e9,
    ) -> RegionRecorder:
        """Create a recorder of regions along a polyline, see `regions_along`.

        Parameters
        ----------
        points : array-like of shape (n_points, n_features)
            Corners of the line in input space, two or more.
        max_regions : int or "auto", default="auto"
            Maximum number of activation regions at each step.
        steps : iterable of int, default=None
            Steps to record. None records all.
        max_bytes : float, default=4e9
            Maximum memory of the record in bytes, greater than 0.

        Returns
        -------
        RegionRecorder
            The recorder.
        """
        find = partial(
            regions_along, points=as_floats(points, "points").copy(), max_regions=max_regions
        )
        return cls(find, steps=steps, max_bytes=max_bytes)

    @classmethod
    def in_plane(
        cls,
        lower: ArrayLike,
        upper: ArrayLike,
        *,
        origin: ArrayLike | None = None,
        axes: ArrayLike | None = None,
        max_regions: int | str = "auto",
        steps: Iterable[int] | None = None,
        max_bytes: float = 4e9,
    ) -> RegionRecorder:
        """Create a recorder of regions in a rectangle of a plane, see `regions_in_plane`.

        Parameters
        ----------
        lower, upper : array-like of shape (2,)
            Corners of the rectangle, in coordinates of the plane.
        origin : array-like of shape (n_features,), default=None
            Origin of the plane. None is 0.
        axes : array-like of shape (2, n_features), default=None
            Directions of the coordinates. None is the two features of a model with two features.
        max_regions : int or "auto", default="auto"
            Maximum number of activation regions at each step.
        steps : iterable of int, default=None
            Steps to record. None records all.
        max_bytes : float, default=4e9
            Maximum memory of the record in bytes, greater than 0.

        Returns
        -------
        RegionRecorder
            The recorder.
        """
        given = {"lower": lower, "upper": upper, "origin": origin, "axes": axes}
        plane: dict = {
            name: as_floats(value, name).copy()
            for name, value in given.items()
            if name in ("lower", "upper") or value is not None
        }
        find = partial(regions_in_plane, **plane, max_regions=max_regions)
        return cls(find, steps=steps, max_bytes=max_bytes)

    def record(self, model, step: int, loss: float = np.nan, stage: str = "training") -> None:
        """Record the current regions of a model, if ``step`` is one of the steps to record.

        Parameters
        ----------
        model : estimator or torch.nn.Module
            Network to read, see `regions_along`.
        step : int
            Training step, greater than all steps recorded before.
        loss : float or tensor of one number, default=nan
            Loss at this step.
        stage : str, default="training"
            Stage of the training.

        Raises
        ------
        TypeError
            If the step is not an integer.
        ValueError
            If the step is not greater than the last one, the loss is not a number, or the record
            would take more than `max_bytes`.
        """
        number = as_integer(step)
        if number is None:
            raise TypeError(f"step={shown(step)} has to be an integer.")
        step = number
        if self.steps is None or step in self.steps:
            self._add(model, step, loss, stage)

    def _add(self, model, step: int, loss: float, stage: str) -> None:
        if self.steps_ and not step > self.steps_[-1]:
            raise ValueError(
                f"Step {step} comes after step {self.steps_[-1]}; steps have to increase. Use "
                "another recorder for another training run."
            )
        number = as_number(loss, "loss", finite=False)
        regions = self.find(model)
        n_bytes = _size(regions)
        if self._n_bytes + n_bytes > self.max_bytes:
            raise ValueError(
                f"The regions of {1 + len(self.steps_)} steps take more than "
                f"max_bytes={self.max_bytes:.3g}; raise it, or record fewer steps."
            )
        self._n_bytes += n_bytes
        self.regions_.append(regions)
        self.steps_.append(step)
        self.losses_.append(number)
        self.stages_.append(stage)

    @property
    def n_activation_regions_(self) -> NDArray[np.intp]:
        """Numbers of activation regions at the recorded steps, (n_recorded,)."""
        return np.array([regions.n_activation_regions for regions in self.regions_], np.intp)

    @property
    def n_linear_regions_(self) -> NDArray[np.intp]:
        """Numbers of linear regions at the recorded steps, (n_recorded,)."""
        return np.array([regions.n_linear_regions for regions in self.regions_], np.intp)

    def decision_boundaries(self, level: float = 0.0) -> list[Array]:
        """Return the decision boundary at each step.

        Parameters
        ----------
        level : float, default=0.0
            Level of the decision, see `PlaneRegions.decision_boundary`.

        Returns
        -------
        list of ndarray of shape (n_segments, 2, 2)
            Line segments at each step: segment, end, coordinate in the plane.

        Raises
        ------
        ValueError
            If the regions are not in a plane.
        """
        planes = [regions for regions in self.regions_ if isinstance(regions, PlaneRegions)]
        if len(planes) < len(self.regions_):
            raise ValueError("Decision boundaries are of planes; record with in_plane.")
        return [regions.decision_boundary(level) for regions in planes]

    def setup(self, estimator, context) -> None:
        """Begin a record, for scikit-learn."""
        self._clear()

    def teardown(self, estimator, context) -> None:
        """End a record, for scikit-learn."""

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None) -> None:
        """Record the model before the first step, for scikit-learn."""
        if context.task_name not in ("fit", "iteration") and self._step == 0:
            self._record_fit(fitted_estimator, context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> None:
        """Record the model after an iteration, for scikit-learn."""
        if context.task_name == "iteration":
            self._step += 1
            self._record_fit(fitted_estimator, context.parent.task_name)
        elif context.task_name == "fit":
            self._add(fitted_estimator, self._step + 1, _loss(fitted_estimator), "end")

    def _record_fit(self, fitted, stage: str) -> None:
        if fitted is not None:
            self.record(fitted, self._step, _loss(fitted), stage)

    def _clear(self) -> None:
        self._step = 0
        self._n_bytes = 0
        self.steps_: list[int] = []
        self.stages_: list[str] = []
        self.losses_: list[float] = []
        self.regions_: list[Regions] = []


def _loss(fitted) -> float:
    return getattr(fitted, "loss_curve_", [np.nan])[-1]


def _listed(steps: Iterable[int]) -> range | frozenset[int]:
    if isinstance(steps, range):
        return steps
    if not isinstance(steps, Iterable):
        raise TypeError(f"steps={shown(steps)} has to list steps, as in range(0, 101, 10).")
    listed = list(islice(steps, MOST_STEPS + 1))
    if len(listed) > MOST_STEPS:
        raise ValueError(f"steps lists more than {MOST_STEPS}; give a range, or None for all.")
    for step in listed:
        if as_integer(step) is None:
            raise TypeError(f"steps has {shown(step)} in it; each has to be an integer.")
    return frozenset(map(int, listed))


def _size(regions) -> int:
    """Return the size of all arrays of regions, in bytes."""
    values = vars(regions).values() if hasattr(regions, "__dict__") else ()
    return sum(
        _size(value) if is_dataclass(value) else getattr(value, "nbytes", 0) for value in values
    )
