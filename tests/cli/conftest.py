"""Runs commands inside the test's process, as the shell would."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sensorium.cli.main import run


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("ask", "Hello!", stdin="")` gives the exit code and what was printed."""
    monkeypatch.delenv("SENSORIUM_DEBUG", raising=False)
    monkeypatch.delenv("SENSORIUM_MODEL", raising=False)

    def call(*arguments: object, stdin: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def refused(cli: Cli) -> Callable[..., str]:
    """Runs a command that must be refused: exit code 2 and one line on stderr, which is returned."""

    def call(*arguments: object, stdin: str = "") -> str:
        outcome = cli(*arguments, stdin=stdin)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("sensorium: ")
        assert outcome.err.count("\n") == 1
        assert outcome.err.endswith("\n")
        return outcome.err.removeprefix("sensorium: ").rstrip("\n")

    return call
