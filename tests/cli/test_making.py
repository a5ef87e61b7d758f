"""Pictures and speech from the command line: files that anyone opens, and refusals before any work is done."""

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path

import making
import PIL.Image
import pytest

from sensorium.cli.conversation import Conversation
from sensorium.cli.slash import run_command
from sensorium.errors import RequestError
from sensorium.messages import Audio, Image

RATE = making.SPEECH_CODEC["sample_rate"]


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model that sees, hears, draws and speaks, with random weights."""
    folder = tmp_path_factory.mktemp("models") / "maker"
    making.make_model().save(folder)
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def samples_in(path: Path) -> int:
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return sound.getnframes()


def test_a_picture_is_drawn_and_changed(cli: Callable, maker: Path, tmp_path: Path) -> None:
    out, changed = tmp_path / "ball.png", tmp_path / "changed.png"
    drawn = cli("ask", "Draw a red ball", "--reply", "image", "--out", out, "--model", maker, "--seed", 1)
    assert (drawn.code, drawn.err) == (0, "")
    assert size_of(out) == (12, 8)
    again = tmp_path / "again.png"
    cli("ask", "Draw a red ball", "--reply", "image", "--out", again, "--model", maker, "--seed", 1)
    assert again.read_bytes() == out.read_bytes()
    cli("ask", "A bird", "--image", out, "--reply", "image", "--out", changed, "--model", maker, "--seed", 1)
    assert size_of(changed) == (12, 8)


def test_several_pictures_are_numbered(cli: Callable, maker: Path, tmp_path: Path) -> None:
    out = tmp_path / "balls.png"
    outcome = cli("ask", "Draw", "--reply", "image", "--pictures", 3, "--out", out, "--model", maker, "--json")
    files = [tmp_path / f"balls-{number}.png" for number in (1, 2, 3)]
    assert json.loads(outcome.out)["files"] == [str(file) for file in files]
    assert [size_of(file) for file in files] == [(12, 8)] * 3
    assert not out.exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_an_answer_with_nothing_for_the_file_fails(cli: Callable, maker: Path, tmp_path: Path, as_json: bool) -> None:
    out = tmp_path / "words.png"
    out.write_bytes(b"of before")
    asked = ("ask", "Hi", "--reply", "auto", "--max-tokens", 1, "--out", out, "--model", maker, "--temperature", 0)
    outcome = cli(*asked, *(["--json"] if as_json else []))
    assert outcome.code == 1
    assert f"nothing was written: the answer holds nothing for {out}" in outcome.err
    assert outcome.out.endswith("\n")
    assert not as_json or "files" not in json.loads(outcome.out)
    assert out.read_bytes() == b"of before"


def test_an_answer_is_spoken(cli: Callable, maker: Path, tmp_path: Path) -> None:
    out = tmp_path / "answer.wav"
    outcome = cli(
        "ask", "Say it", "--reply", "speech", "--out", out, "--model", maker, "--max-tokens", 60, "--voice", "bob"
    )
    assert outcome.code == 0
    assert samples_in(out) % making.SAMPLES_PER_CODE == 0


def test_a_text_is_said_and_heard(cli: Callable, maker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.inference.grammar.LONGEST_CLAUSE", 0.4)  # seconds: weights drawn by chance go on
    out = tmp_path / "cat.wav"
    settings = ("--model", maker, "--seed", 1)
    assert cli("say", "The cat sat", "--out", out, *settings).code == 0
    assert samples_in(out) > 0
    heard = cli("transcribe", out, "--model", maker, "--max-tokens", 4)
    assert (heard.code, heard.err) == (0, "")
    assert cli("say", "--voices", "--model", maker).out == "anna\nbob\n"
    line = cli("say", "The cat sat on the mat", "--out", out, *settings, "--set", "max_tokens=8")
    assert "was not spoken to its end" in line.err
    assert line.code == 2
    # A recording can lend its voice.
    assert cli("say", "The cat", "--out", out, "--voice", out, *settings).code == 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("ask", "Draw", "--reply", "image"), "--out NAME.png"),
        (("ask", "Draw", "--reply", "image", "--out", "ball.jpg"), "must end in .png"),
        (("ask", "Draw", "--reply", "speech", "--out", "ball.png"), "must end in .wav"),
        (("ask", "Draw", "--out", "nowhere/ball.png"), "does not exist"),
        (("ask", "Draw", "--complete", "--reply", "image", "--out", "ball.png"), "--complete continues plain text"),
        (("say", "Hello"), "--out NAME.wav"),
        (("transcribe", "nothing.wav"), "is not a file"),
    ],
)
def test_what_could_not_be_written_is_refused(refused: Callable, arguments: tuple[str, ...], hint: str) -> None:
    assert hint in refused(*arguments)


def test_a_file_that_could_not_be_written_is_told_before_anything_is_drawn(
    refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("ask", "Draw", "--reply", "image", "--model", "no such model", "--out")
    folder = tmp_path / "here.png"
    folder.mkdir()
    assert "here.png is a folder" in refused(*asked, folder)
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)
    assert "permission denied" in refused(*asked, tmp_path / "there.png")


def test_what_the_model_cannot_make_is_refused(refused: Callable, maker: Path, observer: Path, tmp_path: Path) -> None:
    out = tmp_path / "ball.png"
    assert "no image codec" in refused("ask", "Draw", "--reply", "image", "--out", out, "--model", observer)
    assert "no speech codec" in refused("say", "Hello", "--out", tmp_path / "a.wav", "--model", observer)
    line = refused("say", "Hello", "--out", tmp_path / "a.wav", "--model", maker, "--voice", "carl")
    assert "no voice 'carl'" in line
    assert "anna, bob" in line
    assert not list(tmp_path.iterdir())


def test_a_chat_keeps_what_is_drawn_and_said(tmp_path: Path) -> None:
    conversation = Conversation(making.make_model(), system=None, sampling={"max_tokens": 60})
    assert run_command(conversation, f"/folder {tmp_path}") == f"pictures and speech go to {tmp_path}"
    assert run_command(conversation, "/reply image") == "answers: image"
    assert f"[{tmp_path / 'answer-1.png'}]" in "".join(conversation.say("Draw a red ball"))
    assert size_of(tmp_path / "answer-1.png") == (12, 8)
    assert isinstance(conversation.messages[-1].parts[-1], Image)
    run_command(conversation, "/reply speech")
    run_command(conversation, "/voice bob")
    said = "".join(conversation.say("Say it"))
    assert f"[{tmp_path / 'answer-1.wav'}]" in said
    assert any(isinstance(part, Audio) for part in conversation.messages[-1].parts)
    # What was made is part of the conversation that is saved.
    conversation.save(tmp_path / "chat.jsonl")
    kinds = [
        part["type"]
        for message in json.loads((tmp_path / "chat.jsonl").read_text())["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    ]
    assert {"image", "audio"} <= set(kinds)


def test_wrong_commands_of_a_chat_name_what_is_right(tmp_path: Path) -> None:
    conversation = Conversation(making.make_model(), system=None, sampling={})
    with pytest.raises(RequestError, match="one of auto, text, image, speech"):
        run_command(conversation, "/reply film")
    with pytest.raises(RequestError, match="is no folder"):
        run_command(conversation, f"/folder {tmp_path / 'nowhere'}")
    with pytest.raises(RequestError, match=r"no voice and no recording nobody .*anna, bob"):
        run_command(conversation, "/voice nobody")
    assert conversation.voice is None
    assert "anna, bob" in str(run_command(conversation, "/voice"))


def test_a_file_that_was_there_survives_a_failure(cli: Callable, maker: Path, tmp_path: Path) -> None:
    out = tmp_path / "ball.png"
    PIL.Image.new("RGB", (3, 3)).save(out)
    before = out.read_bytes()
    outcome = cli("ask", "Draw", "--reply", "image", "--out", out, "--model", maker, "--max-tokens", 3)
    assert outcome.code == 2
    assert "take 8 tokens" in outcome.err
    assert out.read_bytes() == before
    assert PIL.Image.open(io.BytesIO(before)).size == (3, 3)
