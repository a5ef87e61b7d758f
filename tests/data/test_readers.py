import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data import files, readers
from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, DataFile, Item, Record
from sensorium.errors import DataError
from sensorium.messages import Image, Message, Text

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def items(file: DataFile) -> list[Item]:
    return list(READERS[file.format](file, START))


def contents(file: DataFile) -> list[object]:
    return [item.content if isinstance(item, Record) else item for item, _ in items(file)]


def made(tmp_path: Path, format_: str, data: str | bytes, name: str = "data") -> DataFile:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return DataFile(path, name, format_)


def assert_resumes_anywhere(file: DataFile) -> None:
    """Reading from any position gives just what follows it."""
    everything = items(file)
    resumed = 0
    for index, (_, position) in enumerate(everything):
        if position is not None:
            assert list(READERS[file.format](file, position)) == everything[index + 1 :]
            resumed += 1
    assert resumed


# --- plain text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("auto", ["One.\nTwo.\n\nThree.", "Four.", "Five."]),
        ("paragraph", ["One.\nTwo.", "Three.<|endoftext|>Four.", "<|endoftext|>\nFive."]),
        ("line", ["One.", "Two.", "Three.<|endoftext|>Four.", "<|endoftext|>", "Five."]),
        ("file", ["One.\nTwo.\n\nThree.<|endoftext|>Four.\n\n<|endoftext|>\nFive."]),
    ],
)
def test_plain_text_is_cut_into_documents_as_asked(tmp_path: Path, documents: str, expected: list[str]) -> None:
    text = "One.\nTwo.\n\nThree.<|endoftext|>Four.\n\n<|endoftext|>\nFive.\n"
    file = replace(made(tmp_path, "text", text), documents=documents)
    assert contents(file) == expected
    assert contents(replace(made(tmp_path, "text", text.replace("\n", "\r\n")), documents=documents)) == expected


@settings(max_examples=50)
@given(st.text(st.sampled_from("ab é中🙂\n"), max_size=400), st.integers(1, 50), st.sampled_from(["auto", "file"]))
def test_stretches_of_a_long_text_add_up_to_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, limit: int, documents: str
) -> None:
    file = made(tmp_path_factory.mktemp("text"), "text", text)
    file = replace(file, documents=documents, document_chars=limit)
    assert "".join("".join(map(str, contents(file))).split()) == "".join(text.split())


def test_reading_text_goes_on_from_any_document(tmp_path: Path) -> None:
    text = "A story.\nIts end.<|endoftext|>Another 中文。<|endoftext|>\n\nA third,\nin two lines.\n<|endoftext|>"
    assert_resumes_anywhere(made(tmp_path, "text", text))
    assert_resumes_anywhere(replace(made(tmp_path, "text", text * 20), document_chars=10))


def test_text_without_line_ends_is_read_in_steps_of_whole_characters(tmp_path: Path) -> None:
    text = "中文🙂é" * 20_000
    file = replace(made(tmp_path, "text", text), document_chars=1000)
    found = contents(file)
    assert len(found) > 10
    assert "".join(map(str, found)) == text
    assert_resumes_anywhere(file)


def test_separators_are_found_wherever_a_step_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stories = [f"story {n} 中文" * (n % 7) for n in range(1, 60)]
    expected = [story for story in stories if story]
    file = made(tmp_path, "text", "<|endoftext|>".join(stories))
    for step in range(16, 60):
        monkeypatch.setattr(readers, "_STEP", step)
        assert contents(file) == expected
    assert_resumes_anywhere(file)
    assert_resumes_anywhere(replace(file, document_chars=20))


def test_a_line_that_is_not_utf8_is_named_and_the_rest_read(tmp_path: Path) -> None:
    file = made(tmp_path, "text", b"fine\n\xff\xfe broken\nalso fine\n", "notes.txt")
    bad, good = contents(file)
    assert isinstance(bad, Bad)
    assert bad.where == "notes.txt:2"
    assert bad.why.startswith("not UTF-8: invalid start byte at byte 0")
    assert good == "fine\nalso fine"
    (_, cut) = contents(made(tmp_path, "text", "fine\nends 中".encode()[:-1], "notes.txt"))[::-1]
    assert isinstance(cut, Bad)
    assert cut.where == "notes.txt:2"


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_jsonl_holds_text_and_messages_with_other_keys_left_alone(tmp_path: Path) -> None:
    lines = [{"text": "A story.", "id": 7}, {"messages": TALK, "text": None}]
    file = made(tmp_path, "jsonl", "\n\n".join(map(json.dumps, lines)))
    assert contents(file) == ["A story.", (Message.user("Hi"), Message.assistant("Hello"))]
    assert [item.where for item, _ in items(file)] == ["data:1", "data:3"]
    assert_resumes_anywhere(file)


def test_media_in_messages_is_found_beside_the_file(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": "?"}]}, TALK[1]]
    (content,) = contents(made(tmp_path, "jsonl", json.dumps({"messages": talk})))
    assert content == (Message("user", (Image(path=tmp_path / "a.png"), Text("?"))), Message.assistant("Hello"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": "cut', "not JSON: Unterminated string starting at at column 10"),
        ("[1, 2]", "a record must be an object with 'text' or 'messages', not list"),
        ('{"txt": "a"}', "a record needs exactly one of 'text' and 'messages' (it has txt)"),
        (
            '{"text": "a", "messages": []}',
            "a record needs exactly one of 'text' and 'messages' (it has messages, text)",
        ),
        ('{"text": 3}', "text must be a string, not int"),
        ('{"text": "  "}', "text is empty"),
        ('{"text": "\\ud800"}', "text holds a lone surrogate at character 0: it is not Unicode"),
        ('{"messages": []}', "a conversation must be a non-empty list of messages"),
        ('{"messages": [{"role": "usr", "content": ""}]}', "message 0: unknown role 'usr' (did you mean 'user'?)"),
        ("[" * 100_000, "not JSON"),
        ('{"text": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_a_corrupt_line_is_named_with_its_reason(tmp_path: Path, line: str, why: str) -> None:
    first, bad, last = contents(made(tmp_path, "jsonl", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n', "x.jsonl"))
    assert (first, last) == ("a", "b")
    assert isinstance(bad, Bad)
    assert bad.where == "x.jsonl:2"
    assert bad.why.startswith(why)


def test_a_line_beyond_the_limit_is_named_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE", 64)
    lines = [json.dumps({"text": "x" * n}) for n in (3, 51, 52, 53, 200, 300)]
    file = made(tmp_path, "jsonl", "\n".join(lines), "x.jsonl")
    found = contents(file)
    assert [isinstance(content, Bad) for content in found] == [False, False, False, True, True, True]
    assert [item.where for item, _ in items(file)] == [f"x.jsonl:{n}" for n in range(1, 7)]
    assert_resumes_anywhere(file)


def test_json_lists_of_strings_or_records(tmp_path: Path) -> None:
    assert contents(made(tmp_path, "json", json.dumps(["a", {"text": "b"}, {"messages": TALK}]))) == [
        "a",
        "b",
        (Message.user("Hi"), Message.assistant("Hello")),
    ]
    file = made(tmp_path, "json", json.dumps({"texts": ["a", "b", 3, "c"]}))
    assert_resumes_anywhere(file)
    assert [str(getattr(content, "why", content)) for content in contents(file)] == [
        "a",
        "b",
        "a record must be an object with 'text' or 'messages', not int",
        "c",
    ]


def test_a_json_file_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^a.json is not JSON: Expecting value at line 2 column 1$"):
        items(made(tmp_path, "json", "[1,\n", "a.json"))
    with pytest.raises(DataError, match="must hold a list of records, not int"):
        items(made(tmp_path, "json", "3"))
    monkeypatch.setattr(files, "MAX_WHOLE", 10)
    with pytest.raises(DataError, match=r"the limit of a file read whole \(convert it to JSONL\)"):
        items(made(tmp_path, "json", '["0123456789"]'))


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1, max_size=8))
def test_any_text_survives_every_container(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("containers")
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    assert contents(made(folder, "jsonl", lines)) == texts
    assert contents(made(folder, "jsonl", gzip.compress(lines.encode()), "data.gz")) == texts
    assert contents(made(folder, "json", json.dumps(texts))) == texts
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), folder / "t.parquet", row_group_size=3)
    assert contents(DataFile(folder / "t.parquet", "t", "parquet")) == texts


# --- parquet and tables ----------------------------------------------------------------------------------------------


def test_parquet_is_read_by_row_groups_and_resumes_in_any(tmp_path: Path) -> None:
    texts = [f"story {n}" for n in range(10)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "id": range(10)}), tmp_path / "a", row_group_size=4)
    file = DataFile(tmp_path / "a", "a.parquet", "parquet")
    assert contents(file) == texts
    assert [item.where for item, _ in items(file)] == [f"a.parquet:{n}" for n in range(1, 11)]
    assert_resumes_anywhere(file)


def test_parquet_holds_messages(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"messages": [TALK, None, TALK]}), tmp_path / "a")
    talk = (Message.user("Hi"), Message.assistant("Hello"))
    first, bad, last = contents(DataFile(tmp_path / "a", "a", "parquet"))
    assert (first, last) == (talk, talk)
    assert bad == Bad("a:2", "a conversation must be a non-empty list of messages")


def test_parquet_leaves_out_keys_that_only_other_rows_have(tmp_path: Path) -> None:
    shown = {"type": "image", "text": None, "path": "cat.png"}
    asked = {"type": "text", "text": "What is it?", "path": None}
    talk = [{"role": "user", "content": [shown, asked]}, {"role": "assistant", "content": [asked | {"text": "A cat"}]}]
    pyarrow.parquet.write_table(pyarrow.table({"messages": [talk]}), tmp_path / "data.parquet")
    user, answer = contents(DataFile(tmp_path / "data.parquet", "data", "parquet"))[0]  # type: ignore[misc]
    assert user.parts == (Image(path=tmp_path / "cat.png"), Text("What is it?"))
    assert answer.text == "A cat"


def test_a_text_in_parquet_that_is_not_utf8_is_named_and_the_rest_read(tmp_path: Path) -> None:
    raw = pyarrow.array([b"sound", b"\xff", b"sound too"], pyarrow.binary())
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "data.parquet")
    first, bad, last = contents(DataFile(tmp_path / "data.parquet", "data", "parquet"))
    assert (first, last) == ("sound", "sound too")
    assert bad == Bad("data:2", "not UTF-8: invalid start byte at byte 0 of the text")


def test_parquet_may_be_compressed_as_a_whole(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "data.parquet")
    packed = made(tmp_path, "parquet", gzip.compress((tmp_path / "data.parquet").read_bytes()), "data.parquet.gz")
    assert contents(packed) == ["one", "two"]


def test_a_truncated_or_foreign_parquet_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    pyarrow.parquet.write_table(pyarrow.table({"story": ["a"] * 100}), path)
    file = DataFile(path, "a.parquet", "parquet")
    with pytest.raises(DataError, match=r"neither a 'text' nor a 'messages' column \(it has \['story'\]\)"):
        items(file)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a.parquet is not a sound parquet file: .* \(fetch it again\)$"):
        items(file)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        items(file)


def test_tables_of_text_and_of_pairs(tmp_path: Path) -> None:
    file = made(tmp_path, "csv", 'id,text\n1,"A story,\nin two lines."\n2,\n3,Another.\n', "a.csv")
    first, bad, last = contents(file)
    assert (first, last) == ("A story,\nin two lines.", "Another.")
    assert bad == Bad("a.csv:2", "text is empty")
    assert_resumes_anywhere(file)
    talk = (Message.user("Hi"), Message.assistant("Hello"))
    assert contents(made(tmp_path, "tsv", "question\tanswer\nHi\tHello\n")) == [talk]
    assert contents(made(tmp_path, "pairs", "Hi\tHello\nalone\n")) == [
        talk,
        Bad("data:2", "a line needs a turn, a tab and its answer"),
    ]


def test_a_table_without_known_columns_is_an_error_that_shows_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs a header with 'text'.*it has \['Hi', 'Hello'\].*format 'pairs'"):
        items(made(tmp_path, "csv", "Hi,Hello\n"))
