r"""The smallest change of an input that changes the predicted class.

For a class c that is predicted and another class k it is

.. math:: \min_{x'} \|x' - x\| \quad \text{where} \quad f_k(x') - f_c(x') \ge 0,

one mixed-integer program a class. Its box is that of the nearest such point found before, which
leaves few neurons that may be on or off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier

from skrelu.optimize._graphs import affine
from skrelu.optimize._minimize import check_limits
from skrelu.optimize._nearest import Nearest
from skrelu.optimize._program import Array, Clock
from skrelu.optimize._read import Domain, checked_norm, checked_scale, read, shortest
from skrelu.optimize._results import EMPTY, FOUND, MESSAGES, OUT_OF_TIME, WIDE, Robustness
from skrelu.regions._checks import as_floats

SAME_CLASS = "All points within bounds have the same class."


def robust_radius(
    classifier,
    x: ArrayLike,
    bounds: ArrayLike,
    *,
    norm: float = np.inf,
    scale: ArrayLike | None = None,
    gap: float = 1e-6,
    time_limit: float | None = None,
) -> Robustness:
    r"""Find the smallest change of x that changes the predicted class, with a certificate.

    .. math:: \min_{x'} \|x' - x\| \quad \text{where } x' \text{ has another class}, \qquad
        \|x\|_\infty = \max_j |x_j| / s_j \quad\text{or}\quad \|x\|_1 = \sum_j |x_j| / s_j.

    Parameters
    ----------
    classifier : estimator or torch.nn.Module
        A fitted `~skrelu.ExponentialReLUClassifier` of numeric features, a fitted MLPClassifier
        with ``activation="relu"``, or a torch module whose outputs are the logits of the classes
        (with one output: of the second of two classes).
    x : array-like of shape (n_features,)
        The input, within bounds.
    bounds : array-like of shape (n_features, 2) or scipy.optimize.Bounds
        Least and largest value of each feature, finite.
    norm : {inf, 1}, default=inf
        The norm of changes.
    scale : array-like of shape (n_features,), default=None
        Units :math:`s_j > 0` of changes, such as standard deviations. None is 1 for all.
    gap : float, default=1e-6
        Largest relative distance of the radius and its bound.
    time_limit : float, default=None
        Seconds after which the nearest point so far is returned, with its bound.

    Returns
    -------
    Robustness
        The ``radius``, its lower ``bound``, and the nearest point ``x`` of another class with its
        ``label``.

    Raises
    ------
    TypeError
        If the model is no classifier of a known type.
    ValueError
        If the model cannot be read, x is not within bounds, or an argument is invalid.

    Notes
    -----
    The class changes just beyond the border, so ``x`` is a little beyond it. Near x most neurons
    are always on or off, so that certificates take few binaries.

    References
    ----------
    Tjeng, Xiao, Tedrake, "Evaluating Robustness of Neural Networks with Mixed Integer
    Programming", ICLR 2019, https://arxiv.org/abs/1711.07356

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skrelu import ExponentialReLUClassifier
    >>> from skrelu.optimize import robust_radius
    >>> X, y = make_moons(300, noise=0.1, random_state=0)
    >>> model = ExponentialReLUClassifier(
    ...     depth=3, n_subnetworks=4, n_levels=1, n_init=1, random_state=0
    ... ).fit(X, y)
    >>> found = robust_radius(model, X[0], [(-2, 3), (-2, 2)])
    >>> found.success and bool(found.label != model.predict(X[:1])[0])
    True
    """
    if isinstance(classifier, BaseEstimator) and not is_classifier(classifier):
        raise TypeError(f"{type(classifier).__name__} is no classifier, so it has no classes.")
    readable = read(classifier)
    check_limits(gap, time_limit)
    norm = checked_norm(norm)
    n = readable.n_features
    scale = checked_scale(scale, n)
    domain = Domain.of(n, bounds, (), None)
    point = as_floats(x, "x").reshape(-1)
    if point.shape != (n,) or np.any((point < domain.low) | (point > domain.high)):
        raise ValueError(f"x has to be {n} numbers, each within its bounds.")
    clock = Clock(time_limit)

    def class_of(x: Array) -> int:
        values = readable.values(x[None])[0]
        return int(values[0] > 0) if len(values) == 1 else int(values.argmax())

    nearest = Nearest(class_of, point, scale, norm, domain, clock)
    own = nearest.own
    graphs = shortest(classifier, readable, domain.low, domain.high)
    if readable.n_outputs == 1:
        margins = [np.array([[1.0 if own else -1.0]])]
    else:
        eye = np.eye(readable.n_outputs)
        margins = [(eye[own] - eye[k])[None] for k in range(len(eye)) if k != own]
    rivals = [[*graphs, affine(margin, np.zeros(1))] for margin in margins]
    for rival in rivals:
        nearest.approach(rival)
    parts = [nearest.certify(rival, gap) for rival in rivals]
    return _result(classifier, nearest, parts, gap)


def _result(classifier, nearest: Nearest, parts, gap: float) -> Robustness:
    statuses, bounds, binaries = zip(*parts, strict=True)
    radius, bound = nearest.radius, float(min(bounds))
    seconds, n_binaries = nearest.clock.seconds, sum(binaries)
    if nearest.best is None:
        proven = bound == np.inf
        status = EMPTY if proven else OUT_OF_TIME if OUT_OF_TIME in statuses else WIDE
        message, left = (SAME_CLASS, 0.0) if proven else (MESSAGES[status], np.inf)
        return Robustness(radius, bound, None, None, left, status, message, n_binaries, seconds)
    bound = min(bound, radius)
    left = (radius - bound) / radius if radius else 0.0
    status = FOUND if left <= gap else OUT_OF_TIME if OUT_OF_TIME in statuses else WIDE
    label: Any = nearest.class_of(nearest.best)
    if hasattr(classifier, "classes_"):
        label = classifier.classes_[label]
    return Robustness(
        radius, bound, nearest.best, label, left, status, MESSAGES[status], n_binaries, seconds
    )
