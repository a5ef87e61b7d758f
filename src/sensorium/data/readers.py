"""Readers of the general formats: plain text, JSONL, JSON, and tables of pairs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sensorium.data.files import MAX_LINE, open_bytes, read_text, skip_to
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Reader, Record, dialogue, text_content
from sensorium.data.tables import PAIRS, TALKS, record_content
from sensorium.errors import DataError

_STEP = 2**14  # bytes of plain text read at a time where no line ends
SEPARATOR = "<|endoftext|>"


def by_line(parse: Callable[[str, DataFile], Content | Iterable[Content] | None]) -> Reader:
    """A reader for formats with records on single lines.

    `parse` turns a line (without its end) into one or more records, None for none; its `DataError` makes the line
    a corrupt one.
    """

    def read(file: DataFile, start: Position) -> Iterator[Item]:
        for line, number, after in lines(file, start):
            where = f"{file.name}:{number}"
            if isinstance(line, Bad):
                yield line, after
                continue
            try:
                parsed = parse(line, file)
            except DataError as error:
                yield Bad(where, str(error)), after
                continue
            yield from _at(parsed, where, after)

    return read


def whole(parse: Callable[[DataFile], Iterable[Content | DataError]]) -> Reader:
    """A reader for formats that are parsed whole; `parse` gives each record, or the error in its place."""

    def read(file: DataFile, start: Position) -> Iterator[Item]:
        for index, content in enumerate(parse(file)):
            if index < start[0]:
                continue
            where = f"{file.name}:{index + 1}"
            item = Bad(where, str(content)) if isinstance(content, DataError) else Record(content, where)
            yield item, (index + 1, index + 1)

    return read


def _at(parsed: Content | Iterable[Content] | None, where: str, after: Position) -> Iterator[Item]:
    if parsed is None:
        return
    if isinstance(parsed, str | tuple):
        yield Record(parsed, where), after
        return
    contents = list(parsed)
    for index, content in enumerate(contents, start=1):
        # Reading resumes between lines only: the position stands behind the line's last record.
        yield Record(content, where), after if index == len(contents) else None


def lines(file: DataFile, start: Position) -> Iterator[tuple[str | Bad, int, Position]]:
    """Lines of a file with their number and the position after each; one too long or not UTF-8 is `Bad`."""
    offset, number = start
    with open_bytes(file.path, file.name) as stream:
        skip_to(stream, offset)
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            where = f"{file.name}:{number}"
            offset += len(raw)
            line: str | Bad
            if len(raw) > MAX_LINE and not raw.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    offset += len(rest)
                offset += len(rest)
                line = Bad(where, f"the line exceeds {MAX_LINE >> 20} MiB")
            else:
                line = _decode(raw, where, first=number == 1)
            yield line, number, (offset, number)


def _decode(raw: bytes, where: str, *, first: bool) -> str | Bad:
    try:
        return raw.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Bad(where, f"not UTF-8: {error.reason} at byte {error.start} of the line")


def read_jsonl(file: DataFile, start: Position) -> Iterator[Item]:
    """JSON lines, each a record (see `record_content`); other keys are left alone, blank lines skipped."""
    return _jsonl(file, start)


def _jsonl_line(line: str, file: DataFile) -> Content | None:
    return record_content(parse_json(line), file) if line.strip() else None


_jsonl = by_line(_jsonl_line)


def parse_json(text: str) -> Any:
    """One JSON value. Raises `DataError` saying where it breaks."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(f"not JSON: {error.msg} at {place}") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"not JSON: {error}") from None


def _json_records(file: DataFile) -> Iterator[Content | DataError]:
    value = whole_json(file)
    if isinstance(value, Mapping):  # {"texts": [...]}, {"data": [...]}: the one list of the object
        tables = [inner for inner in value.values() if isinstance(inner, list)]
        value = tables[0] if len(tables) == 1 and not any(key in value for key in TALKS) else [value]
    if not isinstance(value, list):
        raise DataError(f"{file.name} must hold a list of records, not {type(value).__name__}")
    for item in value:
        try:
            yield text_content(item) if isinstance(item, str) else record_content(item, file)
        except DataError as error:
            yield error


def whole_json(file: DataFile) -> Any:
    """The JSON value of a whole file. Raises `DataError` that names the file."""
    try:
        return parse_json(read_text(file.path, file.name))
    except DataError as error:
        if str(error).startswith(file.name):
            raise
        raise DataError(f"{file.name} is {error}") from None


def read_json(file: DataFile, start: Position) -> Iterator[Item]:
    """A JSON list of strings or records, or an object with one such list; parsed whole."""
    return whole(_json_records)(file, start)


def _table_records(file: DataFile, delimiter: str) -> Iterator[Content | DataError]:
    with open_bytes(file.path, file.name) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        rows = csv.DictReader(text, delimiter=delimiter, strict=True)
        try:
            columns = list(rows.fieldnames or [])
            kept = next((pair for pair in (("text",), *PAIRS) if all(name in columns for name in pair)), None)
            if kept is None:
                raise DataError(
                    f"{file.name} needs a header with 'text', or with 'user' and 'assistant' (it has {columns}; "
                    "a table without a header is format 'pairs')"
                )
            for row in rows:
                yield _table_row(row, kept)
        except UnicodeDecodeError as error:
            raise DataError(f"{file.name} is not UTF-8: {error.reason} near line {rows.line_num + 1}") from None
        except csv.Error as error:
            raise DataError(f"{file.name}:{rows.line_num}: {error}") from None


def _table_row(row: Mapping[str, Any], kept: tuple[str, ...]) -> Content | DataError:
    try:
        values = [text_content(row[name]) for name in kept]
        return values[0] if len(values) == 1 else dialogue(values)
    except DataError as error:
        return error


def read_csv(file: DataFile, start: Position) -> Iterator[Item]:
    """Comma-separated records under a header: `text`, or a pair such as `user` and `assistant`."""
    return whole(lambda file: _table_records(file, ","))(file, start)


def read_tsv(file: DataFile, start: Position) -> Iterator[Item]:
    """Tab-separated records under a header, as in `read_csv`."""
    return whole(lambda file: _table_records(file, "\t"))(file, start)


def _pair_line(line: str, _: DataFile) -> Content | None:
    if not line.strip():
        return None
    turns = line.split("\t")
    if len(turns) < 2:
        raise DataError("a line needs a turn, a tab and its answer")
    return dialogue(turns)


read_pairs = by_line(_pair_line)


def read_text_documents(file: DataFile, start: Position) -> Iterator[Item]:
    """Plain text, streamed, cut into documents.

    `documents` says where one ends: at a line `<|endoftext|>` (`auto`), at blank lines (`paragraph`), at every line
    (`line`) or with the file (`file`). Longer ones are cut after `document_chars` characters, at the next line end.
    """
    parts: list[str] = []
    size, first = 0, 0
    for text, number, after in _stretches(file, start):
        if isinstance(text, Bad):
            yield text, None
            continue
        parts.append(text)
        size, first = size + len(text), first or number
        if _ends_document(text, file.documents) or size >= file.document_chars:
            if document := _cleaned(parts):
                yield Record(document, f"{file.name}:{first}"), after
            parts, size, first = [], 0, 0
    if document := _cleaned(parts):
        yield Record(document, f"{file.name}:{first}"), None


def _ends_document(text: str, documents: str) -> bool:
    if documents == "paragraph":
        return not text.strip()
    return text.endswith({"auto": SEPARATOR, "line": "\n"}.get(documents, "\0none"))


def _cleaned(parts: list[str]) -> str:
    document = "".join(parts).removesuffix(SEPARATOR).replace("\r\n", "\n").strip("\n")
    return document if document.strip() else ""


def _stretches(file: DataFile, start: Position) -> Iterator[tuple[str | Bad, int, Position]]:
    """Plain text up to each line end (or separator), very long lines in steps; what is not UTF-8 is `Bad`.

    Where a stretch ends depends on nothing but the bytes from its beginning on, so that reading resumes exactly.
    """
    separator = SEPARATOR.encode() if file.documents == "auto" else None
    offset, number = start
    left = b""
    with open_bytes(file.path, file.name) as stream:
        skip_to(stream, offset)
        while True:
            more = b"" if b"\n" in left else stream.readline(_STEP - len(left))
            left += more
            if not left:
                return
            raw, left = _first_stretch(left, separator, last=not more)
            if not raw:
                continue
            begin, offset = offset, offset + len(raw)
            ends = raw.endswith(b"\n")
            text: str | Bad
            try:
                text = raw.decode("utf-8-sig" if begin == 0 else "utf-8")
            except UnicodeDecodeError as error:
                text = Bad(f"{file.name}:{number + 1}", f"not UTF-8: {error.reason} at byte {error.start} of the line")
            yield text, number + 1, (offset, number + ends)
            number += ends


def _first_stretch(raw: bytes, separator: bytes | None, *, last: bool) -> tuple[bytes, bytes]:
    """Split after the first line end or separator, else before what more bytes may complete."""
    ends = [raw.find(mark) + len(mark) for mark in (b"\n", separator) if mark and mark in raw]
    if ends:
        return raw[: min(ends)], raw[min(ends) :]
    if last:
        return raw, b""
    kept = _unfinished_character(raw)
    if separator is not None:
        starts = range(len(separator) - 1, 0, -1)
        kept = max(kept, next((n for n in starts if raw.endswith(separator[:n])), 0))
    return raw[: len(raw) - kept], raw[len(raw) - kept :]


def _unfinished_character(raw: bytes) -> int:
    """How many bytes at the end belong to a character that is cut."""
    for back in range(1, min(4, len(raw) + 1)):
        byte = raw[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < needed else 0
        if byte < 0x80:
            break
    return 0
