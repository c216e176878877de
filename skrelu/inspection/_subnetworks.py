"""A picture of what sub-networks contribute to predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrelu._data.torch_interop import isolated
from skrelu._estimators.tables import columns_of
from skrelu._plotting import import_pyplot, panels
from skrelu.inspection._models import model_and_data
from skrelu.regions._checks import as_floats, checked_count
from skrelu.regions._inside import as_table, checked_output

# Largest number of features named in the label of a direction.
MOST_NAMES = 3


class SubnetworkDisplay:
    """Plot of the contributions of sub-networks to the predictions, along their directions.

    Use `from_estimator` to create it.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, n_subnetworks)
        Positions of the samples along the directions. A sub-network bends between 0 and 1.
    contributions : ndarray of shape (n_samples, n_subnetworks)
        Contributions of the sub-networks, minus their means.
    labels : list of str
        Labels of the sub-networks, at least one.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Raises
    ------
    ValueError
        If the shapes do not match, or there is nothing to draw.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.inspection import SubnetworkDisplay
    >>> X = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    >>> sizes = {"n_levels": 1, "n_subnetworks": 3, "n_init": 1, "refine": False}
    >>> model = ExponentialReLURegressor(**sizes, random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> display = SubnetworkDisplay.from_estimator(model, X)
    >>> display.contributions.shape
    (200, 3)
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        contributions: NDArray[np.float64],
        labels: list[str],
    ) -> None:
        self.positions = as_floats(positions, "positions")
        self.contributions = as_floats(contributions, "contributions")
        self.labels = list(labels)
        shape = (*self.positions.shape[:1], len(self.labels))
        if not self.labels or not self.positions.shape == self.contributions.shape == shape:
            raise ValueError(
                f"positions and contributions have shapes {self.positions.shape} and "
                f"{self.contributions.shape}, but have to be (n_samples, {len(self.labels)}): a "
                "column for each label, one or more."
            )

    @classmethod
    @isolated()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        n_subnetworks: int = 6,
        output: int = 0,
        axes=None,
    ) -> SubnetworkDisplay:
        """Draw the sub-networks whose contributions vary most over the data.

        Parameters
        ----------
        estimator : ExponentialReLURegressor or ExponentialReLUClassifier
            Fitted model, or a fitted Pipeline, search or TransformedTargetRegressor that ends with
            one. Features and contributions are drawn as that last model reads and returns them.
        X : array-like of shape (n_samples, n_features)
            Data to compute the contributions on.
        n_subnetworks : int, default=6
            Maximum number of sub-networks to draw, at least 1.
        output : int, default=0
            Index of the output to draw, if there are several. Negative numbers count from the end.
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, see `plot`.

        Returns
        -------
        SubnetworkDisplay
            The plot.

        Raises
        ------
        TypeError
            If the estimator is not such a model.
        ValueError
            If the model is not fitted, X does not match it, ``n_subnetworks`` is not a positive
            integer, there is no such output, or there are too few axes.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        n_subnetworks = checked_count(n_subnetworks, "n_subnetworks")
        estimator, X, names = model_and_data(estimator, X)
        if not estimator.n_subnetworks_:
            raise ValueError(
                "This model has no sub-networks: it is compressed, linear, or on encoded columns "
                "only. Draw the model that was compressed, or use FeatureEffectDisplay."
            )
        columns = columns_of(estimator)
        if not hasattr(X, "columns") and columns.plain:
            X = as_table(X, estimator.n_features_in_)
        inputs = np.asarray(estimator.encode(X), float)
        parts = np.asarray(estimator.predict_contributions(X), float)
        parts = parts if parts.ndim == 3 else parts[:, None]
        parts = parts[:, checked_output(output, parts.shape[1]), 1:]
        if not columns.plain:
            names = columns.names(names, estimator.categories_)
        if estimator.X_limits_ is not None:
            inputs = np.clip(inputs, *estimator.X_limits_)
        positions = inputs @ estimator.directions_.T + estimator.offsets_
        parts = parts - parts.mean(0)
        chosen = np.argsort(-parts.std(0), kind="stable")[:n_subnetworks]
        sizes = estimator.directions_[chosen] * estimator.X_scale_
        display = cls(positions[:, chosen], parts[:, chosen], [_label(s, names) for s in sizes])
        return display.plot(axes)

    @isolated()
    def plot(self, axes=None) -> SubnetworkDisplay:
        """Draw the sub-networks, one in each panel.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one for each sub-network; further axes are hidden. None creates a new
            figure with three panels in a row.

        Returns
        -------
        SubnetworkDisplay
            The plot.

        Raises
        ------
        TypeError
            If axes are not matplotlib Axes.
        ValueError
            If there are fewer axes than sub-networks.
        ImportError
            If matplotlib is missing.
        """
        self.axes_ = panels(axes, len(self.labels), "sub-network", "n_subnetworks")
        self.figure_ = self.axes_[0].figure
        for k, (ax, label) in enumerate(zip(self.axes_, self.labels, strict=False)):
            ax.axvspan(0, 1, color="0.95", zorder=0)
            ax.plot(self.positions[:, k], self.contributions[:, k], ".", ms=3, color="C0")
            ax.set_xlabel(label)
        self.axes_[0].set_ylabel("contribution")
        return self


def _label(direction: NDArray[np.float64], names: list[str]) -> str:
    """Return the features with the largest weights, as fractions of the sum of all weights."""
    fractions = direction / (np.abs(direction).sum() or 1.0)
    order = np.argsort(-np.abs(fractions), kind="stable")[:MOST_NAMES]
    terms = [f"{fractions[j]:+.2f} {names[j]}" for j in order if abs(fractions[j]) >= 0.005]
    return " ".join(terms) + (" …" if np.count_nonzero(fractions) > len(terms) else "")
