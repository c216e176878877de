"""Settings for all tests."""

import os

import pytest

# Before torch and BLAS are loaded: the networks of the tests are too small for threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def few_waves():
    """Make default fits of tables smaller."""
    from tests import paths

    with paths.few_waves():
        yield
