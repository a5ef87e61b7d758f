"""What training computes in: chosen once, and refused where it would be slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sensorium.errors import ConfigError
from sensorium.train import precision
from sensorium.train.recipe import load_recipe
from sensorium.train.run import train

CPU = torch.device("cpu")


def rates(monkeypatch: pytest.MonkeyPatch, *, half: float, full: float) -> None:
    """A CPU of these product rates."""
    found = {torch.bfloat16: half, torch.float32: full}
    monkeypatch.setattr(precision, "_best_rate", lambda device, dtype, *, size, tries: found[dtype])  # noqa: ARG005


def test_a_cpu_computes_in_float32_and_a_gpu_in_bfloat16_unless_asked() -> None:
    assert precision.compute_dtype(CPU) == torch.float32
    assert precision.compute_dtype(torch.device("cuda")) == torch.bfloat16
    assert precision.compute_dtype(torch.device("cuda"), "float32") == torch.float32


def test_a_cpu_that_emulates_bfloat16_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rates(monkeypatch, half=0.3e9, full=84e9)
    with pytest.raises(ConfigError, match=r"0\.3 GFLOP/s in bfloat16 and 84\.0 in float32 \(set compute: float32\)"):
        precision.compute_dtype(CPU, "bfloat16")


def test_bfloat16_products_train_float32_weights_to_almost_the_same(
    tmp_path: Path, write_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates(monkeypatch, half=2e9, full=1e9)
    weights = {}
    for compute in ("float32", "bfloat16"):
        recipe = load_recipe(write_recipe(compute=compute, budget={"steps": 3}))
        weights[compute] = load_file(train(recipe, tmp_path / compute, threads=1) / "model.safetensors")
    moved = False
    for name, weight in weights["float32"].items():
        other = weights["bfloat16"][name]
        assert other.dtype == torch.float32
        assert torch.allclose(weight, other, atol=0.02)
        moved = moved or not torch.equal(weight, other)
    assert moved  # it was not float32 after all
