"""What a recipe says about a data set, and the files that it means."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sensorium.config import Config, Positive, nearest
from sensorium.data.files import inner_suffix
from sensorium.data.formats import READERS
from sensorium.data.records import DataFile
from sensorium.data.requests import FIELDS, prompt_fields
from sensorium.data.sources import source
from sensorium.errors import DataError

_BY_SUFFIX = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}


class DatasetSpec(Config):
    """One data set of a mixture: a registered `source` or a `path` (a file, or a folder read recursively).

    `format` is found from each file's ending unless it is given; `include` keeps the files whose path below the
    folder matches one of the globs. `split` divides by a hash of the content, so that duplicates (but for case and
    spacing) fall on the same side; `validation_fraction` is the share held out. `weight` is the share of tokens in
    the mixture, relative to the others'. `limit` keeps the first records only. More than `max_bad` corrupt records
    are an error. `documents` and `document_chars` say how plain text is cut (see `read_text_documents`);
    `shuffle_window` records are shuffled together. `ship` refuses what may not train weights that ship. `prompts`
    turn plain texts into conversations that ask for them (see `as_request`); texts that no prompt fits are left out.
    """

    source: str | None = None
    path: Path | None = None
    format: str = "auto"
    include: tuple[str, ...] = ()
    split: Literal["all", "train", "validation"] = "all"
    validation_fraction: float = Field(default=0.01, gt=0.0, lt=1.0)
    weight: float = Field(default=1.0, gt=0.0)
    limit: Positive | None = None
    max_bad: int = Field(default=100, ge=0)
    documents: Literal["auto", "paragraph", "line", "file"] = "auto"
    document_chars: Positive = 16_384
    shuffle_window: Positive = 8_192
    ship: bool = False
    prompts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source is None) == (self.path is None):
            raise ValueError("a data set needs exactly one of source and path")
        if self.format != "auto" and self.format not in READERS:
            raise ValueError(f"unknown format {self.format!r}{nearest(self.format, ['auto', *READERS])}")
        for name in {name for prompt in self.prompts for name in prompt_fields(prompt)} - set(FIELDS):
            raise ValueError(f"a prompt names the unknown field {name!r}{nearest(name, FIELDS)}")
        return self

    @property
    def name(self) -> str:
        """What errors and reports call it."""
        return self.source if self.source is not None else str(self.path)

    def files(self) -> list[DataFile]:
        """The files to read, sorted by name.

        Raises:
            DataError: when nothing is there, nothing matches, or the source may not be had or used so.
        """
        found = self._source_files() if self.source is not None else self._path_files()
        if not found:
            wanted = f" that matches {', '.join(self.include)}" if self.include else ""
            raise DataError(f"{self.name} holds no file{wanted} to read (known endings: {', '.join(_BY_SUFFIX)})")
        return found

    def _source_files(self) -> list[DataFile]:
        assert self.source is not None
        entry = source(self.source)
        if self.ship and not entry.ship:
            raise DataError(
                f"source {self.source!r} ({entry.licence}) may not train weights that ship "
                "(leave it out, or unset ship)"
            )
        files = []
        for item in entry.readable(self.include):
            format_ = item.format if self.format == "auto" else self.format
            assert format_ is not None
            files += [
                self._file(path, f"{self.source}/{name}", format_, item.options)
                for name, path in entry.fetch_item(item)
                if not self.include or _matches(name, self.include)
            ]
        return sorted(files, key=lambda file: file.name)

    def _path_files(self) -> list[DataFile]:
        root = self.path.expanduser() if self.path is not None else None
        assert root is not None
        if not root.exists():
            raise DataError(f"{root} does not exist")
        if not root.is_dir():
            format_ = self.format if self.format != "auto" else _BY_SUFFIX.get(inner_suffix(root))
            if format_ is None:
                raise DataError(
                    f"{root}: no format is known for the ending {root.suffix!r} "
                    f"(known: {', '.join(_BY_SUFFIX)}; or set format)"
                )
            return [self._file(root, str(root), format_, {})]
        files = []
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
                continue
            if self.include and not _matches(name, self.include):
                continue
            format_ = self.format if self.format != "auto" else _BY_SUFFIX.get(inner_suffix(path))
            if format_ is not None:
                files.append(self._file(path, f"{root.name}/{name}", format_, {}))
        return files

    def _file(self, path: Path, name: str, format_: str, options: dict[str, str]) -> DataFile:
        return DataFile(path, name, format_, self.documents, self.document_chars, self.ship, options)


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch(name, glob) for glob in globs)
