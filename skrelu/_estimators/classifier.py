"""The classifier: what classes are, and what probabilities."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from skrelu._data.table import Table
from skrelu._data.torch_interop import isolated, resolve_device
from skrelu._estimators.base import ExponentialReLUEstimator, canonical_table, transactional
from skrelu._estimators.sklearn_private import StrOptions, with_callbacks
from skrelu._estimators.tables import validated_data
from skrelu._solvers.losses import CrossEntropy


class ExponentialReLUClassifier(ClassifierMixin, ExponentialReLUEstimator):
    r"""Predict classes by a ReLU network with exponentially many linear regions.

    The logits of the classes are linear functions plus sub-networks along learned directions, as
    the outputs of `ExponentialReLURegressor` are on one level. What is minimised is the
    cross-entropy (the log-loss), by Levenberg-Marquardt with its own curvature. With two classes
    there is one output, the log-odds of the second; with more there is one a class.

    At the end the logits are blended with those of a linear model (logistic regression with a
    ridge) and of the classes' shares, by held-out rows, and shifted so that mean probabilities are
    the shares of the classes. With one feature or two there are *windows side by side*, too: up to
    256 sub-networks of which only the coefficients are fitted. They are tried where
    ``n_subnetworks``, ``n_init`` and ``solver`` are "auto", with ``smooth=True`` and no shape, and
    are the model where moving sub-networks leave more of the loss on other rows than they do, and
    more than 1e-4. With these settings tables with no fewer features than rows get a linear model
    alone.

    Parameters
    ----------
    depth : int, default=4
        Number of hidden layers of a sub-network, in [1, 52]; ``2**depth`` linear regions
        each.

    n_subnetworks : int or "auto", default="auto"
        Number of sub-networks of a start. "auto" takes one for each 32 samples, at most 32, or 8
        where there is one feature, twice as many with a shape, and fewer where samples are fewer
        than their directions, offsets and peaks. Windows side by side are as many as lower the loss
        of left-out rows. Numbers whose networks would take more than 1.6 GB are refused.

    n_init : int or "auto", default="auto"
        Number of random starts, in [1, 10000], run in one batch. "auto" takes 12, or fewer on large
        tables, down to 3.

        With held-out rows or ``X_val`` the logits are averages of those of the starts, weighted by
        the inverse of their validation losses, each relative to what the classes' shares lose on
        the same rows, plus the standard error of these, so that chance does not decide; a start
        whose loss is over 3 times the median is left out. Without, they are those of the start with
        the lowest training loss.

    smooth : bool, default=True
        Whether the scales of the composed triangles follow from their peaks, which makes
        each :math:`F_k` concave and smooth in the limit of infinite depth. If False the
        scales are free parameters.

    alpha : float, default=0.5
        Ridge penalty on the coefficients :math:`\beta` and c, in [0, 1e10]. The cost is the
        cross-entropy summed over the rows plus ``alpha`` times the sum of the squared
        coefficients of standardized columns: 0.5 is what ``C=1`` is for
        `sklearn.linear_model.LogisticRegression`. Where classes do not overlap, smaller values
        give probabilities nearer to 0 and 1. It means the same as for `ExponentialReLURegressor`.
        The penalties of the linear model and of windows side by side are chosen by left-out rows,
        and multiplied by ``alpha / 0.5`` then.

    solver : {"auto", "lm", "adam"}, default="auto"
        "lm" is Levenberg-Marquardt, with the coefficients eliminated in pretraining
        (variable projection). "adam" is stochastic gradient descent, for what
        Levenberg-Marquardt cannot hold. "auto" takes "lm" while an iteration takes no
        more than a few seconds, and iterated least squares for windows side by side and linear
        models; ``solver_`` tells.

    max_iter : int, default=500
        Most iterations of pretraining: trial steps for "lm", passes over the data
        (epochs) for "adam". Windows side by side and linear models take no notice of it.

    refine : bool, default=False
        Whether to release all weights after pretraining. Where classes overlap that would follow
        the noise; where they do not, pretraining leaves little to gain.

    refine_max_iter : int or "auto", default="auto"
        Most iterations of refinement. "auto" takes as many as should cost one and a half seconds
        on one core with "lm", of all starts together, at most 500, and none where that is not
        enough for 5; and ``max_iter`` with "adam". It takes none, either, if pretraining leaves
        more than 1 % of the cross-entropy of the classes' shares on held-out rows (on all, if none
        are held out): classes overlap, then. Windows side by side, linear models and functions with
        a shape are never refined.

    tol : float, default=1e-4
        A start has converged when its loss has fallen by less than this fraction over
        ``n_iter_no_change`` iterations. Where rows are held out and classes overlap, pretraining
        by "lm" ends sooner: at less than 0.1 % over 8 iterations; where none are held out, at less
        than 10 % over 10, and with a shape at less than 3 %.

    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, watch the loss on them and return to the best iteration.
        "auto" does from 20 samples on. Has no effect if ``X_val`` is given. Windows side by side
        and linear models hold out none: they are chosen by ``X_val``, or by fits without a fifth of
        the rows.

    validation_fraction : float, default=0.1
        Fraction of rows that each start holds out, in (0, 1): about the same part of each class.

    n_iter_no_change : int, default=20
        See ``tol``.

    learning_rate : float or "auto", default="auto"
        Step size of "adam". "auto" is 0.001 for steps of 200 rows and grows with these, to 0.005
        for 1000.

    batch_size : int or "auto", default="auto"
        Rows of a step of "adam". "auto" is 200 up to 25 000 rows, then a 125th of them up to 1000,
        and a 500th of more than 500 000; all rows if there are fewer.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label; samples are weighted by them in addition to
        ``sample_weight``. "balanced" gives each class the same total weight.

    convexity : {"convex", "concave"} or dict, default=None
        Shape that the log-odds are to have everywhere: in all features jointly, or, as a
        dict of feature names or indices to "convex" or "concave", in some. It holds by
        construction; nothing is refined, and no linear model is blended in. For two classes only.

    monotonic_cst : array-like of int of shape (n_features,) or dict of str, default=None
        Features that the probability of the second class is to rise (1) or fall (-1) with,
        everywhere, by feature or as a dict of feature names; 0 leaves it open. It holds by
        construction, to rounding; nothing is refined. For two classes only.

    extrapolation : {"auto", "linear", "constant"}, default="auto"
        What follows outside of the training data. "linear": logits go on linearly.
        "constant": features are clipped to their ranges in training first. "auto" is "constant"
        where more than 1 % of the cross-entropy of the classes' shares seems to be left on other
        rows, unless ``convexity`` is given or the
        model is a line; else "linear".

    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto" for an accelerator if
        there is one. In float64, or float32 where the device has nothing wider.

    warm_start : bool, default=False
        Whether a further call of `fit` goes on from the last: from the refined weights,
        or from the pretrained parameters if ``refine=False``. If X has changed units, that is
        the same function of standardized values where this fits better; where neither fits better
        than the classes' shares, the fit starts anew, as it does from windows side by side and
        linear models. Depth, sizes, shape, features and classes must stay the same; sizes that are
        "auto" do.

    verbose : int, default=0
        If positive, print one line an iteration: the loss on training and on held-out rows
        relative to that of the best constant, and the time that is left.

    random_state : int, RandomState instance or None, default=None
        Draws starting points and held-out rows, shuffles batches. Pass an int for
        reproducible results.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.

    n_iter_ : int
        Number of iterations of both stages; 1 where ``solver_`` is "ridge".

    n_iter_pretrain_ : int
        Number of iterations of pretraining.

    solver_ : {"lm", "adam", "ridge"}
        The solver that ran. "ridge" is iterated least squares: of windows side by side, or of a
        linear model where there are no fewer features than rows.

    n_subnetworks_ : int
        Number of sub-networks of the model, those of all averaged starts.

    n_starts_ : int
        Number of starts that the model is an average of; 1 where ``solver_`` is "ridge".

    n_parameters_ : int
        Number of weights and biases of the model.

    n_parameters_pretrain_ : int
        Number of parameters of pretraining, which determine the model unless refinement
        follows.

    loss_curve_ : list of float
        Cross-entropy on the training rows relative to that of the classes' shares, mean over the
        starts, before they are blended with a linear model: before the first and after each
        iteration of each stage. Where ``solver_`` is "ridge", 1 and the loss of left-out rows.

    validation_score_ : list of float or None
        1 less the cross-entropy on the held-out rows relative to that of the classes' shares on
        the same rows, likewise. None without any.

    best_validation_score_ : float or None
        The same of the kept iterations, mean over the starts.

    directions_ : ndarray of shape (`n_subnetworks_`, `n_features_in_`)
        Directions w_k after pretraining, in the units of X: F_k bends where
        ``directions_ @ x + offsets_`` is in [0, 1].

    offsets_ : ndarray of shape (`n_subnetworks_`,)
        Offsets o_k after pretraining.

    peaks_ : ndarray of shape (`n_subnetworks_`, depth + 1)
        Peaks of the triangles after pretraining, in (0, 1). The last only sets a scale and
        is absent if ``smooth=False``.

    scales_ : ndarray of shape (`n_subnetworks_`, depth)
        Scales of the triangle waves after pretraining.

    hidden_weights_ : list of ndarray of shape (`n_subnetworks_`, 4, n_inputs)
        Hidden weights of the model, by layer, on standardized data; `to_torch` gives them in the
        units of the data.

    hidden_biases_ : list of ndarray of shape (`n_subnetworks_`, 4)
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
        Logits of the shares of the classes, which the network's outputs are added to, and ones.

    X_limits_ : ndarray of shape (2, `n_features_in_`) or None
        What features are clipped to first: least and largest values. See ``extrapolation``.

    feature_importances_ : ndarray of shape (`n_features_in_`,)
        Mean sizes of the slopes of the logits over training rows (at most 2000 of them) times the
        standard deviations of the features, relative to their sum. See `predict_gradient`.

    n_outputs_ : int
        Number of outputs of the network: 1 for two classes, else one a class.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all are strings.

    See Also
    --------
    ExponentialReLURegressor : The same for numbers, with more on the method.

    Notes
    -----
    Probabilities are not rescaled afterwards: a temperature for the logits, found by
    cross-validation, takes five times as long and hardly changes the log-loss of real tables
    (``python -m benchmarks.classification --only temperature``). See
    `sklearn.calibration.CalibratedClassifierCV` for it.

    Rows are put into a canonical order and equal rows merged, so a sample weight of 2 is
    the same as a row given twice, bit for bit, and the order of rows does not matter. The order
    of the labels does: it is that of the outputs. Global settings of torch and numpy do not matter
    and are left as they are.

    A fit that is refused, fails or is interrupted too early leaves the estimator as it was.

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

    _parameter_constraints: ClassVar[dict] = {
        **ExponentialReLUEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
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
        refine=False,
        refine_max_iter="auto",
        tol=1e-4,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=20,
        learning_rate="auto",
        batch_size="auto",
        class_weight=None,
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
        self.class_weight = class_weight
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

        y : array-like of shape (n_samples,)
            Labels of the classes, two or more: numbers or strings.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative: how many rows each stands for. None weighs all
            alike, by 1.

        X_val : array-like of shape (n_val, n_features), default=None
            Inputs to stop by. If given, no training rows are held out.

        y_val : array-like of shape (n_val,), default=None
            Labels for ``X_val``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights for ``X_val``.

        Returns
        -------
        self : ExponentialReLUClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, the data or the device are not usable, or sizes cannot be held; the
            message says what to do, and names the column.
        TypeError
            If an argument is no container of values, or X holds objects that are no numbers.
        KeyboardInterrupt
            If the user ends the fit before there is anything better than the classes' shares.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` or a given ``refine_max_iter`` ended the fit; if the loss became
            infinite or NaN, as it does with "adam" where ``learning_rate`` is too large; or if one
            or two features leave more than 10 % of the variance of the classes unexplained, and
            more than twice the noise that neighbouring rows show (without a shape).
        UserWarning
            If the user ended the fit; the best so far is kept.
        """
        self._validate_params()
        X, y, row_weights = validated_data(self, X, y, sample_weight, numeric=False)
        _check_sortable(y)
        check_classification_targets(y)
        classes = np.unique(y)
        settings = self._settings(CrossEntropy())
        if len(classes) > 2 and settings.shape is not None:
            raise ValueError(
                f"convexity and monotonic_cst are for two classes, but y has {len(classes)}: "
                "leave them out, or tell one class from all others."
            )
        with np.errstate(divide="ignore"):  # of a class with no weight
            weights = compute_class_weight(
                self.class_weight, classes=classes, y=y, sample_weight=row_weights
            )
        if self.class_weight == "balanced":
            weights[np.isinf(weights)] = 0
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"class_weight={self.class_weight}, but weights must be finite and not negative."
            )
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
        own = {
            "_y_ndim": 1 if len(classes) == 2 else 2,
            "_ordered": False,
            "_dtype": "float32",
            "classes_": classes,
        }
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        data = {"X": X, "y": y, "metadata": metadata}
        return self._fit(data, training, validation, settings, own)

    def predict(self, X):
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        logits = self._outputs(X)
        best = logits > 0 if logits.ndim == 1 else logits.argmax(1)
        return self.classes_[best.astype(int)]

    def decision_function(self, X):
        """Return the logits: logarithms of probabilities up to a constant for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of the precision of X; with two classes the log-odds of the second.
        """
        return self._outputs(X)

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; rows sum to 1.
        """
        logits = self._outputs(X)
        if logits.ndim == 1:
            return expit(np.column_stack([-logits, logits]))
        return softmax(logits, axis=1)

    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities, also where these round to 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        logits = self._outputs(X)
        if logits.ndim == 1:
            return log_expit(np.column_stack([-logits, logits]))
        return log_softmax(logits, axis=1)

    def _means(self, X):
        """Return probabilities: of the second of two classes, or of all."""
        logits = self._stored().predict(X, resolve_device(self.device))
        return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)

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


def _check_sortable(y) -> None:
    """Refuse labels of types that have no order."""
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
