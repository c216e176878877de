"""A picture of the losses of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skrelu._plotting import import_pyplot, one_axes
from skrelu.inspection._models import checked
from skrelu.regions._inside import innermost

# Largest ratio of losses that are drawn on a linear axis.
LINEAR = 10.0


class LossCurveDisplay:
    """Plot of the losses over the iterations of a fit, stage after stage.

    Losses are relative to that of the best constant, and means over the starts. A solid line has
    those of training rows, a dashed one those of rows that are held out. Where both part, a
    start begins to learn noise. All stages with iterations are drawn, also of networks that were
    tried and are not in the model.

    `sklearn.model_selection.LearningCurveDisplay` draws scores by the number of rows. This one
    draws one fit.

    Use `from_estimator` to create it.

    Parameters
    ----------
    stages : sequence of dict
        At least one stage, as in ``stages_`` of the estimators: its "name", and lists "loss" and
        "validation_loss". The second one may be empty.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    lines_ : list of matplotlib Line2D
        Lines of the stages, in order; training before held-out rows.

    Raises
    ------
    ValueError
        If there are no stages, or the lists of a stage have different lengths.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.inspection import LossCurveDisplay
    >>> X = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    >>> sizes = {"n_levels": 1, "n_subnetworks": 3, "n_init": 2, "refine": False}
    >>> model = ExponentialReLURegressor(**sizes, random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> [stage["name"] for stage in display.stages]
    ['pretraining']
    """

    def __init__(self, stages: Sequence[dict]) -> None:
        self.stages = list(stages)
        if not self.stages:
            raise ValueError(
                "There are no stages with iterations to draw: windows side by side and linear "
                "models are least squares without any."
            )
        for stage in self.stages:
            n, n_held = len(stage["loss"]), len(stage["validation_loss"])
            if n_held not in (0, n) or n == 0:
                raise ValueError(
                    f"The stage {stage['name']!r} has {n} losses of training rows and {n_held} of "
                    "held-out rows: give one or more, and as many of both or none of the second."
                )

    @classmethod
    def from_estimator(cls, estimator, *, ax=None) -> LossCurveDisplay:
        """Draw the losses of a fitted model.

        Parameters
        ----------
        estimator : ExponentialReLURegressor or ExponentialReLUClassifier
            Fitted model, or a fitted Pipeline, search or TransformedTargetRegressor that ends with
            one.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        LossCurveDisplay
            The plot.

        Raises
        ------
        TypeError
            If the estimator is not such a model, or ``ax`` is not Axes.
        ValueError
            If the model is not fitted, was fitted by an earlier version, or has no stages with
            iterations: windows side by side and linear models have none.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        estimator = checked(innermost(estimator))
        if not hasattr(estimator, "stages_"):
            raise ValueError(
                "The model has no stages_, because an earlier version of skrelu has fitted it: fit "
                "it again."
            )
        return cls(estimator.stages_).plot(ax)

    def plot(self, ax=None) -> LossCurveDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        LossCurveDisplay
            The plot.

        Raises
        ------
        TypeError
            If ``ax`` is not Axes.
        ImportError
            If matplotlib is missing.
        """
        ax = one_axes(ax, figsize=(6.4, 3.6), layout="constrained")
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        begin, known = 0, set()
        for stage in self.stages:
            n = len(stage["loss"])
            iterations = np.arange(begin, begin + n)
            for key, label, style in (
                ("loss", "training rows", {"color": "C0"}),
                ("validation_loss", "held-out rows", {"color": "C1", "ls": "--"}),
            ):
                if len(stage[key]):
                    marker = "o" if n == 1 else None
                    named = {} if label in known else {"label": label}
                    self.lines_ += ax.plot(iterations, stage[key], marker=marker, **style, **named)
                    known.add(label)
            if begin:
                ax.axvline(begin - 0.5, color="0.8", lw=1, zorder=0)
            ax.annotate(
                stage["name"], (begin, 1), xycoords=ax.get_xaxis_transform(), xytext=(2, 3),
                textcoords="offset points", rotation=20, ha="left", va="bottom", fontsize="small",
            )  # fmt: skip
            begin += n
        ax.set_yscale("log" if self._wide() else "linear")
        ax.set_xlabel("iterations of all stages")
        ax.set_ylabel("relative loss")
        ax.legend(frameon=False)
        return self

    def _wide(self) -> bool:
        """Return whether losses are so different that only their logarithms can be told apart."""
        parts = [stage[key] for stage in self.stages for key in ("loss", "validation_loss")]
        losses = np.concatenate([np.asarray(part, float) for part in parts])
        losses = losses[np.isfinite(losses) & (losses > 0)]
        return bool(len(losses) and losses.max() > LINEAR * losses.min())
