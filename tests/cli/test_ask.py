import json
from pathlib import Path

import pytest


def test_it_answers(cli, talker: Path) -> None:
    outcome = cli("ask", "What is a cat?", "--model", talker, "--temperature", "0")
    assert (outcome.code, outcome.out, outcome.err) == (0, "A cat is red.\n", "")


def test_the_model_can_come_from_the_environment(cli, talker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_MODEL", str(talker))
    assert cli("ask", "Bye.", "-t", "0").out == "See you soon.\n"


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_the_question_can_be_piped_in(cli, talker: Path, arguments: list[str]) -> None:
    outcome = cli("ask", *arguments, "-m", talker, "-t", "0", stdin="What is a dog?\n")
    assert outcome.out == "A dog is blue.\n"


def test_json_tells_the_answer_why_it_ended_and_what_it_took(cli, talker: Path) -> None:
    answer = json.loads(cli("ask", "Hello!", "-m", talker, "-t", "0", "--json").out)
    assert answer["message"] == {"role": "assistant", "content": "Hello to you!"}
    assert answer["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 1
    cut = json.loads(cli("ask", "Hello!", "-m", talker, "-t", "0", "--json", "--max-tokens", "2").out)
    assert cut["finish_reason"] == "length"
    assert cut["usage"] == {**answer["usage"], "completion_tokens": 2}


def test_sampling_options_reach_the_model(cli, talker: Path) -> None:
    def ask(*options: str) -> str:
        return cli("ask", "What is a cat?", "-m", talker, *options).out

    hot = ["--temperature", "5", "--max-tokens", "12"]
    assert ask(*hot, "--seed", "1") == ask(*hot, "--seed", "1") != ask(*hot, "--seed", "2")
    assert ask(*hot, "--top-k", "1") == "A cat is red.\n"
    assert ask(*hot, "--set", "min_p=1") == "A cat is red.\n"
    assert ask("-t", "0", "--set", "stop= is") == "A cat\n"


def test_a_system_message_changes_the_prompt(cli, talker: Path) -> None:
    plain = json.loads(cli("ask", "Hello!", "-m", talker, "--json", "--max-tokens", "1").out)
    told = json.loads(cli("ask", "Hello!", "-m", talker, "--json", "--max-tokens", "1", "--system", "Be kind.").out)
    assert told["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


def test_a_text_can_be_continued(cli, talker: Path) -> None:
    outcome = cli("ask", "--complete", "A cat is", "-m", talker, "--max-tokens", "5", "-t", "0")
    assert outcome.code == 0
    assert outcome.out.endswith("\n")


@pytest.mark.parametrize(("option", "sense"), [("--image", "cannot see"), ("--audio", "cannot hear")])
def test_a_text_model_refuses_media(refused, talker: Path, tmp_path: Path, option: str, sense: str) -> None:
    medium = tmp_path / "medium"
    medium.write_bytes(b"\x89PNG")
    assert sense in refused("ask", "What is this?", "-m", talker, option, medium)
    assert "absent.png is not a file" in refused("ask", "What is this?", "-m", talker, option, "absent.png")


def test_what_it_refuses(refused, talker: Path) -> None:
    assert "the question is empty" in refused("ask", " ", "-m", talker)
    assert "the question is empty" in refused("ask", "-m", talker, stdin="")
    assert "--complete continues plain text" in refused("ask", "x", "--complete", "--system", "y", "-m", talker)
    assert "n = 2" in refused("ask", "x", "--set", "n=2", "-m", talker)


def test_pictures_and_recordings_are_part_of_the_question(cli, observer: Path, photo: Path, voice: Path) -> None:
    def prompt_tokens(*options: object) -> int:
        answer = json.loads(cli("ask", *options, "-m", observer, "--json", "--max-tokens", "1").out)
        return int(answer["usage"]["prompt_tokens"])

    words = prompt_tokens("What is this?")
    # Four places a picture of 2 x 2 patches, five for 40 frames by strides 2 and 4, and a token before and behind.
    assert prompt_tokens("What is this?", "--image", photo) == words + 4 + 2
    assert prompt_tokens("What is this?", "--image", photo, "--image", photo, "--audio", voice) == words + 12 + 7


def test_a_recording_may_ask_without_words(cli, refused, observer: Path, voice: Path) -> None:
    assert cli("ask", "--audio", voice, "-m", observer, "--max-tokens", "1").code == 0
    assert "the question is empty" in refused("ask", "-m", observer)


def test_broken_pictures_and_recordings_are_refused_in_a_line(
    refused, observer: Path, photo: Path, voice: Path
) -> None:
    cut = photo.with_name("cut.png")
    cut.write_bytes(photo.read_bytes()[:40])
    assert "cut.png" in refused("ask", "What is this?", "-m", observer, "--image", cut)
    assert "voice.wav" in refused("ask", "What is this?", "-m", observer, "--image", voice)
    assert "my photo.png" in refused("ask", "What is this?", "-m", observer, "--audio", photo)
    empty = voice.with_name("empty.wav")
    empty.write_bytes(b"")
    assert "empty.wav" in refused("ask", "What is this?", "-m", observer, "--audio", empty)
