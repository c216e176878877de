"""Settings for all tests."""

import os

import pytest

# Before torch and BLAS are loaded: the networks of the tests are too small for threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Each parameter here is another check or another example.
ALL_DIFFER = ("test_docs.py", "test_scikit_learn.py")


def pytest_addoption(parser):
    parser.addoption(
        "--one-of-each", action="store_true", help="only the first parameters of each slow test"
    )


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(config, items):
    if not config.getoption("one_of_each"):
        return
    kept = {}
    for item in items:
        repeats = item.get_closest_marker("slow") and item.path.name not in ALL_DIFFER
        kept.setdefault(item.nodeid.split("[")[0] if repeats else item.nodeid, item)
    left_out = set(items) - set(kept.values())
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = kept.values()


@pytest.fixture
def few_waves():
    """Make default fits of tables smaller."""
    from tests import paths

    with paths.few_waves():
        yield
