"""Readers of the formats that published data sets come in, and the table of all formats by name."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sensorium.data import readers
from sensorium.data.columns import read_arrow, read_parquet
from sensorium.data.files import read_text, read_whole
from sensorium.data.media_formats import MEDIA_READERS
from sensorium.data.readers import by_line, lines, parse_json, whole, whole_json
from sensorium.data.records import Bad, Content, DataFile, Item, Position, Reader, Record, dialogue, text_content
from sensorium.errors import DataError


def _each(
    parse: Callable[[Any, DataFile], Content], items: Iterable[Any], file: DataFile
) -> Iterator[Content | DataError]:
    """Parse items one by one, an error standing in the place of an item that is corrupt."""
    for item in items:
        try:
            yield parse(item, file)
        except DataError as error:
            yield error


def _field(item: Any, key: str) -> Any:
    if not isinstance(item, Mapping) or key not in item:
        raise DataError(f"a record has no {key!r}")
    return item[key]


def _turns(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(turn, str) for turn in value):
        raise DataError(f"a dialogue must be a list of strings, not {type(value).__name__}")
    return value


# --- stories ---------------------------------------------------------------------------------------------------------


def read_loose_stories(file: DataFile, start: Position) -> Iterator[Item]:
    """Stories whose paragraphs stand apart by a blank line, so that a line end without one ends the story."""
    parts: list[str] = []
    first, before = 0, start
    for line, number, after in lines(file, start):
        if isinstance(line, Bad):
            yield line, None
        elif not line.strip():
            parts.append("")
        else:
            if parts and parts[-1]:
                yield Record(_paragraphs(parts), f"{file.name}:{first}"), before
                parts = []
            first = number if not parts else first
            parts.append(line)
        before = after
    if any(parts):
        yield Record(_paragraphs(parts), f"{file.name}:{first}"), before


def _paragraphs(parts: list[str]) -> str:
    return "\n".join(part for part in parts if part)


_STORY_FIELD = re.compile(r"^\* ([A-Z][a-z]+): (.*)$", re.MULTILINE)


def _storybook(file: DataFile) -> Iterator[Content | DataError]:
    text = read_text(file.path, file.name)
    fields: dict[str, str] = dict(_STORY_FIELD.findall(text))
    if file.ship and "NC" in fields.get("License", "NC"):
        return  # a non-commercial licence, or none
    pages = re.split(r"^##.*$", text, flags=re.MULTILINE)
    title = pages[0].strip().removeprefix("#").strip()
    body = [
        " ".join(page.split()) if _latin(page) else "".join(page.split()) for page in map(_without_fields, pages[1:])
    ]
    yield "\n".join(part for part in [title, *body] if part)


def _without_fields(page: str) -> str:
    return _STORY_FIELD.sub("", page)


def _latin(text: str) -> bool:
    """Whether words stand apart by spaces: not so where most letters are Chinese or Japanese."""
    wide = sum("\u3040" <= character <= "\u9fff" for character in text)
    return 4 * wide < sum(character.isalpha() for character in text)


def _fairytale(file: DataFile) -> Iterator[Content | DataError]:
    sections = [row["text"].strip() for row in _csv_rows(file, file.path, ("section", "text"))]
    yield "\n".join(sections)


def _fairytale_questions(file: DataFile) -> Iterator[Content | DataError]:
    """Questions on the sections of a tale that they were asked about."""
    # .../questions/SPLIT/NAME-questions.csv goes with .../section-stories/SPLIT/NAME-story.csv
    root, split = file.path.parents[2], file.path.parent.name
    tale = root / "section-stories" / split / file.path.name.replace("-questions.", "-story.")
    sections = {row["section"]: row["text"].strip() for row in _csv_rows(file, tale, ("section", "text"))}
    for row in _csv_rows(file, file.path, ("cor_section", "question", "answer1")):
        wanted = [number.strip() for number in row["cor_section"].split(",")]
        missing = [number for number in wanted if number not in sections]
        if missing:
            yield DataError(f"section {missing[0]!r} is not in {tale.name}")
            continue
        passage = "\n".join(sections[number] for number in wanted)
        yield from _each(_question, [(passage, row["question"], row["answer1"])], file)


def _question(item: tuple[str, str, str], _: DataFile) -> Content:
    passage, question, answer = item
    return dialogue([f"{passage.strip()}\n\n{question.strip()}", answer])


def _csv_rows(file: DataFile, path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(read_text(path, file.name)))
    missing = [name for name in needed if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(f"{file.name} has no column {missing[0]!r} (it has {rows.fieldnames})")
    # Some tales have bare carriage returns where their lines were wrapped.
    return [{name: re.sub(r"\s*\r\s*", " ", row[name] or "") for name in needed} for row in rows]


# --- dialogues -------------------------------------------------------------------------------------------------------


def _chatterbot(file: DataFile) -> Iterator[Content | DataError]:
    text = read_text(file.path, file.name)
    try:
        # The base loader leaves `Yes` and `42` the words they are.
        document = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise DataError(f"{file.name} is not YAML: {' '.join(str(error).split())}") from None
    talks = document.get("conversations") if isinstance(document, Mapping) else None
    if not isinstance(talks, list):
        raise DataError(f"{file.name} has no list of 'conversations'")
    if file.options.get("answers") != "each":
        yield from _each(lambda talk, _: dialogue(_turns(talk)), talks, file)
        return
    # A remark is followed by answers that each fit it, not by turns.
    for talk in talks:
        several = isinstance(talk, list) and len(talk) > 2
        pairs = [[talk[0], answer] for answer in talk[1:]] if several else [talk]
        yield from _each(lambda pair, _: dialogue(_turns(pair)), pairs, file)


def _turns_line(line: str, _: DataFile) -> Content | None:
    return dialogue(_turns(_field(parse_json(line), "turns"))) if line.strip() else None


_SPACE = re.compile(r"(?<![A-Za-z0-9]) +| +(?![A-Za-z0-9])")


def join_characters(text: str) -> str:
    """Chinese written with a space between characters, joined; spaces between Latin words and numbers stay."""
    return _SPACE.sub("", text.strip())


def _spaced_line(line: str, _: DataFile) -> Content | None:
    return dialogue([join_characters(turn) for turn in line.split("\t")]) if line.strip() else None


def _spaced_json(file: DataFile) -> Iterator[Content | DataError]:
    splits = whole_json(file)
    if not isinstance(splits, Mapping):
        raise DataError(f"{file.name} must be an object of splits, not {type(splits).__name__}")
    talks = [talk for split in splits.values() for talk in split]
    yield from _each(lambda talk, _: dialogue([join_characters(turn) for turn in _turns(talk)]), talks, file)


def _kdconv(file: DataFile) -> Iterator[Content | DataError]:
    yield from _each(_kdconv_talk, whole_json(file), file)


def _kdconv_talk(talk: Any, _: DataFile) -> Content:
    return dialogue(_turns([_field(turn, "message") for turn in _field(talk, "messages")]))


# --- questions and answers -------------------------------------------------------------------------------------------


def read_babi(file: DataFile, start: Position) -> Iterator[Item]:
    """bAbI: numbered facts and questions; each story becomes a conversation that tells them in turn."""
    turns: list[str] = []
    told: list[str] = []
    first, before = 0, start
    for line, number, after in lines(file, start):
        if isinstance(line, Bad):
            yield line, None
            continue
        index, _, rest = line.partition(" ")
        if index == "1" and turns:
            yield _babi_story(turns, f"{file.name}:{first}"), before
            turns, told = [], []
        first = number if not turns and not told else first
        question, _, answer = rest.partition("\t")
        told.append(question.strip())
        if answer:
            turns += ["\n".join(told), answer.split("\t")[0]]
            told = []
        before = after
    if turns:
        yield _babi_story(turns, f"{file.name}:{first}"), before


def _babi_story(turns: list[str], where: str) -> Record | Bad:
    try:
        return Record(dialogue(turns), where)
    except DataError as error:
        return Bad(where, str(error))


def _gsm8k_line(line: str, _: DataFile) -> Content | None:
    if not line.strip():
        return None
    item = parse_json(line)
    answer = re.sub(r"<<[^>]*>>", "", text_content(_field(item, "answer")))  # the calculator's annotations
    return dialogue([text_content(_field(item, "question")), answer])


def _open_question_line(line: str, _: DataFile) -> Content | None:
    if not line.strip():
        return None
    item = parse_json(line)
    return dialogue([text_content(_field(item, "question")), _turns(_field(item, "answer"))[0]])


def _squad(file: DataFile) -> Iterator[Content | DataError]:
    for article in _field(whole_json(file), "data"):
        for paragraph in _field(article, "paragraphs"):
            passage = text_content(_field(paragraph, "context"))
            items = [(passage, qa) for qa in _field(paragraph, "qas")]
            yield from _each(_squad_question, items, file)


def _squad_question(item: tuple[str, Any], file: DataFile) -> Content:
    passage, qa = item
    answers = _field(qa, "answers")
    if not answers:
        raise DataError("a question has no answer")
    return _question((passage, _field(qa, "question"), _field(answers[0], "text")), file)


def _trivia(file: DataFile) -> Iterator[Content | DataError]:
    blocks = re.split(rb"^#Q ", read_whole(file.path, file.name), flags=re.MULTILINE)[1:]
    yield from _each(_trivia_question, blocks, file)


def _trivia_question(block: bytes, _: DataFile) -> Content:
    try:
        question, found, rest = block.decode("utf-8").partition("\n^ ")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason} at byte {error.start} of the question") from None
    answer, _rest, choices = rest.partition("\n")
    if not found:
        raise DataError("a question has no answer")
    return dialogue([f"{question.strip()}\n{choices.strip()}", answer])


# --- pairs of texts --------------------------------------------------------------------------------------------------


def _translation_line(line: str, file: DataFile) -> Iterable[Content] | None:
    if not line.strip():
        return None
    sides = [side.strip() for side in line.split("\t")[:2]]
    if len(sides) < 2:
        raise DataError("a line needs a sentence, a tab and its translation")
    forward, backward = file.options["forward"], file.options["backward"]
    return [dialogue([forward.format(sides[0]), sides[1]]), dialogue([backward.format(sides[1]), sides[0]])]


def read_parallel(file: DataFile, start: Position) -> Iterator[Item]:
    """Two files whose lines belong together, as a request and its answer; the second has another ending."""
    ending, prompt = file.options["answer_ending"], file.options["prompt"]
    other = file.path.with_suffix(ending)
    answers = read_text(other, f"{file.name} (its answers)").split("\n")
    for line, number, after in lines(file, start):
        where = f"{file.name}:{number}"
        if isinstance(line, Bad):
            yield line, after
            continue
        try:
            if number > len(answers):
                raise DataError(f"{other.name} has no line {number}")
            yield Record(dialogue([prompt.format(line.strip()), answers[number - 1]]), where), after
        except DataError as error:
            yield Bad(where, str(error)), after


def _title_line(line: str, file: DataFile) -> Content | None:
    fields = line.split("\t")
    if len(fields) != 3:
        raise DataError(f"a line needs a task, a text and its title, not {len(fields)} fields")
    return dialogue([file.options["prompt"].format(fields[1].strip()), fields[2]])


# --- reference works and verse ---------------------------------------------------------------------------------------

_ARTICLE = re.compile(r"^ = [^=].* = $")


def read_wikitext(file: DataFile, start: Position) -> Iterator[Item]:
    """WikiText: an article begins at its title, ` = Title = `, and is kept to the letter."""
    return _blocks(file, start, lambda line: bool(_ARTICLE.match(line)), keep="")


def read_wikiextractor(file: DataFile, start: Position) -> Iterator[Item]:
    """WikiExtractor's output: an article stands between `<doc …>` and `</doc>`."""
    return _blocks(file, start, lambda line: line.startswith("<doc "), keep="</doc>")


def _blocks(file: DataFile, start: Position, begins: Callable[[str], bool], keep: str) -> Iterator[Item]:
    """Documents that each begin at a marked line. With a closing mark (`keep`) neither mark is part of them."""
    parts: list[str] = []
    first, before = 0, start
    for line, number, after in lines(file, start):
        if isinstance(line, Bad):
            yield line, None
        elif begins(line):
            if "".join(parts).strip():
                yield Record("\n".join(parts).strip("\n"), f"{file.name}:{first}"), before
            parts = [] if keep else [line]
            first = number
        elif not keep or line.strip() not in ("", keep):
            parts.append(line)
        before = after
    if "".join(parts).strip():
        yield Record("\n".join(parts).strip("\n"), f"{file.name}:{first or 1}"), before


def _verses(file: DataFile) -> Iterator[Content | DataError]:
    found = list(_poems(whole_json(file)))
    if not found:
        raise DataError(f"{file.name} holds no object with 'paragraphs', 'para' or 'content'")
    yield from _each(lambda text, _: text_content(text), found, file)


def _poems(value: Any, heading: tuple[str, ...] = ()) -> Iterator[str]:
    """Poems at any depth, under the titles they stand beneath."""
    if isinstance(value, list):
        for inner in value:
            yield from _poems(inner, heading)
    elif isinstance(value, Mapping):
        names = [value.get(key) for key in ("title", "rhythmic", "chapter", "type", "author")]
        heading = (*heading, *(name for name in names if isinstance(name, str) and name))
        body = next((value[key] for key in ("paragraphs", "para", "content") if key in value), None)
        if isinstance(body, list) and body and all(isinstance(verse, str) for verse in body):
            yield "\n".join([" ".join(heading), *body])
        elif body is not None:
            yield from _poems(body, heading)


READERS: dict[str, Reader] = {
    "text": readers.read_text_documents,
    "jsonl": readers.read_jsonl,
    "json": readers.read_json,
    "parquet": read_parquet,
    "arrow": read_arrow,
    **MEDIA_READERS,
    "csv": readers.read_csv,
    "tsv": readers.read_tsv,
    "pairs": readers.read_pairs,
    "loose_stories": read_loose_stories,
    "storybook": whole(_storybook),
    "fairytale": whole(_fairytale),
    "fairytale_questions": whole(_fairytale_questions),
    "chatterbot": whole(_chatterbot),
    "turns": by_line(_turns_line),
    "spaced_dialogue": by_line(_spaced_line),
    "spaced_dialogue_json": whole(_spaced_json),
    "kdconv": whole(_kdconv),
    "babi": read_babi,
    "gsm8k": by_line(_gsm8k_line),
    "open_questions": by_line(_open_question_line),
    "squad": whole(_squad),
    "trivia": whole(_trivia),
    "translation": by_line(_translation_line),
    "parallel": read_parallel,
    "titles": by_line(_title_line),
    "wikitext": read_wikitext,
    "wikiextractor": read_wikiextractor,
    "verses": whole(_verses),
}
