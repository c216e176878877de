"""Settings for all tests."""

import os

# Before torch and BLAS are loaded: the networks of the tests are too small for threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
