"""Readers of the formats that published collections of pictures and recordings come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sensorium.data.asking import asked, shown
from sensorium.data.files import read_text, read_whole
from sensorium.data.folders import by_name, read_classes, read_metadata, shelf
from sensorium.data.media_files import MediaPart, media_digest, media_kind, media_part
from sensorium.data.readers import parse_json, whole, whole_json
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Reader, Record, text_content
from sensorium.data.webdataset import read_webdataset
from sensorium.errors import DataError

_DIGITS = tuple("zero one two three four five six seven eight nine".split())


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a list: the name of its picture or recording, and what is said of it.

    Without a question the text is asked for as the file's prompt has it. `group` is what splits keep together.
    """

    name: str
    text: str
    question: str = ""
    group: str = ""
    is_label: bool = False

    def content(self, part: MediaPart, file: DataFile) -> Content:
        if self.question:
            return shown([part], self.question, file.answer.format(text=self.text))
        return asked([part], self.text, file, kind="label" if self.is_label else "text")


def _listed(rows: Callable[[DataFile, Collection[str]], Iterable[_Row | DataError | None]]) -> Reader:
    """A reader of a list whose rows each name a picture or recording of a folder or archive beside it.

    The file's option `media` is the path of that folder or archive, from the list's own folder. `rows` is told what
    it holds, and gives each row, None for one to pass over, or the error in the place of a corrupt one.
    """

    def read(file: DataFile, start: Position) -> Iterator[Item]:
        with shelf(file, file.folder / file.options.get("media", ".")) as found:
            for bad in found.bad if start[0] == 0 else ():
                yield bad, None
            part: MediaPart | None = None
            name = ""
            for index, row in enumerate(rows(file, frozenset(found.names))):
                if index < start[0] or row is None or (isinstance(row, _Row) and not file.wants(row.name)):
                    continue
                where, after = f"{file.name}:{index + 1}", (index + 1, index + 1)
                try:
                    if isinstance(row, DataError):
                        raise row
                    if part is None or row.name != name:  # rows about the same picture stand together
                        name, part = row.name, found.part(row.name)
                    yield Record(row.content(part, file), where, row.group), after
                except DataError as error:
                    yield Bad(where, str(error)), after

    return read


_Make = Callable[[Any, DataFile, Collection[str]], _Row | None]


def _rows_of(
    values: Iterable[Any], make: _Make, file: DataFile, names: Collection[str]
) -> Iterator[_Row | DataError | None]:
    for value in values:
        try:
            yield make(value, file, names)
        except DataError as error:
            yield error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            yield DataError(f"a row has another form: {type(error).__name__} {error}")


def _json_list(make: _Make) -> Reader:
    def rows(file: DataFile, names: Collection[str]) -> Iterator[_Row | DataError | None]:
        values = whole_json(file)
        if not isinstance(values, list):
            raise DataError(f"{file.name} must hold a list, not {type(values).__name__}")
        return _rows_of(values, make, file, names)

    return _listed(rows)


def _json_lines(make: _Make) -> Reader:
    def rows(file: DataFile, names: Collection[str]) -> Iterator[_Row | DataError | None]:
        lines = read_text(file.path, file.name).splitlines()
        return _rows_of(lines, lambda line, *rest: make(parse_json(line), *rest) if line.strip() else None, file, names)

    return _listed(rows)


# --- pictures --------------------------------------------------------------------------------------------------------


def _storybook_pages(file: DataFile, names: Collection[str]) -> Iterator[_Row | DataError | None]:
    """Pages of picture books. Splits keep together the stories that share a picture, directly or through others."""
    lines = read_text(file.path, file.name).splitlines()
    first = _first_stories(lines, file)

    def page(line: str, _: DataFile, __: Collection[str]) -> _Row | None:
        values = parse_json(line) if line.strip() else {"text": ""}
        if not values["text"].strip():
            return None  # a page of pictures alone
        story = str(values["story"])
        return _Row(values["image"], text_content(values["text"]), group=f"story {first.get(story, story)}")

    return _rows_of(lines, page, file, names)


def _first_stories(lines: Iterable[str], file: DataFile) -> dict[str, str]:
    """For each story the least of those that it is joined to by pictures, which books lend each other.

    What is broken joins nothing: it is named when its page is read.
    """
    above: dict[Any, Any] = {}  # a forest of stories and pictures, whose roots are the least stories

    def root(node: Any) -> Any:
        while above.setdefault(node, node) != node:
            node = above[node]
        return node

    stories = set()
    with shelf(file, file.folder / file.options["media"]) as found:
        for line in lines:
            try:
                page = parse_json(line)
                story, picture = str(page["story"]), media_digest(found.part(page["image"]))
            except (DataError, LookupError, TypeError):
                continue
            stories.add(story)
            roots = {root(story), root(picture)}
            least = min(roots - {picture})
            above.update(dict.fromkeys(roots, least))
    return {story: root(story) for story in stories}


def _emoji(entry: Any, _: DataFile, names: Collection[str]) -> _Row | None:
    code = "_".join(point for point in entry["hexcode"].lower().split("-") if point != "fe0f")
    name = f"72/emoji_u{code}.png"
    return _Row(name, text_content(entry["label"]), is_label=True) if name in names else None


def _easy_question(row: Any, file: DataFile, _: Collection[str]) -> _Row:
    question, answer, picture = row
    name = f"{file.path.parent.name}/images/{int(picture)}.png"
    return _Row(name, text_content(answer), question=text_content(question))


def _statement(item: Any, file: DataFile, _: Collection[str]) -> _Row:
    """A sentence of NLVR that is true or false of its picture; the file's folder names the split.

    Splits keep a sentence's pictures together: it is true of about half, so that some would tell of the others.
    """
    split = file.path.parent.name
    name = f"{split}/images/{item['directory']}/{split}-{item['identifier']}-0.png"
    sentence = text_content(item["sentence"]).strip().rstrip(".")
    group = f"sentence {' '.join(sentence.casefold().split())}"
    return _Row(name, text_content(item["label"]), question=f"{sentence}. {file.options['prompt']}", group=group)


def _idx_pictures(file: DataFile) -> Iterator[Content | DataError]:
    """Pictures of handwritten digits in MNIST's format, each as a greyscale PGM; the labels lie beside them."""
    pixels = _idx(file, file.path, magic=2051)
    labels = _idx(file, file.path.with_name(file.options["labels"]), magic=2049)
    count, height, width = (int.from_bytes(pixels[place : place + 4], "big") for place in (4, 8, 12))
    size = height * width
    if len(pixels) != 16 + count * size or len(labels) != 8 + count:
        raise DataError(f"{file.name} does not hold the {count} pictures and labels it announces")
    head = f"P5\n{width} {height}\n255\n".encode()
    for index in range(count):
        picture = media_part("image", data=head + pixels[16 + index * size : 16 + (index + 1) * size])
        yield asked([picture], str(labels[8 + index]), file)


def _idx(file: DataFile, path: Path, *, magic: int) -> bytes:
    data = read_whole(path, file.name)
    if len(data) < 16 or int.from_bytes(data[:4], "big") != magic:
        raise DataError(f"{file.name}: {path.name} is no idx file of the expected kind")
    return data


# --- recordings ------------------------------------------------------------------------------------------------------

_DIGIT_FILE = re.compile(r"(\d)_(\w+)_\d+")
_WORD_FILE = re.compile(r"cmn-_?(.+)")


def _spoken_digit(name: str, part: MediaPart, file: DataFile) -> tuple[Content, str]:
    """A file `digit_speaker_index.wav`; a speaker is what splits keep together."""
    found = _DIGIT_FILE.fullmatch(PurePosixPath(name).stem)
    if found is None:
        raise DataError("its name is not digit_speaker_index")
    return asked([part], _DIGITS[int(found[1])], file), found[2]


def _spoken_word(name: str, part: MediaPart, file: DataFile) -> tuple[Content, str]:
    """A file `cmn-word.mp3`; a word is what splits keep together."""
    found = _WORD_FILE.fullmatch(PurePosixPath(name).stem)
    if found is None:
        raise DataError("its name is not cmn-word")
    word = found[1].replace("_", "…")
    return asked([part], word, file), f"word {word}"


def _transcripts(file: DataFile, names: Collection[str]) -> Iterator[_Row | DataError | None]:
    """Lines that begin with the name of a recording, its ending and folder left out, and go on with what it says.

    Options: `separator` (a tab without it), `column` of the text, counted from 0; `case: lower` for what is written in
    capitals; `group`, a pattern for the part of a name that splits keep together; `partial: yes` passes over lines
    whose recording is not there.
    """
    by_stem = {PurePosixPath(name).stem: name for name in names if media_kind(name)}
    options = file.options
    separator, column = options.get("separator", "\t"), int(options.get("column", "1"))
    partial, lower = options.get("partial") == "yes", options.get("case") == "lower"

    def row(line: str, _: DataFile, __: Collection[str]) -> _Row | None:
        columns = line.split(separator, column + 1 if separator != " " else column)
        if not line.strip():
            return None
        if len(columns) <= column:
            raise DataError(f"a line needs a name and its text, with {separator!r} between")
        stem = PurePosixPath(columns[0]).stem
        if stem not in by_stem:
            if partial:
                return None
            raise DataError(f"there is no recording {columns[0]!r:.200}")
        text = columns[column].strip()
        group = re.match(options["group"], stem) if "group" in options else None
        return _Row(by_stem[stem], text.lower() if lower else text, group=group[0] if group else "")

    yield from _rows_of(read_text(file.path, file.name).splitlines(), row, file, names)


def _ljspeech(file: DataFile, start: Position) -> Iterator[Item]:
    """LJ Speech: `name|text|text with numbers and abbreviations spelled out`."""
    options = {"separator": "|", "column": "2"} | dict(file.options)
    return _listed(_transcripts)(replace(file, options=options), start)


MEDIA_READERS: dict[str, Reader] = {
    "webdataset": read_webdataset,
    "classes": read_classes,
    "metadata": read_metadata,
    "transcripts": _listed(_transcripts),
    "ljspeech": _ljspeech,
    "storybook_pages": _listed(_storybook_pages),
    "emoji": _json_list(_emoji),
    "easy_vqa": _json_list(_easy_question),
    "nlvr": _json_lines(_statement),
    "idx": whole(_idx_pictures),
    "spoken_digits": by_name(_spoken_digit),
    "spoken_words": by_name(_spoken_word),
}
