"""The parts of scikit-learn without a public name that the estimators use."""

from __future__ import annotations

from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

__all__ = ["Interval", "StrOptions", "_check_sample_weight"]
