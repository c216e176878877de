"""Devices are those of `torch.accelerator`, here of machines that are made up."""

from types import SimpleNamespace

import pytest
import torch

from skrelu._data.torch_interop import resolve_device, working_dtype


def machine(monkeypatch, kind, n_devices):
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: n_devices > 0)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: n_devices)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_automatic_device_is_the_accelerator(kind, monkeypatch):
    machine(monkeypatch, kind, 2)
    for name in ("auto", kind, torch.device(kind)):
        assert resolve_device(name) == torch.device(kind)
    assert resolve_device(f"{kind}:1") == torch.device(kind, 1)
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=f"which has cpu, {kind}:0, {kind}:1; use one of"):
        resolve_device(f"{kind}:2")


@pytest.mark.parametrize("built_for", [None, "cuda"])
def test_without_an_accelerator_the_automatic_device_is_the_cpu(built_for, monkeypatch):
    machine(monkeypatch, built_for, 0)
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "mps", "xpu", "meta", "cpu:1"):
        with pytest.raises(ValueError, match="is not available to torch on this machine, which"):
            resolve_device(name)


@pytest.mark.parametrize(
    ("kind", "has_fp64", "expected"),
    [
        ("cpu", None, torch.float64),
        ("cuda", None, torch.float64),
        ("mps", None, torch.float32),
        ("xpu", True, torch.float64),
        ("xpu", False, torch.float32),
    ],
)
def test_precision_is_double_where_devices_have_it(kind, has_fp64, expected, monkeypatch):
    properties = SimpleNamespace(has_fp64=has_fp64)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: properties)
    assert working_dtype(torch.device(kind)) == expected
