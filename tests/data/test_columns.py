import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from sensorium.data import columns
from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, DataFile, Item, Record
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.messages import Audio, Image, Message, Text

PNG = b"\x89PNG\r\n\x1a\n and so on"
WAV = b"RIFF....WAVE and so on"
ENCODED = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def encoded(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def table_of(rows: list[dict[str, Any]], types: dict[str, Any], features: Any = None) -> pyarrow.Table:
    """A table as `datasets` writes it: with its features beside the schema."""
    schema = pyarrow.schema([(name, types.get(name, ENCODED)) for name in rows[0]])
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    if features is None:
        return table
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def written(tmp_path: Path, table: pyarrow.Table, format_: str) -> DataFile:
    path = tmp_path / f"data.{format_}"
    if format_ == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    else:
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return DataFile(path, path.name, format_)


def items(file: DataFile) -> list[Item]:
    return list(READERS[file.format](file, START))


def contents(file: DataFile) -> list[Any]:
    return [item.content if isinstance(item, Record) else item.why for item, _ in items(file)]


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_labels_are_named_by_the_features(tmp_path: Path, format_: str) -> None:
    (tmp_path / "there.png").write_bytes(PNG)
    rows = [
        {"image": encoded(PNG, "a.png"), "label": 1},
        {"image": encoded(None, "there.png"), "label": 0},
        {"image": encoded(PNG), "label": 2},
        {"image": None, "label": 1},
        {"image": encoded(None, "gone.png"), "label": 1},
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "barn_owl"], "_type": "ClassLabel"}}
    file = written(tmp_path, table_of(rows, {"label": pyarrow.int64()}, features), format_)
    question = Text("What is this?")
    assert contents(file) == [
        (Message.user([Image(data=PNG), question]), Message.assistant("barn owl")),
        (Message.user([Image(path=tmp_path / "there.png"), question]), Message.assistant("cat")),
        "class 2 of 'label' is none of the 2 that are named",
        "a record needs text or messages (it has label)",
        f"there is no file 'gone.png' in {tmp_path}",
    ]


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_recordings_with_transcriptions_resume_anywhere(tmp_path: Path, format_: str) -> None:
    rows = [{"audio": encoded(WAV), "sentence": f"number {index}", "speaker_id": index} for index in range(7)]
    types = {"sentence": pyarrow.string(), "speaker_id": pyarrow.int64()}
    file = written(tmp_path, table_of(rows, types), format_)
    everything = items(file)
    assert [item.where for item, _ in everything] == [f"data.{format_}:{index + 1}" for index in range(7)]
    for index, (item, position) in enumerate(everything):
        assert isinstance(item, Record)
        assert item.content == (
            Message.user([Audio(data=WAV), Text("Write down what you hear.")]),
            Message.assistant(f"number {index}"),
        )
        assert position is not None
        assert list(READERS[format_](file, position)) == everything[index + 1 :]


def test_what_a_column_holds_is_told_by_feature_name_or_type(tmp_path: Path) -> None:
    words = pyarrow.string()
    named = table_of([{"speech": WAV, "text": "hi"}], {"speech": pyarrow.binary(), "text": words})
    assert contents(written(tmp_path, named, "parquet"))[0][0].parts[0] == Audio(data=WAV)
    featured = table_of([{"x": encoded(b"?"), "text": "hi"}], {"text": words}, {"x": {"_type": "Audio"}})
    assert contents(written(tmp_path, featured, "parquet"))[0][0].parts[0] == Audio(data=b"?")
    typed = table_of([{"x": encoded(PNG), "text": "hi"}], {"text": words})
    assert contents(written(tmp_path, typed, "parquet"))[0][0].parts[0] == Image(data=PNG)


@pytest.mark.parametrize("feature", [None, {"feature": {"_type": "Image"}, "_type": "Sequence"}, [{"_type": "Image"}]])
def test_lists_of_pictures_fill_the_places_of_a_conversation(tmp_path: Path, feature: Any) -> None:
    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    types = {"images": pyarrow.list_(ENCODED), "messages": pyarrow.list_(turn)}
    messages = [{"role": "user", "content": "<image> or <image>?"}, {"role": "assistant", "content": "The first."}]
    rows = [{"images": [encoded(PNG), encoded(WAV)], "messages": messages}]
    table = table_of(rows, types, {"images": feature})
    ((user, answer),) = contents(written(tmp_path, table, "parquet"))
    assert user.parts == (Image(data=PNG), Text(" or "), Image(data=WAV), Text("?"))
    assert answer == Message.assistant("The first.")


def test_questions_about_pictures(tmp_path: Path) -> None:
    words = pyarrow.string()
    types = {"question": words, "answers": pyarrow.list_(words)}
    rows = [{"image": encoded(PNG), "question": "What?", "answers": ["A cat", "cat"]}]
    (talk,) = contents(written(tmp_path, table_of(rows, types), "parquet"))
    assert talk == (Message.user([Image(data=PNG), Text("What?")]), Message.assistant("A cat"))


def test_pairs_without_pictures_are_dialogues(tmp_path: Path) -> None:
    table = pyarrow.table({"question": ["Hi?"], "answer": ["Yes."], "id": [1]})
    assert contents(written(tmp_path, table, "parquet")) == [(Message.user("Hi?"), Message.assistant("Yes."))]


def test_few_rows_with_pictures_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_MEDIA_ROWS", 3)
    rows = [{"image": encoded(PNG + bytes([index])), "text": str(index)} for index in range(10)]
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(table_of(rows, {"text": pyarrow.string()}), path)
    file = DataFile(path, "data.parquet", "parquet")
    assert [talk[1].text for talk in contents(file)] == [str(index) for index in range(10)]


def test_arrow_may_be_a_file_with_an_index(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", "two"]})
    with pyarrow.OSFile(str(tmp_path / "data.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert contents(DataFile(tmp_path / "data.arrow", "data.arrow", "arrow")) == ["one", "two"]


@pytest.mark.parametrize("data", [b"", b"not arrow", b"ARROW1 and then nothing", b"\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_a_broken_arrow_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data.arrow").write_bytes(data)
    with pytest.raises(DataError, match=r"data\.arrow is not a sound Arrow file: .*fetch it again"):
        items(DataFile(tmp_path / "data.arrow", "data.arrow", "arrow"))
    with pytest.raises(DataError, match=r"gone\.arrow does not exist"):
        items(DataFile(tmp_path / "gone.arrow", "gone.arrow", "arrow"))


def test_an_arrow_file_cut_anywhere_is_an_error_or_shorter(tmp_path: Path) -> None:
    rows = [{"image": encoded(PNG), "text": f"number {index}"} for index in range(5)]
    file = written(tmp_path, table_of(rows, {"text": pyarrow.string()}), "arrow")
    whole = file.path.read_bytes()
    read = contents(file)
    for end in range(0, len(whole), 97):
        file.path.write_bytes(whole[:end])
        with suppress(DataError):  # anything but a crash, a hang or another record
            assert contents(file) == read[: len(contents(file))]


def test_a_folder_that_datasets_saved_is_read_as_it_is(tmp_path: Path) -> None:
    import datasets

    pictures = []
    for index, name in enumerate(("a.png", "b.png")):
        PIL.Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / name)
        pictures.append(str(tmp_path / name))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict({"image": pictures, "label": [1, 0]}, features=features)
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "packed" / "data.parquet")
    (tmp_path / "packed" / "README.md").write_text("# About")
    for folder in ("saved", "packed"):
        files = DatasetSpec(path=tmp_path / folder).files()
        found = [content for file in files for content in contents(file)]
        assert [talk[1].text for talk in found] == ["dog", "cat"]
        assert all(isinstance(talk[0].parts[0], Image) for talk in found)


def test_a_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    words = pyarrow.array([b"\xff", b"fine"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"image": pyarrow.array([encoded(PNG)] * 2, ENCODED), "text": words})
    bad, good = items(written(tmp_path, table, "parquet"))
    assert isinstance(bad[0], Bad)
    assert bad[0].why == "not UTF-8: invalid start byte at byte 0 of the text"
    assert isinstance(good[0], Record)
