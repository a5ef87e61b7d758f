from pathlib import Path

import pytest
import yaml

from sensorium.errors import ConfigError
from sensorium.evaluation.task import load_task, task_names

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
        assert task.baselines
        # What is scored was not trained on: the split that recipes hold out.
        assert all(spec.split == "validation" for spec in task.data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "bits_per_byte"}, "needs a parser of likelihood, not first_word"),
        ({"prompt": {"kind": "document"}}, "no answer to read by first_word"),
        ({"prompt": {"kind": "reply", "template": "Answer:"}}, "no {text}"),
        ({"baselines": ["randon"]}, "'randon' is no baseline of exact_match"),
        ({"metric": "likelihood", "parser": {"kind": "likelihood"}}, "metric = 'likelihood'"),
        ({"data": []}, "data"),
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
