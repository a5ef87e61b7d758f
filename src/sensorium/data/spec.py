"""What a recipe says about a data set, and the files that it means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sensorium.config import AugmentConfig, Config, Positive, Probability, nearest
from sensorium.data.finding import CLASS_FOLDERS, FORMAT_BY_ENDING, files_below, format_of, records_below
from sensorium.data.formats import READERS
from sensorium.data.records import DataFile, matches
from sensorium.data.requests import FIELDS, prompt_fields
from sensorium.data.sources import source
from sensorium.data.world.settings import WorldSpec
from sensorium.errors import DataError

_OF_A_WORLD = {"source", "path", "world", "split", "weight", "limit", "max_bad", "ship", "augment", "aloud"}


class DatasetSpec(Config):
    """One data set of a mixture: a registered `source`, a `path` (a file, or a folder read recursively), or a `world`.

    `format` is found from each file's ending unless it is given; `include` keeps the files whose path below the
    folder matches one of the globs, `exclude` leaves out those that match one: both also reach into archives and
    folders of pictures and recordings. `split` divides by a hash of the content, so that duplicates (but for case and
    spacing) and all that is said about one picture or recording fall on the same side; `validation_fraction` is the
    share held out, unless a source holds out a given part, such as a speaker. `weight` is the share of tokens in
    the mixture, relative to the others'. `limit` keeps the first records only. More than `max_bad` corrupt records
    are an error. `documents` and `document_chars` say how plain text is cut (see `read_text_documents`);
    `shuffle_window` records are shuffled together. `ship` refuses what may not train weights that ship. `prompts`
    turn plain texts into conversations that ask for them (see `as_request`); texts that no prompt fits are left out.
    A world is made, not read: it needs a split, which its content keeps apart, and takes no settings of files.
    With pictures and recordings that have a label or a text, they are what is asked, and `answer` is the reply, with
    `{text}` for the label or text. `media_folder` is where relative paths of media begin (else beside the file).
    `augment` varies pictures and recordings, in training only. `aloud` is the probability that a conversation asks for
    spoken answers, where they can be spoken (see `sensorium.data.aloud`), in batches to learn from.
    """

    source: str | None = None
    path: Path | None = None
    world: WorldSpec | None = None
    format: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
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
    answer: str = "{text}"
    augment: AugmentConfig | None = None
    aloud: Probability = 0.0
    media_folder: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(given is not None for given in (self.source, self.path, self.world)) != 1:
            raise ValueError("a data set needs exactly one of source, path and world")
        if self.world is not None:
            self._check_world()
        if self.format != "auto" and self.format not in READERS:
            raise ValueError(f"unknown format {self.format!r}{nearest(self.format, ['auto', *READERS])}")
        for name in {name for prompt in self.prompts for name in prompt_fields(prompt)} - set(FIELDS):
            raise ValueError(f"a prompt names the unknown field {name!r}{nearest(name, FIELDS)}")
        if prompt_fields(self.answer) != {"text"}:
            raise ValueError(f"answer {self.answer!r} must say where the {{text}} goes, and name no other field")
        if self.augment is not None and self.split == "validation":
            raise ValueError("augment varies what is trained on: leave it out of split: validation")
        return self

    def _check_world(self) -> None:
        """What is made, and not read, has a split of its own and no settings of files."""
        if self.split == "all":
            raise ValueError("a world needs split: train or validation")
        for name in self.model_fields_set - _OF_A_WORLD:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} says how files are read, and a world has none (leave it out)")

    @property
    def name(self) -> str:
        """What errors and reports call it."""
        if self.world is not None:
            return f"the world of {', '.join(self.world.kinds)}" if self.world.kinds else "the world"
        return self.source if self.source is not None else str(self.path)

    def files(self) -> list[DataFile]:
        """The files to read, sorted by name; none for a world, which is made.

        Raises:
            DataError: when nothing is there, nothing matches, or the source may not be had or used so.
        """
        if self.world is not None:
            return []
        found = self._source_files() if self.source is not None else self._path_files()
        if not found:
            wanted = f" that matches {', '.join(self.include)}" if self.include else ""
            raise DataError(f"{self.name} holds no file{wanted} to read (known endings: {', '.join(FORMAT_BY_ENDING)})")
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
                self._file(path, f"{self.source}/{name}", format_, name, item.options, entry.held_out)
                for name, path in entry.fetch_item(item)
                if (item.holds_names or not self.include or matches(name, self.include))
                and not matches(name, self.exclude)
            ]
        return sorted(files, key=lambda file: file.name)

    def _path_files(self) -> list[DataFile]:
        root = self.path.expanduser() if self.path is not None else None
        assert root is not None
        if not root.exists():
            raise DataError(f"{root} does not exist")
        if not root.is_dir():
            format_ = self.format if self.format != "auto" else format_of(root)
            if format_ is None:
                raise DataError(
                    f"{root}: no format is known for the ending {root.suffix!r} "
                    f"(known: {', '.join(FORMAT_BY_ENDING)}; or set format)"
                )
            return [self._file(root, str(root), format_, root.name)]
        if self.format == CLASS_FOLDERS:
            return [self._file(root, root.name, CLASS_FOLDERS, "")]
        found = files_below(root, self.include, self.exclude)
        if self.format != "auto":
            return [self._file(path, f"{root.name}/{name}", self.format, name) for name, path in found]
        tables = records_below(found)
        if tables is None:
            return [self._file(root, root.name, CLASS_FOLDERS, "")]
        return [self._file(path, f"{root.name}/{name}", format_, name) for name, path, format_ in tables]

    def _file(
        self,
        path: Path,
        name: str,
        format_: str,
        inner: str,
        options: Mapping[str, str] | None = None,
        held_out: tuple[str, ...] = (),
    ) -> DataFile:
        """A file to read; `inner` is its path below the data set's folder: where a glob names it, it is read whole."""
        return DataFile(
            path,
            name,
            format_,
            self.documents,
            self.document_chars,
            self.ship,
            options or {},
            include=() if matches(inner, self.include) else self.include,
            exclude=self.exclude,
            prompts=self.prompts,
            answer=self.answer,
            media_folder=self.media_folder.expanduser() if self.media_folder is not None else None,
            held_out=held_out,
        )
