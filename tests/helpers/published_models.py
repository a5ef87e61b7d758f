"""Tiny models of transformers that see or hear, and what it takes to compare ours with them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.config import ModelConfig
from sensorium.errors import RequestError
from sensorium.messages import Image
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni

TOLERANCE = 1e-4
BREAKS = 1e-3
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
EYES = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}

transformers.logging.set_verbosity_error()


def randomise(model: nn.Module) -> Any:
    """Every weight and buffer at random: norms around 1, matrices by fan-in."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if not tensor.is_floating_point():
                continue
            if tensor.dim() >= 2 and "embed" not in name:
                gain = 3.0 if "fc2" in name or "down_proj" in name else 2.0
                tensor.copy_(gain * noise * tensor[0].numel() ** -0.5)
            elif tensor.dim() >= 2:
                tensor.copy_(0.6 * noise)
            else:
                tensor.copy_(1 + 0.4 * noise if name.endswith("weight") else 0.4 * noise)
    return model.eval()


def spans(ids: list[int], token: int, length: int) -> list[tuple[int, int, int]]:
    """(row 0, start, length) of every `length` placeholders among the ids."""
    at = [place for place, index in enumerate(ids) if index == token]
    return [(0, at[first], length) for first in range(0, len(at), length)]


def logits(model: Omni, ids: Tensor, media: Media) -> Tensor | None:
    """Ours, (time, vocab); None where the model cannot take so many placeholders."""
    try:
        with torch.no_grad():
            return model.logits(ids, media)[0]
    except RequestError:
        return None


def difference(ours: Tensor | None, theirs: Tensor) -> float:
    """The largest difference relative to the spread; without end where there is nothing to compare."""
    if ours is None or ours.shape != theirs.shape:
        return 1e9
    return float((ours - theirs).abs().max() / theirs.std())


def changed(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Settings with some of them changed, those of parts by nesting."""
    update = {
        key: changed(getattr(settings, key), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return settings.model_copy(update=update)


def switched(config: ModelConfig, model: Omni, changes: Mapping[str, Any]) -> Omni:
    """The same weights under other settings: what these add is neutral, what they drop is left out."""
    other = Omni(changed(config, changes)).eval()
    weights = model.state_dict()
    state = {}
    for name, blank in other.state_dict().items():
        stored = weights.get(name)
        if stored is not None and stored.shape == blank.shape:
            state[name] = stored
        else:
            state[name] = torch.ones(blank.shape) if "norm" in name and "weight" in name else torch.zeros(blank.shape)
    other.load_state_dict(state)
    return other


def edit_config(folder: Path, changes: Mapping[str, Any], file: str = "config.json") -> None:
    """Change keys of a JSON file, those of its parts by nesting; None takes a key away."""

    def edited(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(old)
        for key, value in new.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = edited(merged.get(key) or {}, value) if isinstance(value, dict) else value
        return merged

    path = folder / file
    path.write_text(json.dumps(edited(json.loads(path.read_text()) if path.exists() else {}, changes)))


def rename(folder: Path, tensors: Mapping[str, Tensor], renamed: Callable[[str], str]) -> None:
    """Store tensors under other names, in place of what the folder holds."""
    stored = {renamed(name): tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def stored_names(folder: Path) -> set[str]:
    return set(load_file(folder / "model.safetensors"))


def snapshot(width: int = 50, height: int = 37) -> PIL.Image.Image:
    """A soft picture of random colours."""
    noise = np.random.default_rng(3).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC)


def as_part(picture: PIL.Image.Image) -> Image:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return Image(data=stream.getvalue())
