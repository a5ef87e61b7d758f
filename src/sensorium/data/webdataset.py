"""Reader of WebDataset shards: tar archives in which the files of a sample stand together under one name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from sensorium.data.archives import TarReader
from sensorium.data.asking import asked
from sensorium.data.files import open_bytes
from sensorium.data.folders import class_of
from sensorium.data.media_files import MediaPart, media_kind, media_part
from sensorium.data.readers import parse_json
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Record
from sensorium.data.tables import row_content
from sensorium.errors import DataError

_MAX_WORDS = 16 * 2**20  # bytes of a sample's words, such as its .json
_WORDS = {"txt", "text", "caption", "transcript", "transcription", "lab", "cls", "label", "json"}

# By what stands behind the first dot of the name; None for words beyond the limit.
Sample: TypeAlias = dict[str, bytes | None]


def read_webdataset(file: DataFile, start: Position) -> Iterator[Item]:
    """A shard, sample by sample, in its own order; reading resumes at the first header of a sample.

    A sample's pictures and recordings go with its `.json` (a conversation, or columns as a table has them), `.txt`
    (or `.caption`, `.transcript`, …), or `.cls`; without any of them the folder in its name is its class.
    """
    offset, number = start
    with open_bytes(file.path, file.name) as stream:
        reader = TarReader(stream, file.name, offset)
        key, sample = "", Sample()
        for member in reader:
            if isinstance(member, Bad):
                yield member, None
                continue
            this, ending = split_name(member.name)
            if not this or not file.wants(member.name):
                continue
            if this != key and sample:
                number += 1
                yield _record(key, sample, file), (member.header, number)
                sample = {}
            key = this
            if media_kind(member.name) or ending in _WORDS:
                too_long = ending in _WORDS and member.size > _MAX_WORDS
                sample[ending] = None if too_long else reader.read(member)
        if sample:
            yield _record(key, sample, file), None


def split_name(name: str) -> tuple[str, str]:
    """The key of a sample, and what the file is in it: `a/b/0001.left.png` is `left.png` of `a/b/0001`."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return (f"{folder}{slash}{stem}", ending.lower()) if stem and ending else ("", "")


def _record(key: str, sample: Sample, file: DataFile) -> Record | Bad:
    where = f"{file.name}/{key}"
    try:
        return Record(_sample_content(key, sample, file), where)
    except DataError as error:
        return Bad(where, str(error))


def _sample_content(key: str, sample: Sample, file: DataFile) -> Content:
    media: list[MediaPart] = []
    row: dict[str, Any] = {}
    for ending, data in sample.items():
        if data is None:
            raise DataError(f"its .{ending} exceeds {_MAX_WORDS >> 20} MiB")
        if kind := media_kind(f"x.{ending}"):
            media.append(media_part(kind, data=data))
        else:
            row |= _columns(ending, data)
    row = {name: value for name, value in row.items() if value not in (None, "")}
    if not row and media:
        return asked(media, class_of(key), file, kind="label")
    return row_content(row, media, file)


def _columns(ending: str, data: bytes) -> dict[str, Any]:
    """What a sample's file of words says, as columns of a table."""
    try:
        words = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"its .{ending} is not UTF-8: {error.reason} at byte {error.start}") from None
    if ending != "json":
        return {ending: words.strip()}
    value = parse_json(words)
    return dict(value) if isinstance(value, dict) else {"messages": value}
