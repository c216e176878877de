"""A picture of the effects of features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from skrelu._data.torch_interop import isolated
from skrelu._plotting import import_pyplot, panels
from skrelu.inspection._effects import Effects, FeatureEffect, chosen
from skrelu.inspection._models import all_of, model_and_data
from skrelu.regions._inside import checked_output

# Most values of a number that are drawn as points, and levels of a category that are drawn.
MOST_POINTS, MOST_BARS = 30, 20
# Letters of all labels of a panel above which they are turned.
MOST_LETTERS = 24
# Place of missing values right of the others, as a fraction of their range.
BEYOND = 0.08


class FeatureEffectDisplay:
    """Plot of the effects of features on the predictions: curves, bars and marks.

    The effect of a value is the mean prediction if all rows have this value, minus the mean
    prediction (partial dependence). A number has a curve, with its deciles as ticks, and points if
    it has few values. A category has a bar for each level. Missing values have a mark.

    `sklearn.inspection.PartialDependenceDisplay` draws partial dependence of any model and of
    pairs of features, but its curves are empty if values are missing, and its even grid steps over
    jumps. This one reads what the model knows: levels, missing values, and the knots at
    which ramps and curves bend.

    Use `from_estimator` to create it.

    Parameters
    ----------
    effects : sequence of FeatureEffect
        Effects to draw, at least one.
    label : str, default="effect on y"
        Label of the vertical axis.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Raises
    ------
    TypeError
        If what is given is no `FeatureEffect`.
    ValueError
        If the shapes do not match, or there is nothing to draw.

    References
    ----------
    Friedman, "Greedy function approximation: a gradient boosting machine", 2001,
    https://doi.org/10.1214/aos/1013203451

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.inspection import FeatureEffectDisplay
    >>> X = np.random.default_rng(0).integers(0, 4, size=(200, 2))
    >>> model = ExponentialReLURegressor(random_state=0).fit(X, 3 * X[:, 0] + X[:, 1] ** 2)
    >>> display = FeatureEffectDisplay.from_estimator(model, X, features=[1])
    >>> effect = display.effects[0]
    >>> effect.values, (effect.effects - effect.effects[0]).round(1)
    (array([0., 1., 2., 3.]), array([0., 1., 4., 9.]))
    """

    def __init__(self, effects: Sequence[FeatureEffect], label: str = "effect on y") -> None:
        self.effects, self.label = all_of(FeatureEffect, effects, "effects"), label
        for effect in self.effects:
            if np.shape(effect.effects) != (len(effect.values),):
                raise ValueError(
                    f"The effect of {effect.name!r} has {len(effect.values)} values, but effects "
                    f"of shape {np.shape(effect.effects)}: give one for each value."
                )

    @classmethod
    @isolated()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features=6,
        output: int = 0,
        axes=None,
    ) -> FeatureEffectDisplay:
        """Compute and draw the effects of features.

        Parameters
        ----------
        estimator : ExponentialReLURegressor or ExponentialReLUClassifier
            Fitted model, or a fitted Pipeline, search or TransformedTargetRegressor that ends with
            one. Features and predictions are drawn as that last model reads and returns them.
        X : array-like of shape (n_samples, n_features)
            Data to average over. Of more than 200 rows, 200 random ones are used, the same in each
            call; all rows count for the range and the deciles of numbers.
        features : int, or list of str or int, default=6
            Number of features to draw, those with the largest ``feature_importances_`` first; or
            the names or indices of features.
        output : int, default=0
            Index of the output to draw, if there are several. Negative numbers count from the end.
            For two classes the only output is the probability of the second, for more there is a
            probability for each.
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, see `plot`.

        Returns
        -------
        FeatureEffectDisplay
            The plot.

        Raises
        ------
        TypeError
            If the estimator is not such a model.
        ValueError
            If the model is not fitted, X does not match it, there is no such feature or output, or
            there are too few axes.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        estimator, X, names = model_and_data(estimator, X)
        drawn = chosen(features, names, estimator.feature_importances_)
        effects = Effects(estimator, X, names)
        output = checked_output(output, len(effects.means))
        display = cls([effects.of(j, output) for j in drawn], _label(estimator, output))
        return display.plot(axes)

    @isolated()
    def plot(self, axes=None) -> FeatureEffectDisplay:
        """Draw the effects, one feature in each panel.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one for each feature; further axes are hidden. None creates a new
            figure with three panels in a row.

        Returns
        -------
        FeatureEffectDisplay
            The plot.

        Raises
        ------
        TypeError
            If axes are not matplotlib Axes.
        ValueError
            If there are fewer axes than features.
        ImportError
            If matplotlib is missing.
        """
        self.axes_ = panels(axes, len(self.effects), "feature", "number of features")
        self.figure_ = self.axes_[0].figure
        for ax, effect in zip(self.axes_, self.effects, strict=False):
            ax.axhline(0, color="0.8", lw=1, zorder=0)
            (_draw_bars if effect.categorical else _draw_curve)(ax, effect)
            ax.set_xlabel(effect.name)
        self.axes_[0].set_ylabel(self.label)
        return self


def _draw_curve(ax, effect: FeatureEffect) -> None:
    """Draw the curve of a number, with ticks at deciles and a mark for missing values."""
    x = np.asarray(effect.values, float)
    ax.plot(x, effect.effects, "o-" if len(x) <= MOST_POINTS else "-", ms=3, color="C0")
    if effect.deciles is not None:
        ticks = np.unique(effect.deciles)
        bottom = np.full(len(ticks), 0.02)
        ax.plot(ticks, bottom, "|", color="0.4", ms=6, transform=ax.get_xaxis_transform())
    if effect.missing is not None:
        low, high = (x.min(), x.max()) if len(x) else (0.0, 1.0)
        place = high + BEYOND * ((high - low) or 1.0)
        ax.plot([place], [effect.missing], "D", ms=5, color="C3", label="missing")
        ax.legend(loc="best", frameon=False, handletextpad=0.1)


def _draw_bars(ax, effect: FeatureEffect) -> None:
    """Draw a bar for each level; of many, for those with the largest effects."""
    heights = np.asarray(effect.effects, float)
    kept = np.sort(np.argsort(-np.abs(heights), kind="stable")[:MOST_BARS])
    labels = [str(effect.values[i]) for i in kept]
    heights, colors = heights[kept], ["C0"] * len(kept)
    if effect.missing is not None:
        labels, colors = [*labels, "missing"], [*colors, "C3"]
        heights = np.append(heights, effect.missing)
    ax.bar(range(len(heights)), heights, color=colors, width=0.7)
    turned = {"rotation": 60, "ha": "right"} if sum(map(len, labels)) > MOST_LETTERS else {}
    ax.set_xticks(range(len(labels)), labels, **turned)


def _label(estimator, output: int) -> str:
    """Return a label of the vertical axis."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return "effect on y" if estimator.n_outputs_ == 1 else f"effect on y[{output}]"
    return f"effect on P({classes[1 if len(classes) == 2 else output]})"
