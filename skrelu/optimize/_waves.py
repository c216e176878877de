"""Fits without refinement as graphs of one neuron a layer.

A triangle wave is h_{i+1} = T_a(h_i) = h_i / a - (h_i - a)_+ / (a (1 - a)), also outside of [0, 1].
So a sub-network of depth d with 2**d linear regions takes d neurons that read each other's sums,
and d binaries. Plain layers need four neurons each, because they clamp h and carry values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skrelu._data.scaling import quotients
from skrelu._estimators.array_api import in_numpy
from skrelu._export.graph import ReLUGraph
from skrelu.optimize._graphs import affine, chained, clipping

Array = NDArray[np.float64]

# How far outputs of the graph may be from predictions, relative to their size.
SAME = 1e-11
# Points at which both are compared.
N_POINTS = 64


def wave_graph(model, low: Array, high: Array) -> ReLUGraph | None:
    """Return the raw outputs of a fit on one level as such a graph; None if it was refined.

    Whether it was is seen from values, at points between ``low`` and ``high`` and near them.
    """
    model = in_numpy(model)
    stored = model._stored()
    if getattr(model, "peaks_", None) is None or stored.added is not None or stored.ordered:
        return None
    peaks, scales = model.peaks_, model.scales_
    depth = scales.shape[1]
    if model.output_weights_.shape[0] != len(peaks) or not scales[:, -1].all():
        return None
    # The second neuron of the last layer is read with weight c s / a.
    units = model.output_weights_[:, 1] * (peaks[:, depth - 1] / scales[:, -1])[:, None]
    waves = _waves(model.directions_, model.offsets_, peaks[:, :depth], scales, units.T)
    n = len(model.X_mean_)
    linear = quotients(model.linear_weights_.T, 1.0, model.X_scale_)
    output = waves.output.toarray()
    output[:, :n] += linear
    shift = waves.intercept + model.intercept_ - linear @ model.X_mean_
    raw = ReLUGraph(waves.weights, waves.biases, csr_array(output), shift)
    graphs = [raw.affine(model.y_scale_, model.y_mean_)]
    if model.X_limits_ is not None:
        graphs.insert(0, clipping(*model.X_limits_))
    if model.y_limits_ is not None:
        graphs.append(clipping(*model.y_limits_))
    found = chained([affine(np.eye(n), np.zeros(n)), *graphs])
    return found if _same(found, chained(stored.graphs()), low, high) else None


def _waves(
    directions: Array, offsets: Array, peaks: Array, scales: Array, units: Array
) -> ReLUGraph:
    """Return sum_k units[:, k] F_k(directions_k @ x + offsets_k).

    Parameters
    ----------
    directions : ndarray of shape (n_subnetworks, n_inputs)
    offsets : ndarray of shape (n_subnetworks,)
    peaks, scales : ndarray of shape (n_subnetworks, depth)
    units : ndarray of shape (n_outputs, n_subnetworks)
    """
    (n_waves, n), depth = directions.shape, peaks.shape[1]
    n_all = n + n_waves * depth
    # h as a function of signals: rows of coefficients, last the constant.
    h = np.hstack([directions, np.zeros((n_waves, n_waves * depth)), offsets[:, None]])
    total = np.zeros_like(h)
    rows, own = [], np.arange(n_waves)
    for i in range(depth):
        a = peaks[:, i]
        row = h.copy()
        row[:, -1] -= a
        rows.append(row)
        h = h / a[:, None]
        h[own, n + i * n_waves + own] -= 1 / (a * (1 - a))
        total += scales[:, i, None] * h
    stacked, output = np.vstack(rows), units @ total
    return ReLUGraph(
        csr_array(stacked[:, :n_all]), stacked[:, -1], csr_array(output[:, :n_all]), output[:, -1]
    )


def _same(found: ReLUGraph, expected: ReLUGraph, low: Array, high: Array) -> bool:
    rng = np.random.default_rng(0)
    X = rng.uniform(-0.2, 1.2, (N_POINTS, len(low))) * (high - low) + low
    y = expected(X)
    apart = np.abs(found(X) - y).max(initial=0.0)
    return bool(apart <= SAME * max(np.abs(y).max(initial=0.0), np.abs(expected.intercept).max()))
