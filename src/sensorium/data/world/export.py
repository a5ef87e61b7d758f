"""What the generated world holds, for eyes and ears: contact sheets, skies, recordings, and data sets as files."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from sensorium.data.world.render import render
from sensorium.data.world.scene import Scene, combination, draw_scene
from sensorium.data.world.sheet import can_write, contact_sheet, save_picture
from sensorium.data.world.source import World
from sensorium.data.world.speech import speak, wav_bytes
from sensorium.data.world.talk import Seen, Spoken, Talk
from sensorium.errors import DataError
from sensorium.languages import language_of
from sensorium.messages import Audio, Image, Message, Part

_TRIES = 50  # talks looked through for one that holds what is asked for


def show(world: World, n: int, path: Path) -> Path:
    """A contact sheet of the first `n` pictures of a world, each with what is said about it.

    Raises:
        DataError: no talk of these kinds shows a picture, there are too many, or the file cannot be written.
    """
    scenes = list(islice(_scenes(world, n), n))
    if not scenes:
        raise DataError(f"no picture is shown in {_kinds(world)} (ask for other kinds)")
    pictures = [render(scene, world.spec.size) for _, scene in scenes]
    return contact_sheet(pictures, [_caption(talk, scene) for talk, scene in scenes], path)


def draw_sky(world: World, weather: str, path: Path) -> Path:
    """The sky of one day in a world, drawn by its seed, as a picture file.

    Raises:
        ConfigError: an unknown weather.
        DataError: the file cannot be written.
    """
    rng = np.random.default_rng(world.spec.seed)
    scene = draw_scene(rng, split=world.split, theme="sky", weather=weather, time="day")
    return save_picture(Picture.fromarray(render(scene, world.spec.size)), path)


def say(world: World, text: str, path: Path, *, language: str | None = None) -> Path:
    """A text in one of a world's voices, that of its seed, as a WAV file; the language is told by the text.

    Raises:
        ConfigError: the extra `world` is not installed.
        DataError: nothing that can be said, another ending than `.wav`, or a file that cannot be written.
    """
    if path.suffix.lower() != ".wav":
        raise DataError(f"{path}: speech is written as WAV (end its name in .wav)")
    sound = speak(text, language or language_of(text), world.spec.seed, split=world.split)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes(sound))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
    return path


def listen(world: World, n: int, folder: Path) -> Path:
    """The first `n` recordings of a world as WAV files, with their texts in `metadata.csv`.

    Raises:
        DataError: nothing is spoken in these kinds of talk.
    """
    spoken = list(islice(_spoken(world, n), n))
    if not spoken:
        raise DataError(f"nothing is spoken in {_kinds(world)} (ask for other kinds)")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "text", "language", "kind"))
        for number, (talk, piece, data) in enumerate(spoken):
            name = f"{number:05d}.wav"
            (folder / name).write_bytes(data)
            table.writerow((name, piece.text, piece.language, talk.kind))
    return folder


def described(talk: Talk) -> dict[str, Any]:
    """A conversation as plain data to read: instead of pictures and recordings, what they show and say."""
    turns = [{"role": turn.role, "content": [_description(piece) for piece in turn.parts]} for turn in talk.turns]
    return {"kind": talk.kind, "language": talk.language, "messages": turns, "facts": talk.facts}


def export(world: World, n: int, folder: Path) -> Path:
    """The first `n` conversations of a world as a data set of files: `talks.jsonl`, with PNG and WAV files in `media`.

    A data set whose `path` is the folder reads it. It is whole or, after an error, not there.
    """
    whole = folder.absolute()
    whole.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{whole.name}-", dir=whole.parent) as made:
        draft = Path(made) / whole.name
        (draft / "media").mkdir(parents=True)
        with (draft / "talks.jsonl").open("w", encoding="utf-8") as file:
            for number in range(n):
                messages = []
                for turn, message in enumerate(_conversation(world, number)):
                    stems = (f"media/{number:06d}-{turn}-{at}" for at in count())
                    parts = tuple(_stored(part, draft, stem) for part, stem in zip(message.parts, stems, strict=False))
                    messages.append(replace(message, parts=parts).to_dict())
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        draft.replace(whole)
    return folder


def _conversation(world: World, number: int) -> tuple[Message, ...]:
    content = world.record(number).content
    assert not isinstance(content, str)
    return content


def _stored(part: Part, folder: Path, stem: str) -> Part:
    """The part, its bytes in a file of their own; its path is relative to the folder."""
    if isinstance(part, Image):
        name = f"{stem}.png"
        assert part.data is not None
        Picture.open(io.BytesIO(part.data)).save(folder / name)
        return Image(path=Path(name))
    if isinstance(part, Audio):
        name = f"{stem}.wav"
        assert part.data is not None
        (folder / name).write_bytes(part.data)
        return Audio(path=Path(name))
    return part


def _scenes(world: World, n: int) -> Iterator[tuple[Talk, Scene]]:
    """The first picture of each talk that has one."""
    for index in range(n * _TRIES):
        talk = world.talk(index)
        for piece in (piece for turn in talk.turns for piece in turn.parts):
            if isinstance(piece, Seen):
                yield talk, piece.scene
                break


def _spoken(world: World, n: int) -> Iterator[tuple[Talk, Spoken, bytes]]:
    """All words that are said aloud, with their WAV files."""
    for index in range(n * _TRIES):
        talk = world.talk(index)
        pieces = [piece for turn in talk.turns for piece in turn.parts if isinstance(piece, Spoken)]
        if not pieces:
            continue
        parts = (part for message in world.realise(talk, index) for part in message.parts)
        recordings = [part.data for part in parts if isinstance(part, Audio)]
        for piece, data in zip(pieces, recordings, strict=True):
            assert data is not None
            if piece.text:
                yield talk, piece, data


def _caption(talk: Talk, scene: Scene) -> str:
    """The last question and its answer; in plain English where no font of this machine can write it."""
    asked = next((_words(turn.parts) for turn in reversed(talk.turns) if turn.role == "user"), "")
    said = f"{asked} {talk.answer}".strip()
    return said if can_write(said) else f"{talk.kind}: {combination(scene)}"


def _words(pieces: tuple[str | Spoken | Seen, ...]) -> str:
    return " ".join(piece if isinstance(piece, str) else piece.text for piece in pieces if not isinstance(piece, Seen))


def _description(piece: str | Spoken | Seen) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if isinstance(piece, Spoken):
        return {"type": "audio", "says": piece.text, "language": piece.language}
    return {"type": "image", "shows": combination(piece.scene)}


def _kinds(world: World) -> str:
    return f"talks of the kind {', '.join(world.spec.shares)}"
