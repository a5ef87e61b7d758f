"""The command `sensorium`: its subcommands, and how errors become one line and an exit code.

Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from sensorium.cli import ask, chat, convert, data, evaluate, graft, info, speech, train, world
from sensorium.errors import SensoriumError

INTERRUPTED = 130

app = typer.Typer(
    name="sensorium",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 stopped by Ctrl-C.",
)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("say")(speech.say)
app.command("transcribe")(speech.transcribe)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("info")(info.info)
app.command("world")(world.world)
app.add_typer(data.app, name="data")
app.command("graft")(graft.graft)
app.command("import")(convert.import_model)
app.command("export")(convert.export_model)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensorium {version('sensorium')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (also: SENSORIUM_DEBUG=1).")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, check and talk to a model of your own, that reads, looks, listens, draws and speaks, on your own machine.

    A MODEL is the name of a shipped one (`seedling`), a folder, or a Hugging Face hub id such as `gpt2`.

    Examples:
    ```sh
    sensorium chat
    sensorium ask "What is the weather like?" --image sky.png --audio voice.wav
    sensorium ask "Draw two red apples." --reply image --out apples.png
    sensorium train recipes/seedling.yaml --out runs/seedling --minutes 20
    sensorium eval seedling --task bpb --json
    ```
    """
    if debug:
        os.environ["SENSORIUM_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit code.

    Args:
        arguments: what stands after `sensorium`; the process's own by default.
    """
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="sensorium", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SensoriumError as error:
        return _complain(error, str(error), error.exit_code)
    except typer.TyperException as error:
        return _complain(error, _with_way_out(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output left: nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _complain(error, str(error), 1)
    except Exception as error:
        name = type(error).__name__
        return _complain(error, f"unexpected {name}: {error} (SENSORIUM_DEBUG=1 shows where; please report it)", 1)


def _with_way_out(error: typer.TyperException) -> str:
    """A complaint about the command line itself, with the value in question and the command whose --help explains."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sensorium"
    message = error.format_message().rstrip(".")
    if isinstance(error.__cause__, ValidationError):
        message += f", not {error.__cause__.errors()[0]['input']!r}"
    return f"{message} (see {command} --help)"


def _complain(error: BaseException, message: str, code: int) -> int:
    """One line on stderr; the traceback only when it was asked for."""
    if os.environ.get("SENSORIUM_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    print(f"sensorium: {' '.join(message.split())}", file=sys.stderr)
    return code
