import json
import random
from pathlib import Path

import pytest

from sensorium.errors import DataError
from sensorium.evaluation.baselines import baseline, most_frequent
from sensorium.evaluation.examples import Example, draw_examples
from sensorium.evaluation.task import Task
from sensorium.messages import Message


def conversation(*turns: str) -> dict[str, object]:
    roles = ["user", "assistant"] * len(turns)
    return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]}


@pytest.fixture
def write(tmp_path: Path):
    def call(records: list[dict[str, object]], name: str = "records.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return call


def task(*paths: Path, kind: str = "choice", metric: str = "accuracy", candidates: int = 3, **prompt: object) -> Task:
    return Task.parse(
        {
            "name": "mine",
            "description": "",
            "data": [{"path": str(path)} for path in paths],
            "prompt": {"kind": "reply", **prompt},
            "parser": {"kind": kind, "candidates": candidates},
            "metric": metric,
        },
        "mine",
    )


def test_the_seed_alone_decides(write) -> None:
    mine = task(write([conversation(f"question {i}", f"answer {i}") for i in range(40)]))
    drawn = draw_examples(mine, limit=10, seed=1)
    assert drawn == draw_examples(mine, limit=10, seed=1)
    assert drawn != draw_examples(mine, limit=10, seed=2)
    assert len({example.context for example in drawn}) == 10


def test_the_same_is_not_asked_twice(write) -> None:
    mine = task(write([conversation(f"question {i % 7}", f"answer {i % 7}") for i in range(70)]))
    drawn = draw_examples(mine, limit=50, seed=0)
    assert sorted(example.reference for example in drawn) == [f"answer {i}" for i in range(7)]


def test_candidates_are_distinct_and_hold_the_reference_once_anywhere(write) -> None:
    mine = task(write([conversation(f"question {i}", f"answer {i % 20}") for i in range(60)]), candidates=5)
    drawn = draw_examples(mine, limit=60, seed=0)
    places = set()
    for example in drawn:
        assert len(set(example.candidates)) == 5
        assert example.candidates.count(example.reference) == 1
        places.add(example.candidates.index(example.reference))
    assert places == set(range(5))


def test_another_right_answer_is_never_a_wrong_one(write) -> None:
    records = [conversation("a joke!", f"joke {i}") for i in range(10)]
    records += [conversation(f"question {i}", f"answer {i}") for i in range(10)]
    for example in draw_examples(task(write(records)), limit=20, seed=0):
        if example.context[-1].text == "a joke!":
            assert sum(candidate.startswith("joke") for candidate in example.candidates) == 1


def test_candidates_come_from_the_same_source(write) -> None:
    english = write([conversation(f"question {i}", f"answer {i}") for i in range(10)], "en.jsonl")
    chinese = write([conversation(f"问题{i}", f"回答{i}") for i in range(10)], "zh.jsonl")
    drawn = draw_examples(task(english, chinese), limit=12, seed=0)
    assert sum(example.reference.startswith("answer") for example in drawn) == 6
    for example in drawn:
        assert len({candidate[:2] for candidate in example.candidates}) == 1


def test_too_few_replies_to_choose_among(write) -> None:
    mine = task(write([conversation(f"question {i}", f"answer {i % 2}") for i in range(9)]))
    with pytest.raises(DataError, match="2 different replies are too few to choose among 3"):
        draw_examples(mine, limit=None, seed=0)


def test_a_turn_and_what_stands_before_it(write) -> None:
    path = write([conversation("one", "two", "three", "four")])
    (last,) = draw_examples(task(path, kind="text", metric="exact_match", turn="last"), limit=1, seed=0)
    assert last == Example((Message.user("one"), Message.assistant("two"), Message.user("three")), "four")
    drawn = [
        draw_examples(task(path, kind="text", metric="exact_match"), limit=1, seed=seed)[0].reference
        for seed in range(20)
    ]
    assert set(drawn) == {"two", "four"}


def test_the_question_is_reworded(write) -> None:
    mine = task(
        write([conversation("two + two", "4")]),
        kind="number",
        metric="exact_match",
        template="Compute {text}.",
        system="Be exact.",
    )
    (example,) = draw_examples(mine, limit=1, seed=0)
    assert example.context == (Message.system("Be exact."), Message.user("Compute two + two."))


def test_records_without_what_is_asked_for(write) -> None:
    with pytest.raises(DataError, match="holds no example of kind 'reply'"):
        draw_examples(task(write([{"text": "a story"}]), kind="text", metric="token_f1"), limit=None, seed=0)


# --- baselines -------------------------------------------------------------------------------------------------------


def documents(*texts: str) -> list[Example]:
    return [Example((), text) for text in texts]


def test_baselines_of_bits_per_byte_are_computed() -> None:
    assert baseline("uniform", "bits_per_byte", documents("anything")) == 8.0
    assert baseline("byte_entropy", "bits_per_byte", documents("abcdabcd")) == pytest.approx(2.0)
    assert baseline("byte_entropy", "bits_per_byte", documents("aaaa")) == 0.0
    repeated, varied = documents("abc" * 2000), documents(random.Random(0).randbytes(6000).hex())
    assert baseline("xz", "bits_per_byte", repeated) < 0.3 < 4 < baseline("xz", "bits_per_byte", varied) < 5


def test_baselines_of_a_choice_are_computed() -> None:
    def example(question: str, reference: str, *others: str) -> Example:
        return Example((Message.user(question),), reference, (reference, *others))

    examples = [
        example("red cat", "a red cat", "no", "maybe so"),
        example("blue dog", "no", "a blue dog", "a yellow dog"),
        example("green", "no", "hm", "yes it is"),
    ]
    assert baseline("random", "accuracy", examples) == pytest.approx(1 / 3)
    assert baseline("longest", "accuracy", examples) == pytest.approx(1 / 3)
    assert baseline("shortest", "accuracy", examples) == pytest.approx((0 + 1 + 1 / 2) / 3)
    # In the last example nothing shares a word with the question: a guess among three.
    assert baseline("word_overlap", "accuracy", examples) == pytest.approx((1 + 0 + 1 / 3) / 3)


def test_the_most_frequent_answer_of_each_language() -> None:
    said = [("en", "yes"), ("zh", "红色"), ("en", "no"), ("en", "no"), ("zh", "蓝色"), ("zh", "红色"), ("en", "yes")]
    assert most_frequent(said) == {"en": "yes", "zh": "红色"}
