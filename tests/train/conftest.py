"""A small world to train in: a few hundred lines of regular text, and recipes for models of a few thousand weights."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

_WHO = ("the cat", "a dog", "my sister", "the old king", "one bird")
_WHAT = ("sees", "wants", "finds", "paints", "counts")
_WHOM = ("the moon", "a red ball", "three apples", "some water", "the sea")


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences that a small model can learn."""
    chance = random.Random(seed)
    return [f"{chance.choice(_WHO)} {chance.choice(_WHAT)} {chance.choice(_WHOM)}." for _ in range(count)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(" ".join(sentences(4, seed)) for seed in range(120)), encoding="utf-8")
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    lines = []
    for seed in range(60):
        asked, answered = sentences(2, seed)
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


RecipeWriter = Callable[..., Path]


@pytest.fixture
def write_recipe(tmp_path: Path, corpus: Path) -> RecipeWriter:
    """Writes a recipe of one stage to a file; keyword arguments replace settings, `model` adds to the model's."""

    def write(name: str = "recipe.yaml", *, model: dict[str, Any] | None = None, **settings: Any) -> Path:
        tiny = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_positions": 64}
        recipe = {
            "seed": 3,
            "save_dtype": "float32",
            "model": {**tiny, **(model or {})},
            "tokenizer": {"vocab_size": 320, "data": [{"path": str(corpus)}]},
            "data": [{"path": str(corpus), "documents": "paragraph", "split": "train", "validation_fraction": 0.1}],
            "rows": 4,
            "time": 32,
            "budget": {"steps": 6},
            "eval_every": 0,
            "save_every": 3,
            "keep": 3,
            **settings,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        return path

    return write
