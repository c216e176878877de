"""Scripts that the documentation shows do run."""

import doctest
import inspect
import re
import runpy
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import skrelu

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = "https://skrelu.github.io/skrelu/"
REPOSITORY = "https://github.com/skrelu/skrelu/blob/main/"
RAW = "https://raw.githubusercontent.com/skrelu/skrelu/main/"
# Pages that sphinx-gallery writes.
GALLERY = SITE + "auto_examples/index.html"


@pytest.mark.parametrize(
    ("page", "n_lines"),
    [
        ("columns", 23),
        pytest.param("using", 26, marks=pytest.mark.slow),
        pytest.param("uncertainty", 20, marks=pytest.mark.slow),
        pytest.param("compression", 16, marks=pytest.mark.slow),
        pytest.param("optimization", 31, marks=pytest.mark.slow),
        pytest.param("partitions", 10, marks=pytest.mark.slow),
        pytest.param("deployment", 13, marks=pytest.mark.slow),
        pytest.param("../coming_from", 16, marks=pytest.mark.slow),
    ],
)
def test_the_examples_of_the_guide_are_right(page, n_lines):
    guide = DOCS / "user_guide" / f"{page}.rst"
    tested = doctest.testfile(str(guide), module_relative=False)
    assert tested.attempted == n_lines
    assert not tested.failed


def examples_of_estimators():
    """Yield the examples of classes, and of methods as slow, which pytest does not find itself.

    These classes say that they are of another module than they are.
    """
    for cls in map(partial(getattr, skrelu), skrelu.__all__):
        if not isinstance(cls, type):
            continue
        finder = doctest.DocTestFinder(recurse=False)
        [examples] = finder.find(cls, globs={})
        yield examples
        for name, member in vars(cls).items():
            if inspect.isfunction(member) and ">>>" in (member.__doc__ or ""):
                [examples] = finder.find(member, f"{cls.__name__}.{name}", globs={})
                yield pytest.param(examples, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "examples", list(examples_of_estimators()), ids=lambda examples: examples.name
)
def test_the_examples_of_estimators_are_right(examples):
    tested = doctest.DocTestRunner().run(examples)
    assert tested.attempted > 2
    assert not tested.failed


@pytest.mark.slow
def test_scikit_learn_is_imported_only_for_estimators():
    loaded = "import sys, skrelu.nn; print(sorted({'scipy', 'sklearn'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_all_public_names_are_there():
    assert {*skrelu.__all__, "inspection", "nn", "onnx", "optimize", "regions"} <= {*dir(skrelu)}
    assert all(getattr(skrelu, name) is not None for name in dir(skrelu))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skrelu.nothing  # noqa: B018


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


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/user_guide/deployment.rst"]
)
def test_links_to_the_project_name_what_exists(name):
    text = (ROOT / name).read_text("utf-8")
    for link in re.findall(r"https://[^\s)>`]*skrelu/[^\s)>`]*", text):
        link = link.partition("#")[0]
        if link in (SITE, GALLERY) or link.endswith("/security/advisories/new"):
            continue
        if link.startswith(SITE):
            assert (DOCS / link[len(SITE) :]).with_suffix(".rst").exists(), link
        else:
            start = REPOSITORY if link.startswith(REPOSITORY) else RAW
            assert link.startswith(start), link
            assert (ROOT / link[len(start) :]).exists(), link
    # Relative links lead nowhere on a package index.
    assert name.endswith(".rst") or not re.findall(r"\]\((?!https://|#)[^)]*\)", text)


def test_claims_name_commands_and_files_that_exist():
    text = (DOCS / "claims.rst").read_text("utf-8")
    commands = re.findall(r"``python -m benchmarks\.(\w+)(?: --only (\w+))?``", text)
    assert len(commands) > 15
    for module, experiment in commands:
        source = ROOT / "benchmarks" / f"{module}.py"
        assert experiment in source.read_text("utf-8"), (module, experiment)
    for kept in re.findall(r"``((?:tables|images)/[^`]*)``", text):
        assert (DOCS / kept).exists(), kept


def test_oldest_versions_are_those_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lines = (ROOT / "constraints-oldest.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    for requirement in map(Requirement, declared):
        version = Version(pinned[requirement.name])
        [bound] = requirement.specifier
        assert bound.operator == ">="
        # The first release of a series may be missing or withdrawn.
        assert version in requirement.specifier
        assert version.release[:2] == (*Version(bound.version).release, 0)[:2], requirement


PAGES = {
    "index.html": '<h1 id="top-of-it">A</h1><a href="sub/other.html#there">B</a><img src="a.png">',
    "sub/other.html": '<p id="there"><a href="../index.html">C</a> <a href="https://x.y">D</a>',
}


@pytest.mark.parametrize(
    ("page", "added", "problem"),
    [
        ("index.html", "", None),
        ("index.html", '<a href="sub/none.html">', "index.html: sub/none.html does not exist"),
        ("index.html", '<a href="#none">', "index.html: #none has no such anchor"),
        (
            "sub/other.html",
            '<a href="../index.html#there">',
            "sub/other.html: ../index.html#there has no such anchor",
        ),
        ("sub/other.html", '<img src="a.png">', "sub/other.html: a.png does not exist"),
    ],
)
def test_broken_links_of_built_pages_are_found(page, added, problem, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").touch()
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text + added * (name == page), "utf-8")
    problems_of_links = runpy.run_path(str(DOCS / "check_html.py"))["problems_of_links"]
    assert problems_of_links(tmp_path) == ([problem] if problem else [])
