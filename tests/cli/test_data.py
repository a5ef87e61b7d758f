import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from media_parts import picture


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name, colour in (("cat", "red"), ("[dog]", "blue")):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(picture(colour).data or b"")
    (root / "cat" / "bad.png").write_text("no picture")
    return root


def test_a_table_says_what_is_there_and_names_what_is_bad(cli: Any, pets: Path) -> None:
    outcome = cli("data", "check", pets)
    assert outcome.code == 0
    assert "2 (classes 2)" in outcome.out
    assert "16 to 16, median 16" in outcome.out
    assert "bad: pets/cat/bad.png: " in outcome.out
    assert "it holds text ('no picture' …)" in outcome.out


def test_json_for_scripts_and_a_sheet_for_the_eye(cli: Any, pets: Path, tmp_path: Path) -> None:
    outcome = cli("data", "check", pets, "--json", "--sheet", tmp_path / "sheet.png")
    report = json.loads(outcome.out)
    assert report["records"] == 2
    assert [bad["where"] for bad in report["bad"]] == ["pets/cat/bad.png"]
    assert outcome.err == f"wrote {tmp_path / 'sheet.png'}\n"
    assert PIL.Image.open(tmp_path / "sheet.png").format == "PNG"


def test_tokens_are_counted_with_a_model(cli: Any, pets: Path, talker: Path) -> None:
    report = json.loads(cli("data", "check", pets, "--model", talker, "--json").out)
    assert 0 < report["tokens"]["least"] <= report["tokens"]["most"] < 40
    assert report["tokens"]["total"] > 10


def test_more_bad_items_than_the_limit_are_a_failure(cli: Any, pets: Path) -> None:
    outcome = cli("data", "check", pets, "--max-bad", "0")
    assert outcome.code == 2
    assert "pets/cat/bad.png" in outcome.out
    assert outcome.err.startswith(f"sensorium: {pets}: 1 bad items, more than 0 (first: pets/cat/bad.png: ")


@pytest.mark.usefixtures("shared_data")
def test_a_registered_source_is_checked_by_its_name(cli: Any) -> None:
    report = json.loads(cli("data", "check", "ljspeech", "--json").out)
    assert report["records"] == 12
    assert report["seconds"]["most"] < 12
    assert report["scripts"] == {"latin": 12}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["{}", "--format", "clases"], "unknown format 'clases' (did you mean 'classes'?)"),
        (["{}", "--include", "*.csv"], "holds no file that matches *.csv"),
        (["{}", "--limit", "0"], "Invalid value for '--limit': Input should be greater than or equal to 1"),
        (["{}/cat/bad.png"], "no format is known for the ending '.png'"),
    ],
)
def test_what_cannot_be_checked_is_refused(cli: Any, pets: Path, arguments: list[str], why: str) -> None:
    outcome = cli("data", "check", *(argument.format(pets) for argument in arguments))
    assert outcome.code == 2
    assert why in outcome.err
    assert outcome.err.count("\n") == 1


def test_ctrl_c_ends_it_quietly(cli: Any, pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sensorium.data.check.load_image", interrupted)
    outcome = cli("data", "check", pets)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


def test_the_group_without_a_command_shows_its_help(cli: Callable[..., Any]) -> None:
    assert "check" in cli("data", "--help").out
