"""Fitted models in other forms: torch, ONNX, scikit-learn and C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.array_api import of_no_arrays
from skrelu._estimators.mlp import mlp_of
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._estimators.tables import columns_of
from skrelu._export.c_source import c_source
from skrelu._export.onnx_model import onnx_model, write

STRUCTURES = ("dense", "blocks")


class ExportsMixin:
    """Methods that return the same function in another form.

    Inputs are the features or, with categories or missing values, the columns of `encode`.
    """

    _stored: Callable[[], StoredNetwork]
    _log_link: bool

    @of_no_arrays
    def to_torch(self, structure="dense"):
        """Return the model as a torch network in the units of the data.

        Parameters
        ----------
        structure : {"dense", "blocks"}, default="dense"
            - "dense": a `torch.nn.Sequential` of Linear and ReLU layers, which any tool reads. A
              layer has the neurons of all sub-networks side by side. Most of its weights are 0.
            - "blocks": a module that holds only the numbers of the network, for large models, and
              to train further without filling the zeros. Its layers are small matrices that read
              inputs and neurons of any earlier layer.

        Returns
        -------
        torch.nn.Module
            From (n_samples, n_columns) to (n_samples, n_outputs), on the CPU, in float64 and in
            `eval` mode. Inputs are the features or, with categories or missing values, what
            `encode` returns. Outputs are predictions; for a classifier they are those of its
            `decision_function`.

            Dense layers: each level has ``depth`` hidden layers. They are block-diagonal, except
            that neurons carry what later layers need: one for a neuron, two for any other value.
            Two further layers each clip features and predictions, and some sort quantiles. A
            feature far from 0 compared with its spread, or with a size near the limits of floats,
            gets a first Linear that subtracts its mean; targets of such sizes get a last Linear.
            Two Linear layers then follow each other. With a log link the last module is an
            exponential.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If ``structure`` is unknown.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> with torch.no_grad():
        ...     outputs = model.to_torch()(torch.tensor(X))[:, 0]
        >>> bool(np.allclose(outputs, model.predict(X)))
        True
        """
        if structure not in STRUCTURES:
            raise ValueError(f"structure={structure!r}, but it must be 'dense' or 'blocks'.")
        check_is_fitted(self, "intercept_")
        stored = self._stored()
        return stored.to_torch() if structure == "dense" else stored.to_blocks()

    @of_no_arrays
    def to_onnx(self, path=None, *, dtype="float64", opset=None):
        """Return the model in ONNX, and write it to a file if a path is given.

        Layers are those of ``to_torch(structure="blocks")``. Matrices of a layer become one dense
        matrix if it has at most 512 numbers, which takes less time. skl2onnx converts pipelines
        with such models after `skrelu.onnx.register`.

        Parameters
        ----------
        path : str or path-like, default=None
            File to write to.

        dtype : {"float64", "float32"}, default="float64"
            Type of inputs, weights and outputs. With "float32" errors are 1e-7 to 1e-5 of the
            size of y, and more where features are far from 0 compared with their spread.

        opset : int, default=None
            Version of the operators, at least 14. None takes 17.

        Returns
        -------
        onnx.ModelProto
            Its input "X" has shape (n_samples, n_columns): the features or, with categories or
            missing values, what `encode` returns. A regressor has the output "variable" of shape
            (n_samples, n_outputs). A classifier has "label" of shape (n_samples,), which are 64-bit
            integers or strings, and "probabilities" of shape (n_samples, n_classes), in the order
            of ``classes_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ImportError
            If the package onnx is missing: ``pip install "skrelu[onnx]"``.
        ValueError
            If ``dtype`` or ``opset`` is invalid, "float32" does not hold a weight, or classes are
            neither integers nor strings.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> model.to_onnx("model.onnx")  # doctest: +SKIP
        """
        check_is_fitted(self, "intercept_")
        model = onnx_model(self._stored().graph(), dtype=dtype, opset=opset, **self._link())
        if path is not None:
            write(model, path)
        return model

    @of_no_arrays
    def to_sklearn(self):
        """Return the model as a fitted multilayer perceptron of scikit-learn.

        Its layers are those of ``to_torch(structure="dense")``, except that two neurons a feature
        or output stand between two Linear layers that follow each other.

        Returns
        -------
        MLPRegressor or MLPClassifier
            With ``activation="relu"``, of `sklearn.neural_network`. Inputs are the features or,
            with categories or missing values, what `encode` returns. With a log link its loss is
            "poisson", and the last activation an exponential. A single output has shape
            (n_samples,). `partial_fit` trains it further; its other parameters are the defaults.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> bool(np.allclose(model.to_sklearn().predict(X), model.predict(X)))
        True
        """
        check_is_fitted(self, "intercept_")
        names = getattr(self, "feature_names_in_", None) if columns_of(self).plain else None
        return mlp_of(self._stored().layers(), names=names, **self._link())

    @of_no_arrays
    def to_c(self, path=None, *, name="predict"):
        """Return the model as C source, and write it to a file if a path is given.

        Parameters
        ----------
        path : str or path-like, default=None
            File to write to.

        name : str, default="predict"
            Name of the function.

        Returns
        -------
        str
            One unit of C99 with the function ``void name(const double *x, double *y)``, for one
            row. x has the features or, with categories or missing values, what `encode` returns. y
            has all outputs; for a classifier the probabilities, in the order of ``classes_``. It
            needs no library, except the exponential of ``math.h`` for probabilities and log links.
            Signals of all neurons are on the stack, with 8 bytes each.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        ValueError
            If ``name`` is not an identifier.

        Examples
        --------
        >>> import numpy as np
        >>> from skrelu import ExponentialReLURegressor
        >>> X = np.random.default_rng(0).uniform(size=(200, 2))
        >>> model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> "void product(const double *x, double *y);" in model.to_c(name="product")
        True
        """
        check_is_fitted(self, "intercept_")
        inputs = "columns that `encode` returns"
        if columns_of(self).plain:
            names = getattr(self, "feature_names_in_", None)
            inputs = "features" if names is None else f"features {', '.join(names)}"
        source = c_source(self._stored().graph(), name=name, inputs=inputs, **self._link())
        if path is not None:
            Path(path).write_bytes(source.encode("ascii"))
        return source

    def _link(self) -> dict:
        """Return what turns outputs of the network into predictions."""
        return {"log_link": self._log_link, "classes": getattr(self, "classes_", None)}
