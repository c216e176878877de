"""A graph of neurons as C source."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from skrelu._export.graph import Array, ReLUGraph

# Keywords, and names that the source has.
RESERVED = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while main exp fmin fmax intercept biases weights weights_reads weights_start output
output_reads output_start N_INPUTS N_NEURONS N_OUTPUTS DBL_MAX
"""
# Most characters of a line.
WIDTH = 96

HEAD = """\
/* A ReLU network.

   void {name}(const double *x, double *y)

   x[{n_inputs}]  {inputs}
   y[{n_values}]  {values}

   Compile with: cc -std=c99 -O2 -c FILE.c{library}
   Written by skrelu. Threads may call the function at the same time. */
{includes}
enum {{ N_INPUTS = {n_inputs}, N_NEURONS = {n_neurons}, N_OUTPUTS = {n_outputs} }};

/* Row i of a matrix has weights start[i] to start[i + 1] of signals reads[k]: x, then neurons. */
{arrays}
void {name}(const double *x, double *y);

void {name}(const double *x, double *y)
{{
    double signals[N_INPUTS + N_NEURONS];
    double sum;
    int i, k;

    for (i = 0; i < N_INPUTS; i++)
        signals[i] = x[i];
{hidden}    for (i = 0; i < N_OUTPUTS; i++) {{
        sum = intercept[i];
        for (k = output_start[i]; k < output_start[i + 1]; k++)
            sum += output[k] * signals[output_reads[k]];
        y[i] = sum;
    }}
{link}}}
"""

HIDDEN = """\
    for (i = 0; i < N_NEURONS; i++) {
        sum = biases[i];
        for (k = weights_start[i]; k < weights_start[i + 1]; k++)
            sum += weights[k] * signals[weights_reads[k]];
        signals[N_INPUTS + i] = sum < 0 ? 0 : sum;
    }
"""

LOG_LINK = """\
    for (i = 0; i < N_OUTPUTS; i++)
        y[i] = fmin(exp(y[i]), DBL_MAX);
"""

TWO_CLASSES = """\
    sum = y[0];
    y[0] = 1 / (1 + exp(sum));
    y[1] = 1 / (1 + exp(-sum));
"""

CLASSES = """\
    sum = y[0];
    for (i = 1; i < N_OUTPUTS; i++)
        sum = fmax(sum, y[i]);
    for (i = 0; i < N_OUTPUTS; i++)
        y[i] = exp(y[i] - sum);
    for (i = 0, sum = 0; i < N_OUTPUTS; i++)
        sum += y[i];
    for (i = 0; i < N_OUTPUTS; i++)
        y[i] /= sum;
"""


def c_source(
    graph: ReLUGraph,
    *,
    name: str = "predict",
    log_link: bool = False,
    classes: NDArray | None = None,
    inputs: str = "inputs",
) -> str:
    """Return one C99 translation unit with a function ``void name(const double *x, double *y)``.

    Parameters
    ----------
    graph : ReLUGraph
    name : str, default="predict"
    log_link : bool, default=False
        Whether predictions are exponentials of the outputs.
    classes : ndarray of shape (n_classes,), optional
        Labels. Outputs are then logits: those of the second class if there are two.
    inputs : str, default="inputs"
        What the comment says about x.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in RESERVED.split():
        raise ValueError(f"name={name!r}, but it must be an identifier of C that is not in use.")
    values, link = "predictions", LOG_LINK if log_link else ""
    if classes is not None:
        values = f"probabilities of the classes {_comment(classes)}"
        link = TWO_CLASSES if len(classes) == 2 else CLASSES
    includes = "\n#include <float.h>\n#include <math.h>\n" if log_link else "\n#include <math.h>\n"
    arrays = [*_rows("output", graph.output), _array("double", "intercept", graph.intercept)]
    if graph.n_neurons:
        arrays += [*_rows("weights", graph.weights), _array("double", "biases", graph.biases)]
    return HEAD.format(
        name=name,
        n_inputs=graph.n_inputs,
        n_neurons=graph.n_neurons,
        n_outputs=graph.n_outputs,
        n_values=graph.n_outputs if classes is None else len(classes),
        inputs=_escaped(inputs),
        values=values,
        library=", and link with -lm" if link else "",
        includes=includes if link else "",
        arrays="\n".join(arrays),
        hidden=HIDDEN if graph.n_neurons else "",
        link=link,
    )


def _rows(name: str, rows) -> list[str]:
    """Return the arrays of a sparse matrix."""
    return [
        _array("double", name, rows.data),
        _array("int", f"{name}_reads", rows.indices),
        _array("int", f"{name}_start", rows.indptr),
    ]


def _array(kind: str, name: str, values: Array | NDArray[np.integer]) -> str:
    """Return the definition of an array; C has none without elements."""
    numbers = map(repr, values.tolist() or [0])
    return f"static const {kind} {name}[] = {{\n{_wrapped(numbers)}\n}};"


def _wrapped(numbers: Iterable[str]) -> str:
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([*lines, line])


def _comment(classes: NDArray) -> str:
    return _escaped(", ".join(map(repr, classes.tolist())))


def _escaped(text: str) -> str:
    """Return text that does not end a comment, is ASCII and has no trigraphs."""
    text = text.encode("ascii", "backslashreplace").decode()
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
