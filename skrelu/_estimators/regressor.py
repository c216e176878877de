"""The regressor: how targets are read and predictions returned."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score

from skrelu._data.table import Table
from skrelu._data.torch_interop import isolated, resolve_device
from skrelu._estimators.array_api import fit_of_arrays, of_arrays
from skrelu._estimators.base import ExponentialReLUEstimator, canonical_table, transactional
from skrelu._estimators.error_bars import ErrorBarsMixin
from skrelu._estimators.parameters import make_loss, several
from skrelu._estimators.sklearn_private import Interval, StrOptions, with_callbacks
from skrelu._estimators.streams import by_adam, goes_on, learn_rows
from skrelu._estimators.tables import as_table, validated_data
from skrelu._solvers.losses import LOSSES


class ExponentialReLURegressor(
    MultiOutputMixin, RegressorMixin, ErrorBarsMixin, ExponentialReLUEstimator
):
    r"""Predict numbers by a ReLU network with exponentially many linear regions.

    The model is a linear function plus sub-networks along learned directions,

    .. math::

        f(x) = b_0 + \beta \cdot x + \sum_k c_k F_k(w_k \cdot x + o_k).

    Each :math:`F_k` is a ReLU network of width 4 with ``depth`` hidden layers. It is a sum of
    composed triangle waves and has exactly ``2**depth`` linear regions. A fit has two stages.
    *Pretraining* moves the directions, the offsets and the peaks of the triangles, which keeps all
    linear regions; the coefficients :math:`b_0`, :math:`\beta` and c follow by linear least
    squares. *Refinement* then trains all weights of the sub-networks, which may change the number
    of linear regions.

    Several random starts run in one batch. The model is their weighted average or the best of
    them; an average is again one such network. At the end of a fit it is blended with a linear
    model and the best constant. Held-out rows choose the weights of this blend (estimated errors
    choose them if no rows are held out). So the simplest model that fits wins, and exactly linear
    targets give a linear model. With squared errors and log links, predictions are then shifted so
    that their mean over the training rows is that of the targets.

    Sub-networks may also be *composed*: they stand on levels, and each one reads the features and
    the outputs of all earlier levels. Their peaks are all 1/2. They are pretrained in the limit of
    infinite depth, with ridge penalties estimated from the data. Such a sub-network is lowered to
    ``2 * depth`` layers, or to more layers where fewer would be less accurate.

    If targets are neither smooth nor exact, sub-networks also read *encoded columns*: beside each
    feature its *ramps*, which go from 0 to 1 between two of its quantiles, and its *curve* in an
    additive model, whose ridge penalties are estimated from the data. They are trained by AdamW on
    minibatches, and a layer of ReLU units reads them. Half of these networks learn what the
    additive model leaves. The average of all kinds is the
    model; rows that they hold out choose their weights (stacking). This is tried if
    ``n_subnetworks``, ``n_levels``, ``n_init`` and ``solver`` are "auto", ``smooth=True``, no shape
    is set, ``early_stopping`` is not False and there are 50 samples or more. See ``kinds_``.

    With one or two features the fit also tries *windows side by side*: up to 1024 sub-networks of
    which only the coefficients are fitted, by linear least squares. They form a smoothing spline
    made of triangle waves, which follows many periods, jumps and corners. They are tried if
    ``n_subnetworks``, ``n_levels``, ``n_init`` and ``solver`` are "auto", ``smooth=True`` and no
    shape is set. They become the model if moving sub-networks have a larger loss on other rows, and
    one above 1e-4 of that of the best constant. With the same settings, a table with no fewer
    features than rows gets a linear model.

    With the same settings and ``depth="auto"``, tables of 20 to 100 rows with one target also get
    *periodic waves* along random directions: 64 or 128, of which only the coefficients are fitted,
    to a gaussian process. They become the model if they predict left-out rows better than the
    other networks. Losses other than squared errors have none. With ``solver="ridge"`` periodic
    waves are the model, as many as ``n_subnetworks``, for up to 4000 rows.

    With the same settings and ``refine_max_iter="auto"``, nearly smooth targets of 121 to 500 rows,
    with noise up to 1000, are also fitted by a gaussian process. Where it predicts left-out rows
    better than the networks, or its average with them does, one network on several levels *learns*
    it, at the rows and at points between them (distillation).

    Below, *relative loss* is the loss divided by that of the best constant. For squared errors it
    is the unexplained variance, as a fraction of the variance of y.

    Parameters
    ----------
    depth : int or "auto", default="auto"
        Number of hidden layers of each sub-network, in [1, 52]. A sub-network has ``2**depth``
        linear regions before refinement, on one level and on several; there, sub-networks with a
        guaranteed shape have twice as many layers and more regions. "auto" takes 4 on one level,
        as many as accuracy needs on several, and 1 for sub-networks on encoded columns, which are
        as accurate with 1.

    n_subnetworks : int or "auto", default="auto"
        Number of sub-networks of each start, at least 1. If their networks would take more than
        1.6 GB, `fit` raises an error.

        "auto" chooses the number by the size of the table. On one level it is one for every 32
        samples, at most 32, or at most 8 with one feature. It is twice that with a shape, and less
        if there are fewer samples than directions, offsets and peaks. On several levels it is at
        most 4 a level, with at most 400 weights in pretraining and one weight for two samples. If
        hardly any noise is found, each level gets up to two more, with at most 700 weights and one
        weight for four samples. If noise is found, there are fewer: up to 8 on two levels. One
        sub-network a level may have 1000 weights, and one weight for each sample. Windows side by
        side are as many as lower the loss of left-out rows, at most 1024 (256 with other losses
        than squared errors).

    n_levels : int or "auto", default="auto"
        Number of levels of sub-networks, at least 1. Each level has ``n_subnetworks / n_levels``
        sub-networks. Several levels go with every loss, shape and solver, but not with
        ``smooth=False``.

        "auto" takes one level with other losses than squared errors, with a shape or
        ``solver="adam"``. Else it tries 6 levels if ``n_subnetworks`` and ``n_init`` are "auto",
        too, and there are 50 samples or more and up to some 140 features, 2 if there is noise, and
        8 if there is hardly any noise and 6 leave something to learn. At most 20 000 random samples
        train them. If they leave more than 0.3 % of the variance of other samples unexplained, they
        are averaged with networks on encoded columns. They then hold out rows, at most 6000 samples
        train them, and one level takes their place (up to 3000 samples) if encoded columns predict
        better than a rough fit of theirs.

    n_init : int or "auto", default="auto"
        Number of random starts, in [1, 10000]. They run in one batch. "auto" takes 12, and fewer
        on large tables, down to 1. On several levels it takes 6 and continues the best one after
        12 iterations, or the best of the three of a rough fit. It continues the others, too, if the
        best leaves more than 0.1 % of the variance unexplained.

        With held-out rows or ``X_val`` the model is the weighted average of the starts. The weights
        are the inverse of their relative losses on these rows. The standard error of these losses
        is added first, so that chance does not decide. A start whose loss exceeds 3 times the
        median is left out. Without such rows the model is the start with the lowest training loss,
        or on several levels an average weighted by estimated errors. There, what these losses or
        errors have in common as noise does not count, if y is one target with squared errors.

    smooth : bool, default=True
        Whether the scales of the triangle waves follow from their peaks. This makes each
        :math:`F_k` concave, and smooth in the limit of infinite depth. If False, the scales are
        free parameters.

    alpha : float, default=0.5
        Strength of the ridge penalty on the coefficients :math:`\beta` and c, in [0, 1e10]. The
        cost is the sum of the squared errors over the rows, divided by twice the variance of the
        noise, plus ``alpha`` times the sum of the squared coefficients of standardized columns. The
        noise is estimated from the residuals. The penalty therefore vanishes where y can be fitted
        exactly. ``alpha`` means the same in `ExponentialReLUClassifier`.

        For the linear model and windows side by side, left-out rows choose the penalties, which are
        then multiplied by ``alpha / 0.5``. Composed sub-networks and periodic waves estimate their
        own.

    solver : {"auto", "lm", "adam", "ridge"}, default="auto"
        The algorithm of both stages.

        - "lm" is Levenberg-Marquardt. With squared errors pretraining eliminates the coefficients
          (variable projection).
        - "adam" is stochastic gradient descent with minibatches, for networks and tables too large
          for "lm".
        - "ridge" is linear least squares for periodic waves along random directions, which stay as
          they are. They come as close as they can to a gaussian process: the rows choose a Matern
          or a gaussian kernel, a length for each feature and the noise, by their probability (400
          random rows, if there are more). It is for one target, squared errors and at most 4000
          rows. Depth, levels and starts stay at their defaults. A model has 10 MB, because of its
          error bars. Coefficients may be large and cancel: export it in double precision.
        - "auto" takes "lm" if an iteration takes no more than a few seconds, and linear least
          squares for windows side by side, periodic waves and linear models. Networks on encoded
          columns are trained by AdamW.

        See ``solver_`` for the choice.

    max_iter : int, default=500
        Maximum number of iterations of pretraining, at least 1. An iteration is a trial step of
        "lm", or an epoch (a pass over the data) of "adam". Composed sub-networks stop earlier: if
        the estimated error falls by less than 30 % over 20 successful steps, or reaches 1e-10 of
        the variance of y. Windows side by side and linear models do not use it.

    refine : bool, default=True
        Whether to train all weights after pretraining.

    refine_max_iter : int or "auto", default="auto"
        Maximum number of iterations of refinement, at least 1. "auto" is ``max_iter`` for "adam".
        For "lm" it is the number that takes about one and a half seconds on one core for all
        starts together, at most 500; if that number is below 5, nothing is refined.

        With "auto" there is no refinement if pretraining leaves more than 1 % of the variance of
        held-out rows unexplained, because refinement would then fit noise. Nor is there any for
        composed sub-networks. Windows side by side, linear models and functions with a shape are
        never refined.

        With 50 iterations or more, one output, ``smooth=True`` and "lm", up to half of the
        iterations take place in the limit of infinite depth. Pretraining then fixes all peaks but
        the first one to three at 1/2, so that the later layers tend to a parabola. Refinement
        first trains the early layers with this parabola, and then all layers.

    tol : float, default=1e-4
        Tolerance for the optimization, in [0, 1). A start has converged if its loss falls by less
        than this fraction over ``n_iter_no_change`` iterations. Pretraining by "lm" without
        held-out rows stops sooner if refinement follows: if the loss falls by less than 10 % over
        10 iterations. With a shape the tolerance is at least 3 %. For composed sub-networks see
        ``max_iter``.

    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, monitor the loss on them and return to the best iteration. Ignored
        if ``X_val`` is given.

        "auto" holds out rows if there are 20 samples or more, so that several starts can be
        averaged. With a single start it does so only if there are fewer than 5 samples for each
        weight, and for composed sub-networks only with "adam". Windows side by side and linear
        models hold out no rows. They are chosen by ``X_val``, or else by leave-one-out errors (with
        other losses than squared errors by five folds).

    validation_fraction : float, default=0.1
        Fraction of rows that each start holds out for early stopping, in (0, 1). The held-out rows
        of all starts have about the same distribution of targets.

    scoring : "loss", str, callable or None, default="loss"
        What chooses the best iteration of each start on its held-out rows, and its end: the loss,
        the name of a scorer (see `sklearn.metrics.get_scorer_names`), or a callable
        ``scorer(estimator, X, y)``. None is the `score` of the estimator. Scores other than the
        loss need ``solver="adam"`` and rows that are held out, which ``early_stopping`` "auto"
        then does, or ``X_val``. They are of one start before the average, ``tol`` is the
        least rise of a score that counts, and the weights of the starts remain those of the loss. A
        callable gets X as numeric columns (see `encode`) and an estimator that predicts these rows;
        it needs an argument ``sample_weight`` if rows have different weights or are equal. Kinds
        of networks are compared by losses, so with "adam" there are none on encoded columns.

    n_iter_no_change : int, default=20
        Number of iterations over which ``tol`` measures the progress, at least 1.

    learning_rate : float or "auto", default="auto"
        Learning rate of "adam", greater than 0. "auto" is 0.001 for batches of 200 rows and grows
        with the batch size, to 0.005 for 1000 rows.

    batch_size : int or "auto", default="auto"
        Number of rows in a minibatch of "adam", at least 1. "auto" is 200 up to 25 000 rows, then a
        125th of the rows up to 1000, and a 500th of more than 500 000. If there are fewer rows, a
        batch has all of them.

    loss : str, default="squared_error"
        The loss to minimize, which also decides what is predicted:

        - "squared_error": means.
        - "absolute_error": medians.
        - "huber": squared errors for small residuals and absolute errors for large ones. They meet
          at 1.35 residual scales, which are estimated during the fit as in
          `sklearn.linear_model.HuberRegressor` (0.92 standard deviations of gaussian noise).
        - "quantile": quantiles, see ``quantile``.
        - "poisson", "gamma": means, by a deviance with a log link. Predictions are exponentials of
          the network's outputs. Targets must be >= 0 for "poisson" and > 0 for "gamma".

    quantile : float or list of float, default=None
        The quantile or quantiles to predict with ``loss="quantile"``, in (0, 1). A list must
        increase; predictions then have shape (n_samples, n_quantiles) and are sorted, so that
        quantiles do not cross. [0.05, 0.5, 0.95] gives medians and intervals that contain 90 % of
        the targets.

        Each quantile is calibrated: it is shifted so that the right fraction of held-out rows is
        below it (of left-out rows for windows side by side). This needs five such rows beyond the
        quantile, so 100 rows for a quantile of 0.05. With fewer rows, intervals are too narrow.

    convexity : {"convex", "concave"} or dict, default=None
        Shape constraint: the predictions are convex or concave everywhere, by construction. A
        string applies to all features jointly. A dict maps some features, by name or index, to
        "convex" or "concave"; features with the same word are so jointly.

        With ``convexity`` there is no refinement and no blend with a linear model, and predictions
        are not bounded (with a log link they may reach the largest float). "concave" excludes a log
        link, and several quantiles exclude ``convexity``.

    monotonic_cst : array-like of int of shape (n_features,) or dict of str, default=None
        Monotonic constraint on each feature, by position or as a dict by feature name: 1 for
        increasing, -1 for decreasing, 0 for no constraint. The constraint holds everywhere, by
        construction, up to rounding. There is no refinement. A monotone sub-network is the
        difference of two shifted ones; ``n_subnetworks`` counts it once.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        How to predict outside the range of the training data.

        - "linear": the model continues linearly.
        - "constant": features are first clipped to their training range, and predictions to the
          range of y.
        - "auto" is "constant" if there is noise: if the relative loss on other rows seems to exceed
          3 %, or with a log link is unknown. If only some outputs have noise, only those are
          bounded. It is "linear" otherwise, and always if ``convexity``
          is set or the model is linear (without a log link).

    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        The features that are categories: names, indices, or a boolean for each feature. Their
        values may be strings, numbers or booleans.

        - "from_dtype": columns of a data frame with a categorical dtype.
        - None: none.

        A category of more than 255 levels keeps the most frequent ones; all others count as one.
        Levels that were not seen in `fit` count as these, too, or else as no level. Missing values
        are a level of their own if there were any in `fit`.

    device : str or torch.device, default="cpu"
        Device to compute on: "cpu", "cuda", "cuda:1", "mps", or "auto" for the accelerator of
        `torch.accelerator` if there is one. Precision is float64, or float32 on devices without
        float64.

    warm_start : bool, default=False
        Whether `fit` continues from the previous call: from the refined weights, or from the
        pretrained parameters if ``refine=False``. Depth, sizes, loss, shape, features and outputs
        must stay the same; sizes that are "auto" do.

        If the units of X or y have changed, the fit may begin with the same function of
        standardized values instead: the function that fits better is taken. It starts anew if
        neither fits better than the best constant, and after windows side by side, periodic waves
        or a linear model. Networks on encoded columns are fitted anew, and all weights of the
        average are.

    verbose : int, default=0
        What to print. 1: a line at the end of each stage, with its iterations, its loss, its score
        on held-out rows and its seconds, and a summary: which networks were chosen, the score, why
        the fit ended. 2: also a line an iteration, with the time left.

    random_state : int, RandomState instance or None, default=None
        Determines the random starts, the held-out rows and the order of minibatches. Pass an int
        for reproducible results across multiple calls.

    Attributes
    ----------
    n_iter_ : int
        Number of iterations of both stages, without those of networks of other sizes that were
        tried and not taken. It is 1 if ``solver_`` is "ridge".

    n_iter_pretrain_ : int
        Number of iterations of pretraining.

    solver_ : {"lm", "adam", "ridge"}
        The solver used. "ridge" is linear least squares: for windows side by side, for periodic
        waves, or for a linear model of a table with no fewer features than rows.

    n_subnetworks_ : int
        Number of sub-networks of the model, over all averaged starts.

    n_levels_ : int
        Number of levels of sub-networks.

    n_starts_ : int
        Number of starts averaged in the model. It is 1 if ``solver_`` is "ridge".

    n_parameters_ : int
        Number of weights and biases of the model.

    n_parameters_pretrain_ : int
        Number of parameters of pretraining. They determine the model if there is no refinement.

    loss_curve_ : list of float
        Relative loss on the training rows, before the first and after each iteration of each stage.
        It is the mean over the starts, before the blend with a linear model. Fits in the limit of
        infinite depth count as stages. If ``solver_`` is "ridge", the list is 1 and the relative
        loss of left-out rows.

    stages_ : list of dict
        Names of the stages with iterations, with the lists "loss" and "validation_loss" of their
        relative losses, also of networks that were tried and are not in the model.
        `skrelu.inspection.LossCurveDisplay` draws them.

    validation_score_ : list of float or None
        1 minus the loss on the held-out rows relative to that of the best constant on the same
        rows, for the same iterations. For squared errors this is R^2. With another
        ``scoring`` they are its scores. None if no rows are held out.

    best_validation_score_ : float or None
        Validation score at the best iteration, mean over the starts.

    directions_ : ndarray of shape (`n_subnetworks_`, `n_features_in_`)
        Directions :math:`w_k` after pretraining, in the units of X. :math:`F_k` bends where
        ``directions_ @ x + offsets_`` is in [0, 1]. With several levels the sub-networks are
        ordered by level, and the weights of earlier sub-networks are not included.

    offsets_ : ndarray of shape (`n_subnetworks_`,)
        Offsets :math:`o_k` after pretraining.

    peaks_ : ndarray of shape (`n_subnetworks_`, depth + 1) or None
        Peaks of the triangles after pretraining, in (0, 1). The last peak only determines a scale
        and is absent if ``smooth=False``. None on several levels, where all peaks are 1/2.

    scales_ : ndarray of shape (`n_subnetworks_`, depth) or None
        Scales of the triangle waves after pretraining. None on several levels.

    hidden_weights_ : list of ndarray of shape (`n_subnetworks_` / `n_levels_`, 4, n_inputs)
        Hidden weights of the model, one array a layer, level after level, for standardized data.
        The first layer of a level reads the features and the last layers of all earlier
        sub-networks. Any other layer reads the one before. `to_torch` returns them in the units of
        the data.

    hidden_biases_ : list of ndarray of shape (`n_subnetworks_` / `n_levels_`, 4)
        Hidden biases of the model, one array a layer, for standardized data.

    output_weights_ : ndarray of shape (`n_subnetworks_`, 4, `n_outputs_`)
        Weights from the last hidden layer of each sub-network to the outputs.

    linear_weights_ : ndarray of shape (`n_features_in_`, `n_outputs_`)
        Weights of the linear part.

    intercept_ : ndarray of shape (`n_outputs_`,)
        Intercepts.

    X_mean_ : ndarray of shape (`n_features_in_`,)
        Means of the features.

    X_scale_ : ndarray of shape (`n_features_in_`,)
        Standard deviations of the features. 0 marks a constant feature, which the model ignores.

    y_mean_ : ndarray of shape (`n_outputs_`,)
        Means of the targets. With losses other than squared errors: the best constants (for log
        links the logarithms of the means).

    y_scale_ : ndarray of shape (`n_outputs_`,)
        Standard deviations of the targets. With losses other than squared errors: the units of the
        network's outputs.

    X_limits_ : ndarray of shape (2, `n_features_in_`) or None
        Minimum and maximum to which features are clipped before prediction. None if they are not
        clipped, see ``extrapolation``.

    y_limits_ : ndarray of shape (2, `n_outputs_`) or None
        Minimum and maximum to which predictions are clipped, with a log link as logarithms. None if
        they are not clipped. If only some outputs have noise, the others may leave their range by
        its width.

    feature_importances_ : ndarray of shape (`n_features_in_`,)
        Importances of the features, which sum to 1: the mean absolute slope over training rows (at
        most 2000 of them) times the standard deviation of the feature. See `predict_gradient`.

    noise_ : ndarray of shape (`n_outputs_`,) or None
        Standard deviation of the noise in each target, for squared errors. The standard deviations
        of `predict` include it. None for other losses, and without error bars.

    n_outputs_ : int
        Number of targets, or of quantiles.

    categories_ : list of list or None
        Levels of each feature that have a column of their own, see `encode`; None for numbers.

    kinds_ : dict of str to float or ndarray of shape (`n_outputs_`,)
        Weights of the kinds of networks in the average, if there are several: "waves" read the
        features, "encoded" and "residual" read ramps and curves of the features, and "residual"
        starts from an additive model. Several outputs have weights of their own, except quantiles.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`. Defined only if all names are strings.

    See Also
    --------
    ExponentialReLUClassifier : The same network for classes.

    Notes
    -----
    Rows are put into a canonical order and equal rows are merged. So a sample weight of 2 is the
    same as a row given twice, bit for bit, and the order of rows does not matter. Neither do the
    global settings of torch and numpy: default dtype and device, gradient and inference modes,
    autocast, error states. A fit leaves them unchanged and uses no global random generator.

    A fit that raises an error or is interrupted too early leaves the estimator as it was.

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

    __module__ = "skrelu"  # saved models name the public place, wherever the code is

    _parameter_constraints: ClassVar[dict] = {
        **ExponentialReLUEstimator._parameter_constraints,
        "solver": [StrOptions({"auto", "lm", "adam", "ridge"})],
        "loss": [StrOptions(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like", None],
    }

    def __init__(  # noqa: PLR0913  # scikit-learn wants them here
        self,
        depth="auto",
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
        scoring="loss",
        n_iter_no_change=20,
        learning_rate="auto",
        batch_size="auto",
        loss="squared_error",
        quantile=None,
        convexity=None,
        monotonic_cst=None,
        extrapolation="auto",
        categorical_features="from_dtype",
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
        self.scoring = scoring
        self.n_iter_no_change = n_iter_no_change
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.loss = loss
        self.quantile = quantile
        self.convexity = convexity
        self.monotonic_cst = monotonic_cst
        self.extrapolation = extrapolation
        self.categorical_features = categorical_features
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @fit_of_arrays
    @transactional
    @with_callbacks
    @isolated()
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model to training data.

        A fit that raises an error leaves the estimator as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs: an array, a tensor, a data frame or lists. Features are numbers or
            categories, see ``categorical_features``. They need no standardization. Missing values
            (NaN, None, NA) are allowed, infinite ones are not.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values. Several outputs are each standardized and use the same sub-networks.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, at least 0. None weighs all rows equally.

        X_val : array-like of shape (n_val, n_features), default=None
            Validation inputs for early stopping. If given, no training rows are held out. The
            steps of a pipeline transform them only if its ``transform_input`` names them.

        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Target values for ``X_val``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights for ``X_val``.

        Returns
        -------
        self : ExponentialReLURegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, the data or the device is invalid, or if the networks would take too
            much memory. The message names the parameter or column and says what to do.
        TypeError
            If an argument is not array-like, or contains objects that are not numbers.
        KeyboardInterrupt
            If the user interrupts the fit before it is better than the best constant.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` or a given ``refine_max_iter`` ended the fit before convergence. If the
            loss became infinite or NaN, as it does with "adam" if ``learning_rate`` is too large.
            If a fit with one or two features leaves more than 10 % of the variance of y unexplained
            and more than three times the noise estimated from neighbouring rows (for medians and
            means without a shape).
        UserWarning
            If the user interrupted the fit. The best iteration so far is kept.
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
        own = own_of_numbers(self.quantile, y.ndim, precision_of(training.y))
        return self._fit(
            {"X": X, "y": y, "metadata": metadata}, training, validation, settings, own
        )

    @by_adam
    @fit_of_arrays
    @transactional
    @isolated()
    def partial_fit(self, X, y, sample_weight=None):
        """Learn from rows of a stream, and go on where the call before ended.

        Each call makes one pass of Adam over its rows; rows may be given again. The first call
        fixes what must not change: the columns of categories and missing values, and the means and
        scales of X and y. So its rows should be like later ones, some hundred or more.

        Nothing is held out, averaged by weights, blended or refined: the model is the plain average
        of ``n_init`` networks of triangle waves ("auto" is 1). "auto" for ``n_levels`` is 1, and
        for ``n_subnetworks`` 8 for one feature and 32 for more. ``max_iter``, ``tol``, ``refine``,
        ``refine_max_iter``, ``n_iter_no_change`` and ``validation_fraction`` are not used.

        After `fit` with ``solver="adam"`` it goes on from the fitted model. All weights of its ReLU
        network are then trained if it was refined or has several levels, unless it has a shape.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, as in `fit`. Levels of categories that the first call did not have count as
            levels that were not seen.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, at least 0, relative to their mean in the first call. None weighs all
            rows by 1.

        Returns
        -------
        self : ExponentialReLURegressor
            The estimator. ``loss_curve_`` has the loss of the rows of each call before they were
            learned, relative to that of the best constant of the first call, and ``n_iter_`` is the
            number of calls.

        Raises
        ------
        AttributeError
            If ``solver`` is not "adam": others need all rows at once.
        ValueError
            If an argument is invalid or does not match the first call, or if the model is of `fit`
            with another solver. If ``early_stopping`` or ``scoring`` ask for held-out rows. If
            the loss becomes infinite or NaN. The model then stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> model = ExponentialReLURegressor(solver="adam", learning_rate=0.01, random_state=0)
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(40):
        ...     X = rng.uniform(size=(200, 2))
        ...     model = model.partial_fit(X, np.sin(4 * X[:, 0]) * X[:, 1])
        >>> bool(model.loss_curve_[-1] < 0.02)
        True
        """
        self._validate_params()
        further = goes_on(self)
        loss = make_loss(self.loss, self.quantile)
        X, y, weights = validated_data(self, X, y, sample_weight, numeric=True, known=further)
        settings = self._settings(loss, several(self.quantile))
        table = self._table(X, y, weights, "y")
        if loss.log_link and not further and not np.all(np.any(table.y > 0, axis=0)):
            raise ValueError(
                f"loss={self.loss!r} needs some y > 0 in each output in the first call of "
                "partial_fit: give it more rows."
            )
        dtypes = [precision_of(table.y), *([np.dtype(self._dtype)] if further else [])]
        own = own_of_numbers(self.quantile, y.ndim, np.result_type(*dtypes))
        if further and (table.y.shape[1] != self.n_outputs_ or own["_y_ndim"] != self._y_ndim):
            raise ValueError(
                f"y has shape {y.shape}, but in the first call it had {self.n_outputs_} outputs as "
                f"an array of {self._y_ndim} dimensions: give the same."
            )
        return learn_rows(self, table, int(np.count_nonzero(weights)), settings, own)

    @of_arrays
    def predict(self, X, return_std=False, return_cov=False):
        """Predict means, medians or quantiles of the targets, depending on ``loss``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        return_std : bool, default=False
            Whether to return standard deviations as well, for ``loss="squared_error"``.

        return_cov : bool, default=False
            Whether to return covariances as well, for ``loss="squared_error"``. Not together with
            ``return_std``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, of shape (n_samples, n_quantiles) for a list of quantiles. Their dtype is
            the wider one of X and of the y of the fit; values are clipped to its range. See
            ``extrapolation`` for predictions outside the training range.

        y_std : ndarray of shape (n_samples,) or (n_samples, n_outputs), optional
            Standard deviations of new targets: of the noise and of the model together, so that
            those of the model alone are ``np.sqrt(y_std**2 - noise_**2)``. They grow outside of the
            training data. Rows that were left out in the fit choose their size.

        y_cov : ndarray of shape (n_samples, n_samples) or \
                (n_samples, n_samples, n_outputs), optional
            Covariances of new targets. Their diagonal is ``y_std ** 2``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X is invalid; the message names the column. If standard deviations or covariances
            are asked for, but both, or with another loss, or of a model without error bars:
            compressed models have none, nor have fits that left out no rows.

        See Also
        --------
        predict_interval : Intervals for any loss, without a distribution.
        sample_y : Draws of the function.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.linspace(0, 1, 200)[:, None]
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] ** 2)
        >>> model.predict([[0.5]]).round(2)
        array([0.25])

        Standard deviations are small between the training rows and large outside:

        >>> mean, std = model.predict([[0.5], [2.0]], return_std=True)
        >>> bool(std[0] < 1e-4 < std[1])
        True
        """
        if return_std and return_cov:
            raise ValueError("Set return_std or return_cov, not both.")
        if return_std:
            return self._with_deviations(X)
        return self._with_covariances(X) if return_cov else self._outputs(X)

    @of_arrays
    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination R^2 of the predictions.

        For a list of quantiles it is the mean of their :math:`D^2`, as computed by
        `sklearn.metrics.d2_pinball_score`: 1 minus the loss relative to that of the best constant.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, at least 0. None weighs all rows equally.

        Returns
        -------
        float
            Score, at most 1.
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
        tags.target_tags.multi_output = not several(self.quantile)
        tags.target_tags.positive_only = any(
            self.loss == name for name, loss in LOSSES.items() if loss.log_link
        )
        return tags

    def _means(self, X):
        """Return predictions in double precision, (n_samples, n_outputs)."""
        return self._stored().predict(X, resolve_device(self.device))

    def _table(self, X, y, weights, name: str) -> Table:
        """Return canonical rows; several quantiles get a copy of the target each."""
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


def own_of_numbers(quantile, ndim: int, dtype: np.dtype) -> dict:
    """Return the attributes that predictions of numbers or of quantiles need."""
    return {
        "_y_ndim": 2 if several(quantile) else ndim,
        "_ordered": several(quantile),
        "_levels": tuple(quantile) if several(quantile) else None,
        "_dtype": str(dtype),
    }


def precision_of(y) -> np.dtype:
    """Return float32 if it represents numbers of these sizes with all its digits, else float64."""
    size = np.abs(y[y != 0])
    limits = np.finfo(np.float32)
    fits = not len(size) or (size.min() > limits.tiny and size.max() < np.sqrt(limits.max))
    return np.dtype(np.float32 if fits else np.float64)
