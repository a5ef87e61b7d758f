"""Sensorium: a complete, small, readable system for multimodal large models.

    import sensorium

    model = sensorium.load("seedling")
    print(model.chat("Hello!").text)

Names are imported when first used, so that `sensorium --help` need not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.api import Model, load
    from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
    from sensorium.errors import SensoriumError
    from sensorium.messages import Audio, AudioDelta, Delta, Done, Image, ImageDelta, Message, Text, TextDelta

_HOMES = {
    "sensorium.api": ("Model", "load"),
    "sensorium.config": ("ModelConfig", "SamplingConfig", "TransformerConfig"),
    "sensorium.errors": ("SensoriumError",),
    "sensorium.messages": (
        "Audio", "AudioDelta", "Delta", "Done", "Image", "ImageDelta", "Message", "Text", "TextDelta",
    ),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Audio",
    "AudioDelta",
    "Delta",
    "Done",
    "Image",
    "ImageDelta",
    "Message",
    "Model",
    "ModelConfig",
    "SamplingConfig",
    "SensoriumError",
    "Text",
    "TextDelta",
    "TransformerConfig",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sensorium' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
