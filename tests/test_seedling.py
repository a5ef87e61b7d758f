"""The model that ships is the one that its recipe describes, within its limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.talk.hearing import DICTATION
from sensorium.data.world.talk.places import LOOK, SURVEY
from sensorium.evaluation.task import load_task
from sensorium.hub.folder import load_pretrained
from sensorium.hub.resolve import shipped_models
from sensorium.train.recipe import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def test_the_seedling_ships_as_its_recipe_says() -> None:
    shipped, recipe = load_pretrained("seedling"), load_recipe(RECIPES / "seedling.yaml")
    assert shipped.sampling == recipe.sampling
    has, asked = shipped.config.image_codec, recipe.image_codec
    assert has is not None
    assert asked is not None
    assert has == asked.model_copy(update={"first_id": has.first_id})
    assert sum(shipped.model.n_parameters().values()) <= 12_000_000


def test_it_weighs_at_most_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in shipped_models()["seedling"].glob("*.safetensors")) <= 25_000_000


@pytest.mark.parametrize("name", ["vqa", "spoken_vqa"])
def test_each_right_answer_is_within_the_tokens_that_its_task_leaves(name: str) -> None:
    processor = load_pretrained("seedling").processor
    assert processor is not None
    room = load_task(name).parser.max_tokens
    world = World(WorldSpec(kinds={name: 1.0}), "validation")
    lengths = [len(processor.tokenizer.encode(world.talk(index).answer)) for index in range(3000)]
    assert 24 < max(lengths) < room


def test_it_is_asked_to_take_note_in_words_that_it_was_taught() -> None:
    sampling = load_recipe(RECIPES / "seedling.yaml").sampling
    notes = ((sampling.image_look, LOOK), (sampling.look_first, SURVEY), (sampling.listen_first, DICTATION))
    for (english, chinese), taught in notes:
        assert english in taught.of("en", "train")
        assert chinese in taught.of("zh", "train")
