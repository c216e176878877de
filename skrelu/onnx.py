"""Converters for skl2onnx, so that it converts pipelines with models of skrelu."""

from __future__ import annotations

from typing import Any

from skrelu._estimators.array_api import in_numpy
from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor
from skrelu._estimators.tables import columns_of
from skrelu._export.onnx_model import labels_of

__all__ = ["register"]


def register() -> None:
    """Register the estimators with skl2onnx.

    Afterwards `skl2onnx.to_onnx` and `skl2onnx.convert_sklearn` convert them, alone or in
    pipelines, grid searches and other estimators that skl2onnx knows. The dtype is double if the
    inputs are, else single. Classifiers have the options "zipmap", "nocl" and
    "output_class_labels" of those of scikit-learn; with double inputs "zipmap" has to be False.
    Features have to be numbers without missing values. To register twice does no harm.

    Raises
    ------
    ImportError
        If the package skl2onnx is missing: ``pip install "skrelu[onnx]"``.

    Examples
    --------
    >>> import skrelu.onnx
    >>> skrelu.onnx.register()  # doctest: +SKIP
    >>> skl2onnx.to_onnx(pipeline, X[:1])  # doctest: +SKIP
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            'Converters of pipelines need the package skl2onnx: pip install "skrelu[onnx]".'
        ) from error
    update_registered_converter(
        ExponentialReLURegressor, "SkreluExponentialReLURegressor", _shapes_of_regressor, _convert
    )
    update_registered_converter(
        ExponentialReLUClassifier,
        "SkreluExponentialReLUClassifier",
        _shapes_of_classifier,
        _convert,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [True, False],
        },
    )


def _is_double(operator: Any) -> bool:
    from skl2onnx.common.data_types import DoubleTensorType

    return any(isinstance(variable.type, DoubleTensorType) for variable in operator.inputs)


def _shapes_of_regressor(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if _is_double(operator) else FloatTensorType
    n_samples = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = kind([n_samples, operator.raw_operator.n_outputs_])


def _shapes_of_classifier(operator: Any) -> None:
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )

    classes = in_numpy(operator.raw_operator).classes_
    kind = DoubleTensorType if _is_double(operator) else FloatTensorType
    of_labels = Int64TensorType if labels_of(classes).dtype.kind == "i" else StringTensorType
    n_samples = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = of_labels([n_samples])
    operator.outputs[1].type = kind([n_samples, len(classes)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of the model, with names of their own."""
    import onnx

    if not columns_of(operator.raw_operator).plain:
        raise ValueError(
            f"This {type(operator.raw_operator).__name__} has categories or missing values, which "
            "pipelines in ONNX do not encode: use its own to_onnx, which reads what `encode` "
            "returns."
        )
    dtype = "float64" if _is_double(operator) else "float32"
    graph = operator.raw_operator.to_onnx(dtype=dtype, opset=container.target_opset).graph
    kind = graph.input[0].type.tensor_type.elem_type
    names = dict(zip((o.name for o in graph.output), operator.output_full_names, strict=True))

    def name(old: str) -> str:
        return names.setdefault(old, scope.get_unique_variable_name(old))

    parts = [scope.get_unique_variable_name("cast") for _ in operator.inputs]
    for variable, part in zip(operator.inputs, parts, strict=True):
        container.add_node("Cast", variable.full_name, part, op_version=13, to=kind)
    container.add_node("Concat", parts, name("X"), op_version=13, axis=1)
    for node in graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.name = scope.get_unique_operator_name(node.op_type)
        del new.input[:], new.output[:]
        new.input.extend(map(name, node.input))
        new.output.extend(map(name, node.output))
        container.nodes.append(new)
    for initializer in graph.initializer:
        new = onnx.TensorProto()
        new.CopyFrom(initializer)
        new.name = name(initializer.name)
        container.initializers.append(new)
    container.node_domain_version_pair_sets.add(("", container.target_opset))
