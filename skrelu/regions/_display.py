"""Pictures of regions, with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from skrelu._plotting import import_pyplot
from skrelu.regions._evolution import RegionRecorder, Regions
from skrelu.regions._layers import layers_of
from skrelu.regions._line import LineRegions, regions_along
from skrelu.regions._plane import PlaneRegions, regions_in_plane

MARGIN = 0.05  # of the range of the data, on each side


class LinearRegionsDisplay:
    """Picture of the regions of a network along a line or in a plane.

    Make it with `from_estimator`, or from regions found before.

    Parameters
    ----------
    regions : LineRegions or PlaneRegions
    begin : float, default=0.0
        Coordinate at which a line begins.
    names : sequence of str, default=None
        Labels of the axes of the line or plane.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

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
        self.regions, self.begin = regions, begin
        n_axes = 1 if isinstance(regions, LineRegions) else 2
        self.names = ("",) * n_axes if names is None else tuple(names)
        if len(self.names) != n_axes:
            raise ValueError(f"names={self.names} has to have {n_axes}, one an axis.")

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features: int | str | Sequence[int | str] | None = None,
        kind: str = "regions",
        output: int = 0,
        level: float = 0.0,
        ax=None,
    ) -> LinearRegionsDisplay:
        """Draw the regions of a fitted network over the range of data.

        Parameters
        ----------
        estimator : estimator or torch.nn.Module
            As for `regions_along`.
        X : array-like of shape (n_samples, n_features)
            Data; its range is drawn, features that are not stay at their medians.
        features : int, str or two of them, default=None
            Features to draw, by index or name: one for a line, two for a plane. None
            stands for all of at most two.
        kind, output, level, ax
            See `plot`.

        Returns
        -------
        LinearRegionsDisplay

        Raises
        ------
        ValueError
            If the features are not one or two of the data's.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        names = [str(name) for name in getattr(X, "columns", [])]
        data = np.asarray(X, float)
        n = layers_of(estimator).n_features
        if data.ndim != 2 or data.shape[1] != n or not len(data) or not np.isfinite(data).all():
            raise ValueError(
                f"X has shape {data.shape}, but has to be finite with one or more rows of the {n} "
                "features that the model reads."
            )
        names = names or [f"feature {i}" for i in range(n)]
        if features is None:
            features = range(n)
        chosen = list(np.atleast_1d(np.array(features, dtype=object)))
        found: list = [names.index(f) if f in names else f for f in chosen]
        valid = all(isinstance(i, Integral) and -n <= int(i) < n for i in found)
        indices = [int(i) % n for i in found] if valid else []
        if not 1 <= len(indices) <= 2 or len(set(indices)) < len(indices):
            raise ValueError(
                f"features={chosen!r} has to be one or two of the {n} features of X, by index or "
                f"name, as a picture has two axes."
            )
        low, high = data.min(0), data.max(0)
        room = np.where(high > low, MARGIN * (high - low), 1.0)
        low, high = (low - room)[indices], (high + room)[indices]
        origin = np.median(data, axis=0)
        origin[indices] = 0
        axes = np.eye(n)[indices]
        chosen_names = [names[i] for i in indices]
        if len(indices) == 1:
            regions: Regions = regions_along(
                estimator, origin + np.outer([low[0], high[0]], axes[0])
            )
            display = cls(regions, begin=float(low[0]), names=chosen_names)
        else:
            regions = regions_in_plane(estimator, low, high, origin=origin, axes=axes)
            display = cls(regions, names=chosen_names)
        return display.plot(kind=kind, output=output, level=level, ax=ax)

    def plot(
        self, *, kind: str = "regions", output: int = 0, level: float = 0.0, ax=None
    ) -> LinearRegionsDisplay:
        """Draw the regions.

        Parameters
        ----------
        kind : {"regions", "decision"}, default="regions"
            Along a line "regions" is the function with its breakpoints. In a plane it is a
            map of the linear regions coloured by an output, and "decision" one of the
            decisions with their boundary.
        output : int, default=0
            The output to draw with "regions".
        level : float, default=0.0
            Above which a single output decides for the second class, see
            `PlaneRegions.decision_boundary`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        LinearRegionsDisplay
        """
        pyplot = import_pyplot()
        _check(self.regions, kind, output)
        self.ax_ = pyplot.subplots()[1] if ax is None else ax
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
    """Numbers of regions against training steps, or against anything else.

    Parameters
    ----------
    positions : array-like of shape (n_positions,)
        Steps, or a measure of how intricate inputs are.
    counts : dict from str to array-like of shape (n_positions,) or (n_repetitions, n_positions)
        Numbers of regions for each label. Repetitions are drawn as median and range.
    xlabel, ylabel : str, default="step", "regions"

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        positions: ArrayLike,
        counts: Mapping[str, ArrayLike],
        *,
        xlabel: str = "step",
        ylabel: str = "regions",
    ) -> None:
        self.positions = np.asarray(positions)
        self.counts = {label: np.atleast_2d(count) for label, count in counts.items()}
        self.xlabel, self.ylabel = xlabel, ylabel
        for label, count in self.counts.items():
            if count.shape[1:] != self.positions.shape:
                raise ValueError(
                    f"counts[{label!r}] has shape {count.shape}, but there are "
                    f"{len(self.positions)} positions."
                )

    @classmethod
    def from_recorder(cls, recorder: RegionRecorder, *, ax=None) -> RegionCountDisplay:
        """Draw both counts of a `RegionRecorder` against its steps.

        Parameters
        ----------
        recorder : RegionRecorder
        ax : matplotlib Axes, default=None
        """
        _check_recorded(recorder)
        steps, stages = np.array(recorder.steps_, float), np.array(recorder.stages_)
        # No line where a stage ends: what is between was not seen.
        ends = 1 + (stages[1:] != stages[:-1]).nonzero()[0]
        counts = {
            "activation regions": recorder.n_activation_regions_,
            "linear regions": recorder.n_linear_regions_,
        }
        broken = {name: np.insert(n.astype(float), ends, np.nan) for name, n in counts.items()}
        return cls(np.insert(steps, ends, np.nan), broken).plot(ax=ax)

    def plot(self, *, ax=None) -> RegionCountDisplay:
        """Draw the counts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        """
        pyplot = import_pyplot()
        self.ax_ = pyplot.subplots()[1] if ax is None else ax
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
    """Make a film of the regions that were recorded while a network trained.

    Parameters
    ----------
    recorder : RegionRecorder
    kind, output, level, ax
        See `LinearRegionsDisplay.plot`.
    begin : float, default=0.0
        Coordinate at which a line begins.
    interval : float, default=200.0
        Milliseconds between steps.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        ``save("film.gif")`` writes it, ``to_jshtml()`` shows it in a notebook.

    Raises
    ------
    ValueError
        If nothing was recorded, or it has no such decisions or outputs.
    """
    pyplot = import_pyplot()
    from matplotlib.animation import FuncAnimation

    _check_recorded(recorder)
    for regions in recorder.regions_:
        _check(regions, kind, output)
    ax = pyplot.subplots()[1] if ax is None else ax
    values = [_outputs(regions)[:, output] for regions in recorder.regions_]
    low, high = min(map(np.min, values)), max(map(np.max, values))
    room = MARGIN * (high - low) or 1.0

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


def _check(regions: Regions, kind: str, output: int) -> None:
    if kind not in ("regions", "decision"):
        raise ValueError(f"kind={kind!r} has to be 'regions' or 'decision'.")
    if kind == "decision" and isinstance(regions, LineRegions):
        raise ValueError("kind='decision' is of planes; draw two features.")
    n_outputs = _outputs(regions).shape[1]
    if not -n_outputs <= output < n_outputs:
        raise ValueError(f"output={output}, but the network has {n_outputs} outputs.")


def _check_recorded(recorder: RegionRecorder) -> None:
    if not recorder.steps_:
        raise ValueError("Nothing was recorded: the recorder has seen none of its steps.")


def _draw(ax, regions: Regions, kind: str, output: int, level: float, begin: float = 0.0):
    """Draw regions without labels; return what a colour bar tells about."""
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
    """Return outputs where regions meet."""
    if isinstance(regions, PlaneRegions):
        return regions.values
    return np.concatenate([regions.starts, regions.starts[-1:] + regions.increments[-1:]])
