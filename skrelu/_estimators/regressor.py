"""The regressor: what targets are, and what predictions."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score

from skrelu._data.table import Table
from skrelu._data.torch_interop import isolated, resolve_device
from skrelu._estimators.base import ExponentialReLUEstimator, canonical_table, transactional
from skrelu._estimators.parameters import make_loss, several
from skrelu._estimators.sklearn_private import Interval, StrOptions, with_callbacks
from skrelu._estimators.tables import as_table, validated_data
from skrelu._solvers.losses import LOSSES


class ExponentialReLURegressor(MultiOutputMixin, RegressorMixin, ExponentialReLUEstimator):
    r"""Predict numbers by a ReLU network with exponentially many linear regions.

    The model is a linear function plus sub-networks along learned directions,

    .. math::

        f(x) = b_0 + \beta \cdot x + \sum_k c_k F_k(w_k \cdot x + o_k).

    Each :math:`F_k` is a ReLU network of width 4 and ``depth`` hidden layers, a sum of
    composed triangle waves with exactly ``2**depth`` linear regions. It is fitted in two
    stages. *Pretraining* moves directions, offsets and the peaks of the triangles, which
    keeps all regions; the coefficients follow by linear least squares. *Refinement* then
    releases all weights of the sub-networks; it may change the number of regions. Several
    random starts run in one batch; their average, or the best of them, is the model: again
    one such network. At the end it is blended with a linear model and the best constant, by rows
    that neither has seen (by estimated errors where none are held out), and but for medians and
    quantiles it is shifted to be right in the mean. So the simplest model that fits wins, and
    exactly linear targets give the line.

    Sub-networks may also be *composed*: they stand on levels, and each reads x and the
    outputs of all earlier levels. All peaks are 1/2 then, and pretraining is done in the
    limit of infinite depth, with ridge penalties that follow from the data. Such a
    sub-network is lowered to ``2 * depth`` layers, or as many more as it takes to lose
    nothing by it.

    For curves of one feature or two there are *windows side by side*, too: up to 1024
    sub-networks of which only the coefficients are fitted, by linear least squares. They are a
    smoothing spline made of triangle waves, and follow many periods, jumps and corners. They are
    tried where ``n_subnetworks``, ``n_levels``, ``n_init`` and ``solver`` are "auto", with
    ``smooth=True`` and no shape, and are the model where moving sub-networks leave more of the
    loss on other rows than they do, and more than 1e-4. With these settings tables with no fewer
    features than rows get a linear model alone.

    Parameters
    ----------
    depth : int, default=4
        Number of hidden layers of a sub-network, in [1, 52]; ``2**depth`` linear regions
        each. Composed sub-networks have at least twice as many layers.

    n_subnetworks : int or "auto", default="auto"
        Number of sub-networks of a start. On one level "auto" takes one for each 32 samples,
        at most 32, or 8 where there is one feature, twice as many with a shape, and fewer where
        samples are fewer than their directions, offsets and peaks; on several levels at most 3 a
        level, while pretraining has at most 500 weights and one for two samples; one a level may
        have 1000, and one for each sample. Windows side by side are as many as lower the loss of
        left-out rows, at most 1024 (256 with other losses than squared errors). Numbers whose
        networks would take more than 1.6 GB are refused.

    n_levels : int or "auto", default="auto"
        Number of levels of composed sub-networks, of ``n_subnetworks / n_levels`` each. More
        than 1 needs ``smooth=True`` and excludes ``solver="adam"``. "auto" tries 6 with up to
        some 140 features and 50 samples or more, if ``n_subnetworks`` and ``n_init`` are
        "auto", too. It goes back to 1, where many starts are averaged, if 6 seem to leave
        more than 3 % of the variance of other samples; not above 20 000 samples, of which a
        random 20 000 train, nor where there is time for fewer than 4 starts (some 30 features
        or more, or several thousand samples).

    n_init : int or "auto", default="auto"
        Number of random starts, in [1, 10000], run in one batch. "auto" takes 12, or fewer on large
        tables, down to 1; on several levels it takes 6, of which the best goes on after 12
        iterations, and the others, too, if that leaves more than 0.1 % of the variance.

        With held-out rows or ``X_val`` the model is the average of the starts, weighted by
        the inverse of their validation losses, each relative to what the best constant loses on
        the same rows, plus the standard error of these, so that chance does not decide; a start
        whose loss is over 3 times the median is left out. Without, it is the start with the lowest
        training loss, or on several levels the average by estimated errors.

    smooth : bool, default=True
        Whether the scales of the composed triangles follow from their peaks, which makes
        each :math:`F_k` concave and smooth in the limit of infinite depth. If False the
        scales are free parameters.

    alpha : float, default=0.5
        Ridge penalty on the coefficients :math:`\beta` and c, in [0, 1e10]. The cost is the sum of
        the squared errors over the rows, divided by twice the variance of the noise, plus
        ``alpha`` times the sum of the squared coefficients of standardized columns. The noise is
        estimated by the errors themselves, so that the penalty does not stand in the way where y
        can be met exactly. It means the same as for `ExponentialReLUClassifier`. The penalties of
        the linear model and of windows side by side are chosen by left-out rows, and multiplied by
        ``alpha / 0.5`` then; composed sub-networks find their own.

    solver : {"auto", "lm", "adam"}, default="auto"
        "lm" is Levenberg-Marquardt, with the coefficients eliminated in pretraining
        (variable projection). "adam" is stochastic gradient descent, for what
        Levenberg-Marquardt cannot hold. "auto" takes "lm" while an iteration takes no
        more than a few seconds, and linear least squares for windows side by side and linear
        models; ``solver_`` tells.

    max_iter : int, default=500
        Most iterations of pretraining: trial steps for "lm", passes over the data
        (epochs) for "adam". Composed sub-networks end where the estimated error does not
        fall by half in 20 steps that lower it, or is 1e-10 of the variance of y. Windows side by
        side and linear models take no notice of it.

    refine : bool, default=True
        Whether to release all weights after pretraining.

    refine_max_iter : int or "auto", default="auto"
        Most iterations of refinement. "auto" takes as many as should cost one and a half seconds
        on one core with "lm", of all starts together, at most 500, and none where that is not
        enough for 5; and ``max_iter`` with "adam". It takes none, either, if pretraining leaves
        more than 1 % of the variance of held-out rows: there is noise, then, which refinement would
        follow. It takes none for composed sub-networks. Windows side by side, linear models and
        functions with a shape are never refined.

        Where 50 or more are possible, with one output, ``smooth=True`` and "lm", up to
        half of them are spent in the limit of infinite depth: all peaks but the first
        one to three stay at 1/2 in pretraining, so that the later layers tend to a
        parabola, and the first layers are refined with that parabola before all are.

    tol : float, default=1e-4
        A start has converged when its loss has fallen by less than this fraction over
        ``n_iter_no_change`` iterations. Pretraining by "lm" that refinement follows, with
        no rows held out, already ends at less than 10 % over 10 iterations: longer
        pretraining did not lead to better results. With a shape it ends at less than 3 %.
        Composed sub-networks end by the rule of ``max_iter`` instead.

    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, watch the loss on them and return to the best iteration.
        "auto" does from 20 samples on, so that several starts can be averaged; with one
        start only if there are fewer than 5 samples for each of its weights, and never for
        composed sub-networks. Has no effect if ``X_val`` is given. Windows side by side and linear
        models hold out none: they are chosen by ``X_val``, or by fits without each row (without a
        fifth of them with other losses than squared errors).

    validation_fraction : float, default=0.1
        Fraction of rows that each start holds out, in (0, 1). Those of all starts have about the
        same targets.

    n_iter_no_change : int, default=20
        See ``tol``.

    learning_rate : float or "auto", default="auto"
        Step size of "adam". "auto" is 0.001 for steps of 200 rows and grows with these, to 0.005
        for 1000.

    batch_size : int or "auto", default="auto"
        Rows of a step of "adam". "auto" is 200 up to 25 000 rows, then a 125th of them up to 1000,
        and a 500th of more than 500 000; all rows if there are fewer.

    loss : str, default="squared_error"
        What is minimised: "squared_error", "absolute_error", "huber", "quantile", "poisson" or
        "gamma". "absolute_error" is for medians; "huber" squares small residuals and
        takes absolute values of large ones, from 1.35 standard deviations on, which are
        estimated along. "poisson" and "gamma" are deviances with a log link: predictions are
        exponentials of the network's outputs, and targets must be >= 0 and > 0. Other losses than
        squared errors take sub-networks on one level.

    quantile : float or list of float, default=None
        Quantiles in (0, 1) for ``loss="quantile"``. A list, which must increase, makes predictions
        of shape (n_samples, n_quantiles), which are sorted so that they do not cross: [0.05,
        0.5, 0.95] gives intervals that hold 90 % of the targets, and medians. Each quantile is
        shifted so that the right part of the rows that starts hold out (or that fits of windows
        leave out) is below it, if there are five beyond it: 100 rows for a quantile of 0.05. With
        fewer, intervals are too narrow.

    convexity : {"convex", "concave"} or dict, default=None
        Shape that the predictions are to have everywhere: in all features jointly, or, as a
        dict of feature names or indices to "convex" or "concave", in some. Features of the dict
        with the same word are so jointly. It holds by construction; nothing is
        refined, no linear model is blended in, and predictions are not bounded (with a log link
        they may reach the largest float). Not "concave" with a log link, and not with several
        quantiles.

    monotonic_cst : array-like of int of shape (n_features,) or dict of str, default=None
        Features that predictions are to rise (1) or fall (-1) with, everywhere, by feature
        or as a dict of feature names; 0 leaves it open. It holds by construction, to
        rounding; nothing is refined. A monotone sub-network is two that differ by a shift;
        ``n_subnetworks`` counts it once.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        What follows outside of the training data. "linear": the model goes on
        linearly. "constant": features are clipped to their ranges in training first, and
        predictions to the range of y. "auto" is "constant" where more than 1 % of the
        loss of the best constant seems to be left on other rows, which is to say noise, or
        with a log link where that is not known, unless ``convexity`` is given or the
        model is a line; else "linear".

    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto" for an accelerator if
        there is one. In float64, or float32 where the device has nothing wider.

    warm_start : bool, default=False
        Whether a further call of `fit` goes on from the last: from the refined weights,
        or from the pretrained parameters if ``refine=False``. If X or y have changed units, that is
        the same function of standardized values where this fits better; where neither fits better
        than the best constant, the fit starts anew, as it does from windows side by side and linear
        models. Depth, sizes, loss, shape, features and outputs must stay the same; sizes that are
        "auto" do.

    verbose : int, default=0
        If positive, print one line an iteration: the loss on training and on held-out rows
        relative to that of the best constant, and the time that is left.

    random_state : int, RandomState instance or None, default=None
        Draws starting points and held-out rows, shuffles batches. Pass an int for
        reproducible results.

    Attributes
    ----------
    n_iter_ : int
        Number of iterations of both stages; 1 for linear least squares.

    n_iter_pretrain_ : int
        Number of iterations of pretraining.

    solver_ : {"lm", "adam", "ridge"}
        The solver that ran. "ridge" is linear least squares: of windows side by side, or of a
        linear model where there are no fewer features than rows.

    n_subnetworks_ : int
        Number of sub-networks of the model, those of all averaged starts.

    n_levels_ : int
        Number of levels of sub-networks.

    n_starts_ : int
        Number of starts that the model is an average of; 1 where ``solver_`` is "ridge".

    n_parameters_ : int
        Number of weights and biases of the model.

    n_parameters_pretrain_ : int
        Number of parameters of pretraining, which determine the model unless refinement
        follows.

    loss_curve_ : list of float
        Loss on the training rows relative to that of the best constant (for squared errors the
        variance of y), mean over the starts, before they are blended with a linear model: before
        the first and after each iteration of each stage. Fits in the limit of infinite depth count
        as stages here. Where ``solver_`` is "ridge", 1 and the loss of left-out rows.

    validation_score_ : list of float or None
        1 less the loss on the held-out rows relative to that of the best constant on the same
        rows, likewise: R^2 for squared errors. None without any.

    best_validation_score_ : float or None
        The same of the kept iterations, mean over the starts.

    directions_ : ndarray of shape (`n_subnetworks_`, `n_features_in_`)
        Directions w_k after pretraining, in the units of X: F_k bends where
        ``directions_ @ x + offsets_`` is in [0, 1]. With several levels sub-networks are in
        their order, and what later ones read of earlier ones is not part of this.

    offsets_ : ndarray of shape (`n_subnetworks_`,)
        Offsets o_k after pretraining.

    peaks_ : ndarray of shape (`n_subnetworks_`, depth + 1) or None
        Peaks of the triangles after pretraining, in (0, 1). The last only sets a scale and
        is absent if ``smooth=False``. None on several levels, where all are 1/2.

    scales_ : ndarray of shape (`n_subnetworks_`, depth) or None
        Scales of the triangle waves after pretraining. None on several levels.

    hidden_weights_ : list of ndarray of shape (`n_subnetworks_` / `n_levels_`, 4, n_inputs)
        Hidden weights of the model, by layer, level after level, on standardized data;
        `to_torch` gives them in the units of the data. The first layer of a level reads the
        features and the last layers of all earlier sub-networks, any other the one before.

    hidden_biases_ : list of ndarray of shape (`n_subnetworks_` / `n_levels_`, 4)
        Hidden biases, likewise.

    output_weights_ : ndarray of shape (`n_subnetworks_`, 4, `n_outputs_`)
        Weights of the last hidden layer in the outputs.

    linear_weights_ : ndarray of shape (`n_features_in_`, `n_outputs_`)
        Weights of the linear part.

    intercept_ : ndarray of shape (`n_outputs_`,)
        Intercepts.

    X_mean_, X_scale_ : ndarray of shape (`n_features_in_`,)
        Means and standard deviations of the features; scale 0 marks a constant feature,
        which the model ignores.

    y_mean_, y_scale_ : ndarray of shape (`n_outputs_`,)
        Means and standard deviations of the targets. With other losses than squared errors the
        best constants (logarithms of means for log links) and units of the network's outputs.

    X_limits_ : ndarray of shape (2, `n_features_in_`) or None
        What features are clipped to first: least and largest values. See ``extrapolation``.

    y_limits_ : ndarray of shape (2, `n_outputs_`) or None
        What outputs are clipped to; with a log link they are logarithms of predictions.

    feature_importances_ : ndarray of shape (`n_features_in_`,)
        Mean sizes of the slopes over training rows (at most 2000 of them) times the
        standard deviations of the features, relative to their sum. See `predict_gradient`.

    n_outputs_ : int
        Number of targets, or of quantiles.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all are strings.

    Notes
    -----
    Rows are put into a canonical order and equal rows merged, so a sample weight of 2 is
    the same as a row given twice, bit for bit, and the order of rows does not matter. Neither do
    torch's and numpy's global settings: default dtype and device, gradient and inference modes,
    autocast, error states. A fit leaves them as they are, and draws from no global generator.

    A fit that is refused, fails or is interrupted too early leaves the estimator as it was.

    References
    ----------
    Milkert, Hyde, Laine, "Compelling ReLU Networks to Exhibit Exponentially Many Linear
    Regions at Initialization and During Training", ICML 2025,
    https://arxiv.org/abs/2311.18022

    Examples
    --------
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> X = np.linspace(0, 1, 200)[:, None]
    >>> y = X[:, 0] ** 3
    >>> model = ExponentialReLURegressor(depth=5, n_subnetworks=1, random_state=0)
    >>> print(model.fit(X, y).score(X, y) > 0.9999)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **ExponentialReLUEstimator._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like", None],
    }

    def __init__(  # noqa: PLR0913  # scikit-learn wants them here
        self,
        depth=4,
        *,
        n_subnetworks="auto",
        n_levels="auto",
        n_init="auto",
        smooth=True,
        alpha=0.5,
        solver="auto",
        max_iter=500,
        refine=True,
        refine_max_iter="auto",
        tol=1e-4,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=20,
        learning_rate="auto",
        batch_size="auto",
        loss="squared_error",
        quantile=None,
        convexity=None,
        monotonic_cst=None,
        extrapolation="auto",
        device="cpu",
        warm_start=False,
        verbose=0,
        random_state=None,
    ):
        self.depth = depth
        self.n_subnetworks = n_subnetworks
        self.n_levels = n_levels
        self.n_init = n_init
        self.smooth = smooth
        self.alpha = alpha
        self.solver = solver
        self.max_iter = max_iter
        self.refine = refine
        self.refine_max_iter = refine_max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.loss = loss
        self.quantile = quantile
        self.convexity = convexity
        self.monotonic_cst = monotonic_cst
        self.extrapolation = extrapolation
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @transactional
    @with_callbacks
    @isolated()
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the network to a table.

        A fit that raises an error leaves the estimator as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, of any finite scale: an array, a tensor, a frame, or lists.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Several are each brought to unit variance and share sub-networks.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative; None weighs all alike.

        X_val : array-like of shape (n_val, n_features), default=None
            Inputs to stop by. If given, no training rows are held out.

        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Targets for ``X_val``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights for ``X_val``.

        Returns
        -------
        self : ExponentialReLURegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, the data or the device are not usable, or sizes cannot be held; the
            message says what to do, and names the column.
        TypeError
            If an argument is no container of values, or holds objects that are no numbers.
        KeyboardInterrupt
            If the user ends the fit before there is anything better than the best constant.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` or a given ``refine_max_iter`` ended the fit; if the loss became
            infinite or NaN, as it does with "adam" where ``learning_rate`` is too large; or if one
            or two features leave more than 10 % of the variance of y unexplained, and more than
            three times the noise that neighbouring rows show (for medians and means without a
            shape).
        UserWarning
            If the user ended the fit; the best so far is kept.
        """
        self._validate_params()
        loss = make_loss(self.loss, self.quantile)
        X, y, weights = validated_data(self, X, y, sample_weight, numeric=True)
        settings = self._settings(loss, several(self.quantile))
        training = self._table(X, y, weights, "y")
        if loss.log_link and not np.all(np.any(training.y > 0, axis=0)):
            raise ValueError(f"loss={self.loss!r} needs some y > 0 in each output, but all are 0.")
        validation = self._validation_table(X_val, y_val, sample_weight_val, y.shape[1:])
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        own = {
            "_y_ndim": 2 if several(self.quantile) else y.ndim,
            "_ordered": several(self.quantile),
            "_levels": tuple(self.quantile) if several(self.quantile) else None,
            "_dtype": str(_precision(training.y)),
        }
        return self._fit(
            {"X": X, "y": y, "metadata": metadata}, training, validation, settings, own
        )

    def predict(self, X):
        """Predict targets: means, medians or quantiles, as ``loss`` says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the wider precision of X and the y of the fit, cut at its largest number; of shape
            (n_samples, n_quantiles) for a list of quantiles. See ``extrapolation`` for what follows
            outside the training range.
        """
        return self._outputs(X)

    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination R^2 of the predictions.

        Of several quantiles it is the mean of :math:`D^2`, 1 less the loss relative to that of the
        best constant, as `sklearn.metrics.d2_pinball_score` has it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
        """
        predictions = self.predict(X)
        y = as_table(y, "y")
        if self._levels is None:
            return r2_score(y, predictions, sample_weight=sample_weight)
        pairs = zip(predictions.T, self._levels, strict=True)
        scores = [
            d2_pinball_score(np.ravel(y), predicted, alpha=level, sample_weight=sample_weight)
            for predicted, level in pairs
        ]
        return float(np.mean(scores))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.positive_only = any(
            self.loss == name for name, loss in LOSSES.items() if loss.log_link
        )
        return tags

    def _means(self, X):
        """Return what predictions say of the mean of targets, (n_samples, n_outputs)."""
        return self._stored().predict(X, resolve_device(self.device))

    def _table(self, X, y, weights, name: str) -> Table:
        """Return canonical rows, with one target once for each quantile."""
        y = y.reshape(len(y), -1)
        if several(self.quantile):
            if y.shape[1] > 1:
                raise ValueError(
                    f"{name} has {y.shape[1]} columns, but several quantiles are of one target: "
                    "pass a vector."
                )
            y = np.tile(y, (1, len(self.quantile)))
        table = canonical_table(X, y, weights)
        loss = LOSSES[self.loss]
        if loss.log_link and np.any(table.y < 0 if loss.zeros else table.y <= 0):
            raise ValueError(f"loss={self.loss!r} needs {name} {'>=' if loss.zeros else '>'} 0.")
        return table

    def _validation_table(self, X, y, weights, y_shape) -> Table | None:
        arrays = self._validation_arrays(X, y, weights, numeric=True)
        if arrays is None:
            return None
        X, y, weights = arrays
        if y.shape[1:] != y_shape:
            raise ValueError(
                f"y_val has shape {y.shape}, but y has shape (n_samples, "
                f"{', '.join(map(str, y_shape))}): they need the same outputs."
            )
        return self._table(X, y, weights, "y_val")


def _precision(y) -> np.dtype:
    """Return the least precision that holds numbers of such sizes with all its digits."""
    size = np.abs(y[y != 0])
    limits = np.finfo(np.float32)
    fits = not len(size) or (size.min() > limits.tiny and size.max() < np.sqrt(limits.max))
    return np.dtype(np.float32 if fits else np.float64)
