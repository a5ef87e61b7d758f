"""Which files of a folder hold records, and in which format: by their endings, names and first lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from sensorium.data.files import inner_suffix, open_bytes
from sensorium.data.media_files import media_kind
from sensorium.data.records import matches

FORMAT_BY_ENDING = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tar": "webdataset",
}
CLASS_FOLDERS = "classes"
_FIRST_LINE = 2**16
# What `datasets` and hubs lay beside the data: read neither as records nor as text.
_BOOKKEEPING = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_ABOUT = ("readme", "license", "licence")


def format_of(path: Path) -> str | None:
    """The format of one file by its ending, for a table beside pictures or recordings also by its first line."""
    format_ = FORMAT_BY_ENDING.get(inner_suffix(path))
    if format_ in ("csv", "jsonl") and path.name.startswith("metadata."):
        return _format_of_metadata(path, format_)
    return format_


def _format_of_metadata(path: Path, format_: str) -> str:
    """`metadata.csv` and `metadata.jsonl` name files, or they are tables like any other."""
    with open_bytes(path, str(path)) as stream:
        line = stream.readline(_FIRST_LINE).decode("utf-8-sig", errors="replace")
    if format_ == "csv":
        if "file_name" in line:
            return "metadata"
        return "ljspeech" if "|" in line and "," not in line.partition("|")[0] else format_
    try:
        keys = json.loads(line)
    except ValueError:
        return format_
    named = isinstance(keys, dict) and any(str(key).endswith("file_name") for key in keys)
    return "metadata" if named else format_


def files_below(root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Names below a folder and paths of its files, sorted; hidden ones and those that globs leave out are missing."""
    found = ((path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*")) if path.is_file())
    return [
        (name, path)
        for name, path in found
        if not any(part.startswith(".") for part in Path(name).parts)
        and (not include or matches(name, include))
        and not matches(name, exclude)
    ]


def records_below(files: Iterable[tuple[str, Path]]) -> list[tuple[str, Path, str]] | None:
    """The files that hold records, with their formats; None for pictures or recordings in folders that name them.

    Pictures and recordings beside a table, a list of conversations or an archive belong to these.
    """
    files = list(files)
    tables = [(name, path, found) for name, path in files if (found := _format_in_folder(path)) is not None]
    kinds = {format_ for _, _, format_ in tables}
    if kinds <= {"text"} and any(media_kind(name) for name, _ in files):
        return None
    if kinds <= {"text"}:
        return tables
    return [(name, path, found) for name, path, found in tables if not path.name.lower().startswith(_ABOUT)]


def _format_in_folder(path: Path) -> str | None:
    if path.name in _BOOKKEEPING or (path.suffix == ".arrow" and path.name.startswith("cache-")):
        return None
    return format_of(path)
