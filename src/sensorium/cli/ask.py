"""`sensorium ask`: one question, one answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import options
from sensorium.errors import DataError, RequestError
from sensorium.messages import Audio, Done, Image, Message, Part, Text, TextDelta

if TYPE_CHECKING:
    from sensorium.api import Model


def ask(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="The question; `-` or nothing reads standard input. A recording may ask it all."
        ),
    ] = None,
    model: options.ModelOption = options.DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option(help="Instructions above the conversation.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to show with the question.")] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="A recording to play with the question.")] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Continue the text instead of answering it (for a base model).")
    ] = False,
    as_json: options.JsonOption = False,
    temperature: options.TemperatureOption = None,
    top_p: options.TopPOption = None,
    top_k: options.TopKOption = None,
    max_tokens: options.MaxTokensOption = None,
    seed: options.SeedOption = None,
    settings: options.SetOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    """Ask one question and print the answer as it is written.

    Examples:
    ```sh
    sensorium ask "What do cats like?"
    echo "Tell me a story." | sensorium ask --temperature 0.7 --seed 1
    sensorium ask "What is this?" --image photo.jpg
    sensorium ask --audio question.wav --image photo.jpg
    sensorium ask --complete "Once upon a time" --max-tokens 100 --set min_p=0.05
    sensorium ask "Hello!" --json
    ```
    """
    sampling = options.sampling_from(
        settings, temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens, seed=seed
    )
    if "n" in sampling and sampling["n"] > 1:
        raise RequestError(f"n = {sampling['n']}: ask prints one answer (call sensorium.load(...).chat for several)")
    text = _question(question, needed=not (image or audio))
    media: list[Part] = [
        *(Image(path=_existing(path)) for path in image or ()),
        *(Audio(path=_existing(p)) for p in audio or ()),
    ]
    if complete and (media or system):
        raise RequestError("--complete continues plain text: it takes no --system, --image or --audio")
    loaded = options.load_model(model, device=device, threads=threads)
    parts: tuple[Part, ...] = (*media, *([Text(text)] if text else []))
    prompt = text if complete else [*([Message.system(system)] if system else []), Message.user(parts)]
    _answer(loaded, prompt, sampling, name=model, as_json=as_json)


def _question(question: str | None, *, needed: bool) -> str:
    """The question's words, which may be none where they are not `needed`."""
    if question is None and sys.stdin.isatty():
        if not needed:
            return ""
        raise RequestError('no question (write it after `ask`, such as sensorium ask "Hello!", or pipe it in)')
    text = sys.stdin.read() if question in (None, "-") else question
    if not text or not text.strip():
        if not needed:
            return ""
        raise RequestError("the question is empty")
    if any("\udc80" <= character <= "\udcff" for character in text):  # how Python carries bytes it cannot read
        raise DataError("the question is not UTF-8 (convert it, such as with iconv)")
    return text.removesuffix("\n")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    return path


def _answer(model: Model, prompt: str | list[Message], sampling: dict[str, Any], *, name: str, as_json: bool) -> None:
    written = []
    done = None
    stream = (
        model.stream_completion(prompt, **sampling) if isinstance(prompt, str) else model.stream(prompt, **sampling)
    )
    for delta in stream:
        if isinstance(delta, TextDelta):
            written.append(delta.text)
            if not as_json:
                print(delta.text, end="", flush=True)
        elif isinstance(delta, Done):
            done = delta
    if not as_json:
        print()
        return
    assert done is not None
    answer = {
        "model": name,
        "message": Message.assistant("".join(written)).to_dict(),
        "finish_reason": done.finish_reason,
        "usage": {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens},
    }
    print(json.dumps(answer, ensure_ascii=False))
