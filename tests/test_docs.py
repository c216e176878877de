"""Scripts that the documentation shows do run."""

import doctest
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("page", "n_lines"),
    [
        ("columns", 17),
        pytest.param("uncertainty", 20, marks=pytest.mark.slow),
        pytest.param("compression", 14, marks=pytest.mark.slow),
        pytest.param("optimization", 31, marks=pytest.mark.slow),
    ],
)
def test_the_examples_of_the_guide_are_right(page, n_lines):
    guide = DOCS / "user_guide" / f"{page}.rst"
    tested = doctest.testfile(str(guide), module_relative=False)
    assert tested.attempted == n_lines
    assert not tested.failed


@pytest.mark.slow
def test_the_examples_of_the_guide_to_exports_are_right(tmp_path, monkeypatch):
    for package in ("onnx", "onnxruntime", "skl2onnx", "skops"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    guide = DOCS / "user_guide" / "export.rst"
    tested = doctest.testfile(str(guide), module_relative=False)
    assert tested.attempted > 40
    assert not tested.failed
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.c", "model.skops"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export.py", "mixed_columns.py"])
def test_shown_scripts_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(DOCS / name))
    if name == "mixed_columns.py":
        assert "R^2 = 0.9" in capsys.readouterr().out
        unseen = names["table"].iloc[:2].assign(kind=["new", "a"]).astype({"kind": "category"})
        assert names["model"].predict(unseen).shape == (2,)
