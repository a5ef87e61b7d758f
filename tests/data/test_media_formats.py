"""The pictures and recordings of the registry, read from their real files."""

import gzip
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sensorium.config import AudioConfig, ImageConfig
from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, DataFile, Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.errors import DataError
from sensorium.messages import Audio, Image
from sensorium.processing.audio import load_audio
from sensorium.processing.images import load_image


def records(source: str, **settings: Any) -> list[Record]:
    stream = RecordStream(DatasetSpec(source=source, **settings), shuffle=False, repeat=False)
    found = list(stream)
    assert len(stream.ledger) == 0
    return found


def turns(record: Record) -> list[str]:
    assert not isinstance(record.content, str)
    return [message.text for message in record.content]


pytestmark = pytest.mark.usefixtures("shared_data")


@pytest.mark.parametrize(
    ("source", "count", "question", "answer"),
    [
        ("storybook_images", 3250, "What does this page of the picture book tell?", "His hoe was too short."),
        ("cifar10", 10_000, "What is this?", "airplane"),
        ("mnist_t10k", 10_000, "Which digit is this?", "7"),
        ("easy_vqa", 38_575, "what is the blue shape?", "rectangle"),
        ("nlvr", 989, "There is a tower with four blocks. True or false?", "true"),
        ("noto_emoji", 3348, "这是哪个表情符号？", "书呆子脸"),
    ],
)
def test_pictures_with_what_is_asked_about_them(source: str, count: int, question: str, answer: str) -> None:
    found = records(source)
    assert len(found) == count
    assert [question, answer] in map(turns, found)
    (picture,) = found[0].media
    assert isinstance(picture, Image)
    assert min(load_image(picture, ImageConfig()).size) >= 28


@pytest.mark.parametrize(
    ("source", "count", "question", "answer"),
    [
        ("fsdd", 1800, "Which digit is spoken?", "seven"),
        ("librispeech", 84, "Write down what you hear.", "northanger abbey"),
        ("ljspeech", 12, "Write down what you hear.", "in being comparatively modern."),
        ("aishell", 90, "写下你听到的话。", "那很不明智"),
        ("audio_cmn", 2567, "写下你听到的词。", "一会儿"),
        ("audio_cmn", 2567, "写下你听到的音节的拼音。", "bai2"),
        ("audio_cmn", 2567, "写下你听到的词。", "从…出发"),
    ],
)
def test_recordings_with_what_is_said(source: str, count: int, question: str, answer: str) -> None:
    found = records(source)
    assert len(found) == count
    assert [question, answer] in map(turns, found)
    (recording,) = found[0].media
    assert isinstance(recording, Audio)
    assert len(load_audio(recording, AudioConfig())) > 2000


def test_ten_classes_and_ten_digits() -> None:
    classes = Counter(turns(record)[1] for record in records("cifar10", include=("test_5k.tar",)))
    assert len(classes) == 10
    assert set(classes.values()) == {500}
    digits = Counter(turns(record)[1] for record in records("fsdd"))
    assert set(digits.values()) == {180}
    assert set(digits) == set("zero one two three four five six seven eight nine".split())


def test_a_speaker_and_a_chapter_are_held_out() -> None:
    held_out = records("fsdd", split="validation")
    assert len(held_out) == 300
    assert {record.group for record in held_out} == {"theo"}
    assert {record.group for record in records("fsdd", split="train")} == {
        "george",
        "jackson",
        "lucas",
        "nicolas",
        "yweweler",
    }
    assert {record.group for record in records("librispeech", split="validation")} == {"27-123349"}
    assert {record.group for record in records("librispeech", split="train")} == {"19-198", "26-495"}
    mandarin = [{record.group for record in records("aishell", split=split)} for split in ("train", "validation")]
    assert [len(groups) for groups in mandarin] == [11, 20]  # ten of AISHELL-3's speakers, and S0913 without a group
    assert not mandarin[0] & mandarin[1]


def test_globs_reach_recordings_in_an_archive() -> None:
    wanted = records("fsdd", include=("*/7_*",), exclude=("*_theo_*", "*_1?.wav"))
    assert {turns(record)[1] for record in wanted} == {"seven"}
    assert len(wanted) == 5 * 20


@pytest.mark.parametrize(("source", "fraction"), [("storybook_images", 0.3), ("easy_vqa", 0.05), ("noto_emoji", 0.1)])
def test_no_story_and_no_picture_falls_on_both_sides(source: str, fraction: float) -> None:
    sides = []
    for split in ("train", "validation"):
        found = records(source, split=split, validation_fraction=fraction)
        sides.append({record.group or record.media for record in found})
    train, validation = sides
    assert not train & validation
    assert fraction / 2 < len(validation) / (len(train) + len(validation)) < 2 * fraction


def test_stories_that_share_a_picture_fall_on_one_side() -> None:
    train, validation = (
        records("storybook_images", split=split, validation_fraction=0.3) for split in ("train", "validation")
    )
    assert len(validation) == 374
    assert not {record.media for record in train} & {record.media for record in validation}


def test_all_that_is_asked_by_a_sentence_of_nlvr_falls_on_one_side() -> None:
    train, validation = (records("nlvr", split=split, validation_fraction=0.35) for split in ("train", "validation"))
    assert len(validation) == 355
    assert not {turns(record)[0].casefold() for record in train} & {
        turns(record)[0].casefold() for record in validation
    }


def test_what_may_not_train_shipped_weights_is_refused() -> None:
    for source in ("cifar10", "fsdd", "audio_cmn", "mnist_t10k"):
        with pytest.raises(DataError, match="may not train weights that ship"):
            DatasetSpec(source=source, ship=True).files()
    assert len(DatasetSpec(source="librispeech", ship=True).files()) == 1


# --- what is broken ---------------------------------------------------------------------------------------------------


def read(file: DataFile) -> list[Record | Bad]:
    return [item for item, _ in READERS[file.format](file, START)]


def test_an_idx_file_that_holds_too_little_is_refused(tmp_path: Path) -> None:
    labels = gzip.compress(struct.pack(">ii", 2049, 2) + b"\1\2" + bytes(6))
    (tmp_path / "labels.gz").write_bytes(labels)
    for pixels, why in (
        (struct.pack(">iiii", 2051, 2, 3, 3) + bytes(17), "does not hold the 2 pictures and labels it announces"),
        (struct.pack(">iiii", 7, 2, 3, 3) + bytes(18), "is no idx file of the expected kind"),
        (b"", "is no idx file of the expected kind"),
    ):
        (tmp_path / "images.gz").write_bytes(gzip.compress(pixels))
        with pytest.raises(DataError, match=why):
            read(DataFile(tmp_path / "images.gz", "images.gz", "idx", options={"labels": "labels.gz"}))


def test_rows_of_another_form_are_bad(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    (tmp_path / "list.json").write_text('[["what?", "that", 1], ["what?"], 7, ["what?", "that", 2], ["", "that", 1]]')
    file = DataFile(tmp_path / "list.json", "list.json", "easy_vqa")
    whys = [item.why for item in read(file) if isinstance(item, Bad)]
    assert len(whys) == 5
    assert whys[1].startswith("a row has another form: ValueError")
    assert whys[2].startswith("a row has another form: TypeError")
    (tmp_path / "list.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"list\.json must hold a list, not dict"):
        read(file)


def test_broken_pages_are_bad_and_join_no_stories(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, data in (("a", b"1"), ("b", b"1"), ("c", b"2"), ("d", b"3"), ("e", b"2")):
        (tmp_path / "pictures" / f"{name}.jpg").write_bytes(data)
    pages = [("a", "7"), ("b", "2"), ("c", "2"), ("d", "5"), ("e", "9"), ("lost", "5")]
    lines = [f'{{"image": "{name}.jpg", "story": "{story}", "text": "Look!"}}' for name, story in pages]
    lines += ["{", "3", '{"text": "Look!"}', "", '{"image": "d.jpg", "story": "5", "text": " "}']
    (tmp_path / "pages.jsonl").write_text("\n".join(lines))
    found = read(
        DataFile(
            tmp_path / "pages.jsonl",
            "pages.jsonl",
            "storybook_pages",
            options={"media": "pictures", "prompt": "What does it tell?"},
        )
    )
    groups = [item.group for item in found if isinstance(item, Record)]
    assert groups == ["story 2", "story 2", "story 2", "story 5", "story 2"]  # 7, 2 and 9 lend each other pictures
    assert [item.where for item in found if isinstance(item, Bad)] == [f"pages.jsonl:{line}" for line in (6, 7, 8, 9)]


def test_names_of_another_form_are_bad(tmp_path: Path) -> None:
    for name in ("7_ann_3.wav", "seven.wav"):
        (tmp_path / name).write_bytes(b"x")
    good, bad = sorted(read(DataFile(tmp_path, "digits", "spoken_digits")), key=lambda item: item.where)
    assert isinstance(good, Record)
    assert turns(good)[1] == "seven"
    assert bad == Bad("digits/seven.wav", "its name is not digit_speaker_index")
