"""Tasks of real pictures and recordings: each asks, and the shipped recipe trains on nothing that it asks about."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.data.sources import source
from sensorium.data.streams import record_stream
from sensorium.evaluation.examples import draw_examples, training_references
from sensorium.evaluation.task import Task, load_tasks
from sensorium.messages import Audio, Image, Text
from sensorium.train.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "real.yaml"
TASKS = load_tasks("real")
KINDS = {"image": Image, "audio": Audio}


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_shows_or_plays_something_and_has_an_answer(task: Task) -> None:
    drawn = draw_examples(task, limit=4, seed=0)
    assert len(drawn) == 4
    for example in drawn:
        shown = [type(part) for message in example.context for part in message.parts if type(part) is not Text]
        assert shown == [KINDS[kind] for kind in task.takes]
        assert example.context[-1].text
        assert example.reference.strip()
    assert list(training_references(task, most=2, seed=0))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_recipe_leaves_out_what_a_task_asks_about(task: Task) -> None:
    (stage,) = load_recipe(RECIPE).stages
    for asked in task.data:
        learned = [spec for spec in stage.data if spec.source == asked.source]
        assert learned
        assert asked.source is not None
        for spec in learned:
            assert spec.split == "train"
            assert source(asked.source).held_out or spec.validation_fraction >= asked.validation_fraction


@pytest.mark.usefixtures("shared_data")
def test_the_recipe_reads_every_data_set_and_varies_no_picture_that_it_would_falsify() -> None:
    (stage,) = load_recipe(RECIPE).stages
    for spec in stage.data:
        assert next(record_stream(spec, shuffle=False)).media
    varied = {spec.source for spec in stage.data if spec.augment is not None and spec.augment.flip}
    assert varied == {"cifar10", "storybook_images"}
    assert not {spec.source for spec in stage.data if spec.augment is None} - {"easy_vqa", "nlvr"}
