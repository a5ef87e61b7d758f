"""What several commands share: their options, and how they load a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sensorium.config import SamplingConfig, nearest
from sensorium.errors import ConfigError

if TYPE_CHECKING:
    from sensorium.api import Model

DEFAULT_MODEL = "seedling"
ReplyName = Literal["auto", "text", "image", "speech"]


def model_names(incomplete: str) -> list[str]:
    """Names of the models that come with the package and begin so, for the shell's completion."""
    from sensorium.hub.resolve import shipped_models

    return [name for name in shipped_models() if name.startswith(incomplete)]


ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A shipped name, a folder or a hub id.", autocompletion=model_names),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="SENSORIUM_MODEL",
        help="A shipped name, a folder or a hub id.",
        autocompletion=model_names,
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto: a GPU where there is one.")]
MOST_THREADS = 4 * (os.cpu_count() or 1)  # more only get in each other's way
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads to compute with.", show_default="chosen")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]

_SAMPLING = "Sampling"
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", "-t", help="0 always takes the likeliest word.", rich_help_panel=_SAMPLING),
]
TopPOption = Annotated[
    float | None, typer.Option(help="Keep the likeliest words up to this probability.", rich_help_panel=_SAMPLING)
]
TopKOption = Annotated[int | None, typer.Option(help="Keep this many likeliest words.", rich_help_panel=_SAMPLING)]
MaxTokensOption = Annotated[
    int | None, typer.Option(help="Longest reply, in tokens.", rich_help_panel=_SAMPLING, show_default="what fits")
]
SeedOption = Annotated[int | None, typer.Option(help="The same seed gives the same reply.", rich_help_panel=_SAMPLING)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Any other sampling setting: min_p, stop, guidance, repetition_penalty, …",
        rich_help_panel=_SAMPLING,
    ),
]


def sampling_from(settings: Iterable[str] | None = None, **values: Any) -> dict[str, Any]:
    """Sampling settings out of options and `key=value` pairs; those that were not given are left to the model.

    Raises:
        ConfigError: an unknown key, or a value out of range.
    """
    given = {key: value for key, value in values.items() if value is not None}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"{setting!r} is not a setting (write it as key=value, such as min_p=0.05)")
        given[key.strip()] = _value(key.strip(), value)
    parsed = SamplingConfig.parse(given, "sampling")
    return {key: getattr(parsed, key) for key in given}


def _value(key: str, text: str) -> Any:
    """Numbers and lists as JSON, anything else as words (a stop string keeps its spaces)."""
    if key not in SamplingConfig.model_fields:
        raise ConfigError(f"unknown sampling setting {key!r}{nearest(key, SamplingConfig.model_fields)}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    return [text] if key == "stop" and not isinstance(value, list) else value


def load_model(name: str, *, device: str, threads: int | None) -> Model:
    """The model a command works with; torch is imported here, so that --help and bad options cost nothing."""
    from sensorium.api import load

    return load(name, device=chosen_device(device), threads=threads)


def chosen_device(name: str) -> str:
    """`auto` as what there is; any other name as it is."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
