"""`sensorium ask`: one question, one answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli import options
from sensorium.cli.making import check_out, write_media
from sensorium.cli.speech import VoiceOption, given_voice
from sensorium.errors import DataError, RequestError
from sensorium.messages import Audio, AudioDelta, Delta, Done, Image, ImageDelta, Message, Part, Text, TextDelta


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
    reply: Annotated[
        options.ReplyName, typer.Option(help="Answer in words, with a picture, or aloud; auto: as the model sees fit.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file for pictures (PNG) or speech (WAV) of the answer.")
    ] = None,
    voice: VoiceOption = None,
    pictures: Annotated[
        int, typer.Option(min=1, max=16, help="How many, with --reply image, as the context has room.")
    ] = 1,
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
    sensorium ask "Draw two red apples." --reply image --out apples.png
    sensorium ask "Make it snow." --image park.png --reply image --out snow.png
    sensorium ask "What do you see?" --image park.png --reply speech --out answer.wav
    sensorium ask --complete "Once upon a time" --max-tokens 100 --set min_p=0.05
    sensorium ask "Hello!" --json
    ```
    """
    sampling = options.sampling_from(
        settings, temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens, seed=seed
    )
    if "n" in sampling and sampling["n"] > 1:
        raise RequestError(f"n = {sampling['n']}: ask prints one answer (call sensorium.load(...).chat for several)")
    check_out(out, reply)
    text = _question(question, needed=not (image or audio))
    media: list[Part] = [
        *(Image(path=_existing(path)) for path in image or ()),
        *(Audio(path=_existing(p)) for p in audio or ()),
    ]
    if complete and (media or system or out or voice or reply != "auto"):
        raise RequestError(
            "--complete continues plain text: it takes no --system, --image, --audio, --reply and the like"
        )
    loaded = options.load_model(model, device=device, threads=threads)
    parts: tuple[Part, ...] = (*media, *([Text(text)] if text else []))
    prompt = text if complete else [*([Message.system(system)] if system else []), Message.user(parts)]
    stream = (
        loaded.stream_completion(prompt, **sampling)
        if isinstance(prompt, str)
        else loaded.stream(prompt, reply=reply, voice=given_voice(voice, loaded.voices), pictures=pictures, **sampling)
    )
    files = _answer(stream, name=model, out=out, as_json=as_json)
    if out is not None and not files:
        print(f"sensorium: nothing was written: the answer holds nothing for {out}", file=sys.stderr)
        raise typer.Exit(1)


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


def _answer(stream: Iterator[Delta], *, name: str, out: Path | None, as_json: bool) -> list[Path]:
    """Print words as they come, and write pictures or speech to their files, which are returned, at the end."""
    deltas: list[Delta] = []
    for delta in stream:
        deltas.append(delta)
        if isinstance(delta, TextDelta) and not as_json:
            print(delta.text, end="", flush=True)
    worded = any(isinstance(delta, TextDelta) for delta in deltas)
    if worded and not as_json:
        print(flush=True)  # before anything is said of files
    files = [] if out is None else write_media(out, deltas)
    if out is None and any(isinstance(delta, ImageDelta | AudioDelta) for delta in deltas):
        print("sensorium: the answer also holds a picture or speech (name a file for it with --out)", file=sys.stderr)
    if not as_json:
        if not worded and not files:
            print()
        return files
    done = next(delta for delta in reversed(deltas) if isinstance(delta, Done))
    answer = {
        "model": name,
        "message": Message.assistant("".join(delta.text for delta in deltas if isinstance(delta, TextDelta))).to_dict(),
        **({"files": [str(file) for file in files]} if files else {}),
        "finish_reason": done.finish_reason,
        "usage": {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens},
    }
    print(json.dumps(answer, ensure_ascii=False))
    return files
