"""Pictures of what a fitted model is made of, with matplotlib."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skrelu._data.torch_interop import isolated
from skrelu._plotting import import_pyplot
from skrelu.regions._checks import as_floats, checked_count
from skrelu.regions._inside import as_table, checked_output, inside

__all__ = ["SubnetworkDisplay"]

# Features named for a direction.
MOST_NAMES = 3


class SubnetworkDisplay:
    """Picture of what sub-networks add to the predictions, along their directions.

    Make it with `from_estimator`.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, n_subnetworks)
        Where samples are along the directions: a sub-network bends between 0 and 1.
    contributions : ndarray of shape (n_samples, n_subnetworks)
        What sub-networks add, less its mean.
    labels : list of str
        What sub-networks are called.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure

    Raises
    ------
    ValueError
        If shapes do not fit, or there is nothing to draw.

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
        """Draw the sub-networks whose contributions vary most over data.

        Parameters
        ----------
        estimator : ExponentialReLURegressor or ExponentialReLUClassifier
            Fitted, or a fitted Pipeline, search or TransformedTargetRegressor that ends with one:
            features and contributions are then drawn as that sees and gives them.
        X : array-like of shape (n_samples, n_features)
            Data.
        n_subnetworks : int, default=6
            Number of sub-networks to draw at most.
        output : int, default=0
            Which output, if there are several; from the end if negative.
        axes : array-like of matplotlib Axes, default=None
            See `plot`.

        Returns
        -------
        SubnetworkDisplay

        Raises
        ------
        TypeError
            If the estimator is no such model.
        ValueError
            If the model is not fitted, the data do not fit it, ``n_subnetworks`` is not a positive
            integer, there is no such output, or axes are too few.
        ImportError
            If matplotlib is missing.
        """
        import_pyplot()
        n_subnetworks = checked_count(n_subnetworks, "n_subnetworks")
        estimator, X, names = inside(estimator, X)
        if not hasattr(estimator, "predict_contributions"):
            raise TypeError(
                f"Cannot draw a {type(estimator).__name__}; give a fitted ExponentialReLURegressor "
                "or ExponentialReLUClassifier, or a Pipeline that ends with one."
            )
        check_is_fitted(estimator, "intercept_")
        inputs = as_table(X, estimator.n_features_in_)
        parts = np.asarray(
            estimator.predict_contributions(X if hasattr(X, "columns") else inputs), float
        )
        parts = parts if parts.ndim == 3 else parts[:, None]
        parts = parts[:, checked_output(output, parts.shape[1]), 1:]
        names = names or [f"x{j}" for j in range(estimator.n_features_in_)]
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
            One a sub-network, or more, which are hidden. None makes a new figure, three in a row.

        Returns
        -------
        SubnetworkDisplay

        Raises
        ------
        TypeError
            If axes are no Axes.
        ValueError
            If there are fewer axes than sub-networks.
        ImportError
            If matplotlib is missing.
        """
        pyplot = import_pyplot()
        n = len(self.labels)
        if axes is None:
            n_columns = min(3, n)
            n_rows = -(-n // n_columns)
            _, axes = pyplot.subplots(
                n_rows,
                n_columns,
                figsize=(3.2 * n_columns, 2.6 * n_rows),
                sharey=True,
                squeeze=False,
                layout="constrained",
            )
        given = np.ravel(axes)
        if not all(isinstance(ax, pyplot.Axes) for ax in given):
            raise TypeError("axes has to be of matplotlib Axes, one a sub-network.")
        if len(given) < n:
            raise ValueError(
                f"There are {len(given)} axes, but {n} sub-networks to draw; give as many axes, or "
                "from_estimator a smaller n_subnetworks."
            )
        self.axes_ = given
        self.figure_ = self.axes_[0].figure
        for k, (ax, label) in enumerate(zip(self.axes_, self.labels, strict=False)):
            ax.axvspan(0, 1, color="0.95", zorder=0)
            ax.plot(self.positions[:, k], self.contributions[:, k], ".", ms=3, color="C0")
            ax.set_xlabel(label)
        for ax in self.axes_[n:]:
            ax.set_visible(False)
        self.axes_[0].set_ylabel("contribution")
        return self


def _label(direction: NDArray[np.float64], names: list[str]) -> str:
    """Return the features that a direction reads most, with their weights relative to all."""
    shares = direction / (np.abs(direction).sum() or 1.0)
    order = np.argsort(-np.abs(shares), kind="stable")[:MOST_NAMES]
    terms = [f"{shares[j]:+.2f} {names[j]}" for j in order if abs(shares[j]) >= 0.005]
    return " ".join(terms) + (" …" if np.count_nonzero(shares) > len(terms) else "")
