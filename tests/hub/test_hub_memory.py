"""Loading is memory-mapped: a float32 file of 400 MB never takes more than 1.2 times its size."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.hub.assemble import blank_model, expected_shapes

if not sys.platform.startswith("linux"):
    pytest.skip("resident memory is read from /proc", allow_module_level=True)

MEASURED = """
import sys, time, torch
from pathlib import Path
from sensorium.hub.folder import load_pretrained
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
torch.set_num_threads(1)
torch.ones(64, 64) @ torch.ones(64, 64)
before = peak()
pretrained = load_pretrained(sys.argv[1])
loaded = peak()
with torch.no_grad():
    pretrained.model.logits(torch.arange(4)[None])
    touched = sum(float(weight[..., :: 64].sum()) for weight in pretrained.model.parameters())
print(loaded - before, peak() - before)
"""
SIZES = {"vocab_size": 12_000, "num_hidden_layers": 8}


def write_sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """A safetensors file of zeros that takes no room on the disk; returns its size."""
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * math.prod(shape)]}
        end += 4 * math.prod(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path.stat().st_size


def shapes_of(family: str, **settings: Any) -> tuple[transformers.PretrainedConfig, dict[str, tuple[int, ...]]]:
    config = transformers.AutoConfig.for_model(family, **settings)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    return config, shapes


def llama(folder: Path) -> int:
    config, shapes = shapes_of(
        "llama", hidden_size=1024, intermediate_size=2560, num_attention_heads=16, num_key_value_heads=8, **SIZES
    )
    config.save_pretrained(folder)
    return write_sparse(folder / "model.safetensors", shapes)


def gpt2(folder: Path) -> int:
    config, shapes = shapes_of("gpt2", vocab_size=12_000, n_layer=8, n_embd=1024, n_head=16)
    config.save_pretrained(folder)
    return write_sparse(folder / "model.safetensors", shapes)


def ours(folder: Path) -> int:
    config = ModelConfig(
        decoder=TransformerConfig(
            vocab_size=12_000, dim=1024, n_layers=8, n_heads=16, hidden_dim=2816, max_positions=512
        )
    )
    (folder / "config.json").write_text(config.model_dump_json(exclude_none=True))
    return write_sparse(folder / "model.safetensors", expected_shapes(blank_model(config)))


@pytest.mark.parametrize("make", [ours, llama, gpt2])
def test_peak_memory(make: Callable[[Path], int], tmp_path: Path) -> None:
    size = make(tmp_path)
    assert size >= 400e6
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, used = map(int, done.stdout.split())
    if make is not gpt2:  # nothing to transpose: nothing is read before it is used
        assert loaded < 0.05 * size
    assert 0.9 * size < used < 1.2 * size
