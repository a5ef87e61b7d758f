"""`sensorium world`: a look into the generated world that models learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from sensorium.errors import DataError, RequestError

_ACTIONS = "--show, --sky, --say, --listen, --talk and --export"
Weather = Literal["sunny", "cloudy", "rain", "snow", "storm"]


def _kind_names(incomplete: str) -> list[str]:
    from sensorium.data.world.talk import KINDS

    return [name for name in KINDS if name.startswith(incomplete)]


def world(
    out: Annotated[
        Path | None,
        typer.Argument(metavar="[OUT]", help="The file that --show, --sky or --say writes.", show_default=False),
    ] = None,
    show: Annotated[
        int | None, typer.Option(min=1, max=1024, metavar="N", help="Write a contact sheet of N pictures to OUT.")
    ] = None,
    sky: Annotated[
        Weather | None, typer.Option(help="Draw the sky of a day to OUT; another --seed is another day.")
    ] = None,
    say: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Speak a text to the WAV file OUT; another --seed is another voice."),
    ] = None,
    listen: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write recordings and their texts (metadata.csv).")
    ] = None,
    talk: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Print N conversations as JSON lines, with their facts.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write conversations as a data set: talks.jsonl and media.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many, for --listen and --export.")] = 24,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only this kind of talk; may be repeated.",
            show_default="all",
            autocompletion=_kind_names,
        ),
    ] = None,
    language: Annotated[Literal["en", "zh"] | None, typer.Option(help="Only this language.")] = None,
    split: Annotated[
        Literal["train", "validation"], typer.Option(help="validation holds what training never meets.")
    ] = "train",
    size: Annotated[int, typer.Option(help="Side of the pictures, in pixels (16 to 1024).")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Another seed shows other conversations.")] = 0,
) -> None:
    """Show, play and print conversations of the generated world.

    Speech and handwriting need the extra `world`: pip install 'sensorium[world]'.

    Examples:
    ```sh
    sensorium world --show 24 out.png
    sensorium world --sky sunny sunny.png --split validation
    sensorium world --say "今天天气真好。" voice.wav --seed 7
    sensorium world --listen voices --count 20 --kind dictation --language zh
    sensorium world --talk 5 --kind weather
    sensorium world --export talks --count 1000 --split validation
    ```
    """
    _only_one(show=show, sky=sky, say=say, listen=listen, talk=talk, export=export)
    if (out is None) != all(asked is None for asked in (show, sky, say)):
        raise RequestError("--show, --sky and --say go together with the file to write, as in: --show 24 out.png")
    from sensorium.data.world import export as files
    from sensorium.data.world.settings import WorldSpec
    from sensorium.data.world.source import World

    settings = {"kinds": kinds or [], "size": size, "seed": seed} | ({"languages": [language]} if language else {})
    made = World(WorldSpec.parse(settings, "world"), split)
    if show is not None and out is not None:
        typer.echo(files.show(made, show, out))
    elif sky is not None and out is not None:
        typer.echo(files.draw_sky(made, sky, out))
    elif say is not None and out is not None:
        typer.echo(files.say(made, say, out, language=language))
    elif listen is not None:
        typer.echo(files.listen(made, count, _new(listen)))
    elif export is not None:
        typer.echo(files.export(made, count, _new(export)))
    elif talk is not None:
        for index in range(talk):
            typer.echo(json.dumps(files.described(made.talk(index)), ensure_ascii=False))


def _only_one(**actions: object) -> None:
    given = [f"--{name}" for name, value in actions.items() if value is not None]
    if len(given) != 1:
        asked = f"{' and '.join(given)} do not go together" if given else "nothing is asked for"
        raise RequestError(f"{asked}: give one of {_ACTIONS} (see sensorium world --help)")


def _new(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} already exists (name a new folder, or remove it first)")
    return folder
