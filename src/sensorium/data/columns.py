"""Readers of columnar files, parquet and Arrow, with the pictures and recordings that Hugging Face data sets hold."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from sensorium.data.files import compression, read_whole
from sensorium.data.media_files import MediaKind, MediaPart, given_media
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Record, text_content
from sensorium.data.tables import LABELS, PAIRS, TALKS, TEXTS, row_content
from sensorium.errors import DataError
from sensorium.messages import conversation_from

_ROWS = 1024
_MEDIA_ROWS = 32  # a row with a picture may have megabytes
_PICTURES = ("image", "images", "img", "picture", "photo", "jpg", "png")
_RECORDINGS = ("audio", "audios", "speech", "recording", "sound", "wav", "flac", "mp3")
_WORDS = {*TALKS, *TEXTS, *LABELS, "system", *(name for pair in PAIRS for name in pair)}


class _Columns:
    """Which columns of a table hold what, by its schema and what `datasets` wrote into it."""

    def __init__(self, schema: pyarrow.Schema, file: DataFile) -> None:
        self._file = file
        features = _features(schema)
        self.media: dict[str, MediaKind] = {}
        self.classes: dict[str, list[str]] = {}
        for field in schema:
            feature = features.get(field.name)
            if kind := _media_kind(field, feature):
                self.media[field.name] = kind
            elif isinstance(names := _class_names(feature), list):
                self.classes[field.name] = names
        words = [name for name in schema.names if name in _WORDS | self.classes.keys()]
        # Without pictures and recordings it is a table of documents or conversations alone.
        whole = next((name for name in ("messages", "conversations", "text") if name in schema.names), None)
        pair = next((pair for pair in PAIRS if set(pair) <= set(schema.names)), None)
        if not self.media and whole is None and pair is None:
            raise DataError(
                f"{file.name} has neither a 'text' nor a 'messages' column (it has {schema.names}), "
                "and no pictures or recordings"
            )
        self.names = [*self.media, *words] if self.media else [whole] if whole is not None else list(pair or ())
        self.rows = _MEDIA_ROWS if self.media else _ROWS

    def item(self, values: Mapping[str, Any], where: str) -> Record | Bad:
        """The record of a row of Arrow scalars."""
        try:
            row = {name: without_nulls(scalar.as_py()) for name, scalar in values.items()}
            return Record(self._content({name: value for name, value in row.items() if value is not None}), where)
        except UnicodeDecodeError as error:
            return Bad(where, f"not UTF-8: {error.reason} at byte {error.start} of the text")
        except DataError as error:
            return Bad(where, str(error))

    def _content(self, row: dict[str, Any]) -> Content:
        if not self.media:
            if self.names == ["text"]:
                return text_content(row.get("text"))
            if self.names == ["messages"]:
                return tuple(conversation_from(row.get("messages"), folder=self._file.folder))
            return row_content(row, [], self._file)
        parts: list[MediaPart] = []
        for name, kind in self.media.items():
            value = row.pop(name, None)
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    parts.append(given_media(each, kind, self._file.folder))
        for name, names in self.classes.items():
            if isinstance(number := row.pop(name, None), int):
                if not 0 <= number < len(names):
                    raise DataError(f"class {number} of {name!r} is none of the {len(names)} that are named")
                row["label" if name not in _WORDS else name] = names[number]
        return row_content(row, parts, self._file)


def _features(schema: pyarrow.Schema) -> Mapping[str, Any]:
    """What `datasets` says of each column; empty where it did not write the table."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _media_kind(field: pyarrow.Field, feature: Any) -> MediaKind | None:
    """What a column of pictures or recordings holds: by its feature, else by its type and name."""
    while isinstance(feature, list | dict):  # [feature], or {"feature": feature, "_type": "Sequence"}
        inner: Any = feature[0] if isinstance(feature, list) and feature else feature
        kind = inner.get("_type") if isinstance(inner, dict) else None
        if kind in ("Image", "Audio"):
            return "image" if kind == "Image" else "audio"
        if kind not in ("Sequence", "List", "LargeList"):
            break
        feature = inner.get("feature")
    type_ = field.type
    while pyarrow.types.is_list(type_) or pyarrow.types.is_large_list(type_):
        type_ = type_.value_type
    bare = pyarrow.types.is_binary(type_) or pyarrow.types.is_large_binary(type_)
    if not bare and not (pyarrow.types.is_struct(type_) and type_.get_field_index("bytes") >= 0):
        return None
    if field.name.lower() in _RECORDINGS:
        return "audio"
    return "image" if field.name.lower() in _PICTURES or not bare else None


def _class_names(feature: Any) -> Any:
    return feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None


def without_nulls(value: Any) -> Any:
    """A value without the keys that are null: in a table every object has every key that any of them has."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def read_parquet(file: DataFile, start: Position) -> Iterator[Item]:
    """Parquet, some rows at a time: `messages` or `text`, or pictures and recordings with what is said of them."""
    group, row = start
    with _sound(file, "parquet"):
        source = io.BytesIO(read_whole(file.path, file.name)) if compression(file.path) else file.path
        with pyarrow.parquet.ParquetFile(source) as table:
            columns = _Columns(table.schema_arrow, file)
            first = sum(table.metadata.row_group(index).num_rows for index in range(group))
            for index in range(group, table.num_row_groups):
                place = 0
                for batch in table.iter_batches(columns.rows, row_groups=[index], columns=columns.names):
                    for item, inner in _items(batch, columns, file, first + place, row - place):
                        yield item, (index, place + inner)
                    place += len(batch)
                first, row = first + place, 0


def read_arrow(file: DataFile, start: Position) -> Iterator[Item]:
    """Arrow tables as `datasets` saves them (a stream) or as a file, batch by batch; see `read_parquet`."""
    skipped, row = start
    with _sound(file, "Arrow"), pyarrow.memory_map(str(file.path)) as source:
        if source.size() and source.read_buffer(6).to_pybytes() == b"ARROW1":
            table = pyarrow.ipc.open_file(source)
            batches = (table.get_batch(index) for index in range(table.num_record_batches))
        else:
            source.seek(0)
            table = pyarrow.ipc.open_stream(source)
            batches = iter(table)
        columns = _Columns(table.schema, file)
        first = 0
        for index, batch in enumerate(batches):
            if index >= skipped:
                chosen = batch.select(columns.names)
                chosen.validate(full=True)  # nothing of what a broken file says of itself may lead out of it
                for item, inner in _items(chosen, columns, file, first, row):
                    yield item, (index, inner)
                row = 0
            first += len(batch)


def _items(
    batch: pyarrow.RecordBatch, columns: _Columns, file: DataFile, first: int, row: int
) -> Iterator[tuple[Record | Bad, int]]:
    """The records of a batch from a row on, each with the number of the row after it."""
    names = batch.schema.names
    for inner in range(max(0, row), len(batch)):
        values = {name: batch.column(index)[inner] for index, name in enumerate(names)}
        yield columns.item(values, f"{file.name}:{first + inner + 1}"), inner + 1


@contextmanager
def _sound(file: DataFile, kind: str) -> Iterator[None]:
    """Translates what Arrow raises on files that are missing or broken."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{file.name} does not exist ({file.path})") from None
    except (pyarrow.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file.name} is not a sound {kind} file: {reason} (fetch it again)") from None
