"""C source compiles without warnings and is the same function."""

import shutil
import subprocess

import numpy as np
import pytest

from skrelu._export.c_source import c_source
from tests.export.cases import NAMES, assert_same, case, predictions

COMPILER = shutil.which("cc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2", "-ffp-contract=off"]
MAIN = """
#include <stdio.h>
void {name}(const double *x, double *y);
int main(void)
{{
    double x[{n_inputs}], y[{n_values}];
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        {name}(x, y);
        if (fwrite(y, sizeof y, 1, stdout) != 1)
            return 1;
    }}
    return 0;
}}
"""
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def run(folder, source, columns, n_values, name="predict"):
    """Compile and return what rows give."""
    (folder / "model.c").write_text(source)
    main = MAIN.format(name=name, n_inputs=columns.shape[1], n_values=n_values)
    (folder / "main.c").write_text(main)
    files = [folder / "model.c", folder / "main.c"]
    subprocess.run([COMPILER, *STRICT, *files, "-o", folder / "program", "-lm"], check=True)
    rows = np.ascontiguousarray(columns, dtype=float).tobytes()
    done = subprocess.run([folder / "program"], input=rows, capture_output=True, check=True)
    return np.frombuffer(done.stdout).reshape(len(columns), n_values)


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_c_predicts_what_models_predict(name, tmp_path):
    model, _, columns, _ = case(name)
    expected = predictions(name)
    assert_same(run(tmp_path, model.to_c(), columns, expected.shape[1]), expected, name=name)


@needs_compiler
def test_c_needs_no_library_unless_there_are_exponentials(tmp_path):
    for name, needed in (("one level", False), ("poisson", True), ("two classes", True)):
        source = case(name)[0].to_c(tmp_path / "model.c", name="f")
        assert (tmp_path / "model.c").read_bytes() == source.encode("ascii")
        includes = [line for line in source.splitlines() if line.startswith("#include")]
        assert bool(includes) == needed
        assert ("-lm" in source) == needed
        subprocess.run([COMPILER, *STRICT, "-c", "model.c"], cwd=tmp_path, check=True)
        symbols = shutil.which("nm")
        if symbols is not None:
            out = subprocess.run([symbols, "model.o"], cwd=tmp_path, capture_output=True, text=True)
            assert [row.split()[-1] for row in out.stdout.splitlines() if " T " in row] == ["f"]


@needs_compiler
def test_c_of_extreme_values_is_finite_where_predictions_are(tmp_path):
    model, _, columns, _ = case("linear outside, poisson")
    far = columns + 1e4 * np.sign(columns - 0.5)
    expected = model.predict(far)
    found = run(tmp_path, model.to_c(), far, 1)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    nan = run(tmp_path, case("one level")[0].to_c(), np.full((1, 3), np.nan), 1)
    assert np.isnan(nan).all()


def test_comments_say_what_inputs_and_outputs_are():
    assert "x[3]  features" in case("one level")[0].to_c()
    assert "columns that `encode` returns" in case("mixed")[0].to_c()
    source = case("named classes")[0].to_c()
    assert "probabilities of the classes 'a', 'b', '\\xfc'" in source
    graph = case("two classes")[0]._stored().graph()
    source = c_source(graph, classes=np.array(["*/ a", "/*"]), inputs="??/ ü")
    comment = source.split("*/")[0]
    assert "* / a" in comment
    assert "/ *" in comment
    assert "? ?/ \\xfc" in comment


@pytest.mark.parametrize("name", ["", "2x", "a-b", "while", "é", "exp", "weights", "f\n"])
def test_names_are_identifiers(name):
    with pytest.raises(ValueError, match="but it must be an identifier of C"):
        case("one level")[0].to_c(name=name)
