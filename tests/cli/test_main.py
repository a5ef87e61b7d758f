import os
import signal
import subprocess
import sys

import pytest

from sensorium.cli import main
from sensorium.errors import TrainingError

COMMANDS = ("ask", "chat", "train", "eval", "info", "world", "import", "export")


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from sensorium.cli.main import _run; code = _run(['train', '--help']); "
        "sys.exit(code or int(any(name in sys.modules for name in ('torch', 'transformers', 'pyarrow'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "RECIPE" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_examples(cli, command: str) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert "Examples:" in outcome.out
    assert f"sensorium {command} " in " ".join(outcome.out.split())


def test_alone_it_shows_its_commands(cli) -> None:
    outcome = cli()
    assert outcome.code == 0
    assert all(f" {command} " in outcome.out for command in COMMANDS)


def test_version(cli) -> None:
    assert cli("--version").out == "sensorium 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["aks"], "No such command 'aks'"),
        (["ask", "--temprature", "1", "x"], "--temperature"),
        (["ask", "--top-k", "many", "x"], "Invalid value for '--top-k': Input should be a valid integer"),
        (["train"], "Missing argument 'RECIPE'"),
        (["eval", "--limit", "0"], "greater than or equal to 1, not '0'"),
        (["export", "seedling", "there", "--format", "onnx"], "'hf', 'safetensors'"),
    ],
)
def test_a_mistaken_command_line_is_one_line_that_names_help(refused, arguments: list[str], wanted: str) -> None:
    line = refused(*arguments)
    assert wanted in line
    assert "--help)" in line


def failing(error: BaseException):
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TrainingError("the disk is full\n  (free some)"), 1, "sensorium: the disk is full (free some)\n"),
        (PermissionError(13, "Permission denied", "/there"), 1, "sensorium: [Errno 13] Permission denied: '/there'\n"),
        (ZeroDivisionError("oh"), 1, "sensorium: unexpected ZeroDivisionError: oh (SENSORIUM_DEBUG=1 shows where"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str) -> None:
    monkeypatch.setattr("sensorium.cli.options.load_model", failing(error))
    outcome = cli("ask", "Hello!")
    assert outcome.code == code
    assert outcome.err.startswith(words)
    assert outcome.err.count("\n") == (1 if words else 0)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_traceback_is_there_for_the_asking(cli, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setattr("sensorium.cli.options.load_model", failing(ZeroDivisionError("oh")))
    # Set before the command does, so that the variable is put back after the test.
    monkeypatch.setenv("SENSORIUM_DEBUG", "1" if by == "environment" else "")
    outcome = cli(*(["--debug"] if by == "option" else []), "ask", "Hello!")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("sensorium: unexpected ZeroDivisionError: oh")


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    command = [sys.executable, "-m", "sensorium", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_completion_knows_commands_and_tasks() -> None:
    def complete(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_SENSORIUM_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        script = "import sys; sys.argv = ['sensorium']; from sensorium.cli.main import run; run()"
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert complete("sensorium e") == ["eval", "export"]
    assert complete("sensorium eval seedling --task b") == ["bpb"]


def test_ctrl_c_is_code_130() -> None:
    """In a process of its own: a signal while standard input is awaited."""
    script = (
        "import sys, signal; from sensorium.cli.main import run\n"
        # Started in the background, a process inherits that Ctrl-C means nothing.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Waiting:\n"
        "    def isatty(self): return False\n"
        f"    def read(self): signal.raise_signal({int(signal.SIGINT)})\n"
        "sys.stdin = Waiting(); run(['ask'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_is_code_130_while_the_command_is_read() -> None:
    script = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from sensorium.__main__ import start; start()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "sensorium", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sensorium ")
    assert main.INTERRUPTED == 130
