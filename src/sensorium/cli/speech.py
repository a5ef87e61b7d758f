"""`sensorium say` and `sensorium transcribe`: text to speech and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli import options
from sensorium.cli.making import check_out, write_media
from sensorium.errors import DataError, RequestError

VoiceOption = Annotated[
    str | None,
    typer.Option("--voice", help="Who speaks: a name, or a short recording.", show_default="the model's own"),
]


def say(
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="What to say; `-` or nothing reads standard input.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The WAV file to write.")] = None,
    model: options.ModelOption = options.DEFAULT_MODEL,
    voice: VoiceOption = None,
    voices: Annotated[bool, typer.Option("--voices", help="List the model's voices instead.")] = False,
    seed: options.SeedOption = None,
    settings: options.SetOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    """Speak a text, in English or Chinese.

    Examples:
    ```sh
    sensorium say "It is sunny today." --out sunny.wav
    sensorium say "今天天气很好。" --out tianqi.wav --seed 1
    sensorium say "It is sunny today." --out mine.wav --voice my_voice.wav
    sensorium say --voices
    ```
    """
    sampling = options.sampling_from(settings, seed=seed)
    if voices:
        typer.echo("\n".join(options.load_model(model, device=device, threads=threads).voices))
        return
    check_out(out, "speech")
    assert out is not None
    words = sys.stdin.read() if text in (None, "-") else text
    assert words is not None
    from sensorium.forms import ended_early  # it imports torch: mistakes are told before

    loaded = options.load_model(model, device=device, threads=threads)
    deltas = list(loaded.stream_speech(words, voice=given_voice(voice, loaded.voices), **sampling))
    if ended_early(deltas):
        raise RequestError("the text was not spoken to its end: it does not fit the model's context (say it in parts)")
    write_media(out, deltas)


def transcribe(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="Any sound file: WAV, FLAC, MP3, OGG.")],
    model: options.ModelOption = options.DEFAULT_MODEL,
    max_tokens: options.MaxTokensOption = None,
    settings: options.SetOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    """Write down what is said in a recording, in the language that is spoken.

    Examples:
    ```sh
    sensorium transcribe sunny.wav
    ```
    """
    sampling = options.sampling_from(settings, max_tokens=max_tokens)
    if not recording.is_file():
        raise DataError(f"{recording} is not a file")
    loaded = options.load_model(model, device=device, threads=threads)
    typer.echo(loaded.transcribe(recording, **sampling))


def given_voice(voice: str | None, names: tuple[str, ...]) -> str | Path | None:
    """A voice by its name, or the recording that the user means."""
    if voice is None or voice in names:
        return voice
    path = Path(voice)
    return path if path.is_file() else voice
