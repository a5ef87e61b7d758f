from pathlib import Path

import pytest
import yaml

from sensorium.data.world.source import World
from sensorium.data.world.talk import Seen, Spoken
from sensorium.errors import ConfigError
from sensorium.evaluation.task import SUITES, load_task, load_tasks, task_names

GOOD = {
    "description": "Questions",
    "data": [{"path": "questions.jsonl"}],
    "prompt": {"kind": "reply"},
    "parser": {"kind": "first_word"},
    "metric": "exact_match",
}


def test_the_package_brings_its_tasks() -> None:
    assert {"bpb", "dialogue"} <= set(task_names())
    for name in task_names():
        task = load_task(name)
        assert task.name == name
        assert task.baselines or task.parser.kind.endswith("_codec")  # a codec has none
        # What is scored was not trained on: the split that recipes hold out.
        assert all(spec.split == "validation" for spec in task.data)


def test_every_task_of_the_package_is_of_a_suite() -> None:
    found = {suite: [task.name for task in load_tasks(suite)] for suite in SUITES}
    assert sorted(name for names in found.values() for name in names) == task_names()
    assert found["text"] == ["bpb", "dialogue"]
    assert found["world"] == ["caption", "detect", "dictation", "digits", "spoken_vqa", "vqa", "weather"]
    assert {"aishell", "cifar10", "easy_vqa", "fsdd", "librispeech", "mnist", "noto_emoji"} <= set(found["real"])
    assert [task.name for task in load_tasks("vqa")] == ["vqa"]
    assert not set(SUITES) & set(task_names())


@pytest.mark.parametrize("task", [*load_tasks("world"), *load_tasks("more")], ids=lambda task: task.name)
def test_a_task_of_the_world_asks_as_much_in_each_language_and_says_what_it_takes(task) -> None:
    assert [spec.world.languages for spec in task.data] == [("en",), ("zh",)]
    assert task.limit >= 1000
    assert "most_frequent" in task.baselines
    assert ("text_only" in task.baselines) == bool(task.takes)
    shown: set[str] = set()
    for spec in task.data:
        world = World(spec.world, spec.split)
        for index in range(60):
            talk = world.talk(index)
            pieces = [type(piece) for turn in talk.turns for piece in turn.parts]
            shown |= {{Seen: "image", Spoken: "audio"}[piece] for piece in pieces if piece is not str}
            assert task.by is None or task.by in talk.facts
    assert shown == set(task.takes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "bits_per_byte"}, "needs a parser of likelihood, not first_word"),
        ({"prompt": {"kind": "document"}}, "no answer to read by first_word"),
        ({"prompt": {"kind": "reply", "template": "Answer:"}}, "no {text}"),
        ({"baselines": ["randon"]}, "'randon' is no baseline of exact_match"),
        ({"metric": "likelihood", "parser": {"kind": "likelihood"}}, "metric = 'likelihood'"),
        ({"data": []}, "data"),
        ({"metric": "box_iou"}, "metric box_iou scores by the facts of the generated world"),
        ({"suite": "words"}, "suite = 'words'"),
        ({"takes": ["smell"]}, "smell"),
        ({"baselines": ["text-only"]}, "did you mean 'text_only'"),
        ({"prompts": {}}, "did you mean 'prompt'"),
        (
            {"metric": "bits_per_byte", "parser": {"kind": "likelihood"}, "baselines": ["xz"]},
            "xz compresses documents",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_task(path).name == "mine"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    with pytest.raises(ConfigError) as refused:
        load_task(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
