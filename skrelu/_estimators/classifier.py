"""The classifier: how labels are read and probabilities returned."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from skrelu._data.table import Table
from skrelu._data.torch_interop import isolated, resolve_device
from skrelu._estimators.array_api import fit_of_arrays, of_arrays
from skrelu._estimators.base import ExponentialReLUEstimator, canonical_table, transactional
from skrelu._estimators.error_bars import limits_of_scores
from skrelu._estimators.sklearn_private import (
    StrOptions,
    _check_partial_fit_first_call,
    with_callbacks,
)
from skrelu._estimators.streams import by_adam, goes_on, learn_rows
from skrelu._estimators.tables import validated_data
from skrelu._fit.plan import Settings
from skrelu._solvers.losses import CrossEntropy


class ExponentialReLUClassifier(ClassifierMixin, ExponentialReLUEstimator):
    r"""Predict classes by a ReLU network with exponentially many linear regions.

    The logits of the classes are linear functions plus sub-networks along learned directions, like
    the outputs of `ExponentialReLURegressor`. The network has one output for two classes, the
    log-odds of the second class, and one output a class for more. The fit minimizes the
    cross-entropy (log-loss) by Levenberg-Marquardt with the curvature of the cross-entropy.

    At the end of a fit the logits are blended with those of a linear model (logistic regression
    with a ridge penalty) and of the class frequencies. Held-out rows choose the weights of this
    blend. The logits are then shifted so that the mean probabilities over the training rows are the
    class frequencies.

    Sub-networks may also be *composed*: they stand on levels, and each one reads the features and
    the outputs of all earlier levels. They have ridge penalties estimated from the data. From
    1000 to 3000 samples the default is two levels, if time allows.

    Sub-networks also read *encoded columns*: beside each
    feature its *ramps*, which go from 0 to 1 between two of its quantiles, and its *curve* in an
    additive model, whose ridge penalties are estimated from the data. They are trained by AdamW on
    minibatches, and a layer of ReLU units reads them. The average of all kinds is the
    model; rows that they hold out choose their weights (stacking). This is tried if
    ``n_subnetworks``, ``n_levels``, ``n_init`` and ``solver`` are "auto", ``smooth=True``, no shape
    is set, ``early_stopping`` is not False and there are 50 samples or more. See ``kinds_``.

    With one or two features the fit also tries *windows side by side*: up to 256 sub-networks of
    which only the coefficients are fitted. They are tried if ``n_subnetworks``, ``n_levels``,
    ``n_init`` and ``solver`` are "auto", ``smooth=True`` and no shape is set. They become the model
    if moving sub-networks have a larger loss on other rows, and one above 1e-4 of that of the class
    frequencies. With the same settings, a table with no fewer features than rows gets a linear
    model.

    Below, *relative loss* is the cross-entropy divided by that of the class frequencies.

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

        "auto" chooses the number by the size of the table. It is one for every 32 samples, at most
        32, or at most 8 with one feature. It is twice that with a shape, and less if there are
        fewer samples than directions, offsets and peaks. On several levels it is at most 3 a level,
        with at most 500 weights in pretraining and one weight for two samples. Windows side by side
        are as many as lower the loss of left-out rows, at most 256.

    n_levels : int or "auto", default="auto"
        Number of levels of sub-networks, at least 1. Each level has ``n_subnetworks / n_levels``
        sub-networks. Several levels go with every solver, but not with ``smooth=False``.

        "auto" is one level, and two if ``n_subnetworks`` and ``n_init`` are "auto", too,
        ``solver_`` is "lm", there is no shape and there are 1000 samples or more. Above 3000
        samples there are networks on encoded columns only. See ``n_levels_`` and ``kinds_``.

    n_init : int or "auto", default="auto"
        Number of random starts, in [1, 10000]. They run in one batch. "auto" takes 12, and fewer
        on large tables, down to 3. On several levels it takes 6.

        With held-out rows or ``X_val`` the logits are weighted averages over the starts. The
        weights are the inverse of their relative losses on these rows. The standard error of these
        losses is added first, so that chance does not decide. A start whose loss exceeds 3 times
        the median is left out. Without such rows the model is the start with the lowest training
        loss.

    smooth : bool, default=True
        Whether the scales of the triangle waves follow from their peaks. This makes each
        :math:`F_k` concave, and smooth in the limit of infinite depth. If False, the scales are
        free parameters.

    alpha : float, default=0.5
        Strength of the ridge penalty on the coefficients :math:`\beta` and c, in [0, 1e10]. The
        cost is the sum of the cross-entropy over the rows plus ``alpha`` times the sum of the
        squared coefficients of standardized columns. 0.5 corresponds to ``C=1`` of
        `sklearn.linear_model.LogisticRegression`. If classes do not overlap, smaller values give
        probabilities nearer to 0 and 1. ``alpha`` means the same in `ExponentialReLURegressor`.

        For the linear model and windows side by side, left-out rows choose the penalties, which are
        then multiplied by ``alpha / 0.5``. Composed sub-networks estimate their own.

    solver : {"auto", "lm", "adam"}, default="auto"
        The algorithm of both stages.

        - "lm" is Levenberg-Marquardt, which moves the coefficients along with all other parameters.
        - "adam" is stochastic gradient descent with minibatches, for networks and tables too large
          for "lm".
        - "auto" takes "lm" if an iteration takes no more than a few seconds, and iterated least
          squares for windows side by side and linear models.

        See ``solver_`` for the choice.

    max_iter : int, default=500
        Maximum number of iterations of pretraining, at least 1. An iteration is a trial step of
        "lm", or an epoch (a pass over the data) of "adam". Composed sub-networks stop earlier, if
        their loss falls by less than half over 20 successful steps. Windows side by side and linear
        models do not use it.

    refine : bool, default=False
        Whether to train all weights after pretraining. If classes overlap, refinement would fit
        noise; if they do not, pretraining leaves little to gain.

    refine_max_iter : int or "auto", default="auto"
        Maximum number of iterations of refinement, at least 1. "auto" is ``max_iter`` for "adam".
        For "lm" it is the number that takes about one and a half seconds on one core for all
        starts together, at most 500; if that number is below 5, nothing is refined.

        With "auto" there is no refinement if the relative loss after pretraining exceeds 1 % on
        held-out rows (on all rows, if none are held out), because classes overlap then. Nor is
        there any for composed sub-networks. Windows side by side, linear models and functions with
        a shape are never refined.

    tol : float, default=1e-4
        Tolerance for the optimization, in [0, 1). A start has converged if its loss falls by less
        than this fraction over ``n_iter_no_change`` iterations. If classes overlap, pretraining
        with held-out rows by "lm" stops sooner: if the loss falls by less than 0.1 % over 8
        iterations. Without held-out rows it stops if the loss falls by less than 3 % over 10
        iterations. With a shape the tolerance is at least 3 %.

    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, monitor the loss on them and return to the best iteration. Ignored
        if ``X_val`` is given.

        "auto" holds out rows if there are 20 samples or more. Windows side by side and linear
        models hold out no rows. They are chosen by ``X_val``, or else by five folds.

    validation_fraction : float, default=0.1
        Fraction of rows that each start holds out for early stopping, in (0, 1). It is about the
        same in each class.

    scoring : "loss", str, callable or None, default="loss"
        What chooses the best iteration of each start on its held-out rows, and its end: the loss,
        the name of a scorer (see `sklearn.metrics.get_scorer_names`), or a callable
        ``scorer(estimator, X, y)``. None is the `score` of the estimator (accuracy). Scores other
        than the loss need ``solver="adam"`` and rows that are held out, which ``early_stopping``
        "auto" then does, or ``X_val``. They are of one start before the average, ``tol`` is the
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

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, at least 0, as a dict by label. They multiply ``sample_weight``.
        "balanced" gives each class the same total weight. None weighs all classes by 1.

    convexity : {"convex", "concave"} or dict, default=None
        Shape constraint: the log-odds are convex or concave everywhere, by construction. A string
        applies to all features jointly. A dict maps some features, by name or index, to "convex" or
        "concave"; features with the same word are so jointly. With ``convexity`` there is no
        refinement and no blend with a linear model. For two classes only.

    monotonic_cst : array-like of int of shape (n_features,) or dict of str, default=None
        Monotonic constraint on the probability of the second class, for each feature by position or
        as a dict by feature name: 1 for increasing, -1 for decreasing, 0 for no constraint. The
        constraint holds everywhere, by construction, up to rounding. There is no refinement. A
        monotone sub-network is the difference of two shifted ones; ``n_subnetworks`` counts it
        once. For two classes only.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        How to predict outside the range of the training data.

        - "linear": the logits continue linearly.
        - "constant": features are first clipped to their training range.
        - "auto" is "constant" if classes overlap: if the relative loss on other rows seems to
          exceed 1 %. It is "linear" otherwise, and always if ``convexity`` is set or the model is
          linear.

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
        pretrained parameters if ``refine=False``. Depth, sizes, shape, features and classes must
        stay the same; sizes that are "auto" do.

        If the units of X have changed, the fit may begin with the same function of standardized
        values instead: the function that fits better is taken. It starts anew if neither fits
        better than the class frequencies, and after windows side by side or a linear model.

    verbose : int, default=0
        What to print. 1: a line at the end of each stage, with its iterations, its loss, its score
        on held-out rows and its seconds, and a summary: which networks were chosen, the score, why
        the fit ended. 2: also a line an iteration, with the time left.

    random_state : int, RandomState instance or None, default=None
        Determines the random starts, the held-out rows and the order of minibatches. Pass an int
        for reproducible results across multiple calls.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.

    n_iter_ : int
        Number of iterations of both stages. It is 1 if ``solver_`` is "ridge".

    n_iter_pretrain_ : int
        Number of iterations of pretraining.

    solver_ : {"lm", "adam", "ridge"}
        The solver used. "ridge" is iterated least squares: for windows side by side, or for a
        linear model of a table with no fewer features than rows.

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
        It is the mean over the starts, before the blend with a linear model. If ``solver_`` is
        "ridge", the list is 1 and the relative loss of left-out rows.

    stages_ : list of dict
        Names of the stages with iterations, with the lists "loss" and "validation_loss" of their
        relative losses, also of networks that were tried and are not in the model.
        `skrelu.inspection.LossCurveDisplay` draws them.

    validation_score_ : list of float or None
        1 minus the loss on the held-out rows relative to that of the class frequencies on the same
        rows, for the same iterations. With another ``scoring`` they are its scores. None if
        no rows are held out.

    best_validation_score_ : float or None
        Validation score at the best iteration, mean over the starts.

    directions_ : ndarray of shape (`n_subnetworks_`, `n_features_in_`)
        Directions :math:`w_k` after pretraining, in the units of X. :math:`F_k` bends where
        ``directions_ @ x + offsets_`` is in [0, 1].

    offsets_ : ndarray of shape (`n_subnetworks_`,)
        Offsets :math:`o_k` after pretraining.

    peaks_ : ndarray of shape (`n_subnetworks_`, depth + 1)
        Peaks of the triangles after pretraining, in (0, 1). The last peak only determines a scale
        and is absent if ``smooth=False``.

    scales_ : ndarray of shape (`n_subnetworks_`, depth)
        Scales of the triangle waves after pretraining.

    hidden_weights_ : list of ndarray of shape (`n_subnetworks_`, 4, n_inputs)
        Hidden weights of the model, one array a layer, for standardized data. `to_torch` returns
        them in the units of the data.

    hidden_biases_ : list of ndarray of shape (`n_subnetworks_`, 4)
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
        Logits of the class frequencies, to which the network's outputs are added.

    y_scale_ : ndarray of shape (`n_outputs_`,)
        Ones.

    y_limits_ : None
        Logits are not clipped.

    X_limits_ : ndarray of shape (2, `n_features_in_`) or None
        Minimum and maximum to which features are clipped before prediction. None if they are not
        clipped, see ``extrapolation``.

    feature_importances_ : ndarray of shape (`n_features_in_`,)
        Importances of the features, which sum to 1: the mean absolute slope of the logits over
        training rows (at most 2000 of them) times the standard deviation of the feature. See
        `predict_gradient`.

    n_outputs_ : int
        Number of outputs of the network: 1 for two classes, else one a class.

    categories_ : list of list or None
        Levels of each feature that have a column of their own, see `encode`; None for numbers.

    kinds_ : dict of str to float
        Weights of the kinds of networks in the average, if there are several: "waves" read the
        features, "encoded" and "residual" read ramps and curves of the features, and "residual"
        starts from an additive model.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`. Defined only if all names are strings.

    See Also
    --------
    ExponentialReLURegressor : The same network for numbers, with more about the method.

    Notes
    -----
    Probabilities are not calibrated afterwards. Dividing the logits by a temperature found by
    cross-validation takes five times as long and hardly changes the log-loss of real tables
    (``python -m benchmarks.classification --only temperature``). For that, see
    `sklearn.calibration.CalibratedClassifierCV`.

    Rows are put into a canonical order and equal rows are merged. So a sample weight of 2 is the
    same as a row given twice, bit for bit, and the order of rows does not matter. The order of the
    labels does, because it is the order of the outputs. The global settings of torch and numpy do
    not matter: default dtype and device, gradient and inference modes, autocast, error states. A
    fit leaves them unchanged and uses no global random generator.

    A fit that raises an error or is interrupted too early leaves the estimator as it was.

    References
    ----------
    Milkert, Hyde, Laine, "Compelling ReLU Networks to Exhibit Exponentially Many Linear
    Regions at Initialization and During Training", ICML 2025,
    https://arxiv.org/abs/2311.18022

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skrelu import ExponentialReLUClassifier
    >>> X, y = make_moons(300, noise=0.1, random_state=0)
    >>> model = ExponentialReLUClassifier(random_state=0).fit(X[:200], y[:200])
    >>> bool(model.score(X[200:], y[200:]) > 0.97)
    True
    >>> model.predict_proba([[-1, 0], [2, 0.5]]).round(1)
    array([[1., 0.],
           [0., 1.]])
    """

    __module__ = "skrelu"  # saved models name the public place, wherever the code is

    _parameter_constraints: ClassVar[dict] = {
        **ExponentialReLUEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
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
        refine=False,
        refine_max_iter="auto",
        tol=1e-4,
        early_stopping="auto",
        validation_fraction=0.1,
        scoring="loss",
        n_iter_no_change=20,
        learning_rate="auto",
        batch_size="auto",
        class_weight=None,
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
        self.class_weight = class_weight
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

        y : array-like of shape (n_samples,)
            Class labels: numbers or strings, of two classes or more.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, at least 0: the number of rows that each row stands for. None weighs all
            rows by 1.

        X_val : array-like of shape (n_val, n_features), default=None
            Validation inputs for early stopping. If given, no training rows are held out. The
            steps of a pipeline transform them only if its ``transform_input`` names them.

        y_val : array-like of shape (n_val,), default=None
            Class labels for ``X_val``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights for ``X_val``.

        Returns
        -------
        self : ExponentialReLUClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, the data or the device is invalid, or if the networks would take too
            much memory. The message names the parameter or column and says what to do.
        TypeError
            If an argument is not array-like, or X contains objects that are not numbers.
        KeyboardInterrupt
            If the user interrupts the fit before it is better than the class frequencies.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` or a given ``refine_max_iter`` ended the fit before convergence. If the
            loss became infinite or NaN, as it does with "adam" if ``learning_rate`` is too large.
            If a fit with one or two features leaves more than 10 % of the variance of the classes
            unexplained and more than three times the noise estimated from neighbouring rows
            (without a shape).
        UserWarning
            If the user interrupted the fit. The best iteration so far is kept.
        """
        self._validate_params()
        X, y, row_weights = validated_data(self, X, y, sample_weight, numeric=False)
        check_sortable(y)
        check_classification_targets(y)
        classes = np.unique(y)
        settings = self._settings_of_classes(classes)
        weights = self._class_weights(classes, y, row_weights)
        training = _table(X, y, row_weights, classes, weights)
        if not np.ptp(training.y, axis=0).any():
            raise ValueError(
                "y has one class only among rows of positive weight, but two or more are needed "
                "to tell apart."
            )
        validation = self._validation_table(X_val, y_val, sample_weight_val, classes, weights)
        if self.warm_start and not np.array_equal(getattr(self, "classes_", classes), classes):
            raise ValueError(
                f"warm_start=True goes on from a fit with classes {self.classes_.tolist()}, but "
                f"now there are {classes.tolist()}. Keep these, or set warm_start=False to start "
                "anew."
            )
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        data = {"X": X, "y": y, "metadata": metadata}
        return self._fit(data, training, validation, settings, own_of_classes(classes))

    @by_adam
    @fit_of_arrays
    @transactional
    @isolated()
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn from rows of a stream, and go on where the call before ended.

        Each call makes one pass of Adam over its rows; rows may be given again. The first call
        fixes what must not change: the columns of categories and missing values, and the means and
        scales of X. So its rows should be like later ones, some hundred or more.

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

        y : array-like of shape (n_samples,)
            Class labels. Not every call needs rows of every class.

        classes : array-like of shape (n_classes,), default=None
            All classes, needed in the first call.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, at least 0, relative to their mean in the first call. None weighs all
            rows by 1. Those of classes are factors; ``class_weight`` must not be "balanced".

        Returns
        -------
        self : ExponentialReLUClassifier
            The estimator. ``loss_curve_`` has the loss of the rows of each call before they were
            learned, relative to that of the best constant of the first call, and ``n_iter_`` is the
            number of calls.

        Raises
        ------
        AttributeError
            If ``solver`` is not "adam": others need all rows at once.
        ValueError
            If an argument is invalid or does not match the first call, or if the model is of `fit`
            with another solver. If ``early_stopping`` or ``scoring`` ask for held-out rows, or
            ``class_weight`` for all rows. If the loss becomes infinite or NaN. The model then stays
            as it was.

        Examples
        --------
        >>> from sklearn.datasets import make_moons
        >>> from skrelu import ExponentialReLUClassifier
        >>> model = ExponentialReLUClassifier(solver="adam", learning_rate=0.01, random_state=0)
        >>> for seed in range(40):
        ...     X, y = make_moons(200, noise=0.1, random_state=seed)
        ...     model = model.partial_fit(X, y, classes=[0, 1])
        >>> bool(model.score(*make_moons(200, noise=0.1, random_state=99)) > 0.98)
        True
        """
        self._validate_params()
        further = goes_on(self)
        _check_partial_fit_first_call(self, classes)
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once, but partial_fit has those of a "
                "call: give a dict of weights, or sample_weight."
            )
        X, y, row_weights = validated_data(self, X, y, sample_weight, numeric=False, known=further)
        check_sortable(y)
        check_classification_targets(y)
        known = self.classes_
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise ValueError(
                f"y has the classes {unknown.tolist()}, which are not in classes of the first "
                f"call: {known.tolist()}."
            )
        settings = self._settings_of_classes(known)
        weights = self._class_weights(known, y, row_weights)
        table = _table(X, y, row_weights, known, weights)
        n_given = int(np.count_nonzero(row_weights * weights[np.searchsorted(known, y)]))
        return learn_rows(self, table, n_given, settings, own_of_classes(known))

    @of_arrays
    def predict(self, X):
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted labels, with the dtype of ``classes_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skrelu import ExponentialReLUClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = ExponentialReLUClassifier(random_state=0).fit(X, y)
        >>> model.predict(X[::50])
        array([0, 1, 2])
        >>> model.decision_function(X[:2]).shape, model.predict_log_proba(X[:2]).shape
        ((2, 3), (2, 3))
        """
        logits = self._outputs(X)
        best = logits > 0 if logits.ndim == 1 else logits.argmax(1)
        return self.classes_[best.astype(int)]

    @of_arrays
    def decision_function(self, X):
        """Return the logits: the log-probabilities up to a constant for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Logits in the order of ``classes_``; with two classes the log-odds of the second. Their
            dtype is that of X.
        """
        return self._outputs(X)

    @of_arrays
    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``. Rows sum to 1.
        """
        logits = self._outputs(X)
        if logits.ndim == 1:
            return expit(np.column_stack([-logits, logits]))
        return softmax(logits, axis=1)

    @of_arrays
    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities, which stay finite where these round to 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms in the order of ``classes_``.
        """
        logits = self._outputs(X)
        if logits.ndim == 1:
            return log_expit(np.column_stack([-logits, logits]))
        return log_softmax(logits, axis=1)

    @of_arrays
    def predict_set(self, X, coverage=0.9):
        """Predict sets of classes that contain the class of a row with a given probability.

        They come from the probabilities of rows that were left out in the fit (split conformal
        prediction). If a new row is like these, then its class is in the set with a probability of
        at least ``coverage``, on average over fits and rows, even if the predicted probabilities
        are wrong. Left-out rows are not entirely independent of the fit, because they choose its
        best iteration. So the probability is approximate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        coverage : float, default=0.9
            Probability in (0, 1).

        Returns
        -------
        ndarray of bool of shape (n_samples, n_classes)
            Whether each class is in the set, in the order of ``classes_``. The most probable class
            always is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If X or ``coverage`` is invalid, or if too few rows were left out in the fit: for a
            coverage of 0.9 at least 9.

        References
        ----------
        Sadinle, Lei, Wasserman, "Least ambiguous set-valued classifiers with bounded error levels",
        2019, https://arxiv.org/abs/1609.00451

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skrelu import ExponentialReLUClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = ExponentialReLUClassifier(random_state=0).fit(X, y)
        >>> model.predict_set(X[::50], coverage=0.9)
        array([[ True, False, False],
               [False,  True, False],
               [False, False,  True]])
        """
        _, limit = limits_of_scores(self, coverage, two_sided=False)
        chances = self.predict_proba(X)
        chosen = 1 - chances <= limit[0]
        chosen[np.arange(len(chosen)), chances.argmax(1)] = True
        return chosen

    def _means(self, X):
        """Return probabilities of the second class or, of more than two, of all classes."""
        logits = self._stored().predict(X, resolve_device(self.device))
        return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)

    def _settings_of_classes(self, classes) -> Settings:
        """Return the parameters of a fit."""
        settings = self._settings(CrossEntropy())
        if len(classes) > 2 and settings.shape is not None:
            raise ValueError(
                f"convexity and monotonic_cst are for two classes, but y has {len(classes)}: "
                "leave them out, or tell one class from all others."
            )
        return settings

    def _class_weights(self, classes, y, row_weights):
        """Return the weight of each class."""
        with np.errstate(divide="ignore"):  # a class may have no weight
            weights = compute_class_weight(
                self.class_weight, classes=classes, y=y, sample_weight=row_weights
            )
        if self.class_weight == "balanced":
            weights[np.isinf(weights)] = 0
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"class_weight={self.class_weight}, but weights must be finite and not negative."
            )
        return weights

    def _validation_table(self, X, y, sample_weight, classes, weights) -> Table | None:
        arrays = self._validation_arrays(X, y, sample_weight, numeric=False)
        if arrays is None:
            return None
        X, y, row_weights = arrays
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"y_val has the classes {unknown.tolist()}, which are not in y: {classes.tolist()}."
            )
        return _table(X, y, row_weights, classes, weights)


def own_of_classes(classes) -> dict:
    """Return the attributes that predictions of these classes need."""
    return {
        "_y_ndim": 1 if len(classes) == 2 else 2,
        "_ordered": False,
        "_dtype": "float32",
        "classes_": classes,
    }


def check_sortable(y) -> None:
    """Raise an error for labels that cannot be sorted, such as strings and numbers together."""
    kinds = sorted({type(label).__name__ for label in y}) if y.dtype == object else []
    if len(kinds) > 1 and "str" in kinds:
        raise TypeError(
            f"y has labels of the types {', '.join(kinds)}, which have no order: make them "
            "all strings or all numbers, for example with .astype(str)."
        )


def _table(X, y, row_weights, classes, weights) -> Table:
    """Return canonical rows: y is 1 for the second of two classes, else one-hot."""
    index = np.searchsorted(classes, y)
    targets = index[:, None] == (np.arange(len(classes)) if len(classes) > 2 else [1])
    with np.errstate(over="ignore"):
        row_weights = row_weights * weights[index]
    return canonical_table(X, targets.astype(float), row_weights)
