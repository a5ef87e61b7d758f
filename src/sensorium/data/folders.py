"""Readers of folders: pictures and recordings in folders that name their class, or listed by a metadata table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias

from sensorium.data.archives import Archive, in_mixed_order, open_archive
from sensorium.data.asking import asked
from sensorium.data.files import inner_suffix, open_bytes
from sensorium.data.finding import files_below
from sensorium.data.media_files import MediaKind, MediaPart, existing, media_kind, media_part
from sensorium.data.readers import by_line, parse_json, whole
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Reader, Record
from sensorium.data.tables import row_content
from sensorium.errors import DataError

_SPLITS = {"train", "training", "test", "validation", "valid", "val", "dev", "data"}


class Shelf(Protocol):
    """Pictures and recordings by name, in a folder or an archive."""

    @property
    def bad(self) -> list[Bad]:
        """What is there but may not be read."""

    @property
    def names(self) -> list[str]:
        """All names, with slashes."""

    def part(self, name: str) -> MediaPart:
        """One of them. Raises `DataError` when it is not there, or neither a picture nor a recording."""


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.bad: list[Bad] = []
        self.names = [name for name, _ in files_below(root, (), ()) if media_kind(name)]

    def part(self, name: str) -> MediaPart:
        return existing(_kind(name), self._root, name)


class _Packed:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.bad: list[Bad] = archive.bad
        self.names = list(archive.members)

    def part(self, name: str) -> MediaPart:
        return media_part(_kind(name), data=self._archive.read(name))


def _kind(name: str) -> MediaKind:
    kind = media_kind(name)
    if kind is None:
        raise DataError(f"{name!r:.200} has no ending of a picture or recording (such as .png or .wav)")
    return kind


@contextmanager
def shelf(file: DataFile, path: Path | None = None) -> Iterator[Shelf]:
    """The pictures and recordings of a folder, or of a tar archive, that a file is (or that lies beside it).

    Raises:
        DataError: when it is missing or broken.
    """
    place = path if path is not None else file.path
    if place.is_dir():
        yield _Folder(place)
        return
    name = file.name if path is None else f"{file.name} (its {place.name})"
    with open_archive(DataFile(place, name, file.format)) as archive:
        yield _Packed(archive)


Naming: TypeAlias = Callable[[str, MediaPart, DataFile], tuple[Content, str] | None]


def by_name(parse: Naming) -> Reader:
    """A reader of a folder or archive whose names say what the pictures and recordings are, in mixed order.

    `parse` gets a name, the part, and the file, and returns the content and the group that splits keep together (or
    an empty string); None passes a name over; its `DataError` makes it a corrupt record.
    """

    def read(file: DataFile, start: Position) -> Iterator[Item]:
        with shelf(file) as found:
            for bad in found.bad if start[0] == 0 else ():
                yield bad, None
            names = in_mixed_order([name for name in found.names if media_kind(name) and file.wants(name)])
            for index in range(start[0], len(names)):
                item = _named(parse, found, names[index], file)
                if item is not None:
                    yield item, (index + 1, index + 1)

    return read


def _named(
    parse: Callable[..., tuple[Content, str] | None], found: Shelf, name: str, file: DataFile
) -> Record | Bad | None:
    where = f"{file.name}/{name}"
    try:
        parsed = parse(name, found.part(name), file)
    except DataError as error:
        return Bad(where, str(error))
    return None if parsed is None else Record(parsed[0], where, parsed[1])


def class_of(name: str) -> str:
    """The class that a file's folder names. Raises `DataError` when it stands in none, or in a split's."""
    folder = PurePosixPath(name).parent.name
    if not folder or folder.lower() in _SPLITS:
        raise DataError("it stands in no folder that names its class (put it in class_name/, or add metadata.csv)")
    return folder.replace("_", " ")


def _classified(name: str, part: MediaPart, file: DataFile) -> tuple[Content, str]:
    return asked([part], class_of(name), file, kind="label"), ""


read_classes = by_name(_classified)


def _metadata_row(row: Mapping[str, Any], file: DataFile) -> Content | None:
    """A row of a metadata table: its `file_name` (and any `..._file_name`), and what its other columns say."""
    filled = {key: value for key, value in row.items() if value not in (None, "")}
    media = []
    for key in [key for key in filled if isinstance(key, str) and (key == "file_name" or key.endswith("_file_name"))]:
        names = filled.pop(key)
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str):
                raise DataError(f"{key!r} must be a path, not {type(name).__name__}")
            if not file.wants(name):
                return None
            media.append(existing(_kind(name), file.folder, name))
    if not media:
        raise DataError("a row names no file (in 'file_name')")
    return row_content(filled, media, file)


def _metadata_line(line: str, file: DataFile) -> Content | None:
    if not line.strip():
        return None
    row = parse_json(line)
    if not isinstance(row, Mapping):
        raise DataError(f"a row must be an object with a 'file_name', not {type(row).__name__}")
    return _metadata_row(row, file)


def _metadata_rows(file: DataFile) -> Iterator[Content | DataError]:
    with open_bytes(file.path, file.name) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        try:
            for row in rows:
                try:
                    content = _metadata_row(row, file)
                except DataError as error:
                    yield error
                    continue
                if content is not None:
                    yield content
        except UnicodeDecodeError as error:
            raise DataError(f"{file.name} is not UTF-8: {error.reason} near line {rows.line_num + 1}") from None
        except csv.Error as error:
            raise DataError(f"{file.name}:{rows.line_num}: {error}") from None


_metadata_table = whole(_metadata_rows)
_metadata_lines = by_line(_metadata_line)


def read_metadata(file: DataFile, start: Position) -> Iterator[Item]:
    """`metadata.csv` or `metadata.jsonl` beside pictures or recordings, as imagefolder and audiofolder have it."""
    return (_metadata_table if inner_suffix(file.path) == ".csv" else _metadata_lines)(file, start)
