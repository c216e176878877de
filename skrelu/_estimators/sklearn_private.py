"""The parts of scikit-learn that are private or experimental and that the estimators use."""

from __future__ import annotations

from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils._array_api import check_same_namespace, get_namespace_and_device, move_to
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_monotonic_cst, _check_sample_weight

__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "_check_monotonic_cst",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "check_same_namespace",
    "get_namespace_and_device",
    "move_to",
    "with_callbacks",
]
