"""Pictures and recordings with their texts as files, and parts of a model of a few thousand weights for them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
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
SEEING: dict[str, Any] = {**EYES, "grounding": True}  # two places along a side
BINS = 16  # location tokens
INKS = {"r": (230, 20, 20), "g": (20, 200, 20), "b": (30, 30, 230), "y": (240, 220, 30)}
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


def boxed(name: str, *bins: int) -> str:
    return name + "".join(f"<loc{bin_:02d}>" for bin_ in bins)


def quarters(index: int) -> tuple[Image, str]:
    """A picture of four colours, one of them white and not named, and the boxes of the others."""
    rng = np.random.default_rng(index)
    names = [*rng.permutation(list(INKS))[:3], "white"]
    pixels = np.full((16, 16, 3), 255, dtype=np.uint8)
    places = rng.permutation(4)
    replies = []
    for name, place in zip(names, places, strict=True):
        y, x = 8 * (place // 2), 8 * (place % 2)
        if name != "white":
            pixels[y : y + 8, x : x + 8] = INKS[name]
            replies.append(boxed(name, x, y, x + 7, y + 7))
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return Image(data=stream.getvalue()), "; ".join(replies)
