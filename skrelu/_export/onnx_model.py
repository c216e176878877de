"""A graph of neurons as an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrelu._export.blocks import Block, BlockLayers, block_layers
from skrelu._export.graph import ReLUGraph

DTYPES = ("float64", "float32")
# Operators on doubles and with a bias that is spread over columns are of this version or later.
LEAST_OPSET, OPSET = 14, 17
# A layer of at most so many numbers is one matrix: one small product takes less time than several.
# For a composed network of 48 layers, a call for one row takes less than half of the time.
FILL = 512


def onnx_model(
    graph: ReLUGraph,
    *,
    log_link: bool = False,
    classes: NDArray | None = None,
    dtype: str = "float64",
    opset: int | None = None,
) -> Any:
    """Return an `onnx.ModelProto`.

    Parameters
    ----------
    graph : ReLUGraph
    log_link : bool, default=False
        Whether predictions are exponentials of the outputs.
    classes : ndarray of shape (n_classes,), optional
        Labels. Outputs are then logits: those of the second class if there are two.
    dtype : {"float64", "float32"}, default="float64"
    opset : int, optional
        Version of the operators, 14 or more.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}, but it must be 'float64' or 'float32'.")
    onnx = import_onnx()
    opset = OPSET if opset is None else opset
    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise ValueError(f"opset={opset}, but it must be in [{LEAST_OPSET}, {newest}].")
    writer = _Writer(onnx, np.dtype(dtype))
    raw = writer.network(block_layers(graph, FILL), "X")  # (n_outputs, n_samples)
    kind = onnx.TensorProto.DOUBLE if dtype == "float64" else onnx.TensorProto.FLOAT
    value_info = onnx.helper.make_tensor_value_info
    if classes is None:
        writer.regression(raw, log_link)
        outputs = [value_info("variable", kind, [None, graph.n_outputs])]
    else:
        labels = labels_of(classes)
        writer.classification(raw, labels)
        of_labels = onnx.TensorProto.INT64 if labels.dtype.kind == "i" else onnx.TensorProto.STRING
        outputs = [
            value_info("label", of_labels, [None]),
            value_info("probabilities", kind, [None, len(labels)]),
        ]
    inputs = [value_info("X", kind, [None, graph.n_inputs])]
    whole = onnx.helper.make_graph(writer.nodes, "skrelu", inputs, outputs, writer.initializers)
    version = onnx.helper.make_opsetid("", opset)
    model = onnx.helper.make_model(
        whole,
        opset_imports=[version],
        producer_name="skrelu",
        ir_version=onnx.helper.find_min_ir_version_for([version]),
    )
    onnx.checker.check_model(model)
    return model


def write(model: Any, path: str | PathLike) -> None:
    """Write an ONNX model to a file."""
    import_onnx().save_model(model, path)


def import_onnx() -> ModuleType:
    """Return the package onnx."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'Models in ONNX need the package onnx: pip install "skrelu[onnx]".'
        ) from error
    return onnx


def labels_of(classes: NDArray) -> NDArray:
    """Return labels as int64 or strings, which are those that ONNX has."""
    if classes.dtype.kind in "biuf":
        labels = classes.astype(np.int64)
        if (labels == classes).all():
            return labels
    elif all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ValueError(
        f"Classes are {classes.tolist()}, but labels in ONNX are 64-bit integers or strings."
    )


class _Writer:
    """Collects nodes and initializers. Signals have shape (n_signals, n_samples)."""

    def __init__(self, onnx: ModuleType, dtype: np.dtype) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list = []
        self.initializers: list = []

    def node(self, operator: str, *inputs: str, to: str | None = None, **attributes) -> str:
        """Add an operator and return the name of its output."""
        name = to or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray) -> str:
        """Add an array and return its name; floats get the dtype of the model."""
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                cast = values.astype(self.dtype)
            if not np.isfinite(cast).all():
                size = np.abs(values).max()
                raise ValueError(
                    f"The network has a weight of {size:.1e}, which {self.dtype} does not hold: "
                    "use dtype='float64'."
                )
            values = cast
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def network(self, layers: BlockLayers, x: str) -> str:
        """Add all layers and return the name of the outputs, (n_outputs, n_samples)."""
        signals, n_signals = self.node("Transpose", x, perm=[1, 0]), layers.n_inputs
        for layer in layers.layers:
            new = self._new(layer.blocks, layer.bias, signals, n_signals)
            if layer is layers.layers[-1]:
                return self._gather(new, layers.order, len(layer.bias))
            new = self.node("Relu", new)
            if len(layer.kept):
                kept = self._gather(signals, layer.kept, n_signals)
                new = self.node("Concat", kept, new, axis=0)
            signals, n_signals = new, len(layer.kept) + len(layer.bias)
        raise AssertionError("a network has a last layer")

    def _new(self, blocks: Sequence[Block], bias: NDArray, signals: str, n_signals: int) -> str:
        """Add the products of one layer, before ReLU."""
        shift = self.constant(bias[:, None])
        if len(blocks) == 1 and len(blocks[0].matrices) == 1:
            read = self._gather(signals, blocks[0].reads[0], n_signals)
            return self.node("Gemm", self.constant(blocks[0].matrices[0]), read, shift)
        parts = []
        for block in blocks:
            n_matrices, n_rows, _ = block.matrices.shape
            if n_matrices == 1:
                read = self._gather(signals, block.reads[0], n_signals)
                parts.append(self.node("MatMul", self.constant(block.matrices[0]), read))
                continue
            read = self._gather(signals, block.reads, n_signals)
            product = self.node("MatMul", self.constant(block.matrices), read)
            shape = self.constant(np.array([n_matrices * n_rows, -1]))
            parts.append(self.node("Reshape", product, shape))
        whole = self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        return self.node("Add", whole, shift)

    def _gather(self, signals: str, reads: NDArray, n_signals: int) -> str:
        """Add a choice of signals, unless it is all of them."""
        if np.array_equal(reads, np.arange(n_signals)):
            return signals
        return self.node("Gather", signals, self.constant(reads.astype(np.int32)), axis=0)

    def regression(self, raw: str, log_link: bool) -> None:
        """Add the output ``variable``, (n_samples, n_outputs)."""
        if log_link:
            largest = np.array(np.finfo(self.dtype).max)
            raw = self.node("Min", self.node("Exp", raw), self.constant(largest))
        self.node("Transpose", raw, to="variable", perm=[1, 0])

    def classification(self, raw: str, labels: NDArray) -> None:
        """Add ``label``, (n_samples,), and ``probabilities``, (n_samples, n_classes)."""
        if len(labels) == 2:
            logits = self.node("Concat", self.node("Neg", raw), raw, axis=0)
        else:
            logits = raw
        by_rows = self.node("Transpose", logits, perm=[1, 0])
        operator, attributes = ("Sigmoid", {}) if len(labels) == 2 else ("Softmax", {"axis": 1})
        self.node(operator, by_rows, to="probabilities", **attributes)
        # The first of equal logits, as in `predict`.
        best = self.node("ArgMax", by_rows, axis=1, keepdims=0)
        self.node("Gather", self.constant(labels), best, to="label")
