"""Scripts that the documentation shows do run."""

import doctest
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_example_of_the_guide_to_tables_is_right():
    guide = DOCS / "user_guide" / "columns.rst"
    tested = doctest.testfile(str(guide), module_relative=False)
    assert tested.attempted == 10
    assert not tested.failed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export.py", "mixed_columns.py"])
def test_shown_scripts_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(DOCS / name))
    if name == "mixed_columns.py":
        assert "R^2 = 0.9" in capsys.readouterr().out
        unseen = names["table"].iloc[:2].assign(kind=["new", "a"]).astype({"kind": "category"})
        assert names["model"].predict(unseen).shape == (2,)
