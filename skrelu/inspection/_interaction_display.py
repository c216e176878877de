"""A picture of how strongly pairs of features act together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from skrelu._data.torch_interop import isolated, resolve_device
from skrelu._estimators.tables import columns_of
from skrelu._plotting import import_pyplot, one_axes
from skrelu.inspection._effects import sampled
from skrelu.inspection._interactions import (
    FeatureInteraction,
    chosen_pairs,
    interactions,
)
from skrelu.inspection._models import all_of, model_and_data
from skrelu.regions._checks import checked_count
from skrelu.regions._inside import checked_output

# Height of a bar and of all else, and width, in inches.
BAR, REST, WIDTH = 0.3, 0.9, 6.0
# Smallest H^2 that is written as a number.
LEAST = 0.001


class FeatureInteractionDisplay:
    """Plot of the strongest interactions of pairs of features: a bar for each pair.

    The mean prediction if two features have given values (partial dependence) is a sum of a
    function of each, and of their interaction. Bars are the root mean square of the
    interaction over the rows, in the units of y. Beside them stands Friedman's H^2, its
    mean square as a fraction of that of the mean prediction. Pairs of features that hardly matter
    may have a large H^2, so the strength orders the bars.

    All of this is of the sum that the model computes before predictions are clipped: of logarithms
    with a log link, and of the `decision_function` of a classifier. So a model that is a
    sum of functions of single features has no interactions, up to rounding.

    Interactions of three features show in pairs only as far as the mean over the third leaves them.

    Use `from_estimator` to create it.

    Parameters
    ----------
    interactions : sequence of FeatureInteraction
        Interactions, at least one.
    label : str, default="strength of the interaction in y"
        Label of the horizontal axis.

    Attributes
    ----------
    interactions : list of FeatureInteraction
        All interactions, the strongest first.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Raises
    ------
    TypeError
        If what is given is no `FeatureInteraction`.
    ValueError
        If there is nothing to draw, or a number is not finite or negative.

    References
    ----------
    Friedman and Popescu, "Predictive learning via rule ensembles", 2008,
    https://doi.org/10.1214/07-AOAS148

    Inglis, Parnell and Hurley, "Visualizing variable importance and variable interaction effects in
    machine learning models", 2022, https://doi.org/10.1080/10618600.2021.2007935

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.inspection import FeatureInteractionDisplay
    >>> X = np.random.default_rng(0).uniform(-1, 1, size=(200, 3))
    >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1] + X[:, 2])
    >>> display = FeatureInteractionDisplay.from_estimator(model, X)
    >>> strongest, second, _ = display.interactions
    >>> strongest.label, round(strongest.strength, 1), round(strongest.h_squared, 1)
    ('x0 & x1', 0.3, 1.0)
    >>> second.strength < 0.01
    True
    """

    def __init__(
        self,
        interactions: Sequence[FeatureInteraction],
        label: str = "strength of the interaction in y",
    ) -> None:
        given = all_of(FeatureInteraction, interactions, "interactions")
        numbers = np.array([[one.strength, one.h_squared] for one in given])
        if not np.isfinite(numbers).all() or (numbers < 0).any():
            raise ValueError("strength and h_squared have to be finite, 0 or more.")
        self.interactions = sorted(given, key=lambda one: -one.strength)
        self.label = label

    @classmethod
    @isolated()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features=6,
        n_rows: int = 100,
        n_pairs: int = 10,
        output: int = 0,
        ax=None,
    ) -> FeatureInteractionDisplay:
        """Compute and draw the interactions of pairs of features.

        Parameters
        ----------
        estimator : ExponentialReLURegressor or ExponentialReLUClassifier
            Fitted model, or a fitted Pipeline, search or TransformedTargetRegressor that ends with
            one. Features and predictions are drawn as that last model reads and returns them.
        X : array-like of shape (n_samples, n_features)
            Data to average over.
        features : int, list of str or int, or list of pairs of these, default=6
            Features whose pairs are all compared: their number, those with the largest
            ``feature_importances_`` first, or their names or indices; or the pairs themselves.
        n_rows : int, default=100
            Most rows of X that are averaged over, at least 1; of more, so many random ones, the
            same in each call. For each pair, and each feature of a pair, there are ``n_rows**2``
            predictions: with the defaults 210 000, which take some seconds.
        n_pairs : int, default=10
            Most pairs that are drawn, at least 1, the strongest first.
        output : int, default=0
            Index of the output, if there are several. Negative numbers count from the end. For two
            classes the only output is the log-odds of the second. For more there is one for each
            class: its logit minus the mean of all logits.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        FeatureInteractionDisplay
            The plot. ``interactions`` has all pairs, also those that are not drawn.

        Raises
        ------
        TypeError
            If the estimator is not such a model, or ``ax`` is not Axes.
        ValueError
            If the model is not fitted, X does not match it, a number is out of range, there is no
            such feature or output, or no pair of features.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        n_rows = checked_count(n_rows, "n_rows")
        estimator, X, names = model_and_data(estimator, X)
        pairs = chosen_pairs(features, names, estimator.feature_importances_)
        table = np.asarray(estimator.encode(X), float)
        stored, device = estimator._stored(), resolve_device(estimator.device)
        output = checked_output(output, stored.network.n_outputs)

        def f(rows):
            parts = stored.contributions(rows, device).sum(-1)  # (n, n_outputs)
            if hasattr(estimator, "classes_") and parts.shape[1] > 1:
                parts -= parts.mean(1, keepdims=True)
            return parts[:, output]

        owners = np.array(columns_of(estimator).owners)
        groups = [np.flatnonzero(owners == j) for j in range(len(names))]
        rows = sampled(table, n_rows)
        found = [
            FeatureInteraction((names[j], names[k]), *sizes)
            for (j, k), sizes in zip(pairs, interactions(f, rows, groups, pairs), strict=True)
        ]
        return cls(found, _label(estimator, output)).plot(n_pairs=n_pairs, ax=ax)

    @isolated()
    def plot(self, *, n_pairs: int = 10, ax=None) -> FeatureInteractionDisplay:
        """Draw the strongest interactions.

        Parameters
        ----------
        n_pairs : int, default=10
            Most pairs that are drawn, at least 1, the strongest first.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        FeatureInteractionDisplay
            The plot.

        Raises
        ------
        TypeError
            If ``ax`` is not Axes.
        ValueError
            If ``n_pairs`` is not a positive integer.
        ImportError
            If matplotlib is missing.
        """
        drawn = self.interactions[: checked_count(n_pairs, "n_pairs")]
        size = WIDTH, REST + BAR * len(drawn)
        self.ax_ = one_axes(ax, figsize=size, layout="constrained")
        self.figure_ = self.ax_.figure
        bars = self.ax_.barh(
            range(len(drawn)), [one.strength for one in drawn], height=0.7, color="C0"
        )
        self.ax_.bar_label(
            bars, [_text(one.h_squared) for one in drawn], padding=4, fontsize="small"
        )
        self.ax_.set_yticks(range(len(drawn)), [one.label for one in drawn])
        self.ax_.invert_yaxis()
        largest = drawn[0].strength or 1.0
        self.ax_.set_xlim(0, 1.2 * largest)  # leaves room for the text
        self.ax_.set_xlabel(self.label)
        return self


def _text(h_squared: float) -> str:
    return f"H² = {h_squared:.2g}" if h_squared >= LEAST else f"H² < {LEAST}"


def _label(estimator, output: int) -> str:
    """Return a label of the horizontal axis."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        y = "y" if estimator.n_outputs_ == 1 else f"y[{output}]"
        return f"strength of the interaction in {f'log {y}' if estimator._log_link else y}"
    name = classes[1 if len(classes) == 2 else output]
    return f"strength of the interaction in the logit of {name}"
