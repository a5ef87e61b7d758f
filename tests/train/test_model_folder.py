"""What a recipe says of its model besides the weights: how it is sampled, and its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.train.recipe import load_recipe
from sensorium.train.run import train


def test_the_model_carries_the_sampling_and_the_card_of_its_recipe(
    tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    (tmp_path / "CARD.md").write_text("# 小苗\n", encoding="utf-8")
    recipe = write_recipe(budget={"steps": 1}, sampling={"temperature": 0.25}, card="CARD.md")
    model = train(load_recipe(recipe), tmp_path / "run", threads=1)
    assert load_pretrained(model).sampling.temperature == 0.25
    assert (model / "MODEL_CARD.md").read_text(encoding="utf-8") == "# 小苗\n"


def test_a_missing_card_is_an_error_before_anything_is_trained(
    tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = load_recipe(write_recipe(budget={"steps": 1}, card="nowhere.md"))
    with pytest.raises(ConfigError, match=r"nowhere\.md cannot be read"):
        train(recipe, tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()
