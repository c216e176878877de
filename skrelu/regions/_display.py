"""Plots of regions, with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from skrelu._data.torch_interop import isolated
from skrelu._plotting import import_pyplot, one_axes
from skrelu.regions._checks import as_floats, as_integer, as_number, shown
from skrelu.regions._evolution import RegionRecorder, Regions
from skrelu.regions._inside import as_table, checked_output, inside
from skrelu.regions._layers import layers_of
from skrelu.regions._line import LineRegions, regions_along
from skrelu.regions._plane import PlaneRegions, regions_in_plane

MARGIN = 0.05  # empty margin on each side, as a fraction of the range of the data


class LinearRegionsDisplay:
    """Plot of the regions of a network along a line or in a plane.

    Use `from_estimator` to create it, or pass regions found before and call `plot`.

    Parameters
    ----------
    regions : LineRegions or PlaneRegions
        Regions to draw.
    begin : float, default=0.0
        Coordinate of the begin of a line.
    names : sequence of str, default=None
        Labels of the axes: one for a line, two for a plane. None draws no labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Raises
    ------
    TypeError
        If ``regions`` are not regions along a line or in a plane.
    ValueError
        If the number of names is wrong, or ``begin`` is not a finite number.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.regions import LinearRegionsDisplay
    >>> X = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    >>> sizes = {"n_levels": 1, "n_subnetworks": 2, "n_init": 1, "refine": False}
    >>> model = ExponentialReLURegressor(**sizes, random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> display = LinearRegionsDisplay.from_estimator(model, X)
    >>> display.ax_.get_xlabel(), display.regions.n_linear_regions > 100
    ('feature 0', True)
    """

    def __init__(
        self, regions: Regions, *, begin: float = 0.0, names: Sequence[str] | None = None
    ) -> None:
        if not isinstance(regions, Regions):
            raise TypeError(
                f"Cannot draw {type(regions).__name__}; give what regions_along or "
                "regions_in_plane returns."
            )
        self.regions, self.begin = regions, as_number(begin, "begin")
        n_axes = 1 if isinstance(regions, LineRegions) else 2
        self.names = ("",) * n_axes if names is None else tuple(names)
        if len(self.names) != n_axes:
            raise ValueError(f"names={self.names} has to have {n_axes}, one an axis.")

    @classmethod
    @isolated()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features: int | str | Sequence[int | str] | None = None,
        kind: str = "regions",
        output: int = 0,
        level: float = 0.0,
        max_regions: int | str = "auto",
        ax=None,
    ) -> LinearRegionsDisplay:
        """Draw the regions of a fitted network over the range of the data.

        Parameters
        ----------
        estimator : estimator or torch.nn.Module
            Fitted network, see `regions_along`, or a Pipeline, search or
            TransformedTargetRegressor that ends with one. Features and outputs are drawn as the
            network at the end reads and returns them.
        X : array-like of shape (n_samples, n_features)
            Data, whose range is drawn. Features that are not drawn are fixed at their medians.
        features : int, str or two of them, default=None
            Features to draw, by index or name: one for a line, two for a plane. None draws all
            features, if there are at most two.
        kind : {"regions", "decision"}, default="regions"
            Kind of plot, see `plot`.
        output : int, default=0
            Index of the output to draw with "regions". Negative numbers count from the end.
        level : float, default=0.0
            Level of the decision, see `plot`.
        max_regions : int or "auto", default="auto"
            Maximum number of activation regions, see `regions_along` and `regions_in_plane`.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        LinearRegionsDisplay
            The plot.

        Raises
        ------
        TypeError
            If the model is not of a known type.
        ValueError
            If the model cannot be read or is not fitted, X does not match it, ``features`` are not
            one or two features of X, or there are too many regions.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        estimator, X, names = inside(estimator, X)
        n = layers_of(estimator).n_features
        data = as_table(X, n)
        names = names or [f"feature {i}" for i in range(n)]
        indices = _indices(range(n) if features is None else features, names)
        low, high = data.min(0)[indices], data.max(0)[indices]
        # The margin of a constant feature must exceed its rounding errors.
        room = np.where(high > low, MARGIN * (high - low), np.maximum(1.0, MARGIN * np.abs(high)))
        low, high = low - room, high + room
        origin = np.median(data, axis=0)
        origin[indices] = 0
        if not np.isfinite([*low, *high, *origin]).all():
            raise ValueError("X has a range that is too great for float64; scale it.")
        axes = np.zeros((len(indices), n))
        axes[range(len(indices)), indices] = 1
        chosen_names = [names[i] for i in indices]
        if len(indices) == 1:
            points = origin + np.outer([low[0], high[0]], axes[0])
            regions: Regions = regions_along(estimator, points, max_regions=max_regions)
            display = cls(regions, begin=float(low[0]), names=chosen_names)
        else:
            regions = regions_in_plane(
                estimator, low, high, origin=origin, axes=axes, max_regions=max_regions
            )
            display = cls(regions, names=chosen_names)
        return display.plot(kind=kind, output=output, level=level, ax=ax)

    @isolated()
    def plot(
        self, *, kind: str = "regions", output: int = 0, level: float = 0.0, ax=None
    ) -> LinearRegionsDisplay:
        """Draw the regions.

        Parameters
        ----------
        kind : {"regions", "decision"}, default="regions"
            Kind of plot.

            - "regions": along a line the function with its breakpoints; in a plane a map of the
              linear regions, coloured by an output.
            - "decision": in a plane a map of the decisions and their boundary.
        output : int, default=0
            Index of the output to draw with "regions". Negative numbers count from the end.
        level : float, default=0.0
            Level above which a single output decides for the second class, see
            `PlaneRegions.decision_boundary`.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        LinearRegionsDisplay
            The plot.

        Raises
        ------
        TypeError
            If ``ax`` is not Axes.
        ValueError
            If there is no such kind or output, or there are several outputs and ``level`` is not 0.
        """
        output = _checked(self.regions, kind, output)
        self.ax_ = one_axes(ax)
        self.figure_ = self.ax_.figure
        faces = _draw(self.ax_, self.regions, kind, output, level, self.begin)
        if isinstance(self.regions, LineRegions):
            self.ax_.set(xlabel=self.names[0], ylabel="output")
            self.ax_.legend()
        else:
            self.ax_.set(xlabel=self.names[0], ylabel=self.names[1])
            if kind == "regions":
                self.figure_.colorbar(faces, ax=self.ax_, label="output")
        return self


class RegionCountDisplay:
    """Plot of numbers of regions against training steps or another variable.

    Use `from_recorder` to create it, or pass counts and call `plot`.

    Parameters
    ----------
    positions : array-like of shape (n_positions,)
        Horizontal coordinates: training steps or another variable.
    counts : dict from str to array-like of shape (n_positions,) or (n_repetitions, n_positions)
        Numbers of regions by label. Repetitions are drawn as their median and range.
    xlabel : str, default="step"
        Label of the horizontal axis.
    ylabel : str, default="regions"
        Label of the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Raises
    ------
    TypeError
        If ``counts`` is not a dict.
    ValueError
        If positions or counts are not numbers, or their shapes do not match.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from skrelu.regions import RegionCountDisplay
    >>> display = RegionCountDisplay([0, 10, 20], {"linear regions": [4, 7, 9]}).plot()
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('step', 'regions')
    """

    def __init__(
        self,
        positions: ArrayLike,
        counts: Mapping[str, ArrayLike],
        *,
        xlabel: str = "step",
        ylabel: str = "regions",
    ) -> None:
        if not isinstance(counts, Mapping):
            raise TypeError(
                f"counts is a {type(counts).__name__}, but has to be a dict of labels and counts."
            )
        self.positions = np.atleast_1d(as_floats(positions, "positions", finite=False))
        self.counts = {
            label: np.atleast_2d(as_floats(count, f"counts[{label!r}]", finite=False))
            for label, count in counts.items()
        }
        self.xlabel, self.ylabel = xlabel, ylabel
        for label, count in self.counts.items():
            if count.shape[1:] != self.positions.shape or not len(count):
                raise ValueError(
                    f"counts[{label!r}] has shape {count.shape}, but there are "
                    f"{len(self.positions)} positions."
                )

    @classmethod
    def from_recorder(cls, recorder: RegionRecorder, *, ax=None) -> RegionCountDisplay:
        """Draw the numbers of activation and linear regions of a `RegionRecorder` by step.

        Parameters
        ----------
        recorder : RegionRecorder
            Recorder with at least one step.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        RegionCountDisplay
            The plot.

        Raises
        ------
        TypeError
            If ``recorder`` is not a `RegionRecorder`.
        ValueError
            If nothing was recorded.
        """
        _check_recorded(recorder)
        steps, stages = np.array(recorder.steps_, float), np.array(recorder.stages_)
        # No line is drawn between two stages, because nothing was recorded there.
        ends = 1 + (stages[1:] != stages[:-1]).nonzero()[0]
        counts = {
            "activation regions": recorder.n_activation_regions_,
            "linear regions": recorder.n_linear_regions_,
        }
        broken = {name: np.insert(n.astype(float), ends, np.nan) for name, n in counts.items()}
        return cls(np.insert(steps, ends, np.nan), broken).plot(ax=ax)

    @isolated()
    def plot(self, *, ax=None) -> RegionCountDisplay:
        """Draw the counts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        RegionCountDisplay
            The plot.
        """
        self.ax_ = one_axes(ax)
        self.figure_ = self.ax_.figure
        for label, count in self.counts.items():
            (line,) = self.ax_.plot(
                self.positions, np.median(count, axis=0), marker=".", label=label
            )
            if len(count) > 1:
                self.ax_.fill_between(
                    self.positions, count.min(0), count.max(0), color=line.get_color(), alpha=0.2
                )
        self.ax_.set(xlabel=self.xlabel, ylabel=self.ylabel)
        self.ax_.legend()
        return self


@isolated()
def animate(
    recorder: RegionRecorder,
    *,
    kind: str = "regions",
    output: int = 0,
    level: float = 0.0,
    begin: float = 0.0,
    interval: float = 200.0,
    ax=None,
):
    """Animate the regions recorded while a network trained.

    Parameters
    ----------
    recorder : RegionRecorder
        Recorder with at least one step.
    kind : {"regions", "decision"}, default="regions"
        Kind of plot, see `LinearRegionsDisplay.plot`.
    output : int, default=0
        Index of the output to draw with "regions". Negative numbers count from the end.
    level : float, default=0.0
        Level of the decision, see `LinearRegionsDisplay.plot`.
    begin : float, default=0.0
        Coordinate of the begin of a line.
    interval : float, default=200.0
        Time between steps in milliseconds, greater than 0.
    ax : matplotlib Axes, default=None
        Axes to draw on. None creates a new figure.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        The animation: ``save("film.gif")`` writes it, ``to_jshtml()`` shows it in a notebook.

    Raises
    ------
    TypeError
        If ``recorder`` is not a `RegionRecorder`.
    ValueError
        If nothing was recorded, there is no such kind or output, or a number is out of range.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import torch
    >>> from skrelu.regions import RegionRecorder, animate
    >>> network = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> recorder = RegionRecorder.along([[-1.0], [1.0]])
    >>> recorder.record(network, step=0)
    >>> page = animate(recorder).to_jshtml()
    """
    import_pyplot()
    from matplotlib.animation import FuncAnimation

    _check_recorded(recorder)
    begin, interval = as_number(begin, "begin"), as_number(interval, "interval")
    if interval <= 0:
        raise ValueError(f"interval={interval} has to be positive.")
    for regions in recorder.regions_:
        output = _checked(regions, kind, output)
    ax = one_axes(ax)
    values = [_outputs(regions)[:, output] for regions in recorder.regions_]
    low, high = min(map(np.min, values)), max(map(np.max, values))
    room = MARGIN * (high - low) or 1.0

    @isolated()
    def draw(frame: int) -> list:
        ax.clear()
        regions = recorder.regions_[frame]
        faces = _draw(ax, regions, kind, output, level, begin)
        if isinstance(regions, LineRegions):
            ax.set_ylim(low - room, high + room)
        elif kind == "regions":
            faces.set_clim(low, high)
        ax.set_title(f"step {recorder.steps_[frame]}: {regions.n_linear_regions} linear regions")
        return []

    return FuncAnimation(ax.figure, draw, frames=len(recorder.steps_), interval=interval)


def _indices(features, names: list[str]) -> list[int]:
    """Return the indices of one or two features, given by index or name."""
    n = len(names)
    listed = (
        [features]
        if isinstance(features, str)
        else np.atleast_1d(np.array(features, object)).tolist()
    )
    found = [names.index(f) if f in names else as_integer(f) for f in listed[:3]]
    indices = [i % n for i in found if i is not None and -n <= i < n]
    if not len(listed) == len(indices) == len(set(indices)) or not indices or len(indices) > 2:
        raise ValueError(
            f"features={shown(listed)} has to be one or two of the {n} features of X, by index or "
            "name, as a picture has two axes."
        )
    return indices


def _checked(regions: Regions, kind: str, output: int) -> int:
    if not isinstance(kind, str) or kind not in ("regions", "decision"):
        raise ValueError(f"kind={kind!r} has to be 'regions' or 'decision'.")
    if kind == "decision" and isinstance(regions, LineRegions):
        raise ValueError("kind='decision' is of planes; draw two features.")
    return checked_output(output, _outputs(regions).shape[1])


def _check_recorded(recorder: RegionRecorder) -> None:
    if not isinstance(recorder, RegionRecorder):
        raise TypeError(f"recorder is a {type(recorder).__name__}; give a RegionRecorder.")
    if not recorder.steps_:
        raise ValueError("Nothing was recorded: the recorder has seen none of its steps.")


def _draw(ax, regions: Regions, kind: str, output: int, level: float, begin: float = 0.0):
    """Draw regions without labels; return the artist for a colour bar."""
    if isinstance(regions, PlaneRegions):
        return _draw_plane(ax, regions, kind, output, level)
    positions, values = begin + regions.positions, _outputs(regions)[:, output]
    bends = 1 + regions.bends.nonzero()[0]
    ax.plot(positions, values, linewidth=1)
    label = f"{regions.n_linear_regions} linear regions"
    return ax.plot(positions[bends], values[bends], ".", markersize=4, color="C1", label=label)[0]


def _draw_plane(ax, regions: PlaneRegions, kind: str, output: int, level: float):
    from matplotlib.collections import LineCollection, PolyCollection

    if kind == "regions":
        values = np.einsum("rd,rd->r", regions.gradients[:, output], regions.centroids)
        values += regions.intercepts[:, output]
        labels, areas = regions.linear_regions, regions.areas  # one colour a linear region
        values = (np.bincount(labels, areas * values) / np.bincount(labels, areas))[labels]
        faces = PolyCollection(regions.polygons, array=values, cmap="viridis", edgecolors="face")
    else:
        polygons, decisions = regions.decision_regions(level)
        n_decisions = regions.values.shape[1]
        cmap = "Pastel1" if n_decisions <= 9 else "gist_rainbow"  # Pastel1 has 9 colours
        faces = PolyCollection(polygons, array=decisions, cmap=cmap, edgecolors="face")
        faces.set_clim(-0.5, max(9, n_decisions) - 0.5)
    faces.set_linewidth(0.2)
    ax.add_collection(faces)
    ax.add_collection(LineCollection(list(regions.boundaries), colors="black", linewidths=0.2))
    if kind == "decision":
        lines = LineCollection(
            list(regions.decision_boundary(level)), colors="black", linewidths=1.5
        )
        ax.add_collection(lines)
    low, high = regions.vertices.min(0), regions.vertices.max(0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return faces


def _outputs(regions: Regions) -> np.ndarray:
    """Return the outputs at the corners of regions, (n_points, n_outputs)."""
    if isinstance(regions, PlaneRegions):
        return regions.values
    return np.concatenate([regions.starts, regions.starts[-1:] + regions.increments[-1:]])
