"""Time and memory of the torch layers beside dense ReLU layers, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks._command import main, named
from benchmarks._experiment import Experiment, Row
from benchmarks._text import Target, summary
from skrelu._networks.triangle import bounded_peaks, smooth_scales, triangle_sum
from skrelu.nn import ExponentialReLULayer
from skrelu.nn._wave_function import triangle_wave

WIDTHS, BATCHES, DEPTHS = (64, 256, 1024), (128, 1024), (4, 8)
# Hidden matrices of wider dense layers alone take over 1 GB with their gradients.
WIDEST_DENSE = 256
TARGET_TIME, TARGET_CHANGE = 2.0, 1e-6
SIZES = ("width", "batch", "depth")


def n_parameters(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def stack(like: nn.Module, width: int, device: str, depth: int = 1) -> nn.Module:
    """Return a dense ReLU network of that many hidden layers with the parameters of another."""
    a, b, c = depth - 1, 2 * width + depth, width - n_parameters(like)
    root = (-b + (b**2 - 4 * a * c) ** 0.5) / (2 * a) if a else -c / b
    sizes = [width, *[round(root)] * depth, width]
    layers = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).to(device)


def step(function: Callable[[], Tensor], parts: Sequence[Tensor]) -> Callable[[], None]:
    """Return what is timed: a forward pass and one back to these tensors."""
    by_outputs = torch.randn_like(function())

    def run() -> None:
        torch.autograd.grad(function(), parts, by_outputs)

    return run


def seconds(runs: Sequence[Callable[[], None]], device: str, limit: float) -> np.ndarray:
    """Return seconds (n_runs, n_times) of functions, run in turns until a time is over."""
    times: list[list[float]] = []
    end = time.perf_counter() + limit
    while time.perf_counter() < end or len(times) < 8:
        times.append([])
        for run in runs:
            begin = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            times[-1].append(time.perf_counter() - begin)
    return np.transpose(times[3:])


def forms(width: int, depth: int, device: str) -> list[nn.Module]:
    """Return a layer in all forms that are not too large."""
    n_forms = 3 if width <= WIDEST_DENSE else 2
    torch.manual_seed(0)
    layers = [ExponentialReLULayer(width, width, depth, device=device) for _ in range(n_forms)]
    for layer, dense in zip(layers[1:], (False, True), strict=False):
        layer.release(dense)
    return list(layers)


def compiled(module: nn.Module) -> nn.Module:
    """Return what torch makes of a module."""
    torch._dynamo.reset()
    return torch.compile(module)


def timing(n_widths: int, convert: Callable, quick: bool, device: str | None) -> Experiment:
    """Compare each form of a layer with a stack of as many parameters, forward and backward."""
    place = device or "cpu"
    forms_of = ("peaks", "blocks", "dense")

    def measure(size: tuple[int, int, int], convert: Callable, repeat: int) -> Row:
        width, batch, depth = size
        inputs = torch.randn(batch, width, device=place, requires_grad=True)
        layers = forms(width, depth, place)
        pairs = [[convert(layer), convert(stack(layer, width, place))] for layer in layers]
        pairs.append([convert(layers[0]), convert(stack(layers[0], width, place, depth))])
        modules = [module for pair in pairs for module in pair]
        runs = [step(partial(m, inputs), [inputs, *m.parameters()]) for m in modules]
        times = seconds(runs, place, 0.5 if quick else 6.0)
        *ratios, to_deep = np.median(times[::2] / times[1::2], axis=1).tolist()
        peaks, other = (1e3 * float(np.median(values)) for values in times[:2])
        row = {"peaks ms": peaks, "stack ms": other, "to deep": to_deep}
        return dict(zip(SIZES, size, strict=True)) | row | dict(zip(forms_of, ratios, strict=False))

    def met(rows: pd.DataFrame) -> str:
        return f"{(rows['peaks'] <= TARGET_TIME).sum()} of {len(rows)} at most {TARGET_TIME:g}"

    columns = (*SIZES, "peaks ms", "stack ms", "to deep", *forms_of)
    return sizes(
        WIDTHS[: 1 if quick else n_widths], BATCHES, DEPTHS, measure, columns,
        methods={"layer": convert}, report=met,
        targets=lambda rows: [Target("peaks, largest ratio", rows["peaks"].max(), TARGET_TIME)],
        note=f"""\
Forward and backward on {place} with one thread: median time, and ratio of each form
to Linear, ReLU, Linear with its number of parameters. To deep: ratio of peaks to a dense
ReLU network of the same depth and number.""",
    )  # fmt: skip


def sizes(widths, batches, depths, measure: Callable, columns: Sequence[str], **more) -> Experiment:
    """Return an experiment over sizes of layers, whose rows are those of its table."""
    first = columns[0]
    return Experiment(
        problems={f"width {w}, batch {b}, depth {d}": (w, b, d)
                  for w, b, d in product(widths, batches, depths)},
        measure=measure, scores=columns,
        table=lambda rows: rows.set_index(first)[list(columns[1:])],
        **{"methods": {"layer": None}, **more},
    )  # fmt: skip


def wave(quick: bool, device: str | None) -> Experiment:
    """Compare the wave with what autograd makes of the same function."""
    device = device or "cpu"
    columns = (*SIZES, "ms", "autograd ms", "ratio", "kept", "autograd kept")

    def plain_wave(z: Tensor, logits: Tensor) -> Tensor:
        peaks = bounded_peaks(logits)
        return triangle_sum(z.mT, peaks[:, :-1], smooth_scales(peaks)).mT

    def measure(size: tuple[int, int, int], method: None, repeat: int) -> Row:
        width, batch, depth = size
        torch.manual_seed(0)
        z = torch.rand(batch, width, device=device, requires_grad=True)
        logits = torch.randn(width, depth + 1, device=device, requires_grad=True)
        functions = [partial(function, z, logits) for function in (triangle_wave, plain_wave)]
        kept = [kept_bytes(function) / (4 * z.numel()) for function in functions]
        runs = [step(function, [z, logits]) for function in functions]
        own, plain = seconds(runs, device, 0.3 if quick else 3.0)
        ratio = float(np.median(plain / own))
        found = (1e3 * float(np.median(own)), 1e3 * float(np.median(plain)), ratio, *kept)
        return dict(zip(columns, (*size, *found), strict=True))

    note = "The wave alone, forward and backward, and what is kept in between, in floats a value."
    return sizes(WIDTHS[:2], BATCHES, DEPTHS, measure, columns, note=note)


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


def memory(quick: bool, device: str | None) -> Experiment:
    """Compare what is kept for the backward pass, without parameters."""
    device = device or "cpu"
    columns = ("width", "depth", "peaks MB", "stack MB", "blocks MB", "its stack MB")

    def measure(size: tuple[int, int, int], method: None, repeat: int) -> Row:
        width, n_rows, depth = size
        inputs = torch.randn(n_rows, width, device=device, requires_grad=True)
        layer = ExponentialReLULayer(width, width, depth, device=device)
        row: list[float] = [width, depth]
        for form in ("peaks", "blocks"):
            if form == "blocks":
                layer.release()
            for module in (layer, stack(layer, width, device)):
                kept = kept_bytes(partial(module, inputs)) - 4 * n_parameters(module)
                row.append(kept / 1e6)
        return dict(zip(columns, row, strict=True))

    note = "1024 rows; stacks have the number of parameters of the form before them."
    return sizes(WIDTHS[:2], (1024,), (2, 4, 8, 16), measure, columns, note=note)


def release(quick: bool, device: str | None) -> Experiment:
    """Measure how far outputs move at the switch, relative to their norm, in float32."""
    device = device or "cpu"

    def measure(problem: tuple, depth: int, seed: int) -> Row:
        (n_in, n_out), spread = problem
        torch.manual_seed(1000 * depth + seed)
        layer = ExponentialReLULayer(n_in, n_out, depth, device=device)
        with torch.no_grad():
            inputs = spread * torch.randn(500, n_in, device=device)
            before, read_out = layer(inputs), layer.read_out
            terms = layer.subnetworks(inputs).abs() @ read_out.weight.abs().T + read_out.bias.abs()
            moved = (layer.release()(inputs) - before).norm()
        scores = {
            "change": (moved / before.norm()).item(),
            "of_terms": (moved / terms.norm()).item(),
        }
        return {"in": n_in, "out": n_out, "std of inputs": spread, **scores}

    columns = {"median": ("change", "median"), "largest": ("change", "max"),
               "largest, of terms": ("of_terms", "max")}  # fmt: skip
    frame = summary(["in", "out", "std of inputs"], columns)
    shapes = ((1, 1), (3, 2), (10, 5), (64, 64))
    return Experiment(
        problems={f"{n_in} to {n_out}, std {spread}": ((n_in, n_out), spread)
                  for (n_in, n_out), spread in product(shapes, (1, 100))},
        methods={f"depth {depth}": depth for depth in range(1, 9)}, measure=measure,
        scores=("in", "out", "std of inputs", "change", "of_terms"), repeats=2 if quick else 12,
        table=lambda rows: frame(rows).reset_index().set_index("in"),
        targets=lambda rows: [Target("largest change", rows["change"].max(), TARGET_CHANGE)],
        note="""\
Fresh layers of depths 1 to 8: median and largest change of outputs; of terms: relative to the sum
of the sizes of all terms.""",
    )  # fmt: skip


EXPERIMENTS = {
    "time": partial(timing, 3, lambda module: module),
    "compiled": partial(timing, 2, compiled),
    **named(wave, memory, release),
}
OPTIONS = {"device": {"metavar": "DEVICE", "help": "default: cpu"}}

if __name__ == "__main__":
    main("layers", __doc__ or "", EXPERIMENTS, OPTIONS)
