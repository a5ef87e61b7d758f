import gzip
import io
import re
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data import archives
from sensorium.data.archives import Archive, Member, TarReader, open_archive
from sensorium.data.formats import READERS
from sensorium.data.records import START, Bad, DataFile, Item, Record
from sensorium.errors import DataError
from sensorium.messages import Audio, Image, Message, Text

PNG = b"\x89PNG\r\n\x1a\n and so on"


def packed(members: dict[str, bytes | str], format_: int = tarfile.PAX_FORMAT, end: bool = True) -> bytes:
    """A tar archive of files; a value that is a string makes the member a link to it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        size = archive.offset
    return out.getvalue() if end else out.getvalue()[:size]


def made(tmp_path: Path, data: bytes, name: str = "a.tar", **settings: Any) -> DataFile:
    path = tmp_path / name
    path.write_bytes(data)
    return DataFile(path, name, "webdataset", **settings)


def items(file: DataFile, start: tuple[int, int] = START) -> list[Item]:
    return list(READERS["webdataset"](file, start))


def contents(file: DataFile) -> list[Any]:
    return [item.content if isinstance(item, Record) else item for item, _ in items(file)]


# --- WebDataset ------------------------------------------------------------------------------------------------------


SHARD: dict[str, bytes | str] = {
    "0001.jpg": PNG,
    "0001.txt": "一只猫。".encode(),
    "0002.png": PNG,
    "0002.cls": b"7",
    "0003.wav": b"RIFF",
    "0003.json": b'{"transcription": "hello", "seconds": 1.5}',
    "0004.left.png": PNG,
    "0004.right.png": PNG + b"!",
    "0004.json": b'[{"role": "user", "content": "<image> or <image>?"}, {"role": "assistant", "content": "Left."}]',
    "train/tabby_cat/0005.png": PNG,
    "0006.json": b'{"text": "Words alone."}',
}


def test_a_sample_is_what_stands_under_one_name(tmp_path: Path) -> None:
    picture = Image(data=PNG)
    assert contents(made(tmp_path, packed(SHARD))) == [
        (Message.user([picture, Text("描述这幅图。")]), Message.assistant("一只猫。")),
        (Message.user([picture, Text("What is this?")]), Message.assistant("7")),
        (Message.user([Audio(data=b"RIFF"), Text("Write down what you hear.")]), Message.assistant("hello")),
        (Message.user([picture, Text(" or "), Image(data=PNG + b"!"), Text("?")]), Message.assistant("Left.")),
        (Message.user([picture, Text("What is this?")]), Message.assistant("tabby cat")),
        "Words alone.",
    ]


@pytest.mark.parametrize("compress", [None, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shard_resumes_at_any_sample(tmp_path: Path, compress: Any, format_: int) -> None:
    long = {f"{'deep/' * 20}{index:04}.{ending}": b"7" * 512 * index for index in range(3) for ending in ("png", "txt")}
    data = packed(SHARD | long if format_ != tarfile.USTAR_FORMAT else SHARD, format_)
    ending = {None: "", gzip.compress: ".gz", zstandard.compress: ".zst"}[compress]
    file = made(tmp_path, compress(data) if compress else data, f"a.tar{ending}")
    everything = items(file)
    positions = [position for _, position in everything if position is not None]
    assert len(positions) >= 5
    for index, (_, position) in enumerate(everything):
        if position is not None:
            assert items(file, position) == everything[index + 1 :]


def test_a_shard_that_the_webdataset_library_wrote(tmp_path: Path) -> None:
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        sink.write({"__key__": "one", "jpg": PNG, "txt": "A cat.", "json": {"width": 3}})
        sink.write({"__key__": "two", "png": PNG, "cls": 4})
    answers = [content[1].text for content in contents(DataFile(tmp_path / "a.tar", "a.tar", "webdataset"))]
    assert answers == ["A cat.", "4"]


def test_globs_choose_samples_by_name(tmp_path: Path) -> None:
    file = made(tmp_path, packed(SHARD), include=("000[12].*",), exclude=("*.cls", "0002.png"))
    assert len(contents(file)) == 1


@pytest.mark.parametrize(
    ("members", "where", "why"),
    [
        ({"1.png": PNG}, "a.tar/1", "it stands in no folder that names its class"),
        ({"test/1.png": PNG}, "a.tar/test/1", "it stands in no folder that names its class"),
        ({"1.png": b"", "1.txt": b"x"}, "a.tar/1", "an image holds no bytes"),
        ({"1.png": PNG, "1.txt": b"\xff"}, "a.tar/1", r"its .txt is not UTF-8: invalid start byte at byte 0"),
        ({"1.png": PNG, "1.json": b"{"}, "a.tar/1", "not JSON"),
        ({"1.png": PNG, "1.json": b'{"score": 3}'}, "a.tar/1", "a record needs .*it has score"),
        ({"1.cls": b"3"}, "a.tar/1", "a record needs text or messages"),
    ],
)
def test_a_broken_sample_is_named_and_the_rest_read(
    tmp_path: Path, members: dict[str, bytes | str], where: str, why: str
) -> None:
    bad, good = contents(made(tmp_path, packed(members | {"z/2.png": PNG, "z/2.txt": b"A cat."})))
    assert isinstance(bad, Bad)
    assert bad.where == where
    assert isinstance(good, tuple)
    assert re.search(why, bad.why)


def test_words_too_long_are_a_broken_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.data.webdataset._MAX_WORDS", 3)
    (bad,) = contents(made(tmp_path, packed({"1.png": PNG, "1.txt": b"abcd"})))
    assert bad == Bad("a.tar/1", "its .txt exceeds 0 MiB")


# --- hostile archives ------------------------------------------------------------------------------------------------


def members_of(data: bytes, start: int = 0) -> list[Member | Bad]:
    return list(TarReader(io.BytesIO(data), "a.tar", start))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("1.png", "/etc/passwd", "it is a link to '/etc/passwd', not a file"),
        ("/etc/1.png", b"x", "its name leads out of the archive"),
        ("a/../../1.png", b"x", "its name leads out of the archive"),
    ],
)
def test_links_and_names_that_lead_away_are_bad(name: str, content: bytes | str, why: str) -> None:
    bad, good = members_of(packed({name: content, "2.png": PNG}))
    assert isinstance(bad, Bad)
    assert bad.why.startswith(why)
    assert isinstance(good, Member)
    assert (good.name, good.size) == ("2.png", len(PNG))


def test_devices_and_pipes_are_bad() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("pipe", tarfile.FIFOTYPE), ("device", tarfile.CHRTYPE), ("folder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
    assert members_of(out.getvalue()) == [
        Bad("a.tar/pipe", "it is no plain file"),
        Bad("a.tar/device", "it is no plain file"),
    ]


def header(name: str, size: int, type_: bytes = tarfile.REGTYPE) -> bytes:
    """The header alone, whatever size it claims."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, type_
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_size_beyond_the_archive_is_told_before_it_is_read() -> None:
    with pytest.raises(DataError, match=r"a.tar is truncated: it ends at byte 512 of 1099511628287"):
        members_of(header("1.png", 2**40))
    reader = TarReader(io.BytesIO(header("1.png", 2000) + b"x" * 512), "a.tar")
    member = next(iter(reader))
    assert isinstance(member, Member)
    with pytest.raises(DataError, match=r"a\.tar is truncated within 1\.png"):
        reader.read(member)


def test_a_member_beyond_the_limit_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER", 10)
    bad, good = members_of(packed({"1.png": b"x" * 11, "2.png": b"x" * 10}))
    assert bad == Bad("a.tar/1.png", "it exceeds 0 MiB, the limit of a file in an archive")
    assert isinstance(good, Member)


@pytest.mark.parametrize("type_", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [2**33, -1])
def test_headers_that_claim_to_be_huge_are_refused_unread(type_: bytes, size: int) -> None:
    with pytest.raises(DataError, match=r"a.tar (holds a header of|is not a sound tar archive|is truncated)"):
        members_of(header("1.png", size, type_) + bytes(2048))


def test_a_negative_size_does_not_turn_reading_round() -> None:
    with pytest.raises(DataError, match=r"a\.tar is not a sound tar archive"):
        members_of(header("0.png", 0) + header("1.png", -1024) + bytes(1024))


def test_a_thousand_long_names_in_a_row_are_refused() -> None:
    chain = (header("x", 1, tarfile.GNUTYPE_LONGNAME) + b"y" + bytes(511)) * 3000
    with pytest.raises(DataError, match=r"a\.tar is not a sound tar archive"):
        members_of(chain + header("1.png", 0))


def test_a_broken_header_is_not_taken_for_the_end() -> None:
    first = packed({"1.png": PNG}, end=False)
    with pytest.raises(DataError, match=rf"a.tar is not a sound tar archive: no header at byte {len(first)}"):
        members_of(first + b"garbage" * 100)
    with pytest.raises(DataError, match=r"a\.tar is not a sound tar archive"):
        members_of(b"not a tar at all" * 100)
    assert len(members_of(first)) == 1  # without the zeros at its end


def test_a_compressed_archive_is_not_decompressed_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_WHOLE", 2**20)
    bomb = gzip.compress(header("1.bin", 2**36) + bytes(2**22))
    with pytest.raises(DataError, match=r"a.tar.gz holds a file of more than 1 MiB, compressed \(unpack it\)"):
        items(made(tmp_path, bomb, "a.tar.gz"))


def test_a_truncated_compressed_archive_is_told(tmp_path: Path) -> None:
    data = gzip.compress(packed({"1.png": bytes(range(256)) * 500, "1.txt": b"x"}))
    with pytest.raises(DataError, match=r"a.tar.gz is truncated: the compressed stream ends early"):
        items(made(tmp_path, data[:-200], "a.tar.gz"))


def test_an_archive_gives_its_members_in_any_order(tmp_path: Path) -> None:
    data = packed({"a/1.png": b"one", "b/2.png": b"two", "c/3.png": "a/1.png"})
    for name, packed_ in (("a.tar", data), ("a.tar.gz", gzip.compress(data))):
        with open_archive(made(tmp_path, packed_, name)) as archive:
            assert isinstance(archive, Archive)
            assert [archive.read(member) for member in ("b/2.png", "a/1.png")] == [b"two", b"one"]
            assert len(archive.bad) == 1
            with pytest.raises(DataError, match=f"{name} has no member 'c/3.png'"):
                archive.read("c/3.png")


@given(st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=12)), max_size=4), st.integers(0, 6000))
def test_whatever_is_broken_in_an_archive_is_an_error_or_another_archive(
    changes: list[tuple[int, bytes]], end: int
) -> None:
    data = bytearray(packed({"a.png": PNG, "long/" * 30 + "b.txt": b"words", "链.wav": b"x" * 700}))
    for place, replacement in changes:
        data[place : place + len(replacement)] = replacement
    with suppress(DataError):
        reader = TarReader(io.BytesIO(bytes(data[: len(data) - end])), "a.tar")
        for member in reader:
            if isinstance(member, Member):
                assert len(reader.read(member)) == member.size <= len(data)
