"""Time and memory of the torch layers beside dense ReLU layers.

    python -m benchmarks.layers [--quick] [--only NAME ...] [--output FILE] [--device DEVICE]

A full run is kept in docs/tables/layers.txt. It uses the threads that torch is given:
OMP_NUM_THREADS=1 gives the figures of the documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._report import TABLES, main, table, verdict
from skrelu._networks.triangle import bounded_peaks, smooth_scales, triangle_sum
from skrelu.nn import ExponentialReLULayer
from skrelu.nn._wave_function import triangle_wave

WIDTHS, BATCHES, DEPTHS = (64, 256, 1024), (128, 1024), (4, 8)
# Hidden matrices of wider dense layers alone take over 1 GB with their gradients.
WIDEST_DENSE = 256
TARGET_TIME, TARGET_CHANGE = 2.0, 1e-6


def plain_wave(z: Tensor, logits: Tensor) -> Tensor:
    """Return F(z) by operations that autograd differentiates."""
    peaks = bounded_peaks(logits)
    return triangle_sum(z.mT, peaks[:, :-1], smooth_scales(peaks)).mT


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stack(like: nn.Module, width: int, device: str) -> nn.Module:
    """Return Linear, ReLU, Linear with the number of parameters of another module."""
    n_hidden = round((n_parameters(like) - width) / (2 * width + 1))
    layers = nn.Linear(width, n_hidden), nn.ReLU(), nn.Linear(n_hidden, width)
    return nn.Sequential(*layers).to(device)


def deep_stack(like: nn.Module, width: int, depth: int, device: str) -> nn.Module:
    """Return a dense ReLU network of that many hidden layers with the number of parameters."""
    a, b, c = depth - 1, 2 * width + depth, width - n_parameters(like)
    n_hidden = round((-b + (b**2 - 4 * a * c) ** 0.5) / (2 * a))
    sizes = [width, *[n_hidden] * depth, width]
    layers = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).to(device)


def step(function: Callable[[], Tensor], parts: Sequence[Tensor]) -> Callable[[], None]:
    """Return what is timed: a forward pass and one back to these tensors."""
    by_outputs = torch.randn_like(function())

    def run() -> None:
        torch.autograd.grad(function(), parts, by_outputs)

    return run


def seconds(runs: Sequence[Callable[[], None]], device: str, limit: float) -> list[list[float]]:
    """Return seconds of functions, run in turns until a time is over."""
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + limit
    while time.perf_counter() < end or len(times[0]) < 8:
        for i, run in enumerate(runs):
            begin = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            times[i].append(time.perf_counter() - begin)
    return [values[3:] for values in times]


def ratio(times: list[float], others: list[float]) -> float:
    """Return the median ratio of times taken in turns."""
    return float(np.median(np.divide(times, others)))


def forms(width: int, depth: int, device: str) -> list[nn.Module]:
    """Return a layer in all forms that are not too large."""
    n_forms = 3 if width <= WIDEST_DENSE else 2
    torch.manual_seed(0)
    layers = [ExponentialReLULayer(width, width, depth, device=device) for _ in range(n_forms)]
    for layer, dense in zip(layers[1:], (False, True), strict=False):
        layer.release(dense)
    return list(layers)


def timed(
    quick: bool,
    device: str | None,
    convert: Callable[[nn.Module], nn.Module],
    widths: Sequence[int],
) -> str:
    device = device or "cpu"
    rows, of_peaks = [], []
    for width, batch, depth in product(widths, BATCHES, DEPTHS):
        inputs = torch.randn(batch, width, device=device, requires_grad=True)
        layers = forms(width, depth, device)
        pairs = [[convert(layer), convert(stack(layer, width, device))] for layer in layers]
        deep = deep_stack(layers[0], width, depth, device)
        pairs.append([convert(layers[0]), convert(deep)])
        runs = [
            step(partial(module, inputs), [inputs, *module.parameters()])
            for pair in pairs
            for module in pair
        ]
        times = seconds(runs, device, 0.5 if quick else 6.0)
        ratios = [ratio(*pair) for pair in zip(times[::2], times[1::2], strict=True)]
        of_peaks.append(ratios[0])
        *ratios, of_deep = ratios
        blanks = [None] * (3 - len(ratios))
        milliseconds = [1e3 * float(np.median(values)) for values in times[:2]]
        rows.append([width, batch, depth, *milliseconds, of_deep, *ratios, *blanks])
    header = ["width", "batch", "depth", "peaks ms", "stack ms", "to deep"]
    header += ["peaks", "blocks", "dense"]
    met = sum(value <= TARGET_TIME for value in of_peaks)
    return "\n\n".join(
        [
            f"Forward and backward on {device} with {torch.get_num_threads()} threads: median "
            "time, and ratio of each form\nto Linear, ReLU, Linear with its number of parameters. "
            "To deep: ratio of peaks to a dense\nReLU network of the same depth and number.",
            table(header, rows),
            f"{met} of {len(of_peaks)} at most {TARGET_TIME:g}\n"
            + verdict("peaks, largest ratio", max(of_peaks), TARGET_TIME),
        ]
    )


def measure_time(quick: bool, device: str | None) -> str:
    return timed(quick, device, lambda module: module, WIDTHS[:1] if quick else WIDTHS)


def measure_compiled(quick: bool, device: str | None) -> str:
    def compiled(module: nn.Module) -> nn.Module:
        torch._dynamo.reset()
        return torch.compile(module)

    return timed(quick, device, compiled, WIDTHS[:1] if quick else WIDTHS[:2])


def measure_wave(quick: bool, device: str | None) -> str:
    """Compare the wave with what autograd makes of the same function."""
    device = device or "cpu"
    rows = []
    for width, batch, depth in product(WIDTHS[:2], BATCHES, DEPTHS):
        torch.manual_seed(0)
        z = torch.rand(batch, width, device=device, requires_grad=True)
        logits = torch.randn(width, depth + 1, device=device, requires_grad=True)
        functions = [partial(function, z, logits) for function in (triangle_wave, plain_wave)]
        kept = [kept_bytes(function) for function in functions]
        runs = [step(function, [z, logits]) for function in functions]
        own, plain = seconds(runs, device, 0.3 if quick else 3.0)
        milliseconds = [1e3 * float(np.median(values)) for values in (own, plain)]
        per_value = [size / (4 * z.numel()) for size in kept]
        rows.append([width, batch, depth, *milliseconds, ratio(plain, own), *per_value])
    header = ["width", "batch", "depth", "ms", "autograd ms", "ratio", "kept", "autograd kept"]
    return (
        "The wave alone, forward and backward, and what is kept in between, in floats a value.\n\n"
        + table(header, rows)
    )


def kept_bytes(function: Callable[[], object]) -> int:
    """Return the size of what is kept for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    del result
    return sum(kept.values())


def measure_memory(quick: bool, device: str | None) -> str:
    """Compare what is kept for the backward pass, without parameters."""
    device, rows = device or "cpu", []
    for width, depth in product(WIDTHS[:2], (2, 4, 8, 16)):
        inputs = torch.randn(1024, width, device=device, requires_grad=True)
        layer = ExponentialReLULayer(width, width, depth, device=device)
        row: list[object] = [width, depth]
        for form in ("peaks", "blocks"):
            if form == "blocks":
                layer.release()
            other = stack(layer, width, device)
            for module in (layer, other):
                size = kept_bytes(partial(module, inputs))
                row.append((size - 4 * n_parameters(module)) / 1e6)
        rows.append(row)
    header = ["width", "depth", "peaks MB", "stack MB", "blocks MB", "stack MB"]
    return "1024 rows; stacks have the number of parameters of the form before them.\n\n" + table(
        header, rows
    )


def measure_release(quick: bool, device: str | None) -> str:
    """Return how far outputs move at the switch, relative to their norm, in float32."""
    device, rows, worst = device or "cpu", [], 0.0
    for (n_in, n_out), spread in product(((1, 1), (3, 2), (10, 5), (64, 64)), (1, 100)):
        changes, of_terms = [], []
        for depth, seed in product(range(1, 9), range(2 if quick else 12)):
            torch.manual_seed(1000 * depth + seed)
            layer = ExponentialReLULayer(n_in, n_out, depth, device=device)
            with torch.no_grad():
                inputs = spread * torch.randn(500, n_in, device=device)
                before, read_out = layer(inputs), layer.read_out
                terms = layer.subnetworks(inputs).abs() @ read_out.weight.abs().T
                terms += read_out.bias.abs()
                moved = (layer.release()(inputs) - before).norm()
            changes.append((moved / before.norm()).item())
            of_terms.append((moved / terms.norm()).item())
        rows.append([n_in, n_out, spread, float(np.median(changes)), max(changes), max(of_terms)])
        worst = max(worst, max(changes))
    header = ["in", "out", "std of inputs", "median", "largest", "largest, of terms"]
    lines = [
        "Fresh layers of depths 1 to 8; of terms: relative to the sum of the sizes of all terms.",
        table(header, rows),
        verdict("largest change", worst, TARGET_CHANGE),
    ]
    return "\n\n".join(lines)


if __name__ == "__main__":
    main(
        __doc__ or "",
        {
            "time": measure_time,
            "compiled": measure_compiled,
            "wave": measure_wave,
            "memory": measure_memory,
            "release": measure_release,
        },
        TABLES / "layers.txt",
        {"device": {"metavar": "DEVICE", "help": "default: cpu"}},
    )
