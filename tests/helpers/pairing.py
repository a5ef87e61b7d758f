"""Pictures and recordings with their texts as files, and parts of a model of a few thousand weights for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from media_parts import picture, tone

from sensorium.messages import Audio, Image, Message

COLOURS = ("red", "green", "blue", "yellow", "black", "white")
_BLOCKS = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
EYES: dict[str, Any] = {
    "image": {"size": [16, 16], "resize": "stretch"},
    "encoder": {"kind": "vit", "image_size": 16, "patch_size": 8, **_BLOCKS},
}
EARS: dict[str, Any] = {
    "audio": {"n_mels": 16, "window_seconds": 1.0},
    "encoder": {"kind": "conv", "n_mels": 16, "max_frames": 100, "strides": [2, 2], **_BLOCKS},
    "ctc": True,
}
PARTS: dict[str, Any] = {"vision": EYES, "speech": EARS, "embedder": {"dim": 12}}


def shown(index: int) -> tuple[Image, str]:
    """A picture and its caption; of each twelve, two have the same caption."""
    colour = COLOURS[index % len(COLOURS)]
    return picture(colour), f"a {colour} picture"


def played(index: int) -> tuple[Audio, str]:
    """A recording of some length and what is to be spelled of it."""
    return tone(0.4 + 0.1 * (index % 4), 200.0 + 40 * index), f"tone {index % 7}"


def pairs_file(path: Path, pairs: Sequence[tuple[Image | Audio, str]]) -> dict[str, Any]:
    """The pairs as conversations in a file; returned is what a recipe says about it."""
    talks = [[Message.user([part]), Message.assistant(text)] for part, text in pairs]
    lines = [json.dumps({"messages": [message.to_dict() for message in talk]}) for talk in talks]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"path": str(path), "format": "jsonl"}
