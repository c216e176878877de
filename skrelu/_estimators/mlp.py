"""Dense layers as a fitted multilayer perceptron of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer

from skrelu._export.graph import Dense


def mlp_of(
    layers: Sequence[Dense], *, log_link: bool, classes: NDArray | None, names: NDArray | None
) -> MLPRegressor | MLPClassifier:
    """Return a fitted multilayer perceptron.

    Parameters
    ----------
    layers : sequence of (matrix, bias)
        ReLU stands between them.
    log_link : bool
        Whether predictions are exponentials of the outputs.
    classes : ndarray of shape (n_classes,) or None
        Labels. Outputs are then logits: those of the second class if there are two.
    names : ndarray of shape (n_inputs,) or None
        Names of the inputs.
    """
    sizes = tuple(len(bias) for _, bias in layers[:-1])
    mlp: MLPRegressor | MLPClassifier
    if classes is None:
        loss = "poisson" if log_link else "squared_error"
        mlp = MLPRegressor(hidden_layer_sizes=sizes, loss=loss)
        mlp.out_activation_ = "exp" if log_link else "identity"
    else:
        mlp = MLPClassifier(hidden_layer_sizes=sizes)
        mlp.out_activation_ = "logistic" if len(classes) == 2 else "softmax"
        mlp._label_binarizer = LabelBinarizer().fit(classes)
        mlp.classes_ = mlp._label_binarizer.classes_
    mlp.coefs_ = [np.ascontiguousarray(matrix.T) for matrix, _ in layers]
    mlp.intercepts_ = [bias.copy() for _, bias in layers]
    mlp.n_layers_ = len(layers) + 1
    mlp.n_outputs_ = len(layers[-1][1])
    mlp.n_features_in_ = layers[0][0].shape[1]
    if names is not None:
        mlp.feature_names_in_ = names
    # What `partial_fit` goes on from.
    mlp.n_iter_ = mlp.t_ = mlp._no_improvement_count = 0
    mlp.loss_curve_, mlp.loss_, mlp.best_loss_ = [], np.inf, np.inf
    mlp.validation_scores_ = mlp.best_validation_score_ = None
    return mlp
