"""The border between numpy and torch: devices, precision, global settings, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

# Below this many multiplications an iteration one thread is the rule: more gain little on
# an idle machine, cost tens of times as much on a busy one, and change the last digits. Ordinary
# tables stay below, so their fits do not depend on the number of threads or jobs.
PARALLEL_WORK = 1.5e10
BACKENDS = (torch.backends.mkldnn, torch.backends.cuda)  # with a precision of products each


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a ``device`` parameter names.

    Raises
    ------
    ValueError
        If it is not a device of this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a device; use 'cpu', 'cuda', 'cuda:1', 'mps' or 'auto'."
        ) from error
    available = {
        "cpu": found.index in (None, 0),
        "cuda": torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and found.index in (None, 0),
    }
    if not available.get(found.type, False):
        here = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            here.append("mps")
        raise ValueError(
            f"device={device!r} is not available to torch on this machine, which has "
            f"{', '.join(here)}; use one of these or device='auto'."
        )
    return found


def working_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on devices that have nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def to_tensor(array: NDArray, device: torch.device) -> Tensor:
    """Copy an array to a device in the device's working precision."""
    return torch.tensor(np.ascontiguousarray(array), dtype=working_dtype(device), device=device)


def to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    """Copy a tensor into a float64 array."""
    return tensor.detach().cpu().to(torch.float64).numpy().copy()


def make_generator(random_state: np.random.RandomState) -> torch.Generator:
    """Return a CPU generator seeded from a random state."""
    generator = torch.Generator()
    generator.manual_seed(int(random_state.randint(np.iinfo(np.int32).max)))
    return generator


@contextmanager
def isolated() -> Iterator[None]:
    """Compute the same bits whatever the caller has set globally; also a decorator.

    Gradients are off, tensors are no inference tensors, without a device they are on the CPU,
    nothing is cast automatically, and numpy neither warns nor raises where numbers overflow. All
    of these are settings of this thread. What is global to the process is not touched, but for
    the precision of products of float32: dtypes are given wherever tensors are made.
    """
    with ExitStack() as stack:
        stack.enter_context(_full_products())
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


class _Shared:
    """A setting of the whole process that holds while anything in it asks for that.

    The first to enter reads and sets what is global, the last to leave sets it back: fits that
    run in several threads would otherwise take each other's settings for the user's.

    Parameters
    ----------
    enter : callable
        Changes the setting, and leaves with the stack that it is given how to undo that.
    """

    def __init__(self, enter: Callable[[ExitStack], None]) -> None:
        self.enter, self.lock, self.n_inside = enter, Lock(), 0
        self.before = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self.n_inside == 0:
                self.enter(self.before)
            self.n_inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.n_inside -= 1
                if self.n_inside == 0:
                    self.before.close()


@_Shared
def _one_thread(before: ExitStack) -> None:
    # Also sets the number of threads of the MKL inside torch, which is invisible.
    before.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(1)
    before.enter_context(_controller().select(user_api="blas").limit(limits=1))


@_Shared
def _full_products(before: ExitStack) -> None:
    """Multiply float32 as such, whatever `torch.set_float32_matmul_precision` says."""
    products: list[Any] = [getattr(backend, "matmul", None) for backend in BACKENDS]
    settings = [part for part in products if hasattr(part, "fp32_precision")]
    for part in settings:
        if part.fp32_precision not in ("none", "ieee"):
            before.callback(setattr, part, "fp32_precision", part.fp32_precision)
            part.fp32_precision = "ieee"
    if not settings and torch.get_float32_matmul_precision() != "highest":  # before torch 2.9
        precision = torch.get_float32_matmul_precision()
        before.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")


@contextmanager
def threads(work: float) -> Iterator[None]:
    """Limit the threads of torch to one while an iteration's ``work`` is small.

    Parameters
    ----------
    work : float
        Multiplications an iteration.
    """
    with ExitStack() as stack:
        if work < PARALLEL_WORK:
            stack.enter_context(_one_thread())
            # OpenMP has a number of its own in each thread
            stack.enter_context(_controller().select(user_api="openmp").limit(limits=1))
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the thread pools takes milliseconds
