import json
import re
from pathlib import Path
from typing import Any

import pytest

from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.errors import ConfigError
from sensorium.messages import Audio, Image, Message, Text


def filled(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def read(root: Path, **settings: Any) -> tuple[list[Record], list[Bad]]:
    """The records and the corrupt ones, both in the order of their places."""
    files = DatasetSpec(path=root, **settings).files()
    items = [item for file in files for item, _ in READERS[file.format](file, START)]
    good = [item for item in items if isinstance(item, Record)]
    bad = [item for item in items if isinstance(item, Bad)]
    return sorted(good, key=lambda item: item.where), sorted(bad, key=lambda item: item.where)


def spoken(record: Record) -> list[str]:
    assert not isinstance(record.content, str)
    return [message.text for message in record.content]


# --- folders with class names ----------------------------------------------------------------------------------------


def test_a_folder_names_the_class_of_what_is_in_it(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", "train/cat/1.png", "train/tabby_cat/2.JPG", "dog/3.webp", "狗/4.png", "README.md")
    good, bad = read(root)
    assert bad == []
    assert [(record.where, spoken(record)) for record in good] == [
        ("pets/dog/3.webp", ["What is this?", "dog"]),
        ("pets/train/cat/1.png", ["What is this?", "cat"]),
        ("pets/train/tabby_cat/2.JPG", ["What is this?", "tabby cat"]),
        ("pets/狗/4.png", ["这是什么？", "狗"]),
    ]
    assert good[0].media == (Image(path=root / "dog/3.webp"),)


def test_recordings_are_asked_about_as_recordings(tmp_path: Path) -> None:
    (good,), _ = read(filled(tmp_path / "sounds", "bark/1.wav"))
    assert good.media == (Audio(path=tmp_path / "sounds/bark/1.wav"),)
    assert spoken(good) == ["What do you hear?", "bark"]


def test_the_wording_is_the_data_sets_own(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", *(f"cat/{index}.png" for index in range(8)))
    prompts = ("Name it.", "Which animal is {{this}}?", "Tell of {title}.")
    good, _ = read(root, prompts=prompts, answer="It is a {text}.")
    asked, answers = zip(*map(spoken, good), strict=True)
    assert set(asked) == {"Name it.", "Which animal is {this}?"}
    assert set(answers) == {"It is a cat."}


@pytest.mark.parametrize("answer", ["a cat", "{label}", "{text} {name}"])
def test_an_answer_says_where_the_text_goes(tmp_path: Path, answer: str) -> None:
    with pytest.raises(ConfigError, match=r"must say where the \{text\} goes"):
        DatasetSpec.parse({"path": str(tmp_path), "answer": answer}, "data")


def test_what_stands_in_no_class_is_bad(tmp_path: Path) -> None:
    good, bad = read(filled(tmp_path / "pets", "cat/1.png", "2.png", "test/3.png"))
    assert [record.where for record in good] == ["pets/cat/1.png"]
    assert [(item.where, item.why[:40]) for item in bad] == [
        ("pets/2.png", "it stands in no folder that names its cl"),
        ("pets/test/3.png", "it stands in no folder that names its cl"),
    ]


def test_an_empty_file_is_bad_and_hidden_ones_are_not_read(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", "cat/1.png", ".cache/cat/2.png", "cat/.3.png")
    (root / "cat/4.png").touch()
    good, bad = read(root)
    assert [record.where for record in good] == ["pets/cat/1.png"]
    assert bad == [Bad("pets/cat/4.png", "the file 'cat/4.png' is empty")]


def test_globs_reach_into_the_folder(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", "train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    good, _ = read(root, include=("train/*",), exclude=("*/dog/*",))
    assert [record.where for record in good] == ["pets/train/cat/1.png"]


def test_classes_come_mixed_but_always_in_the_same_order(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", *(f"{name}/{index}.png" for name in ("cat", "dog") for index in range(20)))
    stream = RecordStream(DatasetSpec(path=root), shuffle=False, repeat=False)
    answers = [spoken(record)[1] for record in stream]
    assert answers == [
        spoken(record)[1] for record in RecordStream(DatasetSpec(path=root), shuffle=False, repeat=False)
    ]
    assert 0 < answers[:20].count("cat") < 20
    assert sorted(answers) == ["cat"] * 20 + ["dog"] * 20


def test_reading_resumes_after_any_file(tmp_path: Path) -> None:
    root = filled(tmp_path / "pets", "cat/1.png", "2.png", "dog/3.png")
    (file,) = DatasetSpec(path=root).files()
    everything = list(READERS["classes"](file, START))
    for index, (_, position) in enumerate(everything):
        assert position is not None
        assert list(READERS["classes"](file, position)) == everything[index + 1 :]


def test_pictures_beside_conversations_belong_to_them(tmp_path: Path) -> None:
    root = filled(tmp_path / "talks", "cat/1.png", "LICENSE.txt", "readme.md")
    part = {"type": "image", "path": "cat/1.png"}
    talk = {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "A cat."}]}
    (root / "talks.jsonl").write_text(json.dumps(talk))
    good, bad = read(root)
    assert [record.where for record in good] == ["talks/talks.jsonl:1"]
    assert bad == []


# --- metadata --------------------------------------------------------------------------------------------------------


def test_metadata_says_what_a_picture_shows(tmp_path: Path) -> None:
    root = filled(tmp_path / "set", "train/a.png", "train/deep/b.png", "train/unlisted.png")
    rows = 'file_name,text,note\na.png,A cat.,x\ndeep/b.png,"Cats, two.",\ngone.png,A dog.,\n,Nothing.,\n'
    (root / "train/metadata.csv").write_text("\ufeff" + rows, encoding="utf-8")
    good, bad = read(root)
    assert [record.content for record in good] == [
        (Message.user([Image(path=root / "train/a.png"), Text("Describe the picture.")]), Message.assistant("A cat.")),
        (
            Message.user([Image(path=root / "train/deep/b.png"), Text("Describe the picture.")]),
            Message.assistant("Cats, two."),
        ),
    ]
    assert bad == [
        Bad("set/train/metadata.csv:3", f"there is no file 'gone.png' in {root}/train"),
        Bad("set/train/metadata.csv:4", "a row names no file (in 'file_name')"),
    ]


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"transcription": "hello"}, ["Write down what you hear.", "hello"]),
        ({"sentence": "你好吗"}, ["写下你听到的话。", "你好吗"]),
        ({"label": "dog_bark"}, ["What do you hear?", "dog bark"]),
        ({"label": 3}, ["What do you hear?", "3"]),
        ({"question": "Who speaks?", "answer": "Ann."}, ["Who speaks?", "Ann."]),
        ({"question": "Who?", "answers": {"text": ["Ann", "Anna"], "answer_start": [0, 0]}}, ["Who?", "Ann"]),
        ({"captions": ["One.", "Two."]}, ["Write down what you hear.", "One."]),
    ],
)
def test_the_columns_of_metadata_say_what_is_asked(tmp_path: Path, row: dict[str, Any], turns: list[str]) -> None:
    root = filled(tmp_path / "set", "a.wav")
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "a.wav"} | row) + "\n\n")
    (good,), bad = read(root)
    assert spoken(good) == turns
    assert bad == []


def test_a_row_may_show_two_pictures(tmp_path: Path) -> None:
    root = filled(tmp_path / "set", "a.png", "b.png")
    row = {"first_file_name": "a.png", "second_file_name": "b.png", "question": "The same?", "answer": "No."}
    (root / "metadata.jsonl").write_text(json.dumps(row))
    (good,), _ = read(root)
    assert good.media == (Image(path=root / "a.png"), Image(path=root / "b.png"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"file_name": "a.wav"}, "a record needs messages, question and answer, text, .*it has nothing"),
        ({"file_name": "a.wav", "speaker": "Ann"}, "it has speaker"),
        ({"file_name": 3, "text": "x"}, "'file_name' must be a path, not int"),
        ({"file_name": "a.txt", "text": "x"}, "'a.txt' has no ending of a picture or recording"),
        ({"file_name": "a.wav", "text": {"a": 1}}, "text must be a string, not dict"),
    ],
)
def test_a_row_of_another_form_is_bad(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    root = filled(tmp_path / "set", "a.wav", "a.txt")
    (root / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "ok"}\n[1]\n' + json.dumps(row))
    (good,), (not_object, bad) = read(root, format="metadata", include=("*.jsonl",))
    assert spoken(good)[1] == "ok"
    assert not_object.why == "a row must be an object with a 'file_name', not list"
    assert re.search(why, bad.why)


def test_metadata_of_lj_speech_is_told_by_its_bars(tmp_path: Path) -> None:
    root = filled(tmp_path / "lj", "wavs/LJ001-0001.wav")
    lines = "LJ001-0001|Dr. Ann has 2.|Doctor Ann has two.\nLJ001-0002|Gone.|Gone.\nLJ001-0003|short\n"
    (root / "metadata.csv").write_text(lines)
    (good,), bad = read(root)
    assert spoken(good) == ["Write down what you hear.", "Doctor Ann has two."]
    assert [item.why for item in bad] == [
        "there is no recording 'LJ001-0002'",
        "a line needs a name and its text, with '|' between",
    ]


def test_a_table_named_metadata_may_be_any_table(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("user,assistant\nHi,Hello\n")
    (good,), _ = read(tmp_path)
    assert spoken(good) == ["Hi", "Hello"]
