"""`sensorium chat`: talk with a model in the terminal, or line by line through a pipe."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from sensorium.cli import options, slash
from sensorium.cli.conversation import Conversation
from sensorium.errors import RequestError, SensoriumError


def chat(
    model: options.ModelOption = options.DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option(help="Instructions above the conversation.")] = None,
    temperature: options.TemperatureOption = None,
    top_p: options.TopPOption = None,
    top_k: options.TopKOption = None,
    max_tokens: options.MaxTokensOption = None,
    seed: options.SeedOption = None,
    settings: options.SetOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    r"""Talk with a model. Ctrl-C ends a reply, Ctrl-D or /quit leaves, /help lists the commands.

    With input piped in, each line is answered in turn (in one conversation), and the program ends, at the first line
    that cannot be answered with an error. `/image FILE` and
    `/audio FILE` show and play something with the next message.

    Examples:
    ```sh
    sensorium chat
    sensorium chat --model runs/mine/model --system "Answer briefly." --temperature 0.5
    printf 'Hello!\nWhat is your name?\n' | sensorium chat
    ```
    """
    sampling = options.sampling_from(
        settings, temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens, seed=seed
    )
    loaded = options.load_model(model, device=device, threads=threads)
    if loaded.processor.template is None:
        raise RequestError(f"{model} has no chat template: it can only continue text (sensorium ask --complete)")
    conversation = Conversation(loaded, system=system, sampling=sampling)
    if sys.stdin.isatty():
        _in_terminal(conversation, model)
    else:
        _line_by_line(conversation)


def _line_by_line(conversation: Conversation) -> None:
    for line in sys.stdin:
        if line.strip() in slash.LEAVING:
            return
        if line.strip() or conversation.shown:
            for piece in _answer(conversation, line.strip()):
                print(piece, end="", flush=True)
            print(flush=True)


def _in_terminal(conversation: Conversation, name: str) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    words = [*(f"/{command}" for command in slash.COMMANDS), *slash.LEAVING]
    session: PromptSession[str] = PromptSession(completer=WordCompleter(words, sentence=True))
    console.print(f"[bold]{escape(name)}[/] [dim]· /help for commands, Ctrl-C ends a reply, Ctrl-D leaves[/]")
    while True:
        try:
            line = session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if line in slash.LEAVING:
            return
        if not line and not conversation.shown:
            continue
        try:
            _show(conversation, line)
        except SensoriumError as error:
            console.print(str(error), style="red", markup=False)
        except KeyboardInterrupt:
            console.print()
        if conversation.forgotten:
            console.print(f"[dim](the first {conversation.forgotten} messages no longer fit the model's context)[/]")


def _show(conversation: Conversation, line: str) -> None:
    """Write an answer as it comes; Ctrl-C ends it and keeps what was written."""
    with _interruptible(conversation.cancel):
        for piece in _answer(conversation, line):
            print(piece, end="", flush=True)
    print(" …\n" if conversation.cancel.is_set() else "\n")


def _answer(conversation: Conversation, line: str) -> Iterator[str]:
    """The pieces of a reply, or the notice of a command, without white space in front."""
    if slash.is_command(line):
        answer = slash.run_command(conversation, line)
        if isinstance(answer, str):
            yield answer
            return
    else:
        answer = conversation.say(line.removeprefix("/") if line.startswith("//") else line)
    started = False
    for piece in answer:
        shown = piece if started else piece.lstrip()
        started = started or bool(shown)
        if shown:
            yield shown


@contextmanager
def _interruptible(cancel: threading.Event) -> Iterator[None]:
    """Within it, the first Ctrl-C only sets `cancel`; a second one raises `KeyboardInterrupt` as usual."""

    def note(_signal: int, _frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    cancel.clear()
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
