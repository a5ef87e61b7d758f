"""`sensorium world`: what is written is what the world holds."""

import csv
import io
import json
import sys
import wave
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from sensorium.cli.world import Weather
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.data.world import espeak
from sensorium.data.world.export import described
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.speech import speak
from sensorium.data.world.things import WEATHERS


def test_show_writes_a_contact_sheet(cli, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    arguments = ("--kind", "caption", "--kind", "vqa", "--size", "32", "--language", "en")
    assert cli("world", "--show", 6, out, *arguments).out == f"{out}\n"
    sheet = Image.open(out)
    assert sheet.width > 3 * 176
    assert len(sheet.getcolors(2**20)) > 100
    again = tmp_path / "again.png"
    cli("world", "--show", 6, again, *arguments)
    assert again.read_bytes() == out.read_bytes()
    cli("world", "--show", 6, again, *arguments, "--seed", "1")
    assert again.read_bytes() != out.read_bytes()


def test_a_sky_is_drawn_as_asked(cli, tmp_path: Path) -> None:
    assert get_args(Weather) == WEATHERS
    drawn = {}
    for weather, seed in (("sunny", 0), ("storm", 0), ("sunny", 1)):
        out = tmp_path / f"{weather}{seed}.png"
        assert cli("world", "--sky", weather, out, "--seed", seed, "--split", "validation").out == f"{out}\n"
        drawn[out] = np.asarray(Image.open(out).convert("RGB"))
        assert drawn[out].shape == (64, 64, 3)
        cli("world", "--sky", weather, tmp_path / "again.png", "--seed", seed, "--split", "validation")
        assert (tmp_path / "again.png").read_bytes() == out.read_bytes()
    sunny, storm, other = drawn.values()
    assert sunny[:24].mean() > storm[:24].mean() + 40
    assert (sunny != other).any()


@pytest.mark.usefixtures("world_extra")
def test_a_text_is_said(cli, tmp_path: Path) -> None:
    for number, text in enumerate(("今天天气真好。", "It is sunny today.")):
        out = tmp_path / "new" / f"{number}.wav"
        assert cli("world", "--say", text, out, "--seed", "7").out == f"{out}\n"
        with wave.open(str(out)) as file:
            assert file.getframerate() == 16_000
            heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32_767
        assert heard == pytest.approx(speak(text, ("zh", "en")[number], 7, split="train"), abs=1e-4)


@pytest.mark.usefixtures("world_extra")
def test_listen_writes_recordings_with_their_texts(cli, tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    assert cli("world", "--listen", folder, "--count", 4, "--kind", "dictation", "--language", "zh").code == 0
    rows = list(csv.DictReader((folder / "metadata.csv").open(encoding="utf-8", newline="")))
    assert [row["file_name"] for row in rows] == [f"{number:05d}.wav" for number in range(4)]
    world = World(WorldSpec(kinds={"dictation": 1}, languages=("zh",)), "train")
    said = [piece.text for number in range(4) for piece in _heard(world.talk(number).turns[0].parts)]
    assert [row["text"] for row in rows] == said
    assert {row["language"] for row in rows} == {"zh"}
    with wave.open(str(folder / "00003.wav")) as file:
        assert file.getframerate() == 16_000
        assert file.getnframes() > 8_000


@pytest.mark.usefixtures("world_extra")
def test_what_listen_writes_is_read_as_a_data_set(cli, tmp_path: Path) -> None:
    cli("world", "--listen", tmp_path / "voices", "--count", 3, "--kind", "dictation", "--language", "en")
    records = list(record_stream(DatasetSpec(path=tmp_path / "voices"), shuffle=False, repeat=False))
    rows = list(csv.DictReader((tmp_path / "voices" / "metadata.csv").open(encoding="utf-8", newline="")))
    assert [record.content[-1].text for record in records] == [row["text"] for row in rows]


def test_talk_prints_conversations_with_their_facts(cli) -> None:
    lines = cli("world", "--talk", 3, "--kind", "vqa", "--language", "en", "--split", "validation").out.splitlines()
    world = World(WorldSpec(kinds={"vqa": 1}, languages=("en",)), "validation")
    assert [json.loads(line) for line in lines] == [
        json.loads(json.dumps(described(world.talk(number)))) for number in range(3)
    ]
    first = json.loads(lines[0])
    assert first["kind"] == "vqa"
    assert first["messages"][-1]["role"] == "assistant"
    assert {"type": "image"}.items() <= first["messages"][0]["content"][0].items()


@pytest.mark.usefixtures("world_extra")
def test_an_exported_world_is_read_as_it_was(cli, tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    arguments = ("--kind", "caption", "--kind", "spoken_vqa", "--size", "32")
    assert cli("world", "--export", folder, "--count", 6, *arguments).out == f"{folder}\n"
    read = list(record_stream(DatasetSpec(path=folder), shuffle=False, repeat=False))
    made = DatasetSpec(world={"kinds": ["caption", "spoken_vqa"], "size": 32}, split="train", limit=6)
    for stored, record in zip(read, islice(record_stream(made, shuffle=False), 6), strict=True):
        assert [message.role for message in stored.content] == [message.role for message in record.content]
        for there, here in zip(_parts(stored), _parts(record), strict=True):
            assert type(there) is type(here)
            if hasattr(here, "text"):
                assert there == here
            elif there.path.suffix == ".png":
                assert Image.open(there.path).tobytes() == Image.open(io.BytesIO(here.data)).tobytes()
            else:
                assert there.path.read_bytes() == here.data


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "nothing is asked for: give one of --show, --sky, --say, --listen, --talk and --export"),
        (("--talk", "1", "--export", "there"), "--talk and --export do not go together: give one of"),
        (("--show", "3"), "--show, --sky and --say go together with the file to write"),
        (("--talk", "1", "out.png"), "--show, --sky and --say go together with the file to write"),
        (("--talk", "0"), "greater than or equal to 1, not '0'"),
        (("--talk", "1", "--kind", "captoin"), "no talk of the kind 'captoin' (did you mean 'caption'?)"),
        (("--talk", "1", "--language", "fr"), "'fr'"),
        (("--talk", "1", "--split", "all"), "'all'"),
        (("--talk", "1", "--size", "9"), "size = 9: Input should be greater than or equal to 16"),
        (("--show", "3", "out.png", "--kind", "dictation"), "no picture is shown in talks of the kind dictation"),
        (("--listen", "there", "--kind", "caption"), "nothing is spoken in talks of the kind caption"),
        (("--show", "1", "out.xyz", "--kind", "caption"), "out.xyz"),
        (("--sky", "sunny"), "--show, --sky and --say go together with the file to write"),
        (("--sky", "windy", "out.png"), "'windy'"),
        (("--sky", "rain", "out.xyz"), "cannot write the picture out.xyz"),
        (("--say", "Hello!", "--sky", "rain", "out.png"), "--sky and --say do not go together"),
        (("--say", "Hello!", "out.mp3"), "out.mp3: speech is written as WAV (end its name in .wav)"),
    ],
)
def test_mistakes_are_one_line(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in refused("world", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--listen", "--export"])
def test_nothing_is_overwritten(refused, tmp_path: Path, option: str) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    assert "already exists (name a new folder, or remove it first)" in refused("world", option, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_without_the_extra_the_error_names_it(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._installed.cache_clear()
    assert "pip install 'sensorium[world]'" in refused("world", "--listen", tmp_path / "voices", "--kind", "dictation")


def test_an_export_is_whole_or_not_there(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._installed.cache_clear()
    drawn_then_said = ("--kind", "vqa", "--kind", "dictation", "--count", 20)
    assert "pip install 'sensorium[world]'" in refused("world", "--export", tmp_path / "talks", *drawn_then_said)
    assert list(tmp_path.iterdir()) == []


def _heard(parts):
    return [part for part in parts if hasattr(part, "language")]


def _parts(record):
    return [part for message in record.content for part in message.parts]
