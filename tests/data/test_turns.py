import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, DataFile, Record
from sensorium.messages import Audio, Image, Message, Text

PNG = b"\x89PNG\r\n\x1a\n and so on"
WAV = b"RIFF....WAVE and so on"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for name in ("pictures/a.png", "pictures/b.png"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "c.wav").write_bytes(WAV)
    return tmp_path


def read(folder: Path, *records: Any, format_: str = "json", **settings: Any) -> list[Any]:
    """The content of each record, or why it is bad."""
    path = folder / f"data.{format_}"
    path.write_text(json.dumps(records) if format_ == "json" else "\n".join(map(json.dumps, records)))
    items = [item for item, _ in READERS[format_](DataFile(path, path.name, format_, **settings), START)]
    return [item.content if isinstance(item, Record) else item.why for item in items]


@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_llava_puts_the_picture_where_it_is_marked(folder: Path, format_: str) -> None:
    record = {
        "id": "1",
        "image": "pictures/a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is this?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "What colour?"},
            {"from": "gpt", "value": "Red."},
        ],
    }
    assert read(folder, record, format_=format_) == [
        (
            Message.user([Image(path=folder / "pictures/a.png"), Text("What is this?")]),
            Message.assistant("A cat."),
            Message.user("What colour?"),
            Message.assistant("Red."),
        )
    ]


def test_several_pictures_and_recordings_fill_their_places_in_order(folder: Path) -> None:
    record = {
        "images": ["pictures/a.png", {"path": "pictures/b.png"}],
        "audios": ["c.wav"],
        "messages": [
            {"role": "user", "content": "First <image> then\n<audio>\nnow <image>"},
            {"role": "assistant", "content": "Yes."},
        ],
    }
    ((user, _),) = read(folder, record)
    first, second, sound = (
        Image(path=folder / "pictures/a.png"),
        Image(path=folder / "pictures/b.png"),
        Audio(path=folder / "c.wav"),
    )
    assert user.parts == (Text("First "), first, Text(" then"), sound, Text("now "), second)


def test_parts_that_name_no_picture_take_the_next_one(folder: Path) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "A cat."}]
    ((user, _),) = read(folder, {"images": ["pictures/a.png"], "messages": messages})
    assert user == Message.user([Image(path=folder / "pictures/a.png"), Text("What is it?")])


def test_without_a_marked_place_the_picture_comes_first(folder: Path) -> None:
    talk = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A cat."}]
    (messages,) = read(folder, {"image": "pictures/a.png", "conversations": talk, "system": "Be brief."})
    assert messages == (
        Message.system("Be brief."),
        Message.user([Image(path=folder / "pictures/a.png"), Text("What is it?")]),
        Message.assistant("A cat."),
    )


def test_sharegpt_of_words_alone_may_speak_of_image_tags(folder: Path) -> None:
    talk = [{"from": "human", "value": "What does <image> do in SVG?"}, {"from": "gpt", "value": "It embeds one."}]
    assert read(folder, {"image": "", "conversations": talk}) == [
        (Message.user("What does <image> do in SVG?"), Message.assistant("It embeds one."))
    ]


def test_a_record_with_a_picture_may_be_a_caption_or_a_question(folder: Path) -> None:
    caption, question = read(
        folder,
        {"image": "pictures/a.png", "text": "A red cat."},
        {"image": "pictures/a.png", "question": "What is it?", "answer": "A cat."},
    )
    picture = Image(path=folder / "pictures/a.png")
    assert caption == (Message.user([picture, Text("Describe the picture.")]), Message.assistant("A red cat."))
    assert question == (Message.user([picture, Text("What is it?")]), Message.assistant("A cat."))


def test_media_may_be_inline_or_elsewhere(folder: Path) -> None:
    encoded = base64.b64encode(PNG).decode()
    talk = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    given = [
        f"data:image/png;base64,{encoded}",
        {"data": encoded},
        {"bytes": None, "url": "https://there/a.png"},
        "https://there/a.png",
    ]
    contents = read(folder, *({"image": value, "conversations": talk} for value in given))
    assert [content[0].parts[0] for content in contents] == [
        Image(data=PNG),
        Image(data=PNG),
        Image(url="https://there/a.png"),
        Image(url="https://there/a.png"),
    ]


def test_messages_hold_media_by_path_from_the_file_and_inline(folder: Path) -> None:
    parts = [{"type": "image", "path": "pictures/a.png"}, {"type": "audio", "data": base64.b64encode(WAV).decode()}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Both."}]
    ((user, _),) = read(folder, {"messages": messages}, format_="jsonl")
    assert user.parts == (Image(path=folder / "pictures/a.png"), Audio(data=WAV))


def test_paths_may_begin_in_another_folder(folder: Path) -> None:
    talk = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "That."}]
    record = {"image": "a.png", "conversations": talk}
    ((user, _),) = read(folder, record, media_folder=folder / "pictures")
    assert user.parts[0] == Image(path=folder / "pictures" / "a.png")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"image": "gone.png", "conversations": []}, r"there is no file 'gone.png' in "),
        ({"image": 7, "conversations": []}, "a picture or recording must be a path, an address or bytes, not 7"),
        ({"image": "data:image/png,abc", "conversations": []}, "is no base64 data address"),
        ({"image": {"data": "?"}, "conversations": []}, "is not base64"),
        ({"image": "c\0.png", "conversations": []}, "there is no file"),
        ({"conversations": []}, "a conversation must be a non-empty list of messages"),
        ({"conversations": [{"from": "humna", "value": "x"}]}, r"unknown speaker 'humna' \(did you mean 'human'\?\)"),
        ({"conversations": [{"value": "x"}]}, "message 0: a turn needs 'from' and 'value', or 'role' and 'content'"),
        ({"conversations": ["x"]}, "message 0: a turn must be an object, not str"),
        ({"conversations": [{"from": "human", "value": 7}]}, "message 0: content must be a string or a list, not int"),
        (
            {"image": "c.wav", "conversations": [{"from": "human", "value": "<image> <image>"}]},
            r"more places are marked <image> than the record has \(1 in all\)",
        ),
        (
            {"images": ["c.wav", "c.wav"], "conversations": [{"from": "human", "value": "<image>"}]},
            "2 pictures or recordings are given, but 1 of them have no place",
        ),
        ({"image": "c.wav", "score": 1}, r"a record needs messages, .* or label \(it has score\)"),
        ({"image": "c.wav", "question": "What?", "answer": ""}, "text is empty"),
    ],
)
def test_a_record_of_another_form_is_named(folder: Path, record: dict[str, Any], why: str) -> None:
    (found,) = read(folder, record)
    assert isinstance(found, str)
    assert re.search(why, found), found


def test_a_missing_picture_is_bad_and_the_rest_is_read(folder: Path) -> None:
    talk = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "That."}]
    records = [{"image": name, "conversations": talk} for name in ("pictures/a.png", "gone.png", "pictures/b.png")]
    path = folder / "data.json"
    path.write_text(json.dumps(records))
    items = [item for item, _ in READERS["json"](DataFile(path, "data.json", "json"), START)]
    assert [type(item) for item in items] == [Record, Bad, Record]
    assert items[1].where == "data.json:2"
