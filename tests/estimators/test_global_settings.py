"""What users set for all of torch and numpy changes no result, and is as it was afterwards."""

import warnings
from contextlib import ExitStack, contextmanager
from functools import cache

import numpy as np
import pytest
import torch

from tests.paths import PATHS

# Paths of different code, for each setting; other paths have all settings at once.
DIFFERENT = ["composed", "one level, refined", "adam", "classes", "stream", "to_torch", "layers"]


@contextmanager
def set_back(setter, before):
    """Call a setter with a value at the end."""
    try:
        yield
    finally:
        setter(before)


@contextmanager
def default_dtype(dtype):
    with set_back(torch.set_default_dtype, torch.get_default_dtype()):
        torch.set_default_dtype(dtype)
        yield


@contextmanager
def default_device(device):
    with set_back(torch.set_default_device, None):
        torch.set_default_device(device)
        yield


@contextmanager
def deterministic():
    with set_back(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled()):
        torch.use_deterministic_algorithms(True)
        yield


@contextmanager
def n_threads(n):
    with set_back(torch.set_num_threads, torch.get_num_threads()):
        torch.set_num_threads(n)
        yield


@contextmanager
def precision_of_products(precision):
    before = torch.get_float32_matmul_precision()
    with set_back(torch.set_float32_matmul_precision, before):
        torch.set_float32_matmul_precision(precision)
        yield


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SETTINGS = {
    "float16 by default": lambda: default_dtype(torch.float16),
    "float32 by default": lambda: default_dtype(torch.float32),
    "float64 by default": lambda: default_dtype(torch.float64),
    "another device by default": lambda: default_device("meta"),
    "a context of another device": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "detected anomalies": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "deterministic algorithms": deterministic,
    "one thread": lambda: n_threads(1),
    "two threads": lambda: n_threads(2),
    "products of medium precision": lambda: precision_of_products("medium"),
    "errors of numpy": lambda: np.errstate(all="raise"),
    "warnings as errors": warnings_as_errors,
}


@contextmanager
def everything():
    """Set all that goes together."""
    names = ["float16 by default", "another device by default", "inference mode", "autocast"]
    names += ["products of medium precision", "errors of numpy", "warnings as errors"]
    with ExitStack() as stack:
        for name in [*names, "two threads", "deterministic algorithms"]:
            stack.enter_context(SETTINGS[name]())
        yield


def state():
    """Everything that is global."""
    kind, keys, *position = np.random.get_state()  # noqa: NPY002
    return [
        torch.get_rng_state().tolist(),
        [kind, keys.tolist(), *position],
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_float32_matmul_precision(),
        np.geterr(),
        np.get_printoptions(),
        list(warnings.filters),
    ]


# Layers are modules of a user's network: they obey what is set for all modules.
MODULES = {"layers": {"inference mode", "autocast", "products of medium precision", "everything"}}


@cache
def expected(name):
    return PATHS[name]()


def paths_and_settings():
    """Return the product of both, of which most is long."""
    return [
        pytest.param(
            name,
            setting,
            marks=[]
            if name in DIFFERENT or (setting == "everything" and name != "noisy")
            else pytest.mark.long,
        )
        for name in PATHS
        for setting in [*SETTINGS, "everything"]
        if setting not in MODULES.get(name, ())
    ]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("name", "setting"), paths_and_settings())
def test_settings_change_nothing_and_are_left_alone(name, setting):
    plain = expected(name)
    with {**SETTINGS, "everything": everything}[setting]():
        before = state()
        found = PATHS[name]()
        after = state()
    assert after == before
    for one, other in zip(plain, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
@pytest.mark.slow
def test_precision_of_products_is_restored_however_it_was_set():
    matmul = torch.backends.mkldnn.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch has one way to set it")
    with set_back(lambda value: setattr(matmul, "fp32_precision", value), matmul.fp32_precision):
        matmul.fp32_precision = "bf16"
        found = PATHS["noisy"]()
        assert matmul.fp32_precision == "bf16"
    for one, other in zip(expected("noisy"), found, strict=True):
        np.testing.assert_array_equal(one, other)
