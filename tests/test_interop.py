"""The examples of the page on other packages are right, where these are installed."""

import doctest
import re
import warnings

import pytest

from tests.test_docs import DOCS

PAGE = DOCS / "user_guide" / "interop.rst"
PACKAGES = {  # of each section, by its title
    "Tensors and other arrays": [],
    "Optuna": ["optuna"],
    "MLflow": ["mlflow"],
    "SHAP": ["shap"],
    "Captum": ["captum"],
    "skrub": ["skrub"],
    "Model cards of skops": ["skops"],
}

NOISY = "MLflow", "SHAP"  # warn of what their own dependencies deprecate


def sections():
    """Return the text of each section with examples, by title."""
    parts = re.split(r"^(.+)\n-{3,}\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {title: text for title, text in texts.items() if ">>>" in text}


def test_each_section_with_examples_is_run():
    assert sections().keys() == PACKAGES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("title", PACKAGES)
def test_the_examples_are_right(title, tmp_path, monkeypatch):
    if title in NOISY:
        warnings.simplefilter("default")
    for package in PACKAGES[title]:
        pytest.importorskip(package)
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest(sections()[title], {}, title, str(PAGE), 0)
    tested = doctest.DocTestRunner().run(examples)
    assert tested.attempted > 5
    assert not tested.failed
