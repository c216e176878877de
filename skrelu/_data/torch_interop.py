"""Between numpy and torch: devices, precision, global settings and threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial, wraps
from threading import Lock, local
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

# Use one thread below this many multiplications an iteration. More threads gain little on an idle
# machine, take tens of times as long on a busy one, and change the last digits. Ordinary tables
# stay below, so their fits do not depend on the number of threads or jobs.
PARALLEL_WORK = 1.5e10
F = TypeVar("F", bound=Callable[..., Any])
Change = tuple[Callable[[Any], Any], Any, Any]  # setter, value to restore, value to set
BACKENDS = (torch.backends.mkldnn, torch.backends.cuda)  # each has its precision of products


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a ``device`` parameter names.

    Raises
    ------
    ValueError
        If this machine has no such device.
    """
    here = _accelerators()
    if device == "auto":
        return torch.device(here[0].type if here else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a device; use 'cpu', 'cuda', 'cuda:1', 'mps' or 'auto'."
        ) from error
    of_kind = [torch.device(one.type) for one in here]
    if found not in (torch.device("cpu"), torch.device("cpu", 0), *here, *of_kind):
        raise ValueError(
            f"device={device!r} is not available to torch on this machine, which has "
            f"{', '.join(map(str, [torch.device('cpu'), *here]))}; use one of these or "
            "device='auto'."
        )
    return found


def _accelerators() -> list[torch.device]:
    """Return the accelerators of this machine."""
    if not torch.accelerator.is_available():
        return []
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return [torch.device(kind.type, i) for i in range(torch.accelerator.device_count())]


def working_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on devices without float64."""
    if device.type == "xpu":  # some compute in float64, some do not
        return torch.float64 if torch.xpu.get_device_properties(device).has_fp64 else torch.float32
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


class isolated:
    """Make results independent of the caller's global settings: a context and a decorator.

    Inside, gradients, inference mode and autocast are off, the default device is the CPU, and numpy
    neither warns nor raises on overflow. All of these are settings of this thread. Settings of the
    whole process stay as they are, except the precision of float32 products. The default dtype
    need not be changed, because every tensor is made with a dtype.

    An interrupt may come at any moment, even while settings are changed or restored. So their
    values are saved before the first change. If an exception leaves a decorated function, they are
    restored once more, with those of `threads` inside. Contexts of contextlib cannot do that.
    """

    def __enter__(self) -> None:
        self.settings = _Settings()
        try:
            self.settings.isolate()
        except BaseException:
            self.settings.restore()
            raise

    def __exit__(self, *_) -> None:
        self.settings.restore()

    def __call__(self, function: F) -> F:
        @wraps(function)
        def isolated_function(*args, **kwargs):
            settings = _Settings()
            try:
                try:
                    settings.isolate()
                    return function(*args, **kwargs)
                finally:
                    settings.restore()
            except BaseException:
                settings.restore()
                raise

        return cast(F, isolated_function)


class _Settings:
    """The settings of this thread, which can be restored more than once."""

    def __init__(self) -> None:
        self.errors, self.gradients = np.geterr(), torch.is_grad_enabled()
        self.others = ExitStack()
        self.n_threads_held = len(_held.limits)

    def isolate(self) -> None:
        _full_products.take(self)
        np.seterr(all="ignore")
        if torch.is_inference_mode_enabled():
            self.others.enter_context(torch.inference_mode(False))
        # Not get_default_device, which in torch 2.6 fails once a default was set and unset.
        if torch.empty(0).device.type != "cpu":
            self.others.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                self.others.enter_context(torch.autocast(kind, enabled=False))
        torch.set_grad_enabled(False)

    def restore(self) -> None:
        for limit in _held.limits[self.n_threads_held :]:
            limit.release()
        self.others.close()
        torch.set_grad_enabled(self.gradients)
        np.seterr(**self.errors)
        _full_products.release(self)


class _Shared:
    """A setting of the whole process, changed while it has at least one holder.

    The first holder saves and changes the setting, the last one restores it. Otherwise fits in
    several threads would take each other's settings for the user's.

    Parameters
    ----------
    changes : callable
        Returns the changes: setters, the values to restore and the values to set.
    """

    def __init__(self, changes: Callable[[], list[Change]]) -> None:
        self.changes, self.lock = changes, Lock()
        self.holders: set[object] = set()
        self.made: list[Change] = []

    def take(self, holder: object) -> None:
        with self.lock:
            if not self.holders:
                self.made = self.changes()
            # Add the holder before the change: if it is interrupted here, it still releases.
            self.holders.add(holder)
            if len(self.holders) == 1:
                for setter, _, wanted in self.made:
                    setter(wanted)

    def release(self, holder: object) -> None:
        with self.lock:
            if self.holders == {holder}:
                for setter, before, _ in self.made:
                    setter(before)
            self.holders.discard(holder)


@_Shared
def _one_thread() -> list[Change]:
    # `torch.set_num_threads` also limits the MKL inside torch, which threadpoolctl cannot see.
    return [(torch.set_num_threads, torch.get_num_threads(), 1), *_pools("blas")]


@_Shared
def _full_products() -> list[Change]:
    """Multiply float32 in full precision, whatever `torch.set_float32_matmul_precision` says."""
    products: list[Any] = [getattr(backend, "matmul", None) for backend in BACKENDS]
    settings = [part for part in products if hasattr(part, "fp32_precision")]
    if not settings:  # before torch 2.9
        precision = torch.get_float32_matmul_precision()
        return [(torch.set_float32_matmul_precision, precision, "highest")]
    return [
        (partial(setattr, part, "fp32_precision"), part.fp32_precision, "ieee")
        for part in settings
        if part.fp32_precision not in ("none", "ieee")
    ]


class threads:
    """Limit torch to one thread if an iteration takes little work: a context.

    Parameters
    ----------
    work : float
        Number of multiplications an iteration, compared with `PARALLEL_WORK`.
    """

    def __init__(self, work: float) -> None:
        self.small = work < PARALLEL_WORK
        self.made: list[Change] = []

    def __enter__(self) -> None:
        if not self.small:
            return
        _held.limits.append(self)  # from here on `isolated` releases it if it is interrupted
        self.made = _pools("openmp")  # OpenMP has a number for each thread
        _one_thread.take(self)
        for setter, _, wanted in self.made:
            setter(wanted)

    def __exit__(self, *_) -> None:
        if self.small:
            self.release()

    def release(self) -> None:
        """Restore the numbers of threads."""
        for setter, before, _ in self.made:
            setter(before)
        _one_thread.release(self)
        if self in _held.limits:
            _held.limits.remove(self)


class _Held(local):
    """The limits in force, for each thread."""

    def __init__(self) -> None:
        self.limits: list[threads] = []


_held = _Held()


def _pools(user_api: str) -> list[Change]:
    """Return the changes that limit the thread pools of a library to one thread."""
    pools = [pool for pool in _controller().lib_controllers if pool.user_api == user_api]
    return [(pool.set_num_threads, pool.num_threads, 1) for pool in pools]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # cached, because a search for pools takes milliseconds
